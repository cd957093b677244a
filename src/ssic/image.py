"""Pixels in and out: reading and writing pictures, blocks, and filling what was not decoded.

Inside ssic a picture is 8-bit RGB, [H, W, 3] uint8. What can't become that without loss (transparency, more
than 8 bits) is refused with advice rather than converted in silence.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ssic.errors import ImageError
from ssic.given import is_whole, name_of
from ssic.mask import BLOCK

PATCH = 8
"""Pixels on a side of a patch; a block is 2x2 patches."""


@dataclass(frozen=True)
class Kind:
    """A format that pictures are written in.

    Attributes:
        name: Pillow's name of it.
        alpha: it can hold transparency.
        icc: it can hold a colour profile.
        side: most pixels on a side, where decoded pictures may well have more.
    """

    name: str
    alpha: bool = True
    icc: bool = True
    side: int | None = None


_JPEG, _TIFF = Kind("JPEG", alpha=False, side=65500), Kind("TIFF")
KINDS = {
    ".png": Kind("PNG"),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Kind("WEBP", side=16383),
    ".avif": Kind("AVIF"),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jp2": Kind("JPEG2000", icc=False),
    ".ppm": Kind("PPM", alpha=False, icc=False),
    ".bmp": Kind("BMP", alpha=False, icc=False),
}
"""By suffix. Pillow writes others too, but not every picture as it is: icons are shrunk, GIF has 256 colours."""

_PATCHES = BLOCK // PATCH
_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "RGBA", "LA", "PA", "RGBa", "La")
_FILLS = "black, mean, transparent or a colour like #20a0ff"
_T = TypeVar("_T", bound=np.generic)

# Pillow's defaults are made for small files; here the loss has already been paid for once.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
}


class DroppedProfile(UserWarning):
    """A picture was written in a format that holds no colour profile, and its own was left out."""


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


def load_picture(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any],
) -> Picture:
    """The picture in a file, given by its path or open in binary mode, in the bytes of one, in a Pillow image or in an
    array.

    EXIF orientation is applied. Bilevel, gray, palette, YCbCr and CMYK pictures become RGB; an alpha channel
    is accepted if it is opaque throughout. Of an animation the first frame is taken. Arrays are uint8, RGB as
    [H, W, 3] or gray as [H, W].

    An ICC profile for RGB is kept as it is. One for another colour space (gray, CMYK) would not fit the RGB
    pixels: the pixels are converted to sRGB with it, and the profile is dropped.

    Raises:
        ImageError: unreadable, too large for Pillow's limit, transparent, more than 8 bits a channel, or an
            array of another shape or type.
    """
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
            f"a picture is a path, bytes, a binary file, a Pillow image or an array, not {name_of(source)}"
        )
    if not file.getbuffer().nbytes:
        raise ImageError(f"{shown} is empty")
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{shown}: {error}; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise ImageError(f"{shown} can't be read as a picture: {_reason(error)}") from error
    with image:
        return _from_pillow(image, shown)


def save_picture(pixels: NDArray[np.uint8], path: str | os.PathLike[str], icc: bytes | None = None) -> None:
    """Writes [H, W, 3] RGB or [H, W, 4] RGBA, uint8, in the format of the path's extension (none means PNG).

    Raises:
        ImageError: as `picture_bytes`, or a failed write.
    """
    data = picture_bytes(pixels, path, icc)
    try:
        Path(path).write_bytes(data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{path} can't be written: {getattr(error, 'strerror', None) or error}") from error


def picture_bytes(pixels: NDArray[np.uint8], path: str | os.PathLike[str], icc: bytes | None = None) -> bytes:
    """What `save_picture` writes to `path`. Where its format holds no colour profile, a `DroppedProfile` warning tells.

    Raises:
        ImageError: as `picture_kind`, or a picture that Pillow can't write for another reason.
    """
    _check_pixels(pixels, (3, 4))
    kind = picture_kind(path, alpha=pixels.shape[2] == 4, size=pixels.shape[1::-1])
    options = dict(_OPTIONS.get(kind.name, {}))
    if icc is not None and kind.icc:
        options["icc_profile"] = icc
    file = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind.name, **options)
    except Exception as error:
        raise ImageError(f"{path} can't be written: {_reason(error)}") from error
    if icc is not None and not kind.icc:
        text = f"{path}: {kind.name} holds no colour profile, and that of the picture is left out"
        warnings.warn(text, DroppedProfile, stacklevel=2)
    return file.getvalue()


def picture_kind(
    path: str | os.PathLike[str], *, alpha: bool = False, size: tuple[int, int] | None = None
) -> Kind:
    """The format that the extension of `path` stands for; PNG if it has none.

    Args:
        alpha: the picture is transparent in places.
        size: its (width, height) in pixels, if that is known.

    Raises:
        ImageError: no picture is written with that extension, or none that is transparent or so large; or this Pillow
            lacks the format.
    """
    suffix = Path(path).suffix.lower() or ".png"
    kind = KINDS.get(suffix)
    if kind is None:
        raise ImageError(f'{path}: pictures can\'t be written as "{suffix}"; use {_listed(KINDS)}')
    if alpha and not kind.alpha:
        fit = [s for s, other in KINDS.items() if other.alpha]
        raise ImageError(f"{path}: {kind.name} can't hold transparency: use {_listed(fit)}, or another fill")
    if kind.side is not None and size is not None and max(size) > kind.side:
        raise ImageError(
            f"{path}: {kind.name} holds at most {kind.side} pixels a side, and the picture has {size[0]}x{size[1]}: "
            "use .png"
        )
    Image.init()  # before it, Pillow knows no format at all
    if kind.name not in Image.SAVE:
        raise ImageError(
            f"{path}: the Pillow that is installed can't write {kind.name}; use .png, or another Pillow"
        )
    return kind


def _listed(suffixes: Iterable[str]) -> str:
    *others, last = suffixes
    return f"{', '.join(others)} or {last}"


def pad_to_blocks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W, 3] -> a new [16 ceil(H/16), 16 ceil(W/16), 3]; the last row and column are repeated.

    Each new pixel equals one of its own block, so padding carries nothing from one group to another.
    """
    _check_pixels(pixels, (3,))
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")


