"""COCO annotations, painted into a label map.

COCO masks are rasterised by pycocotools, so that they are the masks that every COCO tool sees. It is an
optional dependency (`pip install "ssic[coco]"`) and is imported only when a COCO file is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import type_name
from ssic.errors import MaskError
from ssic.groups.boxes import is_finite_number
from ssic.groups.objects import Objects, read_json
from ssic.imports import optional
from ssic.names import as_text, numbered


def read_objects(
    source: str | os.PathLike[str] | Mapping[str, Any],
    size: tuple[int, int],
    *,
    image_id: int | str | None = None,
    file_name: str | None = None,
    group_by: Literal["instance", "class"] = "instance",
) -> Objects:
    """The objects of one picture of a COCO annotation file (path or loaded dict), painted at full resolution.

    Labels are 1, 2, ... in the order of the annotations (of the first annotation of each class with
    `group_by="class"`). Where objects overlap, the smaller one lies on top, and crowds lie below everything
    else; of two equally large ones the later. What can't be in names, such as commas, becomes a space in those of
    categories.

    Raises:
        MaskError: pycocotools is missing, the file isn't COCO, no picture or more than one fits, the sizes
            differ, or a segmentation is malformed.
    """
    if not isinstance(group_by, str) or group_by not in ("instance", "class"):
        raise MaskError(f'group_by is {group_by!r}; it can be "instance" or "class"')
    data = read_json(source, "COCO annotations")
    if not isinstance(data, Mapping) or not all(
        isinstance(data.get(key), list) and all(isinstance(item, Mapping) for item in data[key])
        for key in ("images", "annotations", "categories")
    ):
        raise MaskError(
            'this is no COCO annotation file: a JSON object with the lists "images", "annotations" and '
            '"categories" was expected (detection results lack them: pass boxes, or add them)'
        )
    if file_name is not None and not isinstance(file_name, str):
        raise MaskError(f"file_name is a string, not {type_name(file_name)}")
    image = _choose_image(data["images"], image_id, file_name)
    width, height = size
    stated = (image.get("width", width), image.get("height", height))
    if stated != (width, height):
        raise MaskError(
            f"the COCO file says that image {image.get('id')} is {stated[0]}x{stated[1]} pixels, but the "
            f"picture is {width}x{height}: choose the matching image, or the picture at the size annotated"
        )

    categories = {str(item.get("id")): _clean(item.get("name")) for item in data["categories"]}
    found = [item for item in data["annotations"] if item.get("image_id") == image.get("id")]
    rles, of_class = [], []
    for item in found:
        where = f"annotation {item.get('id')} of image {image.get('id')}"
        category = categories.get(str(item.get("category_id")))
        if not category:
            raise MaskError(f'{where} has category_id {item.get("category_id")!r}, not named in "categories"')
        of_class.append(category)
        rles.append(_rle(item.get("segmentation"), width, height, where))

    if group_by == "class":
        names = list(dict.fromkeys(of_class))
        label_of = [names.index(category) + 1 for category in of_class]
        classes = dict(enumerate(names, 1))
        scores = {}
    else:
        names = numbered(of_class)
        label_of = list(range(1, len(found) + 1))
        classes = dict(zip(label_of, of_class, strict=True))
        scores = {n: item["score"] for n, item in zip(label_of, found, strict=True) if "score" in item}
    # numbered() a second time only guards a class that is called "background".
    unique = dict(enumerate(numbered(names), 1))
    return Objects(_paint(rles, label_of, found, width, height), unique, classes, scores)


def _choose_image(
    images: list[Mapping[str, Any]], image_id: int | str | None, file_name: str | None
) -> Mapping[str, Any]:
    if image_id is not None:
        fitting = [image for image in images if str(image.get("id")) == str(image_id)]
        asked = f"id {image_id}"
    else:
        base = Path(file_name).name if file_name else None
        fitting = [image for image in images if base and Path(str(image.get("file_name"))).name == base]
        fitting = fitting or (images if len(images) == 1 else [])
        asked = f"file name {base}" if base else "no id and no file name to go by"
    if len(fitting) == 1:
        return fitting[0]
    sample = ", ".join(f"{image.get('id')} ({image.get('file_name')})" for image in images[:5])
    raise MaskError(
        f"{len(fitting) or 'none'} of the {len(images)} images in the COCO file fit ({asked}); choose one "
        f"with image_id (--image-id); the file has {sample or 'none'}{', ...' if len(images) > 5 else ''}"
    )


def _clean(name: object) -> str:
    # A data set's categories can't be renamed by who uses it, so what ssic refuses in names is replaced.
    return as_text(str(name or ""))


def _pycocotools() -> Any:
    return optional("pycocotools.mask", "coco", MaskError, "reading COCO annotations")


def _rle(segmentation: object, width: int, height: int, where: str) -> Any:
    """pycocotools' compressed RLE of a polygon list, an uncompressed or a compressed RLE; checked first,
    because its C code trusts what it is given."""
    coco = _pycocotools()
    if isinstance(segmentation, list):
        polygons = []
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_finite_number, polygon)):
                raise MaskError(f"{where}: a polygon is a flat list [x0, y0, x1, y1, ...] of finite numbers")
            far = any(not -n <= v <= 2 * n for n, axis in ((width, 0), (height, 1)) for v in polygon[axis::2])
            if far:
                raise MaskError(f"{where}: a polygon lies far outside the {width}x{height} picture")
            if len(polygon) >= 6:  # fewer than three points have no area (and four numbers would mean a box)
                polygons.append([float(v) for v in polygon])
        return coco.merge(coco.frPyObjects(polygons, height, width)) if polygons else _nothing(width, height)
    if not isinstance(segmentation, Mapping):
        raise MaskError(f"{where} has no segmentation; for boxes alone use from_boxes (--boxes)")
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(size, list) or size != [height, width]:
        raise MaskError(f"{where}: its RLE has size {size}, expected [height, width] = [{height}, {width}]")
    if isinstance(counts, list):
        if not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != width * height:
            raise MaskError(f"{where}: the counts of its RLE must be >= 0 and add up to {width * height}")
        return coco.frPyObjects({"size": size, "counts": counts}, height, width)
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    # Six bits a character from "0" up; bit 5 says that the number goes on, so the last one must not have it.
    if not isinstance(counts, bytes) or not re.fullmatch(rb"(?:[P-o]{0,6}[0-O])+", counts):
        raise MaskError(f"{where}: the counts of its RLE are neither a list nor a COCO RLE string")
    rle = {"size": size, "counts": counts}
    try:
        coco.decode(rle)
    except ValueError as error:
        raise MaskError(f"{where}: its RLE does not describe a {width}x{height} mask") from error
    return rle


def _nothing(width: int, height: int) -> Any:
    return _pycocotools().frPyObjects({"size": [height, width], "counts": [width * height]}, height, width)


def _paint(
    rles: list[Any], label_of: list[int], found: list[Mapping[str, Any]], width: int, height: int
) -> NDArray[np.int32]:
    labels = np.zeros((height, width), np.int32)
    coco = _pycocotools()

    def depth(n: int) -> tuple[bool, int]:
        return not found[n].get("iscrowd"), -int(coco.area(rles[n]))

    for n in sorted(range(len(rles)), key=depth):
        labels[coco.decode(rles[n]).astype(bool)] = label_of[n]
    return labels
