"""Reading the head of a file. `docs/format.md` is the norm."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import ABSENT, BLOCK, block_grid
from ssic.errors import (
    CorruptHead,
    FormatError,
    LimitExceeded,
    NotAnSsicFile,
    TruncatedFile,
    UnsupportedVersion,
)
from ssic.format.head_writer import head_bytes
from ssic.format.layout import (
    CLASS,
    CLASS_OF_NAME,
    CRC_BYTES,
    ENCRYPTED,
    EXPLICIT_IDS,
    EXPLICIT_ORDER,
    GROUP_FLAGS,
    HAS_ABSENT,
    HAS_CHUNKS,
    HIDDEN,
    ICC,
    MAGIC,
    MAX_SIZE,
    MODEL_ID_BYTES,
    NAME,
    PLAIN,
    SAME_QUALITY,
    SCORE,
    SEAL_BYTES,
    SEALED,
    STEP_SHIFT,
    VERSION,
    default_order,
    is_hidden_name,
    is_tag,
)
from ssic.format.limits import DecodeLimits, checked_limits
from ssic.format.mask_coder import decode_mask, mask_step
from ssic.format.types import GroupEntry, Head
from ssic.format.varint import MAX_BYTES, read_varint
from ssic.names import class_of, default_name, text_fault
from ssic.storage.source import Bytes, size_of

_FIXED = len(MAGIC) + 1
PREFIX_BYTES = _FIXED + MAX_BYTES
"""So many bytes of a file are always enough for `head_length`."""


def head_length(prefix: bytes | memoryview, limits: DecodeLimits | None = None) -> int:
    """How many bytes of a file `read_head` needs, from its first `PREFIX_BYTES` (14); fewer if it is shorter.

    Raises:
        NotAnSsicFile, UnsupportedVersion, TruncatedFile, CorruptHead, LimitExceeded.
    """
    return sum(_body_span(memoryview(prefix), checked_limits(limits))) + CRC_BYTES


def _body_span(data: memoryview, limits: DecodeLimits) -> tuple[int, int]:
    """Offset and length of the head body."""
    start = bytes(data[: len(MAGIC)])
    if start != MAGIC[: len(start)]:
        raise NotAnSsicFile(f"the file starts with {start.hex(' ')}, not with {MAGIC.hex(' ')}")
    if len(data) < _FIXED:
        raise TruncatedFile(f"the file ends at byte {len(data)}, inside of its first {_FIXED}")
    version = data[len(MAGIC)]
    if version != VERSION:
        raise UnsupportedVersion(f"the file has format version {version}; this reader knows {VERSION}")
    try:
        length, offset = read_varint(data, _FIXED)
    except IndexError:
        raise TruncatedFile(f"the file ends at byte {len(data)}, inside of the head's length") from None
    except ValueError as error:
        raise CorruptHead(f"byte {_FIXED}: length of the head: {error}") from None
    if length > limits.max_head_bytes:
        raise LimitExceeded(f"the head has {length} bytes; the limit is {limits.max_head_bytes}")
    return offset, length


class _Cursor:
    """Reads the head body front to back; every complaint says at which byte of the file it arose."""

    def __init__(self, data: memoryview, offset: int, end: int) -> None:
        self._data, self.offset, self.end = data[:end], offset, end

    def fail(self, what: str) -> CorruptHead:
        return CorruptHead(f"byte {self.offset}: {what}")

    def take(self, length: int, what: str) -> bytes:
        if length > self.end - self.offset:
            raise self.fail(f"{what} of {length} bytes reaches beyond the head's end at byte {self.end}")
        self.offset += length
        return bytes(self._data[self.offset - length : self.offset])

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def varint(self, what: str) -> int:
        try:
            value, self.offset = read_varint(self._data, self.offset)
        except IndexError:
            raise self.fail(f"{what} reaches beyond the head's end at byte {self.end}") from None
        except ValueError as error:
            raise self.fail(f"{what}: {error}") from None
        return value

    def text(self, what: str) -> str:
        length = self.byte(what)
        try:
            text = self.take(length, what).decode()
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None
        if fault := text_fault(text):
            raise self.fail(f"{what} {text!a} {fault}")
        return text


def read_head(data: Bytes, limits: DecodeLimits | None = None) -> Head:
    """Reads the head of a file.

    Args:
        data: the file, or any prefix of it that holds the head (`head_length`). Of a `ByteSource` the head is all
            that is read.
        limits: what the reader is ready to spend; None for those of the process.

    Raises:
        NotAnSsicFile, UnsupportedVersion, TruncatedFile, CorruptHead, LimitExceeded: as their names say.
        FormatError: there are bytes behind the last segment; not found where the size of the file is not known.
    """
    limits = checked_limits(limits)
    start, length = _body_span(memoryview(data[:PREFIX_BYTES]), limits)
    end = start + length
    view = memoryview(data[: end + CRC_BYTES])
    if len(view) < end + CRC_BYTES:
        raise TruncatedFile(f"the file ends at byte {len(view)}; the head alone takes {end + CRC_BYTES}")
    stored = int.from_bytes(view[end : end + CRC_BYTES], "little")
    if (found := zlib.crc32(view[:end])) != stored:
        raise CorruptHead(f"the head's checksum is {found:08x}; byte {end} says {stored:08x}")
    head = _parse(_Cursor(view, start, end), limits)
    _check_form(head, bytes(view))
    if (size := size_of(data)) is not None and size > head.file_bytes:
        raise FormatError(f"the file should end at byte {head.file_bytes}, but goes on to {size}")
    return head


def _check_form(head: Head, found: bytes) -> None:
    """One content has one form: what a writer makes of what was read must be the bytes that were read. (Otherwise one
    picture could be passed on in many guises, and bits be hidden in the choice.)"""
    places = [[entry.id for entry in head.groups].index(i) for i in head.order]
    usual = places == default_order(
        [entry.blocks for entry in head.groups], [entry.id for entry in head.groups]
    )
    form = head_bytes(
        head.width,
        head.height,
        head.model_id,
        head.mask,
        head.groups,
        head.stored_chunks,
        None if usual else places,
        head.seal,
        head.coded_mask,
    )
    if form != found:
        at = next(
            (i for i, (a, b) in enumerate(zip(form, found, strict=False)) if a != b),
            min(len(form), len(found)),
        )
        raise CorruptHead(
            f"byte {at}: the head is not in the one form that its content has: default names, classes and ids are left "
            "out, as is a default order; chunks lie in ascending order of their tags, SIGN last"
        )


def _parse(cursor: _Cursor, limits: DecodeLimits) -> Head:
    flags = cursor.byte("flags")
    width, height = (_size(cursor, what) for what in ("width", "height"))
    shape = block_grid((width, height))
    limits.check_pixels(width, height, shape[0] * shape[1] * BLOCK * BLOCK)
    model_id = cursor.take(MODEL_ID_BYTES, "model id")
    seal = cursor.take(SEAL_BYTES, "seal") if flags & SEALED else None
    if seal is not None and seal[0] == 0:
        raise cursor.fail("the seal names suite 0, which is none")
    count = cursor.byte("number of groups")
    if count == 0:
        raise cursor.fail("a file needs a group")
    if count > limits.max_groups:
        raise LimitExceeded(f"the file has {count} groups; the limit is {limits.max_groups}")
    table = _read_table(cursor, flags, count, limits)
    if any(entry.encrypted for entry in table) != (seal is not None):
        raise cursor.fail("the file must have a seal if groups are encrypted, and only then")
    order = list(cursor.take(count, "order of segments")) if flags & EXPLICIT_ORDER else None
    if order is not None and sorted(order) != list(range(count)):
        raise cursor.fail("the order of segments does not name each group once")
    stored = _read_chunks(cursor) if flags & HAS_CHUNKS else {}
    chunks = {tag: _inflate(body, limits) if tag == ICC else body for tag, body in stored.items()}
    mask_at = cursor.offset
    ids = [entry.id for entry in table]
    coded_mask = flags >> STEP_SHIFT & 3, cursor.take(cursor.end - mask_at, "mask")
    mask, blocks = _read_mask(coded_mask, mask_at, shape, [ABSENT, *ids] if flags & HAS_ABSENT else ids)
    if flags & HAS_ABSENT:
        del blocks[0]

    groups: list[GroupEntry] = list(table)
    offset = head_bytes = cursor.end + CRC_BYTES
    order = default_order(blocks, ids) if order is None else order
    for i in order:
        e = table[i]
        # By place: `dataclasses.replace` takes four times as long, and this is done for every group of every file.
        groups[i] = GroupEntry(
            e.id,
            e.name,
            e.class_name,
            e.score,
            e.quality,
            blocks[i],
            e.encrypted,
            offset,
            e.length,
            e.crc,
            e.hidden,
        )
        offset += e.length
    return Head(
        version=VERSION,
        width=width,
        height=height,
        model_id=model_id,
        groups=tuple(groups),
        order=tuple(ids[i] for i in order),
        mask=mask,
        chunks=MappingProxyType(chunks),
        head_bytes=head_bytes,
        mask_bytes=len(coded_mask[1]),
        file_bytes=offset,
        stored_chunks=MappingProxyType(stored),
        seal=seal,
        coded_mask=coded_mask,
    )


def _size(cursor: _Cursor, what: str) -> int:
    size = cursor.varint(what)
    if not 1 <= size <= MAX_SIZE:
        raise cursor.fail(f"a {what} of {size} is not in 1 .. {MAX_SIZE}")
    return size


def _read_table(cursor: _Cursor, flags: int, count: int, limits: DecodeLimits) -> list[GroupEntry]:
    """The group table; blocks and offsets are not known yet and are zero."""
    table: list[GroupEntry] = []
    quality, group_id = 0, -1
    for i in range(count):
        group_id = cursor.byte("group id") if flags & EXPLICIT_IDS else i
        if group_id == ABSENT or (table and group_id <= table[-1].id):
            raise cursor.fail(f"group id {group_id} is {ABSENT} or not above the one before")
        implied = SAME_QUALITY if table else 0
        bits = implied if flags & PLAIN else cursor.byte("group flags")
        undefined = bits & ~GROUP_FLAGS or bits & (HIDDEN | ENCRYPTED) == HIDDEN
        if undefined or bits & (CLASS | CLASS_OF_NAME) == CLASS | CLASS_OF_NAME:
            raise cursor.fail(f"flags {bits:#04x} of group {group_id} have undefined or contradictory bits")
        name = cursor.text("name") if bits & NAME else default_name(group_id)
        class_name = cursor.text("class") if bits & CLASS else None
        if bits & CLASS_OF_NAME:
            class_name = class_of(name)
        score = cursor.byte("score") / 255 if bits & SCORE else None
        if not bits & SAME_QUALITY:
            quality = cursor.byte("quality")
        if not 1 <= quality <= 100:
            raise cursor.fail(f"quality {quality} of group {group_id} is not in 1 .. 100")
        length = cursor.varint("segment length")
        if length > limits.max_segment_bytes:
            raise LimitExceeded(f"group {group_id}: {length} bytes; the limit is {limits.max_segment_bytes}")
        crc = int.from_bytes(cursor.take(CRC_BYTES, "segment checksum"), "little")
        sealed = bool(bits & ENCRYPTED), bool(bits & HIDDEN)
        telling = (class_name, score, quality) != (None, None, 1) or not is_hidden_name(name)
        if sealed[1] and telling:
            raise cursor.fail(f"the hidden entry {group_id} is not called sealed, or tells more than that")
        table.append(
            GroupEntry(group_id, name, class_name, score, quality, 0, sealed[0], 0, length, crc, sealed[1])
        )
    if len({entry.name for entry in table}) < count:
        raise cursor.fail("two groups have the same name")
    return table


def _read_chunks(cursor: _Cursor) -> dict[str, bytes]:
    chunks: dict[str, bytes] = {}
    for _ in range(cursor.byte("number of chunks")):
        tag = cursor.take(4, "chunk tag").decode("latin-1")
        if not is_tag(tag) or tag in chunks:
            raise cursor.fail(f"chunk tag {tag!a} is not four letters, or came before")
        chunks[tag] = cursor.take(cursor.varint("chunk length"), f"chunk {tag}")
    if not chunks:
        raise cursor.fail("the flag for chunks is set, but there are none")
    return chunks


def _inflate(body: bytes, limits: DecodeLimits) -> bytes:
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(body, limits.max_profile_bytes + 1)
    except zlib.error as error:
        raise CorruptHead(f"chunk {ICC} is not a zlib stream: {error}") from None
    if len(out) > limits.max_profile_bytes:
        raise LimitExceeded(f"the ICC profile has more than {limits.max_profile_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        raise CorruptHead(f"chunk {ICC} is not one whole zlib stream")
    return out


def _read_mask(
    coded: tuple[int, bytes], at: int, shape: tuple[int, int], ids: Sequence[int]
) -> tuple[NDArray[np.uint8], list[int]]:
    """Block ids, and how many blocks each of `ids` has; `coded`, step and bytes, lies at byte `at`."""
    alphabet = np.array(ids, np.uint8)
    step, data = coded
    if len(alphabet) > shape[0] * shape[1]:
        raise CorruptHead(f"byte {at}: {len(alphabet)} labels for {shape[0] * shape[1]} blocks")
    try:
        labels = decode_mask(data, shape, len(alphabet), step)
    except ValueError as error:
        raise CorruptHead(f"byte {at}: {error}") from None
    blocks = np.bincount(labels.ravel(), minlength=len(alphabet)).tolist()
    if min(blocks) == 0:
        raise CorruptHead(f"byte {at}: no block of the mask has id {alphabet[blocks.index(0)]}")
    if step != mask_step(labels):
        raise CorruptHead(f"byte {at}: the mask has step {step}, but is exact with {mask_step(labels)}")
    mask = alphabet[labels]
    mask.flags.writeable = False
    return mask, blocks
