"""Checkpoints as files."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ssic.errors import ModelError
from ssic.model.weights import Weights


def is_checkpoint(path: Path) -> bool:
    """Whether the file begins as one does: with a zip archive, which a weights file is not."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError:
        return False  # then it may be the name of a model


def twin_as_state(weights: Weights) -> dict[str, Any]:
    """The integers of a weights file, and what its card says of its tables, for a checkpoint."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.twin.items()}
    return {"tensors": tensors, "card": {k: v for k, v in weights.card.items() if k == "tables"}}


def twin_of_state(state: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """The inverse, from a checkpoint, if it holds any."""
    kept = state.get("twin")
    if kept is None:
        return None
    return {name: value.numpy() for name, value in kept["tensors"].items()}, kept["card"]


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `Trainer.save` wrote.

    Raises:
        ModelError: the file is no checkpoint.
        OSError: it can't be read.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (EOFError, RuntimeError, ValueError, KeyError, struct.error, pickle.UnpicklingError) as e:
        raise ModelError(f"{path} is no checkpoint of ssic train") from e
    if not isinstance(state, dict) or not {"config", "network", "average", "step"} <= set(state):
        raise ModelError(f"{path} is no checkpoint of ssic train")
    return state
