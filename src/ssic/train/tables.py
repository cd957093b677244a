"""Fit the tables of the scale classes to the symbols that training pictures really give.

A class is trained as a Gaussian, but its symbols are a mixture of whatever the nets put into it, chosen with
bits in mind (`LatentCoder.encode`): more zeros, longer tails. As the tables are stored, their shape is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.codec import Codec
from ssic.entropy.coder import Coded, LatentCoder
from ssic.entropy.tables import Tables, gaussian
from ssic.errors import InvalidInput
from ssic.model.config import CLASSES
from ssic.model.weights import Weights
from ssic.train.data import usable

QUALITIES = tuple(range(4, 101, 12))

PRIOR = 200
"""Symbols per table entry that the Gaussian weighs as much as: large tables, whose counts are noisy from entry to
entry, and rare classes stay close to it."""

CROP = 512


class Counting(LatentCoder):
    """Counts the symbols that it encodes."""

    def __init__(self, coder: LatentCoder) -> None:
        super().__init__(coder.twin, coder.tables, coder.step_worth)
        self.counts = [np.zeros(2 * int(s) + 2) for s in coder.tables.support]

    def _write(self, encoders: list[Any], pieces: Sequence[Coded]) -> float:
        for piece in pieces:
            ends = np.cumsum(piece.counts.count)
            for scale, index in zip(piece.counts.scale, np.split(piece.index, ends[:-1]), strict=True):
                self.counts[scale] += np.bincount(index, minlength=len(self.counts[scale]))
        return super()._write(encoders, pieces)


def centres(pictures: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """[512, 512, 3] of each picture that has so much.

    Raises:
        InvalidInput: in the end, if none had.
    """
    used = 0
    for picture in usable(pictures, CROP):
        used += 1
        top, left = (picture.shape[0] - CROP) // 2, (picture.shape[1] - CROP) // 2
        yield np.ascontiguousarray(picture[top : top + CROP, left : left + CROP])
    if not used:
        raise InvalidInput(f"none of {len(pictures)} pictures has {CROP} pixels on its shorter side")


def fit_tables(weights: Weights, crops: Sequence[NDArray[np.uint8]]) -> Tables:
    """Tables from the symbols of the pictures' `centres` at several qualities, the Gaussian as a prior."""
    codec = Codec(weights)
    counting = Counting(codec.coder)
    codec.coder = counting
    for centre in crops:
        for quality in QUALITIES:
            codec.encode(centre, quality=quality)
    return Tables.from_probabilities([_mix(counting.counts[i], gaussian(i)) for i in range(CLASSES)])


def _mix(counts: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    symmetric = counts.copy()
    symmetric[:-1] = (counts[:-1] + counts[-2::-1]) / 2  # neither sign is likelier
    return symmetric + PRIOR * len(counts) * prior / prior.sum()
