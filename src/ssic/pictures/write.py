"""Writing pictures, in the format of their path's extension."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.blocks import check_pixels
from ssic.errors import ImageError
from ssic.pictures.formats import reason


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


# Pillow's defaults are made for small files; here the loss has already been paid for once.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
}


class DroppedProfile(UserWarning):
    """A picture was written in a format that holds no colour profile, and its own was left out."""


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
    check_pixels(pixels, (3, 4))
    kind = picture_kind(path, alpha=pixels.shape[2] == 4, size=pixels.shape[1::-1])
    options = dict(_OPTIONS.get(kind.name, {}))
    if icc is not None and kind.icc:
        options["icc_profile"] = icc
    file = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind.name, **options)
    except Exception as error:
        raise ImageError(f"{path} can't be written: {reason(error)}") from error
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
