"""Large pictures in strips of rows, each with as much around it as its own rows depend on.

A network of windows sees only so far. Rows that are computed together with all that they depend on come out as in the
whole picture, to the last bit: the argument is that of a group alone and in company. So memory is bounded, and the
price is that what lies around a strip is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import ModelConfig
from ssic.plan import CELL, WINDOW, Plan, make_plan

STEP = 8
"""Strips begin at multiples of so many rows of blocks: of windows and of cells."""


class Strip(NamedTuple):
    """A part of a plan.

    Attributes:
        plan: of the strip's own blocks and of those that they depend on.
        blocks: [n] index, in the whole plan, of the blocks of `plan`.
        own, own_here: index of the strip's own blocks in the whole plan, and in `plan`.
        pairs, pairs_here: the same of its own (cell, group) pairs.
    """

    plan: Plan
    blocks: NDArray[np.int64]
    own: NDArray[np.int64]
    own_here: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pairs_here: NDArray[np.int64]


def needed_rows(config: ModelConfig, start: int, stop: int, *, analysis: bool) -> tuple[int, int]:
    """Rows of blocks that the rows start..stop depend on; may lie beyond the picture."""
    levels = [(config.depths[0], 2), (config.depths[1], 1)]  # fine, coarse: blocks, tokens on a block's side
    for depth, tokens in reversed(levels) if analysis else levels:
        low, high = start * tokens, stop * tokens
        for i in reversed(range(depth)):
            shift = WINDOW // 2 * (i % 2)
            low = (low + shift) // WINDOW * WINDOW - shift
            high = -(-(high + shift) // WINDOW) * WINDOW - shift
            if config.local:
                low, high = low - 1, high + 1
        start, stop = low // tokens, -(-high // tokens)
    return start, stop


def strips(plan: Plan, config: ModelConfig, limit: int, *, analysis: bool) -> Iterator[Strip]:
    """Cut a plan of one picture into strips, so that each has at most `limit` blocks to compute, if need be more for
    the fewest rows that there can be."""
    pictures, rows, columns = plan.shape
    assert pictures == 1, "strips are of one picture"
    per_row = np.bincount(plan.block // columns, minlength=rows)
    before = np.concatenate([[0], np.cumsum(per_row)])
    group = np.zeros((rows, columns), np.uint8)
    group.reshape(-1)[plan.block] = plan.group
    index = np.full(rows * columns, -1, np.int64)
    index[plan.block] = np.arange(len(plan))

    def around(start: int, stop: int) -> tuple[int, int]:
        low, high = needed_rows(config, start, stop, analysis=analysis)
        return max(0, low), min(rows, high)

    start = 0
    while start < rows:
        stop = start + STEP
        while stop < rows:
            low, high = around(start, stop + STEP)
            if before[high] - before[low] > limit:
                break
            stop += STEP
        stop = min(stop, rows)
        if before[stop] > before[start]:
            low, high = around(start, stop)
            wanted = (index >= 0).reshape(rows, columns)
            wanted[:low], wanted[high:] = False, False
            part = make_plan(group, wanted)
            row = part.block // columns
            own = (start <= row) & (row < stop)
            cell_row = np.zeros(len(part.pair_group), np.int64)
            cell_row[part.pair] = row // CELL
            pairs_here = np.flatnonzero((start <= cell_row * CELL) & (cell_row * CELL < stop))
            blocks = index[part.block]
            pairs = np.full(len(part.pair_group), -1, np.int64)
            pairs[part.pair] = plan.pair[blocks]
            yield Strip(part, blocks, blocks[own], np.flatnonzero(own), pairs[pairs_here], pairs_here)
        start = stop
