"""Ranges over HTTP, through the sessions of fsspec's file system: every answer is checked, and every budget holds.

* One deadline for a read, over redirects, headers, interim answers and bodies: it moves only with bytes that arrived.
* At most one whole body, whoever answers 200 to whichever of many requests.
* Nothing that the caller gave for one server (headers, passwords, cookies) goes to another that it redirects to.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from ssic.errors import InvalidInput
from ssic.imports import later
from ssic.storage.urls import reason

# Reading files on disk needs none of these.
asyncio = later("asyncio")
fsspec = later("fsspec")
aiohttp = later("aiohttp")
yarl = later("yarl")

MOST_WHOLE = 1 << 28
"""Bytes that are taken of a file whose server sends all of it, whatever it is asked for."""

TIMEOUT = 30.0
"""Seconds for a read, beside what `SLOWEST` allows for the bytes that have arrived."""

SLOWEST = 10_000
"""Bytes per second below which a server is given up."""

PARALLEL = 8
"""Requests at a time."""

MOST_REDIRECTS = 5
MOST_PIECES = 16
"""Answers in which the bytes of one range may come."""

_PLAIN = {"", "identity", "aws-chunked"}
"""Values of Content-Encoding with which the body is the file. (Some stores keep the encoding of the upload.)"""

_AS_SIGNED = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True)
class Part:
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


@dataclass
class _Read:
    """What the requests of one read share."""

    deadline: Any
    moves: bool
    """Whether the deadline is ours: callers may set time limits of their own."""
    began: float
    arrived: int = 0
    whole: Part | None = None
    lock: Any = field(default_factory=lambda: asyncio.Lock())

    def took(self, count: int) -> None:
        self.arrived += count
        if self.moves:
            self.deadline.reschedule(self.began + TIMEOUT + self.arrived / SLOWEST)


def http_options(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Storage options of fsspec's HTTP file system, with the defaults that are ours.

    Proxies are those of the environment, bodies are not unpacked behind our back.
    """
    conf = fsspec.config.conf.get(url.partition("://")[0], {})
    session = given.get("client_kwargs", conf.get("client_kwargs")) or {}
    return {**given, "client_kwargs": {"trust_env": True, "auto_decompress": False, **session}}


