"""Whole files: sealing groups, opening them, sealing for others, and seeing what one's keys show. Groups go by id."""

from __future__ import annotations

import os
import secrets
import warnings
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_whole
from ssic.blocks import ABSENT
from ssic.crypto.sealed import (
    DEFAULT_PLACE,
    Inner,
    SealedGroup,
    keys_mac,
    neutral,
    open_group,
    open_with,
    pack_part,
    read_inner,
    seal_group,
    split_parts,
    unpack,
    unpack_part,
    unwrap,
    wrong_key,
)
from ssic.crypto.stanza import suite_named, suite_of
from ssic.crypto.wrap import Keyring, Wrapper
from ssic.errors import DamagedSegment, EncryptedSegment, FormatError, InvalidInput
from ssic.format.container import kept_chunks, segments_as_they_are, write_like
from ssic.format.head import read_head
from ssic.format.layout import HIDDEN_NAME, SEAL_BYTES, whole_order
from ssic.format.limits import DecodeLimits
from ssic.format.types import GroupEntry, Head, Segment
from ssic.names import class_of
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
    pad: bool = False,
    limits: DecodeLimits | None = None,
) -> bytes:
    """The same file with groups sealed; see `ssic.encrypt`.

    Args:
        choose: from the head, the ids of the groups to seal.
    """
    head = read_head(data, limits)
    ids = choose(head)
    segments = segments_as_they_are(data, head)
    if broken := [segments[i].name for i in ids if segments[i].damage]:
        raise DamagedSegment(f"damaged, and not to be sealed as if whole: {', '.join(broken)}", broken)
    _tell_damage(segments.values())
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
            segments[i] = replace(
                group, payload=seal_group(head, seal, group, wrapper, version, pad=pad).pack()
            )
        return write_like(head, list(segments.values()), order=head.order, stored_chunks=chunks, seal=seal)
    if hide not in ("names", "outline"):
        raise InvalidInput(f'hide is "nothing", "names" or "outline", not {hide!r}')

    _tell_gaps(head, ids)
    usual = _is_default(head)
    mask, order = head.mask.copy(), list(head.order)
    inside = [i for i in head.order if i in ids]  # in the order of their segments
    for bundle in [inside] if hide == "outline" else [[i] for i in inside]:
        public = _neutral_entry(head, segments)
        parts = []
        for i in bundle:
            place = DEFAULT_PLACE if usual else head.order.index(i)
            inner = Inner(segments.pop(i), head.mask == i, place)
            group = replace(public, payload=inner.pack())
            parts.append(pack_part(seal_group(head, seal, group, wrapper, version, pad=pad)))
            mask[inner.blocks] = public.id
        secrets.SystemRandom().shuffle(parts)  # their order, by area or importance, would tell of them
        segments[public.id] = replace(public, payload=b"".join(parts))
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
    name = next(n for n in (HIDDEN_NAME, *(f"{HIDDEN_NAME} {k}" for k in range(2, 300))) if n not in names)
    return neutral(Segment(free, name, 1, b""))


class DamageKept(UserWarning):
    """Groups are damaged, and were copied as they are: the file that was written says so, too."""


class NamesTell(UserWarning):
    """The names or ids that are left tell of those that were hidden."""


def _tell_damage(segments: Iterable[Segment]) -> None:
    if names := [segment.name for segment in segments if segment.damage]:
        warnings.warn(f"damaged, and copied as they are: {', '.join(names)}", DamageKept, stacklevel=4)


