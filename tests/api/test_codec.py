"""The public functions: what goes in, what comes out, what is refused."""

from __future__ import annotations

import ast
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import ssic
from helpers.engines import needs_torch
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    ImageError,
    InvalidInput,
    LimitExceeded,
    MaskError,
    UnknownGroup,
    UnknownModel,
)
from ssic.format import Segment, read_head, read_segment, write_file
from ssic.model.weights import find_weights, load_weights, pack_weights
from ssic.pictures.read import Picture


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def smooth_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 100.0
    return (np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(x * y)], 2) * 90 + 128).astype(np.uint8)


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_every_size_from_one_pixel_up(height, width, groups, seed):
    picture = smooth_picture(height, width)
    mask = blob_mask(seed, -(-height // 16), -(-width // 16), groups)
    decoded = ssic.decode(ssic.encode(picture, mask, quality=90))
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8
    assert psnr(decoded, picture) > 30


def test_quality_buys_fidelity_with_bytes():
    picture = natural_picture(3, 128, 128)
    files = [ssic.encode(picture, quality=q) for q in (1, 20, 40, 60, 80, 100)]
    sizes = [len(f) for f in files]
    fidelity = [psnr(ssic.decode(f), picture) for f in files]
    assert sizes == sorted(sizes)
    assert fidelity == sorted(fidelity)
    assert sizes[-1] > 5 * sizes[0]


def test_each_group_has_its_own_quality(picture):
    mask = blob_mask(1, 6, 9, 3)
    named = ssic.GroupMask(mask, {0: "background", 1: "dog", 2: "person 1"}, {2: "person"})
    data = ssic.encode(picture, named, quality=30, group_quality={"person": 95, 1: 60})
    opened = ssic.SsicFile(data)
    assert [g.quality for g in opened.groups] == [30, 60, 95]
    assert opened.mask == named
    low = ssic.SsicFile(ssic.encode(picture, named, quality=30))
    sizes = {g.name: (g.length, h.length) for g, h in zip(opened.groups, low.groups, strict=True)}
    assert sizes["background"][0] == sizes["background"][1]
    assert sizes["person 1"][0] > 2 * sizes["person 1"][1]


def test_a_name_or_id_goes_before_a_class_in_any_order(picture):
    named = ssic.GroupMask(
        blob_mask(1, 6, 9, 4),
        {0: "background", 1: "person", 2: "person 1", 3: "person 2"},
        dict.fromkeys((1, 2, 3), "person"),
    )
    entries = {"person": 20, "person 1": 80, 3: 50}
    expected = {0: 30, 1: 20, 2: 80, 3: 50}  # "person" is a name as well, and as such exact
    for order in itertools.permutations(entries):
        given = {name: entries[name] for name in order}
        data = ssic.encode(picture, named, quality=30, group_quality=given)
        assert {g.id: g.quality for g in ssic.SsicFile(data).groups} == expected
        lowered = bytes(ssic.SsicFile(data).set_quality({name: entries[name] // 2 for name in order}))
        assert {g.id: g.quality for g in ssic.SsicFile(lowered).groups} == {0: 30, 1: 10, 2: 40, 3: 25}
    assert ssic.encode(picture, named, group_quality={"person 1": 80, 2: 80}) == ssic.encode(
        picture, named, group_quality={2: 80}
    )


@pytest.mark.parametrize("order", [1, -1])
def test_two_qualities_for_one_group_are_refused(picture, order):
    named = ssic.GroupMask(blob_mask(1, 6, 9, 2), {0: "background", 1: "dog 1"}, {1: "dog"})
    for pair in ([("dog 1", 20), (1, 80)], [("1", 20), (1, 80)], [("dog", 20), (" dog", 80)]):
        with pytest.raises(InvalidInput, match='group_quality gives group 1 "dog 1" both'):
            ssic.encode(picture, named, group_quality=dict(pair[::order]))
    settled = [("dog", 20), (" dog", 80), ("dog 1", 50)][::order]
    data = ssic.encode(picture, named, group_quality=dict(settled))
    assert ssic.SsicFile(data).groups[1].quality == 50
    with pytest.raises(InvalidInput, match="group_targets gives group 1"):
        ssic.encode(picture, named, group_targets={"dog 1": "psnr:30", 1: "psnr:31"})
    with pytest.raises(InvalidInput, match="group_quality gives group 1"):
        bytes(ssic.SsicFile(data).set_quality(dict([("dog 1", 5), (1, 6)][::order])))


def test_groups_go_by_name_class_and_id_and_come_back_cropped_and_filled(picture):
    mask = np.zeros((6, 9), np.uint8)
    mask[1:3, 2:5], mask[4, 7:] = 1, 2
    data = ssic.encode(picture, ssic.GroupMask(mask, {0: "sky", 1: "dog", 2: "cat"}, {1: "pet", 2: "pet"}))
    whole = ssic.decode(data)
    assert ssic.decode(data, "dog", crop=True).shape == (32, 48, 3)
    np.testing.assert_array_equal(ssic.decode(data, "pet"), ssic.decode(data, [1, 2]))
    np.testing.assert_array_equal(ssic.decode(data, ["cat", "dog", "sky"]), whole)
    transparent = ssic.decode(data, 1, fill="transparent")
    np.testing.assert_array_equal(transparent[16:48, 32:80, :3], whole[16:48, 32:80])
    assert (transparent[..., 3] > 0).sum() == 32 * 48
    assert (ssic.decode(data, 1, fill="#ff0080")[0, 0] == (255, 0, 128)).all()
    with pytest.raises(UnknownGroup, match="dog"):
        ssic.decode(data, "dig")


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_a_cropped_group_is_the_box_of_it_in_the_whole(height, width, seed):
    mask = blob_mask(seed, -(-height // 16), -(-width // 16), 3)
    opened = ssic.SsicFile(ssic.encode(smooth_picture(height, width), mask))
    for group in opened.mask.groups:
        whole, cut = opened.decode_pixels(group), opened.decode_pixels(group, crop=True)
        left, top, right, bottom = cut.box
        assert whole.box == (0, 0, width, height)
        assert cut.present.sum() == whole.present.sum()
        np.testing.assert_array_equal(cut.present, whole.present[top:bottom, left:right])
        np.testing.assert_array_equal(cut.pixels, whole.pixels[top:bottom, left:right])
        edges = (cut.present[0], cut.present[-1], cut.present[:, 0], cut.present[:, -1])
        assert all(edge.any() for edge in edges), "the box could be smaller"


def test_extract_and_merge_move_bytes_only(picture):
    mask = blob_mask(8, 6, 9, 4)
    data = ssic.encode(picture, mask)
    opened = ssic.SsicFile(data)
    parts = [bytes(opened.extract([g])) for g in (3, 1, 0, 2)]
    assert bytes(ssic.merge(parts)) == data
    assert sum(map(len, parts)) < len(data) + 300
    one = ssic.SsicFile(parts[1])
    assert [g.id for g in one.groups] == [1]
    assert (one.mask.ids != 255).sum() == (mask == 1).sum()


def test_segments_lie_in_the_order_asked_for(picture):
    data = ssic.encode(picture, blob_mask(8, 6, 9, 3), order=[2, 0, 1])
    by_offset = sorted(ssic.SsicFile(data).groups, key=lambda g: g.offset)
    assert [g.id for g in by_offset] == [2, 0, 1]
    ssic.decode(data)


def test_what_comes_in_as_a_file(tmp_path):
    gray = Image.fromarray(smooth_picture(40, 50)).convert("L")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    gray.convert("RGB").save(tmp_path / "a.png", icc_profile=profile, exif=exif)
    data = ssic.encode(tmp_path / "a.png", quality=95)
    (tmp_path / "a.ssic").write_bytes(data)
    opened = ssic.open(tmp_path / "a.ssic")
    assert opened.size == (40, 50)
    assert opened.icc == profile
    turned = np.asarray(gray.transpose(Image.Transpose.ROTATE_270))
    assert psnr(opened.decode()[..., 0], turned) > 30

    stream = io.BytesIO()
    gray.convert("P").save(stream, "png")
    assert ssic.decode(ssic.encode(stream.getvalue())).shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"quality": 0}, InvalidInput, "1 to 100"),
        ({"quality": 101}, InvalidInput, "1 to 100"),
        ({"quality": 50.5}, InvalidInput, "integer"),
        ({"quality": True}, InvalidInput, "integer"),
        ({"group_quality": {"cat": 50}}, UnknownGroup, "cat"),
        ({"mask": np.zeros((5, 5), np.uint8)}, MaskError, "5x5"),
        ({"mask": ssic.GroupMask(np.zeros((2, 2), np.uint8), {0: "a"})}, MaskError, "2x2"),
        ({"image": np.zeros((90, 130, 4), np.uint8)}, ImageError, "4"),
        ({"image": np.zeros((90, 130, 3), np.uint16)}, ImageError, "uint16"),
        ({"image": Image.new("RGBA", (130, 90), (1, 2, 3, 100))}, ImageError, "transparent"),
        ({"image": Image.new("I;16", (130, 90))}, ImageError, "16"),
        ({"model": "huge"}, ssic.SsicError, "huge"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_a_reason(picture, arguments, error, says):
    with pytest.raises(error, match=says):
        ssic.encode(**({"image": picture} | arguments))


def test_files_that_are_not_whole_or_not_ours(picture):
    data = ssic.encode(picture)
    with pytest.raises(FormatError, match="goes on to"):
        ssic.decode(data + b"\0")
    with pytest.raises(LimitExceeded):
        ssic.decode(data, limits=ssic.DecodeLimits(max_pixels=1000))
    foreign = ssic.format.write_file(
        width=16, height=16, model_id=b"01234567", mask=np.zeros((1, 1), np.uint8),
        segments=[ssic.format.Segment(0, "a", 50, b"")],
    )  # fmt: skip
    with pytest.raises(UnknownModel, match="3031323334353637"):
        ssic.decode(foreign)
    assert ssic.SsicFile(foreign).info()["model"] == "3031323334353637"


def test_encrypted_groups_are_left_out_and_never_decoded(picture):
    """Noise would be a lie. (With the key: tests/protect/test_sealing.py.)"""
    data = ssic.encode(picture, blob_mask(2, 6, 9, 2))
    head = read_head(data)
    segments = [
        Segment(g.id, g.name, g.quality, read_segment(data, head, g.id), encrypted=g.id == 1)
        for g in head.groups
    ]
    size = {"width": 130, "height": 90, "model_id": head.model_id, "mask": head.mask}
    sealed = write_file(**size, segments=segments, seal=b"\1" + bytes(12))
    with pytest.warns(ssic.SealedGroups, match="group 1"):
        decoded = ssic.decode(sealed)
    np.testing.assert_array_equal(decoded, ssic.decode(data, 0))
    with pytest.raises(EncryptedSegment, match="group 1"):
        ssic.decode(sealed, 1)
    with pytest.raises(EncryptedSegment):
        ssic.decode(sealed, strict=True)


def test_when_nothing_can_be_decoded_the_error_names_all(picture):
    data = ssic.encode(picture, blob_mask(2, 6, 9, 3))
    head = read_head(data)
    broken = data[: head.head_bytes] + bytes(len(data) - head.head_bytes)
    with pytest.raises(DamagedSegment) as e:
        ssic.decode(broken)
    assert sorted(e.value.groups) == ["background", "group 1", "group 2"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda data: ssic.decode(data, []), InvalidInput),
        (lambda data: ssic.decode(data, fill="no colour"), InvalidInput),
        (lambda data: ssic.decode(17), InvalidInput),
        (lambda data: bytes(ssic.SsicFile(data).extract([])), InvalidInput),
    ],
)
def test_calls_that_make_no_sense_are_refused(picture, call, error):
    with pytest.raises(error):
        call(ssic.encode(picture))


def test_what_readers_refuse_is_not_written():
    with pytest.raises(ImageError, match="profile"):
        ssic.encode(Picture(np.zeros((16, 16, 3), np.uint8), icc=bytes(2**20)))
    huge = np.broadcast_to(np.uint8(0), (13392, 13376, 3))
    with pytest.raises(ImageError, match="13376x13392"):
        ssic.encode(Picture(huge))


@needs_torch
def test_weights_that_are_trained_anew_are_loaded_anew(tmp_path, picture):
    weights = load_weights(find_weights("small"))
    path = tmp_path / "w.safetensors"
    twin = dict(weights.twin)
    ids = []
    for change in (0, 1):
        twin["z_mean"] = weights.twin["z_mean"] + np.int16(change)
        path.write_bytes(pack_weights(weights.config, weights.floats, twin, {"n": "x" * change}))
        ids.append(ssic.SsicFile(ssic.encode(picture, model=path)).head.model_id)
    assert ids[0] != ids[1]


def test_info_says_what_the_file_holds(picture):
    data = ssic.encode(picture, blob_mask(2, 6, 9, 2))
    info = ssic.SsicFile(data).info()
    assert (info["width"], info["height"], info["file_bytes"]) == (130, 90, len(data))
    assert set(info) == {
        "format", "model", "width", "height", "file_bytes", "head_bytes", "mask_bytes", "groups",
        "profile", "transfer",
    }  # fmt: skip
    assert info["head_bytes"] + sum(g["bytes"] for g in info["groups"]) == len(data)
    for g in info["groups"]:
        assert set(g) == {"id", "name", "class", "score", "quality", "blocks", "offset", "bytes", "encrypted"}


def test_the_public_names_are_these():
    kinds = [
        kind for kind in vars(ssic.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert sorted(ssic.__all__) == sorted([
        "Codec", "DamagedGroups", "DecodeLimits", "Decoded", "DroppedGroups", "Encoding", "GroupEntry", "GroupMask",
        "Identity", "LargePicture", "NoRangeRequests", "OtherProfile", "Passphrase", "Picture", "Recipient",
        "SealedGroups", "SigningKey", "SsicFile", "Target", "VerifyKey",
        "decode", "decrypt", "encode", "encrypt", "find_segmenter", "load_picture", "merge", "open", "rewrap",
        "segment", "set_default_limits", "sign", "verify",
        *(kind.__name__ for kind in kinds),
    ])  # fmt: skip
    assert all(hasattr(ssic, name) for name in ssic.__all__)
    assert {name for name in dir(ssic) if not name.startswith("__")} == {*ssic.__all__}


def test_type_checkers_see_the_public_names():
    """The block that only they read names the same things, at the same homes, as the table that is used."""
    tree = ast.parse(Path(ssic.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name  # so that it counts as exported
            seen[alias.name] = node.module
    assert seen == ssic.HOMES


def test_all_public_names_can_be_imported_at_once():
    names = {}
    exec("from ssic import *", names)
    assert {name for name in names if not name.startswith("__")} == {*ssic.__all__}
