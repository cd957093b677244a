"""The layout of the source: which rooms there are, who may import whom, and what the source says of that.

Every import counts, also one within a function or for type checkers only: a circle that is put off is a circle. Nothing
is imported here: source is read, of any revision.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

GROUND = {
    "errors",
    "arguments",
    "foreign_arrays",
    "names",
    "blocks",
    "imports",
    "progress",
    "version",
    "workers",
}

# Room -> the rooms that it may import from, beside the ground floor and itself. A room is a folder, or a file where
# that says more; the most exact entry counts.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "imports": {"errors"},
    "workers": {"imports"},
    "arguments": {"errors"},
    "foreign_arrays": {"errors"},
    "names": set(),
    "progress": {"arguments", "errors"},
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
    "engine.annealing": {"engine", "plan", "model", "nets", "entropy", *GROUND},
    "groups": GROUND,
    "pictures": {"groups", *GROUND},
    "crypto": {"format", "storage", *GROUND},
    "rate": {"groups", "model", *GROUND},
    "picture_coder": {"pictures", "groups", "format", "entropy", "engine", "rate", "plan", *GROUND},
    "codec": {
        "picture_coder",
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


def read_modules(package: Path) -> dict[str, ast.Module]:
    """Modules of a package by name, without that of the package: "groups.mask"; a folder's own file is "groups", and
    that of the package "__init__"."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


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
            and isinstance(node.args[0].value, str)
        ):
            yield node.args[0].value


def own_imports(modules: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """Which modules of the package each imports, other than itself."""
    return {
        module: {
            short
            for name in imports(tree)
            if name.startswith("ssic.") and (short := name.removeprefix("ssic.")) in modules
        }
        - {module}
        for module, tree in modules.items()
    }


def put_off(tree: ast.Module) -> list[ast.stmt]:
    """Imports that don't stand at the top of their module: within functions, or under a condition."""
    found = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [node for node in found if node not in tree.body]


def find_room(module: str) -> str | None:
    """The most exact entry of the layout for a module."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in ALLOWED), None)


def is_allowed(mine: str, theirs: str) -> bool:
    """Whether a module of one room may import one of the other."""
    wing = theirs.split(".")[0]
    return theirs == mine or wing == mine.split(".")[0] or bool({theirs, wing} & ALLOWED[mine])


def circles(graph: Mapping[str, Set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports, by way of others, all of its group, itself among them.

    Args:
        graph: what each module imports, as from `own_imports`. What is no key of it is left out.
    """
    reached = {module: _reached(graph, module) for module in graph}
    found = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }
    return sorted(sorted(circle) for circle in found)


def _reached(graph: Mapping[str, Set[str]], start: str) -> set[str]:
    """All that a module imports, by way of others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = {other for other in graph[waiting.pop()] if other in graph} - found
        found |= fresh
        waiting += fresh
    return found
