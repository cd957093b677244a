"""Masks from the tools that people have: every reader, and that each is recognised by its content."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.image_files import tiff
from ssic.errors import MaskError
from ssic.groups.label_maps import UnusedNames, blocks_without
from ssic.groups.mask import DroppedGroups, GroupMask
from ssic.groups.raster import fill_polygon
from ssic.groups.rle import decode_coco

SIZE = (64, 48)  # 4x3 blocks
LEFT = np.zeros((48, 64), np.uint8)
LEFT[:, :32] = 1
SPOT = np.zeros((48, 64), bool)
SPOT[16:32, 32:48] = True
LABELS = (LEFT + 2 * SPOT).astype(np.uint8)
SCENE = [[1, 1, 0, 0], [1, 1, 2, 0], [1, 1, 0, 0]]
"""Blocks of LEFT and SPOT."""


def png(array: np.ndarray | Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, "PNG", **options)
    return file.getvalue()


def lm_shape(label: str, kind: str, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points, **more}


LABELME = {
    "imageWidth": 64, "imageHeight": 48, "imagePath": "a.jpg", "imageData": None,
    "shapes": [
        lm_shape("wall", "rectangle", [[32, 48], [0, 0]]),
        lm_shape("dog", "polygon", [[32, 16], [48, 16], [48, 32], [32, 32]]),
    ],
}  # fmt: skip
VOC = b"""<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>wall</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>32</xmax><ymax>48</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>33</xmin><ymin>17</ymin><xmax>48</xmax><ymax>32</ymax></bndbox></object>
</annotation>"""
CVAT = b"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>
<image id="0" name="x/a.jpg" width="64" height="48">
<box label="wall" xtl="0" ytl="0" xbr="32" ybr="48" z_order="0"/>
<polygon label="dog" points="32,16;48,16;48,32;32,32" z_order="1"/></image>
<image id="1" name="y/a.jpg" width="64" height="48">
<mask label="dog" rle="0, 256" left="32" top="16" width="16" height="16"/>
<ellipse label="ball" cx="8" cy="8" rx="8" ry="8"/></image></annotations>"""
YOLO = b"0 0.25 0.5 0.5 1\n1 0.5 0.333334 0.75 0.333334 0.75 0.666666 0.5 0.666666\n"
SAM = [
    {"segmentation": LEFT.astype(bool), "area": 1536, "predicted_iou": 0.9},
    {"segmentation": {"size": [48, 64], "counts": [32 * 48 + 16] + [16, 32] * 15 + [16, 16 + 16 * 48]}},
]


def test_every_kind_gives_the_same_blocks_and_is_recognised(tmp_path: Path) -> None:
    for n, (source, names) in enumerate(
        [
            (json.dumps(LABELME).encode(), None),
            (VOC, None),
            (b"\xef\xbb\xbf" + VOC, None),
            (YOLO, {0: "wall", 1: "dog"}),
        ]
    ):
        path = tmp_path / f"mask{n}"
        path.write_bytes(source)
        for given_as in (path, str(path), source):
            mask = GroupMask.from_any(given_as, SIZE, names)
            assert mask.ids.tolist() == SCENE
            assert mask.names == {0: "background", 1: "wall", 2: "dog"}
            assert mask.classes == {1: "wall", 2: "dog"}
    assert GroupMask.from_any(CVAT, SIZE, file_name="photos/x/a.jpg").ids.tolist() == SCENE
    assert GroupMask.from_any(LABELME, SIZE).ids.tolist() == SCENE
    assert GroupMask.from_any(SAM, SIZE).ids.tolist() == SCENE
    assert GroupMask.from_any({"wall": LEFT, "dog": SPOT}, SIZE).names == {
        0: "background",
        1: "wall",
        2: "dog",
    }
    boxes = [[0, 0, 32, 48], [32, 16, 48, 32]]
    assert GroupMask.from_any(boxes, SIZE).ids.tolist() == SCENE
    assert GroupMask.from_any(json.dumps(boxes).encode(), SIZE) == GroupMask.from_boxes(boxes, SIZE)
    stack = np.stack([LEFT.astype(bool), SPOT])
    for masks in (stack, stack.astype(np.uint8) * 255, [LEFT, SPOT]):
        assert GroupMask.from_any(masks, SIZE).ids.tolist() == SCENE
    assert GroupMask.from_any(stack, SIZE, ["wall", "dog"]).names == {0: "background", 1: "wall", 2: "dog"}
    labels = LABELS
    assert GroupMask.from_any(labels, SIZE).ids.tolist() == SCENE
    assert GroupMask.from_any(Image.fromarray(labels), SIZE).ids.tolist() == SCENE
    for array in (labels, stack, np.asfortranarray(labels)):
        file = io.BytesIO()
        np.save(file, array)
        assert GroupMask.from_any(file.getvalue(), SIZE).ids.tolist() == SCENE


