"""What training minimises, and how it is judged on pictures that were held out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssic.blocks import to_blocks
from ssic.nets.network import Estimate, Network, PlanTensors
from ssic.plan import make_plan
from ssic.train.data import Unusable, usable

VALIDATION_QUALITIES = (10, 30, 50, 70, 90)


def objective(
    network: Network, estimate: Estimate, x: Tensor, plan: PlanTensors
) -> tuple[Tensor, dict[str, Tensor]]:
    """Rate plus lambda times distortion, per pixel, weighted so that low qualities count too."""
    trade_off = network.trade_off(plan.quality)
    # A tenth of the bits at quality 10 should weigh like a tenth at quality 90: the rate grows about as lambda^0.4.
    weight = (trade_off / 0.016) ** -0.3
    pair_weight = (network.trade_off(plan.index.pair_quality) / 0.016) ** -0.3
    mse = (estimate.pixels - x).square().mean((1, 2))
    pixels = 256 * len(x)
    distortion = 256 * (weight * trade_off * 255.0**2 * mse).sum()
    rate = (weight * estimate.y_bits).sum() + (pair_weight * estimate.z_bits).sum()
    facts = {
        "bpp": (estimate.y_bits.sum() + estimate.z_bits.sum()).detach() / pixels,
        "z_bpp": estimate.z_bits.sum().detach() / pixels,
        "psnr": (-10 * torch.log10(mse.detach().clamp(min=1e-8))).mean(),
    }
    return (distortion + rate) / pixels, facts


class Judged(nn.Module):
    """A network and its objective as one module: what is compiled, and what several ranks share."""

    def __init__(self, network: Network, precision: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, x: Tensor, plan: PlanTensors) -> tuple[Tensor, dict[str, Tensor]]:
        """x [N, 4, 192] in [-0.5, 0.5] -> loss, and facts for the log."""
        half = self.precision == torch.bfloat16
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            estimate = self.network(x, plan)
        return objective(self.network, estimate, x, plan)


@torch.no_grad()
def validate(
    network: Network, held_out: Sequence[Path], precision: torch.dtype, crop: int = 512
) -> dict[str, float]:
    """Estimated rate, PSNR and objective on the centres of pictures, without groups. Empty without pictures."""
    network.eval()
    result: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Unusable)  # each validation would say it again
        pictures = list(usable(held_out, crop))
    if not pictures:
        return result
    device = network.entropy.spread.device
    half = precision == torch.bfloat16
    plan = make_plan(np.zeros((crop // 16, crop // 16), np.uint8))
    total = 0.0
    for q in VALIDATION_QUALITIES:
        bpp, psnr, loss = [], [], []
        tensors = PlanTensors.of(
            plan,
            torch.full((len(plan),), q),
            torch.full((len(plan.pair_group),), q),
            device,
            local=network.config.local,
        )
        for picture in pictures:
            top, left = (picture.shape[0] - crop) // 2, (picture.shape[1] - crop) // 2
            pixels = np.ascontiguousarray(picture[top : top + crop, left : left + crop])
            x = torch.from_numpy(to_blocks(pixels)).to(device).float() / 255 - 0.5
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                estimate = network(x, tensors, noise=False)
            mse = float((estimate.pixels.clamp(-0.5, 0.5) - x).square().mean())
            bpp.append(float(estimate.y_bits.sum() + estimate.z_bits.sum()) / crop**2)
            psnr.append(-10 * math.log10(max(mse, 1e-8)))
            loss.append(bpp[-1] + float(network.trade_off(torch.tensor(q))) * 255**2 * mse)
        result[f"bpp{q}"] = round(float(np.mean(bpp)), 4)
        result[f"psnr{q}"] = round(float(np.mean(psnr)), 3)
        # The geometric mean over qualities: a percent counts the same at each.
        total += math.log(float(np.mean(loss)))
    result["objective"] = round(math.exp(total / len(VALIDATION_QUALITIES)), 5)
    return result
