"""docs/coming-from.md: its commands and code are run as they stand, from top to end, in a folder like `demo-out`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.loopback import serving
from helpers.pages import arguments

PAGE = (ROOT / "docs/coming-from.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs/cli.md").read_text(encoding="utf-8")

# What ours is: lines of blocks, and the middle column of tables.
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("|")]
OURS = [span for row in ROWS for span in re.findall(r"`([^`]+)`", row[1])]


def commands() -> list[str]:
    """In the order of the page; those of one word are names of commands."""
    found: list[str] = []
    block = ""
    for line in PAGE.splitlines():
        if line.startswith("```"):
            block = "" if block else line.removeprefix("```")
        elif block == "sh":
            found.append(line)
        elif line.startswith("|"):
            spans = re.findall(r"`([^`]+)`", line.split("|")[2])
            found += [span for span in spans if span.startswith("ssic ") and len(span.split()) > 2]
    return found


def test_tables_have_three_columns() -> None:
    assert len(ROWS) > 80
    assert {len(row) for row in ROWS} == {3}


def test_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(folder)
    lines = commands()
    assert len(lines) > 30
    with serving({}) as server:
        for line, words in arguments(lines, server):
            done = run(*words)
            assert done.code == 0, f"{line}\n{done.err}"
            if words[0] == "decrypt":  # the page says so
                assert Path("opened.ssic").read_bytes() == Path("photo.ssic").read_bytes()
    for name in ("without", "sealed"):
        assert ssic.open(f"{name}.ssic").size == (512, 600)
    assert "face" not in ssic.open("without.ssic").names
    hidden, shown = (np.asarray(Image.open(f"{who}.png")) for who in ("everybody", "anna"))
    assert (hidden != shown).any()
    assert Path("clear.ssic").stat().st_size > Path("without.ssic").stat().st_size


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    codes = [text for language, text in BLOCKS if language == "python"]
    assert codes
    for number, code in enumerate(codes, start=1):
        exec(compile(code, f"coming-from.md, python block {number}", "exec"), {})
    assert np.asarray(Image.open("face.png")).shape[2] == 4


def test_options_are_those_of_the_command_line() -> None:
    options = {option for span in OURS for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", span)}
    assert len(options) > 20
    assert not [option for option in options if f"`{option}" not in CLI and f", {option}" not in CLI]


def test_names_of_commands_are_those_of_the_command_line() -> None:
    names = {span for span in OURS if re.fullmatch("ssic [a-z-]+", span)}
    assert names
    assert not [
        name for name in names if f"`{name.removeprefix('ssic ')}`" not in CLI and f"{name} " not in CLI
    ]


def test_names_of_python_are_there() -> None:
    names = {name for span in OURS for name in re.findall(r"\bssic\.([a-z_]+)\b(?!\")", span)} - {"pillow"}
    assert {"encode", "decode", "set_default_limits"} <= names
    assert not [name for name in names if not hasattr(ssic, name)]


def test_links() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE)
    assert targets
    for target in targets:
        name, _, anchor = target.partition("#")
        page = PAGE if not name else (ROOT / "docs" / name).read_text(encoding="utf-8")
        titles = [
            re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in re.findall(r"^#+ (.*)$", page, re.M)
        ]
        assert not anchor or anchor in titles, target


def test_the_page_is_found() -> None:
    assert "docs/coming-from.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "coming-from.md" in (ROOT / "docs/README.md").read_text(encoding="utf-8")
