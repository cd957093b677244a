"""The `ssic` command. `docs/cli.md` describes it.

Nothing heavy is imported before a command needs it: `ssic --help` loads no NumPy, `ssic info` no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ssic.cli.batch import batch
from ssic.cli.decode import decode
from ssic.cli.edit import replace, set_quality
from ssic.cli.encode import encode
from ssic.cli.evaluate import evaluate
from ssic.cli.evaluate_task import task
from ssic.cli.inspect import drop, extract, info, merge, reorder
from ssic.cli.preview import preview
from ssic.cli.protect import decrypt, encrypt, keygen, rewrap, sign, verify
from ssic.cli.terminal import EXIT_CODES, Reporting, ending
from ssic.cli.train import export_weights, train
from ssic.cli.view import view
from ssic.version import __version__

_CODES = "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    cls=Reporting,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes. {_CODES}.",
)
for _command in (encode, preview, decode, view, info, extract, drop, merge, reorder, replace):
    app.command()(_command)
app.command("set-quality")(set_quality)
for _protect in (keygen, encrypt, decrypt, rewrap, sign, verify):
    app.command()(_protect)
app.command()(train)
app.command("export-weights")(export_weights)
evaluate.command()(task)
app.add_typer(batch, name="batch")
app.add_typer(evaluate, name="eval")


def _version(asked: bool) -> None:
    if asked:
        print(f"ssic {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SSIC_DEBUG", help="Show the traceback of errors.")
    ] = False,
) -> None:
    """Code pictures as independent semantic groups: send, decode or drop each on its own."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of the process; ends in `SystemExit`."""
    with ending():
        app(args=args, prog_name="ssic")
