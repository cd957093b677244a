"""What the integer twin costs against the float model that it was frozen from.

A picture is encoded, and the same latents are then charged several times:

- *twin*: ideal code length under what the coder uses: integer nets, scales in classes of an eighth of an octave,
  integer tables with escapes (`Encoding.ideal_bits`);
- *float*: the float nets (`ssic.nets.network.Network`) in float32 on the very latents and hyper-latents that the
  decoder will have, in its order of tokens; continuous scales, exact Gaussians, code length in float64;
- *float, floored*: the same with the tails of the tables, in real numbers: no symbol less likely than 2^-24 of the
  whole range, escapes beyond six standard deviations. Latents have heavier tails than Gaussians, so this floor is a
  gain, and comparing the twin with unlimited Gaussians would hide its losses behind it.

The encoder chooses symbols with the twin's rates in mind, which favours the twin a little.

The loss is (twin - floored float) / floored float. It is split by charging the twin's own means and scale classes
with floored Gaussians: up to there it is the nets and classes, what rounding costs; from there on the tables, which
are fitted to training pictures and so may well be a gain. Rates here are code lengths, not bytes: `efficiency.py`
compares those. (The weights file holds the larger float weights in 16 bits; the twin was frozen from 32.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from _pictures import options as arguments
from _pictures import sets
from _report import emit, table
from ssic.blocks import pad_to_blocks, to_blocks
from ssic.engine.torch import TorchEngine
from ssic.entropy.coder import PIECE, LatentCoder
from ssic.entropy.fixedpoint import LATENT_BITS, Latents
from ssic.entropy.pieces import Pieces
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.entropy.walk import Walk
from ssic.groups.mask import GroupMask
from ssic.model.config import CLASSES_PER_OCTAVE, SCALE_CEILING, SCALE_FLOOR
from ssic.model.weights import find_weights, load_weights
from ssic.nets.entropy_model import bits
from ssic.nets.network import Network, PlanTensors
from ssic.plan import Plan, make_plan
from ssic.rangecoder import TOTAL
from ssic.workers import Workers

UNIT = 2.0**LATENT_BITS
Bits = NDArray[np.float64]
"""[2]: code length under exact and under floored Gaussians."""

COUNTED = ("twin", "twin_nets_floored", "float", "float_floored", "pixels")
LOSSES = ("loss_percent", "nets_percent", "tables_percent", "worst_picture_percent")


@dataclass(frozen=True)
class Models:
    """A model, as it codes and as it was trained (in float32)."""

    engine: TorchEngine
    twin: Twin
    coder: LatentCoder
    network: Network

    @classmethod
    def load(cls, name: str) -> Models:
        weights = load_weights(find_weights(name))
        twin = Twin(weights.config, weights.twin)
        tables = Tables(weights.twin["tables.support"], weights.twin["tables.frequencies"])
        plain = TorchEngine(weights, precision="float32")
        return cls(TorchEngine(weights), twin, LatentCoder(twin, tables), plain.network)


@dataclass(frozen=True)
class Coded:
    """What the decoder will have: z [P, Z] and latents [N, M], 6 fractional bits."""

    plan: Plan
    qualities: dict[int, int]
    z: Latents
    latents: Latents


def gaussian_bits(value: Latents, mean: NDArray[np.floating], log2_scale: NDArray[np.floating]) -> Bits:
    """Code length of values with 6 fractional bits around means in units: exact, and floored."""
    deviation = value / UNIT - mean.astype(np.float64)
    log2_scale = log2_scale.astype(np.float64).clip(SCALE_FLOOR, SCALE_CEILING)
    exact = bits(torch.from_numpy(deviation), torch.from_numpy(log2_scale)).numpy()

    support = np.ceil(6 * np.exp2(log2_scale)) + 2
    entries = 2 * support + 2
    floored = -np.log2((np.exp2(-exact) * (TOTAL - entries) + 1) / TOTAL)
    excess = np.rint(np.abs(deviation)) - support
    outside = excess > 0
    # An escape, as `ssic.entropy.coder` writes it: its entry in the table, a sign, an Exp-Golomb code.
    floored[outside] = np.log2(TOTAL) + 2 + 2 * np.floor(np.log2(excess[outside]))
    return np.array([exact.sum(), floored.sum()])


def scale_of(classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """log2 of the scale that each class stands for."""
    return SCALE_FLOOR + classes / CLASSES_PER_OCTAVE


def twin_bits(twin: Twin, coded: Coded) -> Bits:
    """Code length under the twin's means and scale classes, with Gaussians."""
    total: Bits = np.zeros(2)
    for step in Walk(twin, coded.plan, coded.qualities, latents=False).steps(Pieces(PIECE, 1, Workers())):
        decoded = (coded.z if step.hyper else coded.latents)[step.rows, step.columns]
        mean, classes = step.predict(step.rows)
        total += gaussian_bits(decoded, mean / UNIT, scale_of(classes))
        step.keep(step.rows, decoded)
    return total


