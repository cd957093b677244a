"""Small pictures from the first latents, by the linear part of the synthesis alone.

The synthesis is a linear map from the latents of a block to its pixels, the bypass, and what transformers add to it
(`docs/synthesis.md`). Averaged over squares of 4, 8 or 16 pixels, the bypass alone comes close to what the whole gives,
and needs the strong channels only, which the first slices of a substream hold. So a picture of 1/4, 1/8 or 1/16 of the
resolution takes one matrix product, on top of decoding these slices.

The product is computed in integers, which float64 holds exactly (`ssic.entropy.fixedpoint` says why that helps): a
block gives the same pixels in any list of blocks, on any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import BLOCK, PATCH
from ssic.errors import ModelError
from ssic.model import gains
from ssic.model.config import ModelConfig

LEFT_OUT = 1 / 2000
"""Share of the energy of small pictures that the slices which are not decoded may hold, as the model expects it. With
the shipped models these are all slices but 1, 2 and 3 at 1/16, 1/8 and 1/4. All slices would bring 0.1, 0.5 and 0.6 dB
with `base` on 11 photographs, and take nine, three and two times as long."""

LARGEST = 2.0**15
"""Latents are limited to it; those of pictures stay a hundred times below."""

_EXACT = 53 - 6 - 15 - 1
"""Bits that are left for a weight and the sum of products: of the 53 of a float64 latents take 15 and 6 fractional
ones, and a sign."""


class Reduction:
    """The linear map from latents to pixels at 1/scale of the resolution. Immutable after construction.

    Attributes:
        side: pixels on a side of a block, 16 / scale.
        slices: of the latents that are needed.
    """

    def __init__(self, config: ModelConfig, floats: Mapping[str, NDArray[Any]], scale: int) -> None:
        """
        Args:
            floats: of a weights file.
            scale: 4, 8 or 16.
        """
        self.side = BLOCK // scale
        patches = BLOCK // PATCH
        # [M, 16, 16, 3] from the order of `ssic.blocks.to_blocks`.
        split = floats["synthesis.bypass.weight"].T.reshape(-1, patches, patches, PATCH, PATCH, 3)
        self._bypass = split.transpose(0, 1, 3, 2, 4, 5).reshape(-1, BLOCK, BLOCK, 3).astype(np.float64)
        spread = floats["entropy.spread"].astype(np.float64)
        energy = spread**2 * (self._averaged(BLOCK, BLOCK) ** 2).sum((1, 2, 3))
        ends = np.cumsum(config.slices)
        left_out = energy.sum() - np.cumsum(energy)[ends - 1]
        self.slices = int(np.argmax(left_out <= LEFT_OUT * energy.sum())) + 1
        self._bypass = self._bypass[: ends[self.slices - 1]]
        self._dequantiser = _dequantiser(config, floats)[:, : len(self._bypass)]

    def _averaged(self, width: int, height: int) -> NDArray[np.float64]:
        """[C, side, side, 3] means of the bypass over squares, of their part within the upper left width x height."""
        rows, columns = (_means(self.side, length) for length in (height, width))
        return np.asarray(np.einsum("ir,mrsc,js->mijc", rows, self._bypass, columns))

    def pixels(
        self, latents: NDArray[np.float64], quality: NDArray[np.int64], inside: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Pixels of blocks.

        Args:
            latents: [N, C] decoded latents of the first `slices`; multiples of 1/64.
            quality: [N] 1 to 100.
            inside: [N, 2] how many pixels of a block, in width and height, are the picture's own. A pixel of the
                result is the mean of those that it covers, and of no padding.

        Returns:
            [N, side, side, 3]; where a square has no pixel of the picture it means nothing.

        Raises:
            ModelError: the model's gains are beyond any number.
        """
        found = np.empty((len(latents), self.side, self.side, 3), np.uint8)
        kinds, kind = np.unique(np.column_stack([quality, inside]), axis=0, return_inverse=True)
        averaged = {
            (width, height): self._averaged(width, height).reshape(len(self._bypass), -1)
            for width, height in set(map(tuple, inside.tolist()))
        }
        for n, (q, width, height) in enumerate(kinds.tolist()):
            rows = np.flatnonzero(kind.reshape(-1) == n)
            weight = 255 * self._dequantiser[q - 1, :, None] * averaged[width, height]
            largest = float(np.abs(weight).sum(0).max())
            if not math.isfinite(largest):
                raise ModelError(f"the model's gains for quality {q} are beyond any number")
            unit = math.ldexp(1.0, _EXACT - max(math.frexp(largest)[1], 0))
            values = latents[rows].clip(-LARGEST, LARGEST) @ np.rint(weight * unit)
            # Pixels are from -1/2 to 1/2 in the networks; halves are rounded up.
            found[rows] = np.floor(values / unit + 128).clip(0, 255).reshape(-1, self.side, self.side, 3)
        return found


def _means(side: int, length: int) -> NDArray[np.float64]:
    """[side, 16] weights of the pixels of a row in its means over equal pieces, if only the first `length` count."""
    scale = BLOCK // side
    inside = np.zeros((side, BLOCK))
    for i in range(side):
        inside[i, scale * i : min(scale * (i + 1), length)] = 1
    return inside / np.maximum(inside.sum(1, keepdims=True), 1)


def _dequantiser(config: ModelConfig, floats: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """[100, M] what a decoded latent is multiplied with."""
    basis = gains.quality_basis(config.anchors).astype(np.float64)
    gain, inverse = (
        gains.quality_table(basis, floats[f"entropy.{name}.weight"].astype(np.float64))
        for name in ("gain", "inverse_gain")
    )
    with np.errstate(over="ignore"):
        return gains.dequantiser(inverse, gains.log2_gain(gain, gains.log2_step(config.lambda_range)))
