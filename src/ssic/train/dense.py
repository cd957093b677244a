"""A network on whole crops, with static shapes: what training runs.

The parameters are those of a `ssic.nets.network.Network`, and so is what is computed; only tokens lie on grids here,
and groups are masks rather than lists. Nothing waits for the device, so that a whole step can be captured into a graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ssic.entropy.fixedpoint import GAIN_BITS, SCALE_BITS
from ssic.model import gains
from ssic.model.config import QUALITIES, RANGE, VALUE_NEIGHBOURS
from ssic.nets.network import Network
from ssic.plan import CELL, PHASES, WINDOW
from ssic.train import pieces
from ssic.train.gathers import look_up, one_hot
from ssic.train.grids import EarlierCells, Layout, Sight

PIECES = {
    "block": ("block",),
    "ends": ("enter_analysis", "merge", "leave_analysis", "enter_synthesis", "split", "leave_synthesis"),
    "bits": ("rate", "round_through", "choose"),
    "context": ("neighbourhood", "predict"),
    "hyper": ("hyper_analysis", "hyper_synthesis"),
}
"""What is compiled together, in the order of gain: names of functions in `ssic.train.pieces`."""

CONTEXT_ROUNDS = 5
"""Rounds in which training finds the context that a decoder would have; slices times phases of them are exact.

