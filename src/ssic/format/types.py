"""What a head says and what a writer is given, as plain immutable data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GroupEntry:
    """One group as the head describes it."""

    id: int
    """0 to 254; the block id of its blocks in the mask."""
    name: str
    """Unique in the file."""
    class_name: str | None
    """What kind of thing it is ("person"), where known."""
    score: float | None
    """Confidence of whatever found the group, 0 to 1 in steps of 1/255."""
    quality: int
    """1 to 100."""
    blocks: int
    """16x16 blocks that it owns, at least 1; counted from the mask."""
    encrypted: bool
    """Whether the segment is sealed: it holds ciphertext, which `ssic.crypto` opens."""
    offset: int
    """Where its segment starts in the file."""
    length: int
    """Bytes of its segment."""
    crc: int
    """CRC-32 of its segment."""
    hidden: bool = False
    """Whether this entry stands for sealed groups whose names, qualities and outlines are sealed, too."""


@dataclass(frozen=True, eq=False)
class Head:
    """All of a file but the segments."""

    version: int
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    model_id: bytes
    """Eight bytes that identify the model."""
    groups: tuple[GroupEntry, ...]
    """In ascending order of id."""
    order: tuple[int, ...]
    """Their ids in the order of their segments."""
    mask: NDArray[np.uint8]
    """Block ids ``[ceil(height / 16), ceil(width / 16)]``, read-only; `ABSENT` where no group owns the
    block."""
    chunks: Mapping[str, bytes]
    """Optional data by tag, decompressed: "ICCP", "EXIF", "XMPP", or what others may have put in."""
    head_bytes: int
    """Offset of the first segment."""
    mask_bytes: int
    """Bytes of the coded mask, a part of `head_bytes`."""
    file_bytes: int
    """Size of the whole file."""
    stored_chunks: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """`chunks` as they lie in the file: what `extract` and `merge` copy."""
    seal: bytes | None = None
    """Suite and file id that sealed groups are bound to; present exactly if there are any."""
    coded_mask: tuple[int, bytes] | None = field(default=None, repr=False)
    """Step and bytes of the mask as they lie in the file, for writers that leave the mask as it is."""

    def __getstate__(self) -> dict[str, Any]:  # read-only views of dicts can't be pickled
        return vars(self) | {"chunks": dict(self.chunks), "stored_chunks": dict(self.stored_chunks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["mask"].flags.writeable = False
        chunks = {name: MappingProxyType(state[name]) for name in ("chunks", "stored_chunks")}
        vars(self).update(state | chunks)


@dataclass(frozen=True)
class Segment:
    """One group to be written."""

    id: int
    """0 to 254."""
    name: str
    """1 to 255 bytes of UTF-8 without control characters, unique in the file; `default_name` costs no
    bytes."""
    quality: int
    """1 to 100."""
    payload: bytes
    """The group's substream, or the same sealed. May be empty."""
    class_name: str | None = None
    """Costs no bytes where it is the name without a trailing number ("person" of "person 2")."""
    score: float | None = None
    """0 to 1; stored in steps of 1/255."""
    encrypted: bool = False
    hidden: bool = False
    damage: int = 0
    """Exclusive-or of the checksum that is written and the right one: not 0 for a damaged segment that is copied, so
    that its damage stays seen."""
