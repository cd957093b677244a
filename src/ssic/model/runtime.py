"""The float networks as the codec runs them: NumPy in, NumPy out, any number of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ssic.errors import InvalidInput, ModelError
from ssic.model.layers import TokenLinear
from ssic.model.network import Network, PlanTensors
from ssic.model.weights import Weights
from ssic.plan import Plan

Precision = Literal["auto", "float32", "bfloat16"]


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if native() else torch.float32


def find_precision(name: Precision, device: torch.device) -> torch.dtype:
    """
    Raises:
        InvalidInput: there is no such precision.
    """
    if name == "auto":
        return fast_precision(device)
    if name not in ("float32", "bfloat16"):
        raise InvalidInput(f"precision is auto, float32 or bfloat16, not {name!r}")
    return torch.float32 if name == "float32" else torch.bfloat16


def usable_device(name: str) -> torch.device:
    """
    Raises:
        InvalidInput: torch knows no such device, or it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        raise InvalidInput(f"device {name} can't be used: {str(e).splitlines()[0][:120]}") from e
    return device


class Transforms:
    """Analysis and synthesis with given weights. Floats here decide pixels, never how bytes are read."""

    def __init__(self, weights: Weights, device: str = "cpu", precision: Precision = "auto") -> None:
        self.device = usable_device(device)
        self.dtype = find_precision(precision, self.device)
        network = Network(weights.config)
        state = {k: torch.from_numpy(np.array(v, np.float32)) for k, v in weights.floats.items()}
        try:
            missing, unexpected = network.load_state_dict(state, strict=False)
        except RuntimeError as e:
            raise ModelError(f"weights do not fit their own configuration: {e}") from e
        if missing or unexpected:
            raise ModelError(
                f"weights do not fit their own configuration: missing {missing}, unexpected {unexpected}"
            )
        network.eval().requires_grad_(False)
        if self.dtype != torch.float32:
            for name, module in network.named_modules():
                if isinstance(module, TokenLinear) and "bypass" not in name:
                    module.to(self.dtype)
        self.network = network.to(self.device)
        entropy = network.entropy
        self._gain = torch.exp2(entropy.log2_gain())
        self._reference = entropy.reference()
        self._dequantiser = entropy.dequantiser()

    def _plan(self, plan: Plan, quality: Mapping[int, int]) -> PlanTensors:
        of_blocks, of_pairs = plan.of_blocks(quality), plan.of_pairs(quality)
        return PlanTensors.of(
            plan,
            torch.from_numpy(of_blocks),
            torch.from_numpy(of_pairs),
            self.device,
            local=self.network.config.local,
        )

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def analyse(
        self, blocks: NDArray[np.uint8], plan: Plan, quality: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """blocks [N, 4, 192] of the plan -> latents y [N, M], gain applied, and hyper-latents z [P, Z]."""
        with torch.inference_mode(), self._autocast():
            tensors = self._plan(plan, quality)
            x = torch.from_numpy(blocks).to(self.device).float().div_(255).sub_(0.5)
            row, entropy = tensors.quality - 1, self.network.entropy
            y = self.network.analysis(x, entropy.spread, tensors.quality, tensors.fine, tensors.coarse)
            y *= self._gain[row]
            z = entropy.hyper_analysis(y / self._reference[row], tensors.quality, tensors.index)
            return y.cpu().numpy(), z.cpu().numpy()

    def synthesise(
        self, latents: NDArray[np.floating[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> blocks [N, 4, 192]."""
        with torch.inference_mode(), self._autocast():
            tensors = self._plan(plan, quality)
            y = torch.from_numpy(latents.astype(np.float32)).to(self.device)
            row = tensors.quality - 1
            pixels = self.network.synthesis(
                y * self._dequantiser[row],
                y / self._reference[row],
                tensors.quality,
                tensors.fine,
                tensors.coarse,
            )
            return pixels.add_(0.5).mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
