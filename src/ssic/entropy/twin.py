"""The integer twin of `ssic.nets.entropy_model`: what the coder runs, and all that decoding depends on.

It has the float model's structure step by step, on integers (`ssic.entropy.fixedpoint`), and no torch. The names
of its tensors are those under ``twin.`` in the weights file; `ssic.train.freeze` makes them.

Every method takes some rows of a picture, so that its caller decides how many are in memory at once. Which ones are
taken together changes no result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.fixedpoint import (
    GAIN_BITS,
    LATENT_BITS,
    PRECISION_BITS,
    RECIPROCAL_BITS,
    REFERENCE_BITS,
    SCALE_BITS,
    VALUE_BITS,
    VALUE_LIMIT,
    VALUE_TYPE,
    Fixed,
    Layer,
    StoredValues,
    clamp,
    shift_right,
)
from ssic.model.config import CLASSES, CLASSES_PER_OCTAVE, SCALE_FLOOR, VALUE_NEIGHBOURS, ModelConfig
from ssic.plan import NEIGHBOURS, Plan

ONE = 1 << VALUE_BITS

DIAGONAL = tuple(i for i, (dy, dx) in enumerate(NEIGHBOURS) if dy and dx)
DIRECT = tuple(i for i, (dy, dx) in enumerate(NEIGHBOURS) if not (dy and dx))

EARLIER: tuple[tuple[int, ...], ...] = ((), DIAGONAL, DIRECT)
"""By phase, which of the neighbours that exist are earlier (`Plan.earlier`). Row and column of a block of phase 1 are
odd, those of its neighbours across a corner even. In phase 2 one of the two is odd, and across an edge none or both."""


def context_kinds(plan: Plan, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By their earlier neighbours, the kinds of some pairs: [p] 0 for none, else 4 (phase - 1) + how many there are;
    and these, [p, 8] as in `Plan.earlier_pairs`."""
    earlier = plan.earlier_pairs[pairs]
    seen = np.count_nonzero(earlier < len(plan.pair_count), 1)
    return np.where(seen > 0, len(DIAGONAL) * (plan.pair_phase[pairs] - 1) + seen, 0), earlier


def scale_class(log2_scale: Fixed) -> NDArray[np.uint8]:
    """log2 of a scale, 10 fractional bits -> nearest class. Works in the array that it is given."""
    bits = SCALE_BITS - (CLASSES_PER_OCTAVE.bit_length() - 1)
    log2_scale -= SCALE_FLOOR * 2**SCALE_BITS
    index = shift_right(log2_scale, bits)
    return np.clip(index, 0, CLASSES - 1, out=index).astype(np.uint8)


class _Net:
    """The net of one slice, and in which order it takes its inputs.

    Inputs that are zero in all of a phase, those of neighbours that are never earlier there, take no part in its
    products. Rows of the first layer lie so that those that take part are adjacent in each phase.

    Attributes:
        by_value: the values of an earlier neighbour are inputs of their own; otherwise magnitudes are summed.
        first: by phase, its first layer.
        second, third: the others.
    """

    def __init__(self, layers: Sequence[Layer], before: int, channels: int, by_value: bool) -> None:
        """
        Args:
            layers: as stored: inputs in the order of docs/entropy.md.
            before: inputs before those that tell which neighbours are earlier.
            channels: of the slice.
        """
        stored, self.second, self.third = layers
        self.by_value = by_value
        around = len(NEIGHBOURS)
        flags = before + np.arange(around)
        seen = before + around + np.arange(channels * (around if by_value else 1))
        others = np.r_[:before, seen[-1] + 1 : len(stored.weight)]
        if by_value:
            of_each = seen.reshape(around, channels)
            left = [of_each[list(DIAGONAL)].ravel(), flags[list(DIAGONAL)]]
            right = [flags[list(DIRECT)], of_each[list(DIRECT)].ravel()]
            always, shared = len(others), 0
        else:
            left, right = [flags[list(DIAGONAL)]], [seen, flags[list(DIRECT)]]
            always, shared = len(others), len(seen)
        start = sum(map(len, left))
        weight = stored.weight[np.concatenate([*left, others, *right])]
        self.first = [
            Layer(weight[rows], stored.bias)
            for rows in (
                slice(start, start + always),
                slice(0, start + always + shared),
                slice(start, None),
            )
        ]


