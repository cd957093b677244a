"""The integer twin of `ssic.nets.entropy_model`: what the coder runs, and all that decoding depends on.

It has the float model's structure step by step, on integers (`ssic.entropy.fixedpoint`), and no torch. The names
of its tensors are those under ``twin.`` in the weights file; `ssic.train.freeze` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.fixedpoint import (
    LATENT_BITS,
    RECIPROCAL_BITS,
    REFERENCE_BITS,
    SCALE_BITS,
    VALUE_BITS,
    VALUE_LIMIT,
    Fixed,
    Layer,
    clamp,
    shift_right,
)
from ssic.model.config import CLASSES, CLASSES_PER_OCTAVE, SCALE_FLOOR, VALUE_NEIGHBOURS, ModelConfig
from ssic.plan import NEIGHBOURS, Plan

ONE = 1 << VALUE_BITS


def scale_class(log2_scale: Fixed) -> NDArray[np.uint8]:
    """log2 of a scale, 10 fractional bits -> nearest class."""
    bits = SCALE_BITS - (CLASSES_PER_OCTAVE.bit_length() - 1)
    index = shift_right(log2_scale - SCALE_FLOOR * 2**SCALE_BITS, bits)
    return np.clip(index, 0, CLASSES - 1).astype(np.uint8)


class Twin:
    """Integer entropy model. Immutable after construction; one instance serves any number of threads."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.config = config

        def fixed(name: str) -> Fixed:
            return tensors[name].astype(np.float64)

        def layer(name: str) -> Layer:
            return Layer(np.ascontiguousarray(fixed(f"{name}.weight").T), fixed(f"{name}.bias"))

        self._z_mean = fixed("z_mean")
        self._z_scale = fixed("z_scale")
        self._z_count = fixed("z_count")
        self._precision = fixed("precision_reciprocal")
        self._features1 = layer("features1")
        self._features2 = layer("features2")
        self._features_quality = fixed("features_quality")
        self._position = fixed("position")
        self._reference = fixed("reference")
        self._reciprocal = fixed("reference_reciprocal")
        self._log2_reference = fixed("log2_reference")
        self._layers = [
            tuple(layer(f"slices.{k}.layer{i}") for i in (1, 2, 3)) for k in range(len(config.slices))
        ]
        self.bounds = np.cumsum((0, *config.slices)).tolist()

    def hyper_prior(self, pair_quality: NDArray[np.int64], plan: Plan) -> tuple[Fixed, NDArray[np.uint8]]:
        """Mean and scale class of each pair's hyper-latent, [P, Z] each."""
        scale = self._z_scale[pair_quality - 1] + self._z_count[plan.pair_count - 1]
        return self._z_mean[pair_quality - 1], scale_class(scale)

    def features(self, z: Fixed, quality: NDArray[np.int64], plan: Plan) -> Fixed:
        """z [P, Z] (6 fractional bits) -> [N, F] values."""
        # 6 bits of the latent and 12 of the reciprocal; 10 of a value.
        x = clamp(
            shift_right(z * self._precision[plan.pair_count - 1][:, None], LATENT_BITS + 12 - VALUE_BITS)
        )
        x = self._features2(self._features1(x, 0), -VALUE_LIMIT)
        x = x[plan.pair] + self._features_quality[quality - 1]
        x += self._position[plan.cell_position]
        return clamp(x, 0)

    def new_values(self, plan: Plan) -> Fixed:
        """[N + 1, M] values of no latent decoded yet; the last row is what a missing neighbour looks like."""
        return np.zeros((len(plan) + 1, self.bounds[-1]))

    def predict(
        self,
        k: int,
        tokens: NDArray[np.int64],
        features: Fixed,
        values: Fixed,
        quality: NDArray[np.int64],
        plan: Plan,
    ) -> tuple[Fixed, NDArray[np.uint8]]:
        """Mean (6 fractional bits) and scale class of slice k of some tokens, [T, channels] each.

        Args:
            tokens: [T] the tokens.
            features: [N, F] from `features`.
            values: [N + 1, M] decoded so far, from `normalise`.
            quality: [N].
        """
        start, stop = self.bounds[k], self.bounds[k + 1]
        earlier = plan.earlier[tokens]
        inputs = [features[tokens], values[tokens, :start], (earlier < len(plan)) * float(ONE)]
        if k < VALUE_NEIGHBOURS:
            inputs.append(values[earlier, start:stop].reshape(len(tokens), -1))
        else:
            inputs.append(self._magnitudes(values[:, start:stop], earlier))
        if k:
            first = values[:, : self.bounds[1]]
            inputs.append(first[plan.neighbours[tokens]].reshape(len(tokens), -1))
        layer1, layer2, layer3 = self._layers[k]
        out = layer3(layer2(layer1(np.concatenate(inputs, 1), 0), 0), -VALUE_LIMIT)
        mean, scale = out[:, : stop - start], out[:, stop - start :]
        row = quality[tokens] - 1
        mean = shift_right(mean * self._reference[row, start:stop], VALUE_BITS + REFERENCE_BITS - LATENT_BITS)
        return mean, scale_class(scale + self._log2_reference[row, start:stop])

    @staticmethod
    def _magnitudes(values: Fixed, earlier: NDArray[np.int64]) -> Fixed:
        """A quarter of the neighbours' magnitudes, summed, [T, channels]."""
        total = np.abs(values[earlier[:, 0]])
        for j in range(1, len(NEIGHBOURS)):
            total += np.abs(values[earlier[:, j]])
        return clamp(shift_right(total, 2))

    def normalise(
        self, k: int, tokens: NDArray[np.int64], latents: Fixed, quality: NDArray[np.int64]
    ) -> Fixed:
        """Decoded latents of slice k [T, channels] (6 fractional bits) -> the values that the nets see."""
        reciprocal = self._reciprocal[quality[tokens] - 1, self.bounds[k] : self.bounds[k + 1]]
        return clamp(shift_right(latents * reciprocal, LATENT_BITS + RECIPROCAL_BITS - VALUE_BITS))
