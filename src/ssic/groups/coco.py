"""COCO annotations, painted into a label map.

COCO masks are rasterised by pycocotools, so that they are the masks that every COCO tool sees. It is an
optional dependency (`pip install "ssic[coco]"`) and is imported only when a COCO file is read.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import type_name
from ssic.errors import MaskError
from ssic.groups.boxes import is_finite_number
from ssic.groups.objects import GroupBy, Objects, check_group_by, check_size, read_json
from ssic.groups.rle import whole_number
from ssic.groups.which import choose, same_id
from ssic.imports import optional
from ssic.names import as_text, numbered

_FAR = 2**15
"""Pixels outside the picture where points of polygons may lie."""


class BoxesForOutlines(UserWarning):
    """Objects have a box and no outline, and their boxes were used."""


class NothingAnnotated(UserWarning):
    """The picture is in the file of annotations, and nothing in it is annotated."""


def read_objects(
    source: str | os.PathLike[str] | bytes | Mapping[str, Any],
    size: tuple[int, int],
    *,
    image_id: int | str | None = None,
    file_name: str | None = None,
    group_by: GroupBy = "instance",
) -> Objects:
    """The objects of one picture of a COCO annotation file (path, bytes or loaded dict), painted at full resolution.

    Labels are 1, 2, ... in the order of the annotations (of the first annotation of each class with
    `group_by="class"`). Where objects overlap, the smaller one lies on top, and crowds lie below everything
    else; of two equally large ones the later. What can't be in names, such as commas, becomes a space in those of
    categories. Ids are compared as numbers, whatever their type in JSON. An object with a box and no outline is its
    box.

    Args:
        file_name: name or path of the picture. Of several images with the same base name the one is taken whose
            folders agree with it, counted from the end.

    Warns:
        BoxesForOutlines: objects without outlines.
        NothingAnnotated: no annotation is of this picture.

    Raises:
        MaskError: pycocotools is missing, the file isn't COCO, no picture or more than one fits, the sizes
            differ, or a segmentation is malformed.
    """
    check_group_by(group_by)
    data = check_coco(read_json(source, "COCO annotations"))
    if file_name is not None and not isinstance(file_name, str):
        raise MaskError(f"file_name is a string, not {type_name(file_name)}")
    image = _choose_image(data["images"], image_id, file_name)
    width, height = size
    stated = [None if image.get(key) is None else whole_number(image[key]) for key in ("width", "height")]
    check_size(stated, size, f"image {image.get('id')} of the COCO file")

    categories = {same_id(item.get("id")): _clean(item.get("name")) for item in data["categories"]}
    own = same_id(image.get("id"))
    found = [item for item in data["annotations"] if same_id(item.get("image_id")) == own]
    rles, of_class, boxed = [], [], 0
    for item in found:
        where = f"annotation {item.get('id')} of image {image.get('id')}"
        category = categories.get(same_id(item.get("category_id")))
        if not category:
            raise MaskError(f'{where} has category_id {item.get("category_id")!r}, not named in "categories"')
        of_class.append(category)
        outline = item.get("segmentation")
        if (outline is None or outline == []) and item.get("bbox") is not None:
            outline, boxed = _outline_of_box(item["bbox"], where), boxed + 1
        rles.append(_rle(outline, width, height, where))
    _tell(image, data, len(found), boxed)

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


def check_coco(data: Any) -> Mapping[str, Any]:
    """`data` itself; `MaskError` if it is no content of a COCO annotation file."""
    if not isinstance(data, Mapping) or not all(
        isinstance(data.get(key), list) and all(isinstance(item, Mapping) for item in data[key])
        for key in ("images", "annotations", "categories")
    ):
        raise MaskError(
            'this is no COCO annotation file: a JSON object with the lists "images", "annotations" and '
            '"categories" was expected (detection results lack them: pass boxes, or add them)'
        )
    return data


def _tell(image: Mapping[str, Any], data: Mapping[str, Any], count: int, boxed: int) -> None:
    if not count:
        known = {same_id(item.get("id")) for item in data["images"]}
        stray = [
            item.get("image_id") for item in data["annotations"] if same_id(item.get("image_id")) not in known
        ]
        lost = (
            f"; {len(stray)} annotations are of images that it does not list, such as {stray[0]!r}"
            if stray
            else ""
        )
        text = f"the COCO file has no annotation of image {image.get('id')} ({image.get('file_name')}){lost}"
        warnings.warn(text, NothingAnnotated, stacklevel=4)
    if boxed:
        text = f"{boxed} of {count} objects have a box and no outline: their boxes are used"
        warnings.warn(text, BoxesForOutlines, stacklevel=4)


def _outline_of_box(box: Any, where: str) -> list[list[float]]:
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_finite_number, box)):
        raise MaskError(
            f"{where} has no outline, and its bbox is {box!r:.80}; [x, y, width, height] was expected"
        )
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _choose_image(
    images: Sequence[Mapping[str, Any]], image_id: int | str | None, file_name: str | None
) -> Mapping[str, Any]:
    if image_id is not None:
        fitting = [image for image in images if same_id(image.get("id")) == same_id(image_id)]
        asked = f"id {image_id}"
    else:
        fitting = choose(images, file_name, lambda image: image.get("file_name"))
        asked = f"file name {file_name}" if file_name else "no id and no file name to go by"
    if len(fitting) == 1:
        return fitting[0]
    shown = fitting or images
    sample = ", ".join(f"{image.get('id')} ({image.get('file_name')})" for image in shown[:5])
    raise MaskError(
        f"{len(fitting) or 'none'} of the {len(images)} images in the COCO file fit ({asked}); choose one "
        f"with image_id (--image-id); the file has {sample or 'none'}{', ...' if len(shown) > 5 else ''}"
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
        if segmentation and all(map(is_finite_number, segmentation)):
            segmentation = [segmentation]  # one polygon, not in a list of its own
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_finite_number, polygon)):
                raise MaskError(f"{where}: a polygon is a flat list [x0, y0, x1, y1, ...] of finite numbers")
            # pycocotools walks along outlines pixel by pixel, also outside the picture.
            limits = [(n, max(4 * n, _FAR)) for n in (width, height)]
            if not all(
                -far <= v <= n + far for axis, (n, far) in enumerate(limits) for v in polygon[axis::2]
            ):
                raise MaskError(f"{where}: a polygon lies far outside the {width}x{height} picture")
            if len(polygon) >= 6:  # fewer than three points have no area (and four numbers would mean a box)
                polygons.append([float(v) for v in polygon])
        return coco.merge(coco.frPyObjects(polygons, height, width)) if polygons else _nothing(width, height)
    if not isinstance(segmentation, Mapping):
        raise MaskError(f"{where} has neither an outline nor a box")
    counts, size = segmentation.get("counts"), segmentation.get("size")
    shape = [whole_number(n) for n in size] if isinstance(size, list) else None
    if shape != [height, width]:
        sideways = (
            "; it lies sideways: annotate the picture as it is shown" if shape == [width, height] else ""
        )
        raise MaskError(
            f"{where}: its RLE has size {size}, expected [height, width] = [{height}, {width}]{sideways}"
        )
    if isinstance(counts, list):
        runs = [whole_number(n) for n in counts]
        if not all(n is not None and n >= 0 for n in runs) or sum(n or 0 for n in runs) != width * height:
            raise MaskError(f"{where}: the counts of its RLE must be >= 0 and add up to {width * height}")
        return coco.frPyObjects({"size": shape, "counts": runs}, height, width)
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    # Six bits a character from "0" up; bit 5 says that the number goes on, so the last one must not have it.
    if not isinstance(counts, bytes) or not re.fullmatch(rb"(?:[P-o]{0,6}[0-O])+", counts):
        raise MaskError(f"{where}: the counts of its RLE are neither a list nor a COCO RLE string")
    rle = {"size": shape, "counts": counts}
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
