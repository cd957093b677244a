"""Files at URLs: what is requested, what is transferred, and what servers can do wrong."""

from __future__ import annotations

import errno
import json
import socket
import warnings
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ssic
import ssic.format as fmt
from helpers.commands import Run
from helpers.loopback import Loopback, serving
from helpers.remote_files import LENGTHS, laid_out
from ssic.cli import main
from ssic.errors import DamagedSegment, FormatError, InvalidInput, NotAnSsicFile, TruncatedFile
from ssic.storage.places import open_source
from ssic.storage.remote import NoRangeRequests, open_url
from ssic.storage.source import FIRST_BYTES, GAP, ByteSource, cut, joined
from ssic.storage.urls import without_secrets


@pytest.fixture(scope="module")
def real() -> bytes:
    """A file that decodes: two groups, both behind the first request."""
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (96, 128, 3), np.uint8)
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4, 2:5] = 1
    return ssic.encode(picture, labels, quality=70)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving({"a.ssic": laid_out()}) as state:
        yield state


def segment(data: bytes, name: str) -> bytes:
    head = fmt.read_head(data)
    return fmt.read_segment(data, head, next(g.id for g in head.groups if g.name == name))


# -- what is read ------------------------------------------------------------------------------------------


def test_opening_takes_one_request(server: Loopback) -> None:
    opened = ssic.open(server.url("a.ssic"))
    assert opened.head.file_bytes == len(server.files["a.ssic"])
    assert server.requests == [("GET", f"bytes=0-{FIRST_BYTES - 1}", FIRST_BYTES)]


def test_a_long_head_takes_two(server: Loopback) -> None:
    data = server.files["a.ssic"] = laid_out(chunks={"note": bytes(9000)})
    opened = ssic.open(server.url("a.ssic"))
    assert server.ranges == [(0, FIRST_BYTES - 1), (FIRST_BYTES, opened.head.head_bytes - 1)]
    assert server.sent == opened.head.head_bytes == opened.info()["transfer"]["head"]
    assert opened.head.chunks["note"] == fmt.read_head(data).chunks["note"]


def test_a_small_file_takes_one_request_in_all(server: Loopback) -> None:
    data = server.files["a.ssic"] = laid_out({"a": 100, "b": 200})
    opened = ssic.open(server.url("a.ssic"))
    assert opened.damaged() == []
    assert bytes(opened.extract(["b"])) == bytes(ssic.SsicFile(data).extract(["b"]))
    assert len(server.requests) == 1
    assert opened.info()["transfer"] == {"head": len(data), "groups": {"a": 0, "b": 0}, "all": 0}


@pytest.mark.parametrize(
    ("groups", "requests"),
    [
        (["near"], 0),  # came with the head
        (["a"], 1),  # its first bytes came with the head
        (["b"], 1),
        (["a", "b"], 1),  # neighbours
        (["b", "far"], 1),  # the gap is a small group
        (["a", "far"], 2),
        (["near", "b", "background"], 2),
        (list(LENGTHS), 1),
    ],
)
def test_groups_take_their_segments_only(server: Loopback, groups: list[str], requests: int) -> None:
    data = server.files["a.ssic"]
    opened = ssic.open(server.url("a.ssic"))
    server.requests.clear()
    assert bytes(opened.extract(groups)) == bytes(ssic.SsicFile(data).extract(groups))
    assert len(server.requests) == requests
    assert server.sent == opened.transfer(groups)
    entries = [g for g in opened.groups if g.name in groups]
    needed = sum(max(0, g.offset + g.length - max(g.offset, FIRST_BYTES)) for g in entries)
    assert needed <= server.sent <= needed + GAP
    assert all(method == "GET" for method, _, _ in server.requests)


def test_decoding_over_http_gives_the_same_pixels(server: Loopback, real: bytes) -> None:
    server.files["real.ssic"] = real
    opened = ssic.open(server.url("real.ssic"))
    (wanted,) = [g for g in opened.groups if g.id == 1]
    np.testing.assert_array_equal(opened.decode(1), ssic.decode(real, 1))
    assert server.sent <= FIRST_BYTES + wanted.length
    np.testing.assert_array_equal(opened.decode(), ssic.decode(real))


