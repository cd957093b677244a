"""How a command speaks and writes, as its `-q`, `-v` and `-n` say; one command line has one manner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Manner:
    """How a command speaks and writes.

    Attributes:
        quiet: print errors, warnings, and what was asked for with `--json`; nothing else.
        verbose: print each stage on stderr, with the seconds since the start.
        no_clobber: refuse to replace files that exist.
        debug: print the traceback of an error.
    """

    quiet: bool = False
    verbose: bool = False
    no_clobber: bool = False
    debug: bool = False


_USUAL = Manner()
_CURRENT: ContextVar[Manner] = ContextVar("manner", default=_USUAL)


def manner() -> Manner:
    """That of the command that is running."""
    return _CURRENT.get()


@contextmanager
def one_manner() -> Iterator[None]:
    """What is changed within holds until its end."""
    token = _CURRENT.set(_USUAL)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def change_manner(**switches: bool) -> None:
    """Turn on what is true; what was on before stays on."""
    _CURRENT.set(replace(_CURRENT.get(), **{name: True for name, on in switches.items() if on}))
