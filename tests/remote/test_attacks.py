"""What hostile URLs and servers try: reading what they should not, wasting memory and time, catching secrets."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import ssic
from helpers.loopback import Loopback, serving
from helpers.remote_files import LENGTHS, laid_out
from ssic.errors import InvalidInput
from ssic.storage.remote import NoRangeRequests
from ssic.storage.urls import PROTOCOLS, checked_url, is_http, reason, without_secrets

Answer = Callable[[bytes, socket.socket], None]


@contextmanager
def raw_server(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A server that hands every request, as it came, to `answer`; gives its address and the requests."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                if not (more := connection.recv(4096)):
                    return
                request += more
            requests.append(request)
            answer(request, connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.close()


def asked(request: bytes) -> range:
    span = re.search(rb"Range: bytes=(\d+)-(\d+)", request)
    assert span, request
    return range(int(span[1]), int(span[2]) + 1)


def partial(data: bytes, part: range, headers: str = "") -> bytes:
    body = data[part.start : part.stop]
    told = f"bytes {part.start}-{part.start + len(body) - 1}/{len(data)}"
    return (
        f"HTTP/1.1 206 OK\r\nContent-Range: {told}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        f"{headers}\r\n"
    ).encode() + body


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving({"a.ssic": laid_out()}) as state:
        yield state


# -- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "reference://a.ssic::http://127.0.0.1:1/ref.json",
        "REFERENCE://a.ssic::http://127.0.0.1:1/ref.json",
        "zip://a.ssic::file:///etc/a.zip",
        "simplecache::http://127.0.0.1:1/a.ssic",
        "filecache::file:///etc/passwd",
        "file:///etc/passwd::reference",
        "s3://bucket/a.ssic::reference://x",
        "memory://a.ssic",
        "ftp://127.0.0.1:1/a.ssic",
        "ssh://127.0.0.1:1/a.ssic",
        "dask://a",
        "data://a",
        "://a",
        "\0://a",
        "a" * 100_000 + "://",
    ],
)
def test_urls_name_what_was_allowed_and_nothing_else(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ssic.open(url)
    assert len(str(caught.value)) < 500 + len(url)


def test_templates_of_a_reference_are_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    template = "{{ cycler.__init__.__globals__.os.mkdir('" + str(mark) + "') }}"
    spec = {"version": 1, "templates": {"u": "x"}, "gen": [], "refs": {"a.ssic": [template, 0, 10]}}
    (tmp_path / "ref.json").write_text(json.dumps(spec))
    for options in ({}, {"protocols": ["reference"]}):
        with pytest.raises((InvalidInput, OSError)):
            ssic.open(
                f"reference://a.ssic::file://{tmp_path}/ref.json",
                storage_options={"simple_templates": False},
                **options,
            )
    assert not mark.exists()


def test_what_is_allowed_is_asked_for_by_name() -> None:
    assert {"http", "https", "s3", "gs", "gcs", "az", "abfs", "file", "local"} <= PROTOCOLS
    assert not PROTOCOLS & {"reference", "zip", "memory", "simplecache", "dir", "data", "ftp", "github"}
    assert checked_url("HTTP://Host/a::b://c?x") == "http://Host/a::b://c?x"
    assert checked_url("https://[::1]/a") == "https://[::1]/a"
    assert checked_url("ZIP://a::https://h/b.zip", ["zip"]) == "zip://a::https://h/b.zip"
    assert is_http("HTTPS://h")
    assert not is_http("zip://a::https://h")
    for more in ("zip", 3, [3]):
        with pytest.raises(InvalidInput, match="list of names"):
            checked_url("zip://a::https://h/b.zip", more)  # type: ignore[arg-type]


def test_schemes_in_capitals_and_ipv6(server: Loopback) -> None:
    assert ssic.open(server.url("a.ssic").replace("http", "HTTP")).damaged() == []


# -- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit", ["a", "://", "a:b", "://a:", "@", "://x:y/@", "/", "a ", "::", "\\", "://x:y"]
)
def test_foreign_texts_take_linear_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    began = time.process_time()
    for work in (reason, without_secrets):
        work(text)
        work(text + "@")
    assert time.process_time() - began < 2
    assert len(reason(text)) <= 4 * 200


def test_foreign_texts_are_shown_without_secrets_and_control_characters() -> None:
    assert (
        reason("at http://me:hidden@h/a?token=hidden: \x1b[31mred\nline") == "at http://h/a \\x1b[31mred line"
    )
    assert "hidden" not in reason("http://me:" + "hidden" * 1000 + "@h/")
    assert "hidden" not in without_secrets("https://me:p://hidden@h/")
    assert "hidden" not in without_secrets("https://h/https://me:hidden@i/")


def test_a_long_error_text_of_a_server_takes_no_time() -> None:
    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 " + b"a" * 7000 + b"\x1b[2J\r\nContent-Length: 0\r\n\r\n")

    with raw_server(answer) as (url, _):
        began = time.process_time()
        with pytest.raises(OSError, match=r"answers 500 a|can't be reached") as caught:
            ssic.open(f"{url}/a.ssic")
        assert time.process_time() - began < 2
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 1200


# -- memory ------------------------------------------------------------------------------------------------


def test_one_whole_body_per_file_is_taken(server: Loopback) -> None:
    opened = ssic.open(server.url("a.ssic"))
    server.mode = "ignores ranges"
    server.files["a.ssic"] = laid_out()
    taken: list[int] = []
    import ssic.storage.http as http

    body = http.HttpReader._body

    async def counting(self, answer, most, read):
        found = await body(self, answer, most, read)
        taken.append(len(found))
        return found

    http.HttpReader._body = counting
    try:
        wanted = ["a", "far", "background"]
        assert bytes(opened.extract(wanted)) == bytes(ssic.SsicFile(server.files["a.ssic"]).extract(wanted))
        assert opened.damaged() == []
    finally:
        http.HttpReader._body = body
    assert taken == [len(server.files["a.ssic"])]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x", "GZIP"])
@pytest.mark.parametrize("status", ["200", "206"])
def test_encodings_that_nobody_asked_for_are_refused_unread(encoding: str, status: str) -> None:
    bomb = gzip.compress(bytes(2**24))

    def answer(request: bytes, connection: socket.socket) -> None:
        head = f"HTTP/1.1 {status} OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n"
        connection.sendall(head.encode() + b"Content-Range: bytes 0-4095/9999\r\n\r\n" + bomb)

    with raw_server(answer) as (url, _), pytest.raises(OSError, match="compressed"):
        ssic.open(f"{url}/a.ssic")


@pytest.mark.parametrize(
    "encoding", ["", "identity", "Identity", "aws-chunked", "AWS-Chunked", "aws-chunked,"]
)
def test_encodings_that_change_nothing_are_taken(encoding: str) -> None:
    data = laid_out()

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(partial(data, asked(request), f"Content-Encoding: {encoding}\r\n"))

    with raw_server(answer) as (url, _):
        assert ssic.open(f"{url}/a.ssic").damaged() == []


def test_units_are_read_in_any_case() -> None:
    data = laid_out()

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(partial(data, asked(request)).replace(b" bytes ", b" Bytes "))

    with raw_server(answer) as (url, _):
        assert ssic.open(f"{url}/a.ssic").damaged() == []


def test_what_a_short_answer_lacks_is_asked_for_again(server: Loopback) -> None:
    server.mode = "less than asked"
    opened = ssic.open(server.url("a.ssic"))
    assert bytes(opened.extract(["b"])) == bytes(ssic.SsicFile(server.files["a.ssic"]).extract(["b"]))
    server.files["a.ssic"] = laid_out(chunks={"EXIF": b"II*\0"})
    with pytest.raises(OSError, match="changed"):
        bytes(opened.extract(["far"]))


# -- time --------------------------------------------------------------------------------------------------


def drip(connection: socket.socket, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.02)


def forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize(
    ("start", "then"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 206 OK\r\n", b"X-A: b\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-4095/9999\r\n\r\n", b"x"),
        (b"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 9999\r\n\r\n", b"x"),
    ],
)
def test_whatever_is_dripped_ends_at_one_deadline(
    start: bytes, then: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssic.storage.http.TIMEOUT", 0.4)

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(start)
        drip(connection, forever(then))

    with raw_server(answer) as (url, _):
        began = time.monotonic()
        with pytest.raises(OSError, match=r"no answer in time|redirects more than|can't be reached"):
            ssic.open(f"{url}/a.ssic")
        assert time.monotonic() - began < 8


def test_a_slow_line_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives moves the deadline: 20 kB/s are enough for as long as it takes."""
    monkeypatch.setattr("ssic.storage.http.TIMEOUT", 0.5)
    data = laid_out()

    def answer(request: bytes, connection: socket.socket) -> None:
        whole = partial(data, asked(request))
        drip(connection, (whole[i : i + 400] for i in range(0, len(whole), 400)))

    with raw_server(answer) as (url, _):
        began = time.monotonic()
        opened = ssic.open(f"{url}/a.ssic")
        assert bytes(opened.extract(["background"])) == bytes(ssic.SsicFile(data).extract(["background"]))
        assert time.monotonic() - began > 0.5


