"""The entropy model in float, as it is trained. `ssic.entropy.twin` is its integer twin, which codes.

Everything here that entropy decoding depends on is made of matrix products, ReLUs, clamps and gathers, so that
it freezes into integers. Values between layers stay in [-32, 32]: the twin holds them in 16 bits.

::

    y ─ normalise ─ MLP ─ mean over each (cell, group) ─ z ─ round ─ MLP ─┬─ to the pair's blocks
                                     quality, position in the cell ───────┴─ features [N, F]

    slice k:  features, slices before k of the block itself, slice 0 of its neighbours,
              slice k of the neighbours of an earlier phase  ─ MLP ─ mean, log2 of scale

Context nets see a block's own group only: `Plan.neighbours` and `Plan.earlier` leave out the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssic.model import gains
from ssic.model.config import RANGE, SCALE_CEILING, SCALE_FLOOR, VALUE_NEIGHBOURS, ModelConfig
from ssic.nets.layers import PLAIN, Layers, QualityTable, padded_with_zeros
from ssic.plan import CELL

TAIL = 4.5
"""Standard deviations from which the tail is approximated."""

LN2 = math.log(2)


@dataclass(frozen=True)
class BlockIndex:
    """What the entropy model takes from a `Plan`, as tensors; the names are the plan's."""

    pair: Tensor
    members: Tensor
    pair_count: Tensor
    pair_quality: Tensor
    cell_position: Tensor
    neighbours: Tensor
    earlier: Tensor


def gather_neighbours(values: Tensor, index: Tensor) -> Tensor:
    """values [N, C], index [N, 8] with N for 'none' -> [N, 8, C]; nothing counts as zero."""
    return padded_with_zeros(values).index_select(0, index.reshape(-1)).view(*index.shape, -1)


class SliceNet(nn.Module):
    """Predicts mean and scale of one slice from what is decoded already. Three matrix products and two ReLUs."""

    def __init__(self, config: ModelConfig, k: int) -> None:
        super().__init__()
        self.k = k
        self.start = sum(config.slices[:k])
        self.stop = self.start + config.slices[k]
        self.first = config.slices[0]
        width, channels = config.context_width, config.slices[k]
        inputs = config.slice_inputs(k)
        self.layer1 = nn.Linear(inputs, width)
        self.layer2 = nn.Linear(width, width)
        self.layer3 = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.layer3.weight)
        nn.init.zeros_(self.layer3.bias)

    def inputs(self, features: Tensor, values: Tensor, index: BlockIndex) -> Tensor:
        """features [N, F], values [N, M] normalised latents -> [N, inputs]."""
        n = len(values)
        own = values[:, self.start : self.stop]
        parts = [features, values[:, : self.start], (index.earlier < n).to(values.dtype)]
        if self.k < VALUE_NEIGHBOURS:
            parts.append(gather_neighbours(own, index.earlier).reshape(n, -1))
        else:
            # Detached: that latents should become predictable from magnitudes is not worth a scatter-add.
            around = gather_neighbours(own.detach().abs(), index.earlier)
            parts.append((around.sum(1) / 4).clamp(max=RANGE))
        if self.k:
            parts.append(gather_neighbours(values[:, : self.first], index.neighbours).reshape(n, -1))
        return torch.cat(parts, 1)

    def forward(self, features: Tensor, values: Tensor, index: BlockIndex) -> tuple[Tensor, Tensor]:
        """-> mean and log2 scale, [N, channels] each, relative to `reference`."""
        x = self.inputs(features, values, index)
        x = self.layer1(x).clamp(0, RANGE)
        x = self.layer2(x).clamp(0, RANGE)
        mean, scale = self.layer3(x).float().clamp(-RANGE, RANGE).chunk(2, 1)
        return mean, scale


