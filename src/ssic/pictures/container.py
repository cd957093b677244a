"""What a file says of its picture before anything is decoded: what Pillow reads past, or only tells by what is lost.

All of it comes from strangers: what can't be parsed is None, and decoding says what is wrong with such a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Box = tuple[int, int, int, int]

_DEEPEST_IFD = 64
"""How many directories of a TIFF are looked at."""
_MOST_BOXES = 4096

_THUMBNAIL, _BITS, _PHOTOMETRIC, _SAMPLES = 254, 258, 262, 277
_EXTRA, _SUB_IFDS, _DNG_VERSION = 338, 330, 50706
_SENSOR = (32803, 34892)
"""Photometric interpretations of what a sensor saw: a mosaic of colour filters, and linear raw."""
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""By photometric interpretation: samples that a pixel has beside extra ones."""


@dataclass(frozen=True)
class Heif:
    """The primary item of an AVIF or HEIC file.

    Attributes:
        bits: of a channel, the deepest; None where the file does not say.
        clean: (x, y, width, height) of the clean aperture as fractions (numerator, denominator) each: width, height,
            horizontal and vertical offset of the centre, as they stand in the box; None if there is none.
    """

    bits: int | None
    clean: tuple[tuple[int, int], ...] | None


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the boxes of ISO 14496-12 between two places, without their headers."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if length == 0 else start + length
        if length and length < head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def heif_facts(data: bytes) -> Heif | None:
    """Of an AVIF or HEIC file: depth and clean aperture; None for other files."""
    if data[4:8] != b"ftyp":
        return None
    try:
        return _heif_facts(data)
    except (struct.error, IndexError, OverflowError):
        return Heif(None, None)


def _heif_facts(data: bytes) -> Heif:
    top = {kind: (a, b) for kind, a, b in boxes(data, 0, len(data))}
    if b"meta" not in top:
        # A sequence without a still picture: its codec configuration lies in the description of the track.
        moov = data[slice(*top.get(b"moov", (0, 0)))]
        return Heif(_coded_bits(moov), None)
    start, end = top[b"meta"]
    meta = {kind: (a, b) for kind, a, b in boxes(data, start + 4, end)}
    item = _primary(data, meta[b"pitm"][0]) if b"pitm" in meta else None
    if b"iprp" not in meta:
        return Heif(None, None)
    parts = {kind: (a, b) for kind, a, b in boxes(data, *meta[b"iprp"])}
    if b"ipco" not in parts or b"ipma" not in parts:
        return Heif(None, None)
    properties = list(boxes(data, *parts[b"ipco"]))
    mine = [properties[n - 1] for n in _associated(data, parts[b"ipma"][0], item) if 0 < n <= len(properties)]
    depths = [bits for kind, a, b in mine if (bits := _bits(kind, data[a:b]))]
    if not depths:  # a grid that leaves it to its tiles
        depths = [bits for kind, a, b in properties if (bits := _bits(kind, data[a:b]))]
    clean = [struct.unpack_from(">IIIIiIiI", data, a) for kind, a, b in mine if kind == b"clap"]
    pairs = tuple(zip(clean[0][::2], clean[0][1::2], strict=True)) if clean else None
    return Heif(max(depths, default=None), pairs)


def _primary(data: bytes, at: int) -> int:
    form = ">H" if data[at] == 0 else ">I"
    return int(struct.unpack_from(form, data, at + 4)[0])


def _associated(data: bytes, at: int, item: int | None) -> list[int]:
    """Numbers, from 1, of the properties of an item."""
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(count, _MOST_BOXES)):
        (number,) = struct.unpack_from(">H" if version == 0 else ">I", data, at)
        at += 2 if version == 0 else 4
        many, at = data[at], at + 1
        found = struct.unpack_from(f">{many}{'H' if wide else 'B'}", data, at)
        at += many * (2 if wide else 1)
        if number == item:
            return [n & (0x7FFF if wide else 0x7F) for n in found]
    return []


def _bits(kind: bytes, body: bytes) -> int | None:
    if kind == b"pixi" and len(body) > 5:
        return max(body[5 : 5 + body[4]], default=None)
    if kind == b"av1C" and len(body) > 2:
        return (12 if body[2] & 0x20 else 10) if body[2] & 0x40 else 8
    if kind == b"hvcC" and len(body) > 18:
        return 8 + max(body[17] & 7, body[18] & 7)
    return None


