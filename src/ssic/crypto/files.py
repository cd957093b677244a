"""Whole files: sealing groups, opening them, sealing for others, and seeing what one's keys show. Groups go by id."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_whole
from ssic.blocks import ABSENT
from ssic.crypto.sealed import (
    DEFAULT_PLACE,
    Inner,
    SealedGroup,
    neutral,
    open_group,
    open_with,
    pack_parts,
    read_inner,
    seal_group,
    unpack,
    unpack_parts,
    unwrap,
    wrong_key,
)
from ssic.crypto.wrap import Keyring, Wrapper, suite_named, suite_of
from ssic.errors import DamagedSegment, EncryptedSegment, InvalidInput
from ssic.format.container import kept_chunks, whole_segments, write_like
from ssic.format.head import read_head
from ssic.format.layout import SEAL_BYTES, whole_order
from ssic.format.limits import DecodeLimits
from ssic.format.types import GroupEntry, Head, Segment
from ssic.storage.source import Bytes

Hide = Literal["nothing", "names", "outline"]
FILE_ID_BYTES = SEAL_BYTES - 1


def encrypt(
    data: Bytes,
    choose: Callable[[Head], Collection[int]],
    wrapper: Wrapper,
    *,
    hide: Hide = "nothing",
    version: int = 0,
    cipher: str | None = None,
    metadata: bool = False,
    limits: DecodeLimits | None = None,
) -> bytes:
    """The same file with groups sealed; see `ssic.encrypt`.

    Args:
        choose: from the head, the ids of the groups to seal.
    """
    head = read_head(data, limits)
    ids = choose(head)
    segments = whole_segments(data, head, head.order)
    if sealed := [segments[i].name for i in ids if segments[i].encrypted]:
        raise InvalidInput(f"sealed already: {', '.join(sealed)}; rewrap seals for others, decrypt undoes it")
    if not ids:
        raise InvalidInput("no group was named to be encrypted")
    if not is_whole(version) or not 0 <= version < 2**63:
        raise InvalidInput(f"the version {version!r:.80} is not an integer in 0 .. 2^63 - 1")
    seal = _seal(head, cipher)
    chunks = kept_chunks(head, metadata=metadata)
    if hide == "nothing":
        for i in ids:
            group = replace(segments[i], encrypted=True)
            segments[i] = replace(group, payload=seal_group(head, seal, group, wrapper, version).pack())
        return write_like(head, list(segments.values()), order=head.order, stored_chunks=chunks, seal=seal)
    if hide not in ("names", "outline"):
        raise InvalidInput(f'hide is "nothing", "names" or "outline", not {hide!r}')

    usual = _is_default(head)
    mask, order = head.mask.copy(), list(head.order)
    inside = [i for i in head.order if i in ids]  # in the order of their segments
    for bundle in [inside] if hide == "outline" else [[i] for i in inside]:
        public = _neutral_entry(head, segments)
        parts = []
        for i in bundle:
            place = DEFAULT_PLACE if usual else head.order.index(i)
            inner = Inner(segments.pop(i), head.mask == i, place)
            parts.append(seal_group(head, seal, replace(public, payload=inner.pack()), wrapper, version))
            mask[inner.blocks] = public.id
        segments[public.id] = replace(public, payload=pack_parts(parts))
        order[order.index(bundle[0])] = public.id
        order = [i for i in order if i not in bundle]
    return write_like(
        head,
        list(segments.values()),
        mask=mask,
        order=None if usual else order,
        stored_chunks=chunks,
        seal=seal,
    )


def _seal(head: Head, cipher: str | None) -> bytes:
    if head.seal is None:
        return bytes([suite_named(cipher or "aes-256-gcm").number]) + os.urandom(FILE_ID_BYTES)
    if cipher is not None and suite_of(head.seal) != suite_named(cipher):
        raise InvalidInput(
            f"the file has groups sealed with {suite_of(head.seal).name}; a file has one cipher"
        )
    suite_of(head.seal)
    return head.seal


def _is_default(head: Head) -> bool:
    return whole_order({g.id: g.blocks for g in head.groups}) == list(head.order)


def _neutral_entry(head: Head, segments: dict[int, Segment]) -> Segment:
    """A hidden entry whose id and name no group of the file has, nor any that is inside of it."""
    taken = {g.id for g in head.groups} | set(segments)
    free = next((i for i in range(1, ABSENT) if i not in taken), None)
    if free is None:
        raise InvalidInput("the file has no free group id for the hidden groups: 254 are the most")
    names = {g.name for g in head.groups} | {s.name for s in segments.values()}
    name = next(n for n in ("sealed", *(f"sealed {k}" for k in range(2, 300))) if n not in names)
    return neutral(Segment(free, name, 1, b""))


Parts = Sequence[tuple[SealedGroup, Inner | None]]
"""The parts of a hidden entry, and what is in those that the keys open."""


def open_parts(head: Head, entry: GroupEntry, segment: bytes, keyring: Keyring) -> Parts:
    """Open what the keys open of a hidden entry.

    Raises:
        DamagedSegment, TamperedSegment: one of these is not what was sealed.
    """
    parts: list[tuple[SealedGroup, Inner | None]] = []
    owned = np.zeros(head.mask.shape, np.bool_)
    for part in unpack_parts(segment, entry.name):
        seed = unwrap(head, part, keyring)
        inner = None
        if seed is not None:
            inner = read_inner(open_with(head, entry, part, seed, keyring.min_version), head, entry)
            if (owned & inner.blocks).any():
                raise DamagedSegment(f'two parts of "{entry.name}" own the same block', [entry.name])
            owned |= inner.blocks
        parts.append((part, inner))
    return parts


def reveal(head: Head, parts: Mapping[int, Parts]) -> Head:
    """The head as somebody sees it who has opened hidden entries.

    Args:
        parts: by id of the hidden entry.

    Raises:
        DamagedSegment: a hidden group has the id or name of another one.
    """
    entries = {g.id: g for g in head.groups}
    mask = head.mask.copy()
    order = list(head.order)
    for public_id, found in parts.items():
        public = entries[public_id]
        inners = [inner for _, inner in found if inner is not None]
        for inner in inners:
            group = inner.segment
            _check_free(group, entries.values(), public)
            mask[inner.blocks] = group.id
            entries[group.id] = GroupEntry(
                id=group.id,
                name=group.name,
                class_name=group.class_name,
                score=group.score,
                quality=group.quality,
                blocks=int(np.count_nonzero(inner.blocks)),
                encrypted=False,
                offset=public.offset,
                length=len(group.payload),
                crc=zlib.crc32(group.payload),
            )
        at = order.index(public_id)
        order[at:at] = [inner.segment.id for inner in inners]
        if blocks := int(np.count_nonzero(mask == public_id)):
            entries[public_id] = replace(public, blocks=blocks)
        else:
            del entries[public_id]
            order.remove(public_id)
    mask.flags.writeable = False
    return replace(head, groups=tuple(entries[i] for i in sorted(entries)), order=tuple(order), mask=mask)


def _check_free(group: Segment, others: Iterable[GroupEntry | Segment], public: GroupEntry) -> None:
    if any(group.id == other.id or group.name == other.name for other in others):
        raise DamagedSegment(
            f'"{public.name}" holds a group {group.id} "{group.name}", but the file has one of that id or name',
            [public.name],
        )


def decrypt(
    data: Bytes,
    keyring: Keyring,
    choose: Callable[[Head], Collection[int]] | None = None,
    *,
    limits: DecodeLimits | None = None,
) -> bytes:
    """The same file with groups opened; see `ssic.decrypt`.

    Args:
        choose: from the head as the keys show it, the ids of the groups to open; None for all that the keys open.
    """
    head = read_head(data, limits)
    if head.seal is None:
        raise InvalidInput("no group of the file is encrypted")
    segments = whole_segments(data, head, head.order)
    parts = {g.id: open_parts(head, g, segments[g.id].payload, keyring) for g in head.groups if g.hidden}
    wanted = None if choose is None else set(choose(reveal(head, parts)))
    misses: list[EncryptedSegment] = []
    taken: list[Inner] = []
    mask, count = head.mask.copy(), 0
    for entry in head.groups:
        asked = wanted is None or entry.id in wanted
        if entry.hidden:
            mine = [inner for _, inner in parts[entry.id] if inner is not None]
            if entry.id in wanted if wanted is not None else not mine:
                misses.append(wrong_key(entry.name))
            mine = [inner for inner in mine if wanted is None or inner.segment.id in wanted]
            if mine:
                _take_out(entry, parts[entry.id], mine, segments, mask)
                taken += mine
        elif entry.encrypted and asked:
            segment = segments[entry.id]
            try:
                payload = open_group(head, entry, segment.payload, keyring)
            except EncryptedSegment as error:
                misses.append(error)
                continue
            segments[entry.id] = replace(segment, payload=payload, encrypted=False)
            count += 1
    count += len(taken)
    if misses and (wanted is not None or not count):
        raise misses[0]
    if not count:
        raise InvalidInput("none of the groups that were named is encrypted")
    return write_like(
        head,
        list(segments.values()),
        mask=mask if taken else None,
        order=_with_places(head, taken, parts, segments),
        stored_chunks=kept_chunks(head, metadata=True),
        seal=head.seal,
    )


def _take_out(
    entry: GroupEntry,
    parts: Parts,
    mine: Sequence[Inner],
    segments: dict[int, Segment],
    mask: NDArray[np.uint8],
) -> None:
    """Makes groups of the file of parts of a hidden entry; the other parts stay."""
    public = segments.pop(entry.id)
    for inner in mine:
        _check_free(inner.segment, [*segments.values(), public], entry)
        segments[inner.segment.id] = inner.segment
        mask[inner.blocks] = inner.segment.id
    left = [part for part, inner in parts if not any(inner is one for one in mine)]
    if left and not (mask == entry.id).any():
        raise DamagedSegment(f'parts of "{entry.name}" are left, but no blocks', [entry.name])
    if left:
        segments[entry.id] = replace(public, payload=pack_parts(left))
    mask[mask == entry.id] = entry.id if left else ABSENT


def _with_places(
    head: Head, taken: Sequence[Inner], parts: Mapping[int, Parts], segments: Mapping[int, Segment]
) -> list[int] | None:
    """The order of the segments, those that were hidden back in their places. Parts that stay hidden keep theirs,
    as far as the keys show them: so opening in several steps gives the order that opening at once does."""
    if not taken:
        return list(head.order)
    if _is_default(head) and all(inner.place == DEFAULT_PLACE for inner in taken):
        return None
    places = [(inner.place, inner.segment.id) for inner in taken]
    for entry_id, opened in parts.items():
        stay = [inner for _, inner in opened if inner is not None and not any(inner is one for one in taken)]
        places += [(inner.place, entry_id) for inner in stay if inner.place != DEFAULT_PLACE]
    placed = {group_id for _, group_id in places}
    order = [i for i in head.order if i in segments and i not in placed]
    for place, group_id in sorted(places):
        order.insert(place, group_id)
    return list(dict.fromkeys(order))  # an entry stands where the first of its parts does


def rewrap(
    data: Bytes,
    keyring: Keyring,
    wrapper: Wrapper,
    choose: Callable[[Head], Collection[int]] | None = None,
    *,
    keep: bool = False,
    limits: DecodeLimits | None = None,
) -> bytes:
    """The same file with sealed groups for others to open; see `ssic.rewrap`."""
    head = read_head(data, limits)
    if head.seal is None:
        raise InvalidInput("no group of the file is encrypted")
    segments = whole_segments(data, head, head.order)
    suite = suite_of(head.seal)
    wanted = None
    if choose is not None:
        parts = {g.id: open_parts(head, g, segments[g.id].payload, keyring) for g in head.groups if g.hidden}
        wanted = set(choose(reveal(head, parts)))
    misses: list[EncryptedSegment] = []
    count = 0

    def for_others(entry: GroupEntry, sealed: SealedGroup) -> SealedGroup:
        nonlocal count
        seed = unwrap(head, sealed, keyring)
        if seed is None:
            misses.append(wrong_key(entry.name))
            return sealed
        plain = open_with(
            head, entry, sealed, seed, keyring.min_version
        )  # what is not intact is not passed on
        inside = read_inner(plain, head, entry).segment.id if entry.hidden else entry.id
        if wanted is not None and inside not in wanted:
            return sealed
        count += 1
        return replace(sealed, stanzas=(sealed.stanzas if keep else ()) + wrapper.wrap(suite, seed))

    for entry in head.groups:
        payload = segments[entry.id].payload
        if entry.hidden:
            payload = pack_parts([for_others(entry, part) for part in unpack_parts(payload, entry.name)])
        elif entry.encrypted and (wanted is None or entry.id in wanted):
            payload = for_others(entry, unpack(payload, entry.name)).pack()
        segments[entry.id] = replace(segments[entry.id], payload=payload)
    if misses and not count:
        raise misses[0]
    if not count:
        raise InvalidInput("none of the groups that were named is encrypted")
    return write_like(
        head,
        list(segments.values()),
        order=head.order,
        stored_chunks=kept_chunks(head, metadata=True),
        seal=head.seal,
    )
