"""Group-independent building blocks.

All work on token lists, [N, C]; what a token may see is decided by index arrays from `ssic.plan` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssic.model.config import QUALITIES
from ssic.plan import WINDOW

PIECE = 512
"""Tokens that inference multiplies at a time."""

TOKENS_AT_ONCE = 1 << 14
"""Tokens whose neighbours are summed up at a time: bounds memory, nothing else."""

WINDOWS_AT_ONCE = 64
"""Windows whose attention inference computes at a time: bounds memory, nothing else."""

WindowIndex = tuple[Tensor, Tensor, Tensor]
"""`gather` [W, 64], `key` [W, 64] and `scatter` [N] of `ssic.plan.Windows`, as tensors."""


class LevelIndex(NamedTuple):
    """Who sees whom at one resolution: plain and shifted windows, and, for networks that mix them, `neighbours` [N, 8]
    (N for none)."""

    windows: Sequence[WindowIndex]
    neighbours: Tensor | None


class _IntoWindows(torch.autograd.Function):
    """Token list [N, C] -> window slots [W * 64, C].

    Every token has exactly one slot, so the gradient is a gather as well: much faster than autograd's scatter-add.
    Empty slots repeat token 0, but nothing sees them, so their gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        return x.index_select(0, gather.reshape(-1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _OutOfWindows(torch.autograd.Function):
    """Window slots [W * 64, C] -> token list [N, C]; inverse of `_IntoWindows`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        ctx.slots = len(x)
        return x.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.new_zeros(ctx.slots, grad.shape[1]).index_copy_(0, ctx.saved_tensors[0], grad), None


class _Depthwise(torch.autograd.Function):
    """x [N, C], weight [9, C], neighbours [N, 8] (N for none) -> sum over a token and its neighbours of the same
    group, each weighed by its offset.

    Being a neighbour is mutual, and the offsets are listed so that i and 7 - i are opposite: so the gradient is the
    same sum with the weights turned around, again by gathering.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, neighbours)
        return _around(x, weight, neighbours)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, neighbours = ctx.saved_tensors
        padded = F.pad(x, (0, 0, 0, 1))
        parts = [(padded.index_select(0, neighbours[:, i]) * grad).sum(0) for i in range(8)]
        parts.insert(4, (x * grad).sum(0))
        return _around(grad, weight.flip(0), neighbours), torch.stack(parts).to(weight.dtype), None


def _around(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    padded = F.pad(x, (0, 0, 0, 1))
    out = x * weight[4]
    for start in range(0, len(x), TOKENS_AT_ONCE):  # bounds memory; each token's sum has one order anyway
        part = slice(start, start + TOKENS_AT_ONCE)
        for i in range(8):
            out[part].addcmul_(padded.index_select(0, neighbours[part, i]), weight[i if i < 4 else i + 1])
    return out


class QualityTable(nn.Module):
    """A vector per quality 1..100, piecewise linear between a few learned knots."""

    basis: Tensor

    def __init__(self, anchors: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(anchors, channels))
        position = torch.linspace(0, anchors - 1, QUALITIES)
        basis = (1 - (position[:, None] - torch.arange(anchors)).abs()).clamp(min=0)
        self.register_buffer("basis", basis, persistent=False)

    def table(self) -> Tensor:
        """[100, channels] in float32; row `quality - 1`."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.basis @ self.weight

    def forward(self, quality: Tensor) -> Tensor:
        """[N] int64 qualities 1..100 -> [N, channels]."""
        return self.table()[quality - 1]


def by_piece(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply what acts on each token alone to the list in pieces, whose intermediate results stay in the cache."""
    return torch.cat([function(piece) for piece in x.split(PIECE)]) if len(x) > PIECE else function(x)


class TokenLinear(nn.Linear):
    """A linear map of each token that gives, to the last bit, the same whatever other tokens are in the list.

    A matrix product picks its kernel by its size, and kernels round differently. So inference cuts the list into
    pieces of one fixed size; that also bounds its memory. Training does not care.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        if self.training:
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(-1, self.in_features)
        n = len(rows)
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else self.weight.dtype
        out = rows.new_empty(n, self.out_features, dtype=dtype)
        for start in range(0, n, PIECE):
            piece = rows[start : start + PIECE]
            missing = PIECE - len(piece)
            if missing:
                piece = F.pad(piece, (0, 0, 0, missing))
            out[start : start + PIECE] = F.linear(piece, self.weight, self.bias)[: PIECE - missing]
        return out.view(*x.shape[:-1], self.out_features)


class GISwinBlock(nn.Module):
    """Window attention in which a token attends to tokens of its own group only, then an MLP per token.

    The group-independent Swin block of Feng et al., ICCV 2023, with a boolean mask made from unique keys: what is
    masked has weight exactly zero.
    """

    relative: Tensor

    def __init__(self, width: int, head_width: int, mlp_ratio: int, local: bool) -> None:
        super().__init__()
        self.local = nn.Parameter(torch.zeros(9, width)) if local else None
        self.heads = width // head_width
        self.norm1 = nn.LayerNorm(width)
        self.qkv = TokenLinear(width, 3 * width)
        self.proj = TokenLinear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = TokenLinear(width, mlp_ratio * width)
        self.down = TokenLinear(mlp_ratio * width, width)
        self.position = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, self.heads))
        at = torch.arange(WINDOW)
        row, column = at.repeat_interleave(WINDOW), at.repeat(WINDOW)
        relative = (
            (row[:, None] - row + WINDOW - 1) * (2 * WINDOW - 1) + column[:, None] - column + WINDOW - 1
        )
        self.register_buffer("relative", relative, persistent=False)
        # The residual branches start silent: at first the codec is its linear bypass.
        for layer in (self.proj, self.down):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def bias(self) -> Tensor:
        """[1, heads, 64, 64] learned bias of each relative position."""
        return self.position[self.relative].permute(2, 0, 1)[None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key: Tensor) -> Tensor:
        """[W, heads, 64, head_width] each, keys [W, 64] -> [W * 64, width]."""
        if not self.training and len(key) > WINDOWS_AT_ONCE:
            parts = (t.split(WINDOWS_AT_ONCE) for t in (q, k, v, key))
            return torch.cat([self.attend(*part) for part in zip(*parts, strict=True)])
        visible = key[:, None, :, None] == key[:, None, None, :]
        bias = self.bias().to(q.dtype).masked_fill(~visible, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return out.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[3])

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Window slots [W * 64, 3 * width] -> queries, keys, values, [W, heads, 64, head_width] each."""
        parts = qkv.view(-1, WINDOW**2, 3, self.heads, qkv.shape[1] // (3 * self.heads)).permute(
            2, 0, 3, 1, 4
        )
        return parts[0], parts[1], parts[2]

    def project(self, x: Tensor) -> Tensor:
        """[N, width] -> [N, 3 * width]."""
        return self.qkv(self.norm1(x))

    def mlp(self, x: Tensor) -> Tensor:
        """[N, width] -> [N, width]."""
        return self.down(F.gelu(self.up(self.norm2(x))))

    def forward(self, x: Tensor, windows: WindowIndex, neighbours: Tensor | None) -> Tensor:
        """[N, width] -> [N, width]."""
        gather, key, scatter = windows
        if self.local is not None:
            assert neighbours is not None, "the plan was made for a network without local mixing"
            x = x + _Depthwise.apply(x, self.local.to(x.dtype), neighbours)
        qkv = self.project(x) if self.training else by_piece(self.project, x)
        q, k, v = self.split(_IntoWindows.apply(qkv, gather, scatter))
        x = x + self.proj(_OutOfWindows.apply(self.attend(q, k, v, key), scatter))
        return x + (self.mlp(x) if self.training else by_piece(self.mlp, x))
