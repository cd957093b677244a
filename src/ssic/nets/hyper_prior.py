"""What is expected of the hyper-latents of a plan, as a tensor function: as the twin expects it of integers.

The context of `ModelConfig.hyper_context` is fitted when a model is exported, and lies in the integer twin only
(`ssic.entropy.twin.Twin.hyper_prior`): no network has it.
"""

from __future__ import annotations

from torch import Tensor

from ssic.nets.layers import padded_with_zeros
from ssic.plan import PHASES


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
        self,
        mean: Tensor,
        log2_scale: Tensor,
        gain: Tensor,
        log2_seen: Tensor,
        earlier: Tensor,
        precision: Tensor,
    ) -> None:
        """
        Args:
            mean, log2_scale: see `HyperPrior`.
            gain, log2_seen: [P, Z] how far the earlier pairs count, and what they add to the scale.
            earlier: [P, 8] which they are, see `Plan.earlier_pairs`.
            precision: [P, 1] see `EntropyModel.hyper_precision`.
        """
        super().__init__(mean, log2_scale + log2_seen)
        self._earlier, self._precision = earlier, precision
        self._gain = gain * precision

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
