"""Freeze a trained entropy model into the integers of its twin. The only place where floats become tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssic.entropy.fixedpoint import (
    BIAS_BITS,
    LATENT_BITS,
    RECIPROCAL_BITS,
    REFERENCE_BITS,
    SCALE_BITS,
    VALUE_BITS,
    WEIGHT_BITS,
    to_fixed,
)
from ssic.entropy.tables import CLASSES, Tables, gaussian
from ssic.errors import ModelError
from ssic.model.entropy_model import EntropyModel, SliceNet


@torch.no_grad()
def freeze(entropy: EntropyModel, tables: Tables | None = None) -> dict[str, NDArray[Any]]:
    """Integer tensors of the twin, by name.

    Args:
        tables: of the scale classes; Gaussian ones by default.

    Raises:
        ModelError: a weight has grown out of its fixed-point format.
    """
    frozen: dict[str, NDArray[Any]] = {}

    def put(name: str, x: Tensor, bits: int, dtype: type[np.signedinteger[Any]]) -> None:
        try:
            frozen[name] = to_fixed(x.double().cpu().numpy(), bits, dtype)
        except OverflowError as e:
            raise ModelError(f"entropy model, {name}: {e}") from e

    def layer(name: str, linear: nn.Linear) -> None:
        put(f"{name}.weight", linear.weight, WEIGHT_BITS, np.int16)
        put(f"{name}.bias", linear.bias, BIAS_BITS, np.int32)

    put("z_mean", entropy.z_mean.table(), LATENT_BITS, np.int16)
    put("z_scale", entropy.z_scale.table(), SCALE_BITS, np.int16)
    put("z_count", entropy.z_count, SCALE_BITS, np.int16)
    precision = entropy.hyper_precision(torch.arange(1, len(entropy.z_count) + 1))
    put("precision_reciprocal", 1 / precision[:, 0].double(), 12, np.int32)
    layer("features1", entropy.features1)
    layer("features2", entropy.features2)
    put("features_quality", entropy.features_quality.table(), VALUE_BITS, np.int16)
    put("position", entropy.position, VALUE_BITS, np.int16)
    reference = entropy.reference().double()
    put("reference", reference, REFERENCE_BITS, np.int32)
    put("reference_reciprocal", 1 / reference, RECIPROCAL_BITS, np.int32)
    put("log2_reference", torch.log2(reference), SCALE_BITS, np.int16)
    for k, net in enumerate(entropy.slices):
        assert isinstance(net, SliceNet)
        for i, linear in enumerate((net.layer1, net.layer2, net.layer3), start=1):
            layer(f"slices.{k}.layer{i}", linear)
    tables = tables or Tables.from_probabilities([gaussian(i) for i in range(CLASSES)])
    frozen["tables.support"], frozen["tables.frequencies"] = tables.support, tables.frequencies
    return frozen
