"""What decoding gives, and the warnings and errors about groups that it could not give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import BLOCK, from_squares, paste_blocks
from ssic.errors import DamagedSegment, FormatError
from ssic.pictures.fill import crop_box


class DamagedGroups(UserWarning):
    """Some groups could not be decoded and were left out; the others are whole."""


class SealedGroups(UserWarning):
    """Some groups are sealed and were left out, for want of a key; the file is as it should be."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels of the groups asked for.

    Attributes:
        pixels: [H, W, 3] uint8 of the whole picture, or of the box around the groups if it was cropped;
            meaningless where `present` is false. At a lower resolution the sides are divided by the scale and rounded
            up.
        present: [H, W] bool.
        box: (left, top, right, bottom) of these pixels in the picture, in pixels of the full resolution.
        damaged: names of groups that were asked for and could not be decoded.
        sealed: names of groups that were asked for and are sealed: no key was given, or none that opens them.
        missing: of a partial file, names of groups that were asked for and lie behind its end.
    """

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    damaged: tuple[str, ...]
    missing: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.present.shape
        left_out = "".join(
            f", {what}={names}"
            for what, names in (("damaged", self.damaged), ("missing", self.missing), ("sealed", self.sealed))
            if names
        )
        return (
            f"<Decoded {width}x{height} pixels, {self.present.mean():.0%} present, box={self.box}{left_out}>"
        )


def joined_error(faults: Mapping[int, FormatError]) -> FormatError:
    """One error for several groups, of which each has one."""
    errors = list(faults.values())
    if len(errors) == 1:
        return errors[0]
    names = [name for e in errors if isinstance(e, DamagedSegment) for name in e.groups]
    text = f"{len(errors)} groups can't be decoded: {'; '.join(map(str, errors))}"
    return DamagedSegment(text, names) if names else type(errors[0])(text)


def place_blocks(
    block: NDArray[np.integer],
    pixels: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    size: tuple[int, int],
    crop: bool,
    scale: int = 1,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[int, int, int, int]]:
    """Put blocks where they belong in the picture: `Decoded.pixels`, `present` and `box`.

    Args:
        block: [N] index in the picture, in raster order, of each block of `pixels`: [N, 4, 192], or [N, s, s, 3] at
            1/scale of the resolution, where s = 16 / scale.
        shown: [h, w] bool, the blocks that are to be seen.
        size: (width, height) of the picture.
        crop: cut to the box around `shown`.
    """
    left, top, right, bottom = crop_box(shown) if crop else (0, 0, *shown.shape[::-1])
    row, column = np.divmod(block, shown.shape[1])
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    place = (row - top) * (right - left) + column - left
    if not inside.all():
        place, pixels = place[inside], pixels[inside]
    width, height = (min(BLOCK * end, length) for end, length in zip((right, bottom), size, strict=True))
    side = BLOCK // scale
    rows, columns = -(-(height - BLOCK * top) // scale), -(-(width - BLOCK * left) // scale)
    if scale == 1:
        picture = np.zeros((rows, columns, 3), np.uint8)
        paste_blocks(picture, place, pixels)
    else:
        squares = np.zeros(((bottom - top) * (right - left), side, side, 3), np.uint8)
        squares[place] = pixels
        picture = from_squares(squares, bottom - top, right - left)[:rows, :columns]
    present = np.empty((rows, columns), np.bool_)
    for i, blocks in enumerate(shown[top:bottom, left:right].repeat(side, 1)):
        present[side * i : side * (i + 1)] = blocks[:columns]
    return picture, present, (BLOCK * left, BLOCK * top, width, height)
