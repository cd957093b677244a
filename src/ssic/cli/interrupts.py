"""Ctrl-C where a command has something better to do than to end at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ssic.cli.terminal import notice


@contextmanager
def noting(message: str, *, if_so: bool) -> Iterator[Callable[[], bool]]:
    """Ctrl-C is noted, rather than raised where it strikes; a second one is raised.

    Not so where signals can't be had, or are ignored, nor unless `if_so`.

    Args:
        message: what a notice says when it is noted.
        if_so: whether to note at all.

    Yields:
        what says whether there was one.
    """
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        with suppress(RuntimeError):  # it struck where stderr was written to; a notice is not worth more
            notice(message)

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not if_so or not main or before in (None, signal.SIG_IGN):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
