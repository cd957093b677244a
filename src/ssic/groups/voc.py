"""Pascal VOC: an XML file for each picture, with boxes. https://host.robots.ox.ac.uk/pascal/VOC/"""

from __future__ import annotations

from functools import partial
from typing import Any

from ssic.errors import MaskError
from ssic.groups.objects import GroupBy, Item, Objects, check_size, paint, read_file
from ssic.groups.raster import fill_box, fill_polygon
from ssic.groups.rle import whole_number
from ssic.groups.xml_tree import MOST_BYTES, is_element, number, parse_xml

WHAT = "Pascal VOC annotations"


def read_voc(source: Any, size: tuple[int, int], *, group_by: GroupBy = "instance") -> Objects:
    """The objects of a file (path, bytes or root element), painted.

    Corners count pixels from 1, both included, as VOC defines it: a box from 1 to 16 is 16 pixels wide. Where an object
    has a `polygon` (x1, y1, x2, y2, ...), as some tools write it, that is used instead of its box.

    Raises:
        MaskError: malformed, or for a picture of another size.
    """
    root = source if is_element(source) else parse_xml(read_file(source, WHAT, MOST_BYTES), f"the {WHAT}")
    if root.tag != "annotation":
        raise MaskError(f"these are no {WHAT}: the root is <{root.tag:.40}>, <annotation> was expected")
    # Tools that don't know the size write 0.
    stated = [whole_number(root.findtext(f"size/{side}") or "") or None for side in ("width", "height")]
    check_size(stated, size, f"the file of the {WHAT}")
    items = []
    for n, entry in enumerate(root.iter("object"), 1):
        where = f"object {n} of the {WHAT}"
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise MaskError(f"{where} has no <name>")
        if (outline := entry.find("polygon")) is not None and len(outline) >= 6:
            values = [number(child.text, where) for child in outline]
            corners = list(zip(values[::2], values[1::2], strict=False))
            items.append(Item(name, partial(fill_polygon, corners, size, where)))
            continue
        box = entry.find("bndbox")
        if box is None:
            raise MaskError(f"{where} has no <bndbox>")
        x0, y0, x1, y1 = (
            number(box.findtext(key), f"{where}, {key}") for key in ("xmin", "ymin", "xmax", "ymax")
        )
        if x0 > x1 or y0 > y1:
            raise MaskError(
                f"{where}: xmin <= xmax and ymin <= ymax were expected, met {x0:g}, {y0:g}, {x1:g}, {y1:g}"
            )
        items.append(Item(name, partial(fill_box, x0 - 1, y0 - 1, x1, y1, size)))
    return paint(items, size, group_by)
