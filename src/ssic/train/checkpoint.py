"""Checkpoints as files."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch

from ssic.errors import ModelError


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `Trainer.save` wrote.

    Raises:
        ModelError: the file is no checkpoint.
        OSError: it can't be read.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (EOFError, RuntimeError, ValueError, KeyError, struct.error, pickle.UnpicklingError) as e:
        raise ModelError(f"{path} is no checkpoint of ssic train: {e}") from e
    if not isinstance(state, dict) or not {"config", "network", "average", "step"} <= set(state):
        raise ModelError(f"{path} is no checkpoint of ssic train")
    return state
