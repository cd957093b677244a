"""Sealed groups: one group's segment under its own key, bound to what makes it that group of that file.

A sealed group is, in this order: a varint for its version (0: none), the stanzas (`ssic.crypto.stanza`), a MAC over
them under the content key, then ciphertext and tag. The segment of an encrypted group is one sealed group. That of a
*hidden* entry is one or more of them, each behind a varint for its length; what they hold starts with what the head
would say of the group (`Inner`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from ssic.blocks import ABSENT
from ssic.crypto.stanza import (
    NONCE_BYTES,
    SEED_BYTES,
    TAG_BYTES,
    Stanza,
    read_stanzas,
    suite_of,
    write_stanzas,
)
from ssic.crypto.wrap import Keyring, Wrapper
from ssic.errors import DamagedSegment, TamperedSegment, WrongKey
from ssic.format.types import GroupEntry, Head, Segment
from ssic.format.varint import read_varint, write_varint
from ssic.names import text_fault

MAX_PARTS = 254
MAC_BYTES = 32
_HAS_CLASS, _HAS_SCORE = 1, 2
DEFAULT_PLACE = 255


@dataclass(frozen=True)
class SealedGroup:
    """A sealed group as it lies in a file."""

    version: int
    stanzas: tuple[Stanza, ...]
    mac: bytes
    """Over the stanzas, under a key made of the content key."""
    body: bytes
    """Ciphertext and tag."""

    def pack(self) -> bytes:
        return write_varint(self.version) + write_stanzas(self.stanzas) + self.mac + self.body


def unpack(data: bytes, name: str) -> SealedGroup:
    """The inverse of `SealedGroup.pack`.

    Raises:
        DamagedSegment: `data` is no sealed group; `name` says whose it was to be.
    """
    try:
        version, offset = read_varint(data, 0)
        stanzas, offset = read_stanzas(data, offset)
        if len(data) - offset < MAC_BYTES + TAG_BYTES:
            raise DamagedSegment("is cut short inside of its tags")
    except (IndexError, ValueError):
        raise DamagedSegment(f'the sealed segment of "{name}" has no version', [name]) from None
    except DamagedSegment as error:
        raise DamagedSegment(f'the sealed segment of "{name}" {error}', [name]) from None
    return SealedGroup(version, stanzas, data[offset : offset + MAC_BYTES], data[offset + MAC_BYTES :])


def split_parts(data: bytes, name: str) -> tuple[list[bytes], DamagedSegment | None]:
    """The parts in the segment of a hidden entry, each with the varint for its length; what is behind the last that has
    one stays together, and is told of by an error."""
    parts: list[bytes] = []
    offset = 0
    while offset < len(data) or not parts:
        fault = None
        try:
            length, start = read_varint(data, offset)
        except (IndexError, ValueError):
            fault, length, start = f'a part of "{name}" has no length', 0, offset
        if length > len(data) - start:
            fault = f'a part of "{name}" is cut short'
        elif len(parts) == MAX_PARTS:
            fault = f'"{name}" has more than {MAX_PARTS} parts'
        if fault is not None:
            return [*parts, data[offset:]], DamagedSegment(fault, [name])
        parts.append(data[offset : start + length])
        offset = start + length
    return parts, None


def unpack_part(part: bytes, name: str) -> SealedGroup:
    """The sealed group in one of `split_parts` (`DamagedSegment` if it is none)."""
    return unpack(part[read_varint(part, 0)[1] :], name)


def pack_part(sealed: SealedGroup) -> bytes:
    """A part of the segment of a hidden entry."""
    packed = sealed.pack()
    return write_varint(len(packed)) + packed


def associated_data(head: Head, seal: bytes, group: GroupEntry | Segment, version: int, length: int) -> bytes:
    """What a sealed group is bound to: all that decides what its bytes mean, and nothing that others decide.

    Args:
        head: for size, model and mask.
        seal: suite and file id of the file.
        group: the entry that the segment belongs to.
        length: bytes of what is sealed.
    """

    def text(value: str | None) -> bytes:
        encoded = (value or "").encode()
        return bytes([len(encoded)]) + encoded

    score = b"\0\0" if group.score is None else bytes([1, round(group.score * 255)])
    blocks = bytes(32)
    if not group.hidden:
        blocks = hashlib.sha256(np.packbits(head.mask == group.id).tobytes()).digest()
    return b"".join(
        [
            b"ssic segment 1\0",
            seal,
            head.width.to_bytes(4, "little"),
            head.height.to_bytes(4, "little"),
            head.model_id,
            bytes([group.id, group.hidden, group.quality]),
            score,
            text(group.name),
            text(group.class_name),
            version.to_bytes(8, "little"),
            length.to_bytes(8, "little"),
            blocks,
        ]
    )


def content_key(seal: bytes, seed: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of a group's AEAD. A seed seals one segment once, so that the nonce need not be stored."""
    kdf = HKDF(SHA256(), 32 + NONCE_BYTES, salt=seal, info=b"ssic content 1\0")
    key = kdf.derive(seed)
    return key[:32], key[32:]


