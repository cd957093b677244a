"""`ssic info`, `ssic extract` and `ssic merge`: what needs no model (but `info --preview` does)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssic.cli.files import check_output, is_pipe, naming, open_ssic, split, write
from ssic.cli.terminal import DAMAGED, progress, say, show_file, warn
from ssic.errors import InvalidInput

if TYPE_CHECKING:
    from ssic.file import SsicFile
    from ssic.format import Bytes

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write; - is stdout.")]


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to look into; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Decode the file, and write the picture with its groups outlined and labelled."),
    ] = None,
) -> None:
    """Show what is in a file, and check that it is whole."""
    if preview is not None:
        from ssic.image import picture_kind

        check_output(preview, [file], as_json=as_json)
        picture_kind(preview)  # refuses a suffix before the work, not after it
    opened, _ = open_ssic(file)
    facts = opened.info()
    damaged = opened.damaged()
    if damaged:
        facts["damaged"] = damaged
    if as_json:
        say(json.dumps(facts))
    else:
        show_file(str(file), facts)
    if preview is not None:
        _preview(opened, file, preview)
    if damaged:
        warn(f"damaged: {', '.join(damaged)}")
        raise typer.Exit(DAMAGED)
    if not as_json:
        say("All segments are intact.")


def _preview(opened: SsicFile, file: Path, output: Path) -> None:
    with progress("loading the model") as stage:
        from ssic.image import compose, picture_bytes
        from ssic.preview import captions, draw

        with naming(file):
            decoded = opened.decode_pixels(progress=stage)
        texts = captions(opened.mask)
        for group in opened.groups:
            lost = "  damaged" if group.name in decoded.damaged else ""
            texts[group.id] += f"  {group.length:,} B{lost}"
        pixels = compose(decoded.pixels, decoded.present)
        write(output, picture_bytes(draw(pixels, opened.mask, texts), output, opened.icc))


def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to take groups from; - reads stdin.")],
    groups: Annotated[list[str], typer.Option(metavar="NAME,...", help="Names, classes or ids; repeatable.")],
    output: Output,
) -> None:
    """Write a file with some of the groups only, their bytes unchanged."""
    wanted = split(groups)
    if wanted is None:
        raise InvalidInput("--groups is empty; name at least one group")
    check_output(output, (), as_json=False)
    opened, _ = open_ssic(file)
    with naming(file):
        data = opened.extract(wanted)
    write(output, data)
    _say(output, data)


def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files with groups of one picture.")],
    output: Output,
) -> None:
    """Put the groups of several files, for instance of extracts, into one file."""
    from ssic.file import merge as merge_files

    if sum(map(is_pipe, files)) > 1:
        raise InvalidInput("stdin can be read once: name - once, and other files by their paths")
    check_output(output, (), as_json=False)
    # Opened and read first, so that an error names the file.
    parts = [_whole(file, *open_ssic(file)) for file in files]
    with _numbering(files):
        data = merge_files(parts)
    write(output, data)
    _say(output, data)


def _whole(file: Path, opened: SsicFile, data: Bytes) -> Bytes:
    from ssic.format import read_segment

    with naming(file):
        for group in opened.groups:
            read_segment(data, opened.head, group.id)
    return data


@contextmanager
def _numbering(files: Sequence[Path]) -> Iterator[None]:
    """An error that speaks of "file 1" says which that is."""
    try:
        yield
    except InvalidInput as error:
        numbers = sorted({int(n) for n in re.findall(r"\bfile ([0-9]{1,5})\b", str(error))})
        legend = ", ".join(f"file {n} is {files[n]}" for n in numbers if n < len(files))
        error.args = (f"{error} ({legend})" if legend else str(error),)
        raise


def _say(output: Path, data: bytes) -> None:
    from ssic.file import SsicFile

    if not is_pipe(output):
        names = ", ".join(group.name for group in SsicFile(data).groups)
        say(f"{output}: {len(data):,} bytes, {names}")
