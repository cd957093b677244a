"""From instances to groups, how segmenters are found, those that come with ssic, and the commands that use them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.pictures import natural_picture
from ssic.errors import InvalidInput, MaskError, SegmenterError
from ssic.groups.mask import DroppedGroups, GroupMask
from ssic.groups.segment import (
    GROUP,
    Instance,
    LeftOut,
    Shared,
    available,
    find_segmenter,
    identity_of,
    instances,
    segment,
)
from ssic.pictures.preview import captions, draw

PICTURE = np.zeros((64, 96, 3), np.uint8)
SHIPPED = ["faces", "foreground", "onnx", "torchvision", "ultralytics"]


def box(name: str, score: float, x0: int, y0: int, x1: int, y1: int) -> Instance:
    """All pixels of a box as a mask on PICTURE."""
    mask = np.zeros(PICTURE.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    return Instance(name, score, mask)


def giving(*found: Instance) -> Callable[[NDArray[np.uint8]], Iterator[Instance]]:
    return lambda rgb: iter(found)


# -- instances to groups -----------------------------------------------------------------------------------


def test_instances_become_groups_the_surest_first() -> None:
    found = [
        box("person", 0.5, 0, 0, 16, 16),
        box("dog", 0.75, 32, 0, 48, 16),
        box("person", 0.9, 64, 16, 96, 64),
    ]
    mask = segment(giving(*found), PICTURE)
    assert dict(mask.names) == {0: "background", 1: "person 1", 2: "dog", 3: "person 2"}
    assert dict(mask.classes) == {1: "person", 2: "dog", 3: "person"}
    assert dict(mask.scores) == pytest.approx({1: 0.9, 2: 0.75, 3: 0.5})
    assert mask.ids.tolist() == [[3, 0, 2, 0, 0, 0], *[[0, 0, 0, 0, 1, 1]] * 3]


def test_objects_are_whole_unless_the_block_rule_says_otherwise() -> None:
    touching = giving(box("dog", 0.9, 15, 15, 33, 17))
    assert segment(touching, PICTURE).blocks(1) == 6
    with pytest.warns(DroppedGroups, match="dog"):
        assert segment(touching, PICTURE, rule="most").groups == [0]


def test_a_class_can_be_one_group() -> None:
    found = [
        box("person", 0.5, 0, 0, 16, 16),
        box("dog", 0.75, 32, 0, 48, 16),
        box("person", 0.9, 64, 16, 96, 64),
    ]
    mask = segment(giving(*found), PICTURE, group_by="class")
    assert dict(mask.names) == {0: "background", 1: "person", 2: "dog"}
    assert mask.blocks(1) == 1 + 6
    assert not mask.scores


def test_what_is_not_kept_or_not_sure_hides_nothing() -> None:
    found = giving(
        box("cat", 0.9, 0, 0, 96, 64), box("dog", 0.5, 0, 0, 32, 32), box("dog", 0.2, 0, 0, 96, 64)
    )
    mask = segment(found, PICTURE, keep=["dog"])
    assert (mask.groups, mask.blocks(1)) == ([0, 1], 4)
    assert segment(found, PICTURE, keep=["dog"], min_score=0.1).names == {1: "dog 1", 2: "dog 2"}
    assert segment(found, PICTURE, keep=["cat"]).names == {1: "cat"}


parts = st.tuples(st.sampled_from("abc"), st.integers(0, 80), st.integers(0, 50), *[st.integers(1, 40)] * 2)


@given(
    st.lists(parts, min_size=1, max_size=8),
    st.randoms(),
    st.integers(1, 8),
    st.sampled_from(["instance", "class"]),
)
def test_the_order_in_which_instances_come_is_nothing_to_the_mask(
    found: list[tuple[Any, ...]], random: Any, most: int, by: Any
) -> None:
    listed = [
        box(name, 0.3 + 0.05 * n, x, y, min(96, x + w), min(64, y + h))
        for n, (name, x, y, w, h) in enumerate(found)
    ]
    shuffled = random.sample(listed, len(listed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one, other = (segment(giving(*f), PICTURE, max_groups=most, group_by=by) for f in (listed, shuffled))
    assert one == other
    # Each block belongs to a group that has a pixel in it, and to one of the surest if to any.
    surest = list(dict.fromkeys(i.name for i in reversed(listed)))[:most]
    for n, name in one.classes.items():
        assert name in surest or by == "instance"
        owned = one.to_pixels(96, 64) == n
        assert any((i.mask & owned).any() for i in listed if i.name == name)


def test_the_surest_classes_fit_and_the_rest_is_told() -> None:
    many = [box(f"n{n}", n / 400, n % 96, n % 64, n % 96 + 1, n % 64 + 1) for n in range(300)]
    with (
        pytest.warns(DroppedGroups),
        pytest.warns(
            LeftOut, match="300 classes were found; left out, beyond the surest 254: n45, n44,.* 26 more"
        ),
    ):
        mask = segment(giving(*many), PICTURE, min_score=0)
    assert set(mask.classes.values()) <= {f"n{n}" for n in range(46, 300)}
    with pytest.warns(LeftOut, match="beyond the surest 1: n298"):
        assert segment(giving(*many[298:]), PICTURE, max_groups=1).classes == {1: "n299"}
    with pytest.warns(LeftOut, match="beyond the surest 1: n299"):
        assert segment(giving(*many[298:]), PICTURE, max_groups=1, always=["n298", "x"]).classes == {
            1: "n298"
        }
    with pytest.raises(InvalidInput, match="n298 must have a group, and at most 1 are wanted"):
        segment(giving(*many[298:]), PICTURE, max_groups=1, always=["n298", "n299"])


def crowd(count: int) -> Iterator[Instance]:
    """Faces of one block each, the surest first, and a dog that is less sure than any."""
    for n in range(count):
        y, x = 16 * (n // 20), 16 * (n % 20)
        mask = np.zeros((256, 320), bool)
        mask[y : y + 16, x : x + 16] = True
        yield Instance("face", 1 - n / 1000, mask)
    mask = np.zeros((256, 320), bool)
    mask[240:, 300:] = True
    yield Instance("dog", 0.3, mask)


@pytest.mark.parametrize("most", [254, 5, 2])
def test_in_a_crowd_the_last_group_of_a_class_takes_the_rest(most: int) -> None:
    rgb = np.zeros((256, 320, 3), np.uint8)
    with pytest.warns(Shared) as told:
        mask = segment(lambda _: crowd(300), rgb, max_groups=most)
    # One of the groups is the dog's, though every face is surer.
    alone = [f"face {n}" for n in range(1, most - 1)]
    rest = f"{'face' if most == 2 else f'face {most - 1}'} and {300 - most + 1} more"
    assert [str(w.message) for w in told if w.category is Shared] == [
        f'more were found than {most} groups hold: "{rest}" is {302 - most} in one group'
    ]
    assert list(mask.names.values()) == ["background", *alone, rest, "dog"]
    faces = np.isin(mask.ids, mask.resolve("face"))
    assert faces.sum() == 300
    assert (mask.ids == most - 1).sum() == 302 - most
    assert set(mask.scores) == {*range(1, most - 1), most}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = segment(lambda _: crowd(300), rgb, group_by="class")
        assert segment(lambda _: crowd(253), rgb).names[253] == "face 253"  # as many as there is room for
    assert dict(whole.names) == {0: "background", 1: "face", 2: "dog"}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("most", [None, 3])
def test_every_face_of_a_crowd_is_sealed(run: Run, tmp_path: Path, others: Path, most: int | None) -> None:
    Image.fromarray(natural_picture(1, 256, 320)).save(tmp_path / "crowd.png")
    me = ssic.Identity.generate()
    (tmp_path / "me.pub").write_text(str(me.recipient))
    args = ["--segment", "crowd", "--encrypt", "face", "--recipient", tmp_path / "me.pub", "--model", "small"]
    args += [] if most is None else ["--max-groups", most]
    code, out, err = run("encode", tmp_path / "crowd.png", *args, "--json")
    assert code == 0, err
    shared = '"face 253 and 47 more" is 48' if most is None else '"face 2 and 298 more" is 299'
    said = f"more were found than {most or 254} groups hold: {shared} in one group"
    assert f"ssic: warning: {said}\n" in err
    assert json.loads(out)["notes"] == [said]
    opened = ssic.open(tmp_path / "crowd.ssic")
    clear = [g.id for g in opened.groups if not g.encrypted]
    assert [opened.mask.names[g] for g in clear] == ["background", "dog"]
    assert (~np.isin(opened.mask.ids, clear)).sum() == 300  # the block of every face
    code, out, err = run("batch", "encode", tmp_path / "crowd.png", "-o", tmp_path / "out", *args, "--json")
    assert code == 0, err
    assert [note["warning"] for note in json.loads(out)["warnings"]] == [said]
    assert sum(g.encrypted for g in ssic.open(tmp_path / "out/crowd.ssic").groups) == (most or 254) - 1


def test_label_maps_of_crowds_are_refused_with_a_way_out() -> None:
    labels = np.arange(300, dtype=np.int32).reshape(15, 20)
    with pytest.raises(
        MaskError, match=r"300 groups; a file holds at most 255: merge some, .*--group-by class"
    ):
        GroupMask.from_label_map(labels, (320, 240))


def test_nothing_found_is_one_group_and_a_warning() -> None:
    with pytest.warns(LeftOut, match=r"nothing of dog, cat was found that scores 0\.25"):
        mask = segment(giving(box("person", 0.9, 0, 0, 9, 9)), PICTURE, keep=["dog", "cat"])
    assert dict(mask.names) == {0: "background"}


def test_names_become_such_that_fit_in_files() -> None:
    mask = segment(giving(box("dog,\twild", 1, 0, 0, 16, 16), box("background", 1, 32, 0, 48, 16)), PICTURE)
    assert dict(mask.names) == {0: "background", 1: "dog wild", 2: "background 1"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Instance("dog", 0.5, np.zeros((96, 64), bool)), r"\[96, 64\]; bool \[64, 96\] was expected"),
        (Instance("dog", 0.5, np.zeros((64, 96), np.uint8)), "uint8"),  # type: ignore[arg-type]
        (Instance("dog", 1.5, np.zeros((64, 96), bool)), "0 to 1"),
        (Instance("dog", float("nan"), np.zeros((64, 96), bool)), "0 to 1"),
        (Instance("", 0.5, np.zeros((64, 96), bool)), "without a name"),
    ],
)
def test_unusable_instances_are_told(found: Instance, said: str) -> None:
    with pytest.raises(SegmenterError, match=said):
        segment(giving(found), PICTURE)


def test_a_segmenter_that_fails_is_named() -> None:
    def broken(rgb: NDArray[np.uint8]) -> Iterator[Instance]:
        yield box("dog", 1, 0, 0, 9, 9)
        raise ZeroDivisionError("by nothing")

    with pytest.raises(SegmenterError, match='"broken" failed: by nothing') as error:
        segment(broken, PICTURE)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_classes_that_a_segmenter_lacks_are_told_where_it_knows_them() -> None:
    class Dogs:
        classes = ("dog", "wolf")

        def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
            yield box("dog", 1, 0, 0, 9, 9)

    assert segment(Dogs(), PICTURE, keep=["dog"]).names[1] == "dog"
    with pytest.raises(SegmenterError, match='no class "dogs"; did you mean "dog"'):
        segment(Dogs(), PICTURE, keep=["dogs"])


@pytest.mark.parametrize(
    "options",
    [{"min_score": -1}, {"min_score": 2}, {"max_groups": 0}, {"max_groups": 255}, {"group_by": "size"}],
)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        segment(giving(), PICTURE, **options)


# -- entry points ------------------------------------------------------------------------------------------

PACKAGE = """
import numpy as np
from ssic.groups.segment import Instance

