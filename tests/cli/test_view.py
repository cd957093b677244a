"""What `ssic view` serves, to whom, and what it does not."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssic
from helpers.loopback import serving
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.model.weights import find_by_id, find_weights
from ssic.storage.places import open_source
from ssic.view import ViewServer, name_of

DATA = ssic.encode(natural_picture(3, 60, 90), blob_mask(4, 4, 6, 3), quality=40)
MODEL = ssic.SsicFile(DATA).head.model_id.hex()
PAGE = {"index.html": b"<!doctype html><title>page</title>", "viewer.js": b"1", "a.wasm": b"\0asm" * 900_000}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, content in PAGE.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "folder" / "secret.txt").write_bytes(b"secret")
    (folder.parent / "beside.txt").write_bytes(b"secret")
    return folder


class Client:
    """Asks a server that runs in a thread."""

    def __init__(self, server: ViewServer) -> None:
        self.server = server

    def get(self, path: str, method: str = "GET", host: str | None = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            sent = {"Host": host or f"127.0.0.1:{self.server.port}"}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(method, path, skip_host=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def running(server: ViewServer) -> Iterator[Client]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Client(server)
    finally:
        server.stop()
        thread.join(10)


@pytest.fixture(scope="module")
def client(page) -> Iterator[Client]:
    yield from running(ViewServer(DATA, "a b/ü?.ssic", page=page))


FILE = "/files/a%20b%2F%C3%BC%3F.ssic"


def test_the_page_the_model_and_the_file_are_served(client):
    assert (
        client.server.url
        == f"http://127.0.0.1:{client.server.port}/?file=/files/a%2520b%252F%25C3%25BC%253F.ssic"
    )
    for path, content in {
        "/": PAGE["index.html"],
        "/?file=x": PAGE["index.html"],
        "/a.wasm": PAGE["a.wasm"],
        FILE: DATA,
    }.items():
        status, headers, body = client.get(path)
        assert (status, body) == (200, content), path
        assert headers["Accept-Ranges"] == "bytes"
    status, headers, body = client.get(f"/models/{MODEL}.safetensors")
    assert (status, body) == (200, find_by_id(bytes.fromhex(MODEL)).read_bytes())
    assert client.get("/a.wasm")[1]["Content-Type"] == "application/wasm"
    assert client.get("/viewer.js")[1]["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize(
    ("asked", "span"),
    [("0-9", (0, 10)), ("5-5", (5, 6)), ("100-", (100, None)), ("-7", (-7, None)), ("9-99999999", (9, None))],
)
def test_ranges(client, asked, span):
    status, headers, body = client.get(FILE, Range=f"bytes={asked}")
    start, stop, _ = slice(*span).indices(len(DATA))
    assert (status, body) == (206, DATA[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


def test_ranges_that_are_none(client):
    for asked in (f"bytes={len(DATA)}-", "bytes=9-3", "bytes=-0"):
        status, headers, body = client.get(FILE, Range=asked)
        assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(DATA)}", b"")
    for asked in ("bytes=0-1,3-4", "bytes=-", "lines=1-2", "bytes=x-y", "bytes=" + "9" * 40 + "-"):
        assert client.get(FILE, Range=asked)[::2] == (200, DATA)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/folder/",
            "/folder",
            "/folder/secret.txt",
            "/../beside.txt",
            "/%2e%2e/beside.txt",
            "/..%2fbeside.txt",
        ),
        *(
            "//etc/passwd",
            "/etc/passwd",
            "/files/",
            "/files/other.ssic",
            "/models/",
            "/models/small.safetensors",
        ),
        *(
            "/models/0123456789abcdef.safetensors",
            f"/models/{MODEL}.safetensors/",
            "/index.html/",
            "/viewer.js%00",
        ),
        *("/models/../viewer.js", "/files/../../beside.txt", "*", "http://example.org/x"),
    ],
)
def test_nothing_else_is_served(client, path):
    status, headers, body = client.get(path)
    assert status == 404
    assert b"secret" not in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_only_reading_and_only_by_its_own_name(client):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert client.get("/", method)[0] == 501
    status, headers, body = client.get(FILE, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
    # A page elsewhere may make its own name mean this machine.
    for host in ("evil.example", f"evil.example:{client.server.port}", "127.0.0.1"):
        assert client.get(FILE, host=host)[0] == 421
    assert client.get("/", host=f"localhost:{client.server.port}")[0] == 200


def test_headers_keep_the_page_to_itself(client):
    for path in ("/", FILE, "/nothing"):
        _, headers, _ = client.get(path)
        policy = headers["Content-Security-Policy"]
        assert "connect-src 'self'" in policy
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Access-Control-Allow-Origin"] is None


def test_what_has_not_changed_is_not_sent_again(client):
    _, headers, _ = client.get("/a.wasm")
    status, _, body = client.get("/a.wasm", If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")
    _, headers, _ = client.get(FILE)
    assert headers["ETag"] is None
    assert headers["Cache-Control"] == "no-store"


def test_of_a_remote_file_only_what_is_asked_for_is_read(page):
    with serving({"a.ssic": DATA}) as remote:
        source = open_source(remote.url("a.ssic"))
        for client in running(ViewServer(source, "a.ssic", page=page)):
            before = remote.sent
            assert client.get("/files/a.ssic", Range="bytes=10-19")[::2] == (206, DATA[10:20])
            assert remote.sent == before  # the beginning came with the head


def test_a_file_that_can_no_longer_be_read_is_an_error_of_the_gateway(page, tmp_path):
    path = tmp_path / "a.ssic"
    path.write_bytes(DATA)
    for client in running(ViewServer(open_source(path), "a.ssic", page=page)):
        assert client.get("/files/a.ssic")[0] == 200
        path.unlink()
        assert client.get("/files/a.ssic")[0] == 502


def test_given_weights_are_served_for_the_file_and_no_others(page, tmp_path):
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(find_weights("base").read_bytes())
    for client in running(ViewServer(DATA, "a.ssic", model=weights, page=page)):
        weights.write_bytes(b"mine")
        assert client.get(f"/models/{MODEL}.safetensors")[2] == b"mine"


def test_errors_come_before_the_server(page, tmp_path):
    with pytest.raises(ssic.NotAnSsicFile):
        ViewServer(b"no file at all", "a", page=page)
    with pytest.raises(ssic.InvalidInput, match="no viewer"):
        ViewServer(DATA, "a", page=tmp_path)
    with pytest.raises(ssic.ModelError):
        ViewServer(DATA, "a", page=page, model=tmp_path / "none.safetensors")
    server = ViewServer(DATA, "a", page=page)
    with pytest.raises(OSError, match="in use"):
        ViewServer(DATA, "a", page=page, port=server.port)
    server._server.server_close()


def test_names():
    assert name_of("x/photo.ssic") == "photo.ssic"
    assert name_of("https://example.org/a/b%20c.ssic?token=1#f") == "b c.ssic"
    assert {name_of(place) for place in ("-", "..", ".", "https://example.org/")} == {"picture.ssic"}


def test_the_command_serves_until_it_is_interrupted(page, tmp_path):
    path = tmp_path / "photo.ssic"
    path.write_bytes(DATA)
    code = (
        "import sys, pathlib, ssic.view, ssic.cli; ssic.view.PAGE = pathlib.Path(sys.argv.pop()); "
        "ssic.cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "view", str(path), "--no-browser", str(page)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/files/photo.ssic")
        assert connection.getresponse().read() == DATA
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
