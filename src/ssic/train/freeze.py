"""Freeze a trained entropy model into the integers of its twin. The only place where floats become tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.fixedpoint import (
    BIAS_BITS,
    GAIN_BITS,
    LATENT_BITS,
    PRECISION_BITS,
    RECIPROCAL_BITS,
    REFERENCE_BITS,
    SCALE_BITS,
    VALUE_BITS,
    WEIGHT_BITS,
    to_fixed,
)
from ssic.entropy.tables import Tables, gaussian
from ssic.errors import ModelError
from ssic.model import gains
from ssic.model.config import CLASSES, HYPER_CONTEXTS, ModelConfig
from ssic.plan import CELL

WIDEST = (1 << 15) - 1
"""The largest integer in 16 bits."""


def largest_value(parameter: str) -> float | None:
    """How large an element of a parameter of the network may become, so that it can be frozen; None: any size."""
    name = parameter.removeprefix("entropy.")
    bits = {
        "features1.weight": WEIGHT_BITS,
        "features2.weight": WEIGHT_BITS,
        "features_quality.weight": VALUE_BITS,
        "position": VALUE_BITS,
        "z_mean.weight": LATENT_BITS,
        "z_scale.weight": SCALE_BITS,
        "z_count": SCALE_BITS,
    }
    if name.startswith("slices.") and name.endswith(".weight"):
        return WIDEST / (1 << WEIGHT_BITS)
    return WIDEST / (1 << bits[name]) if name in bits else None


def freeze(
    config: ModelConfig,
    floats: Mapping[str, NDArray[Any]],
    tables: Tables | None = None,
    context: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Integer tensors of the twin, by name.

    Args:
        floats: float tensors of the network, by name (`ssic.model.tensors.float_shapes`); only the entropy model's
            are looked at.
        tables: of the scale classes; Gaussian ones by default.
        context: gains of neighbouring hyper-latents and what they add to log2 of scales, [9, Z] each, for
            `ModelConfig.hyper_context`; zeros by default.

    Raises:
        ModelError: a weight has grown out of its fixed-point format.
    """
    frozen: dict[str, NDArray[Any]] = {}
    basis = gains.quality_basis(config.anchors).astype(np.float64)

    def real(name: str) -> NDArray[np.float64]:
        return floats[f"entropy.{name}"].astype(np.float64)

    def table(name: str) -> NDArray[np.float64]:
        return gains.quality_table(basis, real(f"{name}.weight"))

    def put(name: str, x: NDArray[np.float64], bits: int, dtype: type[np.signedinteger[Any]]) -> None:
        try:
            frozen[name] = to_fixed(x, bits, dtype)
        except OverflowError as e:
            raise ModelError(f"entropy model, {name}: {e}") from e

    def layer(name: str) -> None:
        put(f"{name}.weight", real(f"{name}.weight"), WEIGHT_BITS, np.int16)
        put(f"{name}.bias", real(f"{name}.bias"), BIAS_BITS, np.int32)

    put("z_mean", table("z_mean"), LATENT_BITS, np.int16)
    put("z_scale", table("z_scale"), SCALE_BITS, np.int16)
    put("z_count", real("z_count"), SCALE_BITS, np.int16)
    precision = gains.hyper_precision(np.arange(1, CELL**2 + 1.0))
    put("precision_reciprocal", 1 / precision, PRECISION_BITS, np.int32)
    if config.hyper_context:
        put("precision", precision, PRECISION_BITS, np.int32)
        gain, seen = context or (np.zeros((HYPER_CONTEXTS, config.hyper_channels)),) * 2
        put("z_gain", gain, GAIN_BITS, np.int16)
        put("z_seen", seen, SCALE_BITS, np.int16)
    layer("features1")
    layer("features2")
    put("features_quality", table("features_quality"), VALUE_BITS, np.int16)
    put("position", real("position"), VALUE_BITS, np.int16)
    log2_gain = gains.log2_gain(table("gain"), gains.log2_step(config.lambda_range))
    reference = gains.reference(gains.gain(log2_gain), real("spread"))
    put("reference", reference, REFERENCE_BITS, np.int32)
    put("reference_reciprocal", 1 / reference, RECIPROCAL_BITS, np.int32)
    put("log2_reference", np.log2(reference), SCALE_BITS, np.int16)
    for k in range(len(config.slices)):
        for i in (1, 2, 3):
            layer(f"slices.{k}.layer{i}")
    tables = tables or Tables.from_probabilities([gaussian(i) for i in range(CLASSES)])
    frozen["tables.support"], frozen["tables.frequencies"] = tables.support, tables.frequencies
    return frozen