def test_a_prefix_is_one_request(server: Loopback, real: bytes) -> None:
    server.files["real.ssic"] = real
    first = min(ssic.SsicFile(real).groups, key=lambda g: g.offset)
    length = first.offset + first.length + 10
    opened = ssic.open(server.url("real.ssic"), prefix=length)
    decoded = opened.decode_pixels(partial=True)
    assert server.ranges == [(0, length - 1)]
    assert (decoded.damaged, decoded.missing) == ((), ("background",))
    np.testing.assert_array_equal(decoded.pixels[decoded.present], ssic.decode(real)[decoded.present])
    with pytest.raises(TruncatedFile, match="background"):
        opened.decode("background", partial=True)
    with pytest.raises(InvalidInput, match="at least 1"):
        ssic.open(server.url("real.ssic"), prefix=0)


def test_a_prefix_longer_than_the_file_is_the_file(server: Loopback, tmp_path: Path) -> None:
    data = server.files["a.ssic"]
    (tmp_path / "a.ssic").write_bytes(data)
    fsspec.filesystem("memory").pipe_file("/prefix.ssic", data)
    for place in (server.url("a.ssic"), tmp_path / "a.ssic", "memory://prefix.ssic"):
        assert ssic.open(place, prefix=10 * len(data), protocols=["memory"]).damaged() == []


# -- what servers do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ignores ranges", "ignores ranges, tells no length"])
def test_without_ranges_the_whole_file_is_taken_once_and_said(server: Loopback, mode: str) -> None:
    server.mode = mode
    with pytest.warns(NoRangeRequests, match="whole files only"):
        opened = ssic.open(server.url("a.ssic"))
    data = server.files["a.ssic"]
    assert bytes(opened.extract(["far"])) == bytes(ssic.SsicFile(data).extract(["far"]))
    assert opened.damaged() == []
    assert server.sent == len(data)


def test_a_server_may_not_know_the_size(server: Loopback) -> None:
    server.mode = "unknown size"
    opened = ssic.open(server.url("a.ssic"))
    assert bytes(opened.extract(list(LENGTHS))) == bytes(
        ssic.SsicFile(server.files["a.ssic"]).extract(list(LENGTHS))
    )
    server.files["a.ssic"] = server.files["a.ssic"][:-1]
    assert ssic.open(server.url("a.ssic")).damaged() == ["background"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("wrong range", "the server sends 'bytes 1-"),
        ("no content range", "the server sends 'no range'"),
        ("a byte at a time", "16 answers were not enough"),
        ("short body", "and sends 4095 bytes"),
        ("cut connection", "in the middle of an answer"),
        ("long body", "and sends more"),
        ("compressed", "compressed"),
        ("hangs up", "ended without an answer"),
        ("500", "answers 500"),
        ("503", "answers 503"),
        ("416", "answers 416"),
        ("301", "answers 301"),
        ("429", "answers 429 Too Many Requests: it has too much to do, try again later"),
    ],
)
def test_servers_that_contradict_themselves_or_fail(server: Loopback, mode: str, said: str) -> None:
    server.mode = mode
    with pytest.raises(OSError, match=said) as caught:
        ssic.open(server.url("a.ssic"))
    assert caught.value.filename == server.url("a.ssic")
    assert caught.value.errno in (errno.EIO, errno.ECONNRESET, errno.EBUSY)


@pytest.mark.parametrize("mode", ["wrong range", "short body", "cut connection", "a byte at a time", "404"])
def test_the_same_later_is_an_error_too(server: Loopback, mode: str) -> None:
    opened = ssic.open(server.url("a.ssic"))
    server.mode = mode
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        bytes(opened.extract(["far", "b"]))
    assert bytes(opened.extract(["near"]))  # what is there is there


def test_a_whole_file_later_is_taken(server: Loopback) -> None:
    opened = ssic.open(server.url("a.ssic"))
    server.mode = "ignores ranges"
    wanted = ["a", "far", "background"]
    assert bytes(opened.extract(wanted)) == bytes(ssic.SsicFile(server.files["a.ssic"]).extract(wanted))


@pytest.mark.parametrize("mode", ["other size", "other tag"])
def test_a_file_that_changes_meanwhile_is_noticed(server: Loopback, mode: str) -> None:
    server.mode = mode
    opened = ssic.open(server.url("a.ssic"))
    with pytest.raises(OSError, match="changed while it was read"):
        bytes(opened.extract(["far"]))


