"""Pictures as people have them: deep, transparent, moving, in pages, raw, cropped, from phones."""

from __future__ import annotations

import importlib.util
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from helpers.image_files import png_16, tiff
from ssic.errors import ImageError, InvalidInput
from ssic.groups.colours import parse_colour
from ssic.pictures.container import clean_box, heif_facts, jpeg2000_bits, tiff_facts
from ssic.pictures.depth import reduced
from ssic.pictures.formats import OtherPictures
from ssic.pictures.read import load_picture

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
RNG = np.random.default_rng(7)
DEEP = RNG.integers(0, 65536, (24, 40, 3)).astype(np.uint16)
NEAREST = ((DEEP.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def frames(count: int = 2, mode: str = "RGB") -> list[Image.Image]:
    return [Image.new(mode, (40, 24), (60 * n, 200, 10)) for n in range(count)]


DEEP_FILES = {
    "png": png_16(DEEP),
    "tiff little": tiff(DEEP),
    "tiff big": tiff(DEEP, order=">"),
    "tiff planar": tiff(DEEP, planar=True),
    "tiff planar big": tiff(DEEP, planar=True, order=">"),
    "tiff deflated": tiff(DEEP, deflated=True),
    "tiff deflated big": tiff(DEEP, deflated=True, order=">"),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_16_bits_are_refused_rounded_or_dithered(name: str, tmp_path: Path) -> None:
    data = DEEP_FILES[name]
    with pytest.raises(ImageError, match=r"more than 8 bits.*to_8_bit"):
        load_picture(data)
    assert np.array_equal(load_picture(data, to_8_bit="round").pixels, NEAREST)
    path = tmp_path / "deep"
    path.write_bytes(data)
    with Image.open(path) as image:  # a file of Pillow's own opening, not loaded yet
        assert np.array_equal(load_picture(image, to_8_bit="round").pixels, NEAREST)
    dithered = load_picture(data, to_8_bit="dither").pixels.astype(int)
    off = dithered - DEEP / 257
    assert (np.abs(off) <= 1).all()
    assert np.abs(off).mean() > 0.3
    assert abs(off.mean()) < 0.02


def test_where_pillow_gives_8_bits_they_are_taken_and_not_dithered() -> None:
    data = tiff(DEEP, deflated=True, planar=True)
    with pytest.raises(ImageError, match="more than 8 bits"):
        load_picture(data)
    assert np.abs(load_picture(data, to_8_bit="round").pixels - DEEP / 257).max() <= 1
    with pytest.raises(ImageError, match="of TIFF pictures Pillow gives 8 bits only"):
        load_picture(data, to_8_bit="dither")


def test_16_bits_of_gray_and_alpha_and_arrays() -> None:
    assert np.array_equal(
        load_picture(png_16(DEEP[:, :, :1]), to_8_bit="round").pixels[:, :, 0], NEAREST[:, :, 0]
    )
    both = DEEP[:, :, :2].copy()
    both[:, :, 1] = 65535
    assert np.array_equal(load_picture(png_16(both), to_8_bit="round").pixels[:, :, 2], NEAREST[:, :, 0])
    rgba = np.dstack([DEEP, np.full(DEEP.shape[:2], 65535, np.uint16)])
    assert np.array_equal(load_picture(png_16(rgba), to_8_bit="round").pixels, NEAREST)
    assert np.array_equal(load_picture(DEEP, to_8_bit="round").pixels, NEAREST)
    assert np.array_equal(
        load_picture(tiff(DEEP[:, :, :1]), to_8_bit="round").pixels[:, :, 0], NEAREST[:, :, 0]
    )
    with pytest.raises(ImageError, match=r'not uint16; to_8_bit="round" or "dither"'):
        load_picture(DEEP)
    turned = load_picture(png_16(DEEP, orientation=6), to_8_bit="round").pixels
    assert np.array_equal(turned, np.rot90(NEAREST, -1))


def test_values_of_no_stated_range_stay_refused() -> None:
    for image in (Image.new("F", (4, 4)), Image.new("I", (4, 4))):
        with pytest.raises(ImageError, match="no stated range"):
            load_picture(image, to_8_bit="round")
    for wrong in ("cut", 8, ["round"]):
        with pytest.raises(ImageError, match='"round" or "dither"'):
            load_picture(DEEP, to_8_bit=wrong)  # type: ignore[arg-type]


@given(st.integers(1, 16), st.integers(0, 2**16), st.sampled_from(["round", "dither"]))
def test_whole_levels_survive(bits: int, seed: int, how: Any) -> None:
    top = 2**bits - 1
    levels = np.random.default_rng(seed).integers(0, 2, (20, 33)) * top
    assert np.array_equal(reduced(levels, top, how), levels // top * 255)


def test_dithering_of_a_pixel_depends_on_no_other() -> None:
    changed = DEEP.copy()
    changed[:, 16:] ^= 0x5A5A
    assert np.array_equal(reduced(DEEP, 65535, "dither")[:, :16], reduced(changed, 65535, "dither")[:, :16])


def test_jpeg_2000_says_its_depth() -> None:
    if not features.check("jpg_2000"):
        pytest.skip("Pillow without JPEG 2000")
    eight = stored(Image.new("RGB", (40, 24), (1, 2, 3)), "JPEG2000")
    assert jpeg2000_bits(eight) == 8
    assert load_picture(eight).size == (40, 24)
    deep = stored(Image.fromarray(DEEP[:, :, 0]), "JPEG2000")
    assert jpeg2000_bits(deep) == 16
    with pytest.raises(ImageError, match="more than 8 bits"):
        load_picture(deep)
    assert np.array_equal(load_picture(deep, to_8_bit="round").pixels[:, :, 0], NEAREST[:, :, 0])


def item(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def heif(*properties: tuple[bytes, bytes], brand: bytes = b"avif") -> bytes:
    """The boxes that say what the primary item of a file is, and no picture."""
    made = b"".join(item(kind, body) for kind, body in properties)
    marks = bytes(range(1, 1 + len(properties)))
    ipma = bytes(4) + struct.pack(">IHB", 1, 1, len(marks)) + marks
    iprp = item(b"iprp", item(b"ipco", made) + item(b"ipma", ipma))
    meta = item(b"meta", bytes(4) + item(b"pitm", bytes(4) + b"\0\1") + iprp)
    return item(b"ftyp", brand + bytes(4) + brand) + meta


def clap(width: int, height: int, x: int = 0, y: int = 0, of: int = 2) -> tuple[bytes, bytes]:
    return b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, x, of, y, of)


def test_boxes_of_avif_are_read() -> None:
    for body, bits in ((b"\x81\x0c\x00\x00", 8), (b"\x81\x0c\x40\x00", 10), (b"\x81\x0c\x60\x00", 12)):
        assert heif_facts(heif((b"av1C", body))) == (found := heif_facts(heif((b"av1C", body))))
        assert found is not None
        assert found.bits == bits
    pixi = (b"pixi", bytes(4) + bytes([3, 10, 10, 10]))
    facts = heif_facts(heif(pixi, clap(20, 10, -6)))
    assert facts is not None
    assert facts.bits == 10
    assert facts.clean is not None
    assert clean_box(facts.clean, (32, 10)) == (3, 0, 23, 10)
    for wrong in (clap(40, 10), clap(20, 10, 1), clap(20, 10, -100), clap(0, 10), clap(20, 10, 0, 0, 0)):
        broken = heif_facts(heif(wrong))
        assert broken is not None
        assert broken.clean is not None
        assert clean_box(broken.clean, (32, 10)) is None
    assert heif_facts(stored(frames()[0])) is None


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_break_the_readers_of_containers(noise: bytes, at: int) -> None:
    whole = heif((b"pixi", bytes(4) + bytes([3, 10, 10, 10])), clap(20, 10))
    for data in (noise, whole[:at] + noise, b"II*\0" + noise, b"MM\0+" + noise, b"\xff\x4f\xff\x51" + noise):
        heif_facts(data)
        jpeg2000_bits(data)
        tiff_facts(data)


@needs_avif
def test_the_clean_aperture_of_avif_is_applied() -> None:
    # 96x64 pixels, gray on the left and red on the right; the clean aperture leaves the 48 on the left.
    picture = load_picture(Path(__file__).parent / "cropped.avif")
    assert picture.size == (48, 64)
    assert (np.abs(picture.pixels[:, :40].astype(int) - 60) <= 12).all(), "what was cropped away came back"


@pytest.mark.parametrize(
    ("kind", "word"), [("GIF", "frames"), ("PNG", "frames"), ("WEBP", "frames"), ("TIFF", "pages")]
)
def test_animations_and_pages_are_refused_unless_one_is_named(kind: str, word: str) -> None:
    images = frames(3)
    data = stored(images[0], kind, save_all=True, append_images=images[1:])
    with pytest.raises(ImageError, match=rf"has 3 {word}.*--frame 0"):
        load_picture(data)
    for n in range(3):
        assert abs(int(load_picture(data, frame=n).pixels[0, 0, 0]) - 60 * n) <= 2
    with pytest.raises(ImageError, match=r"no frame 3: it has 3"):
        load_picture(data, frame=3)
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        assert abs(int(load_picture(image).pixels[0, 0, 0]) - 60) <= 2
    for wrong in (-1, 1.5, "first", True):
        with pytest.raises(ImageError, match="a frame is named by its number"):
            load_picture(data, frame=wrong)  # type: ignore[arg-type]
    assert load_picture(stored(images[1]), frame=0).pixels[0, 0, 0] == 60


def test_the_main_picture_of_an_mpo_is_taken_and_the_others_are_told_of() -> None:
    images = frames(2)
    data = stored(images[0], "MPO", save_all=True, append_images=images[1:])
    with pytest.warns(OtherPictures, match="holds 2 pictures; the first is taken"):
        assert load_picture(data).pixels[0, 0, 0] <= 2


def test_thumbnails_of_larger_pictures_and_raw_files_are_refused() -> None:
    small = np.full((8, 8, 3), 90, np.uint8)
    with pytest.raises(ImageError, match="begins with the thumbnail of a larger picture"):
        load_picture(tiff(small, tags={254: ("I", [1])}))
    with pytest.raises(ImageError, match="a camera's raw file"):
        load_picture(tiff(small, tags={50706: ("B", [1, 4, 0, 0])}))
    # A page that is a smaller version of the first loses nothing.
    images = frames(2)
    pages = stored(images[0], "TIFF", save_all=True, append_images=images[1:])
    facts = tiff_facts(pages)
    assert facts is not None
    assert (facts.raw, facts.thumbnail, facts.others) == (False, False, 1)


@pytest.mark.parametrize("said", [{}, {338: ("H", [0])}])
def test_extra_samples_of_a_tiff_are_not_dropped(said: dict[int, Any]) -> None:
    four = RNG.integers(0, 256, (8, 8, 4)).astype(np.uint8)
    with pytest.raises(ImageError, match="1 extra channel"):
        load_picture(tiff(four, tags=said))
    opaque = four.copy()
    opaque[:, :, 3] = 255
    assert np.array_equal(load_picture(tiff(opaque, tags={338: ("H", [2])})).pixels, four[:, :, :3])


def test_transparent_pictures_are_laid_over_a_background() -> None:
    rgba = RNG.integers(0, 256, (30, 20, 4)).astype(np.uint8)
    share = rgba[:, :, 3:].astype(float) / 255
    for name, colour in (("white", (255,) * 3), ("#102030", (16, 32, 48)), ((1, 2, 3), (1, 2, 3))):
        found = load_picture(stored(Image.fromarray(rgba)), background=name).pixels  # type: ignore[arg-type]
        assert np.abs(found - (rgba[:, :, :3] * share + np.array(colour) * (1 - share))).max() <= 0.51
    gray = Image.fromarray(rgba[:, :, ::3].copy(), "LA")
    assert load_picture(stored(gray), background="red").pixels[:, :, 0].min() >= rgba[:, :, 0].min()
    with pytest.raises(ImageError, match="is no colour"):
        load_picture(stored(gray), background="wite")


def test_colours_are_those_of_pillow() -> None:
    assert parse_colour("White") == parse_colour("#fff") == parse_colour("#FFFFFFff") == (255, 255, 255)
    assert (
        parse_colour("rgb(1, 2, 3)")
        == parse_colour([1, 2, 3])
        == parse_colour(np.array([1, 2, 3]))
        == (1, 2, 3)
    )
    for wrong in ("wite", "", "#12", "#fff8", [1, 2], [1, 2, 256], [1.0, 2, 3], None, 5, {}, b"red"):
        with pytest.raises(InvalidInput, match="colour"):
            parse_colour(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"FUJIFILMCCD-RAW 0201", "raw file"),
        (b"IIRO\x08\0\0\0", "raw file"),
        (item(b"ftyp", b"crx \0\0\0\1"), "raw file"),
        (b"\xff\x0a\xfa", "djxl"),
        (b"%PDF-1.7", "render it first"),
        (item(b"ftyp", b"isom\0\0\0\1"), "ffmpeg"),
        (b"nothing at all", "in no format that Pillow knows"),
    ],
)
def test_what_pillow_does_not_read_comes_with_advice(data: bytes, advice: str) -> None:
    with pytest.raises(ImageError, match=advice):
        load_picture(data)


@pytest.mark.skipif(features.check("avif"), reason="Pillow with AVIF")
def test_avif_asks_for_another_pillow() -> None:
    with pytest.raises(ImageError, match=r"AVIF.*version 11\.3"):
        load_picture(Path(__file__).parent / "cropped.avif")


def test_heic_names_the_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC.*ssic\[heic\]"):
        load_picture(heif(brand=b"heic"))


class TestHeic:
    """Files made by pillow-heif, which the extra `heic` brings."""

    pytestmark = pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="no pillow-heif")

    @staticmethod
    def made(*images: Image.Image, **options: Any) -> bytes:
        import pillow_heif

        whole = pillow_heif.HeifFile()
        for image in images:
            whole.add_from_pillow(image)
        file = io.BytesIO()
        whole.save(file, quality=-1, chroma=444, **options)
        return file.getvalue()

    def test_photos_are_read_upright_with_their_profile(self) -> None:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        pixels = np.zeros((32, 64, 3), np.uint8)
        pixels[:, :32] = (200, 30, 60)
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = profile
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = load_picture(self.made(image, exif=exif.tobytes()))
        assert picture.icc == profile
        assert picture.size == (32, 64)
        assert np.abs(picture.pixels.astype(int) - np.rot90(pixels, -1)).max() <= 4

    def test_deep_ones_are_refused_or_converted(self) -> None:
        import pillow_heif

        ramp = np.repeat((np.arange(64) * 1000).astype(np.uint16)[None, :, None], 32, 0).repeat(3, 2)
        file = io.BytesIO()
        whole = pillow_heif.from_bytes("RGB;16", (64, 32), ramp.tobytes())
        whole.save(file, quality=-1, chroma=444)
        with pytest.raises(ImageError, match=r"more than 8 bits per channel \(10 bits\)"):
            load_picture(file.getvalue())
        for how in ("round", "dither"):
            found = load_picture(file.getvalue(), to_8_bit=how).pixels  # type: ignore[arg-type]
            assert np.abs(found - ramp / 257).max() <= 3

    def test_several_pictures_and_limits(self) -> None:
        data = self.made(*frames(2))
        with pytest.warns(OtherPictures, match="holds 2 pictures; the main one is taken"):
            assert abs(int(load_picture(data).pixels[0, 0, 0])) <= 3
        assert abs(int(load_picture(data, frame=1).pixels[0, 0, 0]) - 60) <= 3
        with pytest.raises(ImageError, match="no picture 2"):
            load_picture(data, frame=2)
        with pytest.raises(ImageError, match="--max-pixels"):
            load_picture(data, frame=0, max_pixels=100)
        with pytest.raises(ImageError, match="can't be decoded"):
            load_picture(data[: len(data) // 2], frame=0)

    def test_transparency(self) -> None:
        data = self.made(Image.new("RGBA", (32, 32), (200, 0, 0, 0)))
        with pytest.raises(ImageError, match="--background white"):
            load_picture(data)
        assert load_picture(data, background="white").pixels.min() >= 250


def test_the_pictures_of_large_phones_are_read_whatever_pillow_allows() -> None:
    code = (
        "import io, warnings; from PIL import Image; warnings.simplefilter('error')\n"
        "from ssic.pictures.read import load_picture\n"
        "file = io.BytesIO(); Image.new('L', (16320, 12240), 7).save(file, 'PNG', compress_level=1)\n"
        "before = Image.MAX_IMAGE_PIXELS\n"
        "assert load_picture(file.getvalue()).size == (16320, 12240)\n"
        "assert Image.MAX_IMAGE_PIXELS == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
