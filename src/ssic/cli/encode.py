"""`ssic encode`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ssic.cli.files import check_output, is_pipe, read, split, write
from ssic.cli.masks import NOTHING_SAID, MaskOptions, with_mask_options
from ssic.cli.terminal import progress, say, show_file, warn
from ssic.errors import InvalidInput, UnknownGroup

if TYPE_CHECKING:
    from ssic.mask import GroupMask

_RATE = "Rate and order"
_Name = TypeVar("_Name", str, str | int)


@with_mask_options
def encode(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="Picture; - reads stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; - is stdout. By default IN with suffix .ssic."),
    ] = None,
    groups_from: MaskOptions = NOTHING_SAID,
    quality: Annotated[int, typer.Option(help="1 to 100, higher is better.", rich_help_panel=_RATE)] = 60,
    group_quality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=QUALITY,...", help="Exceptions; repeatable.", rich_help_panel=_RATE),
    ] = None,
    order: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...", help="Groups that shall lie first in the file.", rich_help_panel=_RATE
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Installed model, or path of a weights file.")] = "small",
    device: Annotated[str, typer.Option(help="Where the networks run, as torch names it.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: that of info, and seconds.")] = False,
) -> None:
    """Encode a picture as a file of independent groups."""
    begun = time.perf_counter()
    groups_from.check()
    exceptions = read_exceptions(group_quality)
    if output is None:
        if is_pipe(picture) or not picture.name:
            raise InvalidInput("a picture without a name of its own needs an output: -o FILE, or -o -")
        output = picture.with_suffix(".ssic")
    check_output(output, (picture, *groups_from.files), as_json=as_json)

    with progress("reading the picture") as stage:
        from ssic.codec import encode as encode_picture
        from ssic.file import SsicFile
        from ssic.image import load_picture

        loaded = load_picture(read(picture) if is_pipe(picture) else picture)
        stage("finding the groups" if groups_from.segment else "reading the mask")
        groups = groups_from.maker()(loaded, picture.name)
        wanted = split(order)
        if groups_from.segment is not None:
            exceptions = {name: exceptions[name] for name in _found(groups, exceptions, "--group-quality")}
            wanted = _found(groups, wanted or (), "--order")
        stage("loading the model")
        data = encode_picture(
            loaded,
            groups,
            quality=quality,
            group_quality=exceptions,
            order=wanted,
            model=model,
            device=device,
            progress=stage,
        )
    info = SsicFile(data).info()  # first: what can't be read again shall not replace what is there
    write(output, data)
    seconds = round(time.perf_counter() - begun, 3)
    if as_json:
        say(json.dumps(info | {"seconds": seconds}))
    else:
        show_file(str(output), info, stderr=is_pipe(output))


def _found(groups: GroupMask, names: Iterable[_Name], option: str) -> list[_Name]:
    """Those of the names that groups have. What a segmenter finds nobody knows beforehand, so that the others are
    worth a warning, not an error."""
    found = []
    for name in names:
        try:
            groups.resolve([name])
            found.append(name)
        except UnknownGroup:
            warn(f'{option}: nothing called "{name}" was found')
    return found


def read_exceptions(given: list[str] | None) -> dict[str | int, int]:
    """Group -> quality, of the items of --group-quality."""
    exceptions: dict[str | int, int] = {}
    for item in split(given) or ():
        name, _, value = item.rpartition("=")
        if not name or not re.fullmatch(" *[0-9]{1,3}", value):
            raise InvalidInput(
                f"--group-quality {item}: a group and its quality were expected, as in person=85"
            )
        exceptions[name] = int(value)
    return exceptions
