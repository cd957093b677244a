"""Files that a URL names, read through fsspec: the beginning at once, then only the ranges that are asked for.

fsspec's own HTTP file asks the server for the size first, and takes what comes for what it asked. Here every
request is for a range, its answer says how long the file is, and is checked against what was asked; sessions,
headers and credentials are fsspec's. Of other file systems `cat_ranges` is used, and their sizes are not asked for.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ssic.errors import InvalidInput
from ssic.imports import later
from ssic.storage.source import FIRST_BYTES, ByteSource, FileBytes, cut, joined

# fsspec takes a tenth of a second to import; aiohttp is an extra.
fsspec = later("fsspec")
fsspec_local = later("fsspec.implementations.local")
aiohttp = later("aiohttp")

MOST_WHOLE = 1 << 28
"""Bytes that are taken of a file whose server sends all of it, whatever it is asked for."""

TIMEOUT = 30.0
"""Seconds to connect, for each pause in an answer, and for all of an answer beside what `SLOWEST` allows."""

SLOWEST = 10_000
"""Bytes per second below which a server is given up."""

PARALLEL = 8
"""Requests at a time."""


class NoRangeRequests(UserWarning):
    """The server sends whole files only: reading a part costs as much as reading all."""


@dataclass(frozen=True)
class _Part:
    """An answer.

    Attributes:
        data: the bytes that were asked for; fewer only at the end of the file.
        size: of the whole file, if the answer tells.
        whole: `data` is the whole file, from its beginning.
        tag: which version of the file this is, if the server tells.
    """

    data: bytes
    size: int | None
    whole: bool = False
    tag: str | None = None


class _Reader(Protocol):
    def read(self, ranges: Sequence[range]) -> list[_Part]: ...


def open_url(url: str, options: Mapping[str, Any] | None = None, first: int = FIRST_BYTES) -> ByteSource:
    """The file at a URL; its first bytes are read at once, except from a disk.

    Args:
        url: what fsspec takes: "https://...", "s3://...", "zip://a.ssic::https://..."
        options: of the file system, as fsspec calls them: storage options.
        first: bytes of the first request.

    Raises:
        InvalidInput: no such protocol, or what it needs is not installed; the message says what that is.
        OSError: the file can't be read.
    """
    shown = without_secrets(url)
    try:
        system, path = fsspec.core.url_to_fs(url, **(options or {}))
    except ImportError as error:
        advice = ': pip install "ssic[http]"' if url.startswith("http") else ""
        raise InvalidInput(f"{shown} can't be read: {_reason(error)}{advice}") from error
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{shown} can't be read: {_reason(error)}") from error
    except Exception as error:  # some connect at once, and raise whatever their libraries do
        unnumbered = errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.EIO
        number = (error.errno if isinstance(error, OSError) else None) or unnumbered
        raise OSError(number, _reason(error) or type(error).__name__, shown) from error
    if isinstance(system, fsspec_local.LocalFileSystem):
        return FileBytes(path)
    if "http" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
        return RemoteBytes(_Http(system, path, shown), shown, first)
    return RemoteBytes(_Other(system, path, shown), shown, first)


def without_secrets(url: str) -> str:
    """A URL for messages: without user, password and query, where keys are often kept.

    >>> without_secrets("https://me:secret@example.org/a.ssic?token=1#x")
    'https://example.org/a.ssic'
    >>> without_secrets("zip://a.ssic::https://me:p@ss@example.org/b.zip?token=1:2")
    'zip://a.ssic::https://example.org/b.zip'
    """
    return "::".join(map(_without_secrets, url.split("::")))


def _without_secrets(link: str) -> str:
    # Passwords may hold what should have been escaped; a port, with which a path may follow, is none.
    link = re.sub(r"://(?:[^/?#]*|[^/?#@:]*:(?!\d*(?:[/?#]|$))[^@]*)@", "://", link)
    return re.sub(r"[?#].*", "", link, flags=re.DOTALL)


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

    def _checked(self, part: _Part) -> _Part:
        other_size = None not in (part.size, self._size) and part.size != self._size
        other_tag = None not in (part.tag, self._tag) and part.tag != self._tag
        if other_size or other_tag:
            raise OSError(errno.EIO, "the file changed while it was read: open it again", self._shown)
        self._size = self._size if part.size is None else part.size
        self._tag = self._tag or part.tag
        return part


class _Other:
    """Any file system of fsspec."""

    def __init__(self, system: Any, path: str, shown: str) -> None:
        self._system, self._path, self._shown = system, path, shown

    def read(self, ranges: Sequence[range]) -> list[_Part]:
        starts, stops = [r.start for r in ranges], [r.stop for r in ranges]
        try:
            parts = self._system.cat_ranges([self._path] * len(ranges), starts, stops, on_error="raise")
        except OSError as error:
            number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO)
            raise OSError(
                number, error.strerror or _reason(error) or os.strerror(number), self._shown
            ) from error
        except Exception as error:  # file systems raise whatever their libraries do
            raise OSError(errno.EIO, f"{type(error).__name__}: {_reason(error)}", self._shown) from error
        return [self._part(bytes(data), r) for data, r in zip(parts, ranges, strict=True)]

    def _part(self, data: bytes, asked: range) -> _Part:
        if len(data) > len(asked):
            text = f"asked for {len(asked)} bytes, the file system gave {len(data)}"
            raise OSError(errno.EIO, text, self._shown)
        # A short answer is the end. One without a byte says only that the end came before.
        ended = len(data) < len(asked) and (data or asked.start == 0)
        return _Part(data, asked.start + len(data) if ended else None)


class _Http:
    """fsspec's HTTP file system, asked for ranges only."""

    def __init__(self, system: Any, url: str, shown: str) -> None:
        self._system, self._shown = system, shown
        try:
            self._url = system.encode_url(url)
        except ValueError as error:
            raise InvalidInput(f"{shown} is no URL: {_reason(error)}") from error

    def read(self, ranges: Sequence[range]) -> list[_Part]:
        try:
            parts: list[_Part] = fsspec.asyn.sync(self._system.loop, self._read, ranges)
        except aiohttp.InvalidURL as error:
            raise InvalidInput(f"{self._shown} is no URL: {_reason(error)}") from error
        except TimeoutError as error:
            raise self._error("no answer in time", errno.ETIMEDOUT) from error
        except aiohttp.ClientPayloadError as error:
            raise self._error("the connection ended in the middle of an answer") from error
        except aiohttp.ServerDisconnectedError as error:
            raise self._error("the connection ended without an answer", errno.ECONNRESET) from error
        except aiohttp.ClientError as error:
            number = error.errno if isinstance(error, OSError) else None
            raise self._error(f"can't be reached: {_reason(error)}", number or errno.EIO) from error
        return parts

    def _error(self, text: str, number: int = errno.EIO) -> OSError:
        return OSError(number, text, self._shown)

    async def _read(self, ranges: Sequence[range]) -> list[_Part]:
        session = await self._system.set_session()
        gate = asyncio.Semaphore(PARALLEL)

        async def one(r: range) -> _Part:
            async with gate:
                return await self._get(session, r)

        tasks = [asyncio.create_task(one(r)) for r in ranges]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _get(self, session: Any, asked: range) -> _Part:
        options = dict(self._system.kwargs)
        # A compressed answer would have other offsets.
        own = {"Range": f"bytes={asked.start}-{asked.stop - 1}", "Accept-Encoding": "identity"}
        headers = {**options.pop("headers", {}), **own}
        if "timeout" not in options and "timeout" not in self._system.client_kwargs:
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
        async with session.get(self._url, headers=headers, **options) as answer:
            tag = answer.headers.get("ETag")
            tag = None if tag is None or tag.startswith("W/") else tag
            if answer.status == 200:
                body = await self._body(answer, MOST_WHOLE)
                return _Part(body, len(body), whole=True, tag=tag)
            if answer.status == 416:  # it begins behind the end, which is told
                span = re.fullmatch(r"bytes \*/([0-9]{1,18})", answer.headers.get("Content-Range", ""))
                if span and int(span[1]) <= asked.start:
                    return _Part(b"", int(span[1]), tag=tag)
            if answer.status != 206:
                raise self._refused(answer.status, str(answer.reason))
            told = answer.headers.get("Content-Range", "")
            span = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", told)
            encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
            if not span or encoded or not self._fits(asked, span):
                text = f"asked for bytes {asked.start} to {asked.stop - 1}, the server sends {told or 'no range'!a}"
                raise self._error(text + (", compressed" if encoded else ""))
            count = int(span[2]) - int(span[1]) + 1
            body = await self._body(answer, count)
            if len(body) != count:
                raise self._error(f"the server says {told!a} and sends {len(body)} bytes")
            return _Part(body, None if span[3] == "*" else int(span[3]), tag=tag)

    def _fits(self, asked: range, span: re.Match[str]) -> bool:
        """Whether a range that the server names is the one asked for; less is right at the end only."""
        start, last = int(span[1]), int(span[2])
        if not (start == asked.start and start <= last < asked.stop):
            return False
        return span[3] == "*" or last + 1 == min(asked.stop, int(span[3]))

    async def _body(self, answer: Any, most: int) -> bytes:
        """All of an answer; an `OSError` if that is more than `most` bytes, or takes too long."""
        told = answer.content_length
        if told is None or told <= most:
            body = bytearray()
            async with asyncio.timeout(TIMEOUT + min(told or most, most) / SLOWEST):
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        break
            if len(body) <= most:
                return bytes(body)
        if most == MOST_WHOLE:
            raise self._error(
                f"the server sends whole files only, and this one has more than {most:,} bytes: download it"
            )
        raise self._error(f"the server says that it sends {most:,} bytes, and sends more")

    def _refused(self, status: int, reason: str) -> OSError:
        number = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 410: errno.ENOENT}.get(status)
        return self._error(f"the server answers {status} {reason}".rstrip(), number or errno.EIO)


def _reason(error: Exception) -> str:
    """What an error of a library says, without the secrets of URLs in it."""
    text = re.sub(r"\S+://\S+", lambda url: without_secrets(url[0]), str(error))
    return " ".join(text.split())[:200]
