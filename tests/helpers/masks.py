"""Masks of blocks: irregular groups of several sorts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def blob_mask(seed: int, rows: int, columns: int, groups: int) -> NDArray[np.uint8]:
    """Irregular groups, ids 0..groups-1, each with a block (given enough blocks)."""
    rng = np.random.default_rng(seed)
    groups = min(groups, rows * columns)
    seeds = rng.permutation(rows * columns)[:groups]
    y, x = np.divmod(np.arange(rows * columns), columns)
    distance = np.hypot(y[:, None] - y[seeds], x[:, None] - x[seeds]) + 0.7 * rng.random(
        (rows * columns, groups)
    )
    owner = distance.argmin(1)
    owner[seeds] = np.arange(len(seeds))
    return owner.reshape(rows, columns).astype(np.uint8)


def blobs(rng: np.random.Generator, rows: int, columns: int, count: int) -> NDArray[np.uint8]:
    ids = np.zeros((rows, columns), np.uint8)
    y, x = np.mgrid[:rows, :columns]
    for group in range(1, count + 1):
        cy, cx, a, b = rng.random(4) * [rows, columns, rows / 3, columns / 3]
        ids[((y - cy) / (a + 1)) ** 2 + ((x - cx) / (b + 1)) ** 2 < 1] = group
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.uint8)


def box_union(rng: np.random.Generator, rows: int = 16, columns: int = 24) -> NDArray[np.uint8]:
    """A mask made as the paper makes its own: boxes of 2 to 3 cells of 32 pixels, united into components."""
    ids = np.zeros((rows, columns), np.uint8)
    for _ in range(int(rng.integers(10, 30))):
        h, w = rng.integers(2, 4, 2)
        y, x = rng.integers(0, rows - h + 1), rng.integers(0, columns - w + 1)
        ids[y : y + h, x : x + w] = 255
    todo, group = [], 0
    for start in zip(*np.nonzero(ids), strict=True):
        if ids[start] != 255:
            continue
        group += 1
        todo.append(start)
        while todo:
            y, x = todo.pop()
            if 0 <= y < rows and 0 <= x < columns and ids[y, x] == 255:
                ids[y, x] = group
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return ids.repeat(2, 0).repeat(2, 1)