class HttpReader:
    """Reads ranges of one URL.

    Args:
        system: gives fsspec's HTTP file system; asked for each read, since a fork needs another.
        url: as it was given. One that is escaped already is requested to the letter: signatures of URLs cover it.
        shown: what errors call it.
    """

    def __init__(self, system: Callable[[], Any], url: str, shown: str) -> None:
        self._system, self._given, self._shown = system, url, shown
        self._url()

    def _url(self) -> Any:
        try:
            url = yarl.URL(self._given, encoded=_AS_SIGNED.fullmatch(self._given) is not None)
            if not url.host or url.port is None:
                raise ValueError("it names no host")
        except ValueError as error:
            raise InvalidInput(f"{self._shown} is no URL: {reason(error)}") from error
        return url

    def read(self, ranges: Sequence[range]) -> list[Part]:
        """The ranges, each from requests of its own; if one answer is the whole file, that is the only part."""
        try:
            parts: list[Part] = fsspec.asyn.sync(self._system().loop, self._read, ranges)
        except aiohttp.InvalidURL as error:
            raise InvalidInput(f"{self._shown} is no URL: {reason(error)}") from error
        except ValueError as error:  # passwords in the URL and in a header, say
            raise InvalidInput(f"{self._shown} can't be requested: {reason(error)}") from error
        except TimeoutError as error:
            raise self._error("no answer in time", errno.ETIMEDOUT) from error
        except aiohttp.ClientPayloadError as error:
            raise self._error("the connection ended in the middle of an answer") from error
        except aiohttp.ServerDisconnectedError as error:
            raise self._error("the connection ended without an answer", errno.ECONNRESET) from error
        except aiohttp.ClientError as error:
            number = error.errno if isinstance(error, OSError) else None
            raise self._error(f"can't be reached: {reason(error)}", number or errno.EIO) from error
        return parts

    def _error(self, text: str, number: int = errno.EIO) -> OSError:
        return OSError(number, text, self._shown)

    async def _read(self, ranges: Sequence[range]) -> list[Part]:
        system = self._system()
        moves = "timeout" not in system.kwargs and "timeout" not in system.client_kwargs
        began = asyncio.get_running_loop().time()
        gate = asyncio.Semaphore(PARALLEL)
        async with asyncio.timeout_at(began + TIMEOUT if moves else None) as deadline:
            session = await system.set_session()
            read = _Read(deadline, moves, began)

            async def one(asked: range) -> Part:
                async with gate:
                    return read.whole or await self._range(system, session, asked, read)

            tasks = [asyncio.create_task(one(r)) for r in ranges]
            try:
                parts = list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
        return [read.whole] if read.whole is not None else parts

    async def _range(self, system: Any, session: Any, asked: range, read: _Read) -> Part:
        """One range; a server may send less than was asked for, and is asked for the rest."""
        found = b""
        size, tag = None, None
        for _ in range(MOST_PIECES):
            part = await self._piece(system, session, range(asked.start + len(found), asked.stop), read)
            if part.whole:
                return part
            told = (size, part.size), (tag, part.tag)
            if any(None not in pair and pair[0] != pair[1] for pair in told):
                raise self._error("the file changed while it was read: open it again")
            size, tag, found = part.size if size is None else size, tag or part.tag, found + part.data
            end = asked.stop if size is None else min(asked.stop, size)
            if asked.start + len(found) >= end or not part.data:
                return Part(found, size, tag=tag)
        raise self._error(
            f"{MOST_PIECES} answers were not enough for bytes {asked.start} to {asked.stop - 1}"
        )

    async def _piece(self, system: Any, session: Any, asked: range, read: _Read) -> Part:
        async with AsyncExitStack() as stack:
            answer = await self._request(system, session, asked, read, stack)
            tag = answer.headers.get("ETag")
            tag = None if tag is None or tag.startswith("W/") else tag
            if answer.status in (200, 206) and not self._is_plain(answer):
                encoding = reason(answer.headers["Content-Encoding"])
                raise self._error(
                    f"the server sends the file compressed ({encoding}), which nobody asked for"
                )
            if answer.status == 200:
                return await self._whole(answer, tag, read)
            if answer.status == 416:  # it begins behind the end, which is told
                span = re.fullmatch(
                    r"bytes \*/([0-9]{1,18})", answer.headers.get("Content-Range", ""), re.IGNORECASE
                )
                if span and int(span[1]) <= asked.start:
                    return Part(b"", int(span[1]), tag=tag)
            if answer.status != 206:
                raise self._refused(answer)
            told = answer.headers.get("Content-Range", "")
            span = re.fullmatch(
                r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", told.strip(), re.IGNORECASE
            )
            if not span or not _fits(asked, span):
                raise self._error(
                    f"asked for bytes {asked.start} to {asked.stop - 1}, the server sends {told[:80] or 'no range'!a}"
                )
            count = int(span[2]) - int(span[1]) + 1
            body = await self._body(answer, count, read)
            if len(body) > count:
                raise self._error(f"the server says that it sends {count:,} bytes, and sends more")
            if len(body) != count:
                raise self._error(f"the server says {told!a} and sends {len(body)} bytes")
            return Part(body, None if span[3] == "*" else int(span[3]), tag=tag)

    async def _request(
        self, system: Any, session: Any, asked: range, read: _Read, stack: AsyncExitStack
    ) -> Any:
        """The answer to the request for a range, redirects followed."""
        options = dict(system.kwargs)
        # A compressed answer would have other offsets.
        own = {"Range": f"bytes={asked.start}-{asked.stop - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **own}
        if read.moves:
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
        url = self._url()
        for _ in range(MOST_REDIRECTS + 1):
            answer = await stack.enter_async_context(session.get(url, allow_redirects=False, **options))
            target = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or target is None:
                return answer
            try:
                to = url.join(yarl.URL(target, encoded=_AS_SIGNED.fullmatch(target) is not None))
                usable = to.scheme in ("http", "https") and bool(to.host)
            except ValueError:
                usable = False
            if not usable:
                raise self._error("the server redirects to something that is no address")
            if url.scheme == "https" and to.scheme == "http":
                raise self._error("the server redirects from https to http, where everybody could read along")
            if to.origin() != url.origin():
                # Headers, passwords and cookies were given for the first server. So that also those of the session stay
                # there, another one asks.
                kept = ("ssl", "proxy", "proxy_auth", "proxy_headers", "timeout")
                options = {key: options[key] for key in kept if key in options} | {"headers": own}
                session = await stack.enter_async_context(
                    aiohttp.ClientSession(trust_env=True, auto_decompress=False)
                )
                to = to.with_user(None)
            url = to
        raise self._error(f"the server redirects more than {MOST_REDIRECTS} times")

    @staticmethod
    def _is_plain(answer: Any) -> bool:
        encodings = ",".join(answer.headers.getall("Content-Encoding", [])).lower().split(",")
        return all(encoding.strip() in _PLAIN for encoding in encodings)

    async def _whole(self, answer: Any, tag: str | None, read: _Read) -> Part:
        """The whole file; of all answers of a read only the first is taken."""
        async with read.lock:
            if read.whole is None:
                body = await self._body(answer, MOST_WHOLE, read)
                if len(body) > MOST_WHOLE:
                    raise self._error(
                        f"the server sends whole files only, and this one has more than {MOST_WHOLE:,} bytes: "
                        "download it"
                    )
                read.whole = Part(body, len(body), whole=True, tag=tag)
        return read.whole

    async def _body(self, answer: Any, most: int, read: _Read) -> bytes:
        """All of an answer, but no more than one byte beyond `most`."""
        if answer.content_length is not None and answer.content_length > most:
            return bytes(most + 1)
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            read.took(len(chunk))
            if len(body) > most:
                break
        return bytes(body[: most + 1])

    def _refused(self, answer: Any) -> OSError:
        status: int = answer.status
        numbers = {
            401: errno.EACCES,
            403: errno.EACCES,
            404: errno.ENOENT,
            410: errno.ENOENT,
            429: errno.EBUSY,
            503: errno.EBUSY,
        }
        text = f"the server answers {status} {reason(str(answer.reason or ''))}".rstrip()
        if numbers.get(status) == errno.EBUSY:
            after = answer.headers.get("Retry-After", "")
            wait = f"in {after} seconds" if re.fullmatch("[0-9]{1,6}", after) else "later"
            text += f": it has too much to do, try again {wait}"
        return self._error(text, numbers.get(status, errno.EIO))


def _fits(asked: range, span: re.Match[str]) -> bool:
    """Whether a range that the server names begins where the one asked for does, and ends within it."""
    start, last = int(span[1]), int(span[2])
    return start == asked.start and start <= last < asked.stop and (span[3] == "*" or last < int(span[3]))
