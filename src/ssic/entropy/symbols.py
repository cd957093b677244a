"""The order in which the symbols of a step are coded: by group, then scale class, then as they lie in the step.

A step is computed in pieces, so that memory doesn't grow with it. Each piece is sorted by itself; how many symbols of
each group and class it has tells where they belong in the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import CLASSES

_T = TypeVar("_T", bound=np.generic)


Run = tuple[int, int, int, int]
"""Symbols of one group and class, which are adjacent in the order of the step: rank of the group, scale class, start,
stop. (No class of its own: there are thousands, and making one would take as long as coding its symbols.)"""


@dataclass
class Counts:
    """How many symbols of each group and class a piece has.

    Attributes:
        rank, scale: [K] rank of the group, and scale class, of each kind of symbol that there is, in coding order.
        count: [K] symbols of each.
        start: [K] where the first of them lies in the order of the step: set by `join`.
    """

    rank: NDArray[np.int64]
    scale: NDArray[np.int64]
    count: NDArray[np.int64]
    start: NDArray[np.int64] = field(init=False)

    def by_symbol(self, of_kind: NDArray[_T]) -> NDArray[_T]:
        """What goes with each kind -> with each symbol of the piece, in coding order."""
        return np.repeat(of_kind, self.count)

    def places(self) -> NDArray[np.int64]:
        """Where each symbol of the piece, in coding order, lies in the order of the step."""
        stop = np.cumsum(self.count)
        places = self.by_symbol(self.start - (stop - self.count))
        places += np.arange(len(places))
        return places


def in_order(
    rank: NDArray[np.uint8], classes: NDArray[np.uint8], groups: int
) -> tuple[NDArray[np.int32], Counts]:
    """Sort one piece.

    Args:
        rank: [t] of each row's group among `groups`.
        classes: [t, columns].

    Returns:
        position in the flattened piece of each of its symbols, in coding order; and how many there are of each kind.
    """
    # NumPy sorts integers of up to 16 bits by counting.
    # (An array of them: before version 2 it took a product with a scalar for one of 8 bits.)
    kind = classes.ravel() if groups == 1 else (rank.astype(np.uint16)[:, None] * CLASSES + classes).ravel()
    count = np.bincount(kind)
    there = np.flatnonzero(count)
    order = np.argsort(kind, kind="stable").astype(np.int32)
    return order, Counts(there // CLASSES, there % CLASSES, count[there])


def join(pieces: Sequence[Counts], groups: int) -> list[Run]:
    """Lay the pieces of a step, given in its order, into one order: sets where each starts; -> the runs."""
    kinds = [piece.rank * CLASSES + piece.scale for piece in pieces]
    count = np.zeros(groups * CLASSES, np.int64)
    for kind, piece in zip(kinds, pieces, strict=True):
        count[kind] += piece.count
    stop = np.cumsum(count)
    there, following = np.flatnonzero(count), stop - count
    columns = there // CLASSES, there % CLASSES, following[there], stop[there]
    runs: list[Run] = list(zip(*(column.tolist() for column in columns), strict=True))
    for kind, piece in zip(kinds, pieces, strict=True):
        piece.start = following[kind]
        following[kind] += piece.count
    return runs
