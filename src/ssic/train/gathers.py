"""Looking things up, where the gradient is no scatter.

Autograd adds up the gradients of a look-up row by row, one after another where they fall on the same row; with one
quality for most of a picture, that is nearly all of them. Here a table gets its gradient from a matrix product with the
one-hot rows of the index, and what is taken from neighbours from taking it back in the opposite direction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PARTS = 64
"""One-hot products have few rows and a long sum: it is cut into so many, that a whole GPU has work."""


def one_hot(index: Tensor, size: int) -> Tensor:
    """index [...] from 0 -> float32 [N, size]."""
    return (index.reshape(-1, 1) == torch.arange(size, device=index.device)).float()


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, hot: Tensor) -> Tensor:
        ctx.save_for_backward(hot)
        return table.index_select(0, index.reshape(-1)).view(*index.shape, table.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (hot,) = ctx.saved_tensors
        n, k = hot.shape
        parts = PARTS if grad.is_cuda and n % PARTS == 0 else 1
        hot = hot.view(parts, n // parts, k)
        return (hot.mT @ grad.reshape(parts, n // parts, -1)).sum(0), None, None


def look_up(table: Tensor, index: Tensor, hot: Tensor) -> Tensor:
    """table [K, C], index [...] from 0, its `one_hot` rows [N, K] -> table[index], [..., C]."""
    found: Tensor = _Lookup.apply(table, index, hot)
    return found


class _Around(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, back: Tensor, mask: Tensor) -> Tensor:
        b, t, c = values.shape
        mask = mask[..., None].to(values.dtype)
        ctx.save_for_backward(back, mask)
        return F.pad(values, (0, 0, 0, 1)).index_select(1, index).view(b, t, 8, c) * mask

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        back, mask = ctx.saved_tensors
        b, t, _, c = grad.shape
        grad = F.pad((grad * mask).view(b, 8 * t, c), (0, 0, 0, 1))
        summed = grad.index_select(1, back).view(b, t, 8, c).sum(2, dtype=torch.float32)
        return summed.to(grad.dtype), None, None, None


def around(values: Tensor, index: Tensor, back: Tensor, mask: Tensor) -> Tensor:
    """The eight neighbours of each token of a crop, zero where the mask hides them.

    Args:
        values: [B, T, C].
        index: [8 T] the neighbours' tokens, in the order of `ssic.plan.NEIGHBOURS`, T for none.
        back: [8 T] where among all neighbours the token itself is one of its neighbour's, 8 T for nowhere.
        mask: [B, T, 8] bool.

    Returns:
        [B, T, 8, C].
    """
    found: Tensor = _Around.apply(values, index, back, mask)
    return found