@pytest.mark.parametrize(
    ("status", "kind"), [("404", FileNotFoundError), ("403", PermissionError), ("401", PermissionError)]
)
def test_refusals(server: Loopback, status: str, kind: type[OSError]) -> None:
    server.mode = status
    with pytest.raises(kind, match=status):
        ssic.open(server.url("a.ssic"))


def test_a_server_that_says_nothing_is_given_up(server: Loopback) -> None:
    import aiohttp

    server.mode = "hangs"
    options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=0.3)}}
    with pytest.raises(TimeoutError, match="no answer in time"):
        ssic.open(server.url("a.ssic"), storage_options=options)


@pytest.mark.parametrize("mode", ["hangs", "drips"])
def test_slow_servers_are_given_up(server: Loopback, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssic.storage.http.TIMEOUT", 0.2)
    server.mode = mode
    with pytest.raises(TimeoutError, match="no answer in time"):
        ssic.open(server.url("a.ssic"))


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.ssic"
        with pytest.raises(ConnectionRefusedError) as caught:
            ssic.open(url)
    assert caught.value.filename == url


def test_empty_cut_off_and_foreign_files(server: Loopback) -> None:
    data = server.files["a.ssic"]
    server.files |= {
        "empty": b"",
        "page": b"<html>" * 5000,
        "head": data[:50],
        "cut": data[:-1],
        "more": data + b"x",
    }
    for name, kind in (
        ("empty", TruncatedFile),
        ("head", TruncatedFile),
        ("page", NotAnSsicFile),
        ("more", FormatError),
    ):
        with pytest.raises(kind):
            ssic.open(server.url(name))
    cut_off = ssic.open(server.url("cut"))
    assert cut_off.damaged() == ["background"]
    assert bytes(cut_off.extract(["far"])) == bytes(ssic.SsicFile(data).extract(["far"]))


def test_damage_costs_its_group_only(server: Loopback) -> None:
    broken = bytearray(server.files["a.ssic"])
    entry = next(g for g in fmt.read_head(bytes(broken)).groups if g.name == "far")
    broken[entry.offset + 5] ^= 1
    server.files["a.ssic"] = bytes(broken)
    opened = ssic.open(server.url("a.ssic"))
    assert opened.damaged() == ["far"]
    with pytest.raises(DamagedSegment, match="far"):
        bytes(opened.extract(["far", "b"]))
    assert bytes(opened.drop(["far"]))


def test_a_whole_file_that_is_too_large_is_refused(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssic.storage.http.MOST_WHOLE", 10_000)
    for server.mode in ("ignores ranges", "ignores ranges, tells no length"):
        with pytest.raises(OSError, match="more than 10,000 bytes: download it"):
            ssic.open(server.url("a.ssic"))


# -- other file systems ------------------------------------------------------------------------------------


def test_whatever_fsspec_reads(tmp_path: Path, server: Loopback) -> None:
    data = laid_out()
    fsspec.filesystem("memory").pipe_file("/there.ssic", data)
    (tmp_path / "a.ssic").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in.ssic", data)
    for place in (
        "memory://there.ssic",
        f"file://{tmp_path}/a.ssic",
        tmp_path / "a.ssic",
        str(tmp_path / "a.ssic"),
        f"zip://in.ssic::file://{tmp_path}/a.zip",
        f"simplecache::{server.url('a.ssic')}",
    ):
        opened = ssic.open(place, protocols=["memory", "zip", "simplecache"])
        assert opened.damaged() == []
        assert bytes(opened.extract(["far"])) == bytes(ssic.SsicFile(data).extract(["far"]))


def test_cut_off_files_elsewhere() -> None:
    data = laid_out()
    memory = fsspec.filesystem("memory")
    for length in (0, 30, len(data) - 25_000, len(data) - 1):
        memory.pipe_file("/cut.ssic", data[:length])
        if length < 1000:
            with pytest.raises(TruncatedFile):
                ssic.open("memory://cut.ssic", protocols=["memory"])
        else:
            opened = ssic.open("memory://cut.ssic", protocols=["memory"])
            assert "background" in opened.damaged()
            assert bytes(opened.extract(["b"])) == bytes(ssic.SsicFile(data).extract(["b"]))
    with pytest.raises(FileNotFoundError) as caught:
        ssic.open("memory://nowhere.ssic", protocols=["memory"])
    assert caught.value.filename == "memory://nowhere.ssic"


def test_protocols_that_nothing_reads() -> None:
    with pytest.raises(InvalidInput, match="nonsense"):
        ssic.open("nonsense://a.ssic", protocols=["nonsense"])
    assert without_secrets("s3://bucket/a.ssic") == "s3://bucket/a.ssic"


def test_file_systems_that_connect_at_once_name_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ftp://me:secret@127.0.0.1:{silent.getsockname()[1]}/a.ssic"
        with pytest.raises(OSError, match="timed out") as caught:
            ssic.open(url, storage_options={"timeout": 0.2}, protocols=["ftp"])
    assert caught.value.filename == url.replace("me:secret@", "")
    assert caught.value.errno == errno.ETIMEDOUT


def test_secrets_stay_out_of_messages(server: Loopback) -> None:
    url = server.url("nothing.ssic?token=hidden").replace("http://", "http://me:hidden@")
    with pytest.raises(FileNotFoundError) as caught:
        ssic.open(url)
    assert "hidden" not in str(caught.value)
    assert "nothing.ssic" in str(caught.value)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=12),
    st.integers(0, 80),
    st.integers(0, 30),
)
def test_joined_reads_cover_what_is_asked_and_little_more(
    spans: list[tuple[int, int]], have: int, gap: int
) -> None:
    data = bytes(range(256)) * 2
    ranges = [range(start, start + length) for start, length in spans]
    reads = joined(ranges, have, gap, most=100)
    assert all(before.stop <= after.start for before, after in pairwise(reads))
    found = {range(have): data[:have]} | {r: data[r.start : r.stop] for r in reads}
    assert [cut(r, found) for r in ranges] == [data[r.start : r.stop] for r in ranges]
    needed = {i for r in ranges for i in r if i >= have}
    wasted = {i for r in reads for i in r} - needed
    assert len(wasted) <= gap * max(0, len(ranges) - 1)


