"""From more than 8 bits a channel to 8: only where somebody asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.errors import ImageError

To8Bit = Literal["round", "dither"]
"""How values become 8-bit ones: the nearest, or one of the two nearest in such proportions that the mean is kept."""

# Rawmodes of Pillow unpack the upper bytes of 16-bit samples. Unpacked in the other byte order the same bytes give
# the lower ones, so that two passes have the whole value.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}


_PLANES = {"R", "G", "B", "A"}


def check_to_8_bit(how: object) -> None:
    """`ImageError` if there is no such way."""
    if how is not None and (not isinstance(how, str) or how not in ("round", "dither")):
        raise ImageError(f'to_8_bit is {how!r:.80}; it can be "round" or "dither"')


def reduced(values: NDArray[Any], top: int, how: To8Bit) -> NDArray[np.uint8]:
    """Integers 0..top, [H, W] or [H, W, C] -> 0..255.

    Dithering is ordered: a threshold for each place, in a pattern of 16x16 pixels. What a pixel becomes depends on it
    and its place alone, so that no group's pixels carry anything of another's, as they would if errors were spread.
    """
    threshold: NDArray[np.float32] = np.full((1, 1), 0.5, np.float32)
    if how == "dither":
        rows, columns = (-(-n // 16) for n in values.shape[:2])
        threshold = np.tile(_bayer(), (rows, columns))[: values.shape[0], : values.shape[1]]
    if values.ndim == 3:
        threshold = threshold[:, :, None]
    found = np.empty(values.shape, np.uint8)
    step = max(1, 2**22 // max(1, values[0].size))  # strips bound the memory
    for at in range(0, len(values), step):
        strip = threshold[at : at + step] if how == "dither" else threshold
        scaled = values[at : at + step].astype(np.float32) * np.float32(255 / top)
        # float32 leaves errors of 2e-5 on 255, and whole levels must stay what they are under any threshold.
        found[at : at + step] = np.floor(scaled + np.float32(1e-4) + strip).clip(0, 255)
    return found


def _bayer() -> NDArray[np.float32]:
    """[16, 16]: each of 0/256 ... 255/256 once, neighbours far apart."""
    pattern = np.zeros((1, 1))
    while len(pattern) < 16:
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    return (pattern / 256).astype(np.float32)


def bring_to_8_bit(
    image: Image.Image, how: To8Bit, shown: str, again: Callable[[], Image.Image] | None
) -> Image.Image:
    """A picture that is deeper, not loaded yet, in 8 bits.

    Args:
        again: opens the same picture anew, or None if that can't be done.

    Raises:
        ImageError: values of no known range, or dithering where Pillow hands over 8 bits only.
    """
    rawmode = _rawmode(image)
    if rawmode in _PLANES:
        rawmode = _as_planes_of_16_bits(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and ("16" in rawmode or image.format == "PPM")):
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 65535:
            return keep_facts(image, Image.fromarray(reduced(values, 65535, how)))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise ImageError(
            f"{shown} has whole or broken numbers of no stated range (mode {image.mode}): scale them to 0..255 "
            "and pass them as uint8"
        )
    # Of compressed planes Pillow has the upper bytes only, whatever it is told.
    planes = image.tile[0][0] == "libtiff" and image.tag_v2.get(284) == 2 if rawmode else False  # type: ignore[attr-defined]
    if ";16" in rawmode and again is not None and not planes:
        upper, lower = _bytes_of_samples(image, rawmode, again)
        whole = reduced(upper.astype(np.uint16) << 8 | lower, 65535, how)
        if whole.ndim == 3 and whole.shape[2] == 2:  # gray and alpha
            return keep_facts(image, Image.fromarray(whole, "LA"))
        return keep_facts(
            image, Image.fromarray(whole if whole.ndim == 2 else np.ascontiguousarray(whole), image.mode)
        )
    if how == "dither":
        raise ImageError(
            f"{shown} can't be dithered: of {image.format or 'such'} pictures Pillow gives 8 bits only; to_8_bit="
            '"round" (--to-8-bit round) takes those'
        )
    return image


def _as_planes_of_16_bits(image: Image.Image) -> str:
    """Pillow takes uncompressed planes of 16-bit samples for ones of 8 bits: tell it what they are."""
    order = ";16L" if image.tag_v2.prefix == b"II" else ";16B"  # type: ignore[attr-defined]
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(tile[3][0] + order, *tile[3][1:])) if tile[3][0] in _PLANES else tile
        for tile in image.tile  # type: ignore[attr-defined]
    ]
    return _rawmode(image)


def _rawmode(image: Image.Image) -> str:
    tiles: list[Any] = getattr(image, "tile", None) or []
    args = tiles[0][3] if tiles else ""
    return str(args if isinstance(args, str) else next(iter(args or ("",)), ""))


def _bytes_of_samples(
    image: Image.Image, rawmode: str, again: Callable[[], Image.Image]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upper and lower bytes of 16-bit samples."""
    if rawmode == "LA;16B":  # as PNG has it; four bytes, as RGBA has
        pair = again()
        pair.tile = [tile._replace(args="RGBA") for tile in pair.tile]  # type: ignore[attr-defined]
        both = np.asarray(pair)
        return both[:, :, ::2], both[:, :, 1::2]
    other = again()
    if _rawmode(other) in _PLANES:
        _as_planes_of_16_bits(other)
    other.tile = [_swapped(tile) for tile in other.tile]  # type: ignore[attr-defined]
    return np.asarray(image), np.asarray(other)


def _swapped(tile: Any) -> Any:
    args = tile[3]
    mode = args if isinstance(args, str) else args[0]
    turned = mode[:-1] + _OTHER_ORDER[mode[-1]]
    return tile._replace(args=turned if isinstance(args, str) else (turned, *args[1:]))


def keep_facts(image: Image.Image, found: Image.Image) -> Image.Image:
    """`found` with profile, orientation and all else that is said of `image`."""
    found.info = dict(image.info)
    if exif := image.getexif():
        found.info["exif"] = exif.tobytes()
    found.format = image.format
    return found
