"""Where the bytes of a file come from: memory, a disk, or (`ssic.storage.remote`) what a URL names."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssic.arguments import type_name
from ssic.errors import InvalidInput

FIRST_BYTES = 4096
"""What the first request for a remote file is for: the heads of nearly all files, colour profile and all, and often
some groups."""

GAP = 1024
"""Ranges that are at most so far apart are read as one: about what the headers of one more request take."""

PIECE = 1 << 24
"""Ranges are not joined into reads of more bytes than this."""


class ByteSource(ABC):
    """A file that lies elsewhere: sliced like `bytes`, and only the slices are read.

    Slices have a step of 1 and an end; they end early where the file does.
    """

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes of the whole file; None while nobody has told."""

    @abstractmethod
    def __getitem__(self, part: slice) -> bytes: ...

    def fetch(self, ranges: Sequence[range]) -> list[bytes]:
        """Several slices, of which neighbours are read together."""
        found = {r: self[r.start : r.stop] for r in joined(ranges)}
        return [cut(r, found) for r in ranges]


class FileBytes(ByteSource):
    """A file on disk.

    Args:
        path: the file; opened anew for each slice, so that nothing is held open.

    Raises:
        OSError: it can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        with self._path.open("rb") as file:
            self._length = file.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        return self._length

    @property
    def size(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, step = part.indices(self._length)
        assert step == 1, "a file is read forwards and without gaps"
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))


class Prefix(ByteSource):
    """The first bytes of a source, as if it ended there.

    Args:
        source: of the whole file.
        length: bytes that may be read.
    """

    def __init__(self, source: ByteSource, length: int) -> None:
        self._source, self._length = source, length

    @property
    def size(self) -> int | None:
        size = self._source.size
        return None if size is None else min(size, self._length)

    def __getitem__(self, part: slice) -> bytes:
        return self._source[part.start or 0 : min(part.stop, self._length)]

    def fetch(self, ranges: Sequence[range]) -> list[bytes]:
        return self._source.fetch(
            [range(min(r.start, self._length), min(r.stop, self._length)) for r in ranges]
        )


Bytes = bytes | bytearray | memoryview | ByteSource
"""What every reader of files takes."""


def as_bytes(data: Any, advice: str = "ssic.open takes a path, a URL or a binary file") -> Bytes:
    """What was given as a file, as the readers take it.

    Raises:
        InvalidInput: it is neither bytes nor a `ByteSource`.
    """
    if isinstance(data, memoryview) and (data.format != "B" or data.ndim != 1 or not data.contiguous):
        return data.tobytes()  # others are indexed by what they hold, not by byte
    if not isinstance(data, (bytes, bytearray, memoryview, ByteSource)):
        raise InvalidInput(f"an ssic file is bytes, not {type_name(data)}; {advice}")
    return data


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether this names something for fsspec, rather than a path. Path objects never do.

    >>> is_url("https://example.org/a.ssic"), is_url("zip://a.ssic::s3://b/c.zip"), is_url("a.ssic")
    (True, True, False)
    """
    return isinstance(place, str) and "://" in place


def size_of(data: Bytes) -> int | None:
    """Bytes of the file, or of the prefix that was given; None if that is not known."""
    return data.size if isinstance(data, ByteSource) else len(data)


def joined(ranges: Iterable[range], have: int = 0, gap: int = GAP, most: int = PIECE) -> list[range]:
    """The reads that cover `ranges`, ascending.

    Args:
        have: so many bytes from the start are there already, and are not read.
        gap: what lies between two ranges is read too, if it is no longer than this.
        most: bytes of a read that joins several.

    >>> joined([range(4, 9), range(90, 99), range(10, 20)], have=6, gap=1)
    [range(6, 20), range(90, 99)]
    """
    reads: list[range] = []
    for r in sorted((range(max(have, r.start), r.stop) for r in ranges), key=lambda r: (r.start, r.stop)):
        if not r:
            continue
        if reads and r.start <= reads[-1].stop + gap and r.stop - reads[-1].start <= most:
            reads[-1] = range(reads[-1].start, max(reads[-1].stop, r.stop))
        else:
            reads.append(range(max(r.start, reads[-1].stop) if reads else r.start, r.stop))
    return [r for r in reads if r]


def cut(wanted: range, found: Mapping[range, bytes]) -> bytes:
    """The bytes of a range, from reads (ascending) that cover it as far as the file goes."""
    return b"".join(
        data[max(0, wanted.start - read.start) : max(0, wanted.stop - read.start)]
        for read, data in found.items()
        if read.start < wanted.stop and wanted.start < read.stop
    )


def read_ranges(data: Bytes, ranges: Sequence[range]) -> list[bytes]:
    """The bytes of each range; fewer where the file ends."""
    if not isinstance(data, ByteSource):
        return [bytes(data[r.start : r.stop]) for r in ranges]
    size = data.size
    return data.fetch([r if size is None else range(min(r.start, size), min(r.stop, size)) for r in ranges])
