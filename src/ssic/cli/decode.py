"""`ssic decode`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_stdin,
    is_stdout,
    naming,
    open_ssic,
    shown,
    split,
    write,
)
from ssic.cli.keys import OpenOptions, Trust, verify_keys
from ssic.cli.limits import ReadOptions
from ssic.cli.options import AsJson, Engine, Input, ModelOfFile
from ssic.cli.terminal import DAMAGED, notice, progress, say, say_json, warn
from ssic.codec import check_scale
from ssic.decoded import Decoded
from ssic.errors import InvalidInput
from ssic.file import SsicFile
from ssic.pictures.fill import check_fill, compose
from ssic.pictures.write import picture_bytes, picture_kind
from ssic.storage.source import is_url

SomeGroups = Annotated[
    list[str] | None,
    typer.Option(
        "--groups",
        metavar="NAME,...",
        help="Names, classes or ids of groups; repeatable. Default: all of them.",
    ),
]
Fill = Annotated[
    str,
    typer.Option(
        "--fill",
        metavar="mean|transparent|COLOUR",
        help="What stands where no decoded group is; colours as in white or #20a0ff.",
    ),
]
Crop = Annotated[bool, typer.Option("--crop", help="Cut the picture to the box around the decoded groups.")]
Scale = Annotated[
    int,
    typer.Option(
        metavar="1|4|8|16",
        help="Decode at 1/N of the resolution, as for thumbnails, in a fraction of the time.",
    ),
]


def decode(
    file: Input,
    opening: OpenOptions,
    reading: ReadOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Picture to write, in the format of its suffix; - is a PNG to stdout. Default: FILE with the suffix "
            ".png (of a URL, in the current folder), which must not exist yet.",
        ),
    ] = None,
    groups: SomeGroups = None,
    fill: Fill = "black",
    crop: Crop = False,
    scale: Scale = 1,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="The file is cut off: decode the groups that are whole, and name the others."
        ),
    ] = False,
    prefix: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Read at most BYTES of the file, at a URL in one request; implies --partial.",
        ),
    ] = None,
    model: ModelOfFile = None,
    engine: Engine = "auto",
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Decode a file, or some of its groups, to a picture."""
    begun = time.perf_counter()
    target = _output_of(file) if output is None else output
    inputs = [file, *opening.files, *(trust or ())]
    check_local([*inputs[1:], model])
    check_output(target, [*inputs, model], as_json=as_json)
    check_stdin(inputs)
    wanted, keys, trusted = split(groups), opening.keys(), verify_keys(trust)
    partial = partial or prefix is not None
    # What can't be is refused before the work, not after it.
    alpha, scale = check_fill(fill), check_scale(scale)
    picture_kind(target, alpha=alpha)
    with progress("loading the model") as stage:
        opened, _ = open_ssic(file, model, prefix, reading.allowed, identity=keys, trust=trusted)
        if not crop:
            width, height = (-(-side // scale) for side in opened.size)
            picture_kind(target, alpha=alpha, size=(width, height))
        with naming(file):
            decoded = opened.decode_pixels(
                wanted, crop=crop, partial=partial, scale=scale, engine=engine, progress=stage
            )
        picture = compose(decoded.pixels, decoded.present, fill)
        write(target, picture_bytes(picture, target, opened.icc))

    names = decoded_names(opened, wanted, decoded)
    height, width = picture.shape[:2]
    if as_json:
        facts: dict[str, Any] = {"output": str(target), "width": width, "height": height, "groups": names}
        facts |= {"damaged": list(decoded.damaged), "sealed": list(decoded.sealed)}
        facts |= {"missing": list(decoded.missing)} if partial else {}
        ran = {"scale": scale, "engine": opened.codec(engine=engine).engine.name if scale == 1 else None}
        say_json(facts | ran | {"seconds": round(time.perf_counter() - begun, 3)})
    elif not is_stdout(target):
        say(f"{target}: {width}x{height}, {', '.join(names)}")
    _tell_left_out(decoded, keys is not None)


def _output_of(file: str) -> Path:
    """The picture beside a file, or in the current folder for one at a URL. It is new: a picture of that name may well
    be the original."""
    if is_stdin(file):
        raise InvalidInput("a file without a name of its own needs an output: -o FILE, or -o -")
    output = Path(shown(file)).with_suffix(".png")
    if is_url(file):
        output = Path(output.name)
    if output.exists():
        raise InvalidInput(f"{output} exists, and may be the original: say where to write with -o FILE")
    return output


def decoded_names(opened: SsicFile, wanted: list[str] | None, decoded: Decoded) -> list[str]:
    """Names of the groups that were asked for, and that could be decoded."""
    asked = opened.mask.groups if wanted is None else opened.mask.resolve(wanted)
    left_out = {*decoded.damaged, *decoded.missing, *decoded.sealed}
    return [name for name in (opened.mask.names[g] for g in asked) if name not in left_out]


def _tell_left_out(decoded: Decoded, keys: bool) -> None:
    if decoded.sealed:
        how = "no key or passphrase given opens them" if keys else "give an --identity that opens them"
        notice(f"sealed and left out: {', '.join(decoded.sealed)} ({how})")
    if decoded.damaged:
        warn(f"damaged and left out: {', '.join(decoded.damaged)}")
    if decoded.missing:
        warn(f"missing, behind the end of what there is of the file: {', '.join(decoded.missing)}")
    if decoded.damaged or decoded.missing:
        raise typer.Exit(DAMAGED)
