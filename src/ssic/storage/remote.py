"""Files that a URL names, read through fsspec: the beginning at once, then only the ranges that are asked for.

fsspec's own HTTP file asks the server for the size first, and takes what comes for what it asked. Here every
request is for a range, its answer says how long the file is, and is checked against what was asked; sessions,
headers and credentials are fsspec's. Of other file systems `cat_ranges` is used, and their sizes are not asked for.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from ssic.errors import InvalidInput
from ssic.imports import later
from ssic.storage.forks import guard
from ssic.storage.http import HttpReader, Part, http_options
from ssic.storage.source import FIRST_BYTES, ByteSource, FileBytes, cut, joined
from ssic.storage.urls import checked_url, is_http, reason, without_secrets

# fsspec takes a tenth of a second to import.
fsspec = later("fsspec")
fsspec_cached = later("fsspec.implementations.cached")
fsspec_local = later("fsspec.implementations.local")

guard()


class NoRangeRequests(UserWarning):
    """The server sends whole files only: reading a part costs as much as reading all."""


class _Reader(Protocol):
    def read(self, ranges: Sequence[range]) -> list[Part]: ...


def open_url(
    url: str,
    options: Mapping[str, Any] | None = None,
    first: int = FIRST_BYTES,
    protocols: Collection[str] = (),
) -> ByteSource:
    """The file at a URL; its first bytes are read at once, except from a disk.

    Args:
        url: "https://...", "s3://...": one of `ssic.storage.urls.PROTOCOLS`.
        options: of the file system, as fsspec calls them: storage options.
        first: bytes of the first request.
        protocols: others that the URL may name, also in a chain ("zip://a.ssic::https://...").

    Raises:
        InvalidInput: it may not name that protocol, or what it needs is not installed; the message says what that is.
        OSError: the file can't be read.
    """
    system = _System(checked_url(url, protocols), dict(options or {}))
    shown = without_secrets(url)
    if isinstance(system.get(), fsspec_local.LocalFileSystem):
        return FileBytes(system.path)
    reader = HttpReader(system.get, system.path, shown) if system.is_http else _Other(system, shown)
    return RemoteBytes(reader, shown, first)


class _System:
    """fsspec's file system for a URL, made anew where a process was forked: its connections, and the thread that
    serves them, stay in the parent."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.is_http = is_http(url)
        self._url, self._options = url, options
        self._made: tuple[int, Any] | None = None
        self.path = ""

    def get(self) -> Any:
        if self._made is None or self._made[0] != os.getpid():
            self._made = os.getpid(), self._make()
        return self._made[1]

    def _make(self) -> Any:
        url, shown = self._url, without_secrets(self._url)
        try:
            if self.is_http:
                options = http_options(url, self._options)
                system, self.path = fsspec.filesystem(url.partition("://")[0], **options), url
            else:
                system, self.path = fsspec.core.url_to_fs(url, **self._options)
        except ImportError as error:
            advice = ': pip install "ssic[http]"' if url.startswith("http") else ""
            raise InvalidInput(f"{shown} can't be read: {reason(error)}{advice}") from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{shown} can't be read: {reason(error)}") from error
        except Exception as error:  # some connect at once, and raise whatever their libraries do
            unnumbered = errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.EIO
            number = (error.errno if isinstance(error, OSError) else None) or unnumbered
            raise OSError(number, reason(error) or type(error).__name__, shown) from error
        return system

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_made": None}


class RemoteBytes(ByteSource):
    """A file that is read by ranges. What its first request brought is kept, and is not asked for again.

    Raises, when made and when sliced:
        OSError: it can't be read, the server contradicts itself, or the file changed in between; with the URL
            as its filename.
    """

    def __init__(self, reader: _Reader, shown: str, first: int) -> None:
        self.first = first
        self._reader = reader
        self._shown = shown
        self._size: int | None = None
        self._tag: str | None = None
        self._start = b""
        self._extend(first)

    @property
    def size(self) -> int | None:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop = part.start or 0, part.stop
        assert part.step in (None, 1), "a file is read forwards and without gaps"
        if start == 0:
            self._extend(stop)  # the head is read again and again
            return self._start[:stop]
        return self.fetch([range(start, stop)])[0]

    def fetch(self, ranges: Sequence[range]) -> list[bytes]:
        have = len(self._start)
        reads = joined(ranges, have)
        answers = [self._checked(part) for part in self._reader.read(reads)] if reads else []
        if whole := next((part.data for part in answers if part.whole), None):
            self._start = whole
            return [whole[r.start : r.stop] for r in ranges]
        found = {range(have): self._start} | {r: part.data for r, part in zip(reads, answers, strict=True)}
        return [cut(r, found) for r in ranges]

    def _extend(self, stop: int) -> None:
        """Read on until there are `stop` bytes from the start, or all."""
        have = len(self._start)
        if stop <= have or (self._size is not None and have >= self._size):
            return
        part = self._checked(self._reader.read([range(have, stop)])[0])
        self._start = part.data if part.whole else self._start + part.data
        if part.whole and len(part.data) > stop:
            text = f"{self._shown}: the server sends whole files only, here {len(part.data):,} bytes"
            warnings.warn(text, NoRangeRequests, stacklevel=2)

    def _checked(self, part: Part) -> Part:
        other_size = None not in (part.size, self._size) and part.size != self._size
        other_tag = None not in (part.tag, self._tag) and part.tag != self._tag
        if other_size or other_tag:
            raise OSError(errno.EIO, "the file changed while it was read: open it again", self._shown)
        self._size = self._size if part.size is None else part.size
        self._tag = self._tag or part.tag
        return part


class _Other:
    """Any file system of fsspec."""

    def __init__(self, system: _System, shown: str) -> None:
        self._system, self._shown = system, shown

    def read(self, ranges: Sequence[range]) -> list[Part]:
        starts, stops = [r.start for r in ranges], [r.stop for r in ranges]
        try:
            system = self._system.get()
            if isinstance(system, fsspec_cached.WholeFileCacheFileSystem):
                # It fetches whole files, so nothing is gained by ranges at once, which fail before fsspec 2026.9.
                parts = [system.cat_file(self._system.path, r.start, r.stop) for r in ranges]
            else:
                parts = system.cat_ranges([self._system.path] * len(ranges), starts, stops, on_error="raise")
        except OSError as error:
            number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO)
            raise OSError(
                number, error.strerror or reason(error) or os.strerror(number), self._shown
            ) from error
        except Exception as error:  # file systems raise whatever their libraries do
            raise OSError(errno.EIO, f"{type(error).__name__}: {reason(error)}", self._shown) from error
        return [self._part(bytes(data), r) for data, r in zip(parts, ranges, strict=True)]

    def _part(self, data: bytes, asked: range) -> Part:
        if len(data) > len(asked):
            text = f"asked for {len(asked)} bytes, the file system gave {len(data)}"
            raise OSError(errno.EIO, text, self._shown)
        # A short answer is the end. One without a byte says only that the end came before.
        ended = len(data) < len(asked) and (data or asked.start == 0)
        return Part(data, asked.start + len(data) if ended else None)