def _tell_gaps(head: Head, hidden: Collection[int]) -> None:
    """Warns where "person 1, person 3, sealed" says who is sealed."""
    left = [g for g in head.groups if g.id not in hidden]
    gone = [g for g in head.groups if g.id in hidden]
    hidden_classes = {class_of(g.name) for g in gone}
    series: dict[str, list[str]] = {}
    for g in left:
        if class_of(g.name) != g.name and class_of(g.name) in hidden_classes:
            series.setdefault(class_of(g.name), []).append(g.name)
    # "person 1, person 2" are whole; "person 1" alone says that there is another one.
    series = {
        base: names
        for base, names in series.items()
        if len(names) == 1 or set(names) != {f"{base} {n}" for n in range(1, len(names) + 1)}
    }
    gap = bool(left) and any(g.id < max(one.id for one in left) for g in gone)
    if series or gap:
        what = f"names ({', '.join(sorted(series))} ...)" if series else "ids"
        warnings.warn(
            f"gaps in the {what} of the groups that are left tell of those that are hidden: renumber=True (--renumber) "
            "closes them first",
            NamesTell,
            stacklevel=4,
        )


@dataclass(frozen=True)
class Part:
    """A part of a hidden entry.

    Attributes:
        packed: as it lies in the segment.
        sealed: the same; None if it has no such form.
        inner: what is in it, if the keys open it.
        fault: why it could not be opened, though a key may fit.
    """

    packed: bytes
    sealed: SealedGroup | None = None
    inner: Inner | None = None
    fault: DamagedSegment | None = None


Parts = Sequence[Part]


def open_parts(head: Head, entry: GroupEntry, segment: bytes, keyring: Keyring) -> list[Part]:
    """Open what the keys open of a hidden entry. Each part stands for itself: one that is damaged, or was sealed by a
    faulty writer, costs no other. So it may be tried on a segment whose checksum fails."""
    packed, end_fault = split_parts(segment, entry.name)
    parts: list[Part] = []
    owned = np.zeros(head.mask.shape, np.bool_)
    taken: list[GroupEntry | Segment] = [*head.groups]
    for at, one in enumerate(packed):
        if end_fault is not None and at == len(packed) - 1:
            parts.append(Part(one, fault=end_fault))
            continue
        sealed = None
        try:
            sealed = unpack_part(one, entry.name)
            seed = unwrap(head, sealed, keyring)
            if seed is None:
                parts.append(Part(one, sealed))
                continue
            inner = read_inner(open_with(head, entry, sealed, seed, keyring.min_version), head, entry)
            if (owned & inner.blocks).any():
                raise DamagedSegment(f'two parts of "{entry.name}" own the same block', [entry.name])
            _check_free(inner.segment, taken, entry)
        except DamagedSegment as fault:
            parts.append(Part(one, sealed, fault=fault))
            continue
        owned |= inner.blocks
        taken.append(inner.segment)
        parts.append(Part(one, sealed, inner))
    return parts


def fault_of(parts: Parts) -> DamagedSegment | None:
    """The first fault of some parts."""
    return next((part.fault for part in parts if part.fault is not None), None)


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
        inners = [part.inner for part in found if part.inner is not None]
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
    segments = segments_as_they_are(data, head)
    parts = {g.id: open_parts(head, g, segments[g.id].payload, keyring) for g in head.groups if g.hidden}
    wanted = None if choose is None else set(choose(reveal(head, parts)))
    misses: list[FormatError] = []
    taken: list[Inner] = []
    mask, count = head.mask.copy(), 0
    for entry in head.groups:
        asked = wanted is None or entry.id in wanted
        if entry.hidden:
            mine = [part for part in parts[entry.id] if part.inner is not None]
            if entry.id in wanted if wanted is not None else not mine:
                misses.append(
                    fault_of(parts[entry.id]) or _damaged(segments[entry.id]) or wrong_key(entry.name)
                )
            mine = [p for p in mine if p.inner and (wanted is None or p.inner.segment.id in wanted)]
            if mine:
                taken += _take_out(entry, parts[entry.id], mine, segments, mask)
        elif entry.encrypted and asked:
            segment = segments[entry.id]
            try:
                payload = open_group(head, entry, segment.payload, keyring)
            except (EncryptedSegment, DamagedSegment) as error:
                misses.append(_damaged(segment) or error)
                continue
            segments[entry.id] = replace(segment, payload=payload, encrypted=False, damage=0)
            count += 1
        elif wanted is not None and asked and (damaged := _damaged(segments[entry.id])):
            misses.append(damaged)
    count += len(taken)
    if misses and (wanted is not None or not count):
        raise misses[0]
    if not count:
        raise InvalidInput("none of the groups that were named is encrypted")
    _tell_damage(segments.values())
    faults = [error for error in misses if isinstance(error, DamagedSegment)]
    faults += [
        p.fault for found in parts.values() for p in found if p.fault is not None and p.fault not in faults
    ]
    for fault in faults:
        warnings.warn(f"left as it is: {fault}", DamageKept, stacklevel=3)
    return write_like(
        head,
        list(segments.values()),
        mask=mask if taken else None,
        order=_with_places(head, taken, parts, segments),
        stored_chunks=kept_chunks(head, metadata=True),
        seal=head.seal,
    )


