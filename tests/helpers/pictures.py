"""Pictures of noise and waves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def natural_picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture with edges, gradients, texture and noise: enough to exercise every scale of the codec."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 64.0
    layers = [
        np.sin(2 * np.pi * (rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y) + rng.uniform(0, 7))
        for _ in range(9)
    ]
    field = np.stack([sum(layers[c::3]) for c in range(3)], axis=2)  # type: ignore[arg-type]
    field += 1.5 * ((x + y * rng.uniform(0.2, 2)) % 1 > 0.5)[..., None] * rng.uniform(-1, 1, 3)
    field += 0.15 * rng.standard_normal(field.shape)
    return (128 + 40 * field).clip(0, 255).astype(np.uint8)
