"""What keys and trust reveal of a file: the head as the keys show it, the substreams that can be read, and why others
can't.

With trust, nothing is used that is not as it was signed: the signature is verified over the very bytes that were parsed
as the head, and each segment is compared with the digest that was signed when it is read, before it is decoded, copied
or opened. So a file that is exchanged while it is being read gives an error, and never the content of another file.
"""

from __future__ import annotations

from collections.abc import Iterable

from ssic.crypto.files import fault_of, open_parts, reveal
from ssic.crypto.keys import VerifyKey, trusted
from ssic.crypto.sealed import open_group, wrong_key
from ssic.crypto.signature import Signature, check_head
from ssic.crypto.wrap import Keyring, Opener
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    LimitExceeded,
    SignatureError,
    TruncatedFile,
)
from ssic.format.container import check, read_segments, whole_segments
from ssic.format.hold import hold_head
from ssic.format.limits import DecodeLimits
from ssic.format.types import GroupEntry
from ssic.storage.source import FIRST_BYTES, Bytes, joined, read_ranges

Keys = Opener | Iterable[Opener]
Trust = VerifyKey | Iterable[VerifyKey]

SEALED = EncryptedSegment, LimitExceeded
"""Errors about groups that may well be intact: they are sealed, or would cost too much to open."""


