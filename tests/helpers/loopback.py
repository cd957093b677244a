"""An HTTP server on loopback that serves files by ranges, counts what it does, and misbehaves on demand."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What the server serves, how, and what it has done.

    Attributes:
        files: content by path.
        mode: "ranges", or a way to misbehave; see `_Handler`.
        requests: (method, Range header, bytes of the body sent) of each request.
        headers: sent with every answer.
    """

    address: str
    files: dict[str, bytes]
    mode: str = "ranges"
    requests: list[tuple[str, str | None, int]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    @property
    def sent(self) -> int:
        return sum(count for _, _, count in self.requests)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of each request, as asked for."""
        found = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "") for _, asked, _ in self.requests]
        return [(int(m[1]), int(m[2])) for m in found if m]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Loopback

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.state.requests.append(("HEAD", None, 0))
        self.send_error(405)

    def do_GET(self) -> None:
        state, asked = self.state, self.headers.get("Range")
        data = state.files.get(self.path.lstrip("/").partition("?")[0])
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        if state.mode.isdigit() or data is None:
            self._send(int(state.mode) if state.mode.isdigit() else 404, b"sorry", asked)
        elif state.mode == "hangs":
            state.requests.append(("GET", asked, 0))
            time.sleep(3)
        elif state.mode == "hangs up":
            state.requests.append(("GET", asked, 0))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif state.mode == "ignores ranges" or span is None:
            self._send(200, data, asked)
        elif state.mode == "ignores ranges, tells no length":
            self._send(200, data, asked, length=False)
        elif int(span[1]) >= len(data):
            self._send(416, b"", asked, {"Content-Range": f"bytes */{len(data)}"})
        else:
            start, last = int(span[1]), min(int(span[2]), len(data) - 1)
            self._send_range(data, start, last, asked)

    def _send_range(self, data: bytes, start: int, last: int, asked: str | None) -> None:
        mode, body = self.state.mode, data[start : last + 1]
        told = f"bytes {start}-{last}/{len(data)}"
        if mode == "unknown size":
            self._send(206, body, asked, {"Content-Range": f"bytes {start}-{last}/*"}, length=False)
        elif mode == "wrong range":
            self._send(
                206,
                data[start + 1 : last + 2],
                asked,
                {"Content-Range": told.replace(f" {start}-", f" {start + 1}-")},
            )
        elif mode == "no content range":
            self._send(206, body, asked)
        elif mode == "less than asked":
            body = body[: max(500, len(body) // 2)]
            self._send(
                206, body, asked, {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(data)}"}
            )
        elif mode == "a byte at a time":
            self._send(206, body[:1], asked, {"Content-Range": f"bytes {start}-{start}/{len(data)}"})
        elif mode == "short body":
            self._send(206, body[:-1], asked, {"Content-Range": told}, length=False)
        elif mode == "cut connection":
            self._send(206, body, asked, {"Content-Range": told}, cut=len(body) // 2)
        elif mode == "long body":
            self._send(206, body + b"more", asked, {"Content-Range": told}, length=False)
        elif mode == "compressed":
            self._send(206, body, asked, {"Content-Range": told, "Content-Encoding": "x-odd"})
        elif mode == "drips":
            self._send(206, b"", asked, {"Content-Range": told}, length=False)
            with suppress(OSError):  # the client has had enough
                for byte in body[:60]:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
        elif mode == "other size":
            self._send(
                206,
                body,
                asked,
                {"Content-Range": f"bytes {start}-{last}/{len(data) + len(self.state.requests)}"},
            )
        elif mode == "other tag":
            self._send(206, body, asked, {"Content-Range": told, "ETag": f'"{len(self.state.requests)}"'})
        else:
            assert mode == "ranges", mode
            self._send(206, body, asked, {"Content-Range": told})

    def _send(
        self,
        status: int,
        body: bytes,
        asked: str | None,
        headers: dict[str, str] | None = None,
        *,
        length: bool = True,
        cut: int | None = None,
    ) -> None:
        self.state.requests.append(("GET", asked, len(body)))
        self.send_response(status)
        for key, value in {**self.state.headers, **(headers or {})}.items():
            self.send_header(key, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        else:  # the end of the connection is the end of the body
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[:cut])
        if not length or cut is not None:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are no news; printed, they would turn up in what a test captures."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Loopback]:
    """Serve `files` on a free port of loopback for as long as the context lasts."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    handler.state = state = Loopback(f"http://127.0.0.1:{server.server_address[1]}", files)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
