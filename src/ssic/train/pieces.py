"""The networks of `ssic.nets` on whole crops, in pieces: functions of tensors, each of which can be compiled alone.

Residual streams and latents are float32; matrix products run in `dtype`. A layer is its (weight, bias).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssic.model.config import RANGE
from ssic.nets.entropy_model import bits
from ssic.plan import NEIGHBOURS, WINDOW
from ssic.train.gathers import around
from ssic.train.grids import cells, from_cells, from_windows, windows

Layer = tuple[Tensor, Tensor]

SLOTS = WINDOW**2


def linear(x: Tensor, layer: Layer, dtype: torch.dtype) -> Tensor:
    """[..., inputs] -> [..., outputs] in `dtype`."""
    return F.linear(x.to(dtype), layer[0].to(dtype), layer[1].to(dtype))


def norm(x: Tensor, layer: Layer) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *layer)


def round_through(x: Tensor, centre: Tensor) -> Tensor:
    """x rounded to whole steps from the centre; the gradient of x is one, that of the centre zero."""
    d = x - centre
    return d + (d.round() - d).detach() + centre


# -- transforms --------------------------------------------------------------------------------------------------


class Attention(NamedTuple):
    """Of a transformer block.

    Attributes:
        hidden: [windows, 1, 64, 64] bool, what is not seen.
        bias: [heads, 64, 64] of relative positions.
        shift: of the windows, in tokens.
    """

    hidden: Tensor
    bias: Tensor
    norm: Layer
    qkv: Layer
    proj: Layer
    shift: int


class Dictionary(NamedTuple):
    """Of a transformer block: keys and values [entries, C]."""

    keys: Tensor
    values: Tensor
    norm: Layer
    query: Layer
    proj: Layer
    heads: int


class Forward(NamedTuple):
    """The feed-forward of a transformer block; if it is gated, the second half of what `up` gives are gates."""

    norm: Layer
    up: Layer
    down: Layer
    gated: bool


def block(
    x: Tensor,
    local: tuple[Tensor, Tensor] | None,
    attention: Attention | None,
    dictionary: Dictionary | None,
    forward: Forward,
    dtype: torch.dtype,
) -> Tensor:
    """`ssic.nets.layers.GISwinBlock`.

    Args:
        x: [B, H, W, C].
        local: weights [9, C] of local mixing, and which neighbours count, [B, H, W, 8] bool.
    """
    if local is not None:
        x = x + _mixed(x, *local)
    if attention is not None:
        x = x + _attended(x, attention, dtype)
    if dictionary is not None:
        x = x + _recalled(x, dictionary, dtype)
    inner = linear(norm(x, forward.norm), forward.up, dtype)
    if forward.gated:
        value, gate = inner.chunk(2, -1)
        inner = F.gelu(value) * gate
    else:
        inner = F.gelu(inner)
    return x + linear(inner, forward.down, dtype).float()


def _attended(x: Tensor, attention: Attention, dtype: torch.dtype) -> Tensor:
    heads, c, shift = len(attention.bias), x.shape[3], attention.shift
    slots = windows(linear(norm(x, attention.norm), attention.qkv, dtype), shift)
    q, k, v = slots.view(-1, SLOTS, 3, heads, c // heads).permute(2, 0, 3, 1, 4).unbind(0)
    # Written out: its gradients are faster on a CPU than those of PyTorch's fused attention, and it compiles as well.
    scores = (q @ k.transpose(-1, -2)).float() * (c // heads) ** -0.5 + attention.bias
    weights = torch.softmax(scores.masked_fill(attention.hidden, float("-inf")), -1).to(dtype)
    seen = (weights @ v).transpose(1, 2).reshape(-1, SLOTS, c)
    return linear(from_windows(seen, x.shape, shift), attention.proj, dtype).float()


def _recalled(x: Tensor, dictionary: Dictionary, dtype: torch.dtype) -> Tensor:
    queries = linear(norm(x, dictionary.norm), dictionary.query, dtype)
    q, k, v = (
        t.to(dtype).view(-1, dictionary.heads, x.shape[3] // dictionary.heads).transpose(0, 1)
        for t in (queries, dictionary.keys, dictionary.values)
    )
    scores = (q @ k.transpose(1, 2)).float() * q.shape[2] ** -0.5
    found = torch.softmax(scores, -1).to(dtype) @ v
    return linear(found.transpose(0, 1).reshape(x.shape), dictionary.proj, dtype).float()


def _mixed(x: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    h, w = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    out = x * weight[4]
    for i, (dy, dx) in enumerate(NEIGHBOURS):
        piece = padded[:, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
        out = torch.addcmul(out, piece * mask[..., i : i + 1], weight[i if i < 4 else i + 1])
    return out


def _to_fine(x: Tensor) -> Tensor:
    """[B, h, w, 4, C], the four patches of a block in raster order -> [B, 2h, 2w, C]."""
    b, h, w, _, c = x.shape
    return x.view(b, h, w, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c)


def _to_blocks(x: Tensor) -> Tensor:
    """The inverse."""
    b, h, w, c = x.shape
    return x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4, c)


def enter_analysis(x: Tensor, embed: Layer, quality: Tensor, dtype: torch.dtype) -> Tensor:
    """x [B, h, w, 4, 192], quality [B, h, w, C] -> fine tokens [B, 2h, 2w, C]."""
    return _to_fine(linear(x, embed, dtype).float() + quality[:, :, :, None])


def merge(x: Tensor, fine: Layer, layer: Layer, quality: Tensor, dtype: torch.dtype) -> Tensor:
    """Fine tokens [B, 2h, 2w, C] -> coarse ones."""
    return linear(_to_blocks(norm(x, fine)).flatten(3), layer, dtype).float() + quality


def leave_analysis(
    t: Tensor,
    x: Tensor,
    coarse: Layer,
    head: Layer,
    bypass: Tensor,
    spread: Tensor,
    gain: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Coarse tokens t and pixels x -> latents [B, h, w, M], gain applied."""
    deep = linear(norm(t, coarse), head, dtype).float() * spread
    # Full precision where it counts: a bf16 mean colour would cost 57 dB.
    return (deep + F.linear(x.flatten(3), bypass)) * gain


