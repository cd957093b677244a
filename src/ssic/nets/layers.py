"""Group-independent building blocks.

All work on token lists, [N, C]; what a token may see is decided by index arrays from `ssic.plan` alone. They are
pure functions of tensors: in which pieces, on how many threads and at which precision they run is the business of
those who run them (`ssic.engine`, `ssic.train`), who may put layers of their own in place of these (`Layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssic.model import gains
from ssic.model.config import BlockShape
from ssic.plan import WINDOW


class WindowIndex(NamedTuple):
    """`ssic.plan.Windows` as tensors: gather [W, 64], key [W, 64], scatter [N]."""

    gather: Tensor
    key: Tensor
    scatter: Tensor


class LevelIndex(NamedTuple):
    """Who sees whom at one resolution: plain and shifted windows, and, for networks that mix them, `neighbours` [N, 8]
    (N for none)."""

    windows: Sequence[WindowIndex]
    neighbours: Tensor | None


class _IntoWindows(torch.autograd.Function):
    """The gradient of `into_windows`, which is a gather as well: every token has exactly one slot. That is much faster
    than autograd's scatter-add. Empty slots repeat token 0, but nothing sees them, so their gradient is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        return x.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _OutOfWindows(torch.autograd.Function):
    """The gradient of `out_of_windows`: each token's goes into its slot."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        ctx.slots = len(x)
        return x.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.new_zeros(ctx.slots, grad.shape[1]).index_copy_(0, ctx.saved_tensors[0], grad), None


class _MixedLocally(torch.autograd.Function):
    """The gradient of `mixed_locally`. Being a neighbour is mutual, and the offsets are listed so that i and 7 - i are
    opposite: so it is the same sum with the weights turned around, again by gathering."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, neighbours)
        return _around(x, weight, neighbours)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, neighbours = ctx.saved_tensors
        of_x = _around(grad, weight.flip(0), neighbours)
        if not ctx.needs_input_grad[1]:
            return of_x, None, None
        padded = padded_with_zeros(x)
        parts = [(padded.index_select(0, neighbours[:, i]) * grad).sum(0) for i in range(8)]
        parts.insert(4, (x * grad).sum(0))
        return of_x, torch.stack(parts).to(weight.dtype), None


def padded_with_zeros(x: Tensor) -> Tensor:
    """[N, C] -> [N + 1, C], the last row zero: what index N, 'none', finds."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def _around(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    return _weighed(x, padded_with_zeros(x), weight, neighbours)


def _weighed(own: Tensor, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    """Tokens [n, C] and their neighbours in a list x [T, C], positions [n, 8], weighed by their offsets [9, C]."""
    out = own * weight[4]
    for i in range(8):
        out = torch.addcmul(out, x.index_select(0, neighbours[:, i]), weight[i if i < 4 else i + 1])
    return out


# Where a gradient is asked for, it is the written one; elsewhere the plain operation, which can be exported.


def into_windows(x: Tensor, index: WindowIndex) -> Tensor:
    """Token list [N, C] -> window slots [W * 64, C]."""
    gather = index.gather.reshape(-1)
    return _IntoWindows.apply(x, gather, index.scatter) if x.requires_grad else x.index_select(0, gather)


def out_of_windows(x: Tensor, index: WindowIndex) -> Tensor:
    """Window slots [W * 64, C] -> token list [N, C]."""
    return _OutOfWindows.apply(x, index.scatter) if x.requires_grad else x.index_select(0, index.scatter)


def mixed_locally(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    """x [N, C], weight [9, C], neighbours [N, 8] (N for none) -> [N, C], the sum over a token and its neighbours of the
    same group, each weighed by its offset: a depthwise 3x3 convolution that takes other groups for zero."""
    if x.requires_grad or weight.requires_grad:
        return _MixedLocally.apply(x, weight, neighbours)
    return _around(x, weight, neighbours)


class QualityTable(nn.Module):
    """A vector per quality 1..100, piecewise linear between a few learned knots."""

    basis: Tensor

    def __init__(self, anchors: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(anchors, channels))
        self.register_buffer("basis", torch.from_numpy(gains.quality_basis(anchors)), persistent=False)

    def table(self) -> Tensor:
        """[100, channels] in float32; row `quality - 1`."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return gains.quality_table(self.basis, self.weight)

    def forward(self, quality: Tensor) -> Tensor:
        """[N] integer qualities 1..100 -> [N, channels]."""
        return self.table().index_select(0, quality - 1)


