"""`ssic info`, `ssic extract` and `ssic merge`: what needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import is_pipe, open_ssic, split, write
from ssic.cli.terminal import DAMAGED, show_file, warn
from ssic.errors import InvalidInput

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write; - is stdout.")]


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to look into; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what is in a file, and check that it is whole."""
    opened, _ = open_ssic(file)
    facts = opened.info()
    damaged = opened.damaged()
    if as_json:
        print(json.dumps(facts))
    else:
        show_file(str(file), facts)
    if damaged:
        warn(f"damaged: {', '.join(damaged)}")
        raise typer.Exit(DAMAGED)
    if not as_json:
        print("All segments are intact.")


def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to take groups from; - reads stdin.")],
    groups: Annotated[list[str], typer.Option(metavar="NAME,...", help="Names, classes or ids; repeatable.")],
    output: Output,
) -> None:
    """Write a file with some of the groups only, their bytes unchanged."""
    wanted = split(groups)
    if wanted is None:
        raise InvalidInput("--groups is empty; name at least one group")
    opened, _ = open_ssic(file)
    data = opened.extract(wanted)
    write(output, data)
    _say(output, data)


def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files with groups of one picture.")],
    output: Output,
) -> None:
    """Put the groups of several files, for instance of extracts, into one file."""
    from ssic.codec import merge as merge_files

    # Opened first, so that an error names the file.
    data = merge_files([open_ssic(file)[1] for file in files])
    write(output, data)
    _say(output, data)


def _say(output: Path, data: bytes) -> None:
    from ssic.codec import SsicFile

    if not is_pipe(output):
        names = ", ".join(group.name for group in SsicFile(data).groups)
        print(f"{output}: {len(data):,} bytes, {names}")
