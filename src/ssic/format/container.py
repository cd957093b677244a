"""Whole files: writing, reading segments, taking groups out and putting files together."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import listing
from ssic.blocks import ABSENT, block_grid
from ssic.errors import DamagedSegment, InvalidInput, MaskError, TruncatedFile, UnknownGroup
from ssic.format.head import read_head
from ssic.format.head_writer import head_bytes
from ssic.format.layout import (
    HIDDEN_NAME,
    ICC,
    MAX_SIZE,
    MODEL_ID_BYTES,
    SEAL_BYTES,
    SIGNATURE,
    default_order,
    is_hidden_name,
    is_tag,
)
from ssic.format.limits import DecodeLimits
from ssic.format.types import GroupEntry, Head, Segment
from ssic.names import class_of, default_name, text_fault
from ssic.storage.source import PIECE, Bytes, read_ranges, size_of


def read_segment(data: Bytes, head: Head, group_id: int) -> bytes:
    """The segment of one group, its checksum checked.

    Args:
        data: the file, or a prefix of it that holds the segment.

    Raises:
        UnknownGroup: the file has no such group.
        TruncatedFile: `data` ends before the segment does.
        DamagedSegment: the checksum fails.
    """
    intact, broken = read_segments(data, head, [group_id])
    if broken:
        raise broken[group_id]
    return intact[group_id]


def read_segments(
    data: Bytes, head: Head, ids: Iterable[int]
) -> tuple[dict[int, bytes], dict[int, DamagedSegment | TruncatedFile]]:
    """The segments of some groups, and for those that are damaged or cut off the error; neighbours are read together.

    Raises:
        UnknownGroup: the file has no such group.
    """
    entries = [_entry(head, group_id) for group_id in dict.fromkeys(ids)]
    size = size_of(data)
    broken: dict[int, DamagedSegment | TruncatedFile] = {}
    wanted = []
    for entry in entries:
        if size is not None and size < entry.offset + entry.length:
            broken[entry.id] = _cut_off(entry, size)
        else:
            wanted.append(entry)
    payloads = read_ranges(data, [range(e.offset, e.offset + e.length) for e in wanted])
    intact: dict[int, bytes] = {}
    for entry, payload in zip(wanted, payloads, strict=True):
        if len(payload) < entry.length:
            broken[entry.id] = _cut_off(entry, entry.offset + len(payload))
        elif (found := zlib.crc32(payload)) != entry.crc:
            broken[entry.id] = DamagedSegment(
                f'the segment of "{entry.name}" (bytes {entry.offset} to {entry.offset + entry.length}) has checksum '
                f"{found:08x}, the head says {entry.crc:08x}",
                [entry.name],
            )
        else:
            intact[entry.id] = payload
    return intact, broken


def _cut_off(entry: GroupEntry, size: int) -> TruncatedFile:
    end = entry.offset + entry.length
    return TruncatedFile(
        f'the file ends at byte {size}; the segment of "{entry.name}" takes {entry.offset} to {end}'
    )


def check(
    data: Bytes, head: Head, good: Callable[[GroupEntry, bytes], bool] | None = None
) -> list[GroupEntry]:
    """The groups whose segments are damaged or not wholly in `data`, or not `good`; empty when all is well."""
    # In a few reads, and yet never with all of a large file in memory.
    batches: list[list[int]] = [[]]
    held = 0
    for group_id in head.order:
        entry = _entry(head, group_id)
        if batches[-1] and held + entry.length > PIECE:
            batches.append([])
            held = 0
        batches[-1].append(group_id)
        held += entry.length
    bad: set[int] = set()
    for batch in batches:
        intact, broken = read_segments(data, head, batch)
        bad |= broken.keys()
        bad |= {i for i, segment in intact.items() if good is not None and not good(_entry(head, i), segment)}
    return [entry for entry in head.groups if entry.id in bad]


def _entry(head: Head, group_id: int) -> GroupEntry:
    for entry in head.groups:
        if entry.id == group_id:
            return entry
    known = ", ".join(str(entry.id) for entry in head.groups)
    raise UnknownGroup(f"there is no group {group_id}; the file has {known}")


def write_file(
    *,
    width: int,
    height: int,
    model_id: bytes,
    mask: NDArray[np.uint8],
    segments: Sequence[Segment],
    chunks: Mapping[str, bytes] | None = None,
    order: Sequence[int] | None = None,
    seal: bytes | None = None,
) -> bytes:
    """Assembles a file.

    Args:
        width, height: of the picture, in pixels.
        model_id: eight bytes.
        mask: block ids ``[ceil(height / 16), ceil(width / 16)]``; every id is that of a segment or `ABSENT`.
        segments: one per group, in any order.
        chunks: optional data by tag: "ICCP" (stored compressed), "EXIF", "XMPP", or four other letters.
        order: the ids in the order in which the segments shall lie; None for smallest first, 0 last.
        seal: suite and file id that the encrypted segments were bound to, 13 bytes; needed if there are any.

    Raises:
        MaskError: the mask has the wrong size, ids without segment, or segments without blocks.
        InvalidInput: any other argument can't be written.
    """
    stored = {tag: zlib.compress(body, 9) if tag == ICC else body for tag, body in (chunks or {}).items()}
    return _write(width, height, model_id, mask, segments, stored, order, seal)


def write_like(
    head: Head,
    segments: Sequence[Segment],
    *,
    mask: NDArray[np.uint8] | None = None,
    order: Sequence[int] | None = None,
    stored_chunks: Mapping[str, bytes] | None = None,
    seal: bytes | None = None,
) -> bytes:
    """A file that differs from that of `head` in what is given.

    Args:
        segments: all groups of the new file, in any order.
        mask: block ids, where they are others; the ids that occur may then be others, too.
        order: as in `write_file`; None for the default order.
        stored_chunks: all chunks of the new file, as they shall lie there.
        seal: needed if there are encrypted segments, and left out if there are none.
    """
    same = mask is None and sorted(segment.id for segment in segments) == [entry.id for entry in head.groups]
    return _write(
        head.width,
        head.height,
        head.model_id,
        head.mask if mask is None else mask,
        segments,
        stored_chunks or {},
        order,
        seal,
        head.coded_mask if same else None,
    )


def _write(
    width: int,
    height: int,
    model_id: bytes,
    mask: NDArray[np.uint8],
    segments: Sequence[Segment],
    stored_chunks: Mapping[str, bytes],
    order: Sequence[int] | None,
    seal: bytes | None = None,
    coded_mask: tuple[int, bytes] | None = None,
) -> bytes:
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
        raise InvalidInput(f"a picture of {width}x{height} can't be written; sizes go from 1 to {MAX_SIZE}")
    if len(model_id) != MODEL_ID_BYTES:
        raise InvalidInput(f"a model id has {MODEL_ID_BYTES} bytes, not {len(model_id)}")
    segments = sorted(segments, key=lambda segment: segment.id)
    _check_segments(segments)
    for tag in stored_chunks:
        if not is_tag(tag):
            raise InvalidInput(f"chunk tag {tag!r} is not four ASCII letters")
    if len(stored_chunks) > 255:
        raise InvalidInput(f"{len(stored_chunks)} chunks are more than 255")
    if not any(segment.encrypted for segment in segments):
        seal = None
    elif seal is None or len(seal) != SEAL_BYTES or seal[0] == 0:
        raise InvalidInput(
            f"encrypted groups need the seal that they were bound to: {SEAL_BYTES} bytes (Head.seal)"
        )
    blocks = _check_mask(mask, block_grid((width, height)), segments)

    ids = [segment.id for segment in segments]
    usual = default_order(blocks, ids)
    if order is None:
        places = usual
    elif sorted(order) == ids:
        places = [ids.index(group_id) for group_id in order]
    else:
        raise InvalidInput(f"order {list(order)} does not name each of the groups {ids} once")
    places_or_none = None if places == usual else places
    head = head_bytes(
        width, height, bytes(model_id), mask, segments, stored_chunks, places_or_none, seal, coded_mask
    )
    return b"".join([head, *(segments[i].payload for i in places)])


def _check_segments(segments: Sequence[Segment]) -> None:
    ids, names = [segment.id for segment in segments], [segment.name for segment in segments]
    if not segments:
        raise InvalidInput("a file needs a group")
    if ids[0] < 0 or ids[-1] >= ABSENT or len(set(ids)) < len(ids):
        raise InvalidInput(f"group ids must differ and lie in 0 .. {ABSENT - 1}, not {ids}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"group names must differ: {names}")
    for segment in segments:
        for text in (segment.name, segment.class_name):
            if text is not None and (fault := text_fault(text)):
                raise InvalidInput(f"name or class {text!a} of group {segment.id} {fault}")
        if segment.hidden and not segment.encrypted:
            raise InvalidInput(f"group {segment.id} is hidden, but not encrypted")
        telling = (segment.class_name, segment.score, segment.quality) != (None, None, 1)
        if segment.hidden and (telling or not is_hidden_name(segment.name)):
            raise InvalidInput(
                f'the hidden entry {segment.id} must be called "{HIDDEN_NAME}" or "{HIDDEN_NAME} 2", ..., with quality '
                "1, and neither class nor score"
            )
        if not 1 <= segment.quality <= 100:
            raise InvalidInput(f"quality {segment.quality} of group {segment.id} is not in 1 .. 100")
        score = segment.score
        if score is not None and not (math.isfinite(score) and 0 <= score <= 1):
            raise InvalidInput(f"score {score} of group {segment.id} is not in 0 .. 1")


def _check_mask(mask: NDArray[np.uint8], shape: tuple[int, int], segments: Sequence[Segment]) -> list[int]:
    """Blocks of each segment."""
    if mask.shape != shape or mask.dtype != np.uint8:
        raise MaskError(f"the mask must be uint8 {list(shape)}, not {mask.dtype} {list(mask.shape)}")
    counts = np.bincount(mask.ravel(), minlength=256).tolist()
    ids = [segment.id for segment in segments]
    if strays := [i for i in range(ABSENT) if counts[i] and i not in ids]:
        raise MaskError(f"the mask has ids {strays} for which there is no segment")
    if empty := [segment.name for segment in segments if not counts[segment.id]]:
        raise MaskError(f"groups without a block in the mask: {empty}")
    return [counts[i] for i in ids]


def segment_of(entry: GroupEntry, payload: bytes) -> Segment:
    """What to write for a group that was read."""
    about = entry.class_name, entry.score, entry.encrypted, entry.hidden
    return Segment(entry.id, entry.name, entry.quality, payload, *about)


def whole_segments(data: Bytes, head: Head, ids: Iterable[int]) -> dict[int, Segment]:
    """Groups as they would be written again.

    Raises:
        UnknownGroup, DamagedSegment, TruncatedFile: as `read_segment`, about the first that can't be read.
    """
    intact, broken = read_segments(data, head, ids)
    if broken:
        raise next(iter(broken.values()))
    return {e.id: segment_of(e, intact[e.id]) for e in head.groups if e.id in intact}


def segments_as_they_are(data: Bytes, head: Head) -> dict[int, Segment]:
    """All groups as they would be written again, the damaged ones so that their damage stays seen (`Segment.damage`).

    Raises:
        TruncatedFile: the file ends before one of the segments does.
    """
    intact, broken = read_segments(data, head, head.order)
    found: dict[int, Segment] = {}
    for entry in head.groups:
        error = broken.get(entry.id)
        if isinstance(error, TruncatedFile):
            raise error
        payload = bytes(data[entry.offset : entry.offset + entry.length]) if error else intact[entry.id]
        damage = zlib.crc32(payload) ^ entry.crc
        found[entry.id] = dataclasses.replace(segment_of(entry, payload), damage=damage)
    return found


def kept_chunks(head: Head, *, metadata: bool) -> dict[str, bytes]:
    """Chunks for a file that is another one: the ICC profile, and if `metadata` all but a signature of this one."""
    return {
        tag: body for tag, body in head.stored_chunks.items() if tag == ICC or (metadata and tag != SIGNATURE)
    }


def extract(
    data: Bytes,
    ids: Sequence[int],
    limits: DecodeLimits | None = None,
    *,
    metadata: bool = False,
    head: Head | None = None,
) -> bytes:
    """A file with only the groups `ids`, their segments byte for byte.

    All other blocks become `ABSENT`: nothing of the other groups is left, not even their outlines. For the
    same reason EXIF, XMP and unknown chunks are left out (they may hold a thumbnail of the whole picture)
    unless `metadata` is true. Ids, names and qualities stay; the segments keep their order.

    Args:
        data: the file, or a prefix of it that holds the wanted segments.
        head: of `data`, if it has been read already.

    Raises:
        UnknownGroup, InvalidInput (no ids), and what `read_head` and `read_segment` raise.
    """
    head = head or read_head(data, limits)
    wanted = set(ids)
    if not wanted:
        raise InvalidInput("extract needs at least one group")
    segments = whole_segments(data, head, wanted)
    if len(wanted) == len(head.groups) and (metadata or all(tag == ICC for tag in head.stored_chunks)):
        return _whole(data, head, segments)  # it is the same file, also where another writer made it
    keep = np.zeros(256, np.bool_)
    keep[list(wanted)] = True
    mask = np.where(keep[head.mask], head.mask, np.uint8(ABSENT))
    return write_like(
        head,
        list(segments.values()),
        mask=mask,
        order=[i for i in head.order if i in wanted],
        stored_chunks=kept_chunks(head, metadata=metadata),
        seal=head.seal,
    )


def _whole(data: Bytes, head: Head, segments: Mapping[int, Segment]) -> bytes:
    return b"".join([bytes(data[: head.head_bytes]), *(segments[i].payload for i in head.order)])


def merge(files: Sequence[Bytes], limits: DecodeLimits | None = None) -> bytes:
    """One file with the groups of all `files`, for instance of several `extract`\\ s of the same picture.

    Where ids or names meet, the first file keeps its own; later ones get a free id, and a name with a free
    number ("person 2"). Each chunk comes from the first file that has it, but signatures are left out. Segments
    lie in the default order. Encrypted groups are bound to id, name and file id: they stay as they are.

    Raises:
        InvalidInput: no files, other size or other model than the first; encrypted groups of different file ids,
            or one that would have to get another id or name.
        MaskError: two groups own the same block (the message names them, and counts the files from 1), or there are
            more than 255 groups.
        FormatError: as `read_head` and `read_segment` raise it.
    """
    heads = [read_head(data, limits) for data in files]
    if not heads:
        raise InvalidInput("merge needs at least one file")
    first = heads[0]
    mask = np.full(first.mask.shape, ABSENT, np.uint8)
    segments: dict[int, Segment] = {}
    source: dict[int, int] = {}  # the file that each comes from
    chunks: dict[str, bytes] = {}
    used = {entry.id for head in heads for entry in head.groups}
    seals = {head.seal: number for number, head in enumerate(heads) if head.seal is not None}
    if len(seals) > 1:
        raise InvalidInput(
            f"the encrypted groups of {' and '.join(map(_nth, seals.values()))} were sealed apart and are "
            "bound to their own files: decrypt all but one first"
        )
    free_ids = (i for i in range(1, ABSENT) if i not in used)
    for number, (data, head) in enumerate(zip(files, heads, strict=True)):
        if (head.width, head.height, head.model_id) != (first.width, first.height, first.model_id):
            raise InvalidInput(
                f"{_nth(number)} is {head.width}x{head.height} with model {head.model_id.hex()}, {_nth(0)} is "
                f"{first.width}x{first.height} with model {first.model_id.hex()}"
            )
        both = (mask != ABSENT) & (head.mask != ABSENT)
        if both.any():
            held = np.unique(mask[both]).tolist()
            mine = [f'"{segments[i].name}"' for i in held]
            owners = " and ".join(_nth(n) for n in sorted({source[i] for i in held}))
            theirs = [f'"{_entry(head, i).name}"' for i in np.unique(head.mask[both]).tolist()]
            raise MaskError(
                f"{listing(theirs, 9)} of {_nth(number)} and {listing(mine, 9)} of {owners} own {both.sum():,} of the "
                "same blocks: leave them out of one of the files (extract or drop)"
            )
        names = {segment.name for segment in segments.values()}
        taken = names | {entry.name for entry in head.groups}
        own = whole_segments(data, head, head.order)
        for entry in head.groups:
            segment = own[entry.id]
            group_id, name = entry.id, entry.name
            if group_id in segments:
                group_id = next(free_ids, ABSENT)
                if group_id == ABSENT:
                    raise MaskError(f"the files have more than {ABSENT} groups together")
            if group_id != entry.id and name == default_name(entry.id) and entry.id != 0:
                name = default_name(group_id)
            if name in names:
                name = _free_name(name, taken)
            if entry.encrypted and (group_id, name) != (entry.id, entry.name):
                raise InvalidInput(
                    f'{_nth(number)} has the encrypted group {entry.id} "{entry.name}", whose id or name is taken by '
                    f"an earlier file: name {_nth(number)} first, so that others give way, or decrypt it"
                )
            names.add(name)
            taken.add(name)
            mask[head.mask == entry.id] = group_id
            segments[group_id] = dataclasses.replace(segment, id=group_id, name=name)
            source[group_id] = number
        for tag, body in head.stored_chunks.items():
            if tag != SIGNATURE or len(heads) == 1:
                chunks.setdefault(tag, body)
    parts = list(segments.values())
    return _write(
        first.width, first.height, first.model_id, mask, parts, chunks, None, next(iter(seals), None)
    )


def _nth(index: int) -> str:
    return f"file {index + 1}"


def _free_name(name: str, taken: set[str]) -> str:
    base = class_of(name)
    candidates = (f"{base} {number}" for number in range(2, len(taken) + 3))
    return next(candidate for candidate in candidates if candidate not in taken)
