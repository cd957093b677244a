"""Muon: momentum whose matrices are made orthogonal before they are applied.

K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024); learning rates scaled as in
J. Liu et al., *Muon is scalable for LLM training*, arXiv 2502.16982. `torch.optim.Muon` does the same, but multiplies
in bfloat16 always, which takes nine tenths of a training step on processors without it, and one matrix at a time,
which leaves a GPU idle. This one takes the precision as an option and many matrices together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the odd quintic polynomial that, applied five times, takes all singular values near 1 (Jordan et al.)."""

STEPS = 5

TILE = 128
"""Matrices whose shorter sides take as many tiles are multiplied together on a GPU."""


def orthogonalise(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Nearly U V^T for x = U S V^T, by Newton-Schulz iteration; [B, rows, columns] -> the same in `dtype`."""
    a, b, c = COEFFICIENTS
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).to(dtype)
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices [rows, columns] only.

    Args:
        params: the matrices.
        lr: learning rate, on the scale of AdamW's: updates have the same root mean square as its usual ones. A number
            or, so that it can change between replays of a graph, a tensor of no dimensions.
        momentum: of the running mean of gradients, applied as Nesterov's.
        weight_decay: decoupled, relative to `lr`.
        dtype: precision of the Newton-Schulz iteration.
        fill: fill matrices of similar shapes up with zeros, which change nothing, to one batch: fewer launches for
            more arithmetic, which is for GPUs. Else matrices of one shape are a batch.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype = torch.bfloat16,
        fill: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype, self.fill = dtype, fill
        self._scales: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients; parameters without one stay as they are."""
        assert closure is None, "this optimiser evaluates no closure"
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            if matrices:
                self._step(group, matrices)

    def _step(self, group: dict[str, Any], matrices: list[Tensor]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        means = [self.state[p]["momentum_buffer"] for p in matrices]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(matrices, self._updates(list(ahead), group["lr"]))

    def _updates(self, matrices: list[Tensor], rate: float | Tensor) -> list[Tensor]:
        """Each made orthogonal, and scaled to the root mean square that AdamW's updates have, times the rate."""
        batches: dict[Any, list[int]] = {}
        for i, matrix in enumerate(matrices):
            sides = min(matrix.shape), max(matrix.shape)
            batches.setdefault(-(-sides[0] // TILE) if self.fill else sides, []).append(i)
        done: list[Tensor] = [torch.empty(0)] * len(matrices)
        for numbers in batches.values():
            wide = [matrices[i].to(self.dtype) for i in numbers]
            wide = [x.mT if x.shape[0] > x.shape[1] else x for x in wide]
            if self.fill:
                rows, columns = (max(x.shape[side] for x in wide) for side in (0, 1))
                wide = [F.pad(x, (0, columns - x.shape[1], 0, rows - x.shape[0])) for x in wide]
            together = orthogonalise(torch.stack(wide), self.dtype).to(matrices[0].dtype)
            together.mul_(self._scale([max(matrices[i].shape) for i in numbers], together.device) * rate)
            for i, x in zip(numbers, together.unbind(), strict=True):
                r, c = matrices[i].shape
                done[i] = x[:c, :r].mT if r > c else x[:r, :c]
        return done

    def _scale(self, sides: list[int], device: torch.device) -> Tensor:
        """[matrices, 1, 1] of a batch; kept, as a graph can't hold what is copied from the host."""
        key = tuple(sides)
        if key not in self._scales:
            values = [0.2 * side**0.5 for side in sides]
            self._scales[key] = torch.tensor(values, device=device)[:, None, None]
        return self._scales[key]
