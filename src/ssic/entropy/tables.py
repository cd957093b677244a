"""Cumulative-frequency tables of the scale classes: integers, made once, stored with the weights.

Class i stands for a scale (standard deviation) of ``2 ** (-3.25 + i / 8)``. Its table covers the symbols
``-support .. support`` and, last, an escape, after which a symbol outside is written bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import CLASSES_PER_OCTAVE, SCALE_FLOOR
from ssic.rangecoder import TOTAL, integer_model


def scale_of(index: int) -> float:
    """Standard deviation that a class stands for."""
    return float(2.0 ** (SCALE_FLOOR + index / CLASSES_PER_OCTAVE))


def gaussian(index: int) -> NDArray[np.float64]:
    """Probabilities of the symbols -support..support and of the escape under the class's Gaussian."""
    scale = scale_of(index)
    support = math.ceil(6 * scale) + 2
    edges = (np.arange(support + 2) - 0.5) / (scale * math.sqrt(2))
    upper = np.array([0.5 * math.erfc(e) for e in edges])  # P(symbol >= n); accurate far into the tail
    half = upper[:-1] - upper[1:]
    half[0] = 1 - 2 * upper[1]
    return np.concatenate([half[:0:-1], half, [2 * upper[-1]]])


def quantise(probabilities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Integer frequencies, at least 1 each, that sum to `TOTAL`."""
    n = len(probabilities)
    share = probabilities / probabilities.sum() * (TOTAL - n)
    frequencies = np.floor(share).astype(np.int64) + 1
    frequencies[np.argmax(frequencies)] += TOTAL - frequencies.sum()
    return frequencies.astype(np.int32)


@dataclass(frozen=True)
class Tables:
    """Frequencies of every class, one after another.

    Attributes:
        support: [CLASSES] largest magnitude in each class's table.
        frequencies: the classes' tables of 2 * support + 2 entries each.
    """

    support: NDArray[np.int32]
    frequencies: NDArray[np.int32]

    @classmethod
    def from_probabilities(cls, tables: list[NDArray[np.float64]]) -> Tables:
        """Quantise one row of probabilities per class."""
        support = np.array([(len(t) - 2) // 2 for t in tables], np.int32)
        return cls(support, np.concatenate([quantise(t) for t in tables]))

    def table(self, index: int) -> NDArray[np.int32]:
        """Frequencies of one class."""
        lengths = 2 * self.support.astype(np.int64) + 2
        end = int(lengths[: index + 1].sum())
        return self.frequencies[end - int(lengths[index]) : end]

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """Code length of every entry, in bits; as `frequencies`."""
        return -np.log2(self.frequencies / TOTAL)

    @cached_property
    def zero(self) -> NDArray[np.int32]:
        """[CLASSES] where in `frequencies` each class has its symbol 0; its other symbols lie around it."""
        entries = 2 * self.support.astype(np.int64) + 2
        return (np.cumsum(entries) - entries + self.support).astype(np.int32)

    def models(self) -> list[Any]:
        """A model of the range coder for each class."""
        return [integer_model(self.table(i)) for i in range(len(self.support))]
