"""`ssic replace` and `ssic set-quality`: coding single groups of a file anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, SupportsBytes

import typer

from ssic.cli.effort import Effort, best_so_far, end_if_asked
from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_stdout,
    named,
    naming,
    open_ssic,
    warn_unsigned,
    write,
)
from ssic.cli.limits import ReadOptions
from ssic.cli.options import Engine, Input, ModelOfFile, Output
from ssic.cli.pictures import PictureOptions
from ssic.cli.rate import check_quality, group_qualities
from ssic.cli.terminal import progress, say
from ssic.errors import InvalidInput
from ssic.file import SsicFile
from ssic.pictures.read import Picture


def replace(
    file: Input,
    group: Annotated[
        list[str],
        typer.Option(metavar="NAME,...", help="Groups to replace: names, classes or ids; repeatable."),
    ],
    picture: Annotated[
        Path, typer.Option("--with", metavar="PICTURE", help="Picture of the same size with the new pixels.")
    ],
    output: Output,
    pictures: PictureOptions,
    reading: ReadOptions,
    quality: Annotated[
        int | None, typer.Option(metavar="N", help="1 to 100. Default: as each group is now.")
    ] = None,
    model: ModelOfFile = None,
    engine: Engine = "auto",
    effort: Effort = 1,
) -> None:
    """Give some groups the pixels of another picture; the bytes of the other groups stay as they are."""
    wanted = named("--group", group)
    if quality is not None:
        check_quality(quality)

    def change(opened: SsicFile, loaded: Picture | None, **how: Any) -> SupportsBytes:
        assert loaded is not None
        return opened.replace(wanted, loaded, quality=quality, engine=engine, effort=effort, **how)

    _recode(file, picture, pictures, reading, output, model, effort, change)


def set_quality(
    file: Input,
    group_quality: Annotated[
        list[str], typer.Option(metavar="NAME=N,...", help="New qualities of groups; repeatable.")
    ],
    output: Output,
    pictures: PictureOptions,
    reading: ReadOptions,
    original: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="PICTURE",
            help="The original picture. Without it, qualities can only be lowered, at some loss.",
        ),
    ] = None,
    model: ModelOfFile = None,
    engine: Engine = "auto",
    effort: Effort = 1,
) -> None:
    """Code some groups anew at another quality; the bytes of the other groups stay as they are."""
    qualities = group_qualities(group_quality)

    def change(opened: SsicFile, loaded: Picture | None, **how: Any) -> SupportsBytes:
        return opened.set_quality(qualities, loaded, engine=engine, effort=effort, **how)

    if original is None and pictures.given:
        raise InvalidInput(
            "--to-8-bit, --background and --frame are of use with --with only: they are about that picture"
        )
    _recode(file, original, pictures, reading, output, model, effort, change)


def _recode(
    file: str,
    picture: Path | None,
    pictures: PictureOptions,
    reading: ReadOptions,
    output: Path,
    model: str | None,
    effort: int,
    change: Callable[..., SupportsBytes],
) -> None:
    check_stdin([file, picture])
    check_local([picture, model])
    check_output(output, [picture, model], as_json=False)
    pictures.wishes()
    with best_so_far(effort) as ending, progress("reading the file") as stage:
        opened, _ = open_ssic(file, model, protocols=reading.allowed)
        loaded = None if picture is None else pictures.load(picture, reading)
        stage("loading the model")
        with naming(file):
            data = bytes(change(opened, loaded, progress=stage, stopped=ending))
    after = SsicFile(data).groups  # first: what can't be read again shall not replace what is there
    write(output, data)
    warn_unsigned(data, opened)
    if not is_stdout(output):
        changed = [
            f"{new.name} {old.length:,} to {new.length:,} bytes, quality {old.quality} to {new.quality}"
            for old, new in zip(opened.groups, after, strict=True)
            if (old.crc, old.length, old.quality) != (new.crc, new.length, new.quality)
        ]
        say(f"{output}: {len(data):,} bytes; {'; '.join(changed) or 'nothing changed'}")
    end_if_asked(ending, output)
