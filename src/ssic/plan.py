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

    def _grid(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token index and group id on the block grid; -1 where no block is wanted."""
        return grids(self.block, self.group, self.shape)

    @cached_property
    def earlier(self) -> NDArray[np.int64]:
        """[N, 8] as `neighbours`, but only those of an earlier phase."""
        phase = np.append(self.phase, PHASES)  # that of no block: later than all
        return np.where(phase[self.neighbours] < self.phase[:, None], self.neighbours, len(self))

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
        return _both(*self._grid())

    @cached_property
    def fine(self) -> tuple[Windows, Windows]:
        """Plain and shifted windows over the fine tokens."""
        return _both(*fine_grids(*self._grid()))


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


def grids(
    block: NDArray[np.int64], group: NDArray[np.uint8], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A list of blocks, by their raster indices in grids [B, h, w], as such grids: index in the list, and group id; -1
    where there is none."""
    token, ids = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    token.reshape(-1)[block] = np.arange(len(block))
    ids.reshape(-1)[block] = group
    return token, ids


def fine_grids(
    token: NDArray[np.int64], group: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Grids [B, h, w] of block indices and group ids (-1: nothing there) -> those of fine tokens, [B, 2 h, 2 w]."""
    b, h, w = token.shape
    fine = np.empty((b, h, 2, w, 2), np.int64)
    for row in range(2):
        for column in range(2):
            fine[:, :, row, :, column] = np.where(token < 0, -1, 4 * token + 2 * row + column)
    return fine.reshape(b, 2 * h, 2 * w), group.repeat(2, axis=1).repeat(2, axis=2)


def fine_neighbours(own: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neighbours of fine tokens, from those of blocks.

    Args:
        own: [n] index of the first fine token of each block.
        neighbours: [n, 8] the same of its neighbours; negative for none.

    Returns:
        [4 n, 8] index of each fine token's neighbours, in the order of `NEIGHBOURS`; -1 for none.
    """
    # One row of 3x3 blocks for each: what the neighbours' halves are parts of.
    block = np.insert(neighbours, len(NEIGHBOURS) // 2, own, axis=1)
    fine = np.empty((len(own), 2, 2, len(NEIGHBOURS)), np.int64)
    for row in range(2):
        for column in range(2):
            for i, (dy, dx) in enumerate(NEIGHBOURS):
                (by, y), (bx, x) = divmod(row + dy, 2), divmod(column + dx, 2)
                owner = block[:, 3 * (by + 1) + bx + 1]
                fine[:, row, column, i] = np.where(owner < 0, -1, owner + 2 * y + x)
    return fine.reshape(-1, len(NEIGHBOURS))


def _both(token: NDArray[np.int64], group: NDArray[np.int64]) -> tuple[Windows, Windows]:
    half = WINDOW // 2
    return cut_windows(token, group, 0, 0), cut_windows(token, group, half, half)


def cut_windows(token: NDArray[np.int64], group: NDArray[np.int64], down: int, right: int) -> Windows:
    """Cut [B, h, w] grids of token indices and group ids (-1: nothing there) into windows, after the grids were rolled
    by so many tokens upwards and to the left."""
    b, h, w = token.shape
    rows, columns = -(-h // WINDOW), -(-w // WINDOW)
    # Padded, never stretched: a block keeps its own group whatever the size of the picture.
    pad = ((0, 0), (0, rows * WINDOW - h), (0, columns * WINDOW - w))
    token = np.pad(token, pad, constant_values=-1)
    group = np.pad(group, pad, constant_values=-1)
    seam = np.zeros((rows * WINDOW, columns * WINDOW), np.int64)
    if down or right:
        token = np.roll(token, (-down, -right), (1, 2))
        group = np.roll(group, (-down, -right), (1, 2))
        # The roll brings the picture's opposite sides together in the last windows: they must not meet.
        seam[rows * WINDOW - down :, :] += 1
        seam[:, columns * WINDOW - right :] += 2
    # Region and group make one number without collisions: 256 group ids for each of the four regions.
    key = seam[None] * 256 + group

    def cut(grid: NDArray[np.int64]) -> NDArray[np.int64]:
        grid = grid.reshape(b, rows, WINDOW, columns, WINDOW)
        return grid.transpose(0, 1, 3, 2, 4).reshape(-1, WINDOW * WINDOW)

    token, key = cut(token), cut(key)
    used = (token >= 0).any(axis=1)
    token, key = token[used], key[used]
    empty = token < 0
    # An empty slot attends to itself alone, so that no row of the softmax is empty.
    key = np.where(empty, -1 - np.arange(WINDOW * WINDOW), key)
    scatter = np.empty(int((~empty).sum()), np.int64)
    scatter[token[~empty]] = np.flatnonzero(~empty)
    return Windows(np.where(empty, 0, token), key.astype(np.int32), scatter)
