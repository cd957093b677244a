"""Threads that help a calling thread with the pieces of its work."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ssic.imports import later

futures = later("concurrent.futures")

A = TypeVar("A")
T = TypeVar("T")

MOST = max(4, os.cpu_count() or 1)
"""Threads that help all calls together, by default: each call has its own thread besides."""


class Workers:
    """Threads that are made when they are needed, and kept. They wait without spinning, so that a busy machine loses
    nothing by them."""

    def __init__(self, begin: Callable[[], None] | None = None, most: int = MOST) -> None:
        """
        Args:
            begin: called by each thread when it begins.
            most: threads at a time.
        """
        self._begin, self._most = begin, most
        self._pool: Any = None
        self._lock = threading.Lock()
        _all_workers.add(self)

    def map(self, function: Callable[[A], T], parts: Sequence[A], threads: int) -> list[T]:
        """What the function gives for each of the parts, in order. What it raises ends the rest.

        The calling thread takes parts like the others: when it finds none left, it waits for those at work only, not
        for a thread that has yet to wake up.

        Args:
            threads: that share the parts, the calling one among them.
        """
        if threads == 1 or len(parts) < 2:
            return [function(part) for part in parts]
        waiting = deque(enumerate(parts))
        found: dict[int, T] = {}

        def work() -> None:
            while True:
                try:
                    i, part = waiting.popleft()
                except IndexError:
                    return
                try:
                    found[i] = function(part)
                except BaseException:
                    waiting.clear()
                    raise

        helpers = [self.submit(work) for _ in range(min(threads, len(parts)) - 1)]
        try:
            work()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
        for helper in begun:
            helper.result()
        return [found[i] for i in range(len(parts))]

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call in one of the threads -> `concurrent.futures.Future` of the result."""
        with self._lock:
            if self._pool is None:
                self._pool = futures.ThreadPoolExecutor(self._most, "ssic-piece", self._begin)
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
