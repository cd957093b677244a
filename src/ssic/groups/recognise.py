"""What somebody gave as a mask: recognised by its content, and read by the module for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from ssic.arguments import type_name
from ssic.errors import MaskError
from ssic.foreign_arrays import is_foreign, to_numpy
from ssic.groups.arrays import parse_npy, read_named, read_stack
from ssic.groups.boxes import read_boxes
from ssic.groups.coco import read_objects
from ssic.groups.cvat import read_cvat
from ssic.groups.label_maps import read_names
from ssic.groups.labelme import read_labelme
from ssic.groups.objects import GroupBy, Objects, is_path, listed, parse_json, read_file
from ssic.groups.sam import read_sam
from ssic.groups.voc import read_voc
from ssic.groups.xml_tree import MOST_BYTES, parse_xml
from ssic.groups.yolo_text import read_yolo

Kind = Literal[
    "label map",
    "COCO",
    "labelme",
    "YOLO",
    "Pascal VOC",
    "CVAT",
    "SAM",
    "boxes",
    "stack of masks",
    "masks by name",
]
_YOLO_LINE = re.compile(rb"\s*\d+(\s+[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?){4,}\s*")


@dataclass(frozen=True)
class Recognised:
    """What a source is, and its content as far as it was parsed on the way.

    Attributes:
        shown: what it is called in messages.
    """

    kind: Kind
    content: Any
    shown: str


def recognise(source: Any) -> Recognised:
    """What a source is: a path, the bytes of a file, an image of Pillow, an array, or parsed JSON.

    Raises:
        MaskError: unreadable, or nothing that masks are made of; what was seen is named.
    """
    if isinstance(source, Image.Image):
        return Recognised("label map", source, "the image")
    if is_path(source):
        data = read_file(source, "mask") if not _may_be_empty(source) else b""
        return _of_bytes(data, str(source), source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _of_bytes(read_file(source, "mask"), "the bytes of the mask", None)
    return _of_object(source, "the mask")


def _may_be_empty(path: Any) -> bool:
    """Whether it is an empty text file, which is how YOLO says that nothing is in a picture."""
    try:
        with open(path, "rb") as file:
            return str(path).lower().endswith(".txt") and not file.read(4096).strip()
    except (OSError, ValueError):
        return False


def _of_bytes(data: bytes, shown: str, path: Any) -> Recognised:
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data.startswith(b"\x93NUMPY"):
        array = parse_npy(data)
        return Recognised("stack of masks" if array.ndim == 3 else "label map", array, shown)
    if data.startswith(b"PK\x03\x04"):
        raise MaskError(
            f"{shown} is an archive (.npz or .zip): load the array in it, numpy.load(...)[name], and pass that"
        )
    if start.startswith(b"<"):
        root = parse_xml(read_file(data, "XML", MOST_BYTES), f"the XML in {shown}")
        if root.tag in ("annotation", "annotations"):
            return Recognised("Pascal VOC" if root.tag == "annotation" else "CVAT", root, shown)
        raise MaskError(
            f"{shown} is XML with the root <{root.tag:.40}>; Pascal VOC (<annotation>) and CVAT are known"
        )
    if start.startswith((b"{", b"[")):
        return _of_object(parse_json(data, "mask", shown), shown)
    if (not start and path is not None) or _YOLO_LINE.fullmatch(start.partition(b"\n")[0].rstrip(b"\r")):
        return Recognised("YOLO", data or b"\n", shown)
    return Recognised("label map", path if path is not None else data, shown)


def _of_object(value: Any, shown: str) -> Recognised:
    """Of an array, or of what JSON holds."""
    if isinstance(value, Mapping):
        if isinstance(value.get("shapes"), list):
            return Recognised("labelme", value, shown)
        if "images" in value and "annotations" in value:
            return Recognised("COCO", value, shown)
        if isinstance(value.get("annotations"), list):
            return Recognised("SAM", value, shown)
        if value and all(isinstance(name, str) and hasattr(mask, "shape") for name, mask in value.items()):
            return Recognised("masks by name", value, shown)
        raise MaskError(
            f"{shown} is an object with {listed(value)}; COCO, labelme and SA-1B annotations and masks by name "
            "({'dog': array}) are known"
        )
    if isinstance(value, (list, tuple)) and value and all(isinstance(entry, Mapping) for entry in value):
        if all("category_id" in entry for entry in value):
            raise MaskError(
                f"{shown} is a list of COCO detection results, which lack the names of classes: put them into the "
                '"annotations" of a file with "images" and "categories"'
            )
        if all("segmentation" in entry for entry in value):
            return Recognised("SAM", value, shown)
        return Recognised("boxes", value, shown)
    if isinstance(value, (list, tuple)) and all(_is_box(entry) for entry in value):
        return Recognised("boxes", value, shown)
    if is_foreign(value) and len(value.shape) == 2:
        value = to_numpy(value, MaskError, "labels are whole numbers: labels.round().long()")
    try:
        array = np.asarray(value)
    except Exception as error:  # rows of different lengths, or a tensor that NumPy can't read
        raise MaskError(f"{shown} is no array: {error}") from error
    if array.dtype == object or array.dtype.kind in "USO" or not array.ndim:
        raise MaskError(
            "a mask is made of a path, bytes, an image, an array, masks by name or annotations, "
            f"not of {type_name(value)}"
        )
    if array.ndim == 3 and not (
        array.shape[2] in (3, 4) and array.shape[0] not in (3, 4) and array.dtype == np.uint8
    ):
        return Recognised("stack of masks", array, shown)
    return Recognised("label map", array, shown)


def _is_box(entry: Any) -> bool:
    return (
        isinstance(entry, Sequence)
        and not isinstance(entry, (str, bytes))
        and len(entry) == 4
        and all(isinstance(v, (int, float)) for v in entry)
    )


def read_recognised(
    found: Recognised,
    size: tuple[int, int],
    *,
    names: Any = None,
    file_name: str | None = None,
    image_id: int | str | None = None,
    group_by: GroupBy = "instance",
) -> Objects:
    """The objects of anything but a label map, painted.

    Raises:
        MaskError: as the reader for its kind; or an argument that means nothing with it. It begins with what was
            recognised.
    """
    kind, content = found.kind, found.content
    try:
        if names is not None and kind not in ("YOLO", "stack of masks"):
            raise MaskError("names are of use with label maps, YOLO's text and stacks of masks only")
        if image_id is not None and kind not in ("COCO", "CVAT"):
            raise MaskError("image_id is of use with COCO and CVAT only: this is about one picture")
        if kind == "COCO":
            return read_objects(content, size, image_id=image_id, file_name=file_name, group_by=group_by)
        if kind == "CVAT":
            return read_cvat(content, size, image_id=image_id, file_name=file_name, group_by=group_by)
        if kind == "YOLO":
            return read_yolo(content, size, names=read_names(names), group_by=group_by)
        if kind == "labelme":
            return read_labelme(content, size, group_by=group_by)
        if kind == "Pascal VOC":
            return read_voc(content, size, group_by=group_by)
        if kind == "masks by name":
            return read_named(content, size, group_by=group_by)
        if group_by != "instance":
            raise MaskError("objects can't be grouped by class: their classes are not known")
        if kind == "SAM":
            return read_sam(content, size)
        if kind == "boxes":
            return read_boxes(content, size)
        return read_stack(content, size, read_names(names))
    except MaskError as error:
        raise MaskError(f"{found.shown}, recognised as {kind}: {error}") from error
