"""What a configuration costs, trained or not."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssic.model.config import ModelConfig
from ssic.model.weights import pack_weights, stored_floats
from ssic.nets.network import Network, PlanTensors
from ssic.plan import make_plan
from ssic.train.export import with_graphs
from ssic.train.freeze import freeze


def complexity(config: ModelConfig) -> tuple[float, float]:
    """kMAC per pixel of analysis and of synthesis: of all products of matrices, attention's included."""
    # A side of whole windows: none is filled up.
    network, side = Network(config).eval(), 32
    plan = make_plan(torch.zeros(side, side, dtype=torch.uint8).numpy())
    blocks, pairs = torch.full((side**2,), 50), torch.full((len(plan.pair_group),), 50)
    tensors = PlanTensors.of(plan, blocks, pairs, local=config.local)
    m = config.latent_channels
    q, fine, coarse = tensors.quality, tensors.fine, tensors.coarse
    with torch.no_grad():
        with FlopCounterMode(display=False) as analysis:
            network.analysis(torch.zeros(side**2, 4, 192), torch.ones(m), q, fine, coarse)
        with FlopCounterMode(display=False) as synthesis:
            network.synthesis(torch.zeros(side**2, m), torch.zeros(side**2, m), q, fine, coarse)
    first, second = (
        counter.get_total_flops() / 2 / (16 * side) ** 2 / 1000 for counter in (analysis, synthesis)
    )
    return first, second


def untrained(config: ModelConfig) -> bytes:
    """A weights file as training begins, with graphs."""
    torch.manual_seed(0)
    floats = stored_floats({name: value.numpy() for name, value in Network(config).state_dict().items()})
    return with_graphs(pack_weights(config, floats, freeze(config, floats), {}))
