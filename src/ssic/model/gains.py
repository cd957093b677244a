"""Gains, the reference scale and the dequantiser: how a quality from 1 to 100 scales the latents.

This is the one place that says so. Every function is made of operators alone, so that the same lines serve NumPy
arrays (freezing, the integer twin) and torch tensors (the networks, where gradients flow through them).

With ``q`` a quality, ``c`` a channel of the latent and ``B`` the basis (`quality_basis`)::

    log2_gain[q, c]   = (B @ gain)[q, c] - log2_step[q]
    gain[q, c]        = 2 ** log2_gain[q, c]               y is multiplied with it before rounding
    reference[q, c]   = sqrt((gain[q, c] * spread[c]) ** 2 + 0.04)
    dequantiser[q, c] = 2 ** ((B @ inverse_gain)[q, c] - log2_gain[q, c])
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import QUALITIES
from ssic.plan import CELL

Values = TypeVar("Values", NDArray[np.floating[Any]], Any)
"""A NumPy array or a torch tensor; what comes back is of the same kind."""

FLOOR = 0.2
"""The reference is never smaller: below, all latents are zero anyway."""


def quality_basis(anchors: int) -> NDArray[np.float32]:
    """[100, anchors] weight of each knot at each quality (row `quality - 1`): linear interpolation between knots that
    lie evenly from quality 1 to 100."""
    position = np.arange(QUALITIES)[:, None] * ((anchors - 1) / (QUALITIES - 1))
    return np.maximum(1 - np.abs(position - np.arange(anchors)), 0).astype(np.float32)


def log2_step(lambda_range: tuple[float, float]) -> NDArray[np.float32]:
    """[100, 1] log2 of the quantisation step of each quality, where pixels go from 0 to 1.

    The step that minimises D + R / lambda for a fine uniform quantiser of an orthonormal transform:
    lambda * 255^2 / 3 = 6 / (ln 2 * step^2), so step = sqrt(26 / lambda) / 255. lambda is log-linear in quality.
    """
    first, last = (0.5 * math.log2(26.0 / value) - math.log2(255.0) for value in lambda_range)
    return np.linspace(first, last, QUALITIES, dtype=np.float32)[:, None]


def quality_table(basis: Values, knots: Values) -> Values:
    """basis [100, anchors], knots [anchors, C] -> [100, C], row `quality - 1`."""
    return basis @ knots


def log2_gain(table: Values, step: Values) -> Values:
    """table [100, M] of the gain's knots, step [100, 1] of `log2_step` -> [100, M]."""
    return table - step


def gain(log2_gain: Values) -> Values:
    """What `y` is multiplied with before it is rounded, [100, M]."""
    return 2.0**log2_gain


def reference(gain: Values, spread: Values) -> Values:
    """Expected spread of the rounded latents, [100, M], never below `FLOOR`: the unit of everything that the entropy
    model's nets see and say, so that they need not learn each quality's range anew.

    Args:
        gain: [100, M].
        spread: [M] standard deviation of each latent before gain.
    """
    return ((gain * spread) ** 2 + FLOOR**2) ** 0.5


def hyper_precision(count: Values) -> Values:
    """What a hyper-latent is multiplied with before rounding, by how many blocks it serves (1 to 16): the finer the
    more."""
    return (count / CELL**2) ** 0.5


def dequantiser(inverse: Values, log2_gain: Values) -> Values:
    """What a decoded latent is multiplied with to give `y_hat`, [100, M].

    Args:
        inverse: [100, M] table of the inverse gain's knots.
    """
    return 2.0 ** (inverse - log2_gain)
