"""Habits from other commands: -q, -v, -n, plain errors, narrow terminals, other names of stdout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ssic
from helpers import ROOT
from helpers.commands import SOURCE, Run, command, picture
from helpers.engines import needs_torch
from ssic.cli.app import COMMANDS, root
from ssic.cli.files import is_stdin, is_stdout
from ssic.cli.lazy import Entry, Family
from ssic.cli.tables import table
from ssic.cli.terminal import printable

# -- commands ----------------------------------------------------------------------------------------------


@needs_torch
def test_every_command_is_where_the_table_says() -> None:
    top = root()
    for name, entry in COMMANDS.items():
        loaded = top.load(name)
        assert loaded.name == name
        if isinstance(entry, Family):
            assert all(loaded.load(sub).name == sub for sub in entry.commands)
        else:
            assert isinstance(entry, Entry)
            assert loaded.help


def test_a_missing_package_is_named_with_its_extra() -> None:
    # In a process of its own: modules that are imported anew here would be others than those that tests hold.
    code = "import sys; sys.modules['torch'] = None; from ssic.cli import main; main(['train', '--help'])"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SOURCE})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'ssic: error: ssic train needs the package torch: pip install "ssic[train]"\n'


@needs_torch
def test_documentation_lists_the_options_as_they_are() -> None:
    line = [sys.executable, ROOT / "scripts/cli_reference.py", "--check"]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SOURCE})
    assert (done.returncode, done.stderr) == (0, "")


def test_prose_is_wrapped() -> None:
    for name in ("cli.md", "batch.md", "eval.md"):
        code = False
        for line in (ROOT / "docs" / name).read_text().splitlines():
            code ^= line.startswith("```")
            assert len(line) <= 100 or code or line.startswith("|"), (name, line)


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "No such command 'nonsense' (ssic --help)"),
        ("encod photo.jpg", "No such command 'encod'. Did you mean"),
        ("encode --nonsense", "No such option: --nonsense (ssic encode --help)"),
        ("decode", "Missing argument 'FILE' (ssic decode --help)"),
        ("encode photo.jpg --quality high", "Invalid value for '--quality'"),
        ("batch nonsense", "No such command 'nonsense' (ssic batch --help)"),
        ("encode photo.jpg photo.png", "encode takes one picture, and 2 were given: ssic batch encode"),
        ("encode .", ". is a folder: ssic batch encode . -o DIR"),
        ("batch encode . -o out --naming short", "--naming short: stem or full was expected"),
    ],
)
def test_wrong_usage_is_one_line_like_other_errors(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.chdir(inputs)
    code, out, err = run(*line.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"ssic: error: {said}")


def test_errors_blame_the_file_that_is_wrong(run: Run, inputs: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    start = ["encode", inputs / "photo.png", "-o", tmp_path / "p.ssic", "--mask", inputs / "labels.png"]
    code, _, err = run(*start, "--names", names)
    assert (code, err) == (6, f"ssic: error: can't read the names in {names}: No such file or directory\n")
    names.write_text('{"first": "dog"}')
    code, _, err = run(*start, "--names", names)
    said = f"""ssic: error: {names}: the keys of names must be labels, as in {{"1": "dog"}}, not 'first'\n"""
    assert (code, err) == (2, said)


def test_control_characters_are_shown_in_escapes(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "a\x1b[31m\n\u202e.ssic"
    assert run("info", place).err.startswith(f"ssic: error: {tmp_path}/a\\x1b[31m\\n\\u202e.ssic: ")
    for line in (["info", place], ["--debug", "info", place], ["nonsense\x1b[0m"], ["encode", "--\x1b[0m"]):
        code, out, err = run(*line)
        assert (code > 0, "\x1b" in out + err) == (True, False)
    named = tmp_path / "b\x1b[31m.png"
    picture().save(named)
    code, out, err = run("encode", named)
    assert (code, "\x1b" in out + err, "b\\x1b[31m.ssic: 96x64" in out) == (0, False, True)
    assert printable("Zürich 東京 🐕 a\u0301") == "Zürich 東京 🐕 a\u0301"


@pytest.mark.parametrize("delay", [0.03, 0.06, 0.1])
def test_ctrl_c_at_the_start_shows_no_traceback(inputs: Path, delay: float) -> None:
    # Python itself, and the package's table of names, must be up: before that nobody can help it.
    code = "import ssic; print(flush=True); from ssic.cli import main; main()"
    line = [sys.executable, "-c", code, "encode", str(inputs / "photo.jpg"), "-o", "/dev/null"]
    environment = os.environ | {"PYTHONPATH": SOURCE}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, b"")


# -- quiet, verbose, and what is not replaced --------------------------------------------------------------


def test_quiet_prints_what_is_asked_for_only(run: Run, inputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.ssic"
    for line in (["-q", "encode"], ["encode", "--quiet"]):
        assert run(*line, inputs / "photo.jpg", "-o", target) == (0, "", "")
    assert run("info", "-q", target) == (0, "", "")
    code, out, err = run("info", "-q", "--json", target)
    assert (code, out[:10], err) == (0, '{"format":', "")
    code, out, err = run("info", "-q", inputs / "labels.png")
    assert (code, out, err[:12]) == (4, "", "ssic: error:")


def test_verbose_prints_the_stages_with_their_times(run: Run, inputs: Path, tmp_path: Path) -> None:
    code, out, err = run("-v", "decode", inputs / "photo.ssic", "-o", tmp_path / "p.png")
    assert (code, out.startswith(str(tmp_path))) == (0, True)
    assert [line.split(" s  ")[1] for line in err.splitlines()] == [
        "loading the model",
        "entropy",
        "synthesis",
        "done",
    ]
    times = [float(line.split(" s  ")[0]) for line in err.splitlines()]
    assert times == sorted(times)
    assert run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.png").err == ""  # of one command only


def test_existing_files_are_not_replaced_if_so_asked(run: Run, inputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("before")
    for line in (
        ["encode", inputs / "photo.jpg"],
        ["decode", inputs / "photo.ssic"],
        ["extract", inputs / "photo.ssic", "--groups", "dog"],
    ):
        code, out, err = run(*line, "-o", target, "-n")
        assert (code, out) == (2, "")
        assert err == f"ssic: error: {target} exists, and --no-clobber (-n) leaves it as it is\n"
    assert target.read_text() == "before"
    assert run("extract", inputs / "photo.ssic", "--groups", "dog", "-o", tmp_path / "new", "-n").code == 0


def test_the_default_picture_is_never_an_existing_one(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ssic").write_bytes((inputs / "photo.ssic").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run("decode", "a.ssic").out.startswith("a.png: 96x64")
    before = (tmp_path / "a.png").read_bytes()
    code, _, err = run("decode", "a.ssic", "--groups", "dog")
    assert (code, err.startswith("ssic: error: a.png exists, and may be the original")) == (2, True)
    assert (tmp_path / "a.png").read_bytes() == before
    assert run("decode", "-").code == 2


# -- stdout and terminals ----------------------------------------------------------------------------------


def test_stdin_and_stdout_have_other_names() -> None:
    for name in (
        "-",
        "/dev/stdout",
        "/dev/fd/1",
        "/proc/self/fd/1",
        "//dev//stdout",
        f"/proc/{os.getpid()}/fd/1",
    ):
        assert is_stdout(name)
        assert not is_stdin(name) or name == "-"
    for name in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        assert is_stdin(name)
    for name in ("stdout", "/dev/fd/11", "/dev/stdout.png", "/dev/null", "./-"):
        assert not is_stdout(name)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_holds_the_file_and_nothing_else(inputs: Path, name: str) -> None:
    file = (inputs / "photo.ssic").read_bytes()
    done = command("extract", inputs / "photo.ssic", "--groups", "0,1,2", "-o", name, check=True)
    assert (done.stdout, done.stderr) == (file, b"")
    assert command("extract", inputs / "photo.ssic", "--groups", "dog", "-o", name, "--json").returncode == 2
    code = "import sys, ssic.cli.info as i; i._preview = lambda *a: sys.stdout.write('picture')"
    done = command(
        "info", inputs / "photo.ssic", "--preview", name, code=f"{code}; from ssic.cli import main; main()"
    )
    assert (done.returncode, done.stdout) == (0, b"picture")
    assert b"All segments are intact." in done.stderr


def test_tables_fit_their_terminal() -> None:
    rows = [["id", "group", "bytes"], ["1", "東京", "1,234"], ["2", "a dog", "5"]]
    wide = table(rows, left=2)
    assert wide.splitlines()[1] == "-" * len("id  group  bytes")
    assert wide.splitlines()[2] == "1   東京   1,234"
    assert table(rows, left=2, width=14).splitlines()[3] == "2  a dog     5"
    assert table(rows, left=2, width=10).splitlines() == [
        "id 1, group 東京,",
        "  bytes 1,234",
        "id 2, group a dog,",
        "  bytes 5",
    ]


def test_narrow_terminals(run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = run("info", inputs / "photo.ssic").out
    body = out.split("\n\n")[1].splitlines()
    assert all(len(line) <= 40 for line in body)
    for group in ssic.open(inputs / "photo.ssic").groups:
        assert f"group {group.name}" in out or f" {group.name} " in out
    text = run("encode", "--help").out
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "Lowest score, 0 to 1" in " ".join(text.split())
