"""How pictures are read: the options that say it, the same for every command that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import is_stdin, read
from ssic.pictures.read import Picture, load_picture

_PANEL = "Pictures that can't be coded as they are"

To8Bit = Annotated[
    str | None,
    typer.Option(
        "--to-8-bit",
        metavar="round|dither",
        help="Convert more than 8 bits a channel; by default they are refused.",
        rich_help_panel=_PANEL,
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="COLOUR",
        help="What shows through transparent pixels, as in white or #20a0ff; by default they are refused.",
        rich_help_panel=_PANEL,
    ),
]
Frame = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Which frame or page, from 0; by default files of several are refused.",
        rich_help_panel=_PANEL,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Read pictures of at most so many pixels; 2^28 by default.",
        rich_help_panel=_PANEL,
    ),
]


def load(
    place: Path,
    to_8_bit: str | None = None,
    background: str | None = None,
    frame: int | None = None,
    max_pixels: int | None = None,
) -> Picture:
    """The picture at a path, or from stdin.

    Raises:
        ImageError: as `ssic.pictures.read.load_picture`.
    """
    about: dict[str, Any] = {"to_8_bit": to_8_bit, "background": background, "frame": frame}
    if max_pixels is not None:
        about["max_pixels"] = max_pixels
    return load_picture(read(place) if is_stdin(place) else place, **about)
