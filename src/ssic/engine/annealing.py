"""Refining a group's latents at the encoder: more time for fewer bytes, with the same decoder.

The analysis transform gives good latents at once; better ones are found by gradient descent on what counts, rate plus
lambda times distortion. That rounding has no gradient is met by stochastic Gumbel annealing (Yang, Bamler and Mandt,
2020): each latent is drawn towards its floor or its ceiling at random, with a temperature that falls until the latents
lie near integers (relative to the mean that the entropy model predicts for them, which moves as they move; each
iteration takes the means that the one before has found).

A group is refined on a plan of its own, with noise that depends on nothing but the seed, so its latents do not depend
on other groups. What comes out is judged by the real coder and the real synthesis, and replaces what was there only
if it is better: refining never loses.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssic.engine.base import Engine
from ssic.engine.task import WHOLE, Refined, Schedule, Task
from ssic.engine.threads import one_blas_thread
from ssic.engine.torch import Calls, TorchEngine, cast_products, fast_precision
from ssic.entropy.coder import LatentCoder
from ssic.entropy.fixedpoint import GAIN_BITS, LATENT_BITS, SCALE_BITS, Fixed
from ssic.entropy.twin import context_kinds
from ssic.model.weights import Weights
from ssic.nets.entropy_model import BlockIndex, EntropyModel, bits
from ssic.nets.hyper_prior import ContextHyperPrior, HyperPrior
from ssic.nets.layers import GISwinBlock, Layers
from ssic.nets.network import Network, PlanTensors
from ssic.plan import CELL, WINDOW, Plan, make_plan

START, FALL = 0.5, 2.0
"""The temperature goes from START down to START * exp(-FALL)."""

WARM_UP, LAST = 4, 0.3
"""Iterations in which the rate grows to its full size, and the share of it that is left at the end."""

BETAS = (0.8, 0.99)
"""How long Adam averages gradients and their squares: shorter than for thousands of iterations."""

HYPER_RATE = 0.5
"""Rate of the hyper-latents over that of the latents."""

WORTHS = (1.0, 2.5, 8.0)
"""How much an error is worth when refined latents are rounded; the best is taken. They have been moved to where their
bits are worth it, so most often hardly any choice is left to the coder."""

TILE = 32
"""Blocks on a side of the squares in which large groups are refined."""

MARGIN = CELL
"""Blocks around a square that are looked at with it, and kept as they were."""


class _GradientBlock(GISwinBlock):
    """A block that is run many times over the same windows, with gradients of its input alone.

    Attention is written out as products and a softmax, as PyTorch's fused kernels have slow gradients on processors and
    random ones on GPUs.
    """

    def attend(self, qkv: Tensor, key: Tensor) -> Tensor:
        """See `GISwinBlock.attend`."""
        qkv = qkv.reshape(-1, WINDOW**2, 3, self.heads, self.width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = (part.flatten(0, 1) for part in qkv)
        if self not in _biases.of_block:
            _biases.of_block[self] = self._masked_bias(key, q.dtype)
        with torch.autocast(q.device.type, enabled=False):  # it would make float32 of the softmax
            scores = torch.baddbmm(_biases.of_block[self], q, k.transpose(1, 2), alpha=self.scale)
            out = torch.softmax(scores, -1) @ v
        out = out.reshape(-1, self.heads, WINDOW**2, self.width // self.heads)
        return out.transpose(1, 2).reshape(-1, self.width)

    def _masked_bias(self, key: Tensor, dtype: torch.dtype) -> Tensor:
        """[W * heads, 64, 64]: bias of positions, -inf for what is not to be seen."""
        hidden = (key[:, None, :, None] != key[:, None, None, :]).expand(-1, self.heads, -1, -1)
        return self.bias().to(dtype).masked_fill(hidden, float("-inf")).flatten(0, 1)


class _Biases(threading.local):
    """Masked biases of the windows that a thread is refining, by block: they stay the same from one iteration to the
    next."""

    def __init__(self) -> None:
        self.of_block: dict[_GradientBlock, Tensor] = {}


_biases = _Biases()


@contextmanager
def _same_windows() -> Iterator[None]:
    """Context in which a thread runs blocks over the same windows again and again."""
    try:
        yield
    finally:
        _biases.of_block.clear()


class AnnealingRefiner:
    """A `Refiner` by stochastic Gumbel annealing. Has no state between calls."""

    def __init__(self, weights: Weights, coder: LatentCoder, engine: Engine) -> None:
        """
        Args:
            weights: of the networks.
            coder: writes the substreams.
            engine: runs the synthesis that distortion is measured with; gradients are computed on its device.
        """
        self.coder, self.engine = coder, engine
        self.device = engine.device if isinstance(engine, TorchEngine) else torch.device("cpu")
        # One thread of PyTorch's per group: they would wait for each other at every operation, which beside other
        # processes costs a multiple; and so results don't depend on how many there are.
        self._calls = Calls(1 if self.device.type == "cpu" else None, nullcontext)
        network = Network.of(weights, Layers(block=_GradientBlock))
        cast_products(network.synthesis, fast_precision(self.device))  # once, and not in every iteration
        self.network = network.to(self.device)
        self._reference = self.network.entropy.reference()
        self._twin = weights.twin

    def refine(
        self,
        task: Task,
        schedule: Schedule,
        seed: int = 0,
        step: Callable[[int], bool] = lambda blocks: True,
    ) -> Refined:
        """See `ssic.engine.task.Refiner`."""
        y, z = task.y.copy(), task.z.copy()
        best = self._judged(task, y, z, self.coder.step_worth)
        before, after = best[0], best[0]
        candidates = []
        for part in _parts(task.plan):
            finished = y.copy(), z.copy()
            going = self._calls.whole(self._descend, task, part, schedule, seed, step, y, z)
            if not going:
                candidates.append(finished)
                break
        candidates.append((y, z))
        for latents, hyper in candidates:
            for worth in WORTHS:
                judged = self._judged(task, latents, hyper, worth * self.coder.step_worth)
                if judged[0] < after:
                    best, after = judged, judged[0]
        return Refined(_floats(best[1]), _floats(best[2]), before, after)

    def _judged(
        self, task: Task, y: NDArray[np.float32], z: NDArray[np.float32], worth: float
    ) -> tuple[float, Fixed, Fixed]:
        """-> bits + lambda * squared error, for real, and the latents and hyper-latents that decoders get."""
        quality = dict.fromkeys(np.unique(task.plan.group).tolist(), task.quality)
        with one_blas_thread():
            coded = self.coder.encode(task.plan, quality, y, z, step_worth=worth)
        pixels = self.engine.synthesise(coded.latents / 2**LATENT_BITS, task.plan, quality)
        wrong = np.where(task.inside, pixels.astype(np.int32) - task.blocks, 0)
        squared = float(np.einsum("ijk,ijk->", wrong, wrong, dtype=np.int64))
        rate = 8 * sum(map(len, coded.by_group.values()))
        return rate + self._trade_off(task.quality) * squared / 3, coded.latents, coded.hyper_latents

    def _trade_off(self, quality: int) -> float:
        return float(self.network.trade_off(torch.tensor(quality)))

    def _descend(
        self,
        task: Task,
        part: _Part,
        schedule: Schedule,
        seed: int,
        step: Callable[[int], bool],
        y: NDArray[np.float32],
        z: NDArray[np.float32],
    ) -> bool:
        """Refine one part, in place; False if `step` ended it early."""
        entropy, device = self.network.entropy, self.device

        def put(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device)

        count, pairs = len(part.plan), len(part.plan.pair_count)
        quality, pair_quality = (torch.full((n,), task.quality) for n in (count, pairs))
        tensors = PlanTensors.of(part.plan, quality, pair_quality, device, local=self.network.config.local)
        index = tensors.index
        pixels = put(task.blocks[part.blocks]).float() / 255 - 0.5
        inside = put(task.inside[part.blocks]).float()
        reference = self._reference[task.quality - 1].expand(count, -1)
        trade_off = self._trade_off(task.quality) * 255**2 / 3
        latents, hyper = (put(v).requires_grad_(True) for v in (y[part.blocks], z[part.pairs]))
        optimiser = torch.optim.Adam(
            [
                {"params": [latents], "lr": schedule.rate},
                {"params": [hyper], "lr": HYPER_RATE * schedule.rate},
            ],
            betas=BETAS,
        )
        rates = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_share_of_rate, schedule.iterations))
        generator = torch.Generator(device).manual_seed(seed)
        half = fast_precision(device) == torch.bfloat16
        prior = hyper_prior(entropy, self._twin, part.plan, index)

        def hard_mean(old: Tensor) -> Tensor:
            """The means that a decoder would have, from hard symbols around the means so far."""
            with torch.no_grad():
                features = entropy.hyper_synthesis(prior.rounded(hyper), tensors.quality, index)
                return entropy.predict(features, (latents - old).round() + old, reference, index)[0]

        # Twice: the first is from latents rounded around zero.
        mean = hard_mean(hard_mean(torch.zeros_like(latents)))
        z_mean = prior.mean(prior.rounded(hyper)).detach()
        going = True
        with _same_windows():
            for i in range(schedule.iterations):
                temperature = START * math.exp(-FALL * i / schedule.iterations)
                z_hat = _relaxed(hyper - z_mean, temperature, schedule.noise, generator) + z_mean
                y_hat = _relaxed(latents - mean, temperature, schedule.noise, generator) + mean
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    features = entropy.hyper_synthesis(z_hat, tensors.quality, index)
                    centre, scale = entropy.predict(features, y_hat, reference, index)
                    decoded = self.network.synthesise(y_hat, tensors.quality, tensors.fine, tensors.coarse)
                z_centre = prior.mean(z_hat)
                rate = bits(y_hat - centre, scale).sum() + bits(z_hat - z_centre, prior.log2_scale).sum()
                wrong = (decoded - pixels) * inside
                optimiser.zero_grad()
                (rate + trade_off * wrong.square().sum()).backward()
                optimiser.step()
                rates.step()
                mean, z_mean = centre.detach(), z_centre.detach()
                going = step(part.kept)
                if not going:
                    break
        y[part.blocks[part.own]] = latents.detach().cpu().numpy()[part.own]
        z[part.pairs[part.own_pairs]] = hyper.detach().cpu().numpy()[part.own_pairs]
        return going


def hyper_prior(
    entropy: EntropyModel, twin: Mapping[str, NDArray[Any]], plan: Plan, index: BlockIndex
) -> HyperPrior:
    """What decoders expect of the hyper-latents of a plan.

    Args:
        entropy: of the same model as the twin.
        twin: its integers, by name.
        plan: of P pairs.
        index: of the plan.
    """
    mean, log2_scale = entropy.hyper_prior(index)
    if "z_gain" not in twin:
        return HyperPrior(mean, log2_scale)
    kind, earlier = context_kinds(plan, np.arange(len(plan.pair_count)))
    return ContextHyperPrior(
        mean,
        log2_scale,
        torch.from_numpy(twin["z_gain"][kind] / 2**GAIN_BITS).to(mean),
        torch.from_numpy(twin["z_seen"][kind] / 2**SCALE_BITS).to(mean),
        torch.from_numpy(earlier).to(mean.device),
        entropy.hyper_precision(index.pair_count),
    )


def _share_of_rate(iterations: int, i: int) -> float:
    """What the rate of iteration i, from 0, is of the schedule's: it grows, then falls."""
    return min(1.0, (i + 1) / WARM_UP) * (1 - (1 - LAST) * i / iterations)


