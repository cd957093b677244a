"""Threads that share the pieces of a call."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ssic.imports import later

futures = later("concurrent.futures")

T = TypeVar("T")


class Workers:
    """Threads that share pieces; they wait without spinning, so that a busy machine loses nothing by them."""

    def __init__(self, threads: int, begin: Callable[[], None] | None = None) -> None:
        """
        Args:
            threads: pieces that are computed at a time. With one, the calling thread computes.
            begin: called by each thread when it begins.
        """
        self.threads = threads
        self._begin = begin
        self._pool: Any = None
        self._lock = threading.Lock()
        _all_workers.add(self)

    def resize(self, threads: int) -> None:
        """Other threads for the calls to come; the old ones end when their last piece is done."""
        with self._lock:
            self.threads, self._pool = threads, None

    def each(self, function: Callable[[T], None], parts: Sequence[T]) -> None:
        """Call the function with each of the parts. What one of them raises ends the rest."""
        if self.threads == 1 or len(parts) == 1:
            for part in parts:
                function(part)
            return
        waiting = [self.submit(function, part) for part in parts]
        try:
            for piece in waiting:
                piece.result()
        except BaseException:
            for piece in waiting:
                piece.cancel()
            raise

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call in one of the threads -> `concurrent.futures.Future` of the result."""
        with self._lock:
            if self._pool is None:
                self._pool = futures.ThreadPoolExecutor(self.threads, "ssic-piece", self._begin)
            return self._pool.submit(function, *args)

    def forget(self) -> None:
        """In a forked child: it has none of the parent's threads, and perhaps a lock that one of them held."""
        self._pool, self._lock = None, threading.Lock()


def _after_fork() -> None:
    for workers in _all_workers:
        workers.forget()


_all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
