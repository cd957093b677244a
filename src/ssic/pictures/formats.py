"""The formats of pictures: which one a file is in, opening it within a limit of our own, and the way out where none
fits."""

from __future__ import annotations

import io
import re
import struct
import warnings
from typing import Any

import numpy as np
from PIL import Image

from ssic.errors import ImageError
from ssic.imports import optional
from ssic.pictures.depth import To8Bit, reduced

MAX_PIXELS = 2**28
"""Pixels that a picture may have unless more are asked for: 268 million. The largest of phones have 200."""

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_ADVICE = (
    (rb"FUJIFILMCCD-RAW|II[RU][OS\0]|\0MRM|....ftypcrx", "a camera's raw file: develop it first, for example with "
     "darktable, RawTherapee or rawpy"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL: convert it first, for example with: djxl IN OUT.png"),
    (rb"%PDF|\s*<svg|\s*<\?xml", "a document or drawing: render it first, for example with: magick IN OUT.png"),
    (rb"....ftypavi[fs]", "AVIF, which this Pillow can't read: version 11.3 and later ones can"),
    (rb"....ftyp(isom|mp4|qt  |M4V|avc1)", "a video: take a picture out of it first, for example with: "
     "ffmpeg -i IN -frames:v 1 OUT.png"),
)  # fmt: skip
"""By what files begin with: formats that Pillow does not read, and what to do."""


class OtherPictures(UserWarning):
    """A file holds several pictures, and the one that it calls the main one was taken."""


def brands(data: bytes) -> set[bytes]:
    """What an ISO media file (AVIF, HEIC, video) says that it is; nothing for other files."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 512, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def is_heic(data: bytes) -> bool:
    """Whether it is for pillow-heif."""
    found = brands(data)
    return bool(found & _HEIC) and not found & _AVIF


def open_image(data: bytes, shown: str, max_pixels: int) -> Image.Image:
    """The picture in the bytes of a file, not decoded yet.

    Pillow's own limit, a variable of the whole process, is neither used nor changed.

    Raises:
        ImageError: no format that Pillow knows, broken, or of more pixels than `max_pixels`.
    """
    for load in (Image.preinit, Image.init):  # the common formats, then all
        load()
        for name in Image.ID:
            if (image := _opened_as(name, data, shown)) is not None:
                check_size(image.size, shown, max_pixels)
                return image
    for pattern, advice in _ADVICE:
        if re.match(pattern, data[:64], re.DOTALL):
            raise ImageError(f"{shown} can't be read as a picture: it is {advice}")
    raise ImageError(f"{shown} can't be read as a picture: it is in no format that Pillow knows, or broken")


def _opened_as(name: str, data: bytes, shown: str) -> Image.Image | None:
    """The picture as one of Pillow's plugins reads it; None if it is not for it."""
    make, accept = Image.OPEN[name]
    try:
        fits: Any = accept is None or accept(data[:16])
        return make(io.BytesIO(data), "") if fits and not isinstance(fits, str) else None  # text says why not
    except (SyntaxError, IndexError, TypeError, struct.error):  # how plugins say: not mine
        return None
    except Exception as error:  # the rest is almost anything, on a broken file
        raise ImageError(f"{shown} can't be read as a picture: {reason(error)}") from error


def check_size(size: tuple[int, int], shown: str, max_pixels: int) -> None:
    """`ImageError` if a picture of (width, height) has more pixels than that."""
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            f"{shown} has {size[0]}x{size[1]} pixels, more than {max_pixels:,}; if you trust it, allow more "
            "with max_pixels (--max-pixels)"
        )


def open_heic(
    data: bytes, shown: str, max_pixels: int, frame: int | None, to_8_bit: To8Bit | None
) -> Image.Image:
    """A picture of a HEIC file, upright, in 8 bits.

    Raises:
        ImageError: pillow-heif is not installed, the file is broken or has no such picture, it has more pixels than
            `max_pixels`, or more than 8 bits and `to_8_bit` does not say how to lose them.
    """
    heif = optional("pillow_heif", "heic", ImageError, f"{shown} is a HEIC file: reading it")
    try:
        opened = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        if frame is None and len(opened) > 1:
            warnings.warn(
                f"{shown} holds {len(opened)} pictures; the main one is taken, and frame (--frame) names another",
                OtherPictures,
                stacklevel=2,
            )
        number = opened.primary_index if frame is None else frame
        if not 0 <= number < len(opened):
            raise ImageError(f"{shown} has no picture {number}: it has {len(opened)}, counted from 0")
        picked = opened[number]
        check_size(picked.size, shown, max_pixels)
        bits = int(picked.info.get("bit_depth", 8))
        if bits <= 8:
            image: Image.Image = picked.to_pillow()
            return image
        if to_8_bit is None:
            raise too_deep(shown, f"{bits} bits")
        values = np.asarray(picked) >> (16 - bits)  # libheif's samples lie in the upper bits
        image = Image.fromarray(reduced(values, 2**bits - 1, to_8_bit), picked.mode.partition(";")[0])
        image.info["icc_profile"] = picked.info.get("icc_profile")
        return image
    except ImageError:
        raise
    except Exception as error:  # libheif's errors are of many kinds
        raise ImageError(f"{shown} can't be decoded: {reason(error)}") from error


def too_deep(shown: str, what: str) -> ImageError:
    """The error that more than 8 bits a channel are."""
    return ImageError(
        f"{shown} has more than 8 bits per channel ({what}), which would be lost: to_8_bit (--to-8-bit round, or "
        "dither) converts it aloud"
    )


def reason(error: Exception) -> str:
    """What an error of Pillow says."""
    # The address of a BytesIO tells nobody anything.
    return re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error)) or type(error).__name__