def test_methods_of_one_kind_agree_with_recognition() -> None:
    assert GroupMask.from_labelme(LABELME, SIZE) == GroupMask.from_any(LABELME, SIZE)
    assert GroupMask.from_voc(VOC, SIZE) == GroupMask.from_any(VOC, SIZE)
    assert GroupMask.from_cvat(CVAT, SIZE, image_id="0") == GroupMask.from_any(CVAT, SIZE, image_id=0)
    assert GroupMask.from_yolo(YOLO, SIZE, ["a", "b"]) == GroupMask.from_any(YOLO, SIZE, ["a", "b"])
    assert GroupMask.from_sam(SAM, SIZE) == GroupMask.from_any(SAM, SIZE)
    assert GroupMask.from_masks({"a": LEFT}, SIZE) == GroupMask.from_any({"a": LEFT}, SIZE)
    assert GroupMask.from_masks([LEFT, SPOT], SIZE) == GroupMask.from_any([LEFT, SPOT], SIZE)


def test_pictures_of_a_cvat_file_are_told_apart_by_path() -> None:
    other = GroupMask.from_cvat(CVAT, SIZE, file_name="y/a.jpg")
    assert other.ids.tolist() == [[2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    for options in ({"file_name": "a.jpg"}, {}, {"image_id": 5}):
        with pytest.raises(MaskError, match=r"of the 2 pictures.*--image-id.*0 \(x/a.jpg\), 1 \(y/a.jpg\)"):
            GroupMask.from_cvat(CVAT, SIZE, **options)  # type: ignore[arg-type]


def test_labelme_has_parts_circles_and_masks() -> None:
    part = base64.b64encode(png(np.full((16, 16), 255, np.uint8))).decode()
    data = LABELME | {
        "shapes": [
            lm_shape("dog", "rectangle", [[0, 0], [16, 16]], group_id=1),
            lm_shape("dog", "rectangle", [[48, 32], [64, 48]], group_id=1),
            lm_shape("dog", "mask", [[16, 16], [31, 31]], mask=part),
            lm_shape("ball", "circle", [[40, 8], [48, 8]]),
        ]
    }
    mask = GroupMask.from_labelme(data, SIZE)
    assert mask.ids.tolist() == [[1, 0, 3, 0], [0, 2, 0, 0], [0, 0, 0, 1]]
    assert mask.names == {0: "background", 1: "dog 1", 2: "dog 2", 3: "ball"}
    assert GroupMask.from_labelme(data, SIZE, group_by="class").names == {
        0: "background",
        1: "dog",
        2: "ball",
    }


def test_yolo_scores_and_empty_files(tmp_path: Path) -> None:
    assert GroupMask.from_yolo(b"3 0.25 0.5 0.5 1 0.75\n\n", SIZE).scores == {1: 0.75}
    assert GroupMask.from_yolo(b"3 0.25 0.5 0.5 1", SIZE).names[1] == "class 3"
    (tmp_path / "nothing.txt").touch()
    assert GroupMask.from_any(tmp_path / "nothing.txt", SIZE).names == {0: "background"}


BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
POLYLINE = b'<annotations><image id="0" name="a"><polyline label="a" points="1,2;3,4"/></image></annotations>'
DETECTIONS = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BOMB, "declares a document type or entities"),
        (OUTSIDE, "declares a document type"),
        (b"<annotation>" + b"<a>" * 100 + b"</a>" * 100 + b"</annotation>", "nested deeper"),
        (b"<annotation><size>", "not well-formed XML"),
        (b"<html></html>", "XML with the root <html>"),
        (b'<annotations><track id="1"/></annotations>', 'recognised as CVAT.*tracks.*"CVAT for images"'),
        (VOC.replace(b">64<", b">48<").replace(b"<height>48", b"<height>64"), "Pascal VOC: .*lies sideways"),
        (VOC.replace(b"<xmin>1<", b"<xmin>one<"), "object 1 .*xmin: a number was expected, not 'one'"),
        (VOC.replace(b"<name>dog</name>", b""), "object 2 .*no <name>"),
        (POLYLINE, "shape 1 of image 0 .*is a polyline, which has no area"),
        (b"0 10 10 20 20\n", r"recognised as YOLO: line 1.*divide x by 64 and y by 48"),
        (b"0 0.5 0.5 0.5 0.5\ndog\n", "line 2"),
        (b"0 0.5 0.5 0.5 0.5 7\n", "score is 7"),
        (
            json.dumps(LABELME | {"imageWidth": 48, "imageHeight": 64}).encode(),
            "recognised as labelme.*sideways",
        ),
        (
            LABELME | {"shapes": [lm_shape("a", "line", [[0, 0], [9, 9]])]},
            "shape 1 .*is a line, which has no area",
        ),
        (LABELME | {"shapes": [lm_shape("a", "mask", [[0, 0], [9, 9]], mask="!")]}, "no PNG in base64"),
        (LABELME | {"shapes": [{"points": []}]}, 'has no "label"'),
        (DETECTIONS, "COCO detection results"),
        ({"shape": []}, 'an object with "shape"; COCO, labelme'),
        ({"dog": LEFT[:9]}, r'the mask of "dog": a mask \[48, 64\].*met \[9, 64\]'),
        ({"dog": LEFT.T}, "lies sideways"),
        ({"dog": LEFT * 0.4}, "is soft: choose a threshold"),
        (np.zeros((48, 64, 2)), "masks come first"),
        (np.zeros((2, 9, 9), bool), r"met \[9, 9\]"),
        (b"PK\x03\x04", "archive"),
        (b"hello", "no picture that Pillow knows"),
        (b"[1, 2", "not valid JSON"),
        (5, "not of int"),
        (
            [{"segmentation": {"size": [48, 64], "counts": [1, 2]}}],
            "recognised as SAM: mask 1 of 1.*add up to 3072",
        ),
        ([{"segmentation": {"size": [48, 64], "counts": "~~"}}], "no COCO RLE text"),
    ],
)
def test_what_can_not_be_read_is_named_by_what_it_was_taken_for(source: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        GroupMask.from_any(source, SIZE)


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 16


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n", "holds object"),
        (b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 9), }\n", "says that it holds"),
        (b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -16), }\n", r"holds \[-1, -16\]"),
        (b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (16,), }\n", "holds"),
        (b"__import__('os').abort()\n", "damaged"),
        (b"{}\n", "damaged"),
    ],
)
def test_hostile_npy_files(header: bytes, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        GroupMask.from_any(npy(header), SIZE)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"<", b"{", b"[", b"\x93NUMPY", b"0 0.1 ", b"<annotation>"]),
)
@pytest.mark.filterwarnings("ignore")
def test_noise_is_a_mask_or_an_error_of_masks(noise: bytes, start: bytes) -> None:
    with suppress(MaskError):
        GroupMask.from_any(start + noise, SIZE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(["label", "points", "shape_type", "mask", "group_id"]), json_values)
