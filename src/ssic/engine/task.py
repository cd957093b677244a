"""What refining takes and gives, whatever does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssic.plan import Plan

WHOLE = 2048
"""Blocks that are refined at a time, to bound memory (about 0.6 MB per block with `base`): larger groups are refined in
squares, smaller ones together."""


@dataclass(frozen=True)
class Schedule:
    """How long to refine.

    Attributes:
        iterations: steps of the descent.
        rate: of Adam at its highest, in quantisation steps.
        noise: of the random rounding, over that of stochastic Gumbel annealing: the fewer iterations, the less can
            settle again of what it shakes loose. Without any, hardly anything better is found.
    """

    iterations: int
    rate: float
    noise: float


@dataclass(frozen=True)
class Task:
    """A group to be refined.

    Attributes:
        plan: of this group alone.
        quality: 1 to 100.
        blocks: [N, 4, 192] pixels of its blocks.
        inside: [N, 4, 192] which of these are part of the picture; what pads it to whole blocks does not count.
        y: [N, M] latents, gain applied, before rounding.
        z: [P, Z] hyper-latents before rounding.
    """

    plan: Plan
    quality: int
    blocks: NDArray[np.uint8]
    inside: NDArray[np.bool_]
    y: NDArray[np.float32]
    z: NDArray[np.float32]


@dataclass(frozen=True)
class Refined:
    """What refining gives.

    Attributes:
        y: [N, M] latents as every decoder will have them: coding these again gives the same symbols.
        z: [P, Z] hyper-latents, likewise.
        before: bits + lambda * squared error of the group as the encoder codes it without refinement.
        after: the same of what is returned; never more.
    """

    y: NDArray[np.float32]
    z: NDArray[np.float32]
    before: float
    after: float


class Refiner(Protocol):
    """Looks for latents of a group that cost less."""

    def refine(
        self, task: Task, schedule: Schedule, seed: int = 0, step: Callable[[int], bool] = lambda blocks: True
    ) -> Refined:
        """
        Args:
            task: the group.
            schedule: how long.
            seed: of the noise.
            step: called after each iteration with the number of blocks that it was about; False ends the search, and
                the best so far is returned.
        """
        ...