def keys_mac(seal: bytes, seed: bytes, stanzas: Sequence[Stanza]) -> bytes:
    """The MAC over a list of wrapped keys: none can be put in, taken away or exchanged unseen. As it has 32 bytes, it
    commits to the content key, too: nobody can make a group that two keys open to two contents."""
    key = HKDF(SHA256(), MAC_BYTES, salt=seal, info=b"ssic keys 1\0").derive(seed)
    return hmac.digest(key, write_stanzas(stanzas), "sha256")


def padme(length: int) -> int:
    """The next length of the scheme Padmé, at most an eighth more: it tells of a length its magnitude only.

    >>> [padme(n) for n in (0, 1, 9, 100, 1000, 100_001)]
    [0, 1, 10, 104, 1024, 100352]
    """
    if length < 2:
        return length
    magnitude = length.bit_length() - 1
    free = max(0, magnitude - magnitude.bit_length())
    return (length + (1 << free) - 1) >> free << free


def padded(content: bytes, pad: bool) -> bytes:
    """What is sealed: a varint for the zeros behind the content, the content, and these zeros."""
    zeros = 0
    if pad:
        # The varint grows with the zeros: the fewest with which it all has a length of the scheme.
        while (whole := len(write_varint(zeros)) + len(content) + zeros) != padme(whole):
            zeros += padme(whole) - whole
    return write_varint(zeros) + content + bytes(zeros)


def unpadded(plain: bytes, name: str) -> bytes:
    """The inverse of `padded` (`DamagedSegment`, if it is none)."""
    try:
        zeros, start = read_varint(plain, 0)
        end = len(plain) - zeros
        if end < start or plain.count(0, end) != zeros:
            raise ValueError
    except (IndexError, ValueError):
        raise DamagedSegment(f'"{name}" was sealed by a faulty writer: its padding is none', [name]) from None
    return plain[start:end]


def seal_group(
    head: Head,
    seal: bytes,
    group: Segment,
    wrapper: Wrapper,
    version: int,
    *,
    seed: bytes | None = None,
    pad: bool = False,
) -> SealedGroup:
    """Seals `group.payload` under the name, quality and so on of `group`.

    Args:
        head: of the file that it comes from, or goes to: size, model and blocks are the same.
        seed: the content key, for tests; random by default, and never used twice.
        pad: hide the length, as far as Padmé does.
    """
    suite = suite_of(seal)
    seed = os.urandom(SEED_BYTES) if seed is None else seed
    stanzas = wrapper.wrap(suite, seed)
    key, nonce = content_key(seal, seed)
    plain = padded(group.payload, pad)
    aad = associated_data(head, seal, group, version, len(plain))
    return SealedGroup(
        version, stanzas, keys_mac(seal, seed, stanzas), suite.aead(key).encrypt(nonce, plain, aad)
    )


def unwrap(head: Head, sealed: SealedGroup, keyring: Keyring) -> bytes | None:
    """The content key of a sealed group, or None if no key fits."""
    assert head.seal is not None, "read_head: encrypted groups have a seal"
    return keyring.unwrap(suite_of(head.seal), sealed.stanzas)


def open_with(head: Head, entry: GroupEntry, sealed: SealedGroup, seed: bytes, min_version: int = 0) -> bytes:
    """What is sealed, given its content key.

    Raises:
        TamperedSegment: its list of wrapped keys was changed, or it is not what was sealed for this group of this
            file, or of a version before `min_version`.
    """
    assert head.seal is not None, "read_head: encrypted groups have a seal"
    key, nonce = content_key(head.seal, seed)
    aad = associated_data(head, head.seal, entry, sealed.version, len(sealed.body) - TAG_BYTES)
    try:
        plain = suite_of(head.seal).aead(key).decrypt(nonce, sealed.body, aad)
    except InvalidTag:
        raise TamperedSegment(
            f'"{entry.name}" was sealed, but not like this: its bytes, its version, or what the head says of it (id, '
            "name, class, score, quality, blocks, size, model, file id) were changed, or it is from another file",
            [entry.name],
        ) from None
    if not hmac.compare_digest(keys_mac(head.seal, seed, sealed.stanzas), sealed.mac):
        raise TamperedSegment(
            f'the list of those who may open "{entry.name}" was changed: a wrapped key was put in, taken away or '
            "exchanged",
            [entry.name],
        )
    if sealed.version < min_version:
        raise TamperedSegment(
            f'"{entry.name}" is version {sealed.version}, and at least {min_version} was asked for: it may be an old '
            "version, put back",
            [entry.name],
        )
    return unpadded(plain, entry.name)


