"""`ssic decode`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import check_local, check_output, check_stdin, is_pipe, naming, open_ssic, split, write
from ssic.cli.keys import AskPassphrase, Identities, PassphraseFile, Trust, openers, verify_keys
from ssic.cli.rate import Engine
from ssic.cli.terminal import DAMAGED, notice, progress, say, warn


def decode(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File or URL to decode; - reads stdin.")],
    # No default: the picture's own name may well be that of the original.
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Picture to write; its suffix says how. - is a PNG to stdout."),
    ],
    groups: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Only these: names, classes or ids; repeatable."),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(metavar="black|mean|transparent|#rrggbb", help="What stands where no decoded group is."),
    ] = "black",
    crop: Annotated[bool, typer.Option("--crop", help="Cut to the box around the decoded groups.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="The file is cut off: decode the groups that are whole.")
    ] = False,
    prefix: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Read no more than so many bytes; implies --partial.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Installed model, or path of a weights file; by default the installed one that the file names.",
        ),
    ] = None,
    engine: Engine = "auto",
    identity: Identities = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Decode a file, or some of its groups, to a picture."""
    begun = time.perf_counter()
    inputs = [file, *(identity or ()), passphrase_file, *(trust or ())]
    check_local([*inputs[1:], model])
    check_output(output, [*inputs, model], as_json=as_json)
    check_stdin(inputs)
    wanted = split(groups)
    keys, trusted = openers(identity, passphrase, passphrase_file), verify_keys(trust)
    partial = partial or prefix is not None
    with progress("loading the model") as stage:
        from ssic.pictures.fill import check_fill, compose
        from ssic.pictures.write import picture_bytes, picture_kind

        # What can't be is refused before the work, not after it.
        alpha = check_fill(fill)
        picture_kind(output, alpha=alpha)
        opened, _ = open_ssic(file, model, prefix, identity=keys, trust=trusted)
        if not crop:
            picture_kind(output, alpha=alpha, size=opened.size)
        with naming(file):
            decoded = opened.decode_pixels(wanted, crop=crop, partial=partial, engine=engine, progress=stage)
        picture = compose(decoded.pixels, decoded.present, fill)
        write(output, picture_bytes(picture, output, opened.icc))

    asked = opened.mask.groups if wanted is None else opened.mask.resolve(wanted)
    left_out = {*decoded.damaged, *decoded.missing, *decoded.sealed}
    shown = [name for name in (opened.mask.names[g] for g in asked) if name not in left_out]
    height, width = picture.shape[:2]
    if as_json:
        facts = {"output": str(output), "width": width, "height": height, "groups": shown}
        seconds = round(time.perf_counter() - begun, 3)
        faults = {"damaged": list(decoded.damaged), "sealed": list(decoded.sealed)}
        faults |= {"missing": list(decoded.missing)} if partial else {}
        ran = {"engine": opened.codec(engine=engine).engine.name}
        say(json.dumps(facts | faults | ran | {"seconds": seconds}))
    elif not is_pipe(output):
        say(f"{output}: {width}x{height}, {', '.join(shown)}")
    if decoded.sealed:
        how = (
            "give an --identity that opens them" if keys is None else "no key or passphrase given opens them"
        )
        notice(f"sealed and left out: {', '.join(decoded.sealed)} ({how})")
    if decoded.damaged:
        warn(f"damaged and left out: {', '.join(decoded.damaged)}")
    if decoded.missing:
        warn(f"missing, behind the end of what there is of the file: {', '.join(decoded.missing)}")
    if decoded.damaged or decoded.missing:
        raise typer.Exit(DAMAGED)
