"""Weights files: one safetensors file holds configuration, float weights, integer twin and tables.

::

    metadata   ssic-model  "1"
               config      canonical JSON of ModelConfig
               id          16 hex digits, see `model_id`
               card        JSON: how it was trained
    tensors    float.*     state of `ssic.model.network.Network`; float16 where precision allows
               twin.*      integers of `ssic.entropy.twin.Twin`, tables of the scale classes

Files name the model by its id. It covers all that decoding of symbols depends on, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ssic.arguments import type_name
from ssic.errors import ModelError, UnknownModel
from ssic.model.config import ModelConfig

LARGE = 1 << 14
"""Float tensors with fewer elements stay in float32: they are gains, biases and norms."""


def model_id(config: str, twin: Mapping[str, NDArray[Any]]) -> bytes:
    """First 8 bytes of SHA-256 over the configuration's text as it is stored (so that fields which later versions
    add don't change it) and, sorted by name, the twin's integers: name, dtype, shape, little-endian bytes."""
    digest = hashlib.sha256(config.encode())
    for name in sorted(twin):
        array = np.ascontiguousarray(twin[name])
        little = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(little.tobytes())
    return digest.digest()[:8]


@dataclass(frozen=True)
class Weights:
    """Everything in a weights file."""

    config: ModelConfig
    id: bytes
    card: Mapping[str, Any]
    floats: Mapping[str, NDArray[Any]]
    twin: Mapping[str, NDArray[Any]]


def save_weights(
    path: Path,
    config: ModelConfig,
    floats: Mapping[str, NDArray[np.float32]],
    twin: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any],
) -> bytes:
    """Write a weights file; -> the model's id."""
    tensors = {f"twin.{k}": np.ascontiguousarray(v) for k, v in twin.items()}
    for name, value in floats.items():
        # The bypass carries mean colours: half precision would show in them.
        half = value.size >= LARGE and "bypass" not in name
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value.astype(np.float16 if half else np.float32))
        if not np.isfinite(stored).all():
            raise ModelError(f"{name} has values that are not finite, or too large for {stored.dtype}")
        tensors[f"float.{name}"] = stored
    text = config.to_json()
    identity = model_id(text, twin)
    metadata = {
        "ssic-model": "1",
        "config": text,
        "id": identity.hex(),
        "card": json.dumps(card, sort_keys=True),
    }
    path.write_bytes(
        save(tensors, metadata)
    )  # not save_file: that makes files that only their owner can read
    return identity


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as f:
            metadata = f.metadata() or {}
    except (OSError, SafetensorError) as e:
        raise ModelError(f"{path} is no readable weights file: {e}") from e
    if metadata.get("ssic-model") != "1":
        raise ModelError(f"{path} is a safetensors file, but no ssic model (version 1)")
    return metadata


def load_weights(path: Path) -> Weights:
    """Read a weights file.

    Raises:
        ModelError: unreadable, no ssic model, or its integers don't match the id that it claims.
    """
    metadata = _metadata(path)
    floats: dict[str, NDArray[Any]] = {}
    twin: dict[str, NDArray[Any]] = {}
    try:
        with safe_open(path, framework="numpy") as f:
            for key in f.keys():  # noqa: SIM118 (not a dict)
                kind, name = key.split(".", 1)
                (twin if kind == "twin" else floats)[name] = f.get_tensor(key)
        config = ModelConfig.from_json(metadata["config"])
        identity, claimed = model_id(metadata["config"], twin), metadata["id"]
        card = json.loads(metadata.get("card", "{}"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
        raise ModelError(f"{path} is no ssic model that this version can read: {e!r}") from e
    if identity.hex() != claimed:
        raise ModelError(f"{path} claims to be model {claimed}, but its content is {identity.hex()}")
    return Weights(config, identity, card, floats, twin)


def installed() -> dict[str, Path]:
    """Preset -> weights file, of the models that come with the package."""
    folder = Path(str(resources.files("ssic"))) / "weights"
    return {p.stem: p for p in sorted(folder.glob("*.safetensors"))}


@lru_cache(maxsize=64)
def _id_of(path: Path) -> str:
    return _metadata(path).get("id", "")  # of installed models, which don't change


def find_weights(model: str | Path) -> Path:
    """A preset that comes with the package, or a path -> path of the weights file (`ModelError` if it is neither)."""
    if not isinstance(model, (str, os.PathLike)):
        raise ModelError(f"a model is named, or is the path of a weights file, not {type_name(model)}")
    known = installed()
    if str(model) in known:
        return known[str(model)]
    if Path(model).is_file():
        return Path(model)
    raise ModelError(
        f"no model {str(model)!r}: neither a weights file nor one of {', '.join(known) or 'none'}"
    )


def find_by_id(identity: bytes) -> Path:
    """The installed weights that a file was made with.

    Raises:
        UnknownModel: not installed.
    """
    for path in installed().values():
        if _id_of(path) == identity.hex():
            return path
    have = ", ".join(f"{name} ({_id_of(path)})" for name, path in installed().items()) or "none"
    raise UnknownModel(
        f"the file was made with model {identity.hex()}, which is not installed here (installed: {have}); "
        "pass its weights file as `model` (--model)"
    )
