"""Weights of small networks that mix neighbours, every parameter random: zeros would hide a leak, and the shipped
`small` mixes none. Needs PyTorch and onnx."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ssic.model.config import HYPER_CONTEXTS, ModelConfig
from ssic.model.weights import pack_weights, stored_floats
from ssic.nets.network import Network
from ssic.train.export import with_graphs
from ssic.train.freeze import freeze

CONFIG = ModelConfig(
    name="tiny",
    widths=(32, 64),
    depths=(2, 3),
    slices=(8, 8, 16),
    hyper_channels=8,
    hyper_features=16,
    context_width=24,
    anchors=3,
    local=True,
)

KINDS = {
    "local": CONFIG,
    "gated": replace(CONFIG, gated=True),
    "sparse": replace(CONFIG, attention_every=2),
    "dictionary": replace(CONFIG, dictionary=24),
    "hyper-context": replace(CONFIG, hyper_context=True),
}
"""What models can be made of."""


def random_weights(seed: int, config: ModelConfig = CONFIG) -> bytes:
    """A weights file, graphs included."""
    torch.manual_seed(seed)
    floats = {}
    for name, value in Network(config).state_dict().items():
        scale = 0.1 if value.ndim < 2 else 0.5 / value.shape[-1] ** 0.5
        if "dictionary" in name and name.endswith(("keys", "values")):
            scale = 8.0  # what is small is averaged away
        floats[name] = (torch.randn_like(value) * scale).numpy()
    floats["entropy.spread"] = np.abs(floats["entropy.spread"]) + 0.1
    stored = stored_floats(floats)
    rng, shape = np.random.default_rng(seed), (HYPER_CONTEXTS, config.hyper_channels)
    context = rng.normal(0, 0.3, shape), rng.normal(0, 0.5, shape)
    return with_graphs(pack_weights(config, stored, freeze(config, stored, context=context), {}))
