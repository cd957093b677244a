"""Work on many rows, in pieces of a bounded size that threads share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.imports import later

futures = later("concurrent.futures")

T = TypeVar("T")

SMALLEST = 64
"""Rows that are not cut further to give more threads something to do: their matrix products would be slow."""


class Pieces:
    """Cuts rows into pieces, and calls functions on each."""

    def __init__(self, size: int, threads: int, pool: Any) -> None:
        """
        Args:
            size: rows of a piece at most.
            threads: that share the pieces.
            pool: their executor; None where there is one thread only.
        """
        self._size, self._threads, self._pool = size, threads, pool

    def cut(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """rows [T] -> the same in pieces of about one size, in order; as many as the threads can share evenly."""
        number = -(-len(rows) // self._size)
        even = -(-number // self._threads) * self._threads
        if len(rows) >= even * SMALLEST:
            number = even
        return np.array_split(rows, max(1, number))

    def each(self, function: Callable[..., T], rows: NDArray[np.int64]) -> list[T]:
        """What the function gives for each piece of the rows, in order."""
        return self.map(function, self.cut(rows))

    def map(self, function: Callable[..., T], *arguments: list[Any]) -> list[T]:
        """What the function gives for each entry of the lists, in order."""
        if self._pool is None or len(arguments[0]) == 1:
            return list(map(function, *arguments))
        return list(self._pool.map(function, *arguments))


@contextmanager
def sharing(size: int, threads: int) -> Iterator[Pieces]:
    """Pieces that so many threads share while the context lasts."""
    if threads == 1:
        yield Pieces(size, 1, None)
        return
    with futures.ThreadPoolExecutor(threads, "ssic-coder") as pool:
        yield Pieces(size, threads, pool)
