"""PSNR, MS-SSIM and BD-rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.eval.extras import optional
from ssic.imports import later

torch = later("torch")

SMALLEST = 161
"""MS-SSIM is defined for pictures with at least this many pixels on the shorter side: five scales, windows of 11."""
FEWEST = 4
"""Points that a curve must have for a BD-rate."""


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_] | None = None) -> float:
    """PSNR in dB of [H, W, 3], one mean squared error over all three channels; infinite if they are equal.

    Args:
        where: [H, W]; pixels that count, all by default.
    """
    if where is not None:
        a, b = a[where], b[where]
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float | None:
    """MS-SSIM of [H, W, 3], the mean of the three channels'; None for pictures too small for it."""
    if min(a.shape[:2]) < SMALLEST:
        return None
    x, y = (torch.from_numpy(p.transpose(2, 0, 1)[None].astype(np.float64)) for p in (a, b))
    with torch.inference_mode():
        return float(optional("pytorch_msssim").ms_ssim(x, y, data_range=255))


def decibels(similarity: float) -> float:
    """MS-SSIM on the scale on which it is plotted: -10 log10(1 - MS-SSIM)."""
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf


@dataclass(frozen=True)
class BdRate:
    """Mean difference of two curves' rates, and where it was taken.

    Attributes:
        percent: how many more bytes the tested curve takes than the anchor at equal quality; below 0 is better.
        low, high: the common range in dB.
        overlap: its share of the tested curve's range.
    """

    percent: float
    low: float
    high: float
    overlap: float


def bd_rate(
    anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]], fewest: int = FEWEST
) -> BdRate | None:
    """BD-rate of (rate, dB) points: PCHIP of the logarithm of the rate over dB, integrated over the range of dB
    that both curves have. Points that cost more than another and are no better are not on a curve.

    Returns:
        None where a curve has fewer than `fewest` points or the ranges have nothing in common.
    """
    curves = [_increasing(points) for points in (anchor, test)]
    if min(map(len, curves)) < fewest:
        return None
    low, high = max(c[0][1] for c in curves), min(c[-1][1] for c in curves)
    if low >= high:
        return None
    (anchor_rate, anchor_db), (test_rate, test_db) = (np.array(c, np.float64).T for c in curves)
    bjontegaard: Any = optional("bjontegaard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small overlaps; `overlap` says it
        percent = bjontegaard.bd_rate(
            anchor_rate, anchor_db, test_rate, test_db, method="pchip", require_matching_points=False
        )
    return BdRate(float(percent), low, high, (high - low) / (curves[1][-1][1] - curves[1][0][1]))


def _increasing(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for rate, db in sorted(points, key=lambda p: (p[0], -p[1])):
        if math.isfinite(db) and rate > 0 and (not kept or (db > kept[-1][1] and rate > kept[-1][0])):
            kept.append((rate, db))
    return kept
