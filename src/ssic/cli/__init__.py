"""The `ssic` command."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of the process; ends in `SystemExit`."""
    try:
        # Here rather than at the top, so that Ctrl-C while modules are loaded shows no traceback.
        import_module("ssic.cli.app").run(args)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
