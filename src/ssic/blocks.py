"""Blocks: the finest unit that a group can own, and how pixels lie in them. Sizes are (width, height) in pixels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_whole
from ssic.errors import ImageError, MaskError

BLOCK = 16
"""Pixels on a side of a block, the finest unit that a group can own."""


ABSENT = 255
"""In a mask: the block belongs to no group that is here (in extracted files)."""


MAX_GROUPS = 255


Size = tuple[int, int]


def block_grid(size: Size) -> tuple[int, int]:
    """(rows, columns) of blocks of a picture of (width, height) pixels, rounded up."""
    try:
        width, height = size
    except (TypeError, ValueError):
        raise MaskError(f"a size is (width, height) in pixels, not {_shape_of(size)}") from None
    if not is_whole(width) or not is_whole(height):
        raise MaskError(f"a size is (width, height) in whole pixels, not {_shape_of(size)}")
    if width < 1 or height < 1:
        raise MaskError(
            f"a picture of {width}x{height} pixels has no blocks; size is (width, height), at least 1"
        )
    return -(-height // BLOCK), -(-width // BLOCK)


def _shape_of(size: object) -> str:
    shape = getattr(size, "shape", None)
    return f"{size!r:.80}" if shape is None else f"an array of shape {list(shape)}"


SCALES = (1, 4, 8, 16)
"""Files can be decoded at 1/scale of the resolution. (Not at 1/2: all latents are needed there, and what the
transformers add is missed.)"""


PATCH = 8
"""Pixels on a side of a patch; a block is 2x2 patches."""


_PATCHES = BLOCK // PATCH


_T = TypeVar("_T", bound=np.generic)


def pad_to_blocks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W, 3] -> a new [16 ceil(H/16), 16 ceil(W/16), 3]; the last row and column are repeated.

    Each new pixel equals one of its own block, so padding carries nothing from one group to another.
    """
    check_pixels(pixels, (3,))
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")


def to_blocks(padded: NDArray[_T]) -> NDArray[_T]:
    """[16 h, 16 w, 3] -> [h w, 4, 192]: blocks in raster order, their four 8x8 patches in raster order, and
    the values of a patch by row, column, channel. The inverse of `from_blocks`; any dtype.

    Raises:
        ImageError: sides that are not multiples of 16 (see `pad_to_blocks`).
    """
    if padded.ndim != 3 or padded.shape[2] != 3 or padded.shape[0] % BLOCK or padded.shape[1] % BLOCK:
        raise ImageError(f"expected [16 h, 16 w, 3], met {list(padded.shape)}: pad_to_blocks comes first")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    split = padded.reshape(rows, _PATCHES, PATCH, columns, _PATCHES, PATCH, 3)
    return split.transpose(0, 3, 1, 4, 2, 5, 6).reshape(rows * columns, _PATCHES**2, PATCH * PATCH * 3)


