"""How a picture gets its mask, described once: sources, defaults, and the rule for groups that own no block."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from helpers.pictures import natural_picture
from ssic.errors import InvalidInput, MaskError
from ssic.groups.mask import DroppedGroups, GroupMask
from ssic.groups.recipe import MaskRecipe

PIXELS = natural_picture(2, 40, 64)
SIZE = (64, 40)
TINY = [[0, 0, 40, 40], [60, 0, 63, 3]]
"""Two boxes, of which the second has too few pixels of its block."""


def annotations(boxes: list[list[int]]) -> dict[str, Any]:
    shapes = [[[a, b, c, b, c, d, a, d]] for a, b, c, d in boxes]
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 40}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 1, "segmentation": shape, "iscrowd": 0}
            for n, shape in enumerate(shapes)
        ],
    }


def test_each_kind_is_what_the_mask_itself_makes() -> None:
    labels = np.zeros((40, 64), np.uint8)
    labels[:20, :30] = 1
    assert MaskRecipe().mask(PIXELS) == GroupMask.single(SIZE)
    assert MaskRecipe("grid", cells=(2, 3)).mask(PIXELS) == GroupMask.grid(SIZE, 2, 3)
    named = MaskRecipe("labels", names={1: "dog"}).mask(PIXELS, labels)
    assert named == GroupMask.from_label_map(labels, SIZE, {1: "dog"})
    labels[:, 48:] = 255
    told: dict[str, Any] = {"names": {1: "dog"}, "ignore_label": 255}
    for kind in ("mask", "labels"):
        assert MaskRecipe(kind, **told).mask(PIXELS, labels) == GroupMask.from_any(labels, SIZE, **told)
    stack = np.stack([labels == 1, labels == 0])
    by_name = MaskRecipe("mask", names=["dog", "sky"], rule="any").mask(PIXELS, stack)
    assert by_name == GroupMask.from_any(stack, SIZE, ["dog", "sky"], rule="any")
    assert MaskRecipe("boxes", rule="any").mask(PIXELS, TINY) == GroupMask.from_boxes(TINY, SIZE, rule="any")
    pytest.importorskip("pycocotools")
    by_class = MaskRecipe("coco", group_by="class").mask(PIXELS, annotations(TINY[:1]), file_name="a.png")
    assert by_class == GroupMask.from_coco(annotations(TINY[:1]), SIZE, group_by="class")
    assert list(by_class.names.values()) == ["background", "dog"]


def test_one_rule_for_groups_that_own_no_block() -> None:
    with pytest.raises(MaskError, match="box 2"):
        MaskRecipe("boxes").mask(PIXELS, TINY)
    with pytest.raises(MaskError, match="box 2"):
        MaskRecipe("mask").mask(PIXELS, TINY)
    with pytest.warns(DroppedGroups, match="box 2"):
        assert len(MaskRecipe("boxes", drop_empty=True).mask(PIXELS, TINY).groups) == 2
    pytest.importorskip("pycocotools")
    with pytest.warns(DroppedGroups, match="dog 2"):
        assert len(MaskRecipe("coco").mask(PIXELS, annotations(TINY)).groups) == 2
    with pytest.raises(MaskError, match="dog 2"):
        MaskRecipe("coco", drop_empty=False).mask(PIXELS, annotations(TINY))
    defaults = {kind: MaskRecipe(kind).drops_empty for kind in ("labels", "boxes", "coco")}
    assert defaults == {"labels": False, "boxes": False, "coco": True}
    assert MaskRecipe("segmenter", segmenter="foreground").drops_empty


def test_blocks_belong_to_whole_objects_with_segmenters_only() -> None:
    assert MaskRecipe("segmenter", segmenter="foreground").block_rule == "any"
    assert MaskRecipe("boxes").block_rule == "most"
    assert MaskRecipe("segmenter", segmenter="foreground", rule="most").block_rule == "most"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "guess"}, "the kind of a mask is 'guess'"),
        ({"kind": "grid"}, "a grid needs cells"),
        ({"cells": (2, 2)}, "a grid needs cells"),
        ({"kind": "segmenter"}, "needs its name"),
        ({"segmenter": "foreground"}, "needs its name"),
        ({"min_score": 2}, "scores are from 0 to 1"),
        ({"max_groups": 255}, "1 to 254 fit"),
        ({"kind": "boxes", "names": {1: "dog"}}, "names and a label to ignore"),
        ({"kind": "coco", "ignore_label": 255}, "names and a label to ignore"),
        ({"kind": "mask", "ignore_label": "255"}, "the label to ignore is '255'"),
        ({"group_by": "mood"}, "group_by is 'mood'"),
        ({"rule": "least"}, "the block rule is 'least'"),
        ({"kind": "segmenter", "segmenter": "foreground", "drop_empty": False}, "always left out"),
    ],
)
def test_what_can_not_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        MaskRecipe(**values)


def test_errors_name_the_source_once() -> None:
    with pytest.raises(MaskError, match=r"^x\.png: the label map has 9x9 entries"):
        MaskRecipe("labels").mask(PIXELS, np.zeros((9, 9), np.uint8), called="x.png")


def test_recipes_travel_to_other_processes() -> None:
    recipe = MaskRecipe("labels", names={1: "dog"}, drop_empty=True)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