def _relaxed(value: Tensor, temperature: float, noise: float, generator: torch.Generator) -> Tensor:
    """A random mixture of floor and ceiling with a gradient; the colder, the closer to one of both.

    The odds are those of stochastic Gumbel annealing: exp(-atanh(distance) / temperature) for either end. Of two ends
    only the difference of their Gumbel noises matters, which is logistic.

    Args:
        noise: how much of it, 0 to 1.
    """
    floor = value.detach().floor()
    above = (value - floor).clamp(1e-6, 1 - 1e-6)
    odds = (torch.atanh(above) - torch.atanh(1 - above)) / temperature
    chance = torch.rand(value.shape, generator=generator, device=value.device).clamp(1e-6, 1 - 1e-6)
    return floor + torch.sigmoid((odds + noise * torch.logit(chance)) / temperature)


def _floats(latents: Fixed) -> NDArray[np.float32]:
    return (latents / 2**LATENT_BITS).astype(np.float32)  # exact: they have less than 24 bits


@dataclass(frozen=True)
class _Part:
    """A part of a group: its own blocks, and a margin that is seen only.

    Attributes:
        plan: of both.
        blocks: positions of the plan's blocks in the group's plan.
        pairs: positions of the plan's pairs there.
        own: which of `blocks` are the part's own.
        own_pairs: which of `pairs`.
    """

    plan: Plan
    blocks: NDArray[np.int64]
    pairs: NDArray[np.int64]
    own: NDArray[np.bool_]
    own_pairs: NDArray[np.bool_]

    @property
    def kept(self) -> int:
        return int(np.count_nonzero(self.own))