@pytest.mark.filterwarnings("ignore")
def test_any_value_in_labelme_is_read_or_refused(key: str, value: Any) -> None:
    shape = lm_shape("a", "polygon", [[0, 0], [32, 0], [32, 32]]) | {key: value}
    with suppress(MaskError):
        GroupMask.from_labelme(LABELME | {"shapes": [shape]}, SIZE)


@given(json_values)
@pytest.mark.filterwarnings("ignore")
def test_any_json_is_a_mask_or_an_error_of_masks(value: Any) -> None:
    with suppress(MaskError):
        GroupMask.from_any(json.dumps(value).encode(), SIZE)


@given(st.lists(st.tuples(st.integers(-10, 80), st.integers(-10, 60)), min_size=3, max_size=8))
def test_outlines_hold_the_pixels_whose_centres_they_wind_around(points: list[tuple[int, int]]) -> None:
    found = np.zeros((48, 64), bool)
    region = fill_polygon(points, SIZE, "it")
    if region is not None:
        height, width = region.mask.shape
        found[region.top : region.top + height, region.left : region.left + width] = region.mask
    y, x = np.mgrid[:48, :64] + 0.5
    winding = np.zeros((48, 64), int)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        # Crossings of a ray to the left, which on an edge itself belongs to what lies right of it.
        winding += (y0 <= y) & (y < y1) & (side <= 0)
        winding -= (y1 <= y) & (y < y0) & (side >= 0)
    assert np.array_equal(found, winding != 0)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_run_lengths_are_those_of_pycocotools(seed: int, share: float) -> None:
    cocomask = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).random((48, 64)) < share
    mask[: seed % 48] = False
    packed = cocomask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert np.array_equal(decode_coco({"size": [48, 64], "counts": packed["counts"]}, SIZE, "it"), mask)
    text = {"size": ["48", 64.0], "counts": packed["counts"].decode()}
    assert np.array_equal(decode_coco(text, SIZE, "it"), mask)


