"""`ssic replace` and `ssic set-quality`: coding single groups of a file anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssic.cli.effort import Effort, Ending, best_so_far, end_if_asked
from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_pipe,
    named,
    naming,
    open_ssic,
    read,
    warn_unsigned,
    write,
)
from ssic.cli.inspect import Input, Output
from ssic.cli.rate import Engine, check_quality, group_qualities
from ssic.cli.terminal import progress, say

if TYPE_CHECKING:
    from ssic.file import SsicFile
    from ssic.pictures.read import Picture

Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Installed model, or path of a weights file; by default the installed one that the file names.",
    ),
]


def replace(
    file: Input,
    group: Annotated[
        list[str],
        typer.Option(metavar="NAME,...", help="What to replace: names, classes or ids; repeatable."),
    ],
    picture: Annotated[
        Path, typer.Option("--with", metavar="PICTURE", help="Where the new pixels come from.")
    ],
    output: Output,
    quality: Annotated[int | None, typer.Option(help="1 to 100; by default as the group is now.")] = None,
    model: Model = None,
    engine: Engine = "auto",
    effort: Effort = 1,
) -> None:
    """Put pixels of another picture in the place of some groups; the bytes of the others are unchanged."""
    wanted = named("--group", group)
    if quality is not None:
        check_quality(quality)

    def change(
        opened: SsicFile, loaded: Picture | None, stage: Callable[[str], None], stopped: Ending
    ) -> bytes:
        assert loaded is not None
        return bytes(
            opened.replace(
                wanted,
                loaded,
                quality=quality,
                engine=engine,
                effort=effort,
                progress=stage,
                stopped=stopped,
            )
        )

    _recode(file, picture, output, model, effort, change)


def set_quality(
    file: Input,
    group_quality: Annotated[
        list[str], typer.Option(metavar="NAME=QUALITY,...", help="New qualities of groups; repeatable.")
    ],
    output: Output,
    original: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="PICTURE",
            help="The original; without it qualities can only be lowered, at some loss.",
        ),
    ] = None,
    model: Model = None,
    engine: Engine = "auto",
    effort: Effort = 1,
) -> None:
    """Code some groups anew at another quality; the bytes of the others are unchanged."""
    qualities = group_qualities(group_quality)

    def change(
        opened: SsicFile, loaded: Picture | None, stage: Callable[[str], None], stopped: Ending
    ) -> bytes:
        return bytes(
            opened.set_quality(
                qualities, loaded, engine=engine, effort=effort, progress=stage, stopped=stopped
            )
        )

    _recode(file, original, output, model, effort, change)


def _recode(
    file: str,
    picture: Path | None,
    output: Path,
    model: str | None,
    effort: int,
    change: Callable[[SsicFile, Picture | None, Callable[[str], None], Ending], bytes],
) -> None:
    check_stdin([file, picture])
    check_local([picture, model])
    check_output(output, [picture, model], as_json=False)
    with best_so_far(effort) as ending, progress("reading the file") as stage:
        from ssic.file import SsicFile
        from ssic.pictures.read import load_picture

        opened, _ = open_ssic(file, model)
        loaded = None
        if picture is not None:
            loaded = load_picture(read(picture) if is_pipe(picture) else picture)
        stage("loading the model")
        with naming(file):
            data = change(opened, loaded, stage, ending)
    after = SsicFile(data).groups  # first: what can't be read again shall not replace what is there
    write(output, data)
    warn_unsigned(data, opened)
    if not is_pipe(output):
        changed = [
            f"{new.name} {old.length:,} to {new.length:,} bytes, quality {old.quality} to {new.quality}"
            for old, new in zip(opened.groups, after, strict=True)
            if (old.crc, old.length, old.quality) != (new.crc, new.length, new.quality)
        ]
        say(f"{output}: {len(data):,} bytes; {'; '.join(changed) or 'nothing changed'}")
    end_if_asked(ending, output)