class Access:
    """A file as the holder of some keys may see it.

    Attributes:
        data: the file; its head is always the one in `head`.
        head: as it lies in the file.
        shown: the head as the keys show it: hidden groups that they open stand in it like others.
        signer: who signed the file; None without `trust`.
    """

    def __init__(
        self,
        data: Bytes,
        limits: DecodeLimits | None = None,
        *,
        identity: Keys | None = None,
        min_version: int = 0,
        trust: Trust | None = None,
    ) -> None:
        """
        Args:
            data: the file.
            limits: bounds on what the head, and passphrases, may ask for.
            identity: keys and passphrases that sealed groups are opened with.
            min_version: take sealed groups of earlier versions for tampered with.
            trust: keys, one of which must have signed the file.

        Raises:
            FormatError: not an intact ssic file.
            SignatureError: not signed by one of the keys in `trust`, or changed since.
            InvalidInput: `identity`, `trust` or `min_version` can't be what they should.
        """
        keys = None if trust is None else trusted(trust)
        self.data, self.head = hold_head(data, limits)
        self.shown = self.head
        self._signature: Signature | None = None
        if keys is not None:
            self._signature = check_head(self.data, self.head, keys)
        self._keyring = None if identity is None else Keyring(identity, limits, min_version=min_version)
        self._hidden: dict[int, bytes] = {}
        self._faults: dict[int, FormatError] = {}
        if self._keyring is not None:
            self._reveal(self._keyring)

    def _reveal(self, keyring: Keyring) -> None:
        """Open what the keys open of hidden entries; one that is damaged stays as it is, and is told of later."""
        entries = {entry.id: entry for entry in self.read_when_opened}
        segments, broken = read_segments(self.data, self.head, entries)
        self._faults |= broken
        for group_id, fault in broken.items():
            # Each part has a seal of its own: damage costs those that it hit.
            if isinstance(fault, DamagedSegment):
                entry = entries[group_id]
                whole = range(entry.offset, entry.offset + entry.length)
                (segments[group_id],) = read_ranges(self.data, [whole])
        for group_id, segment in segments.items():
            entry = entries[group_id]
            try:
                parts = open_parts(self.head, entry, self._as_signed(entry, segment), keyring)
                self.shown = reveal(self.shown, {entry.id: parts})
            except (DamagedSegment, SignatureError, *SEALED) as error:
                self._faults[entry.id] = error
                continue
            if (hit := fault_of(parts)) is not None:
                self._faults[entry.id] = hit
            groups = [part.inner.segment for part in parts if part.inner is not None]
            self._hidden |= {group.id: group.payload for group in groups}

    @property
    def signer(self) -> VerifyKey | None:
        return None if self._signature is None else self._signature.key

    @property
    def read_when_opened(self) -> list[GroupEntry]:
        """Entries whose segments are read at once: hidden ones, if there are keys to open them with."""
        return [entry for entry in self.head.groups if entry.hidden and self._keyring is not None]

    @property
    def opening_bytes(self) -> int:
        """Bytes that opening the file from a URL takes: the head, and what is read at once with it."""
        return self._first_bytes + self._read_bytes(self.read_when_opened)

    def bytes_of(self, ids: Iterable[int]) -> int:
        """Bytes that reading these groups, by id, from a URL takes after the file was opened; with small gaps."""
        wanted = set(ids) - self.hidden - {entry.id for entry in self.read_when_opened}
        return self._read_bytes(entry for entry in self.shown.groups if entry.id in wanted)

    def _read_bytes(self, entries: Iterable[GroupEntry]) -> int:
        reads = joined((range(g.offset, g.offset + g.length) for g in entries), self._first_bytes)
        return sum(map(len, reads))

    @property
    def _first_bytes(self) -> int:
        return max(self.head.head_bytes, min(FIRST_BYTES, self.head.file_bytes))

    @property
    def hidden(self) -> frozenset[int]:
        """Ids of groups that only the keys show, and whose bytes can't be told apart within the file."""
        return frozenset(self._hidden)

    def _as_signed(self, entry: GroupEntry, segment: bytes) -> bytes:
        if self._signature is not None:
            self._signature.check(entry, segment)
        return segment

    def _unreadable(self, entry: GroupEntry) -> FormatError | None:
        """Why there is no point in reading a segment; None if there is."""
        if not entry.encrypted:
            return None
        if self._keyring is None:
            return EncryptedSegment(
                f'"{entry.name}" is sealed: give an identity that it was sealed to (--identity FILE), or its passphrase'
            )
        if entry.hidden:  # what the keys open of it has been opened
            return self._faults.get(entry.id) or wrong_key(entry.name)
        return None

    def _opened(self, entry: GroupEntry, segment: bytes) -> bytes:
        """What a decoder takes, from a segment as it lies in the file."""
        segment = self._as_signed(entry, segment)
        if not entry.encrypted:
            return segment
        assert self._keyring is not None, "_unreadable"
        return open_group(self.head, entry, segment, self._keyring)

    def substreams(self, ids: Iterable[int]) -> tuple[dict[int, bytes], dict[int, FormatError]]:
        """Substreams of groups in `shown`, by id, and what is wrong with those that can't be had: damaged, cut off,
        not as they were signed, sealed. Neighbours are read together."""
        entries = {entry.id: entry for entry in self.shown.groups}
        found: dict[int, bytes] = {}
        faults: dict[int, FormatError] = {}
        wanted = []
        for group_id in ids:
            if group_id in self._hidden:
                found[group_id] = self._hidden[group_id]
            elif (fault := self._unreadable(entries[group_id])) is not None:
                faults[group_id] = fault
            else:
                wanted.append(group_id)
        segments, broken = read_segments(self.data, self.head, wanted)
        faults |= broken
        for group_id, segment in segments.items():
            try:
                found[group_id] = self._opened(entries[group_id], segment)
            except (DamagedSegment, SignatureError, *SEALED) as error:
                faults[group_id] = error
        return found, faults

    def to_copy(self, ids: Iterable[int] | None = None) -> Bytes:
        """What segments of groups in `head` are copied from; with trust, once it is seen that they were signed so.

        Args:
            ids: of the groups that will be read; all by default.

        Raises:
            SignatureError, DamagedSegment, TruncatedFile: with trust, about the first that is not as it was signed.
        """
        if self._signature is None:
            return self.data
        ids = self.head.order if ids is None else ids
        data = bytearray(self.head.file_bytes)  # holds what was checked, and nothing else
        data[: self.head.head_bytes] = self.data[: self.head.head_bytes]
        segments = whole_segments(self.data, self.head, ids)
        for entry in self.head.groups:
            if entry.id in segments:
                segment = self._as_signed(entry, segments[entry.id].payload)
                data[entry.offset : entry.offset + entry.length] = segment
        return bytes(data)

    def whole(self) -> bytes:
        """All bytes of the file, as they lie there; with trust, as they were signed.

        Raises:
            TruncatedFile: the file ends too early.
            SignatureError, DamagedSegment: with trust, a segment is not the one that was signed.
        """
        length = self.head.file_bytes
        data = self.to_copy()
        (whole,) = read_ranges(data, [range(length)])
        if len(whole) < length:
            raise TruncatedFile(f"the file ends at byte {len(whole)}; whole it has {length} bytes")
        return whole

    def damaged(self) -> list[GroupEntry]:
        """The groups in `head` whose segments are damaged, missing, or, with trust, not those that were signed."""
        good = None if self._signature is None else self._signature.covers
        return check(self.data, self.head, good)
