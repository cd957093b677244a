"""YOLO graphs: tiny ones, made here, whose outputs are known, so that every number that comes back is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ssic.errors import SegmenterError
from ssic.groups.segment.yolo import GRAY, Letterbox, Rows, YoloModel, choose, suppress

SIDE = 64
WIDE = np.zeros((64, 128, 3), np.uint8)  # half as large in the input: pixels 0..63 by 16..47
NAMES = {"names": "{0: 'cat', 1: 'dog'}"}


def graph(
    path: Path,
    outputs: list[NDArray[Any]],
    about: Mapping[str, str],
    size: tuple[Any, Any] = (SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """An ONNX file that gives these outputs, whatever its input [1, 3, height, width] shows."""
    held = [
        numpy_helper.from_array(o.astype(np.float16 if kind == TensorProto.FLOAT16 else np.float32), f"c{n}")
        for n, o in enumerate(outputs)
    ]
    nodes = [helper.make_node("Identity", [f"c{n}"], [f"output{n}"]) for n in range(len(outputs))]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("images", kind, [1, 3, size[1], size[0]])],
            [helper.make_tensor_value_info(f"output{n}", kind, o.shape) for n, o in enumerate(outputs)],
            held,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, dict(about))
    onnx.save(model, path)
    return path


def raw(*rows: list[float], extra: int = 0, classes: int = 2) -> NDArray[np.float32]:
    """[1, 4 + classes + extra, 84]: these rows, then empty ones on the grid of an input of 64x64."""
    head = np.zeros((84, 4 + classes + extra), np.float32)
    y, x = np.mgrid[4:64:8, 4:64:8].reshape(2, -1)
    head[:64, 0], head[:64, 1] = x, y
    if rows:
        head[: len(rows)] = rows
    return head.T[None]


def halves() -> NDArray[np.float32]:
    """Two prototypes [1, 2, 16, 16]: the left half, and the upper half."""
    maps = np.full((1, 2, 16, 16), -4, np.float32)
    maps[0, 0, :, :8] = 4
    maps[0, 1, :8] = 4
    return maps


def found(path: Path, rgb: NDArray[np.uint8] = WIDE, **options: Any) -> list[tuple[Any, ...]]:
    return [
        (d.class_name, round(d.score, 4), tuple(round(v, 3) for v in d.box))
        for d in YoloModel(path, threads=1).predict(rgb, **options)
    ]


# -- letterbox ---------------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(1, 3000)] * 2), st.tuples(*[st.sampled_from([32, 64, 640])] * 2))
def test_a_picture_fills_the_input_one_way_and_is_centred_the_other(
    size: tuple[int, int], into: tuple[int, int]
) -> None:
    place = Letterbox.fit(size, into)
    assert any(inside == whole for inside, whole in zip(place.inside, into, strict=True))
    for inside, whole, before in zip(place.inside, into, (place.left, place.top), strict=True):
        assert 0 <= whole - inside - 2 * before <= 1
    corners = np.array([[0, 0], size], np.float32)
    there = corners * place.scale + np.array([place.left, place.top], np.float32)
    np.testing.assert_allclose(place.back(there), corners, atol=1e-2)


def test_pixels_are_moved_not_changed_and_gray_is_beside_them() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    values = Letterbox.fit((64, 32), (64, 64)).apply(rgb)
    assert values.shape == (1, 3, 64, 64)
    assert (values[0, :, 16:48] * 255).round().astype(np.uint8).transpose(1, 2, 0).tolist() == rgb.tolist()
    assert (
        np.unique(values[0, :, :16]).tolist()
        == np.unique(values[0, :, 48:]).tolist()
        == [np.float32(GRAY / 255)]
    )


# -- heads -------------------------------------------------------------------------------------------------


def test_a_segmentation_head_gives_boxes_and_masks_in_pixels_of_the_picture(tmp_path: Path) -> None:
    head = raw([32, 32, 48, 24, 0.1, 0.9, 1, 0], [32, 32, 64, 32, 0.6, 0, 0, 1], extra=2)
    path = graph(tmp_path / "g.onnx", [head, halves()], NAMES | {"task": "segment"})
    dog, cat = YoloModel(path).predict(WIDE)
    assert (dog.class_name, dog.box) == ("dog", (16, 8, 112, 56))
    assert (cat.class_name, cat.box) == ("cat", (0, 0, 128, 64))
    left, upper = np.zeros((64, 128), bool), np.zeros((64, 128), bool)
    left[8:56, 16:64] = True  # half of the input's width, inside the box
    upper[:32] = True
    np.testing.assert_array_equal(dog.mask, left)
    np.testing.assert_array_equal(cat.mask, upper)


def test_fractions_of_the_input_are_told_from_pixels(tmp_path: Path) -> None:
    head = raw([32, 32, 48, 24, 0.9, 0], [10, 50, 20, 20, 0, 0.8])
    shrunk = head / np.array([SIDE] * 4 + [1] * 2)[:, None]
    about = NAMES | {"task": "detect"}
    in_pixels = found(graph(tmp_path / "a.onnx", [head], about))
    assert in_pixels == found(graph(tmp_path / "b.onnx", [shrunk], about))
    assert in_pixels[0] == ("cat", 0.9, (16, 8, 112, 56))


@pytest.mark.parametrize("unit", [1, SIDE])
def test_a_pose_head_gives_keypoints(tmp_path: Path, unit: int) -> None:
    points = [16, 24, 0.5, 48, 40, 1]
    head = raw([32, 32, 48, 24, 0.9, *points], extra=6, classes=1)
    head[0, [0, 1, 2, 3, 5, 6, 8, 9]] /= unit
    about = {"task": "pose", "kpt_shape": "[2, 3]", "names": "{0: 'person'}"}
    (person,) = YoloModel(graph(tmp_path / "g.onnx", [head], about)).predict(WIDE)
    assert person.mask is None
    assert person.keypoints is not None
    np.testing.assert_allclose(person.keypoints, [[32, 16, 0.5], [96, 48, 1]], atol=1e-4)


def test_an_end_to_end_head_is_left_as_it_is(tmp_path: Path) -> None:
    rows = np.zeros((1, 50, 8), np.float32)
    rows[0, :3] = [
        [8, 20, 56, 44, 0.9, 1, 1, 0],
        [8, 20, 56, 44, 0.8, 1, 0, 1],  # NMS would drop it
        [0, 16, 8, 24, 0.1, 0, 1, 0],
    ]
    path = graph(tmp_path / "g.onnx", [rows, halves()], NAMES | {"task": "segment", "end2end": "True"})
    assert found(path) == [("dog", 0.9, (16, 8, 112, 56)), ("dog", 0.8, (16, 8, 112, 56))]
    assert found(path, min_score=0.85) == [("dog", 0.9, (16, 8, 112, 56))]
    first, second = YoloModel(path).predict(WIDE)
    assert first.mask is not None
    assert second.mask is not None
    assert (first.mask.sum(), second.mask.sum()) == (48 * 48, 96 * 24)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4, 5, 7])
def test_rows_that_are_not_finite_are_dropped_and_the_others_kept(
    tmp_path: Path, bad: float, place: int
) -> None:
    good, broken = [32.0, 32, 16, 8, 0.9, 0, 4, 0], [16.0, 16, 8, 8, 0.8, 0, 4, 0]
    broken[place] = bad
    segment = NAMES | {"task": "segment"}
    path = graph(tmp_path / "raw.onnx", [raw(broken, good, extra=2), halves()], segment)
    assert found(path) == [("cat", 0.9, (48.0, 24.0, 80.0, 40.0))]
    good, broken = [24.0, 28, 40, 36, 0.9, 0, 4, 0], [12.0, 12, 20, 20, 0.8, 0, 4, 0]
    broken[place] = bad
    rows = np.array([[broken, good]], np.float32)
    path = graph(tmp_path / "e2e.onnx", [rows, halves()], segment | {"end2end": "True"})
    assert found(path) == [("cat", 0.9, (48.0, 24.0, 80.0, 40.0))]


def test_end_to_end_rows_that_nobody_filtered_are_filtered(tmp_path: Path) -> None:
    rows = np.zeros((1, 301, 6), np.float32)  # so many that no filter can have been there
    for n in range(3):
        rows[0, n] = [24 + n, 28, 40 + n, 36, 0.9 - 0.1 * n, 1]
    path = graph(tmp_path / "g.onnx", [rows], NAMES | {"task": "detect", "end2end": "True"})
    assert found(path) == [("dog", 0.9, (48.0, 24.0, 80.0, 40.0))]


def test_a_box_counts_for_its_best_class_or_for_each(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", [raw([32, 32, 48, 24, 0.7, 0.9])], NAMES | {"task": "detect"})
    assert [name for name, *_ in found(path)] == ["dog"]
    assert [name for name, *_ in found(path, multi_label=True)] == ["dog", "cat"]
    assert [name for name, *_ in found(path, multi_label=True, max_detections=1)] == ["dog"]


def test_inputs_may_be_half_precision_and_of_a_size_that_only_metadata_tell(tmp_path: Path) -> None:
    head = raw([32, 32, 48, 24, 0.75, 0])
    about = NAMES | {"task": "detect", "imgsz": "[64, 64]"}
    path = graph(tmp_path / "g.onnx", [head], about, ("width", "height"), TensorProto.FLOAT16)
    assert found(path) == [("cat", 0.75, (16, 8, 112, 56))]


def test_eighty_classes_without_names_are_those_of_coco(tmp_path: Path) -> None:
    head = raw([32, 32, 48, 24, *[0.0] * 16, 0.9, *[0.0] * 63], classes=80)
    path = graph(tmp_path / "g.onnx", [head], {})
    assert YoloModel(path, task="detect").predict(WIDE)[0].class_name == "dog"
    assert (
        YoloModel(path, task="detect", names=[f"n{n}" for n in range(80)]).predict(WIDE)[0].class_name
        == "n16"
    )


@pytest.mark.parametrize(
    ("outputs", "about", "said"),
    [
        ([raw()], NAMES, "task"),
        ([raw()], NAMES | {"task": "classify"}, '"classify"'),
        ([raw()], {"task": "detect"}, "names"),
        ([raw()], NAMES | {"task": "segment"}, "not those of a segment graph"),
        ([raw(classes=3)], NAMES | {"task": "detect"}, "2 class names"),
        ([raw()], {"task": "detect", "names": "{0: "}, "no literal"),
        ([raw()], NAMES | {"task": "pose", "kpt_shape": "[17]"}, "kpt_shape"),
        ([np.zeros((1, 6, 6))], NAMES | {"task": "detect"}, "end2end"),
        ([np.zeros((1, 10))], NAMES | {"task": "detect"}, "YOLO family"),
    ],
)
def test_graphs_that_do_not_say_what_they_are(
    tmp_path: Path, outputs: list[NDArray[Any]], about: dict[str, str], said: str
) -> None:
    path = graph(tmp_path / "g.onnx", outputs, about)
    with pytest.raises(SegmenterError, match=said) as error:
        YoloModel(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    with pytest.raises(SegmenterError, match="can't read") as error:
        YoloModel(tmp_path / "none.onnx")
    assert isinstance(error.value.__cause__, FileNotFoundError)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(SegmenterError, match="can't be loaded"):
        YoloModel(tmp_path / "text.onnx")
    path = graph(tmp_path / "g.onnx", [raw()], NAMES | {"task": "detect"}, ("width", "height"))
    with pytest.raises(SegmenterError, match="imgsz"):
        YoloModel(path)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    model = YoloModel(graph(tmp_path / "g.onnx", [raw()], NAMES | {"task": "detect"}))
    for array in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(SegmenterError, match="uint8"):
            model.predict(array)


# -- NMS ---------------------------------------------------------------------------------------------------


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    return float(common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common))


boxes = st.tuples(*[st.integers(-5, 20)] * 2, *[st.integers(1, 20)] * 2, st.integers(0, 2))


# No ratio of areas as small as these equals one of the thresholds: at a tie, rounding decides.
@given(
    st.lists(boxes, max_size=25), st.sampled_from([0.20123457, 0.50123457, 0.70123457]), st.integers(1, 30)
)
def test_what_nms_keeps_and_what_it_drops(found: list[tuple[int, ...]], iou: float, limit: int) -> None:
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in found], np.float32).reshape(-1, 4)
    classes = np.array([c for *_, c in found], np.int64)
    stay: list[int] = []
    for n in range(len(found)):  # the definition
        if all(classes[k] != classes[n] or overlap(corners[k], corners[n]) <= iou for k in stay):
            stay.append(n)
    assert suppress(corners, classes, iou, limit).tolist() == stay[:limit]


def test_the_best_come_first() -> None:
    scores = np.array([[0.3], [0.9], [0.2], [0.6]], np.float32)
    corners = np.array([[n * 10, 0, n * 10 + 5, 5] for n in range(4)], np.float32)
    at, classes, best = choose(Rows(corners, scores, None, corners), 0.25, 0.7, 2, False)
    assert (at.tolist(), classes.tolist(), best.round(1).tolist()) == (
        [1, 3],
        [0, 0],
        pytest.approx([0.9, 0.6]),
    )
