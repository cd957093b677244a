"""Pillow opens and saves ssic files as it does its own formats."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import ssic
import ssic.pillow
from ssic.errors import DamagedSegment, ImageError, InvalidInput, MaskError, UnknownGroup, UnknownModel

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LABELS = np.zeros((40, 60), np.uint8)
LABELS[:16, :32] = 1
LABELS[16:, 32:] = 2


def picture() -> Image.Image:
    rows, columns = np.mgrid[:40, :60]
    waves = [128 + 100 * np.sin(columns / 9 + k) * np.cos(rows / (7 + k)) for k in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


@pytest.fixture(scope="module")
def data() -> bytes:
    image = picture()
    image.info["icc_profile"] = PROFILE
    return ssic.encode(image, LABELS)


def opened(data: bytes) -> ssic.pillow.SsicImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, ssic.pillow.SsicImageFile)
    return image


def damaged(data: bytes, *groups: int) -> bytes:
    broken = bytearray(data)
    for group in ssic.SsicFile(data).groups:
        if group.id in groups:
            broken[group.offset] ^= 1
    return bytes(broken)


def test_open_reads_the_head(data: bytes) -> None:
    image = opened(data)
    assert (image.format, image.size, image.mode) == ("SSIC", (60, 40), "RGB")
    assert image.get_format_mimetype() == "image/vnd.ssic"
    assert image.info == {"icc_profile": PROFILE, "ssic": ssic.SsicFile(data).info()}
    assert [group.name for group in image.ssic.groups] == ["background", "group 1", "group 2"]


def test_open_runs_no_model(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.ssic").write_bytes(data)
    code = (
        "import sys, ssic.pillow; from PIL import Image; im = Image.open('p.ssic'); "
        "assert im.size == (60, 40); im.verify(); assert 'torch' not in sys.modules"
    )
    path = str(Path(ssic.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True
    )


def test_pixels_are_those_of_decode(data: bytes) -> None:
    assert np.array_equal(opened(data), ssic.decode(data))


def test_images_behave_like_others(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.ssic").write_bytes(data)
    expected = ssic.decode(data)
    with Image.open(tmp_path / "p.ssic") as image:
        image.save(tmp_path / "p.png")
        assert np.array_equal(image.crop((3, 5, 20, 30)), expected[5:30, 3:20])
        assert np.array_equal(pickle.loads(pickle.dumps(image)), expected)
        image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == (1, 2, 3)
    with Image.open(tmp_path / "p.png") as image:
        assert np.array_equal(image, expected)
        assert image.info["icc_profile"] == PROFILE


def test_a_stream_of_the_caller_stays_open(data: bytes) -> None:
    stream = io.BytesIO(data)
    Image.open(stream).load()
    assert not stream.closed


def test_select(data: bytes) -> None:
    image = opened(data)
    assert image.select("group 2", fill="transparent") is image
    assert image.mode == "RGBA"
    assert np.array_equal(image, ssic.decode(data, "group 2", fill="transparent"))
    assert image.getbbox() == (32, 16, 60, 40)
    image.select([0, "group 1"], fill="#ff8000")  # also after loading
    assert image.mode == "RGB"
    assert np.array_equal(image, ssic.decode(data, [0, 1], fill="#ff8000"))
    assert np.array_equal(image.select(), ssic.decode(data))


def test_select_refuses_at_once(data: bytes) -> None:
    image = opened(data)
    with pytest.raises(UnknownGroup, match="cat"):
        image.select("cat")
    with pytest.raises(ImageError, match="bleu"):
        image.select("group 1", fill="bleu")
    assert np.array_equal(image, ssic.decode(data))


def test_what_is_no_ssic_file_is_not_identified(data: bytes) -> None:
    head = ssic.SsicFile(data).head.head_bytes
    flipped = bytearray(data)
    flipped[head // 2] ^= 1
    for bad in (data[:4], data[: head - 1], bytes(flipped), data + b"x", b"\xf3sid" + data[4:]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(bad))


def test_damaged_groups_are_an_oserror_or_left_out(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = damaged(data, 1)
    image = opened(broken)
    for _ in range(2):
        with pytest.raises(
            OSError, match=r"^could not be decoded: group 1 \(PIL.*LOAD_TRUNCATED_IMAGES"
        ) as caught:
            image.load()
        assert isinstance(caught.value.__cause__, DamagedSegment)
    assert np.array_equal(opened(broken).select([0, 2]), ssic.decode(data, [0, 2]))
    with pytest.raises(OSError, match="group 1"):
        opened(broken).select(1).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(ssic.DamagedGroups, match="group 1"):
        assert np.array_equal(opened(broken), ssic.decode(data, [0, 2]))


def test_truncated_files(data: bytes) -> None:
    image = opened(data[:-1])  # the background's segment is the last
    assert image.size == (60, 40)
    with pytest.raises(OSError, match="background"):
        image.load()
    assert np.array_equal(opened(data[:-1]).select([1, 2]), ssic.decode(data, [1, 2]))


def test_unknown_models_are_an_oserror() -> None:
    mask = np.zeros((1, 1), np.uint8)
    segment = ssic.format.Segment(0, "image", 50, b"")
    data = ssic.format.write_file(width=16, height=16, model_id=b"nonsense", mask=mask, segments=[segment])
    with pytest.raises(OSError, match="not installed") as caught:
        opened(data).load()
    assert isinstance(caught.value.__cause__, UnknownModel)


def test_verify(data: bytes) -> None:
    opened(data).verify()
    with pytest.raises(OSError, match="damaged: group 2"):
        opened(damaged(data, 2)).verify()


def test_save_is_encode(data: bytes, tmp_path: Path) -> None:
    image = picture()
    image.info["icc_profile"] = PROFILE
    image.save(tmp_path / "p.ssic", mask=LABELS)
    assert (tmp_path / "p.ssic").read_bytes() == data
    options = {"mask": LABELS, "quality": 30, "group_quality": {"group 1": 80}, "order": [2, 0, 1]}
    stream = io.BytesIO()
    picture().save(stream, "SSIC", **options)
    assert stream.getvalue() == ssic.encode(picture(), **options)


def test_save_takes_targets_and_names(tmp_path: Path) -> None:
    names = {0: "sky", 1: "dog", 2: "cat"}
    options = {"target": "bytes:900", "group_targets": {"dog": "psnr:25"}}
    picture().save(tmp_path / "p.ssic", mask=LABELS, names=names, **options)
    assert (tmp_path / "p.ssic").stat().st_size <= 900
    mask = ssic.GroupMask.from_label_map(LABELS, (60, 40), names)
    assert (tmp_path / "p.ssic").read_bytes() == ssic.encode(picture(), mask, **options)


def test_save_ignores_options_of_others(tmp_path: Path) -> None:
    everywhere = {
        "optimize": True,
        "progressive": True,
        "exif": b"",
        "dpi": (72, 72),
        "lossless": True,
        "qtables": "web_low",
    }
    picture().save(tmp_path / "p.ssic", subsampling=0, compress_level=9, method=6, comment="", **everywhere)
    assert (tmp_path / "p.ssic").read_bytes() == ssic.encode(picture())


def test_save_profiles(tmp_path: Path) -> None:
    image = picture()
    image.save(tmp_path / "p.ssic", icc_profile=PROFILE)
    assert ssic.open(tmp_path / "p.ssic").icc == PROFILE
    assert "icc_profile" not in image.info
    image.info["icc_profile"] = PROFILE
    image.save(tmp_path / "p.ssic", icc_profile=None)
    assert ssic.open(tmp_path / "p.ssic").icc is None


def test_save_again(data: bytes, tmp_path: Path) -> None:
    image = opened(data)
    image.save(tmp_path / "p.ssic", mask=image.ssic.mask)
    again = ssic.open(tmp_path / "p.ssic")
    assert (again.icc, again.mask) == (PROFILE, image.ssic.mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_save_other_modes(mode: str, tmp_path: Path) -> None:
    image = picture().convert(mode)
    image.save(tmp_path / "p.ssic")
    assert (tmp_path / "p.ssic").read_bytes() == ssic.encode(image.convert("RGB"))


def test_save_refuses(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="transparent"):
        Image.new("RGBA", (20, 20)).save(tmp_path / "p.ssic")
    with pytest.raises(MaskError, match="label map has"):
        picture().save(tmp_path / "p.ssic", mask=LABELS[:30])
    for slip, meant in (
        ("qualty", "quality"),
        ("masks", "mask"),
        ("targets", "target"),
        ("group_qualities", "group_quality"),
    ):
        with pytest.raises(InvalidInput, match=f"{slip}=...; did you mean {meant}="):
            picture().save(tmp_path / "p.ssic", **{slip: 30})
    for options in ({"names": ["a"]}, {"names": ["a"], "mask": ssic.GroupMask.single((60, 40))}):
        with pytest.raises(InvalidInput, match="names are those of a label map"):
            picture().save(tmp_path / "p.ssic", **options)
    assert list(tmp_path.iterdir()) == []  # Pillow removes what it began


def test_registering_twice_is_harmless(data: bytes) -> None:
    ssic.pillow.register_ssic_opener()
    assert Image.ID.count("SSIC") == 1
    assert Image.registered_extensions()[".ssic"] == "SSIC"
    assert opened(data).size == (60, 40)


@pytest.mark.parametrize("piece", [1, 100, 10**6])
def test_incremental_parsers_know_the_size_early_and_have_the_picture_in_the_end(
    data: bytes, piece: int
) -> None:
    parser = ImageFile.Parser()
    known = None
    for at in range(0, len(data), piece):
        parser.feed(data[at : at + piece])
        if parser.image and known is None:
            known = at + piece
            assert parser.image.size == (60, 40)
    head = ssic.SsicFile(data).head.head_bytes
    assert known is not None
    assert known < head + piece
    assert np.array_equal(parser.close(), ssic.decode(data))
    broken = ImageFile.Parser()
    broken.feed(data[: head - 1])
    with pytest.raises(OSError, match="cannot parse"):
        broken.close()


def test_a_path_is_read_no_further_than_needed(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.ssic"
    path.write_bytes(data)
    image = Image.open(path)
    assert isinstance(image, ssic.pillow.SsicImageFile)
    monkeypatch.chdir("/")
    assert np.array_equal(image.select(1), ssic.decode(data, 1))
    path.write_bytes(damaged(data, 2))  # what was not read yet
    with pytest.raises(OSError, match="group 2"):
        image.select(2).load()
    path.write_bytes(data)
    with path.open("rb") as stream:
        assert np.array_equal(Image.open(stream), ssic.decode(data))


def test_thumbnails_are_loaded_at_a_lower_resolution(data: bytes) -> None:
    whole = Image.fromarray(ssic.decode(data))
    image = opened(data)
    assert image.draft(None, (15, 10)) == ("RGB", (0, 0, 15, 10))
    assert image.size == (15, 10)
    assert np.array_equal(image, ssic.decode(data, scale=4))
    for size, smaller in (((7, 5), ssic.decode(data, scale=8)), ((3, 1), ssic.decode(data, scale=16))):
        image = opened(data)
        assert image.draft("RGB", size) is not None
        assert np.array_equal(image, smaller)
    image = opened(data)
    assert image.draft(None, (30, 20)) == ("RGB", (0, 0, 30, 20))
    assert np.array_equal(image, whole.reduce(2))
    image = opened(data).select(1, fill="transparent")
    image.draft(None, (15, 10))
    assert np.array_equal(image, ssic.decode(data, 1, fill="transparent", scale=4))
    for size in ((31, 10), (60, 40), None):
        untouched = opened(data)
        assert untouched.draft("RGB", size) is None
        assert untouched.size == (60, 40)
    image = opened(data)
    image.thumbnail((8, 8))
    assert max(image.size) == 8
    off = np.asarray(image).astype(int) - np.asarray(whole.resize(image.size, Image.Resampling.BICUBIC))
    assert np.abs(off).mean() < 8


def test_save_all_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "p.ssic"
    path.write_bytes(b"before")
    with pytest.raises(KeyError, match="SSIC"):  # as of all formats that hold one picture
        picture().save(path, save_all=True, append_images=[picture()])
    assert path.read_bytes() == b"before"


def test_any_mask_is_one_for_save(tmp_path: Path) -> None:
    picture().save(tmp_path / "p.ssic", mask={"spot": LABELS == 1})
    assert ssic.open(tmp_path / "p.ssic").names == ("background", "spot")