class Twin:
    """Integer entropy model. Immutable after construction; one instance serves any number of threads.

    Attributes:
        bounds: first channel of each slice, and the end of the last.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.config = config

        def fixed(name: str) -> Fixed:
            return tensors[name].astype(np.float64)

        def layer(name: str) -> Layer:
            return Layer.of(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        self.bounds: list[int] = np.cumsum((0, *config.slices)).tolist()
        self._z_mean = fixed("z_mean")
        self._z_scale = fixed("z_scale")
        self._z_count = fixed("z_count")
        self._precision_reciprocal = fixed("precision_reciprocal")
        if config.hyper_context:
            self._z_gain, self._z_seen, self._precision = map(fixed, ("z_gain", "z_seen", "precision"))
        self._features1 = layer("features1")
        self._features2 = layer("features2")
        self._features_quality = fixed("features_quality")
        self._position = fixed("position")
        # One array for each slice, so that the rows that a piece looks up are whole.
        self._reference, self._reciprocal, self._log2_reference = (
            [np.ascontiguousarray(part) for part in np.split(fixed(name), self.bounds[1:-1], axis=1)]
            for name in ("reference", "reference_reciprocal", "log2_reference")
        )
        self._nets = [
            _Net(
                [layer(f"slices.{k}.layer{i}") for i in (1, 2, 3)],
                config.hyper_features + self.bounds[k],
                channels,
                k < VALUE_NEIGHBOURS,
            )
            for k, channels in enumerate(config.slices)
        ]

    def hyper_prior(
        self, pairs: NDArray[np.int64], quality: NDArray[np.integer], plan: Plan, decoded: NDArray[Any]
    ) -> tuple[Fixed, NDArray[np.uint8]]:
        """Mean (6 fractional bits) and scale class of the hyper-latents of some pairs, [p, Z] each.

        Args:
            pairs: [p] these pairs; with `ModelConfig.hyper_context` all of one phase.
            quality: [P] of all pairs, 1 to 100.
            decoded: [P, Z] hyper-latents, as far as they are decoded (6 fractional bits).
        """
        row, count = quality[pairs] - 1, plan.pair_count[pairs]
        mean, scale = self._z_mean[row], self._z_scale[row] + self._z_count[count - 1]
        if self.config.hyper_context:
            kind, earlier = context_kinds(plan, pairs)
            around = np.zeros(mean.shape)
            for neighbour in earlier.T:
                at = np.flatnonzero(neighbour < len(plan.pair_count))
                other = neighbour[at]
                # In the unit that they would have with 16 blocks; a group has one quality.
                reciprocal = self._precision_reciprocal[plan.pair_count[other] - 1][:, None]
                around[at] += clamp(shift_right((decoded[other] - mean[at]) * reciprocal, PRECISION_BITS))
            around *= self._z_gain[kind]
            shift_right(around, GAIN_BITS)
            around *= self._precision[count - 1][:, None]
            mean = mean + shift_right(around, PRECISION_BITS)
            scale += self._z_seen[kind]
        return mean, scale_class(scale)

    def pair_features(self, z: NDArray[Any], count: NDArray[np.integer]) -> Fixed:
        """Hyper-latents of some pairs, [p, Z] (6 fractional bits) -> what they tell of their blocks, values [p, F]."""
        # 6 bits of the latent and 12 of the reciprocal; 10 of a value.
        reciprocal = self._precision_reciprocal[count - 1][:, None]
        x = shift_right(z * reciprocal, LATENT_BITS + PRECISION_BITS - VALUE_BITS)
        return self._features2(self._features1(clamp(x), 0), -VALUE_LIMIT)

    def features(
        self, of_pair: NDArray[Any], quality: NDArray[np.integer], position: NDArray[np.integer]
    ) -> Fixed:
        """What the hyper-latents tell of some blocks, values [t, F].

        Args:
            of_pair: [t, F] `pair_features` of each block's pair.
            quality: [t] of each block.
            position: [t] its place in its cell, 0 to 15.
        """
        x: Fixed = of_pair + _rows(self._features_quality, quality - 1)
        x += self._position[position]
        return clamp(x, 0)

    def new_values(self, count: int) -> list[StoredValues]:
        """By slice, [count + 1, channels] values of no latent decoded yet; the last row is what a missing neighbour
        looks like."""
        return [np.zeros((count + 1, channels), VALUE_TYPE) for channels in self.config.slices]

    def predict(
        self,
        k: int,
        phase: int,
        tokens: NDArray[np.int64],
        features: StoredValues,
        values: Sequence[StoredValues],
        quality: NDArray[np.integer],
        plan: Plan,
    ) -> tuple[Fixed, NDArray[np.uint8]]:
        """Mean (6 fractional bits) and scale class of slice k of some tokens, [t, channels] each.

        Args:
            phase: that all these tokens are of.
            tokens: [t] the tokens.
            features: [N, F] of all blocks, from `features`.
            values: by slice, [N + 1, channels] of what is decoded so far, from `normalise`.
            quality: [N] of all blocks.
        """
        net, channels = self._nets[k], self.config.slices[k]
        x = net.first[phase](self._inputs(k, phase, tokens, features, values, plan), 0)
        out = net.third(net.second(x, 0), -VALUE_LIMIT)
        mean, scale = out[:, :channels], out[:, channels:]
        row = quality[tokens] - 1
        mean *= _rows(self._reference[k], row)
        scale += _rows(self._log2_reference[k], row)
        return shift_right(mean, VALUE_BITS + REFERENCE_BITS - LATENT_BITS), scale_class(scale)

    def _inputs(
        self,
        k: int,
        phase: int,
        tokens: NDArray[np.int64],
        features: StoredValues,
        values: Sequence[StoredValues],
        plan: Plan,
    ) -> Fixed:
        """[t, inputs] in the order of `_Net`."""
        neighbours = plan.neighbours.take(tokens, 0)
        parts: list[NDArray[Any]] = [features.take(tokens, 0), *(values[j].take(tokens, 0) for j in range(k))]
        if k:
            parts.append(values[0].take(neighbours, 0).reshape(len(tokens), -1))
        if EARLIER[phase]:
            earlier = neighbours[:, EARLIER[phase]]
            there = (earlier < len(plan)) * VALUE_TYPE(ONE)
            seen: NDArray[Any]
            if self._nets[k].by_value:
                seen = values[k].take(earlier, 0).reshape(len(tokens), -1)
                parts = [seen, there, *parts] if phase == 1 else [*parts, there, seen]
            else:
                seen = _magnitudes(values[k], earlier)
                parts = [there, *parts, seen] if phase == 1 else [*parts, seen, there]
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def normalise(self, k: int, latents: NDArray[Any], quality: NDArray[np.integer]) -> Fixed:
        """Decoded latents of slice k [t, channels] (6 fractional bits) -> the values that the nets see.

        Args:
            quality: [t] of each block.
        """
        values: Fixed = latents * _rows(self._reciprocal[k], quality - 1)
        return clamp(shift_right(values, LATENT_BITS + RECIPROCAL_BITS - VALUE_BITS))


def _rows(table: Fixed, row: NDArray[np.integer]) -> Fixed:
    """table[row]; only one of them where all are the same, as for all blocks of a group."""
    if len(row) and (row == row[0]).all():
        return table[row[0] : row[0] + 1]
    return table.take(row, 0)


def _magnitudes(values: StoredValues, earlier: NDArray[np.int64]) -> Fixed:
    """A quarter of the neighbours' magnitudes, summed, [t, channels]."""
    total = np.zeros((len(earlier), values.shape[1]))
    for j in range(earlier.shape[1]):
        total += np.abs(values.take(earlier[:, j], 0))
    return clamp(shift_right(total, 2))
