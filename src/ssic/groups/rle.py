"""Run lengths, as COCO, SAM and CVAT write masks: lengths of runs that are outside and inside in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import MaskError


def whole_number(value: Any) -> int | None:
    """The integer that a number or its text stands for (160, 160.0, "160"), or None."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    return None


def decode_coco(rle: Mapping[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """[H, W] of {"size": [H, W], "counts": list or compressed text}, whose runs go down the columns.

    Raises:
        MaskError: it is malformed, or not of a picture of (width, height) `size`.
    """
    counts, given = rle.get("counts"), rle.get("size")
    shape = [whole_number(n) for n in given] if isinstance(given, (list, tuple)) else given
    width, height = size
    if shape != [height, width]:
        sideways = "; it lies sideways: rotate the picture or the mask" if shape == [width, height] else ""
        raise MaskError(
            f"{where}: its RLE has size {given}, expected [height, width] = [{height}, {width}]{sideways}"
        )
    if isinstance(counts, (str, bytes)):
        text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        runs: list[int | None] = [*_uncompressed(text, where)]
    elif isinstance(counts, (list, tuple)):
        runs = [whole_number(n) for n in counts]
    else:
        raise MaskError(f"{where}: the counts of its RLE are neither a list nor text")
    return runs_to_mask(runs, width * height, where).reshape(width, height).T


def runs_to_mask(runs: list[int | None], total: int, where: str) -> NDArray[np.bool_]:
    """[total] of run lengths, the first one outside."""
    lengths = [n for n in runs if n is not None and 0 <= n <= total]
    if len(lengths) != len(runs) or sum(lengths) != total:
        raise MaskError(f"{where}: the counts of its RLE must be >= 0 and add up to {total}")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, np.array(lengths, np.int64))


def _uncompressed(text: bytes, where: str) -> list[int]:
    """Five bits a character from "0" up, lowest first; bit 5 says that the number goes on. From the fourth number on,
    what is stored is the difference to the one before the last."""
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        code = character - 48
        if not 0 <= code < 64 or shift > 35:
            raise MaskError(f"{where}: the counts of its RLE are no COCO RLE text")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value = shift = 0
    if shift:
        raise MaskError(f"{where}: the counts of its RLE end within a number")
    return numbers
