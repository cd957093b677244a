"""Write the lists of options in docs/cli.md anew, from the options themselves: python scripts/cli_reference.py

A list stands between `<!-- options: COMMAND -->` and `<!-- end -->`. A section of options that is the same as one of a
command before it is named, not repeated.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssic.cli.app import COMMANDS, root
from ssic.cli.lazy import Family, sections
from ssic.cli.options import OUTPUT

PAGE = Path(__file__).parents[1] / "docs/cli.md"
WIDTH = 100
_MARKED = re.compile(r"(<!-- options: ([a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> Iterator[tuple[str, Any]]:
    """Name and command of all there are."""
    top = root()
    for name, entry in COMMANDS.items():
        if isinstance(entry, Family):
            family = top.load(name)
            yield from ((f"{name} {sub}", family.load(sub)) for sub in entry.commands)
        else:
            yield name, top.load(name)


def written(page: str) -> str:
    """The page, with the lists as they should be.

    Raises:
        SystemExit: a command has no list, or a list no command.
    """
    known = dict(commands())
    marked = [match[2] for match in _MARKED.finditer(page)]
    if sorted(marked) != sorted(known):
        raise SystemExit(f"lists and commands differ: {sorted(set(marked) ^ set(known)) or marked}")
    before: dict[tuple[str, object], str] = {}

    def options(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_listed(match[2], known[match[2]], before)}\n{match[3]}"

    return _MARKED.sub(options, page)


def _listed(name: str, command: Any, before: dict[tuple[str, object], str]) -> str:
    lines: list[str] = []
    context = command.make_context(name, [], resilient_parsing=True)
    for title, rows in sections(command, context).items():
        if title == OUTPUT:  # of every command, and described once
            continue
        other = before.setdefault((title, tuple(rows)), name)
        if other != name and len(rows) > 1 and title not in ("Arguments", "Options"):
            options = ", ".join(f"`{_first(option)}`" for option, _ in rows)
            lines += [*_wrapped(f"{title}, as of [`{other}`](#{other.split()[0]}): {options}.", ""), ""]
            continue
        lines += [*_wrapped(f"{title}:", ""), ""]
        for option, text in rows:
            lines += _wrapped(f"`{option}`: {_tidy(text)}", "- ")
        lines.append("")
    return "\n".join(lines)


def _first(option: str) -> str:
    return re.split(r"[ ,]", option.split(", ")[-1])[0]


def _tidy(text: str) -> str:
    """The help without what typer adds in brackets, which becomes a sentence where it says something."""
    text, _, added = text.partition("  [")
    default = re.search(r"default: ([^;\]]*)", added)
    ends = [f" Default: {default[1]}."] if default else []
    return "".join([text, *ends, *([" Required."] if "required" in added else [])])


def _wrapped(text: str, bullet: str) -> list[str]:
    indent = " " * len(bullet)
    return textwrap.wrap(
        bullet + text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def main() -> None:
    """Write the page, or with `--check` only say whether it is as it should be."""
    page = PAGE.read_text(encoding="utf-8")
    after = written(page)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(after, encoding="utf-8")
    elif page != after:
        raise SystemExit(
            f"{PAGE.name} does not list the options as they are: python scripts/cli_reference.py"
        )


if __name__ == "__main__":
    main()
