"""`ssic info`, `extract`, `drop`, `merge` and `reorder`: what needs no model (but `info --preview` does)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    named,
    naming,
    open_ssic,
    say_file,
    shown,
    split,
    write,
)
from ssic.cli.keys import AskPassphrase, Identities, PassphraseFile, Trust, openers, verify_keys
from ssic.cli.model import is_weights, show_weights
from ssic.cli.terminal import DAMAGED, notice, progress, say, show_file, warn
from ssic.errors import InvalidInput

if TYPE_CHECKING:
    from ssic.file import SsicFile
    from ssic.storage.source import Bytes

Input = Annotated[str, typer.Argument(metavar="FILE", help="File or URL to read; - reads stdin.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="File to write; - is stdout.")]


def info(
    file: Input,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check", help="Read all segments, and check them. Default: unless FILE is a URL."
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Tell what reading these from a URL takes; repeatable."),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(help="Decode the file, and write the picture with its groups outlined and labelled."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="For --preview: installed model, or path of a weights file; by default the one that the file names.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="For --preview: what runs the networks, as in decode; auto by default."),
    ] = None,
    identity: Identities = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what is in a file, and check that it is whole, and as it was signed if it was. Of a weights file, show the
    model."""
    if is_weights(file):
        given = (trust, check, groups, preview, model, engine, identity, passphrase, passphrase_file)
        if any(given):
            raise InvalidInput(f"{file} is a weights file: of the options, --json alone is of use with it")
        show_weights(file, as_json=as_json)
        return
    from ssic.format import SIGNATURE
    from ssic.format import check as check_segments
    from ssic.storage.source import is_url

    key_files = [*(identity or ()), passphrase_file, *(trust or ())]
    if preview is not None:
        check_output(preview, [file, *key_files, model], as_json=as_json)
        from ssic.pictures.write import picture_kind

        picture_kind(preview)  # refuses a suffix before the work, not after it
    elif model is not None or engine is not None:
        raise InvalidInput("--model and --engine are of use with --preview only")
    check_local([*key_files, model])
    check_stdin([file, *key_files])
    keys, trusted = openers(identity, passphrase, passphrase_file), verify_keys(trust)
    opened, data = open_ssic(file, model, identity=keys, trust=trusted)
    facts = opened.info()
    chosen = split(groups)
    if chosen is not None:
        with naming(file):
            facts["transfer"]["asked"] = opened.transfer(chosen)
    checked = not is_url(file) if check is None else check
    signed = SIGNATURE in opened.head.chunks
    if checked and signed and is_url(file):
        data = data[0 : opened.head.file_bytes]  # once: checksums and signature both take all of it
    # By their checksums: a segment that was not signed is no damage, but the error below.
    damaged = [group.name for group in check_segments(data, opened.head)] if checked else []
    if damaged:
        facts["damaged"] = damaged
    elif checked and signed:
        from ssic.protect import verify

        with naming(file):
            facts["signed_by"] = str(verify(data, trusted))
    if as_json:
        say(json.dumps(facts))
    else:
        show_file(shown(file), facts)
        transfer = facts["transfer"]
        if chosen is not None:
            say(
                f"{', '.join(chosen)}: {transfer['asked']:,} bytes after the {transfer['head']:,} that opening takes."
            )
    if damaged:
        warn(f"damaged: {', '.join(damaged)}")
    elif not as_json:
        say(
            "All segments are intact."
            if checked
            else "The segments were not read; --check reads and checks them."
        )
        if "signed_by" in facts:
            say(f"Signed by {facts['signed_by']}.")
    if keys is not None and (hidden := [group.name for group in opened.groups if group.hidden]):
        notice(
            f"still sealed, names and all: {', '.join(hidden)} (no key or passphrase given opens all of it)"
        )
    if preview is not None:  # last: where it fails, all else has been said
        _preview(opened, file, preview, engine or "auto")
    if damaged:
        raise typer.Exit(DAMAGED)


def _preview(opened: SsicFile, file: str, output: Path, engine: str) -> None:
    with progress("loading the model") as stage:
        from ssic.pictures.fill import compose
        from ssic.pictures.preview import captions, draw
        from ssic.pictures.write import picture_bytes

        with naming(file):
            decoded = opened.decode_pixels(engine=engine, progress=stage)
        texts = captions(opened.mask)
        for group in opened.groups:
            lost = "  damaged" if group.name in decoded.damaged else ""
            lost += "  sealed" if group.name in decoded.sealed else ""
            texts[group.id] += f"  {group.length:,} B{lost}"
        pixels = compose(decoded.pixels, decoded.present)
        write(output, picture_bytes(draw(pixels, opened.mask, texts), output, opened.icc))


def extract(
    file: Input,
    groups: Annotated[list[str], typer.Option(metavar="NAME,...", help="Names, classes or ids; repeatable.")],
    output: Output,
) -> None:
    """Write a file with some of the groups only, their bytes unchanged."""
    _rewrite(file, output, "--groups", groups, lambda opened, wanted: bytes(opened.extract(wanted)))


def drop(
    file: Input,
    groups: Annotated[list[str], typer.Option(metavar="NAME,...", help="Names, classes or ids; repeatable.")],
    output: Output,
) -> None:
    """Write a file without some of the groups; the bytes of the others are unchanged."""
    _rewrite(file, output, "--groups", groups, lambda opened, wanted: bytes(opened.drop(wanted)))


def reorder(
    file: Input,
    order: Annotated[
        list[str],
        typer.Option(metavar="NAME,...", help="Groups that shall lie first, in this order; repeatable."),
    ],
    output: Output,
) -> None:
    """Write the same file with its groups in another order."""
    _rewrite(file, output, "--order", order, lambda opened, wanted: bytes(opened.reorder(wanted)))


def _rewrite(
    file: str, output: Path, option: str, groups: list[str], change: Callable[[SsicFile, list[str]], bytes]
) -> None:
    wanted = named(option, groups)
    check_output(output, (), as_json=False)
    opened, _ = open_ssic(file)
    with naming(file):
        data = change(opened, wanted)
    write(output, data)
    say_file(output, data, opened)


def merge(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files or URLs with groups of one picture.")
    ],
    output: Output,
) -> None:
    """Put the groups of several files, for instance of extracts, into one file."""
    from ssic.file import merge as merge_files

    check_stdin(files)
    check_output(output, (), as_json=False)
    # Opened and read first, so that an error names the file.
    opened = [open_ssic(file) for file in files]
    parts = [_whole(file, *one) for file, one in zip(files, opened, strict=True)]
    with _numbering(files):
        data = bytes(merge_files(parts))
    write(output, data)
    say_file(output, data, *(one for one, _ in opened))


def _whole(file: str, opened: SsicFile, data: Bytes) -> Bytes:
    from ssic.format import read_segments
    from ssic.storage.source import ByteSource

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
