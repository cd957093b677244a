"""Pictures: what is read as what, what is refused, and that blocks and fills are exact."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

import ssic
from ssic.blocks import cut_blocks, from_blocks, inside_blocks, pad_to_blocks, paste_blocks, to_blocks
from ssic.errors import ImageError
from ssic.pictures.fill import compose, crop_box
from ssic.pictures.read import IgnoredProfile, load_picture
from ssic.pictures.write import KINDS, DroppedProfile, save_picture

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
sides = st.integers(1, 50)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray_profile() -> bytes:
    """A minimal ICC profile for gray with a linear curve: mid gray is much brighter in it than in sRGB."""
    xyz = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)  # D50
    curve = struct.pack(">4s4xI", b"curv", 0)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    body = tags + xyz + curve
    head = struct.pack(
        ">I4sI4s4s4s12x4s28x3i",
        128 + len(body),
        b"none",
        0x02400000,
        b"mntr",
        b"GRAY",
        b"XYZ ",
        b"acsp",
        63190,
        65536,
        54061,
    )
    return head.ljust(128, b"\0") + body


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    rows = (b"\0" + b"\x12\x34" * channels * 4) * 4
    head = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_picture_is_the_same_from_a_path_bytes_pillow_and_an_array(tmp_path: Path) -> None:
    pixels, path = noise(5, 7), tmp_path / "a.png"
    image = Image.fromarray(pixels)
    image.save(path)
    data = path.read_bytes()
    parts = memoryview(bytes(data[i // 2] for i in range(2 * len(data))))[::2]
    for source in (path, str(path), data, bytearray(data), memoryview(data), parts, image, pixels):
        picture = load_picture(source)
        assert np.array_equal(picture.pixels, pixels)
        assert picture.size == (7, 5)
        assert picture.icc is None
        assert not picture.pixels.flags.writeable
    pixels[0, 0] ^= 255
    assert not np.array_equal(picture.pixels, pixels), "the array given was not copied"
    assert np.array_equal(load_picture(pixels[:, :, 0]).pixels, pixels[:, :, :1].repeat(3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = noise(3, 5)
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # 6 says: rotate by 90 degrees clockwise to show it
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(Image.fromarray(np.ascontiguousarray(turns[orientation])), exif=exif)
    assert np.array_equal(load_picture(data).pixels, upright)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(noise(9, 9)).convert(mode)
    picture = load_picture(stored(image, "TIFF"))
    assert np.array_equal(picture.pixels, np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA"])
def test_large_pictures_are_read_without_copies_of_the_whole(mode: str) -> None:
    """Many strips give what the whole gives; beside the result there is Pillow's own image, which is not counted."""
    rows, columns = 1100, 900
    whole = Image.fromarray(np.random.default_rng(3).integers(0, 255, (rows, columns, 3), np.uint8)).convert(
        mode
    )
    expected = np.asarray(whole.convert("RGB"))
    tracemalloc.start()
    try:
        pixels = load_picture(whole).pixels
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (pixels == expected).all()
    assert peak < 5 * rows * columns


def test_rgb_profiles_are_kept_and_others_are_applied() -> None:
    image, profile = Image.fromarray(noise(4, 4)), srgb()
    assert load_picture(stored(image, icc_profile=profile)).icc == profile
    assert load_picture(stored(image.quantize(), icc_profile=profile)).icc == profile
    with pytest.warns(IgnoredProfile, match="profile is broken; it is left out"):
        assert load_picture(stored(image, icc_profile=b"no profile at all")).icc is None
    with pytest.warns(IgnoredProfile, match="is broken"):
        assert load_picture(stored(image, icc_profile=profile[:-1])).icc is None
    gray = Image.new("L", (4, 4), 100)
    linear = load_picture(stored(gray, icc_profile=gray_profile()))
    assert linear.icc is None
    assert (abs(linear.pixels.astype(int) - 168) <= 2).all(), "100/255 of linear light is 168 in sRGB"
    opaque = load_picture(stored(gray.convert("LA"), icc_profile=gray_profile()))
    assert np.array_equal(opaque.pixels, linear.pixels)
    # Here the profile does not fit the pixels, so it is neither used nor kept.
    for mode in ("CMYK", "RGB"):
        with pytest.warns(IgnoredProfile, match="is for GRAY, and the picture is not"):
            wrong = load_picture(stored(image.convert(mode), "TIFF", icc_profile=gray_profile()))
        assert wrong.icc is None
        assert np.array_equal(wrong.pixels, np.array(image.convert(mode).convert("RGB")))
    with pytest.warns(IgnoredProfile, match="is for RGB, and the picture is CMYK"):
        assert load_picture(stored(image.convert("CMYK"), "TIFF", icc_profile=profile)).icc is None


