"""Fixed-point arithmetic in float64 containers.

An integer below 2^53 is exact in float64, and so are its products, sums, power-of-two scalings and floors as
long as they stay below. Here values have at most 16 bits and weights 16, and a product sums fewer than 2^12 of
them: 2^43 at the most. So every result is the same whatever the BLAS, the order of summation, the thread count or the
device, at the speed of a matrix product. (A Winograd or FFT convolution would not be exact; there is none.)

================  ================  ==========================================================
quantity          fractional bits   range
================  ================  ==========================================================
values, features  10                +-31.97 (16 bits)
weights           12                +-8 (16 bits)
biases            22                as a product of the two
latents, means    6                 rounded latents are ``64 * symbol + mean``
reference scale   8                 unit of values, in latents
its reciprocal    16
log2 of scales    10                class = 8 per octave, from 2^-3.25
================  ================  ==========================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import RANGE

Fixed = NDArray[np.float64]
"""Integers, held in float64: what is computed with."""

LATENT_TYPE = np.int32
"""What latents and means are kept in. They fit: a value is below 2^15 and its unit at most 2^27 (`ssic.model.tensors`),
so that a mean is at most 2^30, and 64 times a symbol at most 2^6 (2^23 + 2^22)."""

VALUE_TYPE = np.int16
"""What values and features are kept in; `VALUE_LIMIT` is below 2^15."""

Latents = NDArray[np.int32]
StoredValues = NDArray[np.int16]

VALUE_BITS = 10
WEIGHT_BITS = 12
BIAS_BITS = VALUE_BITS + WEIGHT_BITS
LATENT_BITS = 6
REFERENCE_BITS = 8
RECIPROCAL_BITS = 16
SCALE_BITS = 10
PRECISION_BITS = 12
"""Of the precision of hyper-latents, and of its reciprocal."""
GAIN_BITS = 12
"""Of what neighbouring hyper-latents count."""

VALUE_LIMIT = int(RANGE * (1 << VALUE_BITS))
"""The clamp that the float model was trained with, as an integer."""


def shift_right(x: Fixed, bits: int) -> Fixed:
    """x / 2^bits, rounded to the nearest integer, halves upwards; in place."""
    # ldexp and not 2.0**-bits, which is the C library's pow: it may be off by a bit, and is under some rounding modes.
    x *= math.ldexp(1.0, -bits)
    x += 0.5
    return np.floor(x, out=x)


def clamp(x: Fixed, low: int = -VALUE_LIMIT, high: int = VALUE_LIMIT) -> Fixed:
    """Limit in place."""
    return np.clip(x, low, high, out=x)


def as_floats(latents: Latents) -> NDArray[np.float32]:
    """Latents [N, M] as numbers, for the networks. They take the place of the integers, which are gone."""
    floats = latents.view(np.float32)
    for start in range(0, len(latents), 1024):
        part = slice(start, start + 1024)
        # One rounding, of the integer; halving it some times is exact.
        np.multiply(latents[part].astype(np.float32), math.ldexp(1.0, -LATENT_BITS), out=floats[part])
    return floats


def to_fixed(x: NDArray[Any], bits: int, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Round floats to integers with `bits` fractional bits.

    Raises:
        OverflowError: a value does not fit the integer type.
    """
    scaled = np.rint(np.asarray(x, np.float64) * math.ldexp(1.0, bits))
    info = np.iinfo(dtype)
    if scaled.size and not (info.min <= scaled.min() and scaled.max() <= info.max):
        raise OverflowError(
            f"{np.abs(x).max():.3g} does not fit {np.dtype(dtype)} with {bits} fractional bits"
        )
    return scaled.astype(dtype)


@dataclass(frozen=True)
class Layer:
    """Integer matrix product, bias, shift with rounding, clamp.

    The shift is in the weights and biases: multiples of 2^-12 are as exact as integers, so long as 2^12 times them, and
    2^12 times their sums, are below 2^53.

    Attributes:
        weight: [inputs, outputs], as numbers.
        bias: [outputs], in units of a value, with the half that rounding adds.
    """

    weight: Fixed
    bias: Fixed

    @classmethod
    def of(cls, weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
        """
        Args:
            weight: [outputs, inputs], integers of 12 fractional bits.
            bias: [outputs], integers of 22.
        """
        unit = math.ldexp(1.0, -WEIGHT_BITS)
        numbers = weight.T.astype(np.float64, order="C") * unit
        return cls(numbers, bias.astype(np.float64) * unit + 0.5)

    def __call__(self, x: Fixed, low: int) -> Fixed:
        """[T, inputs] values -> [T, outputs] values in low..VALUE_LIMIT."""
        total = x @ self.weight
        total += self.bias
        return clamp(np.floor(total, out=total), low)
