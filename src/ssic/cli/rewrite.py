"""`ssic extract`, `drop`, `merge` and `reorder`: other files of the same segments, without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, SupportsBytes

import typer

from ssic.cli.files import check_output, check_stdin, named, naming, open_ssic, say_file, shown, write
from ssic.cli.limits import ReadOptions
from ssic.cli.options import Groups, Input, Output
from ssic.errors import InvalidInput
from ssic.file import SsicFile
from ssic.format import read_segments
from ssic.opening import merge as merge_files
from ssic.storage.source import Bytes, ByteSource


def extract(
    file: Input,
    groups: Groups,
    output: Output,
    reading: ReadOptions,
) -> None:
    """Write a file with some of the groups only; their bytes stay as they are."""
    _rewrite(file, reading, output, "--groups", groups, lambda opened, wanted: opened.extract(wanted))


def drop(
    file: Input,
    groups: Groups,
    output: Output,
    reading: ReadOptions,
) -> None:
    """Write a file without some of the groups; the bytes of the others stay as they are."""
    _rewrite(file, reading, output, "--groups", groups, lambda opened, wanted: opened.drop(wanted))


def reorder(
    file: Input,
    order: Annotated[
        list[str],
        typer.Option(metavar="NAME,...", help="Groups that shall lie first, in this order; repeatable."),
    ],
    output: Output,
    reading: ReadOptions,
) -> None:
    """Write the same file with its groups in another order."""
    _rewrite(file, reading, output, "--order", order, lambda opened, wanted: opened.reorder(wanted))


def _rewrite(
    file: str,
    reading: ReadOptions,
    output: Path,
    option: str,
    groups: list[str],
    change: Callable[[SsicFile, list[str]], SupportsBytes],
) -> None:
    wanted = named(option, groups)
    check_output(output, (), as_json=False)
    opened, _ = open_ssic(file, protocols=reading.allowed)
    with naming(file):
        data = bytes(change(opened, wanted))
    write(output, data)
    say_file(output, data, opened)


def merge(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="ssic files with groups of one picture: paths, URLs, or once - for stdin."
        ),
    ],
    output: Output,
    reading: ReadOptions,
) -> None:
    """Put the groups of several files, for instance of extracts, into one file."""
    check_stdin(files)
    check_output(output, (), as_json=False)
    # Opened and read first, so that an error names the file.
    opened = [open_ssic(file, protocols=reading.allowed) for file in files]
    parts = [_whole(file, *one) for file, one in zip(files, opened, strict=True)]
    with _numbering(files):
        data = bytes(merge_files(parts))
    write(output, data)
    say_file(output, data, *(one for one, _ in opened))


def _whole(file: str, opened: SsicFile, data: Bytes) -> Bytes:
    if isinstance(data, ByteSource):  # all of it is needed, and once is enough
        data = data[0 : opened.head.file_bytes]
    with naming(file):
        _, broken = read_segments(data, opened.head, opened.head.order)
        if broken:
            raise next(iter(broken.values()))
    return data


@contextmanager
def _numbering(files: Sequence[str]) -> Iterator[None]:
    """An error that speaks of "file 1" says which that is."""
    try:
        yield
    except InvalidInput as error:
        numbers = sorted({int(n) for n in re.findall(r"\bfile ([0-9]{1,5})\b", str(error))})
        legend = ", ".join(f"file {n} is {shown(files[n - 1])}" for n in numbers if 1 <= n <= len(files))
        error.args = (f"{error} ({legend})" if legend else str(error),)
        raise
