"""Random group masks for training: the network has to meet every kind of border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_mask(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A random group mask, [height, width] blocks, ids from 0 without gaps.

    Two of five have no groups; the others are unions of boxes (rectangular borders, as in Feng et al.), blobs from
    smooth noise (curved borders) or stripes through the whole picture.
    """
    kind = rng.random()
    if kind < 0.4:
        return np.zeros((height, width), np.uint8)
    if kind < 0.65:
        mask = _boxes(rng, height, width)
    elif kind < 0.95:
        mask = _blobs(rng, height, width, groups=int(rng.integers(2, 7)))
    else:
        angle = rng.uniform(0, np.pi)
        y, x = np.mgrid[:height, :width]
        along = np.cos(angle) * x + np.sin(angle) * y
        mask = (np.floor(along / rng.uniform(2, 8))).astype(np.int64) % 7
    return np.unique(mask, return_inverse=True)[1].reshape(height, width).astype(np.uint8)


def _boxes(rng: np.random.Generator, height: int, width: int) -> NDArray[np.int64]:
    mask = np.zeros((height, width), np.int64)
    for i in range(int(rng.integers(1, 9))):
        h, w = rng.integers(2, 8, 2)
        top, left = rng.integers(1 - h, height), rng.integers(1 - w, width)
        group = i + 1 if rng.random() < 0.7 else int(rng.integers(0, i + 1))
        mask[max(top, 0) : top + h, max(left, 0) : left + w] = group
    return mask


def _blobs(rng: np.random.Generator, height: int, width: int, groups: int) -> NDArray[np.int64]:
    """Group = which of several smooth random fields is the largest."""
    coarse = int(rng.integers(3, 7))
    noise = rng.standard_normal((groups, coarse, coarse))
    y, x = np.linspace(0, coarse - 1, height), np.linspace(0, coarse - 1, width)
    rows = np.maximum(0, 1 - np.abs(y[:, None] - np.arange(coarse)))
    columns = np.maximum(0, 1 - np.abs(x[:, None] - np.arange(coarse)))
    field = np.einsum("hi,gij,wj->ghw", rows, noise, columns)
    field += 0.15 * rng.standard_normal(field.shape)  # ragged borders, single stray blocks
    return field.argmax(0)


def random_qualities(rng: np.random.Generator, groups: int) -> NDArray[np.int64]:
    """A quality 1..100 for each group: mostly one for the whole picture, else one each."""
    if rng.random() < 0.6:
        return np.full(groups, rng.integers(1, 101))
    return rng.integers(1, 101, groups)
