"""`ssic info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_stdout,
    naming,
    open_ssic,
    shown,
    split,
    write,
)
from ssic.cli.keys import OpenOptions, Trust, verify_keys
from ssic.cli.limits import ReadOptions
from ssic.cli.model import is_weights, show_weights
from ssic.cli.options import AsJson, Input
from ssic.cli.tables import show_file
from ssic.cli.terminal import DAMAGED, notice, progress, say, say_json, warn
from ssic.crypto import VerifyKey
from ssic.errors import InvalidInput
from ssic.file import SsicFile
from ssic.format import SIGNATURE
from ssic.format import check as check_segments
from ssic.pictures.fill import compose
from ssic.pictures.preview import captions, draw
from ssic.pictures.write import picture_bytes, picture_kind
from ssic.protect import verify
from ssic.storage.source import Bytes, is_url


def info(
    file: Input,
    opening: OpenOptions,
    reading: ReadOptions,
    trust: Trust = None,
    as_json: AsJson = False,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Read and check all segments, or read the head only. Default: check, unless FILE is a URL.",
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...", help="Say how many bytes reading these from a URL takes; repeatable."
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Decode the file, and write the picture with its groups outlined and labelled.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="For --preview: installed model, or path of a weights file. Default: the model that the file names.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="For --preview: what runs the networks, as in decode. Default: auto."
        ),
    ] = None,
) -> None:
    """Show what is in a file, and check that it is intact, and signed as it says. Of a weights file, show the model."""
    if is_weights(file):
        others = (
            check,
            groups,
            preview,
            model,
            engine,
            reading.max_pixels,
            reading.memory,
            reading.protocols,
        )
        others += (*opening.files, *(trust or ()))
        if any(option is not None for option in others):
            raise InvalidInput(f"{file} is a weights file: of the options, --json alone is of use with it")
        show_weights(file, as_json=as_json)
        return
    key_files = [*opening.files, *(trust or ())]
    if preview is not None:
        check_output(preview, [file, *key_files, model], as_json=as_json)
        picture_kind(preview)  # refuses a suffix before the work, not after it
    elif model is not None or engine is not None:
        raise InvalidInput("--model and --engine are of use with --preview only")
    check_local([*key_files, model])
    check_stdin([file, *key_files])
    keys, trusted = opening.keys(), verify_keys(trust)
    opened, data = open_ssic(file, model, None, reading.allowed, identity=keys, trust=trusted)
    facts, wanted = opened.info(), split(groups)
    if wanted is not None:
        with naming(file):
            facts["transfer"]["asked"] = opened.transfer(wanted)
    checked = not is_url(file) if check is None else check
    if checked:
        _check(facts, file, opened, data, trusted)
    if as_json:
        say_json(facts)
    else:
        _show(facts, file, wanted, checked, stderr=preview is not None and is_stdout(preview))
    if "damaged" in facts:
        warn(f"damaged: {', '.join(facts['damaged'])}")
    if keys is not None and (hidden := [group.name for group in opened.groups if group.hidden]):
        notice(
            f"still sealed, names and all: {', '.join(hidden)} (no key or passphrase given opens all of it)"
        )
    if preview is not None:  # last: where it fails, all else has been said
        _preview(opened, file, preview, engine or "auto")
    if "damaged" in facts:
        raise typer.Exit(DAMAGED)


def _check(
    facts: dict[str, Any], file: str, opened: SsicFile, data: Bytes, trusted: list[VerifyKey] | None
) -> None:
    """Check segments and signature; what comes of it goes into the facts."""
    signed = SIGNATURE in opened.head.chunks
    if signed and is_url(file):
        data = data[0 : opened.head.file_bytes]  # once: checksums and signature both take all of it
    # By their checksums: a segment that was not signed is no damage, but the error below.
    if damaged := [group.name for group in check_segments(data, opened.head)]:
        facts["damaged"] = damaged
    elif signed:
        with naming(file):
            facts["signed_by"] = str(verify(data, trusted))


def _show(facts: dict[str, Any], file: str, wanted: list[str] | None, checked: bool, *, stderr: bool) -> None:
    show_file(shown(file), facts, stderr=stderr)
    if wanted is not None:
        asked, head = facts["transfer"]["asked"], facts["transfer"]["head"]
        say(f"{', '.join(wanted)}: {asked:,} bytes after the {head:,} that opening takes.", stderr=stderr)
    if "damaged" in facts:
        return
    said = (
        "All segments are intact."
        if checked
        else "The segments were not read; --check reads and checks them."
    )
    say(said, stderr=stderr)
    if "signed_by" in facts:
        say(f"Signed by {facts['signed_by']}.", stderr=stderr)


def _preview(opened: SsicFile, file: str, output: Path, engine: str) -> None:
    with progress("loading the model") as stage:
        with naming(file):
            decoded = opened.decode_pixels(engine=engine, progress=stage)
        texts = captions(opened.mask)
        for group in opened.groups:
            lost = "  damaged" if group.name in decoded.damaged else ""
            lost += "  sealed" if group.name in decoded.sealed else ""
            texts[group.id] += f"  {group.length:,} B{lost}"
        pixels = compose(decoded.pixels, decoded.present)
        write(output, picture_bytes(draw(pixels, opened.mask, texts), output, opened.icc))
