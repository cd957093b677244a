"""What stands where no group was decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_whole
from ssic.blocks import check_pixels
from ssic.errors import ImageError

_FILLS = "black, mean, transparent or a colour like #20a0ff"


Fill = str | Sequence[int]
"""What stands where no group is: "black", "mean", "transparent", "#rrggbb" or (red, green, blue), 0 to 255."""


def compose(pixels: NDArray[np.uint8], present: NDArray[np.bool_], fill: Fill = "black") -> NDArray[np.uint8]:
    """Fills the pixels that are not present.

    Args:
        pixels: [H, W, 3] uint8; what it holds where `present` is false does not matter.
        present: [H, W] bool.
        fill: "black", "mean" (the mean colour of the present pixels, black if there are none), "transparent",
            "#rrggbb", or three integers from 0 to 255: red, green, blue.

    Returns:
        A new [H, W, 3], or [H, W, 4] for "transparent", where alpha is 0 or 255 and absent pixels are all 0.

    Raises:
        ImageError: another fill, or shapes that don't agree.
    """
    check_pixels(pixels, (3,))
    _check_present(present, pixels.shape[:2])
    colour: Any = 0
    if not isinstance(fill, str):
        colour = _colour(fill)
    elif fill == "mean":
        total = np.count_nonzero(present)
        sums = [int(pixels[:, :, c].sum(where=present, dtype=np.int64)) for c in range(3)]
        colour = [(2 * s + total) // (2 * total) for s in sums] if total else 0
    elif re.fullmatch("#[0-9a-fA-F]{6}", fill):
        colour = list(bytes.fromhex(fill[1:]))
    elif fill not in ("black", "transparent"):
        raise ImageError(f'the fill is "{fill}"; it can be {_FILLS}')
    filled = np.where(present[:, :, None], pixels, np.array(colour, np.uint8))
    transparent = isinstance(fill, str) and fill == "transparent"
    return np.dstack([filled, present.astype(np.uint8) * 255]) if transparent else filled


def _colour(fill: object) -> list[int]:
    values = list(fill) if isinstance(fill, (Sequence, np.ndarray)) and np.ndim(fill) == 1 else []
    whole = all(map(is_whole, values))
    if len(values) != 3 or not whole or not all(0 <= v <= 255 for v in values):
        raise ImageError(f"the fill is {fill!r:.80}; it can be {_FILLS}, also as integers (32, 160, 255)")
    return [int(v) for v in values]


def check_fill(fill: Fill) -> bool:
    """Whether a fill makes pictures with alpha; `ImageError` if there is no such fill."""
    pixel = compose(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.bool_), fill)
    return pixel.shape[2] == 4


def crop_box(present: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), x1 and y1 exclusive, of the smallest box around the true pixels of [H, W].

    Raises:
        ImageError: no pixel is true.
    """
    _check_present(present, present.shape)
    rows, columns = np.flatnonzero(present.any(1)), np.flatnonzero(present.any(0))
    if not rows.size:
        raise ImageError("nothing to crop to: no pixel is present")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _check_present(present: NDArray[Any], shape: tuple[int, ...]) -> None:
    if present.dtype != np.bool_ or present.ndim != 2 or present.shape != shape:
        raise ImageError(f"expected present as bool {list(shape)}, met {present.dtype} {list(present.shape)}")
