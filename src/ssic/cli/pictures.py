"""How pictures are read: the options that say it, the same for every command that takes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import is_stdin, read
from ssic.cli.limits import LimitOptions
from ssic.cli.options import one_of
from ssic.errors import InvalidInput
from ssic.groups.colours import parse_colour
from ssic.pictures.formats import MAX_PIXELS
from ssic.pictures.read import Picture, load_picture

_PANEL = "Pictures that can't be coded as they are"


@dataclass(frozen=True)
class PictureOptions:
    """What becomes of pictures that are refused by default. An option that was not given is None."""

    to_8_bit: Annotated[
        str | None,
        typer.Option(
            "--to-8-bit",
            metavar="round|dither",
            help="Convert more than 8 bits a channel; by default they are refused.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOUR",
            help="What shows through transparent pixels, as in white or #20a0ff; by default they are refused.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    frame: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Which frame or page, from 0; by default files of several are refused.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any was given."""
        return self != PictureOptions()

    def wishes(self) -> dict[str, Any]:
        """The options, as `load_picture` takes them; called before the work.

        Raises:
            InvalidInput: a value that can't be.
        """
        one_of("--to-8-bit", self.to_8_bit, ("round", "dither"))
        if self.background is not None:
            try:
                parse_colour(self.background)
            except InvalidInput as error:
                raise InvalidInput(f"--background: {error}") from error
        return {"to_8_bit": self.to_8_bit, "background": self.background, "frame": self.frame}

    def load(self, place: Path, limits: LimitOptions) -> Picture:
        """The picture at a path, or from stdin.

        Raises:
            ImageError: as `ssic.pictures.read.load_picture`.
        """
        source = read(place) if is_stdin(place) else place
        pixels = MAX_PIXELS if limits.max_pixels is None else limits.max_pixels
        return load_picture(source, **self.wishes(), max_pixels=pixels)
