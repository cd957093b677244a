"""CVAT's own XML, "CVAT for images 1.1": many pictures in a file. https://docs.cvat.ai/docs/manual/advanced/xml_format/"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ssic.arguments import type_name
from ssic.errors import MaskError
from ssic.groups.objects import GroupBy, Item, Objects, Region, check_size, paint, read_file
from ssic.groups.raster import ellipse_points, fill_box, fill_polygon, turned
from ssic.groups.rle import runs_to_mask, whole_number
from ssic.groups.which import choose, same_id
from ssic.groups.xml_tree import MOST_BYTES, is_element, number, parse_xml, points

WHAT = "CVAT annotations"
_NO_AREA = ("polyline", "points", "skeleton", "cuboid", "tag")


def read_cvat(
    source: Any,
    size: tuple[int, int],
    *,
    file_name: str | None = None,
    image_id: int | str | None = None,
    group_by: GroupBy = "instance",
) -> Objects:
    """The objects of one picture of a file (path, bytes or root element), painted: boxes, polygons, ellipses and masks.
    The picture is the one with `image_id`, else the one that `file_name` means, else the only one. What has a higher
    z_order lies on top.

    Raises:
        MaskError: malformed, a video's tracks, no such picture or several, one of another size, or shapes without area.
    """
    root = source if is_element(source) else parse_xml(read_file(source, WHAT, MOST_BYTES), f"the {WHAT}")
    if root.tag != "annotations":
        raise MaskError(f"these are no {WHAT}: the root is <{root.tag:.40}>, <annotations> was expected")
    if file_name is not None and not isinstance(file_name, str):
        raise MaskError(f"file_name is a string, not {type_name(file_name)}")
    images = root.findall("image")
    if not images and root.find("track") is not None:
        raise MaskError(f'the {WHAT} are tracks of a video: export them as "CVAT for images"')
    if image_id is not None:
        fitting = [image for image in images if same_id(image.get("id")) == same_id(image_id)]
    else:
        fitting = choose(images, file_name, lambda image: image.get("name"))
    if len(fitting) != 1:
        sample = ", ".join(f"{image.get('id')} ({image.get('name')})" for image in (fitting or images)[:5])
        raise MaskError(
            f"{len(fitting) or 'none'} of the {len(images)} pictures in the {WHAT} fit; choose one with image_id "
            f"(--image-id): {sample or 'there are none'}"
        )
    (image,) = fitting
    called = f"image {image.get('id')} of the {WHAT}"
    check_size([whole_number(image.get(side) or "") for side in ("width", "height")], size, called)
    return paint(
        [_item(shape, size, f"shape {n} of {called}") for n, shape in enumerate(image, 1)], size, group_by
    )


def _item(shape: Any, size: tuple[int, int], where: str) -> Item:
    kind, name = shape.tag, (shape.get("label") or "").strip()
    if kind in _NO_AREA:
        raise MaskError(f"{where} is a {kind}, which has no area: use polygons, boxes, ellipses or masks")
    if not name:
        raise MaskError(f"{where} has no label")
    layer = whole_number(shape.get("z_order") or "0") or 0

    def value(key: str) -> float:
        return number(shape.get(key), f"{where}, {key}")

    angle = number(shape.get("rotation") or "0", where)
    if kind == "polygon":
        corners = points(shape.get("points"), where)
        return Item(name, partial(fill_polygon, corners, size, where), layer=layer)
    if kind == "ellipse":
        centre = value("cx"), value("cy")
        outline = turned(ellipse_points(centre, (value("rx"), value("ry"))), angle, centre)
        return Item(name, partial(fill_polygon, outline, size, where), layer=layer)
    if kind == "mask":
        left, top, width, height = (int(value(key)) for key in ("left", "top", "width", "height"))
        if min(left, top) < 0 or min(width, height) < 1 or left + width > size[0] or top + height > size[1]:
            raise MaskError(f"{where}: the mask does not lie within the picture")
        runs = [whole_number(n.strip()) for n in (shape.get("rle") or "").split(",")]

        def draw() -> Region:
            return Region(top, left, runs_to_mask(runs, width * height, where).reshape(height, width))

        return Item(name, draw, layer=layer)
    if kind == "box":
        x0, y0, x1, y1 = value("xtl"), value("ytl"), value("xbr"), value("ybr")
        if angle:
            corners = turned(
                np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), angle, ((x0 + x1) / 2, (y0 + y1) / 2)
            ).tolist()
            return Item(name, partial(fill_polygon, corners, size, where), layer=layer)
        return Item(name, partial(fill_box, x0, y0, x1, y1, size), layer=layer)
    raise MaskError(f"{where} is a <{kind:.40}>; box, polygon, ellipse and mask are known")
