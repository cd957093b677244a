"""Outlines to pixels: a pixel is inside where its centre is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import MaskError
from ssic.groups.objects import Region

MOST_POINTS = 200_000
"""Points of one outline."""
_MOST_STEPS = 200_000_000
"""Rows times edges of one outline: a bound on the work."""


def fill_polygon(points: Any, size: tuple[int, int], where: str) -> Region | None:
    """The pixels inside an outline, by the rule of non-zero winding; None if there are none in the picture.

    Args:
        points: [N, 2] (x, y) in pixels; the last point is joined with the first. Points outside the picture are fine.
        size: (width, height) of the picture.
        where: the outline is called in errors.

    Raises:
        MaskError: these are no points, they aren't finite, or there are too many.
    """
    try:
        corners = np.array(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.zeros(0)
    if (
        corners.ndim != 2
        or corners.shape[1] != 2
        or not np.isfinite(corners).all()
        or len(corners) > MOST_POINTS
    ):
        raise MaskError(
            f"{where}: an outline is a list of points (x, y), finite numbers, at most {MOST_POINTS:,}"
        )
    if len(corners) < 3:
        raise MaskError(f"{where}: an outline has at least three points, not {len(corners)}")
    width, height = size
    # What lies far away makes the same pixels as what lies just outside, on the side where it is.
    x = corners[:, 0].clip(-1e7, 1e7)
    y = corners[:, 1].clip(-1e7, 1e7)
    left, right = max(0, math.floor(x.min())), min(width, math.ceil(x.max()) + 1)
    top, bottom = max(0, math.floor(y.min())), min(height, math.ceil(y.max()) + 1)
    if left >= right or top >= bottom:
        return None
    x0, y0, x1, y1 = x, y, np.roll(x, -1), np.roll(y, -1)
    # An edge crosses the rows whose centres lie in [lower end, upper end): each is met once, corners too.
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(top, bottom).astype(np.int64)
    last = np.ceil(np.maximum(y0, y1) - 0.5).clip(top, bottom).astype(np.int64)
    count = last - first
    if count.sum() > _MOST_STEPS:
        raise MaskError(f"{where}: the outline is too long")
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    # One division, so that a centre that lies on an edge is seen to lie there.
    rise = np.where(y1 == y0, 1, y1 - y0)[edge]
    crossing = (x0[edge] * rise + (row + 0.5 - y0[edge]) * (x1 - x0)[edge]) / rise
    column = np.ceil(crossing - 0.5).clip(left, right).astype(np.int64)
    turns = np.zeros((bottom - top, right - left + 1), np.int32)
    np.add.at(turns, (row - top, column - left), np.where(y1 > y0, 1, -1)[edge])
    inside = np.cumsum(turns[:, :-1], axis=1) != 0
    return Region(top, left, inside) if inside.any() else None


def fill_box(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> Region | None:
    """The pixels that a box touches, x1 and y1 exclusive; None if there are none in the picture."""
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(size[0], math.ceil(x1)), min(size[1], math.ceil(y1))
    if left >= right or top >= bottom:
        return None
    return Region(top, left, np.ones((bottom - top, right - left), np.bool_))


def ellipse_points(centre: Sequence[float], radii: Sequence[float], count: int = 128) -> NDArray[np.float64]:
    """[count, 2]: the outline of an ellipse with axes along x and y."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], 1)


def turned(points: NDArray[np.float64], degrees: float, centre: Sequence[float]) -> NDArray[np.float64]:
    """[N, 2] points, turned clockwise (y points down) about a centre."""
    angle = math.radians(degrees)
    x, y = (points - np.asarray(centre)).T
    return (
        np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], 1)
        + centre
    )
