"""Tables in plain text. In a terminal that is too narrow for its columns, a table becomes a line per row."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ssic.cli.terminal import printable, say

GAP = 2
"""Spaces between columns; one where there is no room for two."""


def table(
    rows: Sequence[Sequence[str]], *, left: int, width: int | None = None, headings: bool = True
) -> str:
    """A table.

    Args:
        rows: headings first.
        left: so many columns, the first ones, are text; the others are numbers, aligned on the right.
        width: of the terminal; None if there is none.
        headings: print the headings, and a rule below them.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(_width(row[k]) for row in rows) for k in range(len(rows[0]))]
    for gap in (GAP, 1):
        if width is None or sum(widths) + gap * (len(widths) - 1) <= width:
            lines = [_line(row, widths, left, gap) for row in rows]
            rule = "-" * (sum(widths) + gap * (len(widths) - 1))
            return "\n".join([lines[0], rule, *lines[1:]] if headings else lines[1:])
    return "\n".join(_stacked(rows, width or 80))


def _line(row: Sequence[str], widths: Sequence[int], left: int, gap: int) -> str:
    cells = []
    for k, (cell, width) in enumerate(zip(row, widths, strict=True)):
        padding = " " * (width - _width(cell))
        cells.append(cell + padding if k < left else padding + cell)
    return (" " * gap).join(cells).rstrip()


def _stacked(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    lines = []
    for row in rows[1:]:
        text = ", ".join(f"{heading} {cell}" for heading, cell in zip(rows[0], row, strict=True) if cell)
        lines += textwrap.wrap(text, max(width, 20), subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _width(text: str) -> int:
    """How many places of a terminal a text takes: wide characters take two, marks on others none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def terminal_width(stderr: bool = False) -> int | None:
    """Columns of the terminal that a table goes to; None if it goes elsewhere and `COLUMNS` does not say."""
    stream = sys.stderr if stderr else sys.stdout
    if "COLUMNS" not in os.environ and (stream is None or not stream.isatty()):
        return None
    return shutil.get_terminal_size().columns


def show_file(title: str, info: Mapping[str, Any], *, stderr: bool = False) -> None:
    """Print the head of a file as a table of its groups.

    Args:
        info: a dictionary as `SsicFile.info` returns it; with "damaged", names of groups that will be marked.
        stderr: stdout holds a file.
    """
    groups, damaged = info["groups"], info.get("damaged", ())
    optional = [key for key in ("class", "score") if any(g[key] is not None for g in groups)]
    rows = [["id", "group", *optional, "quality", "blocks", "bytes", "share"]]
    for g in groups:
        about = ["" if g[key] is None else f"{g[key]:.2f}" if key == "score" else g[key] for key in optional]
        marks = (" (encrypted)" if g["encrypted"] else "") + (" (damaged)" if g["name"] in damaged else "")
        sizes = [f"{g['quality']}", f"{g['blocks']:,}", f"{g['bytes']:,}"]
        rows.append(
            [str(g["id"]), g["name"] + marks, *about, *sizes, f"{g['bytes'] / info['file_bytes']:.1%}"]
        )
    head = info["head_bytes"]
    rows.append(["", "head", *[""] * len(optional), "", "", f"{head:,}", f"{head / info['file_bytes']:.1%}"])
    bits = 8 * info["file_bytes"] / (info["width"] * info["height"])
    say(
        f"{title}: {info['width']}x{info['height']}, {info['file_bytes']:,} bytes, {bits:.3f} bits per pixel, "
        f"model {info['model']}\n",
        stderr=stderr,
    )
    left = 3 if "class" in optional else 2
    say(table(rows, left=left, width=terminal_width(stderr)) + "\n", stderr=stderr)