class Bright:
    def __init__(self, argument):
        self.threshold = int(argument or 128)
    def __call__(self, rgb):
        mask = rgb.min(2) > self.threshold
        if mask.any():
            yield Instance("bright", 0.875, mask)

def crowd(argument):
    def find(rgb):
        for n in range(300):
            mask = np.zeros(rgb.shape[:2], bool)
            y, x = 16 * (n // 20), 16 * (n % 20)
            mask[y : y + 16, x : x + 16] = True
            yield Instance("face", 1 - n / 1000, mask)
        mask = np.zeros(rgb.shape[:2], bool)
        mask[240:, 300:] = True
        yield Instance("dog", 0.3, mask)
    find.classes = "face", "dog"
    return find

def broken(argument):
    raise RuntimeError(f"no such model: {argument}")
"""


def install(folder: Path, name: str, entries: str) -> None:
    """A distribution with entry points, as pip would leave it."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")
    (folder / "bright_things.py").write_text(PACKAGE)


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a package of somebody else that offers segmenters."""
    folder = tmp_path / "site"
    install(
        folder,
        "bright-things",
        "bright = bright_things:Bright\nbroken = bright_things:broken\ncrowd = bright_things:crowd\nlost = nowhere:X",
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "bright_things", raising=False)
    return folder


def test_segmenters_of_other_packages_are_found(others: Path) -> None:
    assert {"bright", "broken", *SHIPPED} <= set(available())
    rgb = PICTURE.copy()
    rgb[16:32, 16:32] = 200
    assert segment(find_segmenter("bright"), rgb).blocks(1) == 1
    with pytest.warns(LeftOut):
        segment(find_segmenter("bright:220"), rgb)


def test_segmenters_that_cannot_be_made_are_told(others: Path) -> None:
    with pytest.raises(SegmenterError, match='"broken" can\'t be loaded: no such model: small'):
        find_segmenter("broken:small")
    with pytest.raises(SegmenterError, match="nowhere"):
        find_segmenter("lost")
    with pytest.raises(
        SegmenterError, match=r'no segmenter "brigth"; did you mean "bright"\? There are: .*onnx'
    ):
        find_segmenter("brigth:1")


def test_one_name_of_two_packages_is_refused(others: Path) -> None:
    install(others, "brighter-things", "bright = bright_things:broken")
    with pytest.raises(SegmenterError, match="brighter-things"):
        find_segmenter("bright")


def test_ours_are_offered_in_the_same_way() -> None:
    ours = {e.name for e in entry_points(group=GROUP) if e.dist is not None and e.dist.name == "ssic"}
    assert ours == set(SHIPPED)


@pytest.mark.parametrize(
    ("spec", "said"), [("onnx", "onnx:PATH"), ("faces:x", "no argument"), ("foreground:x", "no argument")]
)
def test_arguments_of_ours(spec: str, said: str) -> None:
    with pytest.raises(SegmenterError, match=said):
        find_segmenter(spec)


@pytest.mark.parametrize("name", ["torchvision", "ultralytics"])
def test_missing_packages_are_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SegmenterError, match=f"pip install {name}"):
        find_segmenter(name)


# -- those that come with ssic -----------------------------------------------------------------------------


def test_a_foreground_that_stands_out_is_cut_out_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :320]
    disc = (x - 150) ** 2 + (y - 130) ** 2 < 60**2
    rgb = np.where(disc[..., None], [190, 80, 40], [60, 90, 120]) + rng.normal(0, 8, (240, 320, 3))
    rgb = rgb.clip(0, 255).astype(np.uint8)
    (found,) = instances(find_segmenter("foreground"), rgb)
    assert (found.mask & disc).sum() / (found.mask | disc).sum() > 0.9
    (again,) = instances(find_segmenter("foreground"), rgb)
    np.testing.assert_array_equal(found.mask, again.mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 5), (40, 40)])
def test_flat_and_tiny_pictures_have_no_foreground_but_a_mask(shape: tuple[int, int]) -> None:
    rgb = np.full((*shape, 3), 90, np.uint8)
    for found in instances(find_segmenter("foreground"), rgb):
        assert found.mask.shape == shape


def test_torchvision_is_read_as_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its network is replaced (it can't be installed everywhere), not what ssic does with its answer."""
    masks = torch.zeros(2, 1, 64, 96)
    masks[0, 0, :16, :32] = 0.75

    class Network(torch.nn.Module):
        def forward(self, pictures: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            assert pictures[0].shape == (3, 64, 96)
            assert pictures[0].max() <= 1
            scores = torch.tensor([0.75, 0.01])
            return [{"labels": torch.tensor([1, 2]), "scores": scores, "masks": masks}]

    about = types.SimpleNamespace(
        DEFAULT=types.SimpleNamespace(meta={"categories": ["__background__", "person", "N/A"]})
    )
    module: Any = types.ModuleType("torchvision.models.detection")
    module.MaskRCNN_ResNet50_FPN_V2_Weights = about
    module.maskrcnn_resnet50_fpn_v2 = lambda weights: Network()
    package: Any = types.ModuleType("torchvision")
    package.__version__ = "0.99"
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", types.ModuleType("torchvision.models"))
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", module)
    segmenter = find_segmenter("torchvision")
    (found,) = instances(segmenter, np.full_like(PICTURE, 255))
    assert (found.name, found.score, int(found.mask.sum())) == ("person", 0.75, 16 * 32)
    assert segmenter.classes == ("person",)  # type: ignore[attr-defined]
    facts = identity_of("torchvision", segmenter)
    assert facts == {"name": "torchvision", "identity": f"torchvision 0.99, {about.DEFAULT}"}


def test_ultralytics_is_read_as_it_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    masks = torch.zeros(1, 64, 96)
    masks[0, :16, :32] = 1

    class Model:
        task, names, ckpt_path = "segment", {0: "person", 1: "dog"}, Path("nowhere.pt")

        def __init__(self, weights: str) -> None:
            assert weights == "mine.pt"

        def predict(self, bgr: NDArray[np.uint8], **options: Any) -> list[Any]:
            assert options["retina_masks"]
            assert bgr[0, 0].tolist() == [3, 2, 1]
            boxes = types.SimpleNamespace(cls=torch.tensor([1.0]), conf=torch.tensor([0.5]))
            return [types.SimpleNamespace(boxes=boxes, masks=types.SimpleNamespace(data=masks))]

    module: Any = types.ModuleType("ultralytics")
    module.YOLO, module.__version__ = Model, "9.9"
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    rgb = np.full_like(PICTURE, [1, 2, 3])
    segmenter = find_segmenter("ultralytics:mine.pt")
    (found,) = instances(segmenter, rgb)
    facts = {"name": "ultralytics", "argument": "mine.pt", "identity": "ultralytics 9.9"}
    assert identity_of("ultralytics:mine.pt", segmenter) == facts
    Model.ckpt_path = tmp_path / "downloaded.pt"
    Model.ckpt_path.write_bytes(b"weights")
    again = find_segmenter("ultralytics:mine.pt")
    weighed = hashlib.sha256(b"weights").hexdigest()
    assert identity_of("ultralytics:mine.pt", again)["identity"] == f"ultralytics 9.9, {weighed}"
    assert (found.name, found.score, int(found.mask.sum())) == ("dog", 0.5, 16 * 32)


# -- previews ----------------------------------------------------------------------------------------------


def test_a_preview_outlines_groups_along_their_blocks_and_leaves_the_background() -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (480, 640, 3), np.uint8)
    ids = np.zeros((30, 40), np.uint8)
    ids[10:20, 10:25] = 1
    shown = draw(rgb, GroupMask(ids, {0: "background", 1: "dog"}))
    changed = (shown != rgb).any(2)
    far = np.ones_like(changed)
    far[156:324, 156:404] = False  # within 4 pixels of the group
    rows, columns = np.nonzero(changed & far)
    assert rows.max() < 40  # the label of the background, in its first blocks
    assert columns.max() < 200
    inside = changed[160:320, 160:400]
    assert inside.mean() > 0.95
    edge = shown[160 + 1, 300:390]  # the upper edge, right of the label
    assert (edge == edge[0]).all()
    assert draw(rgb, GroupMask.single((640, 480))).shape == rgb.shape