def _coded_bits(track: bytes) -> int | None:
    for kind in (b"av1C", b"hvcC"):
        if (at := track.find(kind)) >= 0:
            return _bits(kind, track[at + 4 : at + 32])
    return None


def clean_box(clean: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Box | None:
    """(left, top, right, bottom) that a clean aperture leaves of (width, height); None if it leaves no whole pixels."""
    edges = []
    for (extent, parts), (offset, of), side in zip(clean[:2], clean[2:], size, strict=True):
        if not parts or not of or extent % parts or extent // parts > side:
            return None
        length = extent // parts
        # The centre of the picture lies at (side - 1) / 2, that of the aperture `offset / of` beyond it.
        twice = (side - length) * of + 2 * offset
        if twice % (2 * of):
            return None
        start = twice // (2 * of)
        edges.append((start, start + length))
    (left, right), (top, bottom) = edges
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        return None
    return left, top, right, bottom


def jpeg2000_bits(data: bytes) -> int | None:
    """Bits of the deepest component of a JPEG 2000 file; None for other files."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or not (start == 0 or data[4:8] == b"jP  "):
        return None
    (count,) = struct.unpack_from(">H", data.ljust(start + 42, b"\0"), start + 40)
    depths = data[start + 42 : start + 42 + 3 * count : 3]
    return max(((d & 0x7F) + 1 for d in depths), default=None)


@dataclass(frozen=True)
class Tiff:
    """What the directories of a TIFF say.

    Attributes:
        raw: it is a camera's raw file.
        thumbnail: the first picture is a smaller version of another.
        others: pages beside the first that are no smaller versions or masks of others.
    """

    raw: bool
    thumbnail: bool
    others: int


def tiff_facts(data: bytes) -> Tiff | None:
    """Of a TIFF, as it is or as the base of a raw file; None for other files."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    try:
        chain = list(_chain(data, order, big, _first_ifd(data, order, big)))
        below = [
            ifd
            for page in chain[:4]
            for at in page.get(_SUB_IFDS, ())[:8]
            for ifd in _chain(data, order, big, at)
        ]
    except (struct.error, IndexError, OverflowError):
        return None
    if not chain:
        return None
    first = chain[0]
    return Tiff(
        raw=_DNG_VERSION in first
        or data[8:10] == b"CR"
        or any(_one(ifd, _PHOTOMETRIC, -1) in _SENSOR for ifd in (*chain, *below)),
        thumbnail=bool(_one(first, _THUMBNAIL, 0) & 1),
        others=sum(not _one(ifd, _THUMBNAIL, 0) & 5 for ifd in chain[1:]),
    )


def extra_samples(tags: Mapping[int, Any]) -> int:
    """Samples of a pixel that are neither colour nor declared as alpha, from the tags of a page as Pillow has them."""
    samples = int(tags.get(_SAMPLES, 1))
    beside = max(0, samples - _COLOURS.get(tags.get(_PHOTOMETRIC, -1), samples))
    extras = tags.get(_EXTRA, ())
    alpha = beside == 1 and len(extras) == 1 and extras[0] in (1, 2)
    return 0 if alpha else beside


def tiff_bits(tags: Mapping[int, Any]) -> int:
    """Bits of the deepest sample, likewise."""
    return max(tags.get(_BITS, (1,)), default=1)


def _one(ifd: dict[int, tuple[int, ...]], tag: int, default: int) -> int:
    return next(iter(ifd.get(tag, ())), default)


def _first_ifd(data: bytes, order: str, big: bool) -> int:
    return int(struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0])


def _chain(data: bytes, order: str, big: bool, at: int) -> Iterator[dict[int, tuple[int, ...]]]:
    """The directories from one on, as tag -> integers; of what is not integers nothing."""
    seen: set[int] = set()
    wide = "Q" if big else "I"
    while at and at not in seen and len(seen) < _DEEPEST_IFD:
        seen.add(at)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        entries: dict[int, tuple[int, ...]] = {}
        for _ in range(min(count, _MOST_BOXES)):
            tag, kind, number = struct.unpack_from(f"{order}HH{wide}", data, at)
            place = at + (12 if big else 8)
            letter: Any = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
            if letter and number <= 1024:
                if struct.calcsize(letter) * number > (8 if big else 4):
                    (place,) = struct.unpack_from(order + wide, data, place)
                entries[tag] = struct.unpack_from(f"{order}{number}{letter}", data, place)
            at += 20 if big else 12
        yield entries
        (at,) = struct.unpack_from(order + wide, data, at)
