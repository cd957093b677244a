"""How many threads to use, and who keeps to one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController


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


class _OneBlasThread:
    """The limit holds for the whole process, so it is set by the first of several calls that overlap, and lifted by
    the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._libraries: ThreadpoolController | None = None
        self._limit: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                # Finding the libraries takes milliseconds: once.
                self._libraries = self._libraries or ThreadpoolController()
                self._limit = self._libraries.limit(limits=1, user_api="blas")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""Context in which NumPy's BLAS uses one thread: the integer twin's products are too small to share out, and on a busy
machine its threads wait for each other."""