def test_colours_are_labels_with_a_legend(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32] = (255, 0, 0)
    pixels[SPOT] = (0, 0, 128)
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nwall:255,0,0::\ndog:0,0,128::\n"
    )
    (tmp_path / "legend.json").write_text(json.dumps({"wall": [255, 0, 0], "dog": [0, 0, 128]}))
    for legend in (
        {"#ff0000": "wall", "#000080": "dog"},
        {"red": "wall", "0, 0, 128": "dog"},
        {(255, 0, 0): "wall", (0, 0, 128): "dog"},
        tmp_path / "labelmap.txt",
        str(tmp_path / "legend.json"),
    ):
        for source in (
            png(pixels),
            Image.fromarray(pixels),
            pixels,
            png(Image.fromarray(pixels).quantize(3)),
        ):
            mask = GroupMask.from_any(source, SIZE, legend)
            assert mask.ids.tolist() == SCENE
            assert mask.names == {0: "background", 1: "wall", 2: "dog"}
    with pytest.raises(MaskError, match=r"does not name 1 colour of the label map: #000080 \(256 pixels\)"):
        GroupMask.from_any(pixels, SIZE, {"red": "wall"})
    with pytest.raises(MaskError, match=r'names \(--names\) like \{"#ff0000": "car"\}'):
        GroupMask.from_any(png(pixels), SIZE)
    with pytest.raises(MaskError, match="calls one colour"):
        GroupMask.from_any(pixels, SIZE, {"red": "wall", "#f00": "dog"})


