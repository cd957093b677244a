"""A source whose beginning is held in memory, so that it stays the same however the source changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssic.storage.source import Bytes, ByteSource, read_ranges, size_of


class HeldStart(ByteSource):
    """A source whose first bytes were read once and are never read again; all that follows is read when asked for.

    A file on a disk can be exchanged between two reads of it. What was read from its beginning and checked, such as a
    head whose signature was verified, must not be read a second time for use.

    Args:
        start: the first bytes of the file.
        rest: the whole file.
    """

    def __init__(self, start: bytes, rest: Bytes) -> None:
        self._start, self._rest = start, rest

    @property
    def size(self) -> int | None:
        return size_of(self._rest)

    def __getitem__(self, part: slice) -> bytes:
        return self.fetch([range(part.start or 0, part.stop)])[0]

    def fetch(self, ranges: Sequence[range]) -> list[bytes]:
        held = len(self._start)
        behind = iter(
            read_ranges(self._rest, [range(max(r.start, held), r.stop) for r in ranges if r.stop > held])
        )
        return [self._start[r.start : r.stop] + (next(behind) if r.stop > held else b"") for r in ranges]

    def __reduce__(self) -> tuple[Any, ...]:  # views of memory can't be pickled
        rest = bytes(self._rest) if isinstance(self._rest, memoryview) else self._rest
        return HeldStart, (self._start, rest)
