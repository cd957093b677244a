"""`ssic view`."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer

from ssic.cli.files import open_ssic
from ssic.cli.limits import ReadOptions
from ssic.cli.terminal import say
from ssic.view import ViewServer, name_of


def view(
    file: Annotated[str, typer.Argument(metavar="FILE|URL", help="What to show; - reads stdin.")],
    reading: ReadOptions,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 takes any free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    model: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Weights to decode with.")] = None,
) -> None:
    """Show a file in the browser: its groups outlined; a click fetches and decodes one.

    The page is served on this machine only, until Ctrl-C.
    """
    _, data = open_ssic(file, model, protocols=reading.allowed)
    server = ViewServer(data, name_of(file), model=model, port=port)
    say(server.url)
    if browser:
        # Some browsers, those of terminals, hold the caller up until they end.
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    with suppress(KeyboardInterrupt):  # the way to end it
        server.run()