With one, what latents look like before they are coded leaks into the means: free of charge, and of no use to files.
Training finds that out. docs/training-log.md has what is left after five.
"""


@dataclass(frozen=True)
class Estimate:
    """What one forward pass gives.

    Attributes:
        pixels: [B, h, w, 4, 192] reconstruction.
        y_bits: [B, h, w] estimated bits of each block's latents.
        z_bits: [B, h, w] estimated bits of each (cell, group) pair's hyper-latent, at the pair's first block.
    """

    pixels: Tensor
    y_bits: Tensor
    z_bits: Tensor


def _layer(module: Any) -> pieces.Layer:
    return module.weight, module.bias


class Dense:
    """Runs a network on crops.

    Attributes:
        trade_offs: [100] lambda of each quality.
    """

    def __init__(
        self,
        network: Network,
        dtype: torch.dtype,
        step_worth: float | None = None,
        twin: Mapping[str, Tensor] | None = None,
    ) -> None:
        """
        Args:
            network: where its parameters are, everything is computed.
            dtype: precision of matrix products.
            step_worth: let symbols be chosen as the encoder does, which gives this many bits for an error of one
                step, squared, rather than rounded. No gradient reaches what comes before them then.
            twin: integers of the model whose symbols are chosen, by name: with a context of hyper-latents, they are
                expected to be what the cells around let expect.
        """
        self.network, self.config, self.dtype = network, network.config, dtype
        self.step_worth = step_worth
        self.device = network.entropy.spread.device
        self._context: tuple[Tensor, Tensor] | None = None
        if twin is not None and "z_gain" in twin:
            gain, seen = (twin[name].to(self.device).float() for name in ("z_gain", "z_seen"))
            self._context = gain / 2**GAIN_BITS, seen / 2**SCALE_BITS
        self.functions = SimpleNamespace()
        for names in PIECES.values():
            for name in names:
                setattr(self.functions, name, getattr(pieces, name))
        a, e, s = network.analysis, network.entropy, network.synthesis
        self._tables = {
            "gain": e.gain,
            "inverse": e.inverse_gain,
            "analysis_fine": a.quality_fine,
            "analysis_coarse": a.quality_coarse,
            "hyper_analysis": e.analyse_quality,
            "z_mean": e.z_mean,
            "z_scale": e.z_scale,
            "features": e.features_quality,
            "synthesis_coarse": s.quality_coarse,
            "synthesis_fine": s.quality_fine,
        }
        blocks: list[Any] = [*a.blocks_fine, *a.blocks_coarse, *s.blocks_coarse, *s.blocks_fine]
        self._attentive = [block for block in blocks if block.shape.shift is not None]
        side = torch.arange(WINDOW, device=self.device)
        row, column = side.repeat_interleave(WINDOW), side.repeat(WINDOW)
        across = 2 * WINDOW - 1
        self._relative = (row[:, None] - row + WINDOW - 1) * across + column[:, None] - column + WINDOW - 1
        self._relative_hot = one_hot(self._relative, across**2)
        self._layouts: dict[tuple[int, int], Layout] = {}
        self.trade_offs = network.trade_off(torch.arange(1, QUALITIES + 1, device=self.device))

    def compile(self, piece: str, **how: Any) -> None:
        """Let torch.compile make a piece of `PIECES`, when it is first run."""
        for name in PIECES[piece]:
            setattr(self.functions, name, torch.compile(getattr(pieces, name), dynamic=False, **how))

    def uncompile(self, piece: str) -> None:
        """Run a piece as it is written."""
        for name in PIECES[piece]:
            setattr(self.functions, name, getattr(pieces, name))

    def _layout(self, h: int, w: int) -> Layout:
        if (h, w) not in self._layouts:
            self._layouts[h, w] = Layout(h, w, self.device)
        return self._layouts[h, w]

    def _quality_tables(self) -> dict[str, Tensor]:
        """[100, channels] of all that depends on the quality."""
        e = self.network.entropy
        weights = torch.cat([table.weight for table in self._tables.values()], 1)
        # A sum and no product of matrices: that would be rounded to TF32 on a GPU.
        together = (e.gain.basis[:, :, None] * weights).sum(1)
        widths = [table.weight.shape[1] for table in self._tables.values()]
        found = dict(zip(self._tables, together.split(widths, 1), strict=True))
        log2_gain = gains.log2_gain(found["gain"], e.log2_step)
        gain = gains.gain(log2_gain)
        return found | {
            "gain": gain,
            "reference": gains.reference(gain, e.spread),
            "dequantiser": gains.dequantiser(found["inverse"], log2_gain),
        }

    def _biases(self) -> dict[nn.Module, Tensor]:
        """Block with attention -> [heads, 64, 64] learned bias of each relative position."""
        if not self._attentive:
            return {}
        table = torch.cat([block.position for block in self._attentive], 1)
        together = look_up(table, self._relative, self._relative_hot).permute(2, 0, 1).contiguous()
        parts = together.split([block.heads for block in self._attentive])
        return dict(zip(self._attentive, parts, strict=True))

    def _stage(
        self,
        blocks: nn.ModuleList,
        x: Tensor,
        hidden: Sequence[Tensor],
        near: Tensor,
        biases: dict[nn.Module, Tensor],
    ) -> Tensor:
        for block in blocks:
            m: Any = block
            local = None if m.local is None else (m.local, near)
            attention, shift = None, m.shape.shift
            if shift is not None:
                layers = _layer(m.norm1), _layer(m.qkv), _layer(m.proj)
                attention = pieces.Attention(hidden[shift > 0], biases[m], *layers, shift)
            dictionary, d = None, m.dictionary
            if d is not None:
                layers = _layer(d.norm), _layer(d.query), _layer(d.proj)
                dictionary = pieces.Dictionary(d.keys, d.values, *layers, d.heads)
            forward = pieces.Forward(_layer(m.norm2), _layer(m.up), _layer(m.down), m.shape.gated)
            x = self.functions.block(x, local, attention, dictionary, forward, self.dtype)
        return x

    def __call__(self, x: Tensor, ids: Tensor, quality: Tensor, *, exact: bool) -> Estimate:
        """
        Args:
            x: [B, h, w, 4, 192] in [-0.5, 0.5].
            ids: [B, h, w] int64, group of each block, 0 to 254.
            quality: [B, h, w] int64, 1 to 100, the same for all blocks of a group.
            exact: give symbols exactly the context that decoders have, and estimate the rate of these symbols. Training
                has `CONTEXT_ROUNDS`, and the rate of uniformly perturbed latents, unless symbols are chosen.
        """
        f, dtype, a, s = self.functions, self.dtype, self.network.analysis, self.network.synthesis
        sight = Sight.of(ids, self._layout(*ids.shape[1:]))
        index, hot = quality - 1, one_hot(quality - 1, QUALITIES)
        tables, biases = self._quality_tables(), self._biases()
        of = {name: look_up(table, index, hot) for name, table in tables.items() if name != "inverse"}

        t = f.enter_analysis(x, _layer(a.embed), of["analysis_fine"], dtype)
        t = self._stage(a.blocks_fine, t, sight.fine, sight.near, biases)
        t = f.merge(t, _layer(a.norm_fine), _layer(a.merge), of["analysis_coarse"], dtype)
        t = self._stage(a.blocks_coarse, t, sight.coarse, sight.same, biases)
        y = f.leave_analysis(
            *(t, x, _layer(a.norm_coarse), _layer(a.head), a.bypass.weight),
            *(self.network.entropy.spread, of["gain"], dtype),
        )
        y_hat, y_bits, z_bits = self._entropy(y, of, sight, ids, exact)
        normalised = y_hat / of["reference"]
        t = f.enter_synthesis(normalised, _layer(s.embed), of["synthesis_coarse"], dtype)
        t = self._stage(s.blocks_coarse, t, sight.coarse, sight.same, biases)
        t = f.split(t, _layer(s.norm_coarse), _layer(s.split), of["synthesis_fine"], dtype)
        t = self._stage(s.blocks_fine, t, sight.fine, sight.near, biases)
        dequantised = y_hat * of["dequantiser"]
        pixels = f.leave_synthesis(
            t, dequantised, _layer(s.norm_fine), _layer(s.head), s.bypass.weight, dtype
        )
        return Estimate(pixels, y_bits, z_bits)

    def _entropy(
        self, y: Tensor, of: dict[str, Tensor], sight: Sight, ids: Tensor, exact: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y [B, h, w, M] -> y as decoded, bits of y and of z."""
        e, f, dtype = self.network.entropy, self.functions, self.dtype
        precision = gains.hyper_precision((sight.count + 1).float())[..., None]
        z = f.hyper_analysis(
            *(y / of["reference"], of["hyper_analysis"], sight.pairs, sight.number, precision),
            *((_layer(e.analyse1), _layer(e.analyse2), _layer(e.analyse3)), dtype),
        )
        z_mean, z_scale = of["z_mean"], of["z_scale"] + look_up(e.z_count, sight.count, sight.count_hot)
        if self.step_worth is not None:
            if self._context is not None:
                z_mean, z_scale = self._in_context(z, z_mean, z_scale, precision, EarlierCells.of(ids))
            z = f.choose(z, z_mean, z_scale, self.step_worth)
        h, w = y.shape[1:3]
        position = e.position.view(CELL, CELL, -1).repeat(-(-h // CELL), -(-w // CELL), 1)[:h, :w]
        features = f.hyper_synthesis(
            *(z, z_mean, precision, of["features"], position),
            *((_layer(e.features1), _layer(e.features2)), dtype),
        )
        # What the decoder will have seen depends on the means, which depend on it: rounds of iteration.
        with torch.no_grad():
            seen = y.round()
            for _ in range(len(self.config.slices) * PHASES if exact else CONTEXT_ROUNDS):
                mean, scale = self._predict(features, seen, of["reference"], sight)
                seen = self._decoded(y, mean, scale)
        # Once more, with gradients.
        mean, scale = self._predict(features, self._decoded(y, mean, scale), of["reference"], sight)
        decoded = self._decoded(y, mean, scale)
        y_noise, z_noise = None, None
        if self.step_worth is not None:
            y = decoded
        elif not exact:
            y_noise, z_noise = torch.rand_like(y), torch.rand_like(z)
        y_bits = f.rate(y, mean, scale, y_noise)
        z_bits = f.rate(z, z_mean, z_scale, z_noise) * sight.first
        return decoded, y_bits, z_bits

    @torch.no_grad()
    def _in_context(
        self, z: Tensor, alone: Tensor, log2_scale: Tensor, precision: Tensor, cells: EarlierCells
    ) -> tuple[Tensor, Tensor]:
        """Mean and log2 scale of hyper-latents [B, h, w, Z], as they are in coding order.

        Args:
            alone, log2_scale: where nothing is known of other pairs.
        """
        assert self._context is not None
        assert self.step_worth is not None
        (gain, seen), (b, h, w, channels) = self._context, z.shape
        scale, gain = log2_scale + seen[cells.kind], gain[cells.kind] * precision
        at = cells.block[..., None].expand(-1, -1, channels)
        mean = alone
        for _ in range(PHASES - 1):  # after each, one phase more has the mean that it will have
            off = (self.functions.choose(z, mean, scale, self.step_worth) - alone) / precision
            near = off.view(b, h * w, channels).gather(1, at).view(b, h, w, 8, channels)
            mean = alone + gain * (near * cells.there[..., None]).sum(3)
        return mean, scale

    def _decoded(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Latents as a decoder has them."""
        f = self.functions
        if self.step_worth is None:
            rounded: Tensor = f.round_through(y, mean)
            return rounded
        chosen: Tensor = f.choose(y, mean, scale, self.step_worth)
        return chosen

    def _predict(
        self, features: Tensor, rounded: Tensor, reference: Tensor, sight: Sight
    ) -> tuple[Tensor, Tensor]:
        """Mean and log2 scale of all latents, [B, h, w, M] each, given all as decoded."""
        f, dtype, slices = self.functions, self.dtype, self.config.slices
        b, h, w, m = rounded.shape
        layout = self._layout(h, w)
        values = (rounded / reference).clamp(-RANGE, RANGE).view(b, h * w, m)
        seen = sum(slices[:VALUE_NEIGHBOURS])
        same, earlier = (mask.view(b, h * w, 8) for mask in (sight.same, sight.earlier))
        near, own, sums = f.neighbourhood(
            values, same, earlier, layout.index, layout.back, slices[0], seen, dtype
        )
        always = [features.view(b, h * w, -1).to(dtype)]
        values, earlier, sums, near = values.to(dtype), earlier.to(dtype), sums.to(dtype), near.flatten(2)
        means, scales = [], []
        for module in self.network.entropy.slices:
            net: Any = module
            start, stop = net.start, net.stop
            around = (
                own[..., start:stop].flatten(2) if stop <= seen else sums[..., start - seen : stop - seen]
            )
            parts = [*always, values[..., :start], earlier, around, *([near] if net.k else [])]
            layers = (_layer(net.layer1), _layer(net.layer2), _layer(net.layer3))
            mean, scale = f.predict(torch.cat(parts, -1), layers, dtype).view(b, h, w, -1).chunk(2, -1)
            means.append(mean)
            scales.append(scale)
        return torch.cat(means, -1) * reference, torch.cat(scales, -1) + torch.log2(reference)
