"""Checkpoints as files."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
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
    """All that the id of a weights file's model is made of, and what its card says of its tables, for a checkpoint."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.twin.items()}
    card = {k: v for k, v in weights.card.items() if k == "tables"}
    return {"tensors": tensors, "card": card, "text": weights.text}


@dataclass(frozen=True)
class KeptTwin:
    """What a checkpoint keeps of the model whose synthesis is trained.

    Attributes:
        tensors: integers, by name.
        card: facts about them.
        text: the configuration, as its weights file states it.
    """

    tensors: dict[str, NDArray[Any]]
    card: dict[str, Any]
    text: str


def twin_of_state(state: dict[str, Any]) -> KeptTwin | None:
    """The inverse of `twin_as_state`, from a checkpoint, if it holds any."""
    kept = state.get("twin")
    if kept is None:
        return None
    tensors = {name: value.numpy() for name, value in kept["tensors"].items()}
    return KeptTwin(tensors, kept["card"], kept.get("text", state["config"]))


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