def test_servers_with_too_much_to_do_are_told_apart() -> None:
    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")

    with raw_server(answer) as (url, _), pytest.raises(OSError, match="try again in 7 seconds"):
        ssic.open(f"{url}/a.ssic")


# -- secrets -----------------------------------------------------------------------------------------------

SECRET = {"X-Api-Key": "hidden", "Authorization": "Bearer hidden", "Cookie": "hidden=1"}


@pytest.mark.parametrize("where", ["headers", "session"])
def test_headers_stay_with_the_server_that_they_were_given_for(where: str) -> None:
    data = laid_out()
    options: dict[str, object] = (
        {"headers": SECRET} if where == "headers" else {"client_kwargs": {"headers": SECRET}}
    )

    def give(request: bytes, connection: socket.socket) -> None:
        connection.sendall(partial(data, asked(request)))

    with raw_server(give) as (elsewhere, there):

        def send_on(request: bytes, connection: socket.socket) -> None:
            to = "/again" if b"/again" not in request else f"{elsewhere}/a.ssic"
            connection.sendall(
                f"HTTP/1.1 307 Go\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )

        with raw_server(send_on) as (first, here):
            opened = ssic.open(f"{first}/a.ssic?token=hidden", storage_options=options)
            assert bytes(opened.extract(list(LENGTHS))) == bytes(ssic.SsicFile(data).extract(list(LENGTHS)))
    assert len(here) >= 4
    assert all(b"X-Api-Key: hidden" in request for request in here)
    assert there
    assert not any(b"hidden" in request for request in there)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://h/a", "http://[", "gopher://x"])
def test_redirects_lead_to_http_only(to: str) -> None:
    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 302 Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(answer) as (url, _), pytest.raises(OSError, match="no address"):
        ssic.open(f"{url}/a.ssic")


@pytest.mark.parametrize(
    "query", ["X-Amz-Signature=a%2Fb%3D%3d&k=%7e~%2B+", "sig=a%2fb&se=2030-01-01T00%3A00%3A00Z", "a=b;c&d"]
)
def test_signed_urls_are_requested_as_they_were_signed(query: str) -> None:
    data = laid_out()

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(partial(data, asked(request)))

    with raw_server(answer) as (url, requests):
        ssic.open(f"{url}/a%2Fb/c%7E.ssic?{query}")
        ssic.open(f"{url}/with space/ü.ssic")
    assert requests[0].startswith(f"GET /a%2Fb/c%7E.ssic?{query} HTTP".encode())
    assert requests[1].startswith(b"GET /with%20space/%C3%BC.ssic HTTP")


def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    data = laid_out()

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(partial(data, asked(request)))

    with raw_server(answer) as (url, requests):
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        ssic.open("http://nowhere.invalid/a.ssic")
    assert requests[0].startswith(b"GET http://nowhere.invalid/a.ssic HTTP")


# -- fork --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_files_that_were_opened_before_a_fork_are_read_after_it(server: Loopback, tmp_path: Path) -> None:
    data = server.files["a.ssic"]
    (tmp_path / "a.ssic").write_bytes(data)
    opened = [ssic.open(server.url("a.ssic")), ssic.open(tmp_path / "a.ssic")]
    expected = bytes(ssic.SsicFile(data).extract(["far"]))
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if all(bytes(one.extract(["far"])) == expected for one in opened) else 1)
            finally:
                os._exit(2)
        children.append(child)
    deadline = time.monotonic() + 60
    for child in children:
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, 9)
            time.sleep(0.02)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert all(bytes(one.extract(["far"])) == expected for one in opened)


def test_opened_urls_are_pickled(server: Loopback) -> None:
    opened = pickle.loads(pickle.dumps(ssic.open(server.url("a.ssic"))))
    assert bytes(opened.extract(["far"])) == bytes(ssic.SsicFile(server.files["a.ssic"]).extract(["far"]))


def test_a_whole_file_is_kept_and_told_of(server: Loopback) -> None:
    server.mode = "ignores ranges"
    with pytest.warns(NoRangeRequests):
        opened = ssic.open(server.url("a.ssic"))
    assert len(server.requests) == 1
    assert opened.damaged() == []
    assert len(server.requests) == 1
