"""Work on many rows, in pieces of a bounded size that threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.workers import Workers

A = TypeVar("A")
T = TypeVar("T")

SMALLEST = 64
"""Rows that are not cut further to give more threads something to do: the matrix products of fewer are slow."""


@dataclass(frozen=True)
class Pieces:
    """Cuts rows into pieces, and calls functions on each.

    Attributes:
        size: rows of a piece at most.
        threads: that share the pieces.
        workers: who they are, beside the calling one.
    """

    size: int
    threads: int
    workers: Workers

    def cut(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """rows [T] -> the same in pieces of about one size, in order; as many as the threads can share evenly."""
        number = -(-len(rows) // self.size)
        even = -(-number // self.threads) * self.threads
        if len(rows) >= even * SMALLEST:
            number = even
        return np.array_split(rows, max(1, number))

    def each(self, function: Callable[[NDArray[np.int64]], T], rows: NDArray[np.int64]) -> list[T]:
        """What the function gives for each piece of the rows, in order."""
        return self.map(function, self.cut(rows))

    def map(self, function: Callable[[A], T], parts: Sequence[A]) -> list[T]:
        """What the function gives for each of the parts, in order."""
        return self.workers.map(function, parts, self.threads)