def png_of(bits: int, rows: np.ndarray) -> bytes:
    """Gray of 1, 2 or 4 bits."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    spread = np.unpackbits(rows.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    packed = np.packbits(spread.reshape(len(rows), -1), axis=1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    head = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_numbers_of_few_bits_are_those_of_the_file(bits: int) -> None:
    rows = np.repeat(np.repeat(np.arange(12).reshape(3, 4) % 2**bits, 16, 0), 16, 1)
    assert np.array_equal(GroupMask.from_any(png_of(bits, rows), SIZE).ids, rows[::16, ::16])


@pytest.mark.parametrize(
    ("largest", "kind"), [(3, "u1"), (11, "u1"), (255, "u1"), (300, ">u2"), (65535, ">u2")]
)
def test_numbers_of_pgm_are_those_of_the_file(largest: int, kind: str) -> None:
    rows = np.repeat(np.repeat(np.arange(12).reshape(3, 4) % (largest + 1), 16, 0), 16, 1)
    data = b"P5 64 48 %d\n" % largest + rows.astype(kind).tobytes()
    assert np.array_equal(GroupMask.from_any(data, SIZE).ids, rows[::16, ::16])


def test_numbers_of_tiff_are_those_of_the_file() -> None:
    labels = LABELS
    for image in (
        Image.fromarray(labels),
        Image.fromarray(labels.astype(np.int32)),
        Image.fromarray(labels.astype(np.float32)),
        Image.fromarray(labels.astype(np.uint16)),
    ):
        file = io.BytesIO()
        image.save(file, "TIFF")
        assert GroupMask.from_any(file.getvalue(), SIZE).ids.tolist() == SCENE
    white_is_zero = tiff(labels[:, :, None], tags={262: ("H", [0])})
    assert GroupMask.from_any(white_is_zero, SIZE).ids.tolist() == SCENE
    with pytest.raises(MaskError, match="from -1 to"):
        GroupMask.from_any(tiff(labels[:, :, None] - 1, tags={339: ("H", [2])}), SIZE)  # signed
    file = io.BytesIO()
    Image.fromarray((LEFT * 0.3).astype(np.float32)).save(file, "TIFF")
    with pytest.raises(MaskError, match=r"soft masks.*threshold"):
        GroupMask.from_any(file.getvalue(), SIZE)


def test_pages_are_a_stack_or_an_error() -> None:
    pages = [Image.fromarray(LEFT * 255), Image.fromarray(SPOT.astype(np.uint8) * 255)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    assert GroupMask.from_any(file.getvalue(), SIZE).ids.tolist() == SCENE
    assert GroupMask.from_label_map(file.getvalue(), SIZE, ["wall", "dog"]).names[2] == "dog"
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=[Image.fromarray(LABELS)])
    with pytest.raises(MaskError, match="has 2 pages; a label map is one"):
        GroupMask.from_any(file.getvalue(), SIZE)


def test_lossy_maps_and_16_bit_colour_are_refused() -> None:
    avif: list[tuple[str, dict[str, bool]]] = [("AVIF", {})] if features.check("avif") else []
    for kind, options in (("JPEG", {}), ("WEBP", {"lossless": False}), *avif):
        file = io.BytesIO()
        Image.fromarray(LEFT * 90).convert("RGB").save(file, kind, **options)
        with pytest.raises(MaskError, match=f"is a {kind}, which does not keep labels exact"):
            GroupMask.from_any(file.getvalue(), SIZE)
    file = io.BytesIO()
    Image.fromarray(LEFT * 90).convert("RGB").save(file, "WEBP", lossless=True)
    assert GroupMask.from_any(file.getvalue(), SIZE).groups == [0, 90]


def test_what_is_void_goes_to_the_nearest() -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[:, :16] = 1
    labels[:, 16:48] = 255
    labels[0, 20] = 7
    mask = GroupMask.from_any(labels, SIZE, ignore_label=255, rule="most")
    assert mask.ids.tolist() == [[1, 7, 7, 0], [1, 7, 0, 0], [1, 1, 0, 0]]
    assert 255 not in mask.groups
    grid = np.array([[1, 255, 255, 0], [255, 255, 255, 255], [255, 255, 255, 3]], np.uint8)
    blocks = blocks_without(grid, "most", 255, per_block=True)
    assert blocks.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 3, 3, 3]]
    assert np.array_equal(GroupMask.from_any(grid, SIZE, ignore_label=255).ids, blocks)
    with pytest.raises(MaskError, match="nothing but label 9"):
        GroupMask.from_any(np.full((48, 64), 9), SIZE, ignore_label=9)
    for wrong in ("255", 2.0, True):
        with pytest.raises(MaskError, match="label to ignore is a whole number"):
            GroupMask.from_any(labels, SIZE, ignore_label=wrong)  # type: ignore[arg-type]
    with pytest.raises(MaskError, match="only label maps have a label to ignore"):
        GroupMask.from_any(VOC, SIZE, ignore_label=255)


def test_names_that_match_nothing_are_told_of() -> None:
    with pytest.warns(UnusedNames, match='names of labels that do not occur: 2 "dog"; the labels are 0, 1'):
        GroupMask.from_label_map(LEFT, SIZE, {1: "wall", 2: "dog"})
    with pytest.warns(UnusedNames, match='3 "cat"'):
        GroupMask.from_label_map(LEFT * 9, SIZE, ["sky", "a", "b", "cat"])
    GroupMask.from_label_map(LEFT, SIZE, ["sky", "wall", "dog", "cat"])  # all classes of a data set


def test_hints_at_thresholds_and_pixels() -> None:
    soft = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, 0)
    with pytest.raises(MaskError, match=r"looks like a soft mask.*threshold"):
        GroupMask.from_any(soft, SIZE)
    with pytest.raises(MaskError, match=r"mask > 0.5"):
        GroupMask.from_any(soft / 255, SIZE)
    with pytest.raises(
        MaskError, match="fractions of the picture must become pixels first, x times 64 and y times 48"
    ):
        GroupMask.from_boxes([[0.1, 0.2, 0.5, 1]], SIZE)


def test_options_that_mean_nothing_are_refused() -> None:
    for source, options, message in (
        (VOC, {"names": {1: "a"}}, "names are of use with"),
        (VOC, {"image_id": 3}, "image_id is of use with COCO and CVAT"),
        (LEFT, {"group_by": "class"}, "group_by and image_id mean nothing"),
        (SAM, {"group_by": "class"}, "classes are not known"),
        (VOC, {"group_by": "area"}, "group_by is 'area'"),
    ):
        with pytest.raises(MaskError, match=message):
            GroupMask.from_any(source, SIZE, **options)  # type: ignore[arg-type]


def test_small_objects_are_left_out_and_told() -> None:
    data = LABELME | {"shapes": [*LABELME["shapes"], lm_shape("ant", "rectangle", [[1, 1], [3, 3]])]}  # type: ignore[misc]
    with pytest.warns(DroppedGroups, match='3 "ant"'):
        assert GroupMask.from_any(data, SIZE).ids.tolist() == SCENE
    with pytest.raises(MaskError, match="own no block"):
        GroupMask.from_any(data, SIZE, drop_empty=False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_recipes_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/segment.md").read_text()
    section = re.search(r"^## Masks from elsewhere\n(.*?)(?=^## )", page, re.S | re.M)
    assert section is not None
    blocks = re.findall(r"```python\n(.*?)```", section[1], re.S)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    large = {"imageWidth": 96, "imageHeight": 64}
    Path("photo.json").write_text(json.dumps(LABELME | large))
    Path("photo.txt").write_bytes(YOLO)
    Path("photo.xml").write_bytes(
        VOC.replace(b"<width>64", b"<width>96").replace(b"<height>48", b"<height>64")
    )
    cvat = CVAT.replace(b'"64" height="48"', b'"96" height="64"').replace(b"x/a.jpg", b"day 1/photo.jpg")
    Path("annotations.xml").write_bytes(cvat)
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:, :48, 0] = colours[:, 48:, 2] = 255
    Path("colours.png").write_bytes(png(colours))
    Path("voc.png").write_bytes(png(colours[:, :, 0]))
    Image.fromarray(colours).save("photo.jpg")
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert ssic.SsicFile(names["data"]).names == ("background", "wall", "dog")


def test_any_mask_and_any_picture_on_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(YOLO)
    (tmp_path / "names.json").write_text('["wall", "dog"]')
    rgba = np.full((48, 64, 4), 100, np.uint8)
    (tmp_path / "a.png").write_bytes(png(rgba))
    out = tmp_path / "a.ssic"
    given_as = [
        "encode",
        tmp_path / "a.png",
        "-o",
        out,
        "--mask",
        tmp_path / "a.txt",
        "--names",
        tmp_path / "names.json",
    ]
    code, _, err = run(*given_as)
    assert (code != 0, "--background white" in err) == (True, True)
    assert run(*given_as, "--background", "white").code == 0
    assert ssic.open(out).names == ("background", "wall", "dog")
    pages = [Image.fromarray(LABELS), Image.fromarray(LABELS * 2)]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "void.png").write_bytes(png(LABELS))
    start = ["preview", tmp_path / "b.tif", "-o", tmp_path / "p.png", "--mask", tmp_path / "void.png"]
    code, _, err = run(*start)
    assert (code != 0, "--frame 0" in err) == (True, True)
    code, out_text, _ = run(*start, "--frame", "1", "--ignore-label", "2")
    assert code == 0
    assert "group 2" not in out_text
    assert run("encode", tmp_path / "b.tif", "-o", out, "--frame", "0", "--max-pixels", "9").code != 0


WRONG = [
    5, 3.5, -1, 10**400, float("nan"), True, None, "x", "", "a\0b", b"x", b"", [], ["a"], [None], [[1]], (1, 2), {},
    {"a": 1}, {1: None}, np.zeros((2, 2)), np.zeros(0), np.zeros((3, 48, 64)), object(), len, Path("nope"),
    [[10**400] * 4], io.StringIO("x"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("call", "given_as", "options"),
    [
        (GroupMask.from_any, [LEFT, SIZE], "names file_name image_id group_by rule drop_empty ignore_label"),
        (GroupMask.from_label_map, [LEFT, SIZE], "names rule ignore_label"),
        (GroupMask.from_masks, [{"a": LEFT}, SIZE], "names rule"),
        (GroupMask.from_sam, [SAM, SIZE], "rule"),
        (GroupMask.from_labelme, [LABELME, SIZE], "group_by rule"),
        (GroupMask.from_voc, [VOC, SIZE], "group_by rule"),
        (GroupMask.from_cvat, [CVAT, SIZE], "image_id file_name group_by rule"),
        (GroupMask.from_yolo, [YOLO, SIZE], "names group_by rule"),
    ],
)
def test_arguments_of_any_type_work_or_raise_errors_of_ssic(
    call: Any, given_as: list[Any], options: str
) -> None:
    for wrong in WRONG:
        for place in range(len(given_as)):
            with suppress(ssic.SsicError):
                call(*given_as[:place], wrong, *given_as[place + 1 :])
        for option in options.split():
            with suppress(ssic.SsicError):
                call(*given_as, **{option: wrong})
