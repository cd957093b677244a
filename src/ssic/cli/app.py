"""The table of all commands, and how a command line is run. `docs/cli.md` describes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ssic.cli.lazy import Entry, Family, Table, group
from ssic.cli.manner import change_manner
from ssic.cli.terminal import EXIT_CODES, running
from ssic.version import __version__

BATCH: Mapping[str, Entry] = {
    "encode": Entry("ssic.cli.batch:encode", "Encode many pictures, and keep what an earlier run did."),
    "decode": Entry("ssic.cli.batch:decode", "Decode many files, or some of their groups, to pictures."),
    "encrypt": Entry("ssic.cli.batch:encrypt", "Seal groups of many files."),
}
EVAL: Mapping[str, Entry] = {
    "rd": Entry("ssic.cli.evaluate:rd", "Measure rate-distortion curves and BD-rates.", "eval"),
    "selective": Entry(
        "ssic.cli.evaluate:selective", "Measure the bytes of sending the foreground only.", "eval"
    ),
    "task": Entry("ssic.cli.evaluate_task:task", "Measure what a detector finds per bit sent.", "eval"),
}
COMMANDS: Table = {
    "encode": Entry("ssic.cli.encode:encode", "Encode a picture as a file of independent groups."),
    "preview": Entry("ssic.cli.preview:preview", "Show the groups of a picture before it is encoded."),
    "decode": Entry("ssic.cli.decode:decode", "Decode a file, or some of its groups, to a picture."),
    "view": Entry("ssic.cli.view:view", "Show a file in the browser: a click decodes a group."),
    "info": Entry("ssic.cli.info:info", "Show what is in a file, and check that it is intact."),
    "extract": Entry("ssic.cli.rewrite:extract", "Write a file with some of the groups only."),
    "drop": Entry("ssic.cli.rewrite:drop", "Write a file without some of the groups."),
    "merge": Entry("ssic.cli.rewrite:merge", "Put the groups of several files into one."),
    "reorder": Entry("ssic.cli.rewrite:reorder", "Put some groups first in the file."),
    "replace": Entry("ssic.cli.edit:replace", "Give some groups the pixels of another picture."),
    "set-quality": Entry("ssic.cli.edit:set_quality", "Code some groups anew at another quality."),
    "keygen": Entry("ssic.cli.protect:keygen", "Make a pair of keys."),
    "encrypt": Entry("ssic.cli.protect:encrypt", "Seal groups: only the recipients can decode them."),
    "decrypt": Entry("ssic.cli.protect:decrypt", "Open sealed groups for good."),
    "rewrap": Entry("ssic.cli.protect:rewrap", "Change who can open sealed groups."),
    "sign": Entry("ssic.cli.protect:sign", "Sign a file, so that any change shows."),
    "verify": Entry("ssic.cli.protect:verify", "Check the signature of a file."),
    "train": Entry("ssic.cli.train:train", "Train a model.", "train"),
    "export-weights": Entry(
        "ssic.cli.train:export_weights", "Write the weights file of a checkpoint.", "train"
    ),
    "batch": Family("Encode, decode or seal many files in one run.", BATCH),
    "eval": Family("Measure ssic against other codecs, in sizes of files.", EVAL),
}

_CODES = "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())


def _version(asked: bool) -> None:
    if asked:
        print(f"ssic {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print errors, warnings and --json only.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print each stage with its time on stderr.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SSIC_DEBUG", help="Print the traceback of an error.")
    ] = False,
) -> None:
    change_manner(quiet=quiet, verbose=verbose, debug=debug)


def root() -> Any:
    """The group of all commands."""
    return group(
        COMMANDS,
        "Code pictures as independent semantic groups: send, decode or drop each on its own.",
        "ssic",
        callback=_options,
        add_completion=True,
        epilog=f"Exit codes. {_CODES}.",
    )


def run(args: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of the process; ends in `SystemExit`."""
    with running(bool(os.environ.get("SSIC_DEBUG"))):
        code = root().main(args=args, prog_name="ssic", standalone_mode=False)
        raise SystemExit(code if isinstance(code, int) else 0)
