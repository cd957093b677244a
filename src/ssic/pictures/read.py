"""Reading pictures.

Inside ssic a picture is 8-bit RGB, [H, W, 3] uint8. What can't become that without loss (transparency, more
than 8 bits) is refused with advice rather than converted in silence.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ssic.arguments import type_name
from ssic.arrays import to_numpy
from ssic.blocks import check_pixels
from ssic.errors import ImageError

_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "RGBA", "LA", "PA", "RGBa", "La")

_OF_FLOATS = (
    "for values in 0..1: (255 * tensor).round().clamp(0, 255).byte(), channels last: .permute(1, 2, 0)"
)


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


def load_picture(source: ImageSource) -> Picture:
    """The picture in a file, given by its path or open in binary mode, in the bytes of one, in a Pillow image or in an
    array: of NumPy, or of a library whose arrays NumPy can take, such as a PyTorch tensor.

    EXIF orientation is applied. Bilevel, gray, palette, YCbCr and CMYK pictures become RGB; an alpha channel
    is accepted if it is opaque throughout. Of an animation the first frame is taken. Arrays are uint8, RGB as
    [H, W, 3] or gray as [H, W].

    An ICC profile for RGB is kept as it is. One for another colour space (gray, CMYK) would not fit the RGB
    pixels: the pixels are converted to sRGB with it, and the profile is dropped.

    Raises:
        ImageError: unreadable, too large for Pillow's limit, transparent, more than 8 bits a channel, or an
            array of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    source = to_numpy(source, ImageError, _OF_FLOATS)
    if isinstance(source, np.ndarray):
        return Picture(_read_only(_from_array(source)))
    if isinstance(source, Image.Image):
        return _from_pillow(source, "the picture")
    if hasattr(source, "read"):
        source = source.read()
        if not isinstance(source, bytes):
            raise ImageError("the file of the picture must be open in binary mode")
    if isinstance(source, (bytes, bytearray, memoryview)):
        shown, file = "the picture", io.BytesIO(bytes(source))
    elif isinstance(source, (str, os.PathLike)):
        shown, file = str(source), _read_file(Path(source))
    else:
        raise ImageError(
            f"a picture is a path, bytes, a binary file, a Pillow image or an array, not {type_name(source)}"
        )
    if not file.getbuffer().nbytes:
        raise ImageError(f"{shown} is empty")
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{shown}: {error}; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise ImageError(f"{shown} can't be read as a picture: {reason(error)}") from error
    with image:
        return _from_pillow(image, shown)


def _read_file(path: Path) -> io.BytesIO:
    try:
        return io.BytesIO(path.read_bytes())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    gray = array.ndim == 2
    if array.dtype != np.uint8:
        advice = (
            "; for values in 0..1: (255 * a).round().clip(0, 255).astype(numpy.uint8)"
            if array.dtype.kind == "f"
            else ""
        )
        raise ImageError(f"a picture array must be uint8, not {array.dtype}{advice}")
    if not gray:
        check_pixels(array, (3,))
    elif array.size == 0:
        raise ImageError(f"a picture of shape {list(array.shape)} has no pixels")
    return np.repeat(array[:, :, None], 3, axis=2) if gray else array.copy()


def _from_pillow(image: Image.Image, shown: str) -> Picture:
    try:
        _check_depth(image, shown)
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = _without_alpha(image, shown)
        profile = image.info.get("icc_profile") or b""
        space = profile[16:20] if profile[36:40] == b"acsp" else b""  # offsets fixed by the ICC specification
        converted = None
        if space and space != b"RGB ":
            converted = _to_srgb(image, profile)
        elif image.mode == "CMYK":
            space = b""  # the profile, whatever it is, was not made for what comes out of the conversion
        rgb = np.array((converted or image).convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # Pillow decodes lazily, so a broken file may fail only here
        raise ImageError(f"{shown} can't be decoded: {reason(error)}") from error
    return Picture(_read_only(rgb), profile if space == b"RGB " else None)


def _check_depth(image: Image.Image, shown: str) -> None:
    # Pillow cuts 16-bit colour to 8 bits while decoding; only the tiles still tell.
    tiles: list[Any] = getattr(image, "tile", None) or []
    if image.mode in ("I", "F") or image.mode.startswith("I;16") or any(map(_is_deep, tiles)):
        raise ImageError(
            f"{shown} has more than 8 bits per channel (mode {image.mode}), which would be lost: convert it "
            "first, for example with ImageMagick: magick IN -depth 8 OUT.png"
        )
    if image.mode not in _MODES:
        raise ImageError(f"{shown} has colour mode {image.mode}; convert it to RGB first")


def _is_deep(tile: Any) -> bool:
    decoder, _, _, args = tile
    largest = args[-1] if decoder in ("ppm", "ppm_plain") and isinstance(args, tuple) else 0
    return ";16" in str(args) or decoder == "SGI16" or (isinstance(largest, int) and largest > 255)


def _without_alpha(image: Image.Image, shown: str) -> Image.Image:
    rgba = image.convert("RGBA")
    lowest, _ = rgba.getchannel("A").getextrema()
    if lowest != 255:
        raise ImageError(
            f"{shown} has transparent pixels, and ssic codes opaque ones: flatten it first, for example with "
            "ImageMagick: magick IN -background white -flatten OUT.png"
        )
    return rgba.convert(
        "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    )  # gray stays gray for its profile


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        from PIL import ImageCms

        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except Exception:  # a profile that doesn't fit the mode, or a Pillow without LittleCMS
        return None


def _read_only(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels.flags.writeable = False
    return pixels


def reason(error: Exception) -> str:
    """What an error of Pillow says."""
    # The address of a BytesIO tells nobody anything.
    return re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error)) or type(error).__name__
