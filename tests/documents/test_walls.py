"""Who may import whom: the walls of the layout (`helpers/layout.py`), read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ssic
from helpers.layout import (
    ALLOWED,
    circles,
    find_room,
    imports,
    is_allowed,
    own_imports,
    put_off,
    read_modules,
)

MODULES = read_modules(Path(ssic.__file__).parent)
OWN = own_imports(MODULES)

# Package -> the only rooms that import it.
OUTSIDE: dict[str, set[str]] = {
    "torch": {"nets", "engine.torch", "engine.annealing", "train", "eval"},
    "onnxruntime": {"imports"},
    "cryptography": {"crypto"},
    "fsspec": {"storage"},
    "aiohttp": {"storage"},
    "constriction": {"rangecoder", "format"},
    "safetensors": {"model", "train"},
    "PIL": {"pictures", "groups", "pillow", "eval", "train"},
    "typer": {"cli"},
    "rich": {"cli", "eval"},
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_layout(module: str) -> None:
    mine = find_room(module)
    assert mine, f"{module} has no place in the layout"
    for other in OWN[module]:
        theirs = find_room(other)
        assert theirs, f"{other} has no place in the layout"
        assert is_allowed(mine, theirs), (
            f"{module} imports {other}: {mine} may import from {sorted(ALLOWED[mine])}"
        )


@pytest.mark.parametrize("package", OUTSIDE)
def test_packages_are_imported_where_they_belong(package: str) -> None:
    for module, tree in MODULES.items():
        if any(name.split(".")[0] == package for name in imports(tree)):
            fitting = any(module == r or module.startswith(f"{r}.") for r in OUTSIDE[package])
            assert fitting, f"{module} imports {package}"


def test_no_circle() -> None:
    """Also none of imports that are put off: within functions, or for type checkers."""
    assert not circles({module: others for module, others in OWN.items() if module != "__init__"})


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e", "elsewhere"}, "e": {"e"}, "f": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["e"]]


@pytest.mark.parametrize("module", MODULES)
def test_no_import_is_hidden(module: str) -> None:
    """Imports stand at the top of their module, where they are seen. What is put off so that a command starts sooner
    goes through `ssic.imports`, the public names, or the group of commands."""
    if module in {"__init__", "imports"}:
        return
    hidden = put_off(MODULES[module])
    assert not hidden, [ast.unparse(node) for node in hidden]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ssic", "numpy PIL torch onnxruntime constriction cryptography fsspec typer"),
        ("import ssic.plan", "PIL torch onnxruntime constriction cryptography fsspec typer"),
        ("import ssic.format", "PIL torch onnxruntime cryptography fsspec typer safetensors"),
        ("import ssic.model.config, ssic.entropy.coder", "PIL torch onnxruntime cryptography fsspec"),
        ("import ssic.opening", "torch fsspec typer matplotlib cv2"),
    ],
)
def test_what_an_import_loads(statement: str, absent: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(absent.split())
