"""A server on loopback that shows one file in the browser: the viewer, the model, and the file by ranges.

It serves what it knows by name and nothing else: no path of a request ever becomes a path on disk.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ssic.errors import InvalidInput, SsicError, UnknownModel
from ssic.format.head import read_head
from ssic.model.weights import find_by_id, find_weights
from ssic.storage.source import Bytes, size_of

PAGE = Path(__file__).parent / "web"
"""The viewer as `npm run build` (in web/) makes it. Releases have it in the wheel; git does not."""

HOST = "127.0.0.1"
PIECE = 1 << 20
"""Bytes that are sent at a time."""
IDLE = 60.0
"""Seconds after which a connection without a request is closed."""

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
_BYTES = "application/octet-stream"

HEADERS = {
    # Scripts and WebAssembly of this page only, no connection to anybody else: a key that is pasted can't leave.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    # Both are needed for threads in WebAssembly.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MODEL = re.compile(r"/models/([0-9a-f]{16})\.safetensors")


@dataclass(frozen=True)
class Resource:
    """Something to serve.

    Attributes:
        kind: its media type.
        size: in bytes.
        tag: says which version it is; None where it is never to be kept.
        read: from start to stop, at most `PIECE` bytes at a time.
    """

    kind: str
    size: int
    tag: str | None
    read: Callable[[int, int], bytes]


def _file(path: Path, kind: str) -> Resource:
    """A file on disk, as it is now."""
    about = path.stat()

    def read(start: int, stop: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    return Resource(kind, about.st_size, f'"{about.st_mtime_ns:x}-{about.st_size:x}"', read)


class ViewServer:
    """Shows one file. The server listens from the start; `run` answers until `stop` is called, from another thread.

    Args:
        data: the file; of a remote one, ranges are read as the browser asks for them.
        name: what it is called in the browser.
        model: weights for it, a preset or a path; by default the installed ones that the file names.
        port: to listen on; 0 takes any free one.
        page: folder of the built viewer; by default that of this installation.

    Raises:
        InvalidInput: this installation has no viewer.
        FormatError: the head of the file can't be read.
        OSError: the port is taken, or the file can't be read.
    """

    def __init__(
        self,
        data: Bytes,
        name: str,
        *,
        model: str | Path | None = None,
        port: int = 0,
        page: Path | None = None,
    ) -> None:
        page = PAGE if page is None else page
        if not (page / "index.html").is_file():
            raise InvalidInput(
                "this installation has no viewer: releases have it; in a checkout `make web` builds it, with Node.js"
            )
        head = read_head(data)
        size = size_of(data)
        self._size = head.file_bytes if size is None else size
        self._data = data
        self._reading = threading.Lock()  # sources are not said to serve several threads
        self._model = head.model_id.hex(), None if model is None else find_weights(model)
        self._place = f"/files/{quote(name, safe='')}"
        # Names are looked up in this dictionary, so that no request reaches any other file.
        self._page = {f"/{path.name}": path for path in page.iterdir() if path.is_file()}
        self._page["/"] = page / "index.html"
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/?file={quote(self._place, safe='/')}"

    @property
    def hosts(self) -> set[str]:
        """What a request may call this server: other names are those of pages that want to read what it serves."""
        return {f"{HOST}:{self.port}", f"localhost:{self.port}"}

    def run(self) -> None:
        """Answer requests until `stop` is called."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `run`, and close the port."""
        self._server.shutdown()
        self._server.server_close()

    def find(self, target: str) -> Resource | None:
        """What a request is for; None if there is no such thing.

        Raises:
            OSError, SsicError: it can't be read.
        """
        path = urlsplit(target).path
        if path in self._page:
            return _file(self._page[path], KINDS.get(self._page[path].suffix, _BYTES))
        if match := _MODEL.fullmatch(path):
            identity, given = self._model
            if given is not None and match[1] == identity:
                return _file(given, _BYTES)
            try:
                return _file(find_by_id(bytes.fromhex(match[1])), _BYTES)
            except UnknownModel:
                return None
        if unquote(path) == unquote(self._place):
            return Resource(_BYTES, self._size, None, self._read)
        return None

    def _read(self, start: int, stop: int) -> bytes:
        with self._reading:
            return bytes(self._data[start:stop])


def _handler(server: ViewServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        view = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ssic"
    sys_version = ""
    timeout = IDLE
    view: ViewServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: whoever looks at which group is nobody's business."""

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Host") not in self.view.hosts:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
            return
        try:
            found = self.view.find(self.path)
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            if found.tag is not None and self.headers.get("If-None-Match") == found.tag:
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.send_header("ETag", found.tag)
                self.end_headers()
                return
            span = self._span(found.size)
            if span is None:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{found.size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = found.read(span.start, min(span.stop, span.start + PIECE))
        except (OSError, SsicError) as error:
            self.send_error(HTTPStatus.BAD_GATEWAY, "it can't be read", str(error))
            return
        self._send_head(found, span)
        if body:
            self._send_body(found, span, first)

    def _span(self, size: int) -> range | None:
        """The bytes that are asked for; None if there are no such bytes. What is no single range means all."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None or match[0] == "bytes=-":
            return range(size)
        if not match[1]:
            span = range(max(0, size - int(match[2])), size)
        else:
            span = range(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
        return span or None

    def _send_head(self, found: Resource, span: range) -> None:
        partial = len(span) < found.size
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(span)))
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {span.start}-{span.stop - 1}/{found.size}")
        if found.tag is None:
            self.send_header("Cache-Control", "no-store")
        else:
            self.send_header("ETag", found.tag)
            self.send_header(
                "Cache-Control", "no-cache"
            )  # kept, and asked for anew: another version is noticed
        self.end_headers()

    def _send_body(self, found: Resource, span: range, first: bytes) -> None:
        """The body; `first` are its first bytes. What breaks now can only be told by closing the connection."""
        try:
            self.wfile.write(first)
            at = span.start + len(first)
            while at < span.stop:
                piece = found.read(at, min(span.stop, at + PIECE))
                if not piece:
                    break
                self.wfile.write(piece)
                at += len(piece)
            self.close_connection = self.close_connection or at < span.stop
        except (OSError, SsicError):
            self.close_connection = True


def name_of(place: str | os.PathLike[str]) -> str:
    """What a file at a path or URL is called in the browser.

    >>> name_of("a/photo.ssic"), name_of("https://example.org/b/photo%201.ssic?key=1"), name_of("-")
    ('photo.ssic', 'photo 1.ssic', 'picture.ssic')
    """
    text = os.fspath(place)
    path = unquote(urlsplit(text).path) if "://" in text else text
    name = Path(path).name
    return name if name.strip("-. ") else "picture.ssic"
