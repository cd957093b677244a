"""labelme's JSON: a file for each picture, with polygons and other shapes. https://github.com/wkentaro/labelme"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from ssic.errors import MaskError
from ssic.groups.objects import GroupBy, Item, Objects, Region, check_size, paint, read_json
from ssic.groups.raster import ellipse_points, fill_box, fill_polygon
from ssic.groups.rle import whole_number

WHAT = "labelme annotations"


def read_labelme(source: Any, size: tuple[int, int], *, group_by: GroupBy = "instance") -> Objects:
    """The shapes of a file (path, bytes or loaded dict), painted: polygons, rectangles, circles and masks.
    Shapes with the same label and group_id are parts of one object.

    Raises:
        MaskError: malformed, for a picture of another size, or shapes without area (points and lines).
    """
    data = read_json(source, WHAT)
    if not isinstance(data, Mapping) or not isinstance(data.get("shapes"), list):
        raise MaskError(f'these are no {WHAT}: an object with the list "shapes" was expected')
    check_size(
        [_stated(data.get(key)) for key in ("imageWidth", "imageHeight")], size, f"the file of the {WHAT}"
    )
    parts: dict[Any, list[tuple[str, Any, str]]] = {}
    for n, shape in enumerate(data["shapes"], 1):
        where = f"shape {n} of the {WHAT}"
        if not isinstance(shape, Mapping) or not isinstance(shape.get("label"), str):
            raise MaskError(f'{where} has no "label"')
        group = shape.get("group_id")
        key = (shape["label"], str(group)) if group is not None else n
        parts.setdefault(key, []).append((shape["label"], shape, where))
    items = [Item(own[0][0], partial(_draw_all, own, size)) for own in parts.values()]
    return paint(items, size, group_by)


def _stated(value: Any) -> int | None:
    return None if value is None else whole_number(value)


def _draw_all(parts: list[tuple[str, Any, str]], size: tuple[int, int]) -> Region | None:
    regions = [region for _, shape, where in parts if (region := _draw(shape, size, where)) is not None]
    if len(regions) < 2:
        return regions[0] if regions else None
    top, left = min(r.top for r in regions), min(r.left for r in regions)
    bottom = max(r.top + r.mask.shape[0] for r in regions)
    right = max(r.left + r.mask.shape[1] for r in regions)
    whole = np.zeros((bottom - top, right - left), np.bool_)
    for r in regions:
        place = whole[
            r.top - top : r.top - top + r.mask.shape[0], r.left - left : r.left - left + r.mask.shape[1]
        ]
        place |= r.mask
    return Region(top, left, whole)


def _draw(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> Region | None:
    kind, given = shape.get("shape_type") or "polygon", shape.get("points")
    if kind in ("point", "points", "line", "linestrip"):
        raise MaskError(f"{where} is a {kind}, which has no area: use polygons, rectangles, circles or masks")
    if kind == "polygon":
        return fill_polygon(given, size, where)
    try:
        corners = np.array(given, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.shape != (2, 2) or not np.isfinite(corners).all():
        raise MaskError(f"{where} is a {kind}: two points of finite numbers were expected")
    (x0, y0), (x1, y1) = corners
    if kind == "rectangle":
        return fill_box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), size)
    if kind == "circle":
        radius = math.hypot(x1 - x0, y1 - y0)  # the centre, and a point on the circle
        return fill_polygon(ellipse_points((x0, y0), (radius, radius)), size, where)
    if kind == "mask":
        return _mask(shape.get("mask"), round(min(x0, x1)), round(min(y0, y1)), size, where)
    raise MaskError(f'{where} is a "{kind!s:.40}"; polygon, rectangle, circle and mask are known')


def _mask(text: Any, left: int, top: int, size: tuple[int, int], where: str) -> Region | None:
    """A PNG in base64, which lies with its upper left corner at a place."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.size[0] > size[0] + 2 or image.size[1] > size[1] + 2:
                raise MaskError(f"{where}: its mask is larger than the picture")
            mask = np.asarray(image.convert("L")) > 0
    except MaskError:
        raise
    except (TypeError, ValueError, binascii.Error, OSError, SyntaxError) as error:
        raise MaskError(f"{where}: its mask is no PNG in base64: {error}") from error
    x0, y0 = max(0, -left), max(0, -top)
    mask = mask[y0 : max(y0, size[1] - top), x0 : max(x0, size[0] - left)]
    return Region(top + y0, left + x0, mask) if mask.any() else None
