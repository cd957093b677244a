"""Analysis and synthesis: pixels of blocks to latents and back.

::

    blocks [N, 4, 192] ──┬─ embed ─ GI Swin at 1/8 ─ merge 2x2 ─ GI Swin at 1/16 ─ head ─┐
                         └─ linear bypass (KLT) ─────────────────────────────────────────┴─ + ── y [N, M]

    y_hat [N, M] ──┬─ embed ─ GI Swin at 1/16 ─ split 2x2 ─ GI Swin at 1/8 ─ head ─┐
                   └─ linear bypass (KLT transposed) ──────────────────────────────┴─ + ── blocks [N, 4, 192]

Pixels are in [-0.5, 0.5]. The heads start at zero, so an untrained codec is a KLT codec.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssic.model.config import ModelConfig
from ssic.nets.layers import PLAIN, Layers, LevelIndex, QualityTable

PATCH = 8 * 8 * 3
"""Values of a fine token: 8x8 RGB pixels."""


def _stage(config: ModelConfig, layers: Layers, level: int) -> nn.ModuleList:
    return nn.ModuleList(layers.block(shape, layers.linear) for shape in config.blocks(level))


def _apply(blocks: nn.ModuleList, x: Tensor, level: LevelIndex) -> Tensor:
    for block in blocks:
        x = block(x, level)
    return x


class Analysis(nn.Module):
    """Blocks of pixels -> latent `y`, before gain."""

    def __init__(self, config: ModelConfig, layers: Layers = PLAIN) -> None:
        super().__init__()
        fine, coarse = config.widths
        m = config.latent_channels
        self.bypass = layers.linear(4 * PATCH, m, bias=False)
        self.embed = layers.linear(PATCH, fine)
        self.quality_fine = QualityTable(config.anchors, fine)
        self.blocks_fine = _stage(config, layers, 0)
        self.norm_fine = nn.LayerNorm(fine)
        self.merge = layers.linear(4 * fine, coarse)
        self.quality_coarse = QualityTable(config.anchors, coarse)
        self.blocks_coarse = _stage(config, layers, 1)
        self.norm_coarse = nn.LayerNorm(coarse)
        self.head = layers.linear(coarse, m)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        x: Tensor,
        spread: Tensor,
        quality: Tensor,
        fine: LevelIndex,
        coarse: LevelIndex,
    ) -> Tensor:
        """x [N, 4, 192], spread [M] (standard deviation of each latent), quality [N] -> y [N, M] float32."""
        t = _apply(self.blocks_fine, self.begin(x, quality), fine)
        t = _apply(self.blocks_coarse, self.between(t, quality), coarse)
        return self.end(t, x, spread)

    def begin(self, x: Tensor, quality: Tensor) -> Tensor:
        """Before the first level: x [N, 4, 192], quality [N] -> fine tokens [4 N, width]."""
        width = self.norm_fine.normalized_shape[0]
        t = self.embed(x.reshape(-1, PATCH)).reshape(-1, 4, width) + self.quality_fine(quality)[:, None]
        return t.reshape(-1, width)

    def between(self, t: Tensor, quality: Tensor) -> Tensor:
        """Between the levels: fine tokens [4 N, width], quality [N] -> coarse tokens [N, width]."""
        width = self.norm_fine.normalized_shape[0]
        return self.merge(self.norm_fine(t).reshape(-1, 4 * width)) + self.quality_coarse(quality)

    def end(self, t: Tensor, x: Tensor, spread: Tensor) -> Tensor:
        """After the second level: coarse tokens [N, width], and x and spread again -> y [N, M]."""
        deep = self.head(self.norm_coarse(t)).float() * spread
        with torch.autocast(x.device.type, enabled=False):
            # Full precision where it counts: a bf16 mean colour would cost 57 dB.
            linear = self.bypass(x.reshape(-1, 4 * PATCH))
        return deep + linear


class Synthesis(nn.Module):
    """Dequantised latent `y_hat` -> blocks of pixels."""

    def __init__(self, config: ModelConfig, layers: Layers = PLAIN) -> None:
        super().__init__()
        fine, coarse = config.widths
        m = config.latent_channels
        self.bypass = layers.linear(m, 4 * PATCH, bias=False)
        self.embed = layers.linear(m, coarse)
        self.quality_coarse = QualityTable(config.anchors, coarse)
        self.blocks_coarse = _stage(config, layers, 1)
        self.norm_coarse = nn.LayerNorm(coarse)
        self.split = layers.linear(coarse, 4 * fine)
        self.quality_fine = QualityTable(config.anchors, fine)
        self.blocks_fine = _stage(config, layers, 0)
        self.norm_fine = nn.LayerNorm(fine)
        self.head = layers.linear(fine, PATCH)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        y: Tensor,
        normalised: Tensor,
        quality: Tensor,
        fine: LevelIndex,
        coarse: LevelIndex,
    ) -> Tensor:
        """y [N, M] dequantised, the same normalised to unit spread, quality [N] -> [N, 4, 192] float32."""
        t = _apply(self.blocks_coarse, self.begin(normalised, quality), coarse)
        t = _apply(self.blocks_fine, self.between(t, quality), fine)
        return self.end(t, y)

    def begin(self, normalised: Tensor, quality: Tensor) -> Tensor:
        """Before the first level: y normalised [N, M], quality [N] -> coarse tokens [N, width]."""
        return self.embed(normalised) + self.quality_coarse(quality)

    def between(self, t: Tensor, quality: Tensor) -> Tensor:
        """Between the levels: coarse tokens [N, width], quality [N] -> fine tokens [4 N, width]."""
        width = self.norm_fine.normalized_shape[0]
        t = self.split(self.norm_coarse(t)).reshape(-1, 4, width) + self.quality_fine(quality)[:, None]
        return t.reshape(-1, width)

    def end(self, t: Tensor, y: Tensor) -> Tensor:
        """After the second level: fine tokens [4 N, width], and y dequantised again -> [N, 4, 192]."""
        deep = self.head(self.norm_fine(t)).float()
        with torch.autocast(y.device.type, enabled=False):
            linear = self.bypass(y)
        return deep.reshape(-1, 4, PATCH) + linear.reshape(-1, 4, PATCH)