class EntropyModel(nn.Module):
    """Hyperprior per (cell, group) and slice-by-slice context model."""

    spread: Tensor
    log2_step: Tensor

    def __init__(self, config: ModelConfig, layers: Layers = PLAIN) -> None:
        super().__init__()
        m, f = config.latent_channels, config.hyper_features
        step = torch.from_numpy(gains.log2_step(config.lambda_range))
        self.register_buffer("log2_step", step, persistent=False)
        self.register_buffer("spread", torch.ones(m))
        self.gain = QualityTable(config.anchors, m)
        self.inverse_gain = QualityTable(config.anchors, m)
        self.analyse1 = layers.linear(m, f)
        self.analyse_quality = QualityTable(config.anchors, f)
        self.analyse2 = layers.linear(f, f)
        self.analyse3 = layers.linear(f, config.hyper_channels)
        self.z_mean = QualityTable(config.anchors, config.hyper_channels)
        self.z_scale = QualityTable(config.anchors, config.hyper_channels)
        self.z_count = nn.Parameter(torch.zeros(CELL * CELL, config.hyper_channels))
        self.features1 = nn.Linear(config.hyper_channels, f)
        self.features2 = nn.Linear(f, f)
        self.features_quality = QualityTable(config.anchors, f)
        self.position = nn.Parameter(torch.zeros(CELL * CELL, f))
        self.slices = nn.ModuleList(SliceNet(config, k) for k in range(len(config.slices)))

    # -- gains and the reference scale; [100, M] tables, row quality - 1 ---------------------------------------

    def log2_gain(self) -> Tensor:
        """log2 of what `y` is multiplied with before rounding."""
        return gains.log2_gain(self.gain.table(), self.log2_step)

    def gains(self) -> Tensor:
        """What `y` is multiplied with before rounding."""
        return gains.gain(self.log2_gain())

    def dequantiser(self) -> Tensor:
        """What a decoded latent is multiplied with to give `y_hat`."""
        return gains.dequantiser(self.inverse_gain.table(), self.log2_gain())

    def reference(self) -> Tensor:
        """The unit of the latents that the nets see."""
        return gains.reference(self.gains(), self.spread)

    # -- hyper-latent ------------------------------------------------------------------------------------------

    def hyper_precision(self, count: Tensor) -> Tensor:
        """[P] blocks in the pair -> [P, 1]: `z` is coded the finer the more blocks it serves."""
        return gains.hyper_precision(count.float())[:, None]

    def hyper_analysis(self, normalised: Tensor, quality: Tensor, members: Tensor, count: Tensor) -> Tensor:
        """normalised [N, M] latents before rounding; members [P, 16] of each pair (N for none) and how many they are
        [P] -> z [P, hyper_channels], before rounding."""
        x = F.gelu(self.analyse1(normalised) + self.analyse_quality(quality))
        x = F.gelu(self.analyse2(x)).float()
        slots = padded_with_zeros(x).index_select(0, members.reshape(-1))
        pooled = slots.reshape(-1, CELL**2, self.analyse2.out_features).sum(1)
        z: Tensor = self.analyse3(pooled / count[:, None])
        return z.float() * self.hyper_precision(count)

    def hyper_prior(self, index: BlockIndex) -> tuple[Tensor, Tensor]:
        """-> mean and log2 scale of z, [P, hyper_channels] each; without `ModelConfig.hyper_context`, which only the
        twin has."""
        return (
            self.z_mean(index.pair_quality),
            self.z_scale(index.pair_quality) + self.z_count[index.pair_count - 1],
        )

    def hyper_synthesis(self, z: Tensor, quality: Tensor, index: BlockIndex) -> Tensor:
        """Rounded z [P, hyper_channels] -> features [N, F]."""
        x = (z / self.hyper_precision(index.pair_count)).clamp(-RANGE, RANGE)
        x = self.features1(x).clamp(0, RANGE)
        x = self.features2(x).clamp(-RANGE, RANGE).float()[index.pair]
        return (x + self.features_quality(quality) + self.position[index.cell_position]).clamp(0, RANGE)

    # -- slices ------------------------------------------------------------------------------------------------

    def predict(
        self, features: Tensor, rounded: Tensor, reference: Tensor, index: BlockIndex
    ) -> tuple[Tensor, Tensor]:
        """Mean and log2 scale of all slices, [N, M] each, given all latents as decoded."""
        values = (rounded / reference).clamp(-RANGE, RANGE)
        parts = [net(features, values, index) for net in self.slices]
        mean = torch.cat([m for m, _ in parts], 1) * reference
        scale = torch.cat([s for _, s in parts], 1) + torch.log2(reference)
        return mean, scale


def bits(deviation: Tensor, log2_scale: Tensor) -> Tensor:
    """Ideal code length of values at `deviation` from the mean, in a bin of width 1, under a Gaussian.

    Far out in the tail the difference of two error functions underflows, and with it the gradient that would
    mend the scale: there the Mills ratio gives what lies beyond the bin's near edge (from 12 standard deviations
    on, its tangent), and an exponential the share of that which lies within the bin.
    """
    inverse = torch.exp2(-log2_scale.clamp(SCALE_FLOOR, SCALE_CEILING))
    x = deviation.abs()
    near = (x - 0.5) * inverse
    p = 0.5 * (torch.erfc(near * 0.5**0.5) - torch.erfc((x + 0.5) * inverse * 0.5**0.5))
    far = near.clamp(min=TAIL)
    capped = far.clamp(max=12)
    nats = capped * (far - 0.5 * capped) + torch.log(far * (2 * torch.pi) ** 0.5)
    nats = nats - torch.log(-torch.expm1(-capped * inverse - 0.5 * inverse**2))
    return torch.where(near > TAIL, nats / LN2, -torch.log2(p.clamp(min=2.0**-24)))
