"""Refining the groups of a picture, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ssic.engine.effort import Stopped
from ssic.engine.task import WHOLE, Refined, Refiner, Schedule, Task
from ssic.progress import Clock, Progress
from ssic.workers import Workers


def refine_groups(
    refiner: Refiner,
    groups: Mapping[int, int],
    task_of: Callable[[int], Task],
    schedule: Schedule,
    *,
    threads: int,
    progress: Progress,
    stopped: Stopped,
) -> dict[int, Refined]:
    """Refine groups on so many threads, each group on one. What is found for a group does not depend on the others.

    Args:
        groups: blocks of each, by id.
        task_of: makes the task of one; it is called in any of the threads.
        threads: groups that are at work at a time, as far as memory is for: see `WHOLE`.
        stopped: asked before each group and after each iteration, by one thread at a time.

    Returns:
        by id; groups that were not begun when the search was stopped are not there.
    """
    search = _Search(Clock(schedule.iterations * sum(groups.values()), progress), stopped)
    room = _Room(WHOLE)
    found: dict[int, Refined] = {}

    def refine(group: int) -> None:
        try:
            with room.for_blocks(groups[group]):
                if not search.over():
                    found[group] = refiner.refine(task_of(group), schedule, step=search.step)
        except BaseException:
            search.end()  # others at work hear of it after their next iteration
            raise

    # The largest first: so none is left to one thread in the end. Of one size, by id.
    order = sorted(groups, key=lambda g: (-groups[g], g))
    try:
        Workers().map(refine, order, threads)
    except BaseException:
        search.end()  # Ctrl-C may strike where this thread waits for the others
        raise
    return found


class _Search:
    """What threads that refine have in common: a clock, and whether to go on."""

    def __init__(self, clock: Clock, stopped: Stopped) -> None:
        self._clock, self._stopped = clock, stopped
        self._lock = threading.Lock()
        self._over = False

    def end(self) -> None:
        self._over = True

    def over(self) -> bool:
        with self._lock:
            self._over = self._over or self._stopped()
            return self._over

    def step(self, blocks: int) -> bool:
        """After an iteration: whether to go on."""
        with self._lock:
            if not self._over:
                self._clock.advance(blocks)
        return not self.over()


class _Room:
    """Lets groups in while there is room for their blocks, and one in any case."""

    def __init__(self, blocks: int) -> None:
        self._left = self._all = blocks
        self._changed = threading.Condition()

    @contextmanager
    def for_blocks(self, blocks: int) -> Iterator[None]:
        taken = min(blocks, self._all)
        with self._changed:
            self._changed.wait_for(lambda: taken <= self._left)
            self._left -= taken
        try:
            yield
        finally:
            with self._changed:
                self._left += taken
                self._changed.notify_all()
