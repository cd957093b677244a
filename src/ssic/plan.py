"""Who may see whom: all bookkeeping about groups, as NumPy index arrays made outside the networks.

A picture, or a batch of equally large crops, is coded as a list of N *coarse tokens*, one per 16x16 block, in
raster order. Only blocks that are wanted are in the list: in a group-independent network the others cannot
matter, so decoding one group is the same computation on a shorter list. Each coarse token splits into four *fine
tokens* (8x8 pixels each, 2x2 raster); fine token ``4 * i + j`` belongs to coarse token ``i``, so merging and
splitting are reshapes.

The networks receive nothing about groups but the arrays of a `Plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import ABSENT

WINDOW = 8
"""Tokens on a side of an attention window."""

CELL = 4
"""Blocks on a side of the cell that one hyper-latent vector serves."""

PHASES = 3
"""Passes in which the blocks of one slice are coded; see `_phase`."""

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Row and column offsets of a block's neighbours, in the order of the context's inputs."""


@dataclass(frozen=True)
class Windows:
    """Attention windows over a token list.

    Attributes:
        gather: [W, 64] token at each slot of each window; 0 at empty slots (their key hides them).
        key: [W, 64] a token attends to the tokens of its window with the same key, and to no other. Equal
            keys mean: same group *and* same side of the shifted picture's seam. Empty slots have keys of their own.
        scatter: [N] position of each token in the flattened windows.
    """

    gather: NDArray[np.int64]
    key: NDArray[np.int32]
    scatter: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Index arrays for N wanted blocks and P (cell, group) pairs.

    Attributes:
        block: [N] raster index of each block in its picture (or batch of pictures).
        group: [N] group id of each block.
        shape: (pictures, block rows, block columns).
        pair: [N] the (cell, group) pair that a block belongs to; pairs are ordered by cell, then group.
        pair_group: [P] group id of each pair.
        pair_count: [P] blocks of the pair, 1 to 16.
        cell_position: [N] raster position of a block in its cell, 0 to 15.
        phase: [N] the pass in which a block is coded, 0 to 2.
        neighbours: [N, 8] index of the neighbouring block if it is of the same group, else N.
    """

    block: NDArray[np.int64]
    group: NDArray[np.uint8]
    shape: tuple[int, int, int]
    pair: NDArray[np.int64]
    pair_group: NDArray[np.uint8]
    pair_count: NDArray[np.int64]
    cell_position: NDArray[np.int64]
    phase: NDArray[np.int64]
    neighbours: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.block)

    def of_blocks(self, value: Mapping[int, int]) -> NDArray[np.int64]:
        """What each group has, for each block: [N]. KeyError for a group without."""
        return _looked_up(value, self.group)

    def of_pairs(self, value: Mapping[int, int]) -> NDArray[np.int64]:
        """What each group has, for each pair: [P]."""
        return _looked_up(value, self.pair_group)

    @cached_property
    def earlier(self) -> NDArray[np.int64]:
        """[N, 8] as `neighbours`, but only those of an earlier phase."""
        phase = np.append(self.phase, PHASES)  # that of no block: later than all
        return np.where(phase[self.neighbours] < self.phase[:, None], self.neighbours, len(self))

    @cached_property
    def pair_phase(self) -> NDArray[np.int64]:
        """[P] the pass in which a pair is coded where passes see one another: `_phase` of its cell."""
        return _phase(*self._pair_places[1:])

    @cached_property
    def earlier_pairs(self) -> NDArray[np.int64]:
        """[P, 8] index of the neighbouring cell's pair if it is of the same group and of an earlier phase, else P."""
        picture, row, column = self._pair_places
        _, h, w = self.shape
        rows, columns = -(-h // CELL), -(-w // CELL)

        def key(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
            return ((picture * rows + row) * columns + column) * 256 + self.pair_group

        own, count = key(row, column), len(self.pair_group)  # ascending
        earlier = np.full((count, len(NEIGHBOURS)), count, np.int64)
        for i, (dy, dx) in enumerate(NEIGHBOURS):
            y, x = row + dy, column + dx
            wanted = key(y, x)
            at = np.searchsorted(own, wanted)
            at[at == count] = 0
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            there = inside & (own[at] == wanted) & (_phase(y, x) < self.pair_phase)
            earlier[there, i] = at[there]
        return earlier

    @cached_property
    def _pair_places(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Picture, row and column of each pair's cell."""
        _, h, w = self.shape
        block = np.empty(len(self.pair_group), np.int64)
        block[self.pair] = self.block  # any of the pair's
        picture, within = np.divmod(block, h * w)
        row, column = np.divmod(within, w)
        return picture, row // CELL, column // CELL

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """[P, 16] the blocks of each pair by their position in the cell; N where the pair has none there."""
        members = np.full((len(self.pair_group), CELL**2), len(self), np.int64)
        members[self.pair, self.cell_position] = np.arange(len(self))
        return members

    @cached_property
    def fine_neighbours(self) -> NDArray[np.int64]:
        """[4 N, 8] index of each fine token's neighbour if it is of the same group, else 4 N; as `neighbours`."""
        n = len(self)
        first = np.where(self.neighbours == n, -1, 4 * self.neighbours)
        fine = fine_neighbours(4 * np.arange(n), first)
        return np.where(fine < 0, 4 * n, fine)

    @cached_property
    def coarse(self) -> tuple[Windows, Windows]:
        """Plain and shifted windows over the coarse tokens."""
        return self._both(1)

    @cached_property
    def fine(self) -> tuple[Windows, Windows]:
        """Plain and shifted windows over the fine tokens."""
        return self._both(2)

    def _both(self, side: int) -> tuple[Windows, Windows]:
        _, h, w = self.shape
        picture, within = np.divmod(self.block, h * w)
        row, column = token_places(*np.divmod(within, w), side)
        picture, group = picture.repeat(side**2), self.group.repeat(side**2)
        half = WINDOW // 2
        plain, shifted = (
            cut_windows(picture, row, column, group, (side * h, side * w), by, by) for by in (0, half)
        )
        return plain, shifted


def make_plan(ids: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None) -> Plan:
    """Plan the coding of the wanted blocks.

    Args:
        ids: [h, w] or [B, h, w] group id of each block; `ABSENT` blocks are never wanted.
        wanted: same shape; the blocks to code, all that are not absent by default. Whether a block is wanted must
            depend on its group only: a block sees every block of its group.
    """
    if ids.ndim == 2:
        ids = ids[None]
    keep = ids != ABSENT
    if wanted is not None:
        keep &= wanted.reshape(ids.shape)
    _, h, w = ids.shape
    block = np.flatnonzero(keep)
    group = ids.reshape(-1)[block]
    picture, within = np.divmod(block, h * w)
    row, column = np.divmod(within, w)

    cell_rows, cell_columns = -(-h // CELL), -(-w // CELL)
    cell = (picture * cell_rows + row // CELL) * cell_columns + column // CELL
    pairs, pair, pair_count = np.unique(cell * 256 + group, return_inverse=True, return_counts=True)

    # A margin of -1: nothing lies outside the picture.
    token = np.full((ids.shape[0], h + 2, w + 2), -1, np.int64)
    token[picture, row + 1, column + 1] = np.arange(len(block))
    neighbours = np.empty((len(block), len(NEIGHBOURS)), np.int64)
    for i, (dy, dx) in enumerate(NEIGHBOURS):
        near = token[picture, row + 1 + dy, column + 1 + dx]
        own = (near >= 0) & (group[near] == group)
        neighbours[:, i] = np.where(own, near, len(block))
    return Plan(
        block=block,
        group=group,
        shape=(ids.shape[0], h, w),
        pair=pair.reshape(-1).astype(np.int64),
        pair_group=(pairs % 256).astype(np.uint8),
        pair_count=pair_count.astype(np.int64),
        cell_position=(row % CELL) * CELL + column % CELL,
        phase=_phase(row, column),
        neighbours=neighbours,
    )


def _looked_up(value: Mapping[int, int], group: NDArray[np.uint8]) -> NDArray[np.int64]:
    table = np.zeros(256, np.int64)
    for g in np.unique(group):
        table[g] = value[int(g)]
    return table[group]


def _phase(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
    """Phase 0: even row, even column. Phase 1: odd, odd (sees four diagonal neighbours). Phase 2: the other half
    (sees the four direct neighbours)."""
    return np.where((row + column) % 2 == 1, 2, row % 2)


def token_places(
    row: NDArray[np.int64], column: NDArray[np.int64], side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column [N] of blocks -> those of their tokens, [side^2 N], of which each block has so many on a side."""
    down, right = np.divmod(np.arange(side**2), side)
    return (side * row[:, None] + down).ravel(), (side * column[:, None] + right).ravel()


def fine_neighbours(own: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neighbours of fine tokens, from those of blocks.

    Args:
        own: [n] index of the first fine token of each block.
        neighbours: [n, 8] the same of its neighbours; negative for none.

    Returns:
        [4 n, 8] index of each fine token's neighbours, in the order of `NEIGHBOURS`; -1 for none.
    """
    middle = len(NEIGHBOURS) // 2
    around = np.concatenate([neighbours[:, :middle], own[:, None], neighbours[:, middle:]], 1)
    fine = around.take(_FINE_OWNER, 1)
    return np.where(fine < 0, -1, fine + _FINE_OFFSET).reshape(-1, len(NEIGHBOURS))


def _fine_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each neighbour of each of a block's fine tokens, [4 * 8]: which of the 3x3 blocks around has it, in raster
    order, and which of that block's tokens it is."""
    owner, offset = [], []
    for token in range(4):
        for dy, dx in NEIGHBOURS:
            (by, y), (bx, x) = divmod(token // 2 + dy, 2), divmod(token % 2 + dx, 2)
            owner.append(3 * (by + 1) + bx + 1)
            offset.append(2 * y + x)
    return np.array(owner), np.array(offset)


_FINE_OWNER, _FINE_OFFSET = _fine_tables()


def cut_windows(
    picture: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    group: NDArray[np.uint8],
    shape: tuple[int, int],
    down: int,
    right: int,
) -> Windows:
    """Cut the tokens of equally large pictures into windows, after the pictures were rolled by so many tokens upwards
    and to the left.

    Args:
        picture, row, column, group: [N] of each token.
        shape: (rows, columns) of a picture.
    """
    # Whole windows, never stretched: a block keeps its own group whatever the size of the picture.
    rows, columns = (-(-length // WINDOW) for length in shape)
    # The roll brings the picture's opposite sides together in the last windows: they must not meet.
    seam = (row < down) + 2 * (column < right)
    window_row, y = np.divmod((row - down) % (rows * WINDOW), WINDOW)
    window_column, x = np.divmod((column - right) % (columns * WINDOW), WINDOW)
    window = (picture * rows + window_row) * columns + window_column
    used = np.bincount(window) > 0
    scatter = (np.cumsum(used) - 1)[window] * WINDOW**2 + y * WINDOW + x
    count = np.count_nonzero(used)
    gather = np.zeros(count * WINDOW**2, np.int64)
    gather[scatter] = np.arange(len(scatter))
    # An empty slot attends to itself alone, so that no row of the softmax is empty.
    key = np.tile(-1 - np.arange(WINDOW**2, dtype=np.int32), count)
    # Region and group make one number without collisions: 256 group ids for each of the four regions.
    key[scatter] = 256 * seam + group
    return Windows(gather.reshape(-1, WINDOW**2), key.reshape(-1, WINDOW**2), scatter)
