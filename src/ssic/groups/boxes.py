"""Boxes, painted into a label map."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from ssic.errors import MaskError
from ssic.groups.objects import Objects, read_json
from ssic.names import BACKGROUND, numbered

_BOX_KEYS = ("box", "name", "class", "score")


def read_boxes(source: str | os.PathLike[str] | Sequence[Any], size: tuple[int, int]) -> Objects:
    """Boxes (path of a JSON file, or a list), painted in order at full resolution; labels are 1, 2, ...

    Raises:
        MaskError: not a list of boxes, an object with other keys, or a box that covers nothing of the picture.
    """
    items = read_json(source, "boxes")
    items = items.tolist() if isinstance(items, np.ndarray) else items
    if not isinstance(items, (list, tuple)):
        raise MaskError('boxes must be a list of [x0, y0, x1, y1] or of objects with such a "box"')
    entries = dict(enumerate((item if isinstance(item, Mapping) else {"box": item} for item in items), 1))
    labels = np.zeros((size[1], size[0]), np.int32)
    for n, entry in entries.items():
        where = f"box {n} of {len(entries)}"
        if unknown := [key for key in entry if key not in _BOX_KEYS]:
            raise MaskError(f"{where} has {_quoted(unknown)}; what is known is {_quoted(_BOX_KEYS)}")
        if "box" not in entry:
            raise MaskError(f'{where} has no "box": [x0, y0, x1, y1] in pixels')
        x0, y0, x1, y1 = _read_box(entry["box"], size, where)
        labels[y0:y1, x0:x1] = n
    names, classes, scores = (
        {n: entry[key] for n, entry in entries.items() if entry.get(key) is not None}
        for key in ("name", "class", "score")
    )
    rest = [n for n in entries if n not in names]
    automatic = numbered([str(classes.get(n, "box")) for n in rest], {BACKGROUND, *map(str, names.values())})
    return Objects(labels, names | dict(zip(rest, automatic, strict=True)), classes, scores)


def _quoted(keys: Iterable[object]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _read_box(box: object, size: tuple[int, int], where: str) -> tuple[int, int, int, int]:
    values: list[Any] = list(box) if isinstance(box, (list, tuple, np.ndarray)) else []
    if len(values) != 4 or not all(map(is_finite_number, values)):
        raise MaskError(f"{where} is {box!r}; [x0, y0, x1, y1] in pixels was expected")
    width, height = size
    x0, y0 = max(0, math.floor(values[0])), max(0, math.floor(values[1]))
    x1, y1 = min(width, math.ceil(values[2])), min(height, math.ceil(values[3]))
    if all(0 <= v <= 1 for v in values) and any(0 < v < 1 for v in values):
        raise MaskError(
            f"{where}, {box!r}, lies within the first pixel: fractions of the picture must become pixels first, "
            f"x times {width} and y times {height}"
        )
    if x0 >= x1 or y0 >= y1:
        raise MaskError(
            f"{where}, {box!r}, covers nothing of the {width}x{height} picture; x0 < x1 and y0 < y1 are "
            "expected, x1 and y1 being exclusive (COCO's own boxes are x, y, width, height)"
        )
    return x0, y0, x1, y1


def is_finite_number(value: object) -> bool:
    """Whether it is a real number that is finite; bool is taken for one."""
    # An int beyond the range of floats makes math.isfinite raise.
    return isinstance(value, Integral) or (isinstance(value, Real) and math.isfinite(value))