def _damaged(segment: Segment) -> DamagedSegment | None:
    if not segment.damage:
        return None
    return DamagedSegment(f'the segment of "{segment.name}" is damaged: its checksum fails', [segment.name])


def _take_out(
    entry: GroupEntry,
    parts: Parts,
    mine: Parts,
    segments: dict[int, Segment],
    mask: NDArray[np.uint8],
) -> list[Inner]:
    """Makes groups of the file of parts of a hidden entry, and gives them; the other parts stay."""
    public = segments.pop(entry.id)
    inners = [part.inner for part in mine if part.inner is not None]
    for inner in inners:
        _check_free(inner.segment, [*segments.values(), public], entry)
        segments[inner.segment.id] = inner.segment
        mask[inner.blocks] = inner.segment.id
    left = [part.packed for part in parts if not any(part is one for one in mine)]
    if left and not (mask == entry.id).any():
        raise DamagedSegment(f'parts of "{entry.name}" are left, but no blocks', [entry.name])
    if left:
        segments[entry.id] = replace(public, payload=b"".join(left))
    mask[mask == entry.id] = entry.id if left else ABSENT
    return inners


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
        inners = [part.inner for part in opened if part.inner is not None]
        stay = [inner for inner in inners if not any(inner is one for one in taken)]
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
    segments = segments_as_they_are(data, head)
    suite = suite_of(head.seal)
    parts = {g.id: open_parts(head, g, segments[g.id].payload, keyring) for g in head.groups if g.hidden}
    wanted = None if choose is None else set(choose(reveal(head, parts)))
    misses: list[FormatError] = []
    count = 0

    def for_others(entry: GroupEntry, sealed: SealedGroup) -> SealedGroup:
        nonlocal count
        assert head.seal is not None
        seed = unwrap(head, sealed, keyring)
        if seed is None:
            raise wrong_key(entry.name)
        open_with(head, entry, sealed, seed, keyring.min_version)  # what is not intact is not passed on
        count += 1
        stanzas = (sealed.stanzas if keep else ()) + wrapper.wrap(suite, seed)
        return replace(sealed, stanzas=stanzas, mac=keys_mac(head.seal, seed, stanzas))

    for entry in head.groups:
        segment = segments[entry.id]
        if entry.hidden:
            found = parts[entry.id]
            packed = [
                pack_part(for_others(entry, part.sealed))
                if part.sealed and part.inner and (wanted is None or part.inner.segment.id in wanted)
                else part.packed
                for part in found
            ]
            if not any(part.inner for part in found):
                misses.append(fault_of(found) or _damaged(segment) or wrong_key(entry.name))
            segments[entry.id] = replace(segment, payload=b"".join(packed))
        elif entry.encrypted and (wanted is None or entry.id in wanted):
            try:
                payload = for_others(entry, unpack(segment.payload, entry.name)).pack()
            except (EncryptedSegment, DamagedSegment) as error:
                misses.append(_damaged(segment) or error)
                continue
            segments[entry.id] = replace(segment, payload=payload)
    _tell_damage(segments.values())
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
