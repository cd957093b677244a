"""Reading pictures.

Inside ssic a picture is 8-bit RGB, [H, W, 3] uint8. What can't become that without loss (transparency, more
than 8 bits, several pictures in one file) is refused with the way out, and converted where that was asked for. What is
left out nevertheless is told of in a warning.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ssic.arguments import is_whole, type_name
from ssic.blocks import check_pixels
from ssic.errors import ImageError
from ssic.foreign_arrays import to_numpy
from ssic.groups.colours import Colour, parse_colour
from ssic.imports import later
from ssic.pictures.container import clean_box, extra_samples, heif_facts, jpeg2000_bits, tiff_bits, tiff_facts
from ssic.pictures.depth import To8Bit, bring_to_8_bit, check_to_8_bit, reduced
from ssic.pictures.formats import (
    MAX_PIXELS,
    OtherPictures,
    check_size,
    is_heic,
    open_heic,
    open_image,
    reason,
    too_deep,
)
from ssic.pictures.ycbcr import uncompressed_ycbcr

_image_cms = later("PIL.ImageCms")

_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "RGBA", "LA", "PA", "RGBa", "La")

_ORIENTATION = 0x0112
"""Tag of EXIF that says how a picture is to be turned."""

_STRIP = 256
"""Rows that are converted at a time."""

_OF_FLOATS = (
    "for values in 0..1: (255 * tensor).round().clamp(0, 255).byte(), channels last: .permute(1, 2, 0)"
)


class IgnoredProfile(UserWarning):
    """An ICC profile is broken or does not fit the picture, and was neither used nor kept."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it is coded.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, upright, read-only.
        icc: the ICC profile of these RGB values, or None (sRGB is assumed by everybody).
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    icc: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


ImageSource = (
    Picture | str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]
)
"""What a picture is taken from."""


@dataclass(frozen=True)
class _Wishes:
    to_8_bit: To8Bit | None
    background: Colour | None
    frame: int | None
    max_pixels: int


