"""What every benchmark prints above its figures, and how."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, Any]:
    """Machine, versions and commit that the figures belong to."""
    from ssic.model.weights import find_weights, load_weights

    weights = load_weights(find_weights("small"))
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in ("numpy", "torch", "constriction", "pillow")},
        "model": f"{weights.config.name} {weights.id.hex()}",
        "commit": _commit(),
    }


def emit(title: str, results: dict[str, Any], tables: Sequence[str], as_json: bool) -> None:
    """Print the results: as JSON, or the environment and the tables."""
    found = environment()
    if as_json:
        print(json.dumps({"benchmark": title, "environment": found, "results": results}, indent=2))
        return
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(f"# {title}\n")
    print(f"machine   {found['machine']}; {found['system']}")
    print(f"versions  {versions}")
    print(f"model     {found['model']}; commit {found['commit']}\n")
    print("\n\n".join(tables))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    cells = [[str(c) for c in row] for row in [columns, *rows]]
    width = [max(len(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, width, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * w) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(width)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (
            ", with changes" if git("status", "--porcelain") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
