"""What a fork must not do to fsspec's event loop: reach into the one that goes on in the parent.

A child inherits the parent's epoll instance, which the kernel shares. When the child collects its copies of the
parent's connections, they would take themselves out of it, and the parent would never hear of its own again. So the
child's copy of the loop gets a selector of its own.
"""

from __future__ import annotations

import os
import selectors
import sys
from typing import Any

_loops: list[Any] = []


def _before() -> None:
    asyn = sys.modules.get("fsspec.asyn")
    _loops[:] = [] if asyn is None else [loop for loop in asyn.loop if hasattr(loop, "_selector")]


def _in_child() -> None:
    for loop in _loops:
        loop._selector = selectors.DefaultSelector()
    _loops.clear()


def guard() -> None:
    """Watch over forks of this process from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_child=_in_child, after_in_parent=_loops.clear)