def test_captions_tell_name_share_and_score() -> None:
    ids = np.zeros((8, 25), np.uint8)
    ids[0, :3], ids[1:] = 1, 2
    mask = GroupMask(ids, {0: "background", 1: "dog", 2: "cat"}, {}, {1: 0.876})
    assert captions(mask) == {0: "background  11 %", 1: "dog  1.5 %  0.88", 2: "cat  88 %"}


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (255 * 16, 16)])
def test_previews_of_odd_pictures(size: tuple[int, int]) -> None:
    columns = -(-size[0] // 16)
    mask = GroupMask.grid(size, 1, min(columns, 255))
    assert draw(np.zeros((size[1], size[0], 3), np.uint8), mask).shape == (size[1], size[0], 3)


# -- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rgb = np.full((64, 96, 3), 40, np.uint8)
    rgb[20:40, 20:40] = 230
    rgb[0:16, 80:96] = 210
    path = tmp_path / "photo.png"
    Image.fromarray(rgb).save(path)
    return path


def test_encode_finds_its_groups(run: Run, photo: Path, others: Path) -> None:
    target = photo.with_suffix(".ssic")
    code, _, err = run("encode", photo, "--segment", "bright", "--group-quality", "background=15,bright=80")
    assert (code, err) == (0, "")
    opened = ssic.open(target)
    about = [(g.name, g.class_name, round(g.score or 0, 1), g.quality, g.blocks) for g in opened.groups]
    assert sorted(about) == [("background", None, 0, 15, 19), ("bright", "bright", 0.9, 80, 5)]
    assert run("encode", photo, "--segment", "bright:220", "--block-rule", "most")[0] == 0
    assert ssic.open(target).mask.blocks(1) == 1


def test_what_was_not_found_is_a_warning(run: Run, photo: Path, others: Path) -> None:
    options = ["--segment", "bright:250", "--group-quality", "bright=80,background=20", "--order", "bright"]
    code, _, err = run("encode", photo, *options)
    assert code == 0
    assert "nothing was found that scores 0.25 or more: the picture is one group" in err
    assert '--group-quality: nothing called "bright" was found' in err
    assert '--order: nothing called "bright" was found' in err
    (group,) = ssic.open(photo.with_suffix(".ssic")).groups
    assert (group.name, group.quality) == ("background", 20)


def test_targets_of_groups_not_found_are_a_warning(run: Run, photo: Path, others: Path) -> None:
    code, _, err = run("encode", photo, "--segment", "bright:250", "--group-target", "bright=psnr:35")
    assert (code, '--group-target: nothing called "bright" was found' in err) == (0, True)
    code, _, err = run("encode", photo, "--segment", "bright:250", "--group-target", "bright=size:35")
    assert (code, "a target is one of" in err) == (2, True)
    code, _, err = run("encode", photo, "--segment", "bright:250", "--group-quality", "bright=300")
    assert (code, "from 1 to 100" in err) == (2, True)


def test_nothing_is_written_in_clear_that_was_to_be_sealed(run: Run, photo: Path, others: Path) -> None:
    password = photo.with_name("password")
    password.write_text("secret")
    sealing = ("--encrypt", "bright", "--passphrase-file", password)
    code, _, err = run("encode", photo, "--segment", "bright:250", *sealing)
    assert (code, "Nothing is written, as it would be in clear" in err) == (2, True)
    code, _, err = run("encode", photo, "--segment", "bright", *sealing, "--group-target", "bright=bytes:900")
    assert (code, "counts the segment before it is sealed" in err) == (2, True)
    assert not photo.with_suffix(".ssic").exists()
    assert run("encode", photo, "--segment", "bright", *sealing)[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--segment brigth", 'did you mean "bright"?'),
        ("--segment onnx:none.onnx", "No such file"),
        ("--segment broken:x", "no such model: x"),
        ("--segment bright --grid 1x1", "--grid and --segment exclude each other"),
        ("--keep person", "--keep is of use with --segment only"),
        ("--min-score 0.5", "--min-score is of use with --segment only"),
        ("--max-groups 3 --grid 1x1", "--max-groups is of use with --segment only"),
        ("--segment bright --min-score 1.5", "from 0 to 1"),
        ("--segment bright --max-groups 0", "1 to 254"),
        ("--segment bright --group-by size", "instance or class"),
        ("--segment bright --keep ,", "is empty"),
        ("--segment bright --drop-empty", "--drop-empty is of use with --mask or --boxes only"),
        ("--segment bright --names n.json", "--names is of use with --mask only"),
    ],
)
@pytest.mark.parametrize("command", ["encode", "preview"])
def test_refused(run: Run, photo: Path, others: Path, command: str, options: str, said: str) -> None:
    target = photo.with_name("out.png")
    code, out, err = run(command, photo, "-o", target, *options.split())
    assert (code, out) == (6 if "none.onnx" in options else 2, "")
    assert said in err
    assert not target.exists()