def enter_synthesis(normalised: Tensor, embed: Layer, quality: Tensor, dtype: torch.dtype) -> Tensor:
    """Latents in their reference unit [B, h, w, M] -> coarse tokens [B, h, w, C]."""
    return linear(normalised, embed, dtype).float() + quality


def split(t: Tensor, coarse: Layer, layer: Layer, quality: Tensor, dtype: torch.dtype) -> Tensor:
    """Coarse tokens -> fine ones [B, 2h, 2w, C]."""
    t = linear(norm(t, coarse), layer, dtype).float()
    return _to_fine(t.view(*t.shape[:3], 4, -1) + quality[:, :, :, None])


def leave_synthesis(
    t: Tensor, y: Tensor, fine: Layer, head: Layer, bypass: Tensor, dtype: torch.dtype
) -> Tensor:
    """Fine tokens t and dequantised latents y -> pixels [B, h, w, 4, 192]."""
    deep = _to_blocks(linear(norm(t, fine), head, dtype).float())
    return deep + F.linear(y, bypass).view(deep.shape)


# -- entropy model -----------------------------------------------------------------------------------------------


def hyper_analysis(
    normalised: Tensor,
    quality: Tensor,
    pairs: Tensor,
    number: Tensor,
    precision: Tensor,
    layers: tuple[Layer, Layer, Layer],
    dtype: torch.dtype,
) -> Tensor:
    """-> z [B, h, w, Z] before rounding: each block has its pair's."""
    x = F.gelu(linear(normalised, layers[0], dtype).float() + quality)
    x = F.gelu(linear(x, layers[1], dtype)).float()
    pooled = from_cells(pairs @ cells(x) / number, *x.shape[:3])
    return linear(pooled, layers[2], dtype).float() * precision


def hyper_synthesis(
    z: Tensor,
    mean: Tensor,
    precision: Tensor,
    quality: Tensor,
    position: Tensor,
    layers: tuple[Layer, Layer],
    dtype: torch.dtype,
) -> Tensor:
    """z before rounding [B, h, w, Z] -> features [B, h, w, F] of the rounded ones."""
    x = (round_through(z, mean) / precision).clamp(-RANGE, RANGE)
    x = linear(x, layers[0], dtype).clamp(0, RANGE)
    x = linear(x, layers[1], dtype).clamp(-RANGE, RANGE).float()
    return (x + quality + position).clamp(0, RANGE)


def neighbourhood(
    values: Tensor,
    same: Tensor,
    earlier: Tensor,
    index: Tensor,
    back: Tensor,
    first: int,
    seen: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """What the nets of all slices see of the neighbours.

    Args:
        values: [B, T, M] decoded latents in their reference unit.
        same, earlier: [B, T, 8] bool.
        first: channels of slice 0.
        seen: channels of the slices whose neighbours are seen value by value.

    Returns:
        slice 0 of all neighbours [B, T, 8, first]; the seen channels of earlier ones [B, T, 8, seen]; sums of
        magnitudes of the channels after those [B, T, M - seen].
    """
    near = around(values[..., :first].to(dtype), index, back, same)
    own = around(values[..., :seen].to(dtype), index, back, earlier)
    with torch.no_grad():
        size = F.pad(values[..., seen:].abs(), (0, 0, 0, 1))
        total = torch.zeros_like(size[:, :-1])
        for i in range(8):
            one = size.index_select(1, index.view(-1, 8)[:, i])
            total = torch.addcmul(total, one, earlier[..., i : i + 1].to(one.dtype))
        total = (total / 4).clamp(max=RANGE)
    return near, own, total


def predict(x: Tensor, layers: tuple[Layer, Layer, Layer], dtype: torch.dtype) -> Tensor:
    """Inputs of a slice's net [B, T, inputs] -> mean and log2 scale [B, T, 2 channels], relative to the reference."""
    x = linear(x, layers[0], dtype).clamp(0, RANGE)
    x = linear(x, layers[1], dtype).clamp(0, RANGE)
    return linear(x, layers[2], dtype).float().clamp(-RANGE, RANGE)


def choose(x: Tensor, centre: Tensor, log2_scale: Tensor, step_worth: float) -> Tensor:
    """x in whole steps from the centre, as `ssic.entropy.coder` chooses them; without gradients.

    Each is the nearest, or its neighbour towards zero where that saves more bits than the distortion is worth. Bits
    are those of a Gaussian here, not of the coder's tables.
    """
    with torch.no_grad():
        d = x - centre
        nearest = d.round()
        smaller = nearest - nearest.sign()
        saved = bits(nearest, log2_scale) - bits(smaller, log2_scale)
        worse = (d - smaller).square() - (d - nearest).square()
        return torch.where(saved > step_worth * worse, smaller, nearest) + centre


def rate(value: Tensor, mean: Tensor, log2_scale: Tensor, noise: Tensor | None) -> Tensor:
    """[..., C] -> [...] estimated bits: with noise, uniform in [0, 1), of perturbed values, else of rounded ones."""
    d = value - mean
    return bits(d.round() if noise is None else d + (noise - 0.5), log2_scale).sum(-1)
