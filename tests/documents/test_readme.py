"""The README's commands and code are run as they stand, in a folder like `demo-out`; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic.cli
from helpers import ROOT
from helpers.loopback import Loopback, serving
from helpers.pages import arguments

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_HERE = (
    "make ",
    "pip ",
    "ssic train ",
    "ssic export-weights ",
)  # minutes, network, or a trained checkpoint


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with serving({}) as server:
        run_all(server)
    assert "name tag" not in [group.name for group in ssic.open("nameless.ssic").groups]
    assert np.asarray(Image.open("cutout.png")).shape[2] == 4
    assert [group.encrypted for group in ssic.open("sealed.ssic").groups].count(True) == 1
    assert Path("fits.ssic").stat().st_size <= 20_000


def run_all(server: Loopback) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith(NOT_HERE)]
    assert lines
    for line, words in arguments(lines, server):
        with pytest.raises(SystemExit) as end:
            ssic.cli.main(words)
        assert not end.value.code, line


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    codes = blocks("python")
    assert codes
    for number, code in enumerate(codes, start=1):
        exec(compile(code, f"README.md, python block {number}", "exec"), {})


def test_links() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target.partition("#")[0]).exists()]
    assert not missing
