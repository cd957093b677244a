"""The whole model: what the encoder and the decoder run. `ssic.train.dense` computes the same for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssic.model.config import QUALITIES, ModelConfig
from ssic.model.weights import Weights
from ssic.nets.entropy_model import BlockIndex, EntropyModel
from ssic.nets.layers import PLAIN, Layers, LevelIndex, WindowIndex
from ssic.nets.transform import Analysis, Synthesis
from ssic.plan import Plan, Windows


@dataclass(frozen=True)
class PlanTensors:
    """A `Plan` on a device."""

    quality: Tensor
    index: BlockIndex
    fine: LevelIndex
    coarse: LevelIndex

    @classmethod
    def of(
        cls,
        plan: Plan,
        quality: Tensor,
        pair_quality: Tensor,
        device: torch.device | str = "cpu",
        *,
        local: bool = False,
    ) -> PlanTensors:
        """
        Args:
            quality: [N] int64, 1 to 100.
            pair_quality: [P] int64, 1 to 100.
            local: find the neighbours that a network of `ModelConfig.local` mixes.
        """

        def put(array: Tensor | NDArray[Any]) -> Tensor:
            return torch.as_tensor(array).to(device, non_blocking=True)

        def windows(pair: tuple[Windows, Windows]) -> list[WindowIndex]:
            return [WindowIndex(put(w.gather), put(w.key), put(w.scatter)) for w in pair]

        index = BlockIndex(
            pair=put(plan.pair),
            members=put(plan.members),
            pair_count=put(plan.pair_count),
            pair_quality=put(pair_quality),
            cell_position=put(plan.cell_position),
            neighbours=put(plan.neighbours),
            earlier=put(plan.earlier),
        )
        fine = LevelIndex(windows(plan.fine), put(plan.fine_neighbours) if local else None)
        coarse = LevelIndex(windows(plan.coarse), index.neighbours if local else None)
        return cls(put(quality), index, fine, coarse)


class Network(nn.Module):
    """Analysis, entropy model and synthesis."""

    def __init__(self, config: ModelConfig, layers: Layers = PLAIN) -> None:
        """
        Args:
            layers: what to build it of; plain ones by default.
        """
        super().__init__()
        self.config = config
        self.analysis = Analysis(config, layers)
        self.entropy = EntropyModel(config, layers)
        self.synthesis = Synthesis(config, layers)

    @classmethod
    def of(cls, weights: Weights, layers: Layers = PLAIN) -> Network:
        """The float networks of a weights file, in float32, to be run and not trained. Types and shapes were checked
        when it was read."""
        network = cls(weights.config, layers)
        network.load_state_dict(
            {k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.floats.items()}
        )
        return network.eval().requires_grad_(False)

    def trade_off(self, quality: Tensor) -> Tensor:
        """lambda of each quality, in bits per pixel per unit of MSE on the 0..255 scale."""
        low, high = self.config.lambda_range
        return low * (high / low) ** ((quality.float() - 1) / (QUALITIES - 1))

    def analyse(
        self, x: Tensor, quality: Tensor, members: Tensor, count: Tensor, fine: LevelIndex, coarse: LevelIndex
    ) -> tuple[Tensor, Tensor]:
        """Pixels to latents and hyper-latents, both before rounding.

        Args:
            x: [N, 4, 192] in [-0.5, 0.5].
            quality: [N] integers 1 to 100.
            members: [P, 16] blocks of each (cell, group) pair, N for none.
            count: [P] how many they are.

        Returns:
            y [N, M], gain applied, and z [P, Z].
        """
        y = self.gained(self.analysis(x, self.entropy.spread, quality, fine, coarse), quality)
        return y, self.hyper(y, quality, members, count)

    def gained(self, y: Tensor, quality: Tensor) -> Tensor:
        """What analysis gives [N, M], quality [N] -> y in quantisation steps."""
        return y * self.entropy.gains().index_select(0, quality - 1)

    def hyper(self, y: Tensor, quality: Tensor, members: Tensor, count: Tensor) -> Tensor:
        """y [N, M], gain applied, and the blocks of each pair -> z [P, Z]."""
        return self.entropy.hyper_analysis(self.normalised(y, quality), quality, members, count)

    def normalised(self, y: Tensor, quality: Tensor) -> Tensor:
        """y [N, M] in quantisation steps -> of unit spread, about."""
        return y / self.entropy.reference().index_select(0, quality - 1)

    def dequantised(self, y: Tensor, quality: Tensor) -> Tensor:
        """y [N, M] in quantisation steps -> the latents that synthesis starts from."""
        return y * self.entropy.dequantiser().index_select(0, quality - 1)

    def synthesise(self, y: Tensor, quality: Tensor, fine: LevelIndex, coarse: LevelIndex) -> Tensor:
        """Decoded latents [N, M], quality [N] integers 1 to 100 -> pixels [N, 4, 192], about -0.5 to 0.5."""
        return self.synthesis(
            self.dequantised(y, quality), self.normalised(y, quality), quality, fine, coarse
        )
