"""What a command may read: how large pictures may be, and where files may lie; the same for every command."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

import typer

from ssic.cli.options import Held
from ssic.format import allowing

_PANEL = "What may be read"


@dataclass(frozen=True)
class LimitOptions(Held):
    """What a picture may cost at most, for commands that read pictures or ssic files."""

    max_pixels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Take pictures and files of up to N pixels, in whole 16x16 blocks, and no larger ones. Default: "
            "178,956,970.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def held(self) -> AbstractContextManager[None]:
        """The limits of the process, while the command runs."""
        return allowing(self.max_pixels)


@dataclass(frozen=True)
class ReadOptions(LimitOptions):
    """The same, and where else than at paths and the usual URLs an ssic file may be."""

    protocols: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Protocols that URLs may name beside the usual ones, as in zip or ftp: they may read other places "
            "than the URL says, so only for URLs of people whom you trust. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The protocols, one by one."""
        return tuple(
            name for value in self.protocols or () for word in value.split(",") if (name := word.strip())
        )
