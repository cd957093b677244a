"""What a weights file must hold, as its configuration says: names, types, shapes and ranges of all tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssic.errors import ModelError
from ssic.model.config import BLOCK_VALUES, CLASSES, HYPER_CONTEXTS, QUALITIES, ModelConfig
from ssic.plan import CELL, WINDOW
from ssic.rangecoder import TOTAL

Shape = tuple[int, ...]


class Integers(NamedTuple):
    """What a tensor of the twin looks like.

    Attributes:
        dtype: NumPy name.
        shape: None for any number of entries in one dimension.
        low, high: bounds of its values, both included.
    """

    dtype: str
    shape: Shape | None
    low: int
    high: int


def float_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Shape of each float tensor, by the name that `ssic.nets.network.Network` gives it."""
    fine, coarse = config.widths
    m, z, f = config.latent_channels, config.hyper_channels, config.hyper_features
    shapes: dict[str, Shape] = {}

    def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def table(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = (config.anchors, channels)

    def stage(name: str, level: int) -> None:
        for i, shape in enumerate(config.blocks(level)):
            block, width = f"{name}.{i}", shape.width
            if shape.local:
                shapes[f"{block}.local"] = (9, width)
            if shape.shift is not None:
                shapes[f"{block}.position"] = ((2 * WINDOW - 1) ** 2, shape.heads)
                norm(f"{block}.norm1", width)
                linear(f"{block}.qkv", width, 3 * width)
                linear(f"{block}.proj", width, width)
            if shape.entries:
                norm(f"{block}.dictionary.norm", width)
                linear(f"{block}.dictionary.query", width, width)
                shapes[f"{block}.dictionary.keys"] = shapes[f"{block}.dictionary.values"] = (
                    shape.entries,
                    width,
                )
                linear(f"{block}.dictionary.proj", width, width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.up", width, shape.hidden * (1 + shape.gated))
            linear(f"{block}.down", shape.hidden, width)

    for side in ("analysis", "synthesis"):
        table(f"{side}.quality_fine", fine)
        table(f"{side}.quality_coarse", coarse)
        stage(f"{side}.blocks_fine", 0)
        stage(f"{side}.blocks_coarse", 1)
        norm(f"{side}.norm_fine", fine)
        norm(f"{side}.norm_coarse", coarse)
    linear("analysis.bypass", BLOCK_VALUES, m, bias=False)
    linear("analysis.embed", BLOCK_VALUES // 4, fine)
    linear("analysis.merge", 4 * fine, coarse)
    linear("analysis.head", coarse, m)
    linear("synthesis.bypass", m, BLOCK_VALUES, bias=False)
    linear("synthesis.embed", m, coarse)
    linear("synthesis.split", coarse, 4 * fine)
    linear("synthesis.head", fine, BLOCK_VALUES // 4)

    shapes["entropy.spread"] = (m,)
    for name, channels in (("gain", m), ("inverse_gain", m), ("analyse_quality", f), ("features_quality", f)):
        table(f"entropy.{name}", channels)
    for name in ("z_mean", "z_scale"):
        table(f"entropy.{name}", z)
    shapes["entropy.z_count"] = (CELL**2, z)
    shapes["entropy.position"] = (CELL**2, f)
    linear("entropy.analyse1", m, f)
    linear("entropy.analyse2", f, f)
    linear("entropy.analyse3", f, z)
    linear("entropy.features1", z, f)
    linear("entropy.features2", f, f)
    for k in range(len(config.slices)):
        width = config.context_width
        linear(f"entropy.slices.{k}.layer1", config.slice_inputs(k), width)
        linear(f"entropy.slices.{k}.layer2", width, width)
        linear(f"entropy.slices.{k}.layer3", width, 2 * config.slices[k])
    return shapes


def graph_names(config: ModelConfig) -> list[str]:
    """The graphs that a weights file with graphs holds: both sides as a whole, and in parts, layer by layer."""
    names = ["analysis", "synthesis", "analysis.hyper"]
    for side in ("analysis", "synthesis"):
        names += [f"{side}.{joint}" for joint in ("begin", "between", "end")]
        for level, depth in zip(("fine", "coarse"), config.depths, strict=True):
            names += [f"{side}.{level}.{i}" for i in range(depth)]
    return names


def twin_integers(config: ModelConfig) -> dict[str, Integers]:
    """Type, shape and range of each tensor of the integer twin. Within these ranges its arithmetic is exact in float64
    (`ssic.entropy.fixedpoint`)."""
    m, z, f = config.latent_channels, config.hyper_channels, config.hyper_features
    tensors: dict[str, Integers] = {}

    def short(name: str, *shape: int) -> None:
        tensors[name] = Integers("int16", shape, -(2**15), 2**15 - 1)

    def layer(name: str, inputs: int, outputs: int) -> None:
        short(f"{name}.weight", outputs, inputs)
        tensors[f"{name}.bias"] = Integers("int32", (outputs,), -(2**31), 2**31 - 1)

    short("z_mean", QUALITIES, z)
    short("z_scale", QUALITIES, z)
    short("z_count", CELL**2, z)
    short("features_quality", QUALITIES, f)
    short("position", CELL**2, f)
    short("log2_reference", QUALITIES, m)
    # 4 / sqrt(blocks) with 12 fractional bits; a reference of at least 0.2 with 8, and its reciprocal with 16.
    if config.hyper_context:
        short("z_gain", HYPER_CONTEXTS, z)
        short("z_seen", HYPER_CONTEXTS, z)
        # sqrt(blocks) / 4, with 12 fractional bits.
        tensors["precision"] = Integers("int32", (CELL**2,), 1 << 10, 1 << 12)
    tensors["precision_reciprocal"] = Integers("int32", (CELL**2,), 1 << 12, 4 << 12)
    tensors["reference"] = Integers("int32", (QUALITIES, m), 51, 2**27)
    tensors["reference_reciprocal"] = Integers("int32", (QUALITIES, m), 0, 5 << 16)
    layer("features1", z, f)
    layer("features2", f, f)
    for k in range(len(config.slices)):
        width = config.context_width
        layer(f"slices.{k}.layer1", config.slice_inputs(k), width)
        layer(f"slices.{k}.layer2", width, width)
        layer(f"slices.{k}.layer3", width, 2 * config.slices[k])
    tensors["tables.support"] = Integers("int32", (CLASSES,), 0, TOTAL // 2)
    tensors["tables.frequencies"] = Integers("int32", None, 1, TOTAL - 1)
    return tensors


def check_values(
    config: ModelConfig, floats: Mapping[str, NDArray[Any]], twin: Mapping[str, NDArray[Any]]
) -> None:
    """Check the values of tensors whose types and shapes are right.

    Raises:
        ModelError: one is not finite, out of its range, or the tables of the scale classes are none.
    """
    for name, array in floats.items():
        if not np.isfinite(array).all():
            raise ModelError(f"float.{name} has values that are not finite")
    if not (floats["entropy.spread"] >= 0).all():
        raise ModelError("float.entropy.spread has negative values")
    for name, expected in twin_integers(config).items():
        array = twin[name]
        low, high = (int(array.min()), int(array.max())) if array.size else (expected.low, expected.high)
        if low < expected.low or high > expected.high:
            raise ModelError(
                f"twin.{name} has values from {low} to {high}, but they lie between {expected.low} and {expected.high}"
            )
    entries = 2 * twin["tables.support"].astype(np.int64) + 2
    frequencies = twin["tables.frequencies"].astype(np.int64)
    if entries.sum() != len(frequencies):
        raise ModelError(
            f"twin.tables.frequencies has {len(frequencies)} entries; the supports in twin.tables.support ask for "
            f"{entries.sum()}"
        )
    sums = np.add.reduceat(frequencies, np.cumsum(entries) - entries)
    if (sums != TOTAL).any():
        at = int(np.flatnonzero(sums != TOTAL)[0])
        raise ModelError(
            f"twin.tables.frequencies: those of scale class {at} sum up to {sums[at]}, not to {TOTAL}"
        )