@torch.inference_mode()
def float_bits(network: Network, coded: Coded) -> Bits:
    """Code length under the float model."""
    of_blocks, of_pairs = coded.plan.of_blocks(coded.qualities), coded.plan.of_pairs(coded.qualities)
    tensors = PlanTensors.of(coded.plan, torch.from_numpy(of_blocks), torch.from_numpy(of_pairs))
    entropy, index = network.entropy, tensors.index
    z_mean, z_scale = entropy.hyper_prior(index)
    features = entropy.hyper_synthesis(torch.from_numpy(coded.z / UNIT).float(), tensors.quality, index)
    reference = entropy.reference()[tensors.quality - 1]
    mean, scale = entropy.predict(features, torch.from_numpy(coded.latents / UNIT).float(), reference, index)
    hyper = gaussian_bits(coded.z, z_mean.numpy(), z_scale.numpy())
    return hyper + gaussian_bits(coded.latents, mean.numpy(), scale.numpy())


def measure(models: Models, pixels: NDArray[np.uint8], mask: GroupMask, quality: int) -> dict[str, float]:
    """Bits of one picture under each model."""
    plan = make_plan(mask.ids)
    qualities = dict.fromkeys(mask.groups, quality)
    y, z = models.engine.analyse(to_blocks(pad_to_blocks(pixels))[plan.block], plan, qualities)
    encoded = models.coder.encode(plan, qualities, y, z)
    coded = Coded(plan, qualities, encoded.hyper_latents, encoded.latents)
    exact, floored = float_bits(models.network, coded)
    _, nets = twin_bits(models.twin, coded)
    return {
        "twin": encoded.ideal_bits,
        "twin_nets_floored": float(nets),
        "float": float(exact),
        "float_floored": float(floored),
        "pixels": pixels.shape[0] * pixels.shape[1],
    }


def main() -> None:
    options = arguments(__doc__, [10, 20, 40, 60, 80, 95])

    models = Models.load(options.model)
    measured = [
        {"picture": name, "quality": q, **measure(models, pixels, mask, q)}
        for name, pixels, mask in sets(options.images, options.masks)
        for q in options.qualities
    ]

    summary = []
    for q in options.qualities:
        of = [m for m in measured if m["quality"] == q]
        total = {k: sum(m[k] for m in of) for k in COUNTED}
        base = total["float_floored"]
        summary.append(
            {
                "quality": q,
                "float_bpp": total["float"] / total["pixels"],
                "float_floored_bpp": base / total["pixels"],
                "twin_bpp": total["twin"] / total["pixels"],
                "loss_percent": 100 * (total["twin"] / base - 1),
                "nets_percent": 100 * (total["twin_nets_floored"] - base) / base,
                "tables_percent": 100 * (total["twin"] - total["twin_nets_floored"]) / base,
                "worst_picture_percent": max(100 * (m["twin"] / m["float_floored"] - 1) for m in of),
            }
        )
    shown = table(
        ["quality", "float", "float, floored", "twin", "loss", "nets and classes", "tables", "worst picture"],
        [
            [
                s["quality"],
                *(f"{s[k]:.4f} bpp" for k in ("float_bpp", "float_floored_bpp", "twin_bpp")),
                *(f"{s[k]:+.3f} %" for k in LOSSES),
            ]
            for s in summary
        ],
    )
    note = f"{len({m['picture'] for m in measured})} picture(s)"
    results = {"by_quality": summary, "by_picture": measured}
    emit("Integer twin against float model", results, [note, shown], options.json, options.model)


if __name__ == "__main__":
    main()
