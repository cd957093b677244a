"""Muon: momentum whose matrices are made orthogonal before they are applied.

K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024); learning rates scaled as in
J. Liu et al., *Muon is scalable for LLM training*, arXiv 2502.16982. `torch.optim.Muon` does the same, but multiplies
in bfloat16 always, which takes nine tenths of a training step on processors without it, and one matrix at a time,
which leaves a GPU idle. This one takes the precision as an option and all matrices of one shape together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the odd quintic polynomial that, applied five times, takes all singular values near 1 (Jordan et al.)."""

STEPS = 5


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
        lr: learning rate, on the scale of AdamW's: updates have the same root mean square as its usual ones.
        momentum: of the running mean of gradients, applied as Nesterov's.
        weight_decay: decoupled, relative to `lr`.
        dtype: precision of the Newton-Schulz iteration.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients."""
        assert closure is None, "this optimiser evaluates no closure"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, matrices in by_shape.items():
                self._step(group, shape, matrices)

    def _step(self, group: dict[str, Any], shape: torch.Size, matrices: list[Tensor]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        means = [self.state[p]["momentum_buffer"] for p in matrices]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        updates = orthogonalise(torch.stack(list(ahead)), self.dtype).to(matrices[0].dtype).unbind()
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, updates, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)
