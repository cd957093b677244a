"""YOLO's text files: a line for each object, as fractions of the picture. https://docs.ultralytics.com/datasets/"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssic.errors import MaskError
from ssic.groups.objects import MOST_OBJECTS, GroupBy, Item, Objects, paint, read_file
from ssic.groups.raster import fill_box, fill_polygon

WHAT = "YOLO annotations"
MOST_BYTES = 2**26


def read_yolo(
    source: Any,
    size: tuple[int, int],
    *,
    names: Mapping[int, str] | None = None,
    group_by: GroupBy = "instance",
) -> Objects:
    """The objects of a file (path or bytes), painted: "class x y width height" is a box about its centre, "class x y x
    y x y ..." an outline; one number more is a score. All but the class and the score are fractions of the picture.

    Args:
        names: of the classes, by number; else they are called "class N".

    Raises:
        MaskError: malformed, or coordinates in pixels.
    """
    try:
        text = read_file(source, WHAT, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MaskError(f"the {WHAT} are no text: {error}") from error
    items: list[Item] = []
    for n, line in enumerate(text.splitlines(), 1):
        if not (words := line.split()):
            continue
        where = f"line {n} of the {WHAT}"
        if len(items) >= MOST_OBJECTS:
            raise MaskError(f"{where}: more than {MOST_OBJECTS} objects")
        try:
            number, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            raise MaskError(f"{where}: numbers were expected, class first, not {line!r:.60}") from None
        if number < 0 or not all(map(math.isfinite, values)) or len(values) < 4:
            raise MaskError(
                f"{where}: a class and at least four finite numbers were expected, not {line!r:.60}"
            )
        score = values.pop() if len(values) % 2 else None
        if score is not None and not 0 <= score <= 1:
            raise MaskError(f"{where}: its score is {score:g}; 0 to 1 was expected")
        if max(map(abs, values)) > 2:
            raise MaskError(
                f"{where}: {max(values, key=abs):g} is no fraction of the picture; YOLO's numbers are 0 to 1: "
                f"divide x by {size[0]} and y by {size[1]}"
            )
        name = (names or {}).get(number, f"class {number}")
        points = [(x * size[0], y * size[1]) for x, y in zip(values[::2], values[1::2], strict=True)]
        if len(points) == 2:
            (x, y), (w, h) = points
            items.append(
                Item(name, partial(fill_box, x - w / 2, y - h / 2, x + w / 2, y + h / 2, size), score)
            )
        else:
            items.append(Item(name, partial(fill_polygon, points, size, where), score))
    return paint(items, size, group_by)
