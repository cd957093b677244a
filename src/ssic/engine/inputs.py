"""What the graphs are fed with: a plan as named index arrays. `docs/graphs.md` describes them for other decoders."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssic.plan import CELL, Plan

LEVELS = ("coarse", "fine")
SHIFTS = ("", "_shifted")
PARTS = ("gather", "key", "scatter")

WINDOW_INPUTS = tuple(f"{level}{shift}_{part}" for level in LEVELS for shift in SHIFTS for part in PARTS)
"""Names of the inputs that describe windows, in order."""

NEIGHBOUR_INPUTS = tuple(f"{level}_neighbours" for level in LEVELS)
"""Names of the inputs of networks that mix neighbours (`ModelConfig.local`)."""


def index_inputs(plan: Plan, *, local: bool, multiple: int = 1) -> dict[str, NDArray[np.int32]]:
    """The index arrays that both graphs share, by name.

    Args:
        local: with the neighbours.
        multiple: the list of N blocks is filled up to a multiple of this; the blocks added see nothing.
    """
    n = len(plan)
    inputs: dict[str, NDArray[np.int32]] = {}
    for level, tokens in zip(LEVELS, (1, 4), strict=True):
        added = -n % multiple * tokens
        for shift, windows in zip(SHIFTS, getattr(plan, level), strict=True):
            inputs[f"{level}{shift}_gather"] = windows.gather.astype(np.int32)
            inputs[f"{level}{shift}_key"] = windows.key
            inputs[f"{level}{shift}_scatter"] = np.pad(windows.scatter.astype(np.int32), (0, added))
        if local:
            neighbours = plan.neighbours if level == "coarse" else plan.fine_neighbours
            inputs[f"{level}_neighbours"] = _refer(neighbours, tokens * n, added, added)
    return inputs


def pair_inputs(plan: Plan, *, multiple: int = 1) -> dict[str, NDArray[np.int32]]:
    """The index arrays of hyper-analysis: `members` [P, 16] and `count` [P], P filled up to a multiple as well."""
    added = -len(plan.pair_count) % multiple
    count = np.pad(plan.pair_count.astype(np.int32), (0, added), constant_values=1)
    return {"members": _refer(plan.members, len(plan), -len(plan) % multiple, added), "count": count}


def quality_input(plan: Plan, quality: Mapping[int, int], *, multiple: int = 1) -> NDArray[np.int32]:
    """[N] quality of each block, 1 to 100."""
    values = plan.of_blocks(quality).astype(np.int32)
    return np.pad(values, (0, -len(plan) % multiple), constant_values=1)


def _refer(index: NDArray[np.int64], none: int, added: int, rows: int) -> NDArray[np.int32]:
    """Indices into a list that grows from `none` entries by `added`: 'none' moves to its new end. `rows` rows of
    nothing but 'none' follow."""
    moved = np.where(index == none, none + added, index).astype(np.int32)
    return np.pad(moved, ((0, rows), (0, 0)), constant_values=none + added)


assert CELL**2 == 16, "members has 16 columns"
