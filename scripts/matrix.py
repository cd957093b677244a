#!/usr/bin/env python
"""Runs the golden files and vectors under other NumPys, range coders and BLAS kernels, or the suite with the oldest
packages that `pyproject.toml` allows. It takes uv (`pip install uv`); docs/code.md has what came of it.

    python scripts/matrix.py --numpy 1.26.0 2.4.6 --constriction 0.4.1 0.5.0 --core Prescott Haswell
    python scripts/matrix.py --oldest               # the suite as it is without PyTorch
    python scripts/matrix.py --oldest --torch       # with it, and all that measuring and training need: gigabytes
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIGHT = ("http", "heic", "segment", "coco")
"""Extras that bring no PyTorch."""
HEAVY = (*LIGHT, "torch", "eval", "train")
"""These, and those that bring it."""
TOOLS = ("pytest>=8", "hypothesis>=6.100")
EXACT = ("test_golden.py", "test_vectors.py", "test_entropy.py")
"""Files of tests that compare symbols and bytes with what was stored, or with a decoder in plain Python."""
KERNELS = """
import numpy as np, threadpoolctl
np.ones((2, 2)) @ np.ones((2, 2))
print(", ".join(f"{one['internal_api']} {one['architecture']}" for one in threadpoolctl.threadpool_info()))
"""


def uv(*arguments: object) -> None:
    """Runs uv, which is quiet unless it fails."""
    subprocess.run(["uv", *map(str, arguments), "--quiet"], check=True, cwd=ROOT)


def environment(place: Path, *wanted: str, extras: Sequence[str] = LIGHT, oldest: bool = False) -> Path:
    """Make an environment with ssic's dependencies and tools of the tests.

    Args:
        wanted: versions, as pip takes them.
        extras: of ssic.
        oldest: take the lowest version that each direct dependency allows.

    Returns:
        its Python.
    """
    python = place / "bin" / "python"
    uv("venv", "--python", sys.executable, place)
    how = ["--resolution", "lowest-direct"] if oldest else []
    uv("pip", "install", "--python", python, *how, "-e", f".[{','.join(extras)}]", *TOOLS, *wanted)
    return python


def told(python: Path, core: str, *arguments: object) -> str:
    """Output of Python, with OpenBLAS's kernels for a processor; "" lets it choose."""
    more = {"OPENBLAS_CORETYPE": core} if core else {}
    line = [str(python), *map(str, arguments)]
    run = subprocess.run(line, env=os.environ | more, cwd=ROOT, capture_output=True, text=True)
    return run.stdout + run.stderr


def versions(python: Path, names: Sequence[str]) -> str:
    """Which versions of packages an environment has."""
    code = (
        "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    )
    return told(python, "", "-c", code, *names).strip()


def dependencies(extras: Sequence[str]) -> list[str]:
    """Names of the core dependencies and of those of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras)]
    names = [re.split(r"[<>=!\[ ]", item)[0] for part in lists for item in part]
    return [name for name in dict.fromkeys(names) if name != project["name"]]


def summary(output: str) -> str:
    """pytest's last line, or what it said instead."""
    found = re.findall(r"^.*\d+ (?:passed|failed|error).*$", output, re.M)
    return found[-1].strip("= ") if found else output[-400:]


def matrix(place: Path, numpys: Sequence[str], coders: Sequence[str], cores: Sequence[str]) -> int:
    """Prints a row per combination; -> exit code."""
    tests = sorted(path for name in EXACT for path in (ROOT / "tests").rglob(name))
    assert len(tests) == len(EXACT), tests
    print("| NumPy | constriction | `OPENBLAS_CORETYPE` | kernels | tests |\n|---|---|---|---|---|")
    bad = 0
    for number, (numpy, coder) in enumerate(itertools.product(numpys, coders)):
        python = environment(place / str(number), f"numpy=={numpy}", f"constriction=={coder}")
        for core in cores:
            output = told(python, core, "-m", "pytest", "-p", "no:cacheprovider", *tests)
            result = summary(output)
            bad += "passed" not in result or "failed" in result or "error" in result
            kernels = told(python, core, "-c", KERNELS).strip()
            print(f"| {numpy} | {coder} | {core or 'not set'} | {kernels} | {result} |", flush=True)
            if "passed" not in result or "failed" in result:
                print(output[-4000:], file=sys.stderr)
    return 1 if bad else 0


def oldest(place: Path, extras: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs the suite with the oldest packages; -> exit code of pytest."""
    python = environment(place / "oldest", extras=extras, oldest=True)
    print(versions(python, [*dependencies(extras), "pytest", "hypothesis"]), flush=True)
    return subprocess.run([python, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=ROOT).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--oldest", action="store_true", help="the suite with the oldest packages allowed")
    parser.add_argument(
        "--torch", action="store_true", help="with --oldest: with the extras that take PyTorch"
    )
    parser.add_argument("--numpy", nargs="+", default=["1.26.0", "2.4.6"], metavar="VERSION")
    parser.add_argument("--constriction", nargs="+", default=["0.4.1", "0.5.0"], metavar="VERSION")
    parser.add_argument("--core", nargs="+", default=["", "Prescott", "Haswell"], metavar="TYPE")
    parser.add_argument("--place", type=Path, help="folder for the environments, which is kept")
    options, rest = parser.parse_known_args()
    if options.torch and not options.oldest:
        parser.error("--torch goes with --oldest")
    with tempfile.TemporaryDirectory() as name:
        place = options.place or Path(name)
        if options.oldest:
            return oldest(place, HEAVY if options.torch else LIGHT, rest)
        return matrix(place, options.numpy, options.constriction, options.core)


if __name__ == "__main__":
    sys.exit(main())
