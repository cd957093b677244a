"""How many threads to use, and who keeps to one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ssic.imports import later

futures, threadpoolctl = later("concurrent.futures"), later("threadpoolctl")


T = TypeVar("T")


def available_threads() -> int:
    """Physical cores that this process may use: of those it may run on, within the share that its control group has.

    `OMP_NUM_THREADS` is obeyed where it asks for fewer.
    """
    try:
        processors = os.sched_getaffinity(0)
    except AttributeError:  # not everywhere
        processors = set(range(os.cpu_count() or 1))
    found = len({_core(number) for number in processors})
    share = _control_group_share()
    if share is not None:
        found = min(found, max(1, round(share)))
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        found = min(found, int(asked))
    return max(1, found)


def _core(number: int) -> str:
    """What the hardware threads of one core have in common."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def _control_group_share() -> float | None:
    """Processors that the control group grants, None for no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


class ProcessWide:
    """A context for a setting of the whole process: made by the first of several calls that overlap, and undone by the
    last."""

    def __init__(self, make: Callable[[], Callable[[], None]]) -> None:
        """
        Args:
            make: makes the setting, and returns what undoes it.
        """
        self._make = make
        self._undo: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._undo = self._make()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._undo is not None:
                    self._undo()

    def forget(self) -> None:
        """In a forked child: those inside are threads of the parent, and so may be the owner of the lock."""
        self._lock, self._inside = threading.Lock(), 0


def apart(make: Callable[[], Callable[[], None]]) -> Callable[[], Callable[[], None]]:
    """The same setting, made and undone in threads of their own, which end at once: for settings of which part belongs
    to the thread that makes them, as the caller's shall stay as it is."""

    def made() -> Callable[[], None]:
        undo = _elsewhere(make)
        return lambda: _elsewhere(undo)

    return made


def _elsewhere(function: Callable[[], T]) -> T:
    """Call in a thread that ends with it."""
    with futures.ThreadPoolExecutor(1) as thread:
        result: T = thread.submit(function).result()
        return result


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """The BLAS libraries of this process. Finding them takes milliseconds."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _limit_blas() -> Callable[[], None]:
    def limit() -> Callable[[], None]:
        undo: Callable[[], None] = _libraries().limit(limits=1).restore_original_limits
        return undo

    # OpenBLAS with threads of its own, which NumPy's wheels bring, has one number for the whole process. New threads
    # would cost a quarter of a millisecond, and many beside other processes.
    kinds = {(library["internal_api"], library["threading_layer"]) for library in _libraries().info()}
    return limit() if kinds <= {("openblas", "pthreads")} else apart(limit)()


one_blas_thread = ProcessWide(_limit_blas)
"""Context in which NumPy's BLAS uses one thread: the integer twin's products are too small to share out, and on a busy
machine its threads wait for each other."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.forget)