def open_group(head: Head, entry: GroupEntry, segment: bytes, keyring: Keyring) -> bytes:
    """The substream in the segment of an encrypted group that is not hidden.

    Raises:
        WrongKey: none of the keys opens it.
        TamperedSegment: one does, but it is not what was sealed.
        DamagedSegment: the segment has no such form.
        EncryptedSegment: it is sealed with a suite that this version does not know.
        LimitExceeded: see `Keyring.unwrap`.
    """
    sealed = unpack(segment, entry.name)
    seed = unwrap(head, sealed, keyring)
    if seed is None:
        raise wrong_key(entry.name)
    return open_with(head, entry, sealed, seed, keyring.min_version)


def wrong_key(name: str) -> WrongKey:
    return WrongKey(f'"{name}" is sealed for others: no key or passphrase that was given opens it')


@dataclass(frozen=True)
class Inner:
    """A hidden group, as it is within its seal.

    Attributes:
        segment: its entry and its substream.
        blocks: [rows, columns] bool: its blocks.
        place: its position among the segments of the original file; `DEFAULT_PLACE` if those lay in default order.
    """

    segment: Segment
    blocks: NDArray[np.bool_]
    place: int

    def pack(self) -> bytes:
        group = self.segment
        flags = _HAS_CLASS * (group.class_name is not None) | _HAS_SCORE * (group.score is not None)
        out = bytearray([group.id, group.quality, self.place, flags])
        for text in (group.name, group.class_name):
            if text is not None:
                encoded = text.encode()
                out += bytes([len(encoded)]) + encoded
        if group.score is not None:
            out.append(round(group.score * 255))
        for run in _runs(self.blocks):
            out += write_varint(run)
        return bytes(out) + group.payload


def _runs(blocks: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of false, true, false, ... in raster order; the first may be 0."""
    flat = blocks.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    ends = [0, *edges.tolist(), flat.size]
    runs = [b - a for a, b in pairwise(ends)]
    return [0, *runs] if flat[0] else runs


def read_inner(data: bytes, head: Head, entry: GroupEntry) -> Inner:
    """The inverse of `Inner.pack`.

    Raises:
        DamagedSegment: it is no such thing, or claims blocks that are not those of `entry`.
    """

    def fail(what: str) -> DamagedSegment:
        return DamagedSegment(f'a part of "{entry.name}" was sealed by a faulty writer: {what}', [entry.name])

    offset = 4

    def text() -> str:
        nonlocal offset
        length = data[offset]
        value = data[offset + 1 : offset + 1 + length].decode()
        offset += 1 + length
        if offset > len(data) or (fault := text_fault(value)):
            raise ValueError("a text is cut short" if offset > len(data) else f"a text {fault}")
        return value

    try:
        group_id, quality, place, flags = data[:offset]
        name = text()
        class_name = text() if flags & _HAS_CLASS else None
        score = None
        if flags & _HAS_SCORE:
            score, offset = data[offset] / 255, offset + 1
        if flags & ~(_HAS_CLASS | _HAS_SCORE) or group_id == ABSENT or not 1 <= quality <= 100:
            raise ValueError("flags, id or quality can't be")
        flat = np.zeros(head.mask.size, np.bool_)
        at, mine = 0, False
        while at < flat.size:
            run, offset = read_varint(data, offset)
            if run > flat.size - at or (run == 0 and (mine or at > 0)):
                raise ValueError("runs of blocks do not fit the grid")
            flat[at : at + run] = mine
            at, mine = at + run, not mine
    except IndexError:
        raise fail("it is cut short") from None
    except ValueError as error:
        raise fail(str(error)) from None
    blocks = flat.reshape(head.mask.shape)
    if not blocks.any() or (head.mask[blocks] != entry.id).any():
        raise fail("it has no blocks, or blocks of others")
    segment = Segment(group_id, name, quality, data[offset:], class_name, score)
    return Inner(segment, blocks, place)


def neutral(segment: Segment) -> Segment:
    """A hidden entry: nothing that the head says of it depends on what is in it."""
    return replace(segment, quality=1, class_name=None, score=None, encrypted=True, hidden=True)
