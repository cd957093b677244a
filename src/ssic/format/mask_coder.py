"""The mask coder: a picture of labels to a few dozen bytes and back, exactly.

`docs/format.md` ("Mask") is the norm. In short: each row is told from the one above by how its edges move; where
something else begins is told by the number of cells before it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ssic.format.mask_reader import read_cells
from ssic.format.mask_writer import cell_bytes

MAX_STEP = 3


def mask_step(mask: NDArray[np.uint8]) -> int:
    """The largest ``s <= 3`` for which `mask` ``[h, w]`` is constant on aligned ``2**s x 2**s`` blocks."""
    step = 0
    while step < MAX_STEP:
        # What has no partner at the lower or right rim is alone in its block.
        height, width = mask.shape[0] >> 1, mask.shape[1] >> 1
        even = mask[::2]
        if (even[:height] != mask[1::2]).any() or (even[:, : 2 * width : 2] != even[:, 1::2]).any():
            break
        step += 1
        mask = even[:, ::2]
    return step


def _shrink(mask: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    return mask[:: 1 << step, :: 1 << step]


def _expand(cells: NDArray[np.uint8], step: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return cells.repeat(1 << step, axis=0).repeat(1 << step, axis=1)[: shape[0], : shape[1]]


def encode_mask(mask: NDArray[np.uint8], labels: int, step: int) -> bytes:
    """Codes labels.

    Args:
        mask: ``[h, w]``, values ``0 .. labels - 1``, constant on blocks of ``2**step`` (see `mask_step`).
        labels: size of the alphabet, ``1 .. 256``. One label needs no bytes.
    """
    cells = _shrink(mask, step)
    return _encoded(cells.tobytes(), cells.shape[1], labels) if labels > 1 else b""


# Whoever serves groups, or looks for a quality, meets the same few masks again and again.
@lru_cache(maxsize=64)
def _encoded(cells: bytes, width: int, labels: int) -> bytes:
    return cell_bytes(cells, width, labels)


def decode_mask(data: bytes, shape: tuple[int, int], labels: int, step: int) -> NDArray[np.uint8]:
    """The inverse of `encode_mask`: ``[h, w]`` of labels ``0 .. labels - 1``.

    Raises:
        ValueError: `data` is not what `encode_mask` writes for any mask.

    Time and memory are bounded by `shape`, which the caller checks against the limits.
    """
    if labels == 1:
        if data:
            raise ValueError("there are bytes of a mask where none are needed")
        return np.zeros(shape, np.uint8)
    height, width = (-(-size >> step) for size in shape)
    return _expand(_decoded(data, height, width, labels), step, shape)


@lru_cache(maxsize=64)
def _decoded(data: bytes, height: int, width: int, labels: int) -> NDArray[np.uint8]:
    try:
        cells = read_cells(data, height, width, labels)
    except AssertionError as error:  # constriction's word for data that contradict the model
        raise ValueError("the mask's bytes are no coded mask") from error
    return np.frombuffer(cells, np.uint8).reshape(height, width)
