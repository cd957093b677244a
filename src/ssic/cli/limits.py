"""What a command may read: how large pictures may be, and where files may lie; the same for every command."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

import typer

from ssic.cli.options import Held
from ssic.errors import InvalidInput
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
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Take no more memory than this for encoding or decoding, beyond the loaded model, by an estimate: "
            "500M, 2G (10^6, 10^9 bytes). What would take more is refused before the work. Default: 8.6G.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def held(self) -> AbstractContextManager[None]:
        """The limits of the process, while the command runs."""
        return allowing(self.max_pixels, self.max_memory)

    @property
    def max_memory(self) -> int | None:
        """Bytes that coding may take.

        Raises:
            InvalidInput: the size is none.
        """
        return None if self.memory is None else _bytes(self.memory)


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


def _bytes(size: str) -> int:
    """ "1.5G" -> 1,500,000,000."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)B?", size.strip(), re.IGNORECASE)
    count = round(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")) if found else 0
    if count < 1:
        raise InvalidInput(f"--memory {size!r:.40}: a size was expected, such as 500M or 2G")
    return count