def test_alpha_is_refused_unless_it_is_opaque() -> None:
    pixels = noise(4, 4)
    image = Image.fromarray(pixels)
    gray = image.convert("L")
    see_through = Image.new("L", (4, 4), 254)
    palette = image.quantize(16)
    for bad in (
        stored(Image.merge("RGBA", [*image.split(), see_through])),
        stored(Image.merge("LA", [gray, see_through])),
        stored(palette, transparency=0),
        stored(image, transparency=tuple(int(v) for v in pixels[0, 0])),
    ):
        with pytest.raises(ImageError, match=r"transparent pixels.*--background white"):
            load_picture(bad)
    assert np.array_equal(load_picture(image.convert("RGBA")).pixels, pixels)
    assert np.array_equal(load_picture(stored(gray.convert("LA"))).pixels[:, :, 1], np.array(gray))
    unused = stored(palette, transparency=bytes([255] * 16))
    assert np.array_equal(load_picture(unused).pixels, np.array(palette.convert("RGB")))


def test_more_than_8_bits_are_refused() -> None:
    deep = [png_of_16_bits(*kind) for kind in ((0, 1), (2, 3), (4, 2), (6, 4))]
    for bad in (*deep, Image.new("F", (4, 4)), Image.new("I", (4, 4)), Image.new("I;16", (4, 4))):
        with pytest.raises(ImageError, match=r"more than 8 bits.*--to-8-bit round"):
            load_picture(bad)
    values = b"\x02\x01" * 3 * 16
    wide = (
        *(b"P6 4 4 %d\n" % largest + values for largest in (256, 1023, 65535)),
        b"P3 4 4 65535\n" + b"258 " * 48,
        *(
            struct.pack(">hBBHHHHII", 474, 0, 2, dimension, 4, 4, channels, 0, 65535).ljust(512, b"\0")
            + values
            for dimension, channels in ((2, 1), (3, 3))
        ),
    )
    for bad in wide:
        with pytest.raises(ImageError, match=r"more than 8 bits.*--to-8-bit round"):
            load_picture(bad)
    assert load_picture(b"P6 4 4 255\n" + values).size == (4, 4)
    assert load_picture(b"P3 4 4 3\n" + b"2 " * 48).size == (4, 4)
    assert load_picture(b"P4 4 4\n" + values).size == load_picture(b"P1 4 4\n" + b"1 " * 16).size == (4, 4)
    with pytest.raises(ImageError, match="colour mode LAB"):
        load_picture(Image.new("LAB", (4, 4)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), r"uint8, not float64.*255 \* a"),
        (np.zeros((4, 4, 3), np.uint16), "not uint16"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\].*alpha"),
        (np.zeros((3, 9, 9), np.uint8), "channels come last"),
        (np.zeros((0, 4, 3), np.uint8), r"expected uint8 pixels \[H, W, 3\], met uint8 \[0, 4, 3\]"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
        (np.zeros(4, np.uint8), r"met uint8 \[4\]"),
        (None, "not None"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_picture(array)


def test_broken_missing_and_huge_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stored(Image.fromarray(noise(40, 40)))
    for name, data in (("cut.png", whole[: len(whole) // 2]), ("text.png", b"hello"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=name) as caught:
            load_picture(tmp_path / name)
        assert "BytesIO" not in str(caught.value)
    with pytest.raises(ImageError, match=r"empty.png is empty"):
        load_picture(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="the picture is empty"):
        load_picture(b"")
    for missing in (tmp_path / "missing.png", tmp_path, "nul\0.png"):
        with pytest.raises(ImageError, match="can't read"):
            load_picture(missing)
    with pytest.raises(ImageError, match=r"40x40 pixels, more than 1,599; .*--max-pixels"):
        load_picture(whole, max_pixels=1599)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of others, and no business of ours
    assert load_picture(whole, max_pixels=1600).size == (40, 40)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about much of this
@settings(deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
    whole = bytearray(stored(Image.fromarray(noise(8, 8)), kind))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)
    ):
        whole[at] = value
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        # Damaged sizes must not fill this machine's memory.
        assert load_picture(cut, max_pixels=10**6).pixels.shape[2] == 3
    except ImageError as error:
        assert "the picture" in str(error)  # noqa: PT017


@settings(deadline=None)
@given(sides, sides)
def test_padding_repeats_pixels_of_the_same_block(height: int, width: int) -> None:
    pixels = noise(height, width)
    padded = pad_to_blocks(pixels)
    rows, columns = np.arange(padded.shape[0]), np.arange(padded.shape[1])
    assert padded.shape == (-(-height // 16) * 16, -(-width // 16) * 16, 3)
    assert np.array_equal(padded, pixels[np.minimum(rows, height - 1)][:, np.minimum(columns, width - 1)])
    assert not np.shares_memory(padded, pixels)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([np.uint8, np.float32, np.int64]))
def test_blocks_are_patches_in_raster_order_and_exactly_invertible(h: int, w: int, dtype: Any) -> None:
    padded = np.arange(16 * h * 16 * w * 3).reshape(16 * h, 16 * w, 3).astype(dtype)
    blocks = to_blocks(padded)
    assert blocks.shape == (h * w, 4, 192)
    assert blocks.dtype == dtype
    for n, patch in np.ndindex(h * w, 4):
        y, x = 16 * (n // w) + 8 * (patch // 2), 16 * (n % w) + 8 * (patch % 2)
        assert np.array_equal(blocks[n, patch], padded[y : y + 8, x : x + 8].ravel())
    assert np.array_equal(from_blocks(blocks, h, w), padded)
    assert from_blocks(blocks, h, w).dtype == dtype


@settings(deadline=None)
@given(sides, sides, st.data())
def test_some_blocks_are_cut_and_pasted_as_if_all_were(height: int, width: int, data: st.DataObject) -> None:
    pixels = noise(height, width)
    whole = to_blocks(pad_to_blocks(pixels))
    block = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))))
    assert np.array_equal(cut_blocks(pixels, block), whole[block])
    inside = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16, 3), np.bool_)
    inside[:height, :width] = True
    assert np.array_equal(inside_blocks((width, height), block), to_blocks(inside)[block])

    pasted = np.zeros_like(pixels)
    paste_blocks(pasted, block, whole[block])
    there = np.isin(np.arange(len(whole)), block).reshape(-(-height // 16), -(-width // 16))
    there = there.repeat(16, 0).repeat(16, 1)[:height, :width]
    assert np.array_equal(pasted[there], pixels[there])
    paste_blocks(pasted, np.arange(len(whole)), whole)
    assert np.array_equal(pasted, pixels)


def test_blocks_of_another_shape_are_refused() -> None:
    with pytest.raises(ImageError, match="pad_to_blocks"):
        to_blocks(np.zeros((16, 17, 3)))
    with pytest.raises(ImageError, match=r"expected blocks of shape \[6, 4, 192\], met \[5, 4, 192\]"):
        from_blocks(np.zeros((5, 4, 192)), 2, 3)
    for function in (pad_to_blocks, lambda pixels: cut_blocks(pixels, np.arange(1))):
        with pytest.raises(ImageError, match="expected uint8"):
            function(np.zeros((4, 4), np.uint8))


@settings(deadline=None)
@given(sides, sides, st.integers(0, 9), st.sampled_from([0.0, 0.3, 1.0]))
def test_fills_touch_absent_pixels_only(height: int, width: int, seed: int, share: float) -> None:
    pixels = noise(height, width, seed=seed)
    present = np.random.default_rng(seed).random((height, width)) < share
    mean = pixels[present].mean(0) if present.any() else np.zeros(3)
    fills = {"black": np.zeros(3), "#20a0ff": np.array([32, 160, 255]), "mean": mean, "tomato": [255, 99, 71]}
    for fill, colour in fills.items():
        filled = compose(pixels, present, fill)
        assert filled.shape == pixels.shape
        assert filled.dtype == np.uint8
        assert np.array_equal(filled[present], pixels[present])
        assert (abs(filled[~present] - colour) <= 0.5).all()
    filled = compose(pixels, present, "transparent")
    assert np.array_equal(filled[:, :, 3], present * 255)
    assert np.array_equal(filled[present][:, :3], pixels[present])
    assert not filled[~present].any()
    if present.any():
        x0, y0, x1, y1 = crop_box(present)
        assert present[y0:y1, x0:x1].sum() == present.sum()
        assert all(edge.any() for edge in (present[y0], present[y1 - 1], present[:, x0], present[:, x1 - 1]))
    else:
        with pytest.raises(ImageError, match="nothing to crop"):
            crop_box(present)


def test_senseless_fills_are_refused() -> None:
    pixels, present = noise(4, 4), np.ones((4, 4), bool)
    for fill in ("wite", "#12345", "#1234567", "#12345g", "", "#ffffff80"):
        with pytest.raises(ImageError, match="black, mean, transparent"):
            compose(pixels, present, fill)
    with pytest.raises(ImageError, match=r"bool \[4, 4\], met uint8"):
        compose(pixels, present.astype(np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"met bool \[3, 4\]"):
        compose(pixels, present[:3])


def test_pictures_are_saved_in_the_format_of_their_name(tmp_path: Path) -> None:
    pixels, profile = noise(9, 7), srgb()
    for name, kind in (
        ("a.png", "PNG"),
        ("A.PNG", "PNG"),
        ("plain", "PNG"),
        ("a.ppm", "PPM"),
        ("a.tiff", "TIFF"),
    ):
        save_picture(pixels, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == kind
        assert np.array_equal(load_picture(tmp_path / name).pixels, pixels)
    save_picture(np.full((9, 7, 3), 77, np.uint8), tmp_path / "a.jpg", icc=profile)
    assert load_picture(tmp_path / "a.jpg").icc == profile
    save_picture(noise(9, 7, 4), tmp_path / "alpha.png")
    with Image.open(tmp_path / "alpha.png") as image:
        assert np.array_equal(np.array(image), noise(9, 7, 4))


@pytest.mark.parametrize("suffix", KINDS)
def test_formats_hold_what_they_say(tmp_path: Path, suffix: str) -> None:
    kind, path = KINDS[suffix], tmp_path / f"p{suffix}"
    Image.init()
    if kind.name not in Image.SAVE:
        pytest.skip(f"Pillow without {kind.name}")
    for height, width in ((1, 1), (9, 7), (40, 300)):
        save_picture(noise(height, width), path)
        with Image.open(path) as image:
            assert image.size == (width, height)
            if kind.name not in ("JPEG", "AVIF"):
                assert np.array_equal(np.array(image), noise(height, width))
    pixels = noise(9, 7, 4)
    pixels[:, :, 3] = np.where(pixels[:, :, 3] > 99, 255, 0)
    if not kind.alpha:
        with pytest.raises(ImageError, match=r"can't hold transparency: use \.png, "):
            save_picture(pixels, path)
    else:
        save_picture(pixels, path)
        with Image.open(path) as image:
            assert image.mode == "RGBA"
            off = np.abs(np.array(image)[:, :, 3].astype(int) - pixels[:, :, 3])
            assert off.max() <= (3 if kind.name == "AVIF" else 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_picture(noise(9, 7), path, icc=srgb())
    assert load_picture(path).icc == (srgb() if kind.icc else None)
    assert [w.category for w in caught] == ([] if kind.icc else [DroppedProfile])


@pytest.mark.parametrize("suffix", [".ico", ".gif", ".pdf", ".pgm", ".icns", ".eps", ".tga"])
def test_other_formats_of_pillow_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ImageError, match=rf'as "{suffix}"; use \.png, .*\.avif.* or \.bmp'):
        save_picture(noise(9, 7), tmp_path / f"p{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_process_saves_without_a_suffix(tmp_path: Path) -> None:
    code = (
        "import sys, numpy; from ssic.pictures.write import save_picture; "
        "save_picture(numpy.zeros((4, 4, 3), numpy.uint8), sys.argv[1])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, tmp_path / "plain"], env=environment, check=True)
    with Image.open(tmp_path / "plain") as image:
        assert image.format == "PNG"


@pytest.mark.skipif(not features.check("webp"), reason="Pillow without WebP")
def test_webp_loses_nothing(tmp_path: Path) -> None:
    for channels in (3, 4):
        save_picture(noise(9, 7, channels), tmp_path / "a.webp")
        with Image.open(tmp_path / "a.webp") as image:
            assert np.array_equal(np.array(image), noise(9, 7, channels))


@pytest.mark.parametrize("kind", ["jpg", pytest.param("avif", marks=needs_avif)])
def test_lossy_formats_lose_little_and_keep_fine_colour(tmp_path: Path, kind: str) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = (
        200  # columns of red and blue: averaged if chroma is subsampled
    )
    save_picture(stripes, tmp_path / f"a.{kind}")
    assert abs(load_picture(tmp_path / f"a.{kind}").pixels.astype(int) - stripes).mean() < 5


def test_pictures_that_can_not_be_saved_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'as ".xyz"; use .png'):
        save_picture(noise(4, 4), tmp_path / "a.xyz")
    with pytest.raises(ImageError, match=r"JPEG can't hold transparency: use .png"):
        save_picture(noise(4, 4, 4), tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="can't be written"):
        save_picture(noise(4, 4), tmp_path / "missing" / "a.png")
    with pytest.raises(ImageError, match=r"\[H, W, 3\] or \[H, W, 4\], met float64"):
        save_picture(np.zeros((4, 4, 3)), tmp_path / "a.png")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
