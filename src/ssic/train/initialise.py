"""The starting point of training: a KLT codec, measured from training pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssic.nets.network import Network
from ssic.train.crops import to_blocks


def block_covariance(pictures: Iterable[Tensor]) -> NDArray[np.float64]:
    """Pictures [H, W, 3] uint8 -> second moments [768, 768] of their 16x16 blocks of pixels in [-0.5, 0.5]."""
    total, count = np.zeros((768, 768)), 0
    for picture in pictures:
        h, w = (s // 16 * 16 for s in picture.shape[:2])
        blocks = to_blocks(picture[None, :h, :w].float() / 255 - 0.5).view(-1, 768)
        total += (blocks.T @ blocks).double().cpu().numpy()
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
