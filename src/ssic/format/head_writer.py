"""Writing the head of a file. `docs/format.md` is the norm."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import ABSENT
from ssic.format.layout import (
    CLASS,
    CLASS_OF_NAME,
    CRC_BYTES,
    ENCRYPTED,
    EXPLICIT_IDS,
    EXPLICIT_ORDER,
    HAS_ABSENT,
    HAS_CHUNKS,
    HIDDEN,
    MAGIC,
    NAME,
    PLAIN,
    SAME_QUALITY,
    SCORE,
    SEALED,
    SIGNATURE,
    STEP_SHIFT,
    VERSION,
)
from ssic.format.mask_coder import encode_mask, mask_step
from ssic.format.types import GroupEntry, Segment
from ssic.format.varint import write_varint
from ssic.names import class_of, default_name


def head_bytes(
    width: int,
    height: int,
    model_id: bytes,
    mask: NDArray[np.uint8],
    segments: Sequence[Segment] | Sequence[GroupEntry],
    stored_chunks: Mapping[str, bytes],
    order: Sequence[int] | None,
    seal: bytes | None = None,
    coded_mask: tuple[int, bytes] | None = None,
) -> bytes:
    """Serialises a head, in the one form that it has. All arguments have been checked by the caller.

    Args:
        segments: in ascending order of id; entries that were read will do.
        stored_chunks: as they are to lie in the file.
        order: table indices in the order of the segments; None for the default order.
        seal: suite and file id; None if no group is encrypted.
        coded_mask: step and bytes of `mask` where they are known; saves the time to code it.
    """
    ids = [segment.id for segment in segments]
    blocks = mask.tobytes()
    absent = ABSENT in blocks
    if coded_mask is None:
        alphabet = [ABSENT, *ids] if absent else ids
        lookup = bytearray(256)
        for label, group_id in enumerate(alphabet):
            lookup[group_id] = label
        labels = np.frombuffer(blocks.translate(lookup), np.uint8).reshape(mask.shape)
        step = mask_step(labels)
        coded_mask = step, encode_mask(labels, len(alphabet), step)
    step, mask_bytes = coded_mask
    flags = SEALED * (seal is not None) | step << STEP_SHIFT
    flags |= EXPLICIT_IDS * (ids != list(range(len(ids)))) | EXPLICIT_ORDER * (order is not None)
    flags |= HAS_CHUNKS * bool(stored_chunks) | HAS_ABSENT * absent

    entries: list[Segment | GroupEntry] = [*segments]
    rows = [_row(entry, entries[i - 1] if i else None) for i, entry in enumerate(entries)]
    if all(row[0] == (SAME_QUALITY if i else 0) for i, row in enumerate(rows)):
        flags |= PLAIN
        rows = [row[1:] for row in rows]
    body = bytearray([flags])
    body += write_varint(width) + write_varint(height) + model_id + (seal or b"") + bytes([len(segments)])
    for entry, row in zip(entries, rows, strict=True):
        body += bytes([entry.id] if flags & EXPLICIT_IDS else []) + row
    body += bytes(order or [])
    if stored_chunks:
        body.append(len(stored_chunks))
        for tag, chunk in sorted(stored_chunks.items(), key=lambda item: (item[0] == SIGNATURE, item[0])):
            body += tag.encode() + write_varint(len(chunk)) + chunk
    body += mask_bytes
    start = MAGIC + bytes([VERSION]) + write_varint(len(body)) + body
    return start + zlib.crc32(start).to_bytes(CRC_BYTES, "little")


def _row(segment: Segment | GroupEntry, previous: Segment | GroupEntry | None) -> bytes:
    """A group's entry without the id; the first byte holds its flags."""
    bits, out = 0, b""

    def text(value: str) -> bytes:
        encoded = value.encode()
        return bytes([len(encoded)]) + encoded

    if segment.name != default_name(segment.id):
        bits |= NAME
        out += text(segment.name)
    if segment.class_name is not None:
        if segment.class_name == class_of(segment.name):
            bits |= CLASS_OF_NAME
        else:
            bits |= CLASS
            out += text(segment.class_name)
    if segment.score is not None:
        bits |= SCORE
        out += bytes([round(segment.score * 255)])
    bits |= ENCRYPTED * segment.encrypted | HIDDEN * segment.hidden
    if previous is not None and previous.quality == segment.quality:
        bits |= SAME_QUALITY
    else:
        out += bytes([segment.quality])
    if isinstance(segment, GroupEntry):
        length, crc = segment.length, segment.crc
    else:
        length, crc = len(segment.payload), zlib.crc32(segment.payload) ^ segment.damage
    return bytes([bits]) + out + write_varint(length) + crc.to_bytes(CRC_BYTES, "little")