# -- commands ----------------------------------------------------------------------------------------------


def test_commands_take_urls(run: Run, server: Loopback, real: bytes, tmp_path: Path) -> None:
    server.files["real.ssic"] = real
    url, target = server.url("real.ssic"), tmp_path / "out"
    whole = ssic.SsicFile(real)
    code, out, err = run("info", url, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts == whole.info()
    assert server.sent == facts["transfer"]["head"] < len(real)
    assert "not read" in run("info", url)[1]
    assert "intact" in run("info", url, "--check")[1]
    asked = json.loads(run("info", url, "--json", "--groups", "0,1")[1])["transfer"]
    assert asked["asked"] == asked["all"] == len(real) - FIRST_BYTES

    for line, expected in (
        (["extract", url, "--groups", "1"], bytes(whole.extract(1))),
        (["drop", url, "--groups", "1"], bytes(whole.drop(1))),
        (["reorder", url, "--order", "0"], bytes(whole.reorder(0))),
        (["merge", url], real),
    ):
        assert run(*line, "-o", target)[0] == 0
        assert target.read_bytes() == expected
    assert run("decode", url, "-o", tmp_path / "p.png", "--groups", "1")[0] == 0

    code, _, err = run("info", server.url("none.ssic"))
    assert (code, err) == (6, f"ssic: error: {server.url('none.ssic')}: the server answers 404 Not Found\n")
    server.files["page"] = b"<html>"
    code, _, err = run("info", server.url("page"))
    assert code == 4
    assert err.startswith(f"ssic: error: {server.url('page')}: this is not an ssic file")
    server.mode = "ignores ranges"
    code, _, err = run("info", url)
    assert code == 0
    assert err.startswith("ssic: warning: ")
    assert "whole files only" in err


def test_partial_files(run: Run, server: Loopback, real: bytes, tmp_path: Path) -> None:
    first = min(ssic.SsicFile(real).groups, key=lambda g: g.offset)
    end = first.offset + first.length
    (tmp_path / "cut.ssic").write_bytes(real[:end])
    server.files["real.ssic"] = real
    pictures = []
    for line in (
        ["decode", tmp_path / "cut.ssic", "--partial"],
        ["decode", tmp_path / "cut.ssic"],
        ["decode", server.url("real.ssic"), "--prefix", end],
    ):
        code, _, err = run(*line, "-o", tmp_path / "p.png")
        assert code == 3
        assert ("missing" if len(line) > 2 else "damaged") in err
        assert "background" in err
        pictures.append((tmp_path / "p.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]
    assert server.sent == end
    line = ["decode", tmp_path / "cut.ssic", "--partial", "-o", tmp_path / "p.png", "--json"]
    facts = json.loads(run(*line)[1])
    assert (facts["groups"], facts["damaged"], facts["missing"]) == (["group 1"], [], ["background"])
    assert run(*line, "--groups", "0")[0] == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssic.decode(real[:end], partial=True)


def test_local_files_do_without_fsspec(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a.ssic").write_bytes(laid_out())
    code = "import sys, ssic; ssic.open(sys.argv[1]).damaged(); assert not {'fsspec', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.ssic")], check=True)


def test_sources_that_are_made_by_hand(server: Loopback) -> None:
    source = open_url(server.url("a.ssic"), first=16)
    assert isinstance(source, ByteSource)
    assert ssic.SsicFile(source).damaged() == []


# -- sealed and signed -------------------------------------------------------------------------------------

ME = ssic.Identity.generate()


def commanded(*words: str) -> None:
    with pytest.raises(SystemExit):
        main(list(words))


@pytest.mark.parametrize("hide", ["names", "outline"])
def test_what_opening_hidden_groups_takes_is_told(server: Loopback, hide: str) -> None:
    data = bytes(ssic.encrypt(laid_out(), ["a", "b", "far"], ME.recipient, hide=hide))
    server.files["a.ssic"] = data
    opened = ssic.open(server.url("a.ssic"), identity=ME)
    told = opened.info()["transfer"]
    assert server.sent == told["head"]
    assert len(server.requests) <= 3  # neighbours are read together
    assert [told["groups"][name] for name in ("a", "b", "far")] == [0, 0, 0]
    before = server.sent
    segments, broken = opened.access.substreams([g.id for g in opened.groups])
    assert (len(segments), broken, server.sent - before) == (len(LENGTHS), {}, told["all"])


def test_whole_files_take_one_request_after_the_first(server: Loopback) -> None:
    key = ssic.SigningKey.generate()
    data = bytes(ssic.sign(bytes(ssic.encrypt(laid_out(), "a", ME.recipient)), key))
    server.files["a.ssic"] = data
    url = server.url("a.ssic")
    for work in (
        lambda: bytes(ssic.encrypt(open_source(url), "b", ME.recipient)),
        lambda: bytes(ssic.decrypt(open_source(url), ME)),
        lambda: bytes(ssic.rewrap(open_source(url), ME, ME.recipient)),
        lambda: ssic.verify(open_source(url), key.verify_key),
        lambda: bytes(ssic.sign(open_source(url), key)),
        lambda: commanded("info", url, "--check", "--trust", str(key.verify_key)),
    ):
        server.requests.clear()
        work()
        assert (len(server.requests), server.sent) == (2, len(data))


def _succeed(*line: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(line)
    assert end.value.code == 0


def test_secrets_stay_out_of_what_commands_print(
    server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["a.ssic"] = bytes(ssic.sign(laid_out(), ssic.SigningKey.generate()))
    _succeed("verify", server.url("a.ssic?token=hid:den"))
    for bad in ("http://[h/a.ssic?token=hid:den", "http://127.0.0.1:port/a.ssic?token=hid:den"):
        with pytest.raises(SystemExit) as end:
            main(["info", bad])
        assert end.value.code == 2
    out, err = capsys.readouterr()
    assert "a.ssic" in out
    assert "token" not in out + err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a?token=x:y", "https://h/a"),
        ("https://me:p@ss@h/a", "https://h/a"),
        ("https://me:p/s?s@h/a", "https://h/a"),
        ("https://h:8080/@me/a", "https://h:8080/@me/a"),
        ("https://h/@me/a?x=@", "https://h/@me/a"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("zip://a::https://u:p@h/c.zip?t=1:2", "zip://a::https://h/c.zip"),
    ],
)
def test_urls_without_their_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