def to_blocks(padded: NDArray[_T]) -> NDArray[_T]:
    """[16 h, 16 w, 3] -> [h w, 4, 192]: blocks in raster order, their four 8x8 patches in raster order, and
    the values of a patch by row, column, channel. The inverse of `from_blocks`; any dtype.

    Raises:
        ImageError: sides that are not multiples of 16 (see `pad_to_blocks`).
    """
    if padded.ndim != 3 or padded.shape[2] != 3 or padded.shape[0] % BLOCK or padded.shape[1] % BLOCK:
        raise ImageError(f"expected [16 h, 16 w, 3], met {list(padded.shape)}: pad_to_blocks comes first")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    split = padded.reshape(rows, _PATCHES, PATCH, columns, _PATCHES, PATCH, 3)
    return split.transpose(0, 3, 1, 4, 2, 5, 6).reshape(rows * columns, _PATCHES**2, PATCH * PATCH * 3)


def from_blocks(blocks: NDArray[_T], height_blocks: int, width_blocks: int) -> NDArray[_T]:
    """[h w, 4, 192] -> [16 h, 16 w, 3]; the inverse of `to_blocks`.

    Raises:
        ImageError: the blocks don't have that shape.
    """
    expected = (height_blocks * width_blocks, _PATCHES**2, PATCH * PATCH * 3)
    if blocks.shape != expected:
        raise ImageError(f"expected blocks of shape {list(expected)}, met {list(blocks.shape)}")
    split = blocks.reshape(height_blocks, width_blocks, _PATCHES, _PATCHES, PATCH, PATCH, 3)
    return split.transpose(0, 2, 4, 1, 3, 5, 6).reshape(height_blocks * BLOCK, width_blocks * BLOCK, 3)


Fill = str | Sequence[int]
"""What stands where no group is: "black", "mean", "transparent", "#rrggbb" or (red, green, blue), 0 to 255."""