class Dictionary(nn.Module):
    """Attention of each token to learned entries: what was common in training is at hand, and no token sees another."""

    def __init__(self, shape: BlockShape, linear: Callable[[int, int], nn.Linear]) -> None:
        super().__init__()
        self.heads, self.scale = shape.heads, shape.head_width**-0.5
        self.norm = nn.LayerNorm(shape.width)
        self.query = linear(shape.width, shape.width)
        self.keys = nn.Parameter(torch.randn(shape.entries, shape.width))
        self.values = nn.Parameter(torch.randn(shape.entries, shape.width))
        self.proj = linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] -> [N, width]."""

        def heads(t: Tensor) -> Tensor:
            return t.reshape(-1, self.heads, x.shape[1] // self.heads).transpose(0, 1)

        q, k, v = heads(self.query(self.norm(x))), heads(self.keys), heads(self.values)
        found = torch.softmax(q @ k.transpose(1, 2) * self.scale, -1) @ v
        return self.proj(found.transpose(0, 1).reshape(x.shape))


class GISwinBlock(nn.Module):
    """Window attention in which a token attends to tokens of its own group only, then a feed-forward per token.

    The group-independent Swin block of Feng et al., ICCV 2023, with a boolean mask made from unique keys: what is
    masked has weight exactly zero. Blocks may mix neighbours before it, may be without attention, and may look
    into a dictionary.
    """

    relative: Tensor

    def __init__(
        self,
        shape: BlockShape,
        linear: Callable[[int, int], nn.Linear] = nn.Linear,
    ) -> None:
        """
        Args:
            linear: makes the linear maps of tokens.
        """
        super().__init__()
        width = shape.width
        self.shape = shape
        self.local = nn.Parameter(torch.zeros(9, width)) if shape.local else None
        self.width, self.heads = width, shape.heads
        self.scale = shape.head_width**-0.5
        if shape.shift is not None:
            self.norm1 = nn.LayerNorm(width)
            self.qkv = linear(width, 3 * width)
            self.proj = linear(width, width)
        self.dictionary = Dictionary(shape, linear) if shape.entries else None
        self.norm2 = nn.LayerNorm(width)
        self.up = linear(width, shape.hidden * (1 + shape.gated))
        self.down = linear(shape.hidden, width)
        # The residual branches start silent: at first the codec is its linear bypass.
        silent = [self.down]
        if shape.shift is not None:
            self.position = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, self.heads))
            at = torch.arange(WINDOW, dtype=torch.int32)
            row, column = at.repeat_interleave(WINDOW), at.repeat(WINDOW)
            across = 2 * WINDOW - 1
            relative = (row[:, None] - row + WINDOW - 1) * across + column[:, None] - column + WINDOW - 1
            self.register_buffer("relative", relative.reshape(-1), persistent=False)
            silent.append(self.proj)
        if self.dictionary is not None:
            silent.append(self.dictionary.proj)
        for layer in silent:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def bias(self) -> Tensor:
        """[1, heads, 64, 64] learned bias of each relative position."""
        table = self.position.index_select(0, self.relative)
        return table.reshape(1, WINDOW**2, WINDOW**2, self.heads).permute(0, 3, 1, 2)

    def attend(self, qkv: Tensor, key: Tensor) -> Tensor:
        """Queries, keys and values of window slots [W * 64, 3 * width], the slots' keys [W, 64] -> [W * 64, width]."""
        shape = (-1, WINDOW**2, 3, self.heads, self.width // self.heads)
        q, k, v = qkv.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        visible = key[:, None, :, None] == key[:, None, None, :]
        # -inf where nothing is to be seen, and exactly 0 elsewhere: the same for all blocks with these windows.
        mask = torch.zeros(1, dtype=q.dtype, device=q.device).masked_fill(~visible, float("-inf"))
        bias = self.bias().to(q.dtype) + mask
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        return out.transpose(1, 2).reshape(-1, self.width)

    def project(self, x: Tensor) -> Tensor:
        """[N, width] -> queries, keys and values [N, 3 * width]."""
        return self.qkv(self.norm1(x))

    def mlp(self, x: Tensor) -> Tensor:
        """[N, width] -> [N, width]."""
        hidden = self.up(self.norm2(x))
        if self.shape.gated:
            value, gate = hidden.split(self.shape.hidden, -1)
            return self.down(F.gelu(value) * gate)
        return self.down(F.gelu(hidden))

    def forward(self, x: Tensor, level: LevelIndex) -> Tensor:
        """[N, width] -> [N, width]."""
        if self.local is not None:
            assert level.neighbours is not None, "the plan was made for a network without local mixing"
            x = x + mixed_locally(x, self.local.to(x.dtype), level.neighbours)
        shift = self.shape.shift
        return self._after_mixing(x, None if shift is None else level.windows[shift > 0])

    def _after_mixing(self, x: Tensor, windows: WindowIndex | None) -> Tensor:
        """[N, width] -> [N, width], all but the neighbours; windows for a block with attention."""
        if windows is not None:
            attended = self.attend(into_windows(self.project(x), windows), windows.key)
            x = x + self.proj(out_of_windows(attended, windows))
        return self.alone(x)

    def alone(self, x: Tensor) -> Tensor:
        """[N, width] -> [N, width], what each token does by itself: all after attention."""
        if self.dictionary is not None:
            x = x + self.dictionary(x)
        return x + self.mlp(x)

    def piece(self, x: Tensor, own: Tensor, windows: WindowIndex | None, neighbours: Tensor | None) -> Tensor:
        """Some tokens of a larger list: those of some windows, or, without attention, any.

        Args:
            x: [T, width], the first of them zero.
            own: [n] position in x of each of the tokens.
            windows: over these, counted in `own`; None for a block without attention.
            neighbours: [n, 8] positions in x, 0 for none; None for a block without local mixing.

        Returns:
            [n, width]
        """
        t = x.index_select(0, own)
        if self.local is not None:
            assert neighbours is not None, "the piece was made for a network without local mixing"
            t = t + _weighed(t, x, self.local.to(x.dtype), neighbours)
        return self._after_mixing(t, windows)


class Layers(NamedTuple):
    """What a network is built of.

    Attributes:
        linear: makes a linear map of tokens, (inputs, outputs, bias=True).
        block: makes a transformer block, with the arguments of `GISwinBlock`.
    """

    linear: Callable[..., nn.Linear] = nn.Linear
    block: Callable[..., GISwinBlock] = GISwinBlock


PLAIN = Layers()
