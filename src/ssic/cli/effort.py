"""`--effort`, and Ctrl-C while latents are refined: the best so far is written, and said to be that."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from ssic.cli.terminal import notice, warn

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


class Ending:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def best_so_far(effort: int) -> Iterator[Ending]:
    """Ctrl-C ends the refinement only; a second one ends all. Without refinement, the first ends all.

    Yields:
        what to ask whether to stop.
    """
    ending = Ending()

    def note(number: int, frame: object) -> None:
        if ending.asked:
            raise KeyboardInterrupt
        ending.asked = True
        with suppress(
            RuntimeError
        ):  # it struck where stderr was being written to; a notice is not worth more
            notice("Ctrl-C: the best so far is written; once more to write nothing")

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if effort == 1 or not main or before in (None, signal.SIG_IGN):
        yield ending
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield ending
    finally:
        signal.signal(signal.SIGINT, before)


def end_if_asked(ending: Callable[[], bool], output: object) -> None:
    """After the file was written: says that it is not what the effort would have given, and ends with the code of
    Ctrl-C."""
    if ending():
        warn(f"{output} is whole, but was refined only as far as Ctrl-C let it")
        raise typer.Exit(130)