def test_preview_shows_what_encode_would_do(run: Run, photo: Path, others: Path) -> None:
    target = photo.with_name("preview.png")
    code, out, err = run("preview", photo, "--segment", "bright", "-o", target)
    assert (code, err) == (0, "")
    assert out == f"{target}: background 79 %, bright 21 % 0.88\n"
    with Image.open(target) as shown, Image.open(photo) as before:
        assert shown.size == before.size
        assert (np.asarray(shown) != np.asarray(before)).any()
    assert run("preview", photo, "--grid", "2x2", "-o", target)[1].count("25 %") == 4
    code, _, err = run("preview", photo, "--segment", "bright", "-o", photo)
    assert (code, "would be overwritten" in err) == (2, True)


def test_info_draws_from_a_file(run: Run, photo: Path, others: Path) -> None:
    target, shown = photo.with_suffix(".ssic"), photo.with_name("preview.png")
    assert run("encode", photo, "--segment", "bright")[0] == 0
    plain = run("info", target)
    assert run("info", target, "--preview", shown) == plain
    opened = ssic.open(target)
    texts = captions(opened.mask)
    texts = {g.id: f"{texts[g.id]}  {g.length:,} B" for g in opened.groups}
    with Image.open(shown) as image:
        np.testing.assert_array_equal(np.asarray(image), draw(opened.decode(), opened.mask, texts))
    assert run("info", target, "--preview", photo.with_name("p.xyz"))[0] == 2
    data = bytearray(target.read_bytes())
    data[next(g for g in ssic.open(target).groups if g.name == "bright").offset] ^= 1
    target.write_bytes(data)
    assert run("info", target, "--preview", shown)[0] == 3


