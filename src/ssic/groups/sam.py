"""What Segment Anything gives: the list of its automatic mask generator, and the JSON files of its data set SA-1B."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import MaskError
from ssic.groups.boxes import is_finite_number
from ssic.groups.objects import Item, Objects, Region, check_size, paint, read_json
from ssic.groups.rle import decode_coco, whole_number

WHAT = "SAM masks"
CLASS = "segment"
"""What the objects are called: SAM does not know what they are."""


def read_sam(source: Any, size: tuple[int, int]) -> Objects:
    """The masks of one picture, painted, the smaller on top: "segment 1", "segment 2", ... in their order.

    Args:
        source: the list that `SamAutomaticMaskGenerator.generate` returns, whose "segmentation" is a bool array [H, W]
            or an RLE, or that list as JSON; or a file of SA-1B (path, bytes or loaded dict). "predicted_iou", where it
            is between 0 and 1, becomes the score.

    Raises:
        MaskError: malformed, or for a picture of another size.
    """
    data = read_json(source, WHAT)
    if isinstance(data, Mapping):
        about = data.get("image")
        if isinstance(about, Mapping):
            stated = [
                None if about.get(key) is None else whole_number(about[key]) for key in ("width", "height")
            ]
            check_size(stated, size, f"the file of the {WHAT}")
        data = data.get("annotations")
    if not isinstance(data, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in data):
        raise MaskError(f'these are no {WHAT}: a list of objects with "segmentation" was expected')
    items = []
    for n, entry in enumerate(data, 1):
        where = f"mask {n} of {len(data)} of the {WHAT}"
        score = entry.get("predicted_iou")
        known = is_finite_number(score) and 0 <= score <= 1
        items.append(
            Item(
                CLASS, partial(_draw, entry.get("segmentation"), size, where), float(score) if known else None
            )
        )
    return paint(items, size)


def _draw(found: Any, size: tuple[int, int], where: str) -> Region:
    if isinstance(found, Mapping):
        return Region(0, 0, decode_coco(found, size, where))
    return Region(0, 0, binary(found, size, where))


def binary(mask: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """[H, W] bool of an array that is not 0 where the object is.

    Raises:
        MaskError: another shape, or broken numbers.
    """
    try:
        array = np.asarray(mask)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim == 3 and array.shape[0] == 1:  # as predictors give a single mask
        array = array[0]
    if array.shape != size[::-1]:
        sideways = "; it lies sideways" if array.shape == size else ""
        raise MaskError(
            f"{where}: a mask [{size[1]}, {size[0]}] (rows, columns) was expected, met {list(array.shape)}{sideways}"
        )
    if array.dtype.kind == "f":
        if not np.isin(array, (0, 1, 255)).all():
            raise MaskError(f"{where} is soft: choose a threshold first, such as mask > 0.5")
    elif array.dtype.kind not in "bui":
        raise MaskError(f"{where} is an array of {array.dtype}: bool or integers were expected")
    return array != 0
