"""What training computes, put together from the networks as they code: lists of blocks, one after another.

`ssic.train.dense` is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssic.nets.entropy_model import bits
from ssic.nets.network import Network, PlanTensors
from ssic.plan import PHASES, make_plan
from ssic.train.dense import CONTEXT_ROUNDS


@dataclass(frozen=True)
class Estimate:
    """pixels [N, 4, 192]; estimated bits of each block's latents [N], of each pair's hyper-latent [P]."""

    pixels: Tensor
    y_bits: Tensor
    z_bits: Tensor


def plan_tensors(ids: np.ndarray, quality: np.ndarray, local: bool) -> PlanTensors:
    """Group ids and qualities [B, h, w] -> the plan of all blocks."""
    plan = make_plan(ids.astype(np.uint8))
    of_block = torch.from_numpy(quality.reshape(-1).astype(np.int64))
    of_pair = torch.empty(len(plan.pair_group), dtype=torch.long)
    of_pair[torch.from_numpy(plan.pair)] = of_block
    return PlanTensors.of(plan, of_block, of_pair, local=local)


def straight_through(x: Tensor) -> Tensor:
    """Rounding whose gradient is one."""
    return x + (x.round() - x).detach()


def estimate(network: Network, x: Tensor, plan: PlanTensors, noise: bool = True) -> Estimate:
    """x [N, 4, 192] in [-0.5, 0.5]; noise: the rate of perturbed latents, else of rounded ones."""
    e, q, index = network.entropy, plan.quality, plan.index
    reference = e.reference()[q - 1]
    y, z = network.analyse(x, q, index.members, index.pair_count, plan.fine, plan.coarse)
    z_mean, z_scale = e.hyper_prior(index)
    features = e.hyper_synthesis(straight_through(z - z_mean) + z_mean, q, index)
    with torch.no_grad():
        seen = y.round()
        for _ in range(CONTEXT_ROUNDS if noise else len(network.config.slices) * PHASES):
            mean, _ = e.predict(features, seen, reference, index)
            seen = (y - mean).round() + mean
    mean, scale = e.predict(features, straight_through(y - mean) + mean, reference, index)

    def rate(value: Tensor, centre: Tensor, log2_scale: Tensor) -> Tensor:
        value = value - centre
        value = value + torch.rand_like(value) - 0.5 if noise else value.round()
        return bits(value, log2_scale).sum(1)

    pixels = network.synthesise(straight_through(y - mean) + mean, q, plan.fine, plan.coarse)
    return Estimate(pixels, rate(y, mean, scale), rate(z, z_mean, z_scale))


def objective(network: Network, estimate: Estimate, x: Tensor, plan: PlanTensors) -> Tensor:
    """Rate plus lambda times distortion per pixel, weighted by lambda^-0.3."""
    trade_off, of_pair = network.trade_off(plan.quality), network.trade_off(plan.index.pair_quality)
    squared = 256 * trade_off * 255.0**2 * (estimate.pixels - x).square().mean((1, 2))
    blocks = (trade_off / 0.016) ** -0.3 * (squared + estimate.y_bits)
    return (blocks.sum() + ((of_pair / 0.016) ** -0.3 * estimate.z_bits).sum()) / (256 * len(x))