def load_picture(
    source: ImageSource,
    *,
    to_8_bit: To8Bit | None = None,
    background: str | tuple[int, int, int] | None = None,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """The picture in a file, given by its path or open in binary mode, in the bytes of one, in a Pillow image or in an
    array: of NumPy, or of a library whose arrays NumPy can take, such as a PyTorch tensor.

    EXIF orientation and AVIF's clean aperture are applied. Bilevel, gray, palette, YCbCr and CMYK pictures become RGB;
    an alpha channel is accepted if it is opaque throughout. Arrays are uint8 (uint16 with `to_8_bit`), RGB as [H, W, 3]
    or gray as [H, W]. HEIC is read where pillow-heif is installed (``pip install "ssic[heic]"``).

    An ICC profile for RGB is kept as it is. One for another colour space (gray, CMYK) would not fit the RGB
    pixels: the pixels are converted to sRGB with it, and the profile is dropped.

    Args:
        to_8_bit: what to do with more than 8 bits a channel: "round" to the nearest of 256 values, or "dither" between
            the two nearest. By default they are refused.
        background: the colour that shows through transparent pixels, as `ssic.groups.colours.parse_colour` takes it
            ("white", "#fff", (255, 255, 255)). By default transparent pixels are refused.
        frame: which picture of an animation or of several pages, from 0. By default files of several are refused;
            but of a HEIC or MPO file the one is taken that it calls the main one, and a warning tells of the others.
        max_pixels: width times height that are read at most. Pillow's own limit has no say.

    Warns:
        IgnoredProfile: the ICC profile is broken, or does not fit the pixels.
        OtherPictures: a HEIC or MPO file holds other pictures too.

    Raises:
        ImageError: unreadable, larger than `max_pixels`, transparent, more than 8 bits a channel, more channels than
            colour and alpha, several pictures, a camera's raw file, or an array of another shape or type.
    """
    check_to_8_bit(to_8_bit)
    if frame is not None and not (is_whole(frame) and frame >= 0):
        raise ImageError(f"a frame is named by its number, from 0, not by {frame!r:.80}")
    if not is_whole(max_pixels) or max_pixels < 1:
        raise ImageError(f"max_pixels is {max_pixels!r:.80}; a whole number, at least 1, was expected")
    colour = None if background is None else parse_colour(background, ImageError)
    wishes = _Wishes(to_8_bit, colour, None if frame is None else int(frame), int(max_pixels))
    if isinstance(source, Picture):
        return source
    source = to_numpy(source, ImageError, _OF_FLOATS)
    if isinstance(source, np.ndarray):
        pixels = _from_array(source, wishes.to_8_bit)
        return Picture(_read_only(pixels))
    if isinstance(source, Image.Image):
        return _from_pillow(source, "the picture", wishes, b"")
    if hasattr(source, "read"):
        source = source.read()
        if not isinstance(source, bytes):
            raise ImageError("the file of the picture must be open in binary mode")
    if isinstance(source, (bytes, bytearray, memoryview)):
        shown, data = "the picture", bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        shown, data = str(source), _read_file(Path(source))
    else:
        raise ImageError(
            f"a picture is a path, bytes, a binary file, a Pillow image or an array, not {type_name(source)}"
        )
    if not data:
        raise ImageError(f"{shown} is empty")
    if is_heic(data):
        with open_heic(data, shown, wishes.max_pixels, wishes.frame, wishes.to_8_bit) as image:
            return _finished(image, shown, wishes)
    if (tiff := tiff_facts(data)) is not None and (tiff.raw or tiff.thumbnail):
        what = (
            "a camera's raw file" if tiff.raw else "a TIFF that begins with the thumbnail of a larger picture"
        )
        raise ImageError(
            f"{shown} is {what}, and only a thumbnail in it would be read: develop or convert it first, for example "
            "with darktable, RawTherapee or rawpy"
        )
    with open_image(data, shown, wishes.max_pixels) as image:
        return _from_pillow(image, shown, wishes, data)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def _from_array(array: NDArray[Any], to_8_bit: To8Bit | None) -> NDArray[np.uint8]:
    gray = array.ndim == 2
    if array.dtype == np.uint16 and to_8_bit is not None and array.ndim in (2, 3) and array.size:
        array = reduced(array, 65535, to_8_bit)
    if array.dtype != np.uint8:
        advice = ""
        if array.dtype.kind == "f":
            advice = "; for values in 0..1: (255 * a).round().clip(0, 255).astype(numpy.uint8)"
        elif array.dtype == np.uint16:
            advice = '; to_8_bit="round" or "dither" converts values of 0..65535'
        raise ImageError(f"a picture array must be uint8, not {array.dtype}{advice}")
    if not gray:
        check_pixels(array, (3,))
    elif array.size == 0:
        raise ImageError(f"a picture of shape {list(array.shape)} has no pixels")
    return np.repeat(array[:, :, None], 3, axis=2) if gray else array.copy()


def _from_pillow(image: Image.Image, shown: str, wishes: _Wishes, data: bytes) -> Picture:
    """Args: data: of its file, or nothing if it has none."""
    try:
        check_size(image.size, shown, wishes.max_pixels)
        if data or wishes.frame is not None:  # an image of Pillow stands at a frame already
            _choose_frame(image, shown, wishes.frame, data)
        if getattr(image, "tag_v2", None) is not None and (count := extra_samples(image.tag_v2)):  # type: ignore[attr-defined]
            raise ImageError(
                f"{shown} has {count} extra channel(s) of unstated meaning beside its colours, which would be lost: "
                "save it without them first, for example with: magick IN -alpha off -depth 8 OUT.png"
            )
        image = uncompressed_ycbcr(image, shown)
        facts = heif_facts(data)
        if (deep := _more_than_8_bits(image, data)) is not None:
            if wishes.to_8_bit is None:
                raise too_deep(shown, deep)
            image = bring_to_8_bit(image, wishes.to_8_bit, shown, _opener(image, shown, wishes))
        if image.mode not in _MODES:
            raise ImageError(f"{shown} has colour mode {image.mode}; convert it to RGB first")
        if facts is not None and facts.clean is not None:
            if (box := clean_box(facts.clean, image.size)) is None:
                raise ImageError(
                    f"{shown} is cropped (clean aperture) to no whole pixels, and what was cut off would come back: "
                    "convert it first with a program that applies the crop, for example: avifdec IN OUT.png"
                )
            turn = image.getexif().get(_ORIENTATION)
            image = image.crop(box)
            if turn is not None:
                image.getexif()[_ORIENTATION] = turn
    except ImageError:
        raise
    except Exception as error:  # Pillow decodes lazily, so a broken file may fail only here
        raise ImageError(f"{shown} can't be decoded: {reason(error)}") from error
    return _finished(image, shown, wishes)


def _choose_frame(image: Image.Image, shown: str, frame: int | None, data: bytes) -> None:
    count = int(getattr(image, "n_frames", 1))
    if image.format == "PSD":
        count = 1  # its frames are layers; what is shown first is all of them
    tiff = tiff_facts(data)
    others = tiff.others if tiff is not None else count - 1
    if frame is not None:
        if frame >= count:
            raise ImageError(f"{shown} has no frame {frame}: it has {count}, counted from 0")
        if count > 1:
            image.seek(frame)
    elif others > 0 and image.format == "MPO":
        text = f"{shown} holds {count} pictures; the first is taken, and frame (--frame) names another"
        warnings.warn(text, OtherPictures, stacklevel=4)
    elif others > 0:
        what = "pages" if image.format == "TIFF" else "frames"
        raise ImageError(
            f"{shown} has {others + 1} {what}, and ssic codes one picture: say which with frame "
            "(--frame 0 is the first)"
        )


def _opener(image: Image.Image, shown: str, wishes: _Wishes) -> Callable[[], Image.Image] | None:
    """What opens the file of an image anew, if the image still has it."""
    file: Any = getattr(image, "fp", None)
    if file is None or not hasattr(file, "seek"):
        return None

    def again() -> Image.Image:
        place = file.tell()
        file.seek(0)
        opened = open_image(file.read(), shown, wishes.max_pixels)
        file.seek(place)
        opened.seek(image.tell())
        return opened

    return again


def _more_than_8_bits(image: Image.Image, data: bytes) -> str | None:
    """What is known of a depth beyond 8 bits, in words; None if there is none."""
    # Pillow cuts 16-bit colour to 8 bits while decoding; only the tiles still tell.
    tiles: list[Any] = getattr(image, "tile", None) or []
    if image.mode in ("I", "F") or image.mode.startswith("I;16") or any(map(_is_deep, tiles)):
        return f"mode {image.mode}"
    heif = heif_facts(data)
    bits = heif.bits if heif is not None else jpeg2000_bits(data)
    if bits is None and getattr(image, "tag_v2", None) is not None:
        bits = tiff_bits(image.tag_v2)  # type: ignore[attr-defined]
    return f"{bits} bits" if bits is not None and bits > 8 else None


def _is_deep(tile: Any) -> bool:
    decoder, _, _, args = tile
    largest = args[-1] if decoder in ("ppm", "ppm_plain") and isinstance(args, tuple) else 0
    return ";16" in str(args) or decoder == "SGI16" or (isinstance(largest, int) and largest > 255)


def _finished(image: Image.Image, shown: str, wishes: _Wishes) -> Picture:
    """Upright RGB of an image of 8 bits."""
    try:
        image.load()  # some files say only behind the pixels how these are turned
        if image.getexif().get(_ORIENTATION, 1) != 1:  # else it would be a copy of the whole
            image = ImageOps.exif_transpose(image)
        alpha = None
        if image.has_transparency_data:
            image, alpha = _without_alpha(image, shown, wishes.background)
        profile = image.info.get("icc_profile") or b""
        space = profile[16:20] if profile[36:40] == b"acsp" else b""  # offsets fixed by the ICC specification
        fault = (
            "is broken"
            if profile and (not space or int.from_bytes(profile[:4], "big") != len(profile))
            else ""
        )
        converted = None
        if space and space != b"RGB ":
            converted = _to_srgb(image, profile)
            fault = fault or (
                "" if converted is not None else f"is for {_named(space)}, and the picture is not"
            )
        elif image.mode == "CMYK" and profile:
            fault, space = fault or "is for RGB, and the picture is CMYK", b""
        rgb = _as_array(converted or image)
        if alpha is not None and wishes.background is not None:
            rgb = _over(rgb, alpha, wishes.background)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{shown} can't be decoded: {reason(error)}") from error
    if fault:
        text = f"{shown}: its colour profile {fault}; it is left out, and the colours are taken for sRGB"
        warnings.warn(text, IgnoredProfile, stacklevel=4)
    return Picture(_read_only(rgb), profile if space == b"RGB " and not fault else None)


def _as_array(image: Image.Image) -> NDArray[np.uint8]:
    """[H, W, 3] RGB. In strips, as Pillow keeps four bytes a pixel, and converting or copying out the whole makes up to
    three copies of it."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(strip.convert("RGB"))
    return pixels


def _named(space: bytes) -> str:
    return space.decode("ascii", "replace").strip()


def _without_alpha(
    image: Image.Image, shown: str, background: Colour | None
) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Colours, and alpha [H, W] unless it is opaque throughout."""
    rgba = image.convert("RGBA")
    band = rgba.getchannel("A")
    lowest, _ = band.getextrema()
    if lowest != 255 and background is None:
        raise ImageError(
            f"{shown} has transparent pixels, and ssic codes opaque ones: say what shows through them, background="
            '"white" (--background white)'
        )
    # Gray stays gray for its profile.
    colours = rgba.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
    return colours, None if lowest == 255 else np.asarray(band)


def _over(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: Colour) -> NDArray[np.uint8]:
    """Colours laid over a background, in the values as they are stored, as all programs do it."""
    for at in range(0, len(rgb), _STRIP):  # strips bound the memory
        share = alpha[at : at + _STRIP, :, None].astype(np.uint32)
        mixed = rgb[at : at + _STRIP] * share + np.array(background, np.uint32) * (255 - share)
        rgb[at : at + _STRIP] = (mixed + 127) // 255
    return rgb


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        converted: Image.Image | None = _image_cms.profileToProfile(
            image,
            _image_cms.ImageCmsProfile(io.BytesIO(profile)),
            _image_cms.createProfile("sRGB"),
            outputMode="RGB",
        )
        return converted
    except Exception:  # a profile that doesn't fit the mode, or a Pillow without LittleCMS
        return None


def _read_only(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels.flags.writeable = False
    return pixels
