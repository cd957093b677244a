"""A checkpoint to a weights file: averaged float weights, integer twin, tables, model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssic.errors import ModelError
from ssic.model.config import ModelConfig
from ssic.model.network import Network
from ssic.model.weights import Weights, model_id, save_weights
from ssic.train.checkpoint import read_checkpoint
from ssic.train.freeze import freeze
from ssic.train.tables import fit_tables


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """The averaged network of a checkpoint, and what else the checkpoint holds.

    Raises:
        ModelError: not a checkpoint.
    """
    state = read_checkpoint(path)
    try:
        network = Network(ModelConfig.from_json(state["config"]))
        network.load_state_dict(state["average"])
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        raise ModelError(f"{path} is no checkpoint of this version of ssic train: {e!r}") from e
    return network.eval(), state


def export(
    checkpoint: Path, target: Path, card: Mapping[str, Any] | None = None, pictures: Sequence[Path] = ()
) -> bytes:
    """Write the weights file of a checkpoint.

    Args:
        checkpoint: of `ssic train`.
        target: the file to write.
        card: facts for the model card; steps, samples and hours are added.
        pictures: training pictures to fit the tables of the scale classes to; without any, tables are Gaussian.

    Returns:
        the model's id.

    Raises:
        ModelError: not a checkpoint, or weights that have grown out of their fixed-point formats.
    """
    network, state = load_checkpoint(checkpoint)
    facts = {k: state[k] for k in ("step", "samples")} | {"hours": round(state["seconds"] / 3600, 2)}
    floats = {k: v.float().numpy() for k, v in network.state_dict().items()}
    twin = freeze(network.entropy)
    if pictures:
        weights = Weights(network.config, model_id(network.config.to_json(), twin), {}, floats, twin)
        twin = freeze(network.entropy, fit_tables(weights, pictures))
        facts["tables"] = f"fitted to {len(pictures)} pictures"
    target.parent.mkdir(parents=True, exist_ok=True)
    return save_weights(target, network.config, floats, twin, facts | dict(card or {}))
