"""What every benchmark prints above its figures, and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ssic.eval.report import environment
from ssic.model.weights import DEFAULT_MODEL


def emit(
    title: str,
    results: dict[str, Any],
    tables: Sequence[str],
    as_json: bool,
    model: str | None = DEFAULT_MODEL,
) -> None:
    """Print the results: as JSON, or the environment and the tables.

    Args:
        model: that was measured; None where none was run.
    """
    found = environment(model or DEFAULT_MODEL, "auto")
    if model is None:
        del found["model"], found["floats"], found["engine"]
    if as_json:
        print(json.dumps({"benchmark": title, "environment": found, "results": results}, indent=2))
        return
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    print(f"# {title}\n")
    print(f"machine   {found['machine']}; {found['system']}")
    print(f"versions  {versions}")
    ran = "" if model is None else f"model     {found['model']}\n"
    print(f"{ran}commit    {found['commit']}\n")
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
