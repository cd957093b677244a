"""The structure of the code in figures: circles of imports, imports against the layout, and what is longest.

Source is read, not imported, so any revision will do. Imports count wherever they stand, also within functions and
for type checkers only. The layout is the one that the tests hold the present code to (`tests/helpers/layout.py`); an
earlier revision's modules are judged by the room that does their work now (`FORMERLY`). Lines are those from the first
to the last, comments and docstrings with them.

    PYTHONPATH=src:tests python benchmarks/structure.py
    PYTHONPATH=src:tests python benchmarks/structure.py --at 7d80d96 HEAD
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from _report import table
from helpers import ROOT
from helpers.layout import circles, find_room, is_allowed, own_imports, read_modules

PACKAGE = "src/ssic"

FORMERLY = {
    "given": "arguments",
    "format.rangecoder": "rangecoder",
    "format.remote": "storage",
    "format.source": "storage",
    "outfile": "storage",
    "image": "pictures",
    "preview": "pictures",
    "mask": "groups",
    "segment": "groups",
    "sources": "groups",
    "targets": "rate",
    "entropy.freeze": "train",
    "model.entropy_model": "nets",
    "model.layers": "nets",
    "model.network": "nets",
    "model.transform": "nets",
    "model.runtime": "engine.torch",
}
"""Modules that were named otherwise, as they last were, and the rooms that hold their successors."""


@dataclass(frozen=True)
class Longest:
    """The longest of its kind, and its lines."""

    name: str
    lines: int

    def __str__(self) -> str:
        return f"{self.lines}, `{self.name}`"


@dataclass(frozen=True)
class Structure:
    """What is counted.

    Attributes:
        modules: how many there are, and `lines` of all of them.
        circles: modules of each circle of imports.
        upwards: imports that the layout refuses, "importer -> imported".
        homeless: imports from or of a module that has no room in the layout: these can't be judged.
        put_off: imports within functions.
        typing_only: imports for type checkers only.
    """

    modules: int
    lines: int
    circles: list[list[str]]
    upwards: list[str]
    homeless: list[str]
    put_off: int
    typing_only: int
    function: Longest
    class_: Longest
    module: Longest


def measure(package: Path) -> Structure:
    """The structure of a package's source."""
    trees = read_modules(package)
    lines = {
        str(path.relative_to(package)): len(path.read_text(encoding="utf-8").splitlines())
        for path in package.rglob("*.py")
    }
    graph = own_imports(trees)
    # The package's own file holds the public names, and imports everything for type checkers.
    inner = {module: others for module, others in graph.items() if module != "__init__"}
    upwards, homeless = [], []
    for module, others in inner.items():
        for other in sorted(others):
            mine, theirs = _room(module), _room(other)
            if mine is None or theirs is None:
                homeless.append(f"{module} -> {other}")
            elif not is_allowed(mine, theirs):
                upwards.append(f"{module} -> {other}")
    functions = list(_spans(trees, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return Structure(
        modules=len(trees),
        lines=sum(lines.values()),
        circles=circles(inner),
        upwards=upwards,
        homeless=homeless,
        put_off=sum(len(_within_functions(tree)) for tree in trees.values()),
        typing_only=sum(len(_for_type_checkers(tree)) for tree in trees.values()),
        function=_longest(functions),
        class_=_longest(_spans(trees, (ast.ClassDef,))),
        module=_longest(Longest(name, count) for name, count in lines.items()),
    )


def _room(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    former = next((FORMERLY[name] for name in names if name in FORMERLY), None)
    return former or find_room(module)


def _longest(found: Iterator[Longest] | list[Longest]) -> Longest:
    return max(found, key=lambda one: (one.lines, one.name))


def _spans(trees: dict[str, ast.Module], kinds: tuple[type[ast.stmt], ...]) -> Iterator[Longest]:
    """Name and lines of every definition of these kinds, decorators not counted."""
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                assert node.end_lineno is not None
                yield Longest(f"{module}.{node.name}", node.end_lineno - node.lineno + 1)  # type: ignore[attr-defined]


def _imports(trees: Iterator[ast.AST]) -> set[ast.AST]:
    """Statements that import, within any of these."""
    return {
        node for tree in trees for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
    }


def _within_functions(tree: ast.Module) -> set[ast.AST]:
    return _imports(n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _for_type_checkers(tree: ast.Module) -> set[ast.AST]:
    return _imports(
        n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")
    )


def measure_at(revision: str) -> Structure:
    """The structure of another revision.

    Raises:
        SystemExit: git knows no such revision, or it has no such package.
    """
    done = subprocess.run(
        ["git", "archive", "--format=tar", revision, PACKAGE], cwd=ROOT, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"git can't give {PACKAGE} of {revision}: {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as name, tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(name, filter="data")
        return measure(Path(name) / PACKAGE)


def rows_of(found: Structure) -> dict[str, object]:
    """What is printed, by its label."""
    in_circles = sum(map(len, found.circles))
    return {
        "modules": found.modules,
        "lines": f"{found.lines:,}",
        "circles of imports": f"{len(found.circles)}, of {in_circles} modules" if found.circles else 0,
        "imports against the layout": len(found.upwards),
        "imports that can't be judged": len(found.homeless),
        "imports within functions": found.put_off,
        "imports for type checkers only": found.typing_only,
        "lines of the longest function": found.function,
        "lines of the largest class": found.class_,
        "lines of the longest module": found.module,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--at", nargs="+", metavar="REV", help="a column for each of these; by default the files as they are"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every import that was counted")
    options = parser.parse_args()
    found = {at: measure_at(at) for at in options.at} if options.at else {"now": measure(ROOT / PACKAGE)}
    if options.json:
        print(json.dumps({at: asdict(one) for at, one in found.items()}, indent=2))
        return
    columns = {at: rows_of(one) for at, one in found.items()}
    labels = next(iter(columns.values()))
    print(table(["", *columns], [(label, *(of[label] for of in columns.values())) for label in labels]))


if __name__ == "__main__":
    main()
