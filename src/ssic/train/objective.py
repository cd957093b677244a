"""What training minimises, and how it is judged on pictures that were held out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ssic.train.crops import to_blocks
from ssic.train.data import Unusable, usable
from ssic.train.dense import Dense, Estimate

VALIDATION_QUALITIES = (10, 30, 50, 70, 90)

VALIDATION_CROP = 512


class Loss(NamedTuple):
    """The objective, and for the log, without gradients: bits per pixel, those of hyper-latents, PSNR in dB."""

    loss: Tensor
    bpp: Tensor
    z_bpp: Tensor
    psnr: Tensor


def objective(estimate: Estimate, x: Tensor, trade_off: Tensor) -> Loss:
    """Rate plus lambda times distortion, per pixel, weighted so that low qualities count too.

    Args:
        x: [B, h, w, 4, 192] what was estimated.
        trade_off: [B, h, w] lambda of each block.
    """
    # A tenth of the bits at quality 10 should weigh like a tenth at quality 90: the rate grows about as lambda^0.4.
    weight = (trade_off / 0.016) ** -0.3
    mse = (estimate.pixels - x).square().mean((3, 4))
    pixels = 256 * mse.numel()
    distortion = 256 * (weight * trade_off * 255.0**2 * mse).sum()
    rate = (weight * (estimate.y_bits + estimate.z_bits)).sum()
    z_bits = estimate.z_bits.detach().sum()
    return Loss(
        loss=(distortion + rate) / pixels,
        bpp=(estimate.y_bits.detach().sum() + z_bits) / pixels,
        z_bpp=z_bits / pixels,
        psnr=(-10 * torch.log10(mse.detach().clamp(min=1e-8))).mean(),
    )


def validation_crops(held_out: Sequence[Path], device: torch.device) -> Tensor:
    """The centres of the pictures that are large enough, [n, 512, 512, 3] uint8."""
    size, crops = VALIDATION_CROP, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Unusable)  # not what is trained on
        for picture in usable(held_out, size):
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            crops.append(torch.from_numpy(picture[top : top + size, left : left + size].copy()))
    if not crops:
        return torch.empty(0, size, size, 3, dtype=torch.uint8, device=device)
    return torch.stack(crops).to(device)


@torch.no_grad()
def validate(model: Dense, crops: Tensor) -> dict[str, float]:
    """Estimated rate, PSNR and objective on crops [n, H, W, 3] uint8, without groups. Empty without crops."""
    result: dict[str, float] = {}
    if not len(crops):
        return result
    total = 0.0
    for q in VALIDATION_QUALITIES:
        bpp, psnr, loss = [], [], []
        for crop in crops:
            x = to_blocks(crop[None].float() / 255 - 0.5)
            ids = torch.zeros(x.shape[:3], dtype=torch.long, device=x.device)
            estimate = model(x, ids, torch.full_like(ids, q), exact=True)
            mse = float((estimate.pixels.clamp(-0.5, 0.5) - x).square().mean())
            bpp.append(float(estimate.y_bits.sum() + estimate.z_bits.sum()) / (256 * ids.numel()))
            psnr.append(-10 * math.log10(max(mse, 1e-8)))
            loss.append(bpp[-1] + float(model.trade_offs[q - 1]) * 255**2 * mse)
        result[f"bpp{q}"] = round(sum(bpp) / len(bpp), 4)
        result[f"psnr{q}"] = round(sum(psnr) / len(psnr), 3)
        # The geometric mean over qualities: a percent counts the same at each.
        total += math.log(sum(loss) / len(loss))
    result["objective"] = round(math.exp(total / len(VALIDATION_QUALITIES)), 5)
    return result
