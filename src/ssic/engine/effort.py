"""Efforts 1 to 9: how long an encoder may look for better latents, and finding what does it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from ssic.arguments import type_name, whole_from_one
from ssic.engine.base import Engine, check_installed
from ssic.engine.task import Refiner, Schedule
from ssic.entropy.coder import LatentCoder
from ssic.errors import InvalidInput
from ssic.model.weights import Weights

EFFORTS = 9
"""Efforts are the integers 1 to 9. At 1 nothing is refined."""

SCHEDULES: Mapping[int, Schedule] = {
    2: Schedule(10, 0.018, 0.4),
    3: Schedule(20, 0.013, 0.4),
    4: Schedule(40, 0.01, 0.45),
    5: Schedule(60, 0.008, 0.45),
    6: Schedule(100, 0.007, 0.5),
    7: Schedule(150, 0.006, 0.5),
    8: Schedule(250, 0.005, 0.6),
    9: Schedule(400, 0.004, 0.7),
}
"""Of each effort above 1; docs/effort.md says what they cost and buy."""


def find_refiner(weights: Weights, coder: LatentCoder, engine: Engine) -> Refiner:
    """
    Args:
        weights: of the networks.
        coder: writes the substreams.
        engine: runs the synthesis that distortion is measured with; where that is torch, gradients are computed on
            its device.

    Raises:
        EngineError: torch, which gradients need, is not installed.
    """
    check_refinable()
    refiner: Refiner = import_module("ssic.engine.annealing").AnnealingRefiner(weights, coder, engine)
    return refiner


def check_refinable() -> None:
    """
    Raises:
        EngineError: torch, which gradients need, is not installed.
    """
    check_installed("torch", 'an effort above 1 needs gradients: pip install "ssic[torch]"')


Stopped = Callable[[], bool]
"""Whether to end the search now, with the best so far."""


def never() -> bool:
    """A `Stopped` that does not."""
    return False


def check_effort(effort: int, *, here: bool = False) -> int:
    """
    Args:
        here: it is taken on this machine, whose packages can be looked for.

    Raises:
        InvalidInput: it is not an integer from 1 to 9.
        EngineError: torch, which it needs, is not installed here.
    """
    effort = whole_from_one(effort, EFFORTS, "effort")
    if here and effort > 1:
        check_refinable()
    return effort


def as_stopped(given: Stopped | None) -> Stopped:
    """What to ask; `never` for None (`InvalidInput` if it can't be called)."""
    if given is not None and not callable(given):
        raise InvalidInput(f"stopped is a function that tells whether to stop, not {type_name(given)}")
    return given or never
