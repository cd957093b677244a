"""The frozen description of a model: everything about it but its weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

QUALITIES = 100
"""Qualities are the integers 1 to 100."""

RANGE = 31.96875
"""Bound of all values between the entropy model's layers; just inside 16 bits with 10 fractional bits."""

SCALE_FLOOR = -3.25
"""log2 of the smallest scale that has a table (0.105)."""

SCALE_CEILING = 8.0
"""log2 of the largest scale that has a table (256)."""

VALUE_NEIGHBOURS = 2
"""Slices whose neighbours are seen value by value; later slices see sums of magnitudes: in high frequencies the
neighbour's sign says nothing."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the networks.

    Attributes:
        name: preset, for people.
        widths: channels at 1/8 and at 1/16 of the picture.
        depths: GI Swin blocks at 1/8 and at 1/16, in each of analysis and synthesis.
        head_width: channels per attention head.
        mlp_ratio: hidden width of a block's MLP over its width.
        slices: channels of the latent `y` in each of the slices that are coded one after another.
        hyper_channels: channels of the hyper-latent `z`.
        hyper_features: width of the side information that a block receives from `z`.
        context_width: hidden width of the nets that predict a slice.
        anchors: knots of the piecewise linear functions of quality (gains, embeddings).
        lambda_range: rate-distortion trade-off at quality 1 and 100, in bits per pixel per unit of mean squared
            error on the 0..255 scale; log-linear between.
        local: mix each token with its neighbours of the same group by a depthwise 3x3 convolution, before attention.
    """

    name: str = "small"
    widths: tuple[int, int] = (128, 256)
    depths: tuple[int, int] = (2, 2)
    head_width: int = 32
    mlp_ratio: int = 4
    slices: tuple[int, ...] = (16, 32, 48, 80, 144)
    hyper_channels: int = 48
    hyper_features: int = 128
    context_width: int = 160
    anchors: int = 12
    lambda_range: tuple[float, float] = (0.001, 0.256)
    local: bool = False

    @property
    def latent_channels(self) -> int:
        """M, the channels of `y`."""
        return sum(self.slices)

    def to_json(self) -> str:
        """Canonical JSON: the same configuration always gives the same text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of `to_json`."""
        fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
        return cls(**fields)


PRESETS = {
    "small": ModelConfig(),
    "base": ModelConfig(name="base", widths=(192, 384), depths=(4, 6), hyper_channels=64, context_width=224),
}
