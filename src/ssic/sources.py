"""Reads what masks are made from: COCO annotations and boxes (painted into a label map), label maps, names.

COCO masks are rasterised by pycocotools, so that they are the masks that every COCO tool sees. It is an
optional dependency (`pip install "ssic[coco]"`) and is imported only when a COCO file is read.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssic.errors import MaskError
from ssic.format.layout import as_text
from ssic.given import name_of

BACKGROUND = "background"
_BOX_KEYS = ("box", "name", "class", "score")

Names = Mapping[Any, str] | Sequence[str] | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Objects:
    """Painted objects: `labels` [H, W] int32 (0 is the background), and what is known of each label > 0."""

    labels: NDArray[np.int32]
    names: dict[int, str]
    classes: dict[int, str]
    scores: dict[int, float]


def read_json(source: object, what: str) -> Any:
    """Parsed content of the JSON file at `source` (str or path); anything but a path is returned as it is.

    Raises:
        MaskError: the file is missing, unreadable or not JSON; `what` says what it was wanted for.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    try:
        return parse_json(Path(source).read_bytes(), what, source)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, MaskError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise MaskError(f"can't read the {what} in {source}: {reason}") from error


def parse_json(data: bytes, what: str, source: object) -> Any:
    """Content of JSON in UTF-8; errors as of `read_json`."""
    if not data:
        raise MaskError(f"the file of the {what}, {source}, is empty")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MaskError(f"the {what} in {source} is not valid JSON: {error}") from error


def numbered(names: Sequence[str], reserved: Iterable[str] = (BACKGROUND,)) -> list[str]:
    """Unique names: one that occurs once stays ("dog"), one that occurs more often is numbered ("person 1").

    >>> numbered(["person", "dog", "person"])
    ['person 1', 'dog', 'person 2']
    """
    reserved = set(reserved)
    count = Counter(names)
    alone = {name for name in names if count[name] == 1 and name not in reserved}
    taken, last, unique = reserved | alone, Counter[str](), []
    for name in names:
        chosen = name
        while name not in alone and chosen in taken | {name}:
            last[name] += 1
            chosen = f"{name} {last[name]}"
        taken.add(chosen)
        unique.append(chosen)
    return unique


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
        raise MaskError(f"file_name is a string, not {name_of(file_name)}")
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


def read_labels(source: str | os.PathLike[str] | Image.Image | NDArray[Any]) -> NDArray[Any]:
    """The labels in a file (path) or Pillow image; anything else as an array, still to be checked.

    Raises:
        MaskError: unreadable, a JPEG, or in a mode that does not hold labels.
    """
    if isinstance(source, Image.Image):
        return _labels(lambda: source, "the label map")
    if not isinstance(source, (str, os.PathLike)):
        try:
            return np.asarray(source)
        except ValueError as error:  # rows of different lengths
            raise MaskError(f"the label map is no array [rows, columns]: {error}") from error
    shown = f"the label map {source}"
    if os.path.isfile(source) and not os.path.getsize(source):
        raise MaskError(f"{shown} is empty")
    return _labels(lambda: Image.open(Path(source)), shown)


def parse_labels(data: bytes, source: object) -> NDArray[Any]:
    """The labels in the bytes of a picture's file; errors as of `read_labels`."""
    if not data:
        raise MaskError(f"the label map {source} is empty")
    return _labels(lambda: Image.open(io.BytesIO(data)), f"the label map {source}")


def _labels(opened: Callable[[], Image.Image], shown: str) -> NDArray[Any]:
    try:
        image = opened()
        if image.format in ("JPEG", "MPO"):
            raise MaskError(f"{shown} is a JPEG, which does not keep labels exact: use PNG")
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.asarray(ImageOps.exif_transpose(image))
        pixels = np.asarray(ImageOps.exif_transpose(image))
        if image.mode == "RGB" and (pixels == pixels[:, :, :1]).all():
            return pixels[:, :, 0]  # gray, saved as colour
        raise MaskError(
            f"{shown} is in colour or has alpha (mode {image.mode}); labels are palette indices or "
            "8- or 16-bit gray. Save it as an indexed or gray PNG with one number per group"
        )
    except MaskError:
        raise
    except UnidentifiedImageError as error:
        raise MaskError(f"can't read {shown}: it is no picture that Pillow knows") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise MaskError(f"can't read {shown}: {error}") from error


def read_names(names: Names | None) -> dict[int, str]:
    """label -> name, from a mapping, a list, the path of a JSON file with either, or None (nothing).

    Raises:
        MaskError: none of these, or keys that aren't integers.
    """
    given = read_json(names, "names") if names is not None else {}
    if isinstance(given, Mapping):
        try:
            return {int(key): name for key, name in given.items()}
        except (TypeError, ValueError) as error:
            raise MaskError(f'the keys of names must be labels, as in {{"1": "dog"}}: {error}') from error
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return dict(enumerate(given))
    raise MaskError("names must be an object, label -> name, or a list of names by label")


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
    if len(values) != 4 or not all(map(_is_number, values)):
        raise MaskError(f"{where} is {box!r}; [x0, y0, x1, y1] in pixels was expected")
    width, height = size
    x0, y0 = max(0, math.floor(values[0])), max(0, math.floor(values[1]))
    x1, y1 = min(width, math.ceil(values[2])), min(height, math.ceil(values[3]))
    if x0 >= x1 or y0 >= y1:
        raise MaskError(
            f"{where}, {box!r}, covers nothing of the {width}x{height} picture; x0 < x1 and y0 < y1 are "
            "expected, x1 and y1 being exclusive (COCO's own boxes are x, y, width, height)"
        )
    return x0, y0, x1, y1


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
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MaskError('COCO annotations need pycocotools: pip install "ssic[coco]"') from error
    return mask


def _rle(segmentation: object, width: int, height: int, where: str) -> Any:
    """pycocotools' compressed RLE of a polygon list, an uncompressed or a compressed RLE; checked first,
    because its C code trusts what it is given."""
    coco = _pycocotools()
    if isinstance(segmentation, list):
        polygons = []
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(_is_number, polygon)):
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


def _is_number(value: object) -> bool:
    # An int beyond the range of floats makes math.isfinite raise.
    return isinstance(value, Integral) or (isinstance(value, Real) and math.isfinite(value))


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
