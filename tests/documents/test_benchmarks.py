"""Scripts beside the package, which nothing imports: what they take from ssic is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from helpers import ROOT

SCRIPTS = sorted(
    path for name in ("benchmarks", "examples", "scripts", "fuzz") for path in (ROOT / name).glob("*.py")
)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_from_ssic_are_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ssic":
            pytest.importorskip("torch")  # which networks and training need
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ssic":
                    importlib.import_module(alias.name)
