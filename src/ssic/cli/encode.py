"""`ssic encode`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import check_output, is_pipe, read, split, write
from ssic.cli.terminal import progress, say, show_file
from ssic.errors import InvalidInput

_MASK = "Mask (one of --mask, --coco, --boxes, --grid; none of them makes one group)"
_RATE = "Rate and order"

_NEEDS = {
    "--names": ("--mask",),
    "--image-id": ("--coco",),
    "--group-by": ("--coco",),
    "--block-rule": ("--mask", "--coco", "--boxes"),
    "--drop-empty": ("--mask", "--boxes"),
}
"""Options that mean nothing without one of these."""


def encode(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="Picture; - reads stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; - is stdout. By default IN with suffix .ssic."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Label map: a number per pixel, or per 16x16 block.", rich_help_panel=_MASK),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help='JSON with names of its labels: {"1": "dog"}.', rich_help_panel=_MASK),
    ] = None,
    coco: Annotated[Path | None, typer.Option(help="COCO annotations.", rich_help_panel=_MASK)] = None,
    image_id: Annotated[
        str | None,
        typer.Option(help="Which picture of them; by default that of IN's file name.", rich_help_panel=_MASK),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="instance|class", help="A group per object or class.", rich_help_panel=_MASK),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="JSON list of boxes, see docs/cli.md.", rich_help_panel=_MASK),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="ROWSxCOLUMNS", help="Equal cells.", rich_help_panel=_MASK),
    ] = None,
    block_rule: Annotated[
        str | None,
        typer.Option(
            metavar="most|any",
            help="Who owns a block: the label with most pixels, or any object before the background.",
            rich_help_panel=_MASK,
        ),
    ] = None,
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out groups without a block.", rich_help_panel=_MASK)
    ] = False,
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
    sources = {"--mask": mask, "--coco": coco, "--boxes": boxes, "--grid": grid}
    details = {
        "--names": names,
        "--image-id": image_id,
        "--group-by": group_by,
        "--block-rule": block_rule,
        "--drop-empty": drop_empty or None,
    }
    _check_mask_options(*([k for k, v in given.items() if v is not None] for given in (sources, details)))
    cells = _cells(grid)
    exceptions = read_exceptions(group_quality)
    if output is None:
        if is_pipe(picture) or not picture.name:
            raise InvalidInput("a picture without a name of its own needs an output: -o FILE, or -o -")
        output = picture.with_suffix(".ssic")
    check_output(output, (picture, mask, names, coco, boxes), as_json=as_json)

    with progress("reading the picture") as stage:
        from ssic.codec import encode as encode_picture
        from ssic.file import SsicFile
        from ssic.image import load_picture
        from ssic.mask import GroupMask

        loaded = load_picture(read(picture) if is_pipe(picture) else picture)
        stage("reading the mask")
        options: dict[str, Any] = {"rule": block_rule or "most"}
        if mask is not None:
            groups = GroupMask.from_label_map(mask, loaded.size, names, drop_empty=drop_empty, **options)
        elif coco is not None:
            options["group_by"] = group_by or "instance"
            groups = GroupMask.from_coco(
                coco, loaded.size, image_id=image_id, file_name=picture.name, **options
            )
        elif boxes is not None:
            groups = GroupMask.from_boxes(boxes, loaded.size, drop_empty=drop_empty, **options)
        elif cells is not None:
            groups = GroupMask.grid(loaded.size, *cells)
        else:
            groups = GroupMask.single(loaded.size)
        stage("loading the model")
        data = encode_picture(
            loaded,
            groups,
            quality=quality,
            group_quality=exceptions,
            order=split(order),
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


def _check_mask_options(sources: list[str], details: list[str]) -> None:
    if len(sources) > 1:
        raise InvalidInput(f"{' and '.join(sources)} exclude each other: each makes the whole mask")
    for option in details:
        if not set(sources) & set(_NEEDS[option]):
            raise InvalidInput(f"{option} is of use with {' or '.join(_NEEDS[option])} only")


def _cells(grid: str | None) -> tuple[int, int] | None:
    if grid is None:
        return None
    if match := re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", grid):
        return int(match[1]), int(match[2])
    raise InvalidInput(f"--grid {grid}: rows and columns were expected, as in 4x6")


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
