"""Groups taken out, dropped, reordered, replaced, put at another quality or damaged: the others stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ssic
import ssic.format as fmt
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.edit import OtherProfile
from ssic.errors import DamagedSegment, EncryptedSegment, ImageError, InvalidInput, UnknownGroup
from ssic.format import EXIF, Replacement, Segment, read_head, read_segment, write_file

SIZE = (80, 96)  # height, width


@pytest.fixture(scope="module")
def scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8], bytes]:
    """Picture, block mask of four groups, and their file at mixed qualities."""
    picture, mask = natural_picture(11, *SIZE), blob_mask(11, 5, 6, 4)
    return picture, mask, ssic.encode(picture, mask, quality=50, group_quality={1: 80, 3: 30})


def segments(data: bytes) -> dict[str, bytes]:
    head = read_head(data)
    return {g.name: read_segment(data, head, g.id) for g in head.groups}


def sealed_file(order: list[int] | None = None) -> bytes:
    """Three groups, the second with a sealed segment."""
    mask = np.array([[0, 0, 1], [0, 2, 2]], np.uint8)
    parts = [
        Segment(0, "background", 60, b"sky" * 9),
        Segment(1, "person", 85, b"sealed bytes", class_name="person", score=0.8, encrypted=True),
        Segment(2, "dog", 70, b"woof", class_name="dog"),
    ]
    chunks = {EXIF: b"II*\0", "note": b"x"}
    return write_file(
        width=48,
        height=32,
        model_id=b"12345678",
        mask=mask,
        segments=parts,
        chunks=chunks,
        order=order,
        seal=bytes(range(1, 14)),
    )


# -- the law -----------------------------------------------------------------------------------------------

EDITS = ("drop", "replace", "set_quality", "requality", "reorder", "extract", "damage", "cut")


@settings(max_examples=25)
@given(st.data())
def test_the_other_groups_keep_their_bytes_and_pixels(
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes], data: st.DataObject
) -> None:
    """Through any sequence of up to three changes."""
    picture, _, before = scene
    touched: set[int] = set()
    file = before
    for edit in data.draw(st.lists(st.sampled_from(EDITS), min_size=1, max_size=3)):
        opened = ssic.SsicFile(file)
        present = [g.id for g in opened.groups]
        group = data.draw(st.sampled_from(present))
        quality = data.draw(st.integers(1, 100))
        now = next(g for g in opened.groups if g.id == group)
        if edit in ("drop", "extract") and len(present) == 1:
            continue
        if edit == "drop":
            file = bytes(opened.drop(group))
        elif edit == "extract":
            file = bytes(opened.extract([g for g in present if g != group]))
        elif edit == "replace":
            file = bytes(opened.replace(group, natural_picture(quality, *SIZE), quality=quality))
        elif edit == "set_quality":
            file = bytes(opened.set_quality({group: quality}, picture))
        elif edit == "requality":
            file = bytes(opened.set_quality({group: min(quality, now.quality)}))
        elif edit == "reorder":
            file = bytes(opened.reorder(data.draw(st.permutations(present))))
            continue
        else:  # the last change: there is no editing what is damaged
            broken = bytearray(file)
            broken[now.offset] ^= 0x10
            file = bytes(broken) if edit == "damage" else file[: now.offset + now.length - 1]
            behind = [g.id for g in opened.groups if g.offset > now.offset] if edit == "cut" else []
            touched |= {group, *behind}
            break
        touched.add(group)
    untouched = [g for g in range(4) if g not in touched]
    if not untouched:
        return
    head = read_head(file)
    for g in untouched:
        assert read_segment(file, head, g) == read_segment(before, read_head(before), g)
        entry, old = (next(e for e in h.groups if e.id == g) for h in (head, read_head(before)))
        assert (entry.name, entry.quality, entry.blocks) == (old.name, old.quality, old.blocks)
    np.testing.assert_array_equal(ssic.decode(file, untouched), ssic.decode(before, untouched))


# -- each command ------------------------------------------------------------------------------------------


def test_the_default_order_is_smallest_first_and_background_last() -> None:
    mask = np.array([[0, 1, 1, 1], [0, 2, 3, 3]], np.uint8)
    picture = natural_picture(3, 32, 64)
    assert read_head(ssic.encode(picture, mask)).order == (2, 3, 1, 0)
    data = ssic.encode(picture, mask, order=[1])
    assert read_head(data).order == (1, 2, 3, 0)
    assert bytes(ssic.SsicFile(ssic.encode(picture, mask)).reorder([1])) == data
    # Whatever the order, each prefix holds the groups that lie wholly in it.
    opened = ssic.SsicFile(data)
    for count, group in enumerate(opened.head.order, start=1):
        entry = next(g for g in opened.groups if g.id == group)
        cut = ssic.SsicFile(data[: entry.offset + entry.length])
        decoded = cut.decode_pixels(partial=True)
        assert len(decoded.missing) == 4 - count
        assert decoded.damaged == ()
        shown = np.isin(mask, opened.head.order[:count]).repeat(16, 0).repeat(16, 1)
        np.testing.assert_array_equal(decoded.present, shown)


def test_drop_is_the_extract_of_the_others_and_does_not_read_what_it_drops() -> None:
    data = sealed_file()
    opened = ssic.SsicFile(data)
    assert bytes(opened.drop("dog")) == bytes(opened.extract(["background", "person"]))
    broken = bytearray(data)
    broken[next(g for g in opened.groups if g.name == "dog").offset] ^= 1
    assert bytes(ssic.SsicFile(bytes(broken)).drop("dog")) == bytes(opened.drop("dog"))
    assert "dog" not in segments(bytes(opened.drop("dog")))
    assert read_head(bytes(opened.drop("dog"))).chunks == {}
    with pytest.raises(InvalidInput, match="no group would be left"):
        bytes(opened.drop(["dog", "person", "background"]))
    with pytest.raises(UnknownGroup):
        bytes(opened.drop("cat"))


def test_reorder_changes_the_order_only() -> None:
    data = sealed_file()
    opened = ssic.SsicFile(data)
    moved = bytes(opened.reorder("background"))
    assert read_head(moved).order == (0, 1, 2)
    assert segments(moved) == segments(data)
    assert read_head(moved).chunks == opened.head.chunks
    assert bytes(ssic.SsicFile(moved).reorder(["person", "dog"])) == data
    with pytest.raises(UnknownGroup):
        bytes(opened.reorder("cat"))


def test_sealed_segments_are_copied_and_never_replaced() -> None:
    data = sealed_file()
    opened = ssic.SsicFile(data)
    files = [bytes(opened.extract("person")), bytes(opened.drop("background")), bytes(opened.reorder("dog"))]
    files.append(fmt.replace(data, {2: Replacement(b"other", 5)}))
    files.append(bytes(ssic.merge([bytes(opened.extract("person")), bytes(opened.drop("person"))])))
    for file in files:
        assert segments(file)["person"] == b"sealed bytes"
        entry = next(g for g in read_head(file).groups if g.name == "person")
        assert (entry.encrypted, entry.class_name, entry.score) == (True, "person", opened.groups[1].score)
    for change in (
        lambda: fmt.replace(data, {1: Replacement(b"clear", 5)}),
        lambda: bytes(opened.replace("person", np.zeros((32, 48, 3), np.uint8))),
        lambda: bytes(opened.set_quality({"person": 5})),
    ):
        with pytest.raises(EncryptedSegment, match="person"):
            change()


def test_what_is_damaged_is_not_copied_as_if_it_were_whole() -> None:
    data = sealed_file()
    broken = bytearray(data)
    broken[next(g for g in read_head(data).groups if g.name == "dog").offset] ^= 1
    opened = ssic.SsicFile(bytes(broken))
    for change in (lambda: bytes(opened.reorder("dog")), lambda: bytes(opened.drop("background"))):
        with pytest.raises(DamagedSegment, match="dog"):
            change()
    mended = fmt.replace(bytes(broken), {2: Replacement(b"woof", 70)})
    assert mended == data
    with pytest.raises(DamagedSegment, match="dog"):
        fmt.replace(bytes(broken), {0: Replacement(b"", 5)})


def test_replace_is_what_encoding_a_mixture_gives(
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes],
) -> None:
    picture, mask, data = scene
    other = natural_picture(99, *SIZE)
    own = (mask == 2).repeat(16, 0).repeat(16, 1)[: SIZE[0], : SIZE[1], None]
    mixture = ssic.encode(
        np.where(own, other, picture), mask, quality=50, group_quality={1: 80, 3: 30, 2: 77}
    )
    assert bytes(ssic.SsicFile(data).replace("group 2", other, quality=77)) == mixture
    # As it was, if nothing is said; several at once.
    assert bytes(ssic.SsicFile(mixture).replace([2], picture, quality=50)) == data
    assert bytes(ssic.SsicFile(data).replace([1, 3], picture)) == data
    with pytest.raises(ImageError, match="96x79"):
        bytes(ssic.SsicFile(data).replace(2, other[:-1]))
    with pytest.raises(InvalidInput, match="1 to 100"):
        bytes(ssic.SsicFile(data).replace(2, other, quality=0))


def test_set_quality_with_the_original_is_what_encoding_gives(
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes],
) -> None:
    picture, mask, data = scene
    direct = ssic.encode(picture, mask, quality=50, group_quality={1: 10, 3: 95})
    assert bytes(ssic.SsicFile(data).set_quality({1: 10, "group 3": 95}, picture)) == direct


def test_set_quality_without_it_lowers_only(
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes],
) -> None:
    _, mask, data = scene
    opened = ssic.SsicFile(data)
    smaller = bytes(opened.set_quality({0: 15}))
    assert len(smaller) < len(data)
    assert ssic.SsicFile(smaller).groups[0].quality == 15
    own = (mask == 0).repeat(16, 0).repeat(16, 1)[: SIZE[0], : SIZE[1]]
    # The pixels that it starts from are the decoded ones.
    assert smaller == bytes(opened.set_quality({0: 15}, ssic.decode(data)))
    assert np.abs(ssic.decode(smaller)[own].astype(int) - ssic.decode(data)[own]).mean() < 20
    assert bytes(opened.set_quality({0: 50, 1: 80})) == data
    with pytest.raises(InvalidInput, match="needs the original"):
        bytes(opened.set_quality({0: 51}))


def test_a_foreign_profile_is_said(scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes]) -> None:
    from PIL import ImageCms

    picture, _, data = scene
    image = Image.fromarray(picture)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with pytest.warns(OtherProfile, match="another colour profile"):
        assert bytes(ssic.SsicFile(data).replace(1, image)) == data


def test_replace_drops_what_may_show_the_old_content() -> None:
    data = sealed_file()
    assert read_head(fmt.replace(data, {2: Replacement(b"other", 5)})).chunks == read_head(data).chunks
    assert read_head(fmt.replace(data, {2: Replacement(b"other", 5)}, metadata=False)).chunks == {}


# -- commands ----------------------------------------------------------------------------------------------


def test_commands(
    run: Run,
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8], bytes],
    tmp_path: Path,
) -> None:
    picture, _, data = scene
    (tmp_path / "a.ssic").write_bytes(data)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture[:-1]).save(tmp_path / "cut.png")
    file, out, opened = tmp_path / "a.ssic", tmp_path / "out.ssic", ssic.SsicFile(data)
    lines = {
        "drop --groups 1,2": bytes(opened.drop([1, 2])),
        "reorder --order background --order 3": bytes(opened.reorder([0, 3])),
        f"replace --group 1 --with {tmp_path}/a.png --quality 20": bytes(
            opened.replace(1, picture, quality=20)
        ),
        "set-quality --group-quality background=20,3=10": bytes(opened.set_quality({0: 20, 3: 10})),
        f"set-quality --group-quality 0=90 --with {tmp_path}/a.png": bytes(
            opened.set_quality({0: 90}, picture)
        ),
    }
    for line, expected in lines.items():
        name, *options = line.split()
        code, said, err = run(name, file, *options, "-o", out)
        assert (code, err) == (0, ""), line
        assert out.read_bytes() == expected, line
        assert said.startswith(f"{out}: {len(expected):,} bytes")
    assert "background" in said
    assert "quality 50 to 90" in said
    for line, code, text in (
        ("drop --groups 0,1,2,3", 2, "no group would be left"),
        ("drop --groups ,", 2, "is empty"),
        ("reorder --order cat", 2, "there is no group"),
        ("set-quality --group-quality 0=60", 2, "needs the original"),
        ("set-quality --group-quality 0", 2, "person=85"),
        (f"replace --group 1 --with {tmp_path}/cut.png", 2, "must be the same"),
        (f"replace --group 1 --with {tmp_path}/none.png", 6, "none.png"),
    ):
        name, *options = line.split()
        found, _, err = run(name, file, *options, "-o", tmp_path / "none.ssic")
        assert found == code, line
        assert text in err, line
        assert not (tmp_path / "none.ssic").exists()
    assert run("drop", file, "--groups", "1", "-o", file)[0] == 0  # read before it is written
    assert file.read_bytes() == bytes(opened.drop(1))
