"""What is expected of the hyper-latents of a plan, with gradients, as the twin expects it of integers.

The context of `ModelConfig.hyper_context` is fitted when a model is exported, and lies in the integer twin only
(`ssic.entropy.twin.Twin.hyper_prior`): no network has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssic.entropy.fixedpoint import GAIN_BITS, SCALE_BITS
from ssic.entropy.twin import context_kinds
from ssic.model.gains import hyper_precision
from ssic.nets.layers import padded_with_zeros
from ssic.plan import PHASES, Plan


class HyperPrior:
    """Mean and scale of the hyper-latents of one plan, of P pairs.

    Attributes:
        log2_scale: [P, Z].
    """

    def __init__(self, mean: Tensor, log2_scale: Tensor) -> None:
        """
        Args:
            mean, log2_scale: [P, Z] where nothing is known of other pairs.
        """
        self._alone = mean
        self.log2_scale = log2_scale

    def mean(self, z: Tensor) -> Tensor:
        """[P, Z], given hyper-latents as decoders have them."""
        return self._alone

    def rounded(self, z: Tensor) -> Tensor:
        """[P, Z] hyper-latents -> what decoders have of them, if each is coded by its nearest symbol."""
        return (z - self._alone).round() + self._alone


class ContextHyperPrior(HyperPrior):
    """The same with the pairs of the cells around that have been decoded."""

    def __init__(
        self, mean: Tensor, log2_scale: Tensor, twin: Mapping[str, NDArray[Any]], plan: Plan
    ) -> None:
        """
        Args:
            mean, log2_scale: see `HyperPrior`.
            twin: integer tensors of a model with `ModelConfig.hyper_context`.
            plan: of the pairs.
        """

        def put(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(mean)

        kind, earlier = context_kinds(plan, np.arange(len(plan.pair_count)))
        super().__init__(mean, log2_scale + put(twin["z_seen"][kind] / 2**SCALE_BITS))
        self._earlier = torch.from_numpy(earlier).to(mean.device)
        self._precision = put(hyper_precision(plan.pair_count.astype(np.float64)))[:, None]
        self._gain = put(twin["z_gain"][kind] / 2**GAIN_BITS) * self._precision

    def mean(self, z: Tensor) -> Tensor:
        """See `HyperPrior`."""
        # In the unit that they would have with 16 blocks.
        off = padded_with_zeros((z - self._alone) / self._precision)
        around = off[self._earlier.flatten()].unflatten(0, self._earlier.shape).sum(1)
        return self._alone + self._gain * around

    def rounded(self, z: Tensor) -> Tensor:
        """See `HyperPrior`."""
        mean = self._alone
        for _ in range(PHASES - 1):  # after each, one phase more has the mean that it will have
            mean = self.mean((z - mean).round() + mean)
        return (z - mean).round() + mean