def sizes_inside(size: Size, block: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """[N, 2] width and height, 1 to 16, of what blocks show of a picture of `size`, without padding.

    Args:
        block: [N] indices of the blocks in raster order.
    """
    row, column = np.divmod(block, block_grid(size)[1])
    return np.minimum(np.subtract(size, BLOCK * np.column_stack([column, row])), BLOCK)


def from_squares(squares: NDArray[_T], rows: int, columns: int) -> NDArray[_T]:
    """[rows columns, s, s, 3] in raster order -> [s rows, s columns, 3]."""
    side = squares.shape[1]
    split = squares.reshape(rows, columns, side, side, 3)
    return split.transpose(0, 2, 1, 3, 4).reshape(side * rows, side * columns, 3)


def from_blocks(blocks: NDArray[_T], height_blocks: int, width_blocks: int) -> NDArray[_T]:
    """[h w, 4, 192] -> [16 h, 16 w, 3]; the inverse of `to_blocks`.

    Raises:
        ImageError: the blocks don't have that shape.
    """
    expected = (height_blocks * width_blocks, _PATCHES**2, PATCH * PATCH * 3)
    if blocks.shape != expected:
        raise ImageError(f"expected blocks of shape {list(expected)}, met {list(blocks.shape)}")
    split = blocks.reshape(height_blocks, width_blocks, _PATCHES, _PATCHES, PATCH, PATCH, 3)
    return split.transpose(0, 2, 4, 1, 3, 5, 6).reshape(height_blocks * BLOCK, width_blocks * BLOCK, 3)


def cut_blocks(pixels: NDArray[np.uint8], block: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Some blocks of a picture, [N, 4, 192]: ``to_blocks(pad_to_blocks(pixels))[block]`` without copies of the whole.

    Args:
        pixels: [H, W, 3].
        block: [N] raster indices, ascending.
    """
    check_pixels(pixels, (3,))
    cut = np.empty((len(block), _PATCHES**2, PATCH * PATCH * 3), np.uint8)
    for row, here, columns in _by_row(block, -(-pixels.shape[1] // BLOCK)):
        first, end = int(columns[0]), int(columns[-1]) + 1
        part = pixels[BLOCK * row : BLOCK * (row + 1), BLOCK * first : BLOCK * end]
        if part.shape[0] % BLOCK or part.shape[1] % BLOCK:
            part = pad_to_blocks(part)
        cut[here] = to_blocks(part)[columns - first]
    return cut


def paste_blocks(pixels: NDArray[np.uint8], block: NDArray[np.integer], blocks: NDArray[np.uint8]) -> None:
    """Put blocks into a picture, in place, but what lies beyond its edges: the inverse of `cut_blocks`. Pixels between
    them may change, in rows of blocks with any.

    Args:
        pixels: [H, W, 3].
        block: [N] raster indices, ascending.
        blocks: [N, 4, 192].
    """
    for row, here, columns in _by_row(block, -(-pixels.shape[1] // BLOCK)):
        first, end = int(columns[0]), int(columns[-1]) + 1
        strip = np.zeros((end - first, *blocks.shape[1:]), np.uint8)
        strip[columns - first] = blocks[here]
        part = pixels[BLOCK * row : BLOCK * (row + 1), BLOCK * first : BLOCK * end]
        part[:] = from_blocks(strip, 1, end - first)[: part.shape[0], : part.shape[1]]


def inside_blocks(size: Size, block: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which values of some blocks are the picture's own, not padding: [N, 4, 192], as `to_blocks` orders them.

    Args:
        size: (width, height) in pixels.
        block: [N] raster indices.
    """
    y, x = np.mgrid[:BLOCK, :BLOCK]
    (of_row, of_column) = (to_blocks(np.repeat(place[:, :, None], 3, 2)) for place in (y, x))
    row, column = np.divmod(block, block_grid(size)[1])
    there: NDArray[np.bool_] = of_row < (size[1] - BLOCK * row)[:, None, None]
    there &= of_column < (size[0] - BLOCK * column)[:, None, None]
    return there


def _by_row(block: NDArray[np.integer], width: int) -> Iterator[tuple[int, slice, NDArray[np.integer]]]:
    """Ascending raster indices in a grid of that width -> each row with any: its number, where its blocks are in the
    list, and their columns."""
    rows = block // width
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(block)]):
        row = int(rows[start])
        yield row, slice(start, stop), block[start:stop] - row * width


def check_pixels(pixels: NDArray[Any], channels: tuple[int, ...]) -> None:
    shape = pixels.shape
    if pixels.dtype == np.uint8 and len(shape) == 3 and shape[2] in channels and pixels.size:
        return
    hint = ""
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        hint = "; channels come last: transpose(1, 2, 0)"
    elif len(shape) == 3 and shape[2] == 4:
        hint = "; alpha can't be coded: blend it with a background and pass [:, :, :3]"
    expected = " or ".join(f"[H, W, {n}]" for n in channels)
    raise ImageError(f"expected uint8 pixels {expected}, met {pixels.dtype} {list(shape)}{hint}")
