"""Weights files that differ in a part from an installed model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ssic.model.weights import find_weights, load_weights, pack_weights


def variant(path: Path, **changes: Any) -> Path:
    """Write `small` with other arguments of `pack_weights` to the path. -> the path."""
    had = load_weights(find_weights("small"))
    parts = {"config": had.config, "floats": had.floats, "twin": had.twin, "card": had.card, "text": had.text}
    path.write_bytes(pack_weights(**(parts | changes)))
    return path


def another_synthesis(path: Path) -> Path:
    """Write `small` with a synthesis that adds a little: of the same id; training it only changes no more."""
    name = "synthesis.head.bias"
    floats = dict(load_weights(find_weights("small")).floats)
    floats[name] = floats[name] + np.array(0.01, floats[name].dtype)
    return variant(path, floats=floats)
