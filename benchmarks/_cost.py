"""What a configuration costs, trained or not."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ssic.engine import torch as engine
from ssic.model.config import ModelConfig
from ssic.model.weights import Weights, pack_weights, stored_floats
from ssic.nets.network import Network, PlanTensors
from ssic.plan import Plan, make_plan
from ssic.progress import nothing
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


class _Operations(TorchDispatchMode):
    """Counts operations that compute or copy: each is a kernel or two on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func._schema.returns
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in results)
        self.count += not view and "empty" not in func._schema.name
        return func(*args, **(kwargs or {}))


def operations(weights: Weights, blocks: NDArray[np.uint8], plan: Plan) -> tuple[int, int]:
    """Operations of PyTorch that analysis and synthesis of a picture take, in pieces as on a GPU."""
    with patch.object(engine, "TOKENS", engine.TOKENS_CUDA):
        found = engine.TorchEngine(weights, "cpu", "bfloat16", 1)
    quality = dict.fromkeys(np.unique(plan.group).tolist(), 60)
    with found._context(), _Operations() as analysis:
        y, _ = found._analyse(blocks, plan, quality, nothing)
    with found._context(), _Operations() as synthesis:
        found._synthesise(np.rint(y), plan, quality, nothing)
    return analysis.count, synthesis.count


def untrained(config: ModelConfig) -> bytes:
    """A weights file as training begins, with graphs."""
    torch.manual_seed(0)
    floats = stored_floats({name: value.numpy() for name, value in Network(config).state_dict().items()})
    return with_graphs(pack_weights(config, floats, freeze(config, floats), {}))
