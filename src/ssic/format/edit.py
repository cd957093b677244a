"""Changing a file without decoding it: groups dropped, put in another order, or given another segment.

Segments that stay are copied byte for byte, sealed ones too; a signature of the file as it was does not stay. A
segment that is damaged is refused, not copied: its checksum would be made anew, and the damage would pass for content.
(Dropping or replacing the group is what helps.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssic.blocks import ABSENT
from ssic.errors import EncryptedSegment, InvalidInput, UnknownGroup
from ssic.format.container import extract, kept_chunks, whole_segments, write_like
from ssic.format.head import read_head
from ssic.format.layout import whole_order
from ssic.format.limits import DecodeLimits
from ssic.format.types import Head, Segment
from ssic.names import class_of, numbered
from ssic.storage.source import Bytes


@dataclass(frozen=True)
class Replacement:
    """What takes the place of a group's segment."""

    payload: bytes
    """The new substream."""
    quality: int
    """1 to 100; that with which it was coded."""


def drop(
    data: Bytes,
    ids: Sequence[int],
    limits: DecodeLimits | None = None,
    *,
    metadata: bool = False,
    head: Head | None = None,
) -> bytes:
    """A file without the groups `ids`: what `extract` of all others gives. They are not read: they may be damaged.

    Raises:
        InvalidInput: no group would be left.
        UnknownGroup, and what `read_head` and `read_segment` raise.
    """
    head = head or read_head(data, limits)
    _check_ids(head, ids)
    rest = [entry.id for entry in head.groups if entry.id not in set(ids)]
    if not rest:
        raise InvalidInput("no group would be left: a file needs one")
    return extract(data, rest, metadata=metadata, head=head)


def reorder(
    data: Bytes, first: Sequence[int], limits: DecodeLimits | None = None, *, head: Head | None = None
) -> bytes:
    """The same file with the segments of the groups `first` first, in that order; the others follow in the default
    order, smallest first, 0 last.

    Raises:
        UnknownGroup, and what `read_head` and `read_segment` raise.
    """
    head = head or read_head(data, limits)
    _check_ids(head, first)
    order = whole_order({entry.id: entry.blocks for entry in head.groups}, first)
    segments = whole_segments(data, head, head.order)
    same = order == list(head.order)
    return write_like(
        head,
        list(segments.values()),
        order=order,
        stored_chunks=head.stored_chunks if same else kept_chunks(head, metadata=True),
        seal=head.seal,
    )


def replace(
    data: Bytes,
    replacements: Mapping[int, Replacement],
    limits: DecodeLimits | None = None,
    *,
    metadata: bool = True,
    head: Head | None = None,
) -> bytes:
    """The same file with other segments for some groups. Their old ones are not read: they may be damaged.

    Args:
        metadata: keep EXIF, XMP and unknown chunks, which may hold a thumbnail of what was replaced.

    Raises:
        EncryptedSegment: one of the groups is sealed; what takes its place would not be.
        UnknownGroup, and what `read_head` and `read_segment` raise.
    """
    head = head or read_head(data, limits)
    check_clear(head, list(replacements))
    stay = whole_segments(data, head, [i for i in head.order if i not in replacements])
    segments = list(stay.values())
    for e in head.groups:
        if (new := replacements.get(e.id)) is not None:
            segments.append(Segment(e.id, e.name, new.quality, new.payload, e.class_name, e.score))
    chunks = kept_chunks(head, metadata=metadata)
    return write_like(head, segments, order=head.order, stored_chunks=chunks, seal=head.seal)


def check_clear(head: Head, ids: Sequence[int]) -> None:
    """
    Raises:
        UnknownGroup, EncryptedSegment: about groups that there aren't, or whose segments are sealed.
    """
    _check_ids(head, ids)
    if sealed := [entry.name for entry in head.groups if entry.id in ids and entry.encrypted]:
        raise EncryptedSegment(f"encrypted: {', '.join(sealed)}; decrypt first, or drop them")


def _check_ids(head: Head, ids: Sequence[int]) -> None:
    known = [entry.id for entry in head.groups]
    if strays := [i for i in ids if i not in known]:
        raise UnknownGroup(f"there are no groups {strays}; the file has {', '.join(map(str, known))}")


def renumber(
    data: Bytes,
    last: Sequence[int],
    limits: DecodeLimits | None = None,
    *,
    metadata: bool = False,
    head: Head | None = None,
) -> bytes:
    """The same picture with ids without gaps, and names without gaps in their numbers ("person 1, person 2"), first for
    all groups but `last`, then for these: so nothing shows when `last` are hidden. Segments stay byte for byte.

    Args:
        last: ids of the groups that are to be hidden.
        metadata: keep EXIF, XMP and unknown chunks.

    Raises:
        EncryptedSegment: a group is sealed, and so bound to its id and name.
        UnknownGroup, and what `read_head` and `read_segment` raise.
    """
    head = head or read_head(data, limits)
    _check_ids(head, last)
    check_clear(head, [entry.id for entry in head.groups])
    segments = whole_segments(data, head, head.order)
    first = [i for i in segments if i not in set(last)]
    new_names: dict[int, str] = {}
    for ids in (first, [i for i in segments if i in set(last)]):
        bases = [class_of(segments[i].name) for i in ids]
        taken = set(new_names.values())
        new_names |= dict(zip(ids, _unique(bases, taken), strict=True))
    places = [*first, *(i for i in segments if i not in first)]
    # One id stays free between them: that of the hidden entry.
    shift = 0 if 0 in first else 1
    new_ids = {old: at + shift + (at >= len(first) > 0) for at, old in enumerate(places)}
    lookup = np.full(256, ABSENT, np.uint8)
    for old, new in new_ids.items():
        lookup[old] = new
    changed = [dataclasses.replace(segments[i], id=new_ids[i], name=new_names[i]) for i in segments]
    return write_like(
        head,
        changed,
        mask=lookup[head.mask],
        order=[new_ids[i] for i in head.order],
        stored_chunks=kept_chunks(head, metadata=metadata),
    )


def _unique(bases: Sequence[str], taken: set[str]) -> list[str]:
    """Names for groups of these bases, numbered where there are several, none of them `taken`."""
    names = numbered(bases, reserved=())
    out: list[str] = []
    for base, name in zip(bases, names, strict=True):
        chosen, number = name, 1
        beside = chosen == base and any(class_of(other) == base for other in taken)
        while beside or chosen in taken or chosen in out:
            beside = False
            number += 1
            chosen = f"{base} {number}"
        out.append(chosen)
    return out