def compose(pixels: NDArray[np.uint8], present: NDArray[np.bool_], fill: Fill = "black") -> NDArray[np.uint8]:
    """Fills the pixels that are not present.

    Args:
        pixels: [H, W, 3] uint8; what it holds where `present` is false does not matter.
        present: [H, W] bool.
        fill: "black", "mean" (the mean colour of the present pixels, black if there are none), "transparent",
            "#rrggbb", or three integers from 0 to 255: red, green, blue.

    Returns:
        A new [H, W, 3], or [H, W, 4] for "transparent", where alpha is 0 or 255 and absent pixels are all 0.

    Raises:
        ImageError: another fill, or shapes that don't agree.
    """
    _check_pixels(pixels, (3,))
    _check_present(present, pixels.shape[:2])
    colour: Any = 0
    if not isinstance(fill, str):
        colour = _colour(fill)
    elif fill == "mean":
        total = np.count_nonzero(present)
        sums = [int(pixels[:, :, c].sum(where=present, dtype=np.int64)) for c in range(3)]
        colour = [(2 * s + total) // (2 * total) for s in sums] if total else 0
    elif re.fullmatch("#[0-9a-fA-F]{6}", fill):
        colour = list(bytes.fromhex(fill[1:]))
    elif fill not in ("black", "transparent"):
        raise ImageError(f'the fill is "{fill}"; it can be {_FILLS}')
    filled = np.where(present[:, :, None], pixels, np.array(colour, np.uint8))
    transparent = isinstance(fill, str) and fill == "transparent"
    return np.dstack([filled, present.astype(np.uint8) * 255]) if transparent else filled


def _colour(fill: object) -> list[int]:
    values = list(fill) if isinstance(fill, (Sequence, np.ndarray)) and np.ndim(fill) == 1 else []
    whole = all(map(is_whole, values))
    if len(values) != 3 or not whole or not all(0 <= v <= 255 for v in values):
        raise ImageError(f"the fill is {fill!r:.80}; it can be {_FILLS}, also as integers (32, 160, 255)")
    return [int(v) for v in values]


def check_fill(fill: Fill) -> bool:
    """Whether a fill makes pictures with alpha; `ImageError` if there is no such fill."""
    pixel = compose(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.bool_), fill)
    return pixel.shape[2] == 4


def crop_box(present: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), x1 and y1 exclusive, of the smallest box around the true pixels of [H, W].

    Raises:
        ImageError: no pixel is true.
    """
    _check_present(present, present.shape)
    rows, columns = np.flatnonzero(present.any(1)), np.flatnonzero(present.any(0))
    if not rows.size:
        raise ImageError("nothing to crop to: no pixel is present")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _read_file(path: Path) -> io.BytesIO:
    try:
        return io.BytesIO(path.read_bytes())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    gray = array.ndim == 2
    if array.dtype != np.uint8:
        advice = (
            "; for values in 0..1: (255 * a).round().astype(numpy.uint8)" if array.dtype.kind == "f" else ""
        )
        raise ImageError(f"a picture array must be uint8, not {array.dtype}{advice}")
    if not gray:
        _check_pixels(array, (3,))
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
        raise ImageError(f"{shown} can't be decoded: {_reason(error)}") from error
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


def _check_pixels(pixels: NDArray[Any], channels: tuple[int, ...]) -> None:
    shape = pixels.shape
    if pixels.dtype == np.uint8 and len(shape) == 3 and shape[2] in channels and pixels.size:
        return
    hint = ""
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        hint = "; channels come last: transpose(1, 2, 0)"
    elif len(shape) == 3 and shape[2] == 4:
        hint = "; alpha can't be coded: blend it with a background and pass [:, :, :3]"
    expected = " or ".join(f"[H, W, {n}]" for n in channels)
    raise ImageError(f"expected uint8 pixels {expected}, met {pixels.dtype} {list(shape)}{hint}")


def _check_present(present: NDArray[Any], shape: tuple[int, ...]) -> None:
    if present.dtype != np.bool_ or present.ndim != 2 or present.shape != shape:
        raise ImageError(f"expected present as bool {list(shape)}, met {present.dtype} {list(present.shape)}")


def _read_only(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels.flags.writeable = False
    return pixels


def _reason(error: Exception) -> str:
    # The address of a BytesIO tells nobody anything.
    return re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error)) or type(error).__name__
