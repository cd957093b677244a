"""Who may import whom: the walls of the layout, read from the source.

Every import counts, also one within a function or for type checkers only: a circle that is put off is a circle.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssic

SOURCE = Path(ssic.__file__).parent

GROUND = {"errors", "arguments", "foreign_arrays", "names", "blocks", "imports", "version"}

# Room -> the rooms that it may import from, beside the ground floor and itself. A room is a folder, or a file where
# that says more; the most exact entry counts.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "imports": {"errors"},
    "arguments": {"errors"},
    "foreign_arrays": {"errors"},
    "names": set(),
    "blocks": {"arguments", "errors"},
    "plan": {"blocks"},
    "rangecoder": set(),
    "storage": {"errors", "arguments", "imports"},
    "format": {"errors", "arguments", "names", "blocks", "storage", "rangecoder"},
    "model": {"plan", "rangecoder", *GROUND},
    "entropy": {"plan", "rangecoder", "model", *GROUND},
    "nets": {"plan", "model", *GROUND},
    "engine": {"plan", "model", *GROUND},
    "engine.torch": {"engine", "plan", "model", "nets", *GROUND},
    "engine.effort": {"engine", "plan", "model", "entropy", *GROUND},
    "engine.refine": {"engine", "plan", "model", "nets", "entropy", *GROUND},
    "groups": GROUND,
    "pictures": {"groups", *GROUND},
    "crypto": {"format", "storage", *GROUND},
    "rate": {"groups", "model", *GROUND},
    "codec": {
        "pictures",
        "groups",
        "format",
        "storage",
        "entropy",
        "model",
        "engine",
        "rate",
        "plan",
        *GROUND,
    },
    "decoded": {"pictures", "groups", "format", *GROUND},
    "describe": {"decoded", "groups", "format", *GROUND},
    "notebook": {"decoded", "pictures", "groups", "format", *GROUND},
    "edit": {"codec", "decoded", "pictures", "groups", "format", "storage", *GROUND},
    "file": {
        *(
            "codec",
            "decoded",
            "describe",
            "notebook",
            "edit",
            "crypto",
            "pictures",
            "groups",
            "format",
            "storage",
            "model",
            "engine",
            "plan",
        ),
        *GROUND,
    },
    "opening": {"file", "codec", "crypto", "pictures", "format", "storage", "engine", *GROUND},
    "protect": {"opening", "file", "crypto", "groups", "format", "storage", *GROUND},
    "view": {"format", "model", "storage", *GROUND},
    "pillow": {
        "codec",
        "opening",
        "file",
        "decoded",
        "pictures",
        "groups",
        "format",
        "storage",
        "rate",
        *GROUND,
    },
    "train": {
        "codec",
        "nets",
        "engine",
        "model",
        "entropy",
        "plan",
        "rangecoder",
        "pictures",
        "groups",
        "storage",
        *GROUND,
    },
}
_LIBRARY = set(ALLOWED)
ALLOWED |= {
    "batch": _LIBRARY - {"pillow", "train"},
    "eval": _LIBRARY | {"batch"},
    "cli": _LIBRARY | {"batch", "eval"},
    "__main__": {"cli"},
    "__init__": _LIBRARY,
}

# Package -> the only rooms that import it.
OUTSIDE: dict[str, set[str]] = {
    "torch": {"nets", "engine.torch", "engine.refine", "train", "eval"},
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


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """Whole names of what is imported; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"optional", "later", "import_module"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.args[0].value


def own(tree: ast.AST) -> set[str]:
    """Modules of ssic that are imported, named without the package."""
    found = set()
    for name in imports(tree):
        if name.startswith("ssic."):
            short = name.removeprefix("ssic.")
            if short in MODULES:
                found.add(short)
    return found


def room(module: str, rooms: dict[str, set[str]]) -> str:
    """The most exact entry for a module."""
    parts = module.split(".")
    for n in range(len(parts), 0, -1):
        if (name := ".".join(parts[:n])) in rooms:
            return name
    raise AssertionError(f"{module} has no place in the layout")


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_layout(module: str) -> None:
    mine = room(module, ALLOWED)
    for other in own(MODULES[module]):
        theirs = room(other, ALLOWED)
        wing = theirs.split(".")[0]
        assert theirs == mine or wing == mine.split(".")[0] or {theirs, wing} & ALLOWED[mine], (
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
    graph = {module: own(tree) - {module} for module, tree in MODULES.items() if module != "__init__"}
    circles: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circles.append([*path[path.index(module) :], module])
        elif module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    assert not circles


@pytest.mark.parametrize("module", MODULES)
def test_no_import_is_hidden(module: str) -> None:
    """Imports stand at the top of their module, where they are seen. What is put off so that a command starts sooner
    goes through `ssic.imports`, the public names, or the group of commands."""
    if module in {"__init__", "imports"}:
        return
    tree = MODULES[module]
    hidden = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    hidden = [node for node in hidden if node not in tree.body]
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
