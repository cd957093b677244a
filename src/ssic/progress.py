"""What callers are told while they wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ssic.arguments import type_name
from ssic.errors import InvalidInput

Progress = Callable[[str], None]
"""Called with the name of each stage as it begins: "analysis", "entropy", "synthesis"; and once a second, where one
takes that long, with its name, how much is done and how long the rest takes. What it raises ends the work."""


def silent(stage: str) -> None:
    """What is called with stages where nobody asked for them."""


def nothing(share: float) -> None:
    """What is called with the share of a work that is done where nobody asked for it."""


def as_progress(given: Progress | None) -> Progress:
    """What to call; nothing for None (`InvalidInput` if it can't be called)."""
    if given is not None and not callable(given):
        raise InvalidInput(f"progress is a function of a stage's name, not {type_name(given)}")
    return given or silent


def shares(progress: Progress, stage: str) -> Callable[[float], None]:
    """What to call with the share of a stage that is done: it tells of stages that take seconds."""
    return Clock(1, progress, stage).reach


@dataclass
class Clock:
    """Tells, once a second, how much is done and how long the rest will take.

    Attributes:
        total: units of work.
        progress: called with a text.
        stage: what that begins with.
    """

    total: float
    progress: Callable[[str], None]
    stage: str = "refining"
    done: float = 0
    _begun: tuple[float, float] | None = None
    _told: float = -1.0

    def advance(self, units: float) -> None:
        """So much more is done."""
        self.reach(self.done + units)

    def reach(self, done: float) -> None:
        """So much is done in all."""
        self.done = done
        now = time.monotonic()
        if self._begun is None:  # the first step sets up much that the others find there: it says nothing
            self._begun, self._told = (now, done), now
        elif now >= self._told + 1 and done > self._begun[1]:
            self._told = now
            left = (now - self._begun[0]) * (self.total - done) / (done - self._begun[1])
            self.progress(f"{self.stage}, {100 * done / self.total:.0f} %, {_spoken(left)} left")


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
