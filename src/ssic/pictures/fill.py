"""What stands where no group was decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import check_pixels
from ssic.errors import ImageError
from ssic.groups.colours import parse_colour

_PIXEL = np.dtype("V3")

_FILLS = "black, mean, transparent or a colour like white or #20a0ff"


Fill = str | Sequence[int]
"""What stands where no group is: "mean", "transparent", or a colour as `parse_colour` takes it: "black", "white",
"#rrggbb" or (red, green, blue), 0 to 255."""


def compose(pixels: NDArray[np.uint8], present: NDArray[np.bool_], fill: Fill = "black") -> NDArray[np.uint8]:
    """Fills the pixels that are not present.

    Args:
        pixels: [H, W, 3] uint8; what it holds where `present` is false does not matter.
        present: [H, W] bool.
        fill: "mean" (the mean colour of the present pixels, black if there are none), "transparent", or a colour as
            `ssic.groups.colours.parse_colour` takes it: "black", "white", "#rrggbb", or three integers from 0 to 255.

    Returns:
        A new [H, W, 3], or [H, W, 4] for "transparent", where alpha is 0 or 255 and absent pixels are all 0.

    Raises:
        ImageError: another fill, or shapes that don't agree.
    """
    check_pixels(pixels, (3,))
    _check_present(present, pixels.shape[:2])
    colour: Any = 0
    transparent = isinstance(fill, str) and fill == "transparent"
    if isinstance(fill, str) and fill == "mean":
        total = np.count_nonzero(present)
        sums = [int(pixels[:, :, c].sum(where=present, dtype=np.int64)) for c in range(3)]
        colour = [(2 * s + total) // (2 * total) for s in sums] if total else 0
    elif not transparent:
        colour = _colour(fill)
    filled = np.empty(pixels.shape, np.uint8)
    filled[:] = np.full(pixels.shape[1:], colour, np.uint8)  # whole rows, which are copied faster than pixels
    # As values of three bytes: NumPy then looks at `present` once for each pixel, and not for each sample.
    whole = np.ascontiguousarray(pixels).view(_PIXEL)[:, :, 0]
    np.copyto(filled.view(_PIXEL)[:, :, 0], whole, where=present)
    return np.dstack([filled, present.astype(np.uint8) * 255]) if transparent else filled


def _colour(fill: Fill) -> tuple[int, int, int]:
    try:
        return parse_colour(fill, ImageError)
    except ImageError as error:
        raise ImageError(f"the fill can be {_FILLS}, also as integers (32, 160, 255); {error}") from None


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