def _parts(plan: Plan) -> Iterator[_Part]:
    """The plan of a group in parts that together own each block once. Where they lie depends on the group alone."""
    if len(plan) <= WHOLE:
        pairs = np.arange(len(plan.pair_count))
        all_blocks, all_pairs = np.ones(len(plan), np.bool_), np.ones(len(pairs), np.bool_)
        yield _Part(plan, np.arange(len(plan)), pairs, all_blocks, all_pairs)
        return
    _, height, width = plan.shape
    ids = np.zeros(height * width, np.uint8)
    row, column = np.divmod(plan.block, width)
    square = (row // TILE) * -(-width // TILE) + column // TILE
    for here in np.unique(square).tolist():
        top, left = (TILE * n for n in divmod(here, -(-width // TILE)))
        near = (top - MARGIN <= row) & (row < top + TILE + MARGIN)
        near &= (left - MARGIN <= column) & (column < left + TILE + MARGIN)
        wanted = np.zeros(height * width, np.bool_)
        wanted[plan.block[near]] = True
        part = make_plan(ids.reshape(height, width), wanted.reshape(height, width))
        blocks = np.flatnonzero(near)
        # Squares and margins are made of whole cells, so pairs are whole too.
        pairs = np.empty(len(part.pair_count), np.int64)
        pairs[part.pair] = plan.pair[blocks]
        own = square[blocks] == here
        own_pairs = np.zeros(len(pairs), np.bool_)
        own_pairs[part.pair[own]] = True
        yield _Part(part, blocks, pairs, own, own_pairs)
