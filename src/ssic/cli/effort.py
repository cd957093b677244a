"""`--effort`, and Ctrl-C while latents are refined: the best so far is written, and said to be that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from ssic.cli.interrupts import noting
from ssic.cli.terminal import warn

Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        min=1,
        max=9,
        metavar="N",
        help="1 to 9: how long to look for fewer bytes at the same distortion; above 1 needs torch.",
    ),
]


def best_so_far(effort: int) -> AbstractContextManager[Callable[[], bool]]:
    """Ctrl-C ends the refinement only; a second one ends all. Without refinement, the first ends all. Gives what to ask
    whether to stop."""
    return noting("Ctrl-C: the best so far is written; once more to write nothing", if_so=effort > 1)


def end_if_asked(ending: Callable[[], bool], output: object) -> None:
    """After the file was written: says that it is not what the effort would have given, and ends with the code of
    Ctrl-C."""
    if ending():
        warn(f"{output} is whole, but was refined only as far as Ctrl-C let it")
        raise typer.Exit(130)
