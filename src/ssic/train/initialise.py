"""The starting point of training: a KLT codec, measured from training pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ssic.blocks import to_blocks
from ssic.nets.network import Network


def block_covariance(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Second moments [768, 768] of 16x16 blocks of pixels in [-0.5, 0.5]; every third picture is enough."""
    total, count = np.zeros((768, 768)), 0
    for picture in pictures[:: 3 if len(pictures) > 100 else 1]:
        h, w = (s // 16 * 16 for s in picture.shape[:2])
        blocks = (
            to_blocks(np.ascontiguousarray(picture[:h, :w])).reshape(-1, 768).astype(np.float32) / 255 - 0.5
        )
        total += (blocks.T @ blocks).astype(np.float64)
        count += len(blocks)
    return total / count


@torch.no_grad()
def start_as_klt(network: Network, covariance: NDArray[np.float64]) -> None:
    """Set both bypasses to the Karhunen-Loeve transform, and the latents' spread to what it was measured to be."""
    values, vectors = np.linalg.eigh(covariance)
    m = network.config.latent_channels
    basis = torch.from_numpy(vectors[:, ::-1][:, :m].T.copy()).float()
    network.analysis.bypass.weight.copy_(basis)
    network.synthesis.bypass.weight.copy_(basis.T)
    spread = np.sqrt(np.maximum(values[::-1][:m], 1e-10))
    network.entropy.spread.copy_(torch.from_numpy(spread.copy()).float())
