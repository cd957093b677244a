"""Which quality meets a target: the search, without a codec. `ssic.rate.targets` feeds it with real encodes.

A quantity grows with quality: the logarithm of the bytes, or the PSNR. `Search` finds the two neighbouring qualities
between which it passes the target, in about three measurements: it knows the usual course of the quantity, moves it to
where the measurements lie, and asks for what that predicts. A course that is far off costs measurements, not exactness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ssic.model.config import QUALITIES

PATIENCE = 6
"""Measurements after which the search halves instead of predicting."""

# Means over Kodak with the first weights; any later ones will be near enough.
_KNOTS = (1, 5, 15, 30, 45, 60, 75, 90, 100)
_RATE = (0.104, 0.118, 0.175, 0.305, 0.508, 0.811, 1.216, 1.735, 2.132)
_PSNR = (26.7, 27.2, 28.5, 30.4, 32.6, 35.0, 37.4, 39.8, 41.2)

_K = TypeVar("_K")


def usual_rate(quality: int) -> float:
    """log2 of bits per pixel that photographs take, on average."""
    return _interpolated(quality, [math.log2(rate) for rate in _RATE])


def usual_psnr(quality: int) -> float:
    """PSNR in dB that photographs have, on average."""
    return _interpolated(quality, _PSNR)


def _interpolated(quality: int, values: Sequence[float]) -> float:
    k = next(i for i in range(1, len(_KNOTS)) if quality <= _KNOTS[i])
    share = (quality - _KNOTS[k - 1]) / (_KNOTS[k] - _KNOTS[k - 1])
    return values[k - 1] + share * (values[k] - values[k - 1])


class Search:
    """Where a growing quantity passes a target.

    Ask `next` for the quality to measure, tell `add` what was measured, until `next` is None. Then `lower` is a
    quality whose quantity is not beyond the target, and ``lower + 1`` was measured too and is beyond it; `lower` is 0
    if all are beyond it, and 100 if none is.

    >>> search = Search(target=70.0, usual=lambda quality: 0.9 * quality)
    >>> while (quality := search.next()) is not None:
    ...     search.add(quality, 1.01 * quality)
    >>> search.lower, search.measured
    (69, {78: 78.78, 69: 69.69, 70: 70.7})
    """

    def __init__(self, target: float, usual: Callable[[int], float], *, inclusive: bool = True) -> None:
        """
        Args:
            target: of the quantity.
            usual: the course that the quantity usually takes over qualities 1 to 100.
            inclusive: a quantity that equals the target is not beyond it.
        """
        self._target, self._usual, self._inclusive = target, usual, inclusive
        self.measured: dict[int, float] = {}
        self.lower, self._upper = 0, QUALITIES + 1

    def add(self, quality: int, value: float) -> None:
        """Tell what was measured at the quality that `next` asked for."""
        self.measured[quality] = value
        if self._beyond(value):
            self._upper = quality
        else:
            self.lower = quality

    def course(self, quality: int) -> float:
        """The usual course, moved to where the measurements lie: what to expect of something much alike."""
        known = sorted(self.measured)
        moved = [self.measured[q] - self._usual(q) for q in known]
        return self._usual(quality) + (float(np.interp(quality, known, moved)) if known else 0.0)

    def next(self) -> int | None:
        """The quality to measure; None when all is known."""
        low, high = self.lower, self._upper
        if high - low == 1:
            return None
        if len(self.measured) >= PATIENCE:
            return (low + high) // 2
        # The last quality that is predicted not to be beyond the target; then the one above, which shows that it is.
        guess = next((q for q in range(high - 1, low, -1) if not self._beyond(self._predicted(q))), low)
        return min(guess if guess > low else low + 1, QUALITIES)

    def _beyond(self, value: float) -> bool:
        return not (value <= self._target if self._inclusive else value < self._target)

    def _predicted(self, quality: int) -> float:
        """The usual course, moved by what was measured on either side."""
        known = [q for q in (self.lower, self._upper) if q in self.measured]
        moved = {q: self.measured[q] - self._usual(q) for q in known}
        if len(known) == 2:
            share = (quality - known[0]) / (known[1] - known[0])
            return self._usual(quality) + moved[known[0]] + share * (moved[known[1]] - moved[known[0]])
        return self._usual(quality) + sum(moved.values())


def accepted(
    steps: Iterable[_K], state: Mapping[_K, int], step: int, fits: Callable[[dict[_K, int]], bool]
) -> dict[_K, int]:
    """`state` with each of `steps` moved by `step`, one after the other, where the result still fits.

    >>> accepted("abc", dict(a=5, b=5, c=5), 1, lambda state: sum(state.values()) <= 17)
    {'a': 6, 'b': 6, 'c': 5}
    """
    now = dict(state)
    for key in steps:
        moved = now | {key: now[key] + step}
        if fits(moved):
            now = moved
    return now