def test_segmenters_cost_nothing_where_they_are_not_used(photo: Path) -> None:
    code = "import sys; from ssic.cli import main\ntry: main()\nfinally: print(*(m for m in {} if m in sys.modules))"
    asked = {
        "--help": ("numpy", "torch", "cv2", "onnxruntime"),
        "encode --help": ("torch", "cv2", "onnxruntime"),
        f"preview {photo} -o {photo}.png --grid 1x1": ("torch", "cv2", "onnxruntime"),
        f"preview {photo} -o {photo}.png --segment nothing": ("torch", "cv2", "onnxruntime"),
    }
    for line, modules in asked.items():
        told = subprocess.run(
            [sys.executable, "-c", code.format(modules), *line.split()],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert told.stdout.splitlines()[-1:] == [""], (line, told)


def test_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)).save(
        tmp_path / "photo.jpg"
    )
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/segment.md").read_text()
    page = re.sub(
        r"^## Masks from elsewhere\n.*?(?=^## )", "", page, flags=re.S | re.M
    )  # test_mask_formats.py
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for block in blocks:
            exec(block, names)
    assert segment(names["Bright"]("100"), np.full((16, 16, 3), 120, np.uint8)).names == {1: "bright"}
    assert ssic.SsicFile(names["data"]).mask.names == names["mask"].names
    table = re.findall(r"^\| `(\w+)", page, re.M)
    assert sorted(table) == SHIPPED
