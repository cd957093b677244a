"""Commands as processes: exit codes, what is written over what, pipes, terminals, and what is not imported."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ssic
from helpers import ROOT
from helpers.commands import (
    INFO_KEYS,
    REPORT,
    SOURCE,
    Refuse,
    Run,
    command,
)
from helpers.engines import needs_torch
from ssic.batch.coding import CodedPicture
from ssic.cli.terminal import EXIT_CODES

# -- errors and files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("info nothing.ssic", 6),
        ("encode nothing.png", 6),
        ("encode photo.png --mask nothing.png -o {new}", 6),
        ("encode photo.png --coco nothing.json -o {new}", 6),
        ("encode photo.png -o nowhere/p.ssic", 6),
        ("encode labels.png -o {new} --mask photo.png", 2),
        ("encode names.json -o {new}", 2),
        ("encode photo.png --model nonsense -o {new}", 5),
        ("encode photo.png --model names.json -o {new}", 5),
        ("decode photo.png -o {new}", 4),
        ("decode photo.ssic -o nowhere/p.png", 6),
        ("decode photo.ssic", 2),
        ("extract photo.ssic --groups cat -o {new}", 2),
        ("merge photo.ssic photo.ssic -o {new}", 2),
        pytest.param("export-weights nothing.pt -o {new}", 6, marks=needs_torch),
        ("train --data . --run {new} --preset nonsense", 2),
        ("nonsense", 2),
        ("encode photo.png --nonsense", 2),
    ],
)
def test_exit_codes(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, code: int
) -> None:
    monkeypatch.chdir(inputs)
    before = {p: p.stat().st_mtime_ns for p in inputs.iterdir()}
    result = run(*line.format(new=tmp_path / "new").split())
    assert (result.code, result.out) == (code, "")
    assert re.fullmatch("ssic: error: .+\n", result.err)
    assert {p: p.stat().st_mtime_ns for p in inputs.iterdir()} == before
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run("--debug", "info", inputs / "labels.png")
    assert code == 4
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("ssic: error: ")
    monkeypatch.setenv("SSIC_DEBUG", "1")
    assert "Traceback" in run("info", inputs / "labels.png").err


def test_help_and_documentation_tell_the_exit_codes(run: Run) -> None:
    text = " ".join(run("--help").out.split())
    page = (ROOT / "docs/cli.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"{code}: {meaning}" in text
        assert f"| {code} | {meaning}" in page


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"ssic {ssic.__version__}\n", "")


def test_replaced_files_keep_their_mode_and_links_stay(run: Run, inputs: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "p.ssic", tmp_path / "link.ssic"
    extract = ["extract", inputs / "photo.ssic", "--groups", "dog", "-o"]
    mask = os.umask(0)
    os.umask(mask)
    assert run(*extract, target).code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    target.write_text("before")
    target.chmod(0o600)
    link.symlink_to(target)
    assert run(*extract, link).code == 0
    assert link.is_symlink()
    assert ssic.open(target).groups
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_devices_are_written_to_and_not_replaced(run: Run, inputs: Path) -> None:
    assert run("extract", inputs / "photo.ssic", "--groups", "dog", "-o", "/dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("option", ["IN", "--mask", "--names", "--coco", "--boxes"])
def test_what_is_read_is_not_overwritten(run: Run, inputs: Path, tmp_path: Path, option: str) -> None:
    for file in inputs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    files = {
        "IN": "photo.png",
        "--mask": "labels.png",
        "--names": "names.json",
        "--coco": "annotations.json",
        "--boxes": "boxes.json",
    }
    target = tmp_path / files[option]
    before = target.read_bytes()
    options: list[object] = [] if option == "IN" else [option, target]
    options += ["--mask", tmp_path / "labels.png"] if option == "--names" else []
    options += ["--image-id", "139"] if option == "--coco" else []
    link = tmp_path / "link"
    link.symlink_to(target)
    for output in (target, tmp_path / "." / files[option], link):
        code, out, err = run("encode", tmp_path / "photo.png", *options, "-o", output)
        assert (code, out) == (2, "")
        assert err == f"ssic: error: {output} is read and would be overwritten: write to another file\n"
    assert target.read_bytes() == before
    code, _, err = run("decode", tmp_path / "photo.ssic", "-o", tmp_path / "photo.ssic")
    assert (code, "would be overwritten" in err) == (2, True)
    both = tmp_path / "photo.ssic"
    assert run("extract", both, "--groups", "dog", "-o", both).code == 0
    assert [g.name for g in ssic.open(both).groups] == ["dog"]


def test_unusable_outputs_are_refused_before_the_work(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    monkeypatch.setattr("ssic.cli.pictures.load_picture", refuse)
    monkeypatch.setattr("ssic.cli.files.SsicFile", refuse)
    for output, said in ((tmp_path / "no/p.png", "there is no folder"), (tmp_path, "Is a directory")):
        for line in (["encode", inputs / "photo.png"], ["decode", inputs / "photo.ssic"]):
            code, out, err = run(*line, "-o", output)
            assert (code, out) == (6, "")
            assert err.startswith(f"ssic: error: {output}: {said}")
    assert run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.xyz").code == 2
    assert run("encode", ".").code == 2


def test_what_could_not_be_read_again_is_not_written(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").write_text("before")
    monkeypatch.setattr(
        "ssic.cli.encode.encode_picture", lambda *args, **options: CodedPicture(b"\xf3sic", "onnx")
    )
    assert run("encode", inputs / "photo.png", "-o", tmp_path / "p").code == 4
    assert (tmp_path / "p").read_text() == "before"


# -- processes: pipes, terminals, imports ------------------------------------------------------------------


def test_pipes(inputs: Path) -> None:
    encoded = command("encode", "-", "-o", "-", input=(inputs / "photo.png").read_bytes(), check=True)
    assert b"96x64" in encoded.stderr
    decoded = command("decode", "-", "-o", "-", input=encoded.stdout, check=True)
    assert decoded.stdout.startswith(b"\x89PNG")
    assert decoded.stderr == b""
    extracted = command("extract", "-", "--groups", "image", "-o", "-", input=encoded.stdout, check=True)
    assert extracted.stdout == encoded.stdout
    nameless = command("encode", "-", input=b"")
    assert (nameless.returncode, nameless.stderr[:12]) == (2, b"ssic: error:")


def test_devices_and_pipes_have_paths(inputs: Path) -> None:
    file = (inputs / "photo.ssic").read_bytes()
    extract = ["extract", "/dev/stdin", "--groups", "0,1,2", "-o", "/dev/stdout"]
    done = command(*extract, input=file, check=True)
    assert done.stdout == file  # and nothing about it
    out, into = os.pipe()
    with os.fdopen(out, "rb") as reader:
        done = command("decode", inputs / "photo.ssic", "-o", f"/dev/fd/{into}", pass_fds=[into], check=True)
        os.close(into)
        assert reader.read().startswith(b"\x89PNG")
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(inputs: Path, unbuffered: str) -> None:
    extract = ["extract", inputs / "photo.ssic", "--groups", "0,1,2", "-o"]
    done = command(*extract, "/dev/full")
    assert (done.returncode, done.stderr) == (6, b"ssic: error: /dev/full: No space left on device\n")
    for line in ([*extract, "-"], ["info", inputs / "photo.ssic"], ["info", inputs / "photo.ssic", "--json"]):
        with open("/dev/full", "wb") as full:
            environment = os.environ | {"PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": unbuffered}
            process = [sys.executable, "-m", "ssic", *map(str, line)]
            done = subprocess.run(process, stdout=full, stderr=subprocess.PIPE, env=environment)
        assert (done.returncode, done.stderr) == (6, b"ssic: error: stdout: No space left on device\n")


def test_closed_streams_are_one_line(inputs: Path, tmp_path: Path) -> None:
    for line, name in (
        ("info - <&-", "stdin"),
        (f"extract {inputs}/photo.ssic --groups dog -o - >&-", "stdout"),
    ):
        process = ["sh", "-c", f"{shlex.quote(sys.executable)} -m ssic {line}"]
        done = subprocess.run(process, capture_output=True, env=os.environ | {"PYTHONPATH": SOURCE})
        said = f"ssic: error: {name}: Bad file descriptor\n"
        assert (done.returncode, done.stderr.decode()) == (6, said)


def test_progress_is_for_terminals(inputs: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    env = os.environ | {"PYTHONPATH": SOURCE, "TERM": "xterm"}
    line = [
        sys.executable,
        "-m",
        "ssic",
        "encode",
        str(inputs / "photo.jpg"),
        "-o",
        str(tmp_path / "p"),
        "--json",
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=follower, env=env) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                seen += os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
        out = process.communicate()[0]
    os.close(leader)
    assert list(json.loads(out)) == [*INFO_KEYS, "engine", "seconds"]
    assert b"analysis" in seen  # stages that pass in no time may never be drawn


@pytest.mark.parametrize(
    ("line", "imported"),
    [
        ("--help", ""),
        ("--version", ""),
        ("batch --help", ""),
        ("info photo.ssic", "numpy"),
        ("extract photo.ssic --groups dog -o {new}", "numpy"),
        ("merge photo.ssic -o {new}", "numpy"),
    ],
)
def test_nothing_heavy_is_imported_in_vain(inputs: Path, tmp_path: Path, line: str, imported: str) -> None:
    args = line.format(new=tmp_path / "new").split()
    done = command(*args, code=REPORT, cwd=inputs, check=True)
    assert done.stderr.decode().strip() == imported


def test_importing_ssic_imports_nothing_heavy_and_hides_nothing() -> None:
    code = (
        "import sys, ssic; assert 'numpy' not in sys.modules; assert set(ssic.__all__) <= set(dir(ssic)); "
        "from ssic import encode, GroupMask; import ssic.codec; assert ssic.encode is ssic.codec.encode; "
        "assert 'torch' not in sys.modules; from ssic import *; assert Codec is ssic.codec.Codec; "
        "assert all(getattr(ssic, name).__module__.startswith('ssic.') for name in ssic.__all__)"
    )
    done = command(code=code, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = ssic.nonsense
