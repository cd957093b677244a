"""A checkpoint to a weights file: averaged float weights, integer twin, tables, model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssic.entropy.freeze import freeze
from ssic.errors import ModelError
from ssic.model.config import ModelConfig
from ssic.model.network import Network
from ssic.model.weights import save_weights


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """The averaged network of a checkpoint, and what else the checkpoint holds.

    Raises:
        ModelError: not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = Network(ModelConfig.from_json(state["config"]))
        network.load_state_dict(state["average"])
    except (OSError, KeyError, RuntimeError) as e:
        raise ModelError(f"{path} is no checkpoint of ssic train: {e}") from e
    return network.eval(), state


def export(checkpoint: Path, target: Path, card: Mapping[str, Any] | None = None) -> bytes:
    """Write the weights file; -> the model's id."""
    network, state = load_checkpoint(checkpoint)
    facts = {k: state[k] for k in ("step", "samples")} | {"hours": round(state["seconds"] / 3600, 2)}
    target.parent.mkdir(parents=True, exist_ok=True)
    floats = {k: v.float().numpy() for k, v in network.state_dict().items()}
    return save_weights(target, network.config, floats, freeze(network.entropy), {**facts, **(card or {})})
