"""Group masks: what they refuse, the block rule against brute force, and every source they are made from."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ssic.blocks import ABSENT, BLOCK, block_grid
from ssic.errors import InvalidInput, MaskError, UnknownGroup
from ssic.format import Segment, write_file
from ssic.groups.coco import BoxesForOutlines, NothingAnnotated
from ssic.groups.label_maps import blocks_from_pixels
from ssic.groups.mask import DroppedGroups, GroupMask

# pycocotools 2.0.11 under NumPy 2; nothing that ssic could change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

sides = st.integers(1, 50)
sizes = st.tuples(sides, sides)


@st.composite
def label_maps(draw: st.DrawFn, top: int = 4) -> np.ndarray:
    """Coarse cells of labels with some pixels sprinkled over: uniform, mixed and partial blocks, and ties."""
    height, width, cell = draw(sides), draw(sides), draw(st.sampled_from([1, 4, 8, 16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cells = rng.integers(0, top + 1, (-(-height // cell), -(-width // cell)))
    labels = cells.repeat(cell, 0)[:height].repeat(cell, 1)[:, :width]
    sprinkled = rng.random(labels.shape) < draw(st.sampled_from([0, 0.02, 0.5]))
    return np.where(sprinkled, rng.integers(0, top + 1, labels.shape), labels)


def brute_force(labels: np.ndarray, rule: str) -> np.ndarray:
    rows, columns = -(-labels.shape[0] // 16), -(-labels.shape[1] // 16)
    owners = np.zeros((rows, columns), int)
    for r in range(rows):
        for c in range(columns):
            count = Counter(labels[16 * r : 16 * r + 16, 16 * c : 16 * c + 16].ravel().tolist())
            if rule == "any" and len(count) > 1:
                del count[0]
            owners[r, c] = min(count, key=lambda n: (-count[n], n == 0, n))
    return owners


@settings(deadline=None)
@given(label_maps(), st.sampled_from(["most", "any"]))
def test_the_owner_of_a_block_is_the_one_that_counting_finds(labels: np.ndarray, rule: Any) -> None:
    assert np.array_equal(blocks_from_pixels(labels, rule), brute_force(labels, rule))


def test_strips_of_a_large_map_agree_with_one_row_of_blocks_at_a_time() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(np.array([0, 1, 7, 70000, 2**31 - 1]), (1003, 3001))
    rows = [blocks_from_pixels(labels[top : top + BLOCK]) for top in range(0, len(labels), BLOCK)]
    assert np.array_equal(blocks_from_pixels(labels), np.concatenate(rows))


@settings(deadline=None)
@given(label_maps())
def test_any_covers_every_pixel_of_every_object(labels: np.ndarray) -> None:
    owners = blocks_from_pixels(labels, "any")
    shown = owners.repeat(BLOCK, 0).repeat(BLOCK, 1)[: labels.shape[0], : labels.shape[1]]
    assert (shown[labels > 0] > 0).all()
    assert ((owners == 0) == (blocks_from_pixels((labels > 0).astype(np.uint8), "any") == 0)).all()


@settings(deadline=None)
@given(sizes, st.data())
def test_one_id_per_block_comes_back_untouched(size: tuple[int, int], data: st.DataObject) -> None:
    ids = data.draw(hnp.arrays(np.uint8, block_grid(size), elements=st.integers(0, 254)))
    mask = GroupMask.from_label_map(ids, size)
    assert np.array_equal(mask.ids, ids)
    pixels = mask.to_pixels(*size)
    assert pixels.shape == size[::-1]
    assert np.array_equal(pixels, np.kron(ids, np.ones((16, 16), np.uint8))[: size[1], : size[0]])
    assert GroupMask.from_label_map(pixels, size) == mask


@settings(deadline=None)
@given(sizes, st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=20), st.randoms())
def test_sparse_labels_keep_their_values_or_their_order(size: Any, labels: set[int], random: Any) -> None:
    grid = block_grid(size)
    array = np.array([random.choice(sorted(labels)) for _ in range(grid[0] * grid[1])]).reshape(grid)
    mask = GroupMask.from_label_map(array, size)
    if array.max() < ABSENT:
        assert np.array_equal(mask.ids, array)
    else:
        distinct = np.unique(array)
        first = 0 if distinct[0] == 0 else 1
        assert np.array_equal(mask.ids, np.searchsorted(distinct, array) + first)
    # Default names follow the ids: so they cost the file nothing.
    assert mask.names == {n: f"group {n}" if n else "background" for n in mask.groups}


@settings(deadline=None)
@given(sizes, st.integers(1, 5), st.integers(1, 5))
def test_a_grid_has_all_its_cells_or_says_why_not(size: tuple[int, int], rows: int, columns: int) -> None:
    height, width = block_grid(size)
    if rows > height or columns > width:
        with pytest.raises(MaskError, match=f"{height} rows by {width} columns of blocks"):
            GroupMask.grid(size, rows, columns)
        return
    mask = GroupMask.grid(size, rows, columns)
    assert mask.groups == list(range(rows * columns))
    assert mask.names[0] == "r1c1"
    assert mask.names[rows * columns - 1] == f"r{rows}c{columns}"
    counts = [mask.blocks(n) for n in mask.groups]
    assert sum(counts) == height * width
    assert (np.diff(mask.ids.astype(int), axis=1) >= 0).all()


def test_a_mask_does_not_change_and_survives_copies() -> None:
    ids = np.array([[0, 7], [ABSENT, 7]], np.uint8)
    mask = GroupMask(ids, {7: "dog", 0: "background"}, {7: "dog"}, {7: 0.5})
    ids[0, 0] = 1
    assert mask.ids[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        mask.ids[0, 0] = 1
    with pytest.raises(TypeError):
        mask.names[0] = "cat"  # type: ignore[index]
    assert mask.groups == [0, 7]
    assert mask.blocks(7) == 2
    assert pickle.loads(pickle.dumps(mask)) == mask == copy.deepcopy(mask)
    assert mask != GroupMask(mask.ids, mask.names, mask.classes)
    assert GroupMask.single((17, 1)) == GroupMask(np.zeros((1, 2), np.uint8), {0: "image"})


@pytest.mark.parametrize(
    ("ids", "names", "more", "message"),
    [
        ([[0, 1]], {0: "a"}, {}, r"without a name: ids \[1\]"),
        (
            [[0, 0]],
            {0: "a", 5: "tiny dog"},
            {},
            r"names are given .* own no block: 5 \(tiny dog\); leave them out",
        ),
        ([[0, 0]], {0: "a"}, {"classes": {3: "dog"}}, "classes are given .* own no block: 3"),
        ([[0, 1]], {0: "a", 1: "a"}, {}, 'groups 0 and 1 are both called "a"'),
        ([[255, 255]], {}, {}, "no block"),
        ([[0, 0]], {0: ""}, {}, "not empty"),
        ([[0, 0]], {0: "a,b"}, {}, "has a comma"),
        ([[0, 0]], {0: "a\nb"}, {}, "control"),
        ([[0, 0]], {0: "\ud800"}, {}, "control"),
        ([[0, 0]], {0: "é" * 128}, {}, "more than 255 bytes"),
        ([[0, 0]], {0: " a"}, {}, "starts or ends with a space"),
        ([[0, 0]], {0: "a\u200b"}, {}, "invisible"),
        ([[0, 0]], {0: "a"}, {"classes": {0: "\u202ea"}}, "class of group 0 .*invisible"),
        ([[0, 0]], {0: "a"}, {"scores": {0: True}}, "score of group 0 is True"),
        ([[0, 0]], {0: "a"}, {"scores": {0: "1"}}, "score of group 0 is '1'"),
        ([[0, 0]], {0: "a"}, {"classes": {0: "b,c"}}, "class of group 0"),
        ([[0, 0]], {0: "a"}, {"scores": {0: 1.5}}, "score of group 0 is 1.5"),
        ([[0, 0]], {0: "a"}, {"scores": {0: float("nan")}}, "0 to 1"),
        ([0, 0], {0: "a"}, {}, r"shape \(2,\)"),
    ],
)
def test_inconsistent_masks_are_refused(ids: Any, names: Any, more: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        GroupMask(np.array(ids, np.uint8), names, **more)


def test_ids_must_be_uint8_and_fit_the_picture() -> None:
    with pytest.raises(MaskError, match="not int64"):
        GroupMask(np.zeros((1, 1), np.int64), {0: "a"})  # type: ignore[arg-type]
    with pytest.raises(MaskError, match="2x1 blocks does not fit a picture of 33x16"):
        GroupMask.single((32, 16)).to_pixels(33, 16)
    with pytest.raises(MaskError, match="0x5"):
        GroupMask.single((0, 5))


def test_groups_are_found_by_name_class_and_id() -> None:
    mask = GroupMask(
        np.array([[0, 1, 2, 3]], np.uint8),
        {0: "background", 1: "person 1", 2: "2024", 3: "person 2"},
        {1: "person", 3: "person"},
    )
    assert mask.resolve(["person"]) == mask.resolve("person") == [1, 3]
    assert mask.resolve([3, "3", " person", "background"]) == [3, 1, 0]
    assert mask.resolve(["2024", np.int64(2)]) == [2]
    assert mask.resolve([]) == []
    for wrong in ("persn", 4, "9" * 5000, ""):
        with pytest.raises(UnknownGroup, match='There are: 0 "background", 1 "person 1"'):
            mask.resolve([wrong])
    with pytest.raises(UnknownGroup, match='did you mean "person"'):
        mask.resolve(["persn"])
    with pytest.raises(UnknownGroup):
        mask.blocks(ABSENT)


def test_what_is_no_group_is_no_type_error() -> None:
    mask = GroupMask(np.array([[0, 1]], np.uint8), {0: "sky", 1: "True"})
    assert mask.resolve(np.int64(1)) == mask.resolve(np.uint8(1)) == mask.resolve(np.str_("True")) == [1]
    assert mask.resolve(np.array([1, 0])) == [1, 0]
    for wrong in (1.0, None, True, b"sky", object, np.array(1.5), [None], [1.0], [["sky"]]):
        with pytest.raises(UnknownGroup, match="by its name, class or id, not by"):
            mask.resolve(wrong)  # type: ignore[arg-type]


def test_scores_may_be_numbers_of_numpy() -> None:
    scores: Any = {0: np.float32(0.5), 1: 1}
    mask = GroupMask(np.array([[0, 1]], np.uint8), {0: "sky", 1: "dog"}, {}, scores)
    assert mask.scores == {0: 0.5, 1: 1.0}
    assert {type(score) for score in mask.scores.values()} == {float}


@settings(deadline=None)
@given(st.text(max_size=4) | st.text("a,\u200b \u2028\n\u3000", max_size=4))
def test_names_of_masks_are_names_of_files(name: str) -> None:
    def accepts(make: Any) -> bool:
        try:
            make()
        except InvalidInput:
            return False
        return True

    ids = np.zeros((1, 1), np.uint8)
    about: Any = {"width": 1, "height": 1, "model_id": bytes(8), "mask": ids}
    in_file = accepts(lambda: write_file(**about, segments=[Segment(0, name, 50, b"", name)]))
    assert accepts(lambda: GroupMask(ids, {0: name}, {0: name})) == in_file


def halves(left: int, right: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.repeat(np.array([[left, right]], dtype), [32, 16], axis=1).repeat(32, axis=0)


def test_label_maps_are_read_from_palette_gray_and_bilevel_files(tmp_path: Path) -> None:
    size, path = (48, 32), tmp_path / "labels.png"
    palette = Image.fromarray(halves(0, 3))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    assert palette.mode == "P"
    palette.save(path, transparency=0)
    expected = GroupMask(np.array([[0, 0, 3]] * 2, np.uint8), {0: "background", 3: "group 3"})
    assert GroupMask.from_label_map(path, size) == expected
    Image.fromarray(halves(0, 300, np.uint16)).save(path)
    assert GroupMask.from_label_map(str(path), size).names == {0: "background", 1: "group 1"}
    Image.fromarray(halves(0, 255)).convert("1").save(path)
    assert GroupMask.from_label_map(path, size, ["sky", "sea"]).names == {0: "sky", 1: "sea"}
    Image.fromarray(halves(0, 3)).convert("RGB").save(path)  # gray in three equal channels
    assert GroupMask.from_label_map(path, size) == expected
    with Image.open(path) as opened:
        assert GroupMask.from_label_map(opened, size) == GroupMask.from_label_map(path, size)


def test_names_come_from_objects_lists_and_files(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text('{"3": "dog", "4": "not in this picture"}')
    assert GroupMask.from_label_map(halves(0, 3), (48, 32), path).names == {0: "background", 3: "dog"}
    assert GroupMask.from_label_map(halves(0, 1), (48, 32), ["sky"]).names == {0: "sky", 1: "group 1"}
    path.write_text('{"dog": 3}')
    for wrong, message in (
        (path, "keys of names"),
        (tmp_path / "no.json", "can't read the names"),
        (5, "list"),
    ):
        with pytest.raises(MaskError, match=message):
            GroupMask.from_label_map(halves(0, 3), (48, 32), wrong)  # type: ignore[arg-type]
    path.write_text("{")
    with pytest.raises(MaskError, match="not valid JSON"):
        GroupMask.from_label_map(halves(0, 3), (48, 32), path)


def test_label_maps_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    size = (48, 32)
    colour, lossy, broken = tmp_path / "colour.png", tmp_path / "lossy.jpg", tmp_path / "broken.png"
    Image.new("RGB", size, (1, 1, 2)).save(colour)
    Image.new("L", size).save(lossy)
    broken.write_bytes(colour.read_bytes()[:40])
    for source, message in (
        (colour, "in colour.*indexed or gray PNG"),
        (lossy, "JPEG"),
        (broken, "can't read the label map .*broken.png"),
        (tmp_path / "missing.png", "missing.png"),
        (np.zeros((32, 48)), "float64"),
        (np.zeros((32, 48, 3), np.uint8), "colour"),
        (np.full((32, 48), -1), "from -1 to -1"),
        (np.full((32, 48), 2**63, np.uint64), "2\\^31-1"),
        (np.zeros((48, 32), np.uint8), "48x32 .one per pixel. or 3x2 .one per block.; .*sideways"),
        (np.zeros((31, 48), np.uint8), "has 48x31 entries"),
        (np.arange(32 * 48).reshape(32, 48) // 6, "own no block"),
    ):
        with pytest.raises(MaskError, match=message):
            GroupMask.from_label_map(source, size)
    with pytest.raises(MaskError, match="256 groups; a file holds at most 255"):
        GroupMask.from_label_map(np.arange(256).reshape(16, 16), (256, 256))
    assert GroupMask.from_label_map(np.arange(1, 256).reshape(15, 17), (272, 240)).groups == list(range(255))


def test_empty_files_are_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for make in (GroupMask.from_label_map, GroupMask.from_boxes, GroupMask.from_coco):
        with pytest.raises(MaskError, match=r"empty,? is empty"):
            make(tmp_path / "empty", (48, 32))


def test_a_label_without_blocks_is_an_error_a_warning_or_an_owner() -> None:
    labels = halves(0, 2)
    labels[3, 3] = 9
    with pytest.raises(MaskError, match=r'own no block: 9 "bird".*drop_empty'):
        GroupMask.from_label_map(labels, (48, 32), {9: "bird"})
    with pytest.warns(DroppedGroups, match='9 "bird"'):
        mask = GroupMask.from_label_map(labels, (48, 32), {9: "bird"}, drop_empty=True)
    assert mask.groups == [0, 2]
    assert GroupMask.from_label_map(labels, (48, 32), rule="any").ids.tolist() == [[9, 0, 2], [0, 0, 2]]
    with pytest.raises(MaskError, match='"most" or "any"'):
        GroupMask.from_label_map(labels, (48, 32), rule="all")  # type: ignore[arg-type]


def test_boxes_lie_on_each_other_in_order(tmp_path: Path) -> None:
    boxes = [
        {"box": [-5, 0, 32, 32], "name": "car", "class": "vehicle", "score": 0.75},
        [16, 16, 48, 32],
        {"box": [32.5, 0, 900, 15.5], "class": "person"},
        {"box": [0, 16, 16, 32], "class": "person"},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    mask = GroupMask.from_boxes(path, (64, 40))
    assert mask == GroupMask.from_boxes(boxes, (64, 40))
    assert mask.ids.tolist() == [[1, 1, 3, 3], [4, 2, 2, 0], [0, 0, 0, 0]]
    assert mask.names == {0: "background", 1: "car", 2: "box", 3: "person 1", 4: "person 2"}
    assert mask.resolve(["vehicle", "person"]) == [1, 3, 4]
    assert mask.scores == {1: 0.75}
    assert GroupMask.from_boxes([[0, 0, 9, 9]], (9, 9)).groups == [1]
    assert GroupMask.from_boxes(np.array([[0, 0, 9, 9]]), (90, 9)).names[1] == "box"  # type: ignore[arg-type]
    assert GroupMask.from_boxes([[0.9, 0.9, 1.1, 1.1]], (90, 9), rule="any").blocks(1) == 1
    assert GroupMask.from_boxes([[15.9, 0, 16.1, 9]], (48, 9), rule="any").ids.tolist() == [[1, 1, 0]]
    assert GroupMask.from_boxes([], (9, 9)).names == {0: "background"}
    assert GroupMask.from_boxes([{"box": [0, 0, 9, 9], "name": "background"}], (9, 9)).groups == [1]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[64, 0, 80, 16]], "box 1 of 1.*covers nothing of the 64x40"),
        ([[5, 5, 5, 9]], "covers nothing"),
        ([[0, 0, 16, 16], [1, 2, 3]], "box 2 of 2 is"),
        ([{"name": "a"}], 'box 1 of 1 has no "box"'),
        (
            [{"bbox": [0, 0, 16, 16]}],
            'box 1 of 1 has "bbox"; what is known is "box", "name", "class", "score"',
        ),
        ([{"box": [0, 0, 16, 16], "label": "dog"}], 'has "label"; what is known'),
        ([{"box": [0, 0, 16, 16], "name": "background"}], 'group 1 is called "background".*another name'),
        ([[0, 0, float("nan"), 1]], "expected"),
        ([[0, 0, "9", 1]], "expected"),
        ({"box": [0, 0, 1, 1]}, "list"),
        ([[0, 0, 1, 1]], 'own no block: 1 "box"'),
        ([{"box": [0, 0, 16, 16], "name": "a"}, {"box": [16, 0, 32, 16], "name": "a"}], "both called"),
        ([{"box": [0, 0, 16, 16], "name": 5}], "string"),
        ([{"box": [0, 0, 16, 16], "score": "high"}], "score"),
    ],
)
def test_senseless_boxes_are_refused(boxes: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        GroupMask.from_boxes(boxes, (64, 40))


def polygon(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def coco(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 139, "file_name": "a.jpg", "width": 64, "height": 48, **image}],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog, wild"}],
        "annotations": [{"id": n, "image_id": 139, "category_id": 1, **a} for n, a in enumerate(annotations)],
    }


def test_coco_objects_become_groups(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools import mask as cocomask

    right = np.zeros((48, 64), np.uint8, order="F")
    right[:, 48:] = 1
    packed = cocomask.encode(right)
    data = coco(
        {"segmentation": polygon(0, 0, 32, 32)},
        {"segmentation": {"size": [48, 64], "counts": [0, 48 * 64]}, "iscrowd": 1},  # all, below all others
        {"segmentation": polygon(16, 16, 32, 32), "category_id": 18, "score": 0.5},  # smaller: on top
        {"segmentation": {"size": [48, 64], "counts": packed["counts"].decode()}, "category_id": 1},
        {"segmentation": polygon(2, 2, 5, 5)},  # too small to own a block
    )
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    with pytest.warns(DroppedGroups, match='5 "person 4"'):
        mask = GroupMask.from_coco(path, (64, 48))
    assert mask.ids.tolist() == [[1, 1, 2, 4], [1, 3, 2, 4], [2, 2, 2, 4]]
    assert mask.names == {1: "person 1", 2: "person 2", 3: "dog wild", 4: "person 3"}
    assert mask.resolve(["person"]) == [1, 2, 4]
    assert mask.scores == {3: 0.5}
    with pytest.raises(MaskError, match="own no block"):
        GroupMask.from_coco(data, (64, 48), drop_empty=False)
    flip = coco(
        {"segmentation": polygon(0, 0, 64, 48)}, {"segmentation": polygon(0, 0, 16, 16), "iscrowd": 1}
    )
    with pytest.warns(DroppedGroups, match='2 "person 2"'):  # smaller, but a crowd: it lies below
        assert GroupMask.from_coco(flip, (64, 48)).groups == [1]
    by_class = GroupMask.from_coco(data, (64, 48), group_by="class")
    assert by_class.names == by_class.classes == {1: "person", 2: "dog wild"}
    assert by_class.blocks(2) == 1
    assert GroupMask.from_coco(coco(), (64, 48)).names == {0: "background"}


def test_names_of_categories_become_names_of_groups() -> None:
    pytest.importorskip("pycocotools")
    data = coco({"segmentation": polygon(0, 0, 64, 48)})
    data["categories"][0]["name"] = " dog\u200b,\u2028 \u202ewild\n"
    assert GroupMask.from_coco(data, (64, 48)).names == {1: "dog wild"}


def test_the_picture_is_chosen_by_id_by_name_or_by_being_alone() -> None:
    pytest.importorskip("pycocotools")
    data = coco({"segmentation": polygon(0, 0, 64, 48)})
    whole = GroupMask.from_coco(data, (64, 48), file_name="other.jpg")
    data["images"].append({"id": 2, "file_name": "b.jpg", "width": 9, "height": 9})
    for choice in ({"image_id": 139}, {"image_id": "139"}, {"file_name": "some/where/a.jpg"}):
        assert GroupMask.from_coco(data, (64, 48), **choice) == whole
    assert GroupMask.from_coco(data, (9, 9), image_id=2).names == {0: "background"}
    for choice in ({}, {"image_id": 3}, {"file_name": "c.jpg"}):
        with pytest.raises(MaskError, match=r"image_id \(--image-id\); the file has 139 \(a.jpg\), 2"):
            GroupMask.from_coco(data, (64, 48), **choice)
    with pytest.raises(MaskError, match="of 64x48 pixels, and the picture has 65x48"):
        GroupMask.from_coco(data, (65, 48), image_id=139)
    with pytest.raises(MaskError, match="group_by"):
        GroupMask.from_coco(data, (64, 48), group_by="area")  # type: ignore[arg-type]


rle_counts = st.one_of(
    st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12),
    st.lists(st.integers(-1, 64 * 48), max_size=4),
)
segmentations = st.one_of(
    st.lists(st.lists(st.floats() | st.integers(-200, 200), max_size=8), max_size=3),
    st.fixed_dictionaries({"size": st.just([48, 64]) | st.just([64, 48]), "counts": rle_counts}),
    st.none() | st.integers() | st.text(),
)


@settings(max_examples=300, deadline=None)
@given(segmentations)
@pytest.mark.filterwarnings("ignore::ssic.groups.mask.DroppedGroups")
def test_any_segmentation_gives_a_mask_or_an_error_that_names_it(segmentation: Any) -> None:
    pytest.importorskip("pycocotools")
    try:
        assert GroupMask.from_coco(coco({"segmentation": segmentation}), (64, 48)).ids.shape == (3, 4)
    except MaskError as error:
        assert "annotation 0 of image 139" in str(error)  # noqa: PT017


def test_files_that_are_not_coco_are_refused() -> None:
    pytest.importorskip("pycocotools")
    for data in ([], {}, {"images": 5}, coco() | {"annotations": [3]}):
        with pytest.raises(MaskError, match="no COCO annotation file"):
            GroupMask.from_coco(data, (64, 48))  # type: ignore[arg-type]
    with pytest.raises(MaskError, match="category_id \\[5\\]"):
        GroupMask.from_coco(coco({"segmentation": polygon(0, 0, 9, 9), "category_id": [5]}), (64, 48))
    crowd = [
        {"segmentation": polygon(x, y, x + 16, y + 16)} for x in range(0, 256, 16) for y in range(0, 256, 16)
    ]
    with pytest.raises(MaskError, match=r"256 groups.*group by class"):
        GroupMask.from_coco(coco(*crowd, width=256, height=256), (256, 256))


def test_coco_as_it_is_written_out_there() -> None:
    pytest.importorskip("pycocotools")
    square = polygon(16, 16, 32, 32)
    expected = [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    counts = [16.0 * 48 + 16, *[16.0, 32.0] * 15, 16.0, 16 + 32 * 48.0]
    for annotation, image in (
        ({"segmentation": square, "image_id": "139"}, {}),
        ({"segmentation": square, "image_id": 139.0, "category_id": "1"}, {"id": "139"}),
        ({"segmentation": square[0]}, {"width": "64", "height": 48.0}),
        ({"segmentation": square}, {"width": None, "height": None}),
        ({"segmentation": {"size": ["48", 64.0], "counts": counts}}, {}),
        ({"segmentation": square}, {"file_name": "some\\where\\a.jpg"}),
    ):
        assert (
            GroupMask.from_coco(coco(annotation, **image), (64, 48), file_name="a.jpg").ids.tolist()
            == expected
        )
    beyond = GroupMask.from_coco(coco({"segmentation": polygon(-900, 16, 900, 32)}), (64, 48))
    assert beyond.ids.tolist() == [[0] * 4, [1] * 4, [0] * 4]
    with pytest.raises(MaskError, match="far outside the 64x48"):
        GroupMask.from_coco(coco({"segmentation": polygon(0, 0, 10**6, 9)}), (64, 48))
    with pytest.raises(MaskError, match="48x64 pixels, and the picture has 64x48: it lies sideways"):
        GroupMask.from_coco(coco({"segmentation": square}, width=48, height=64), (64, 48))
    with pytest.raises(MaskError, match=r"RLE has size \[64, 48\].*sideways"):
        GroupMask.from_coco(coco({"segmentation": {"size": [64, 48], "counts": [3072]}}), (64, 48))


def test_coco_objects_without_outlines_are_their_boxes() -> None:
    pytest.importorskip("pycocotools")
    for outline in ({}, {"segmentation": []}, {"segmentation": None}):
        with pytest.warns(BoxesForOutlines, match="1 of 1 objects have a box and no outline"):
            mask = GroupMask.from_coco(coco({"bbox": [16, 16, 16, 16], **outline}), (64, 48))
        assert mask.ids.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(MaskError, match="annotation 0 of image 139 has neither an outline nor a box"):
        GroupMask.from_coco(coco({}), (64, 48))
    with pytest.raises(MaskError, match=r"its bbox is \[1, 2\]"):
        GroupMask.from_coco(coco({"bbox": [1, 2]}), (64, 48))


def test_a_picture_without_annotations_is_told_of() -> None:
    with pytest.warns(
        NothingAnnotated, match=r"no annotation of image 139 \(a.jpg\); 1 annotations are of images .* 7$"
    ):
        GroupMask.from_coco(coco({"segmentation": polygon(0, 0, 9, 9), "image_id": 7}), (64, 48))


def test_pictures_of_one_name_are_told_apart_by_their_folders() -> None:
    pytest.importorskip("pycocotools")
    data = coco({"segmentation": polygon(0, 0, 64, 48)}, file_name="a/pic.jpg")
    data["images"].append({"id": 2, "file_name": "b/pic.jpg", "width": 64, "height": 48})
    data["annotations"].append(
        {"id": 5, "image_id": 2, "category_id": 18, "segmentation": polygon(0, 0, 64, 48)}
    )
    for path, name in (
        ("/data/a/pic.jpg", "person"),
        ("b/pic.jpg", "dog wild"),
        ("x\\b\\pic.jpg", "dog wild"),
    ):
        assert GroupMask.from_coco(data, (64, 48), file_name=path).names == {1: name}
    for path in ("pic.jpg", "c/pic.jpg"):
        with pytest.raises(MaskError, match=r"2 of the 2 images .*139 \(a/pic.jpg\), 2 \(b/pic.jpg\)"):
            GroupMask.from_coco(data, (64, 48), file_name=path)
