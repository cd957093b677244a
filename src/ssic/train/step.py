"""One step of training: from random crops to the next weights, without waiting for the device.

What changes from step to step (learning rates, the weight of the average, random numbers) lies on the device. So the
same lines run eagerly on a CPU, eagerly on a GPU, and once while a graph is recorded, which is replayed from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssic.nets.network import Network
from ssic.train.crops import Pictures
from ssic.train.dense import Dense
from ssic.train.freeze import largest_value
from ssic.train.muon import Muon
from ssic.train.objective import Loss, objective
from ssic.train.ranks import Ranks

LONGEST = 2.0
"""The norm that gradients are limited to."""

FORGETTING = 0.999
"""Share of the average that a step leaves, once it has seen some thousands."""


def hold_all_but_synthesis(network: Network) -> None:
    """Train only what follows the decoding of symbols, synthesis and dequantiser: no byte of a file changes."""
    for name, p in network.named_parameters():
        p.requires_grad_(name.startswith(("synthesis.", "entropy.inverse_gain.")))


def _trained(network: Network) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def split_parameters(network: Network) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """What is trained -> (hidden matrices, for Muon; bypass, for AdamW at a low rate; everything else, for AdamW)."""
    matrices, bypass, other = [], [], []
    for name, p in _trained(network):
        leaf = name.split(".")[-2] if "." in name else ""
        if leaf == "bypass":
            bypass.append(p)
        elif (
            p.ndim == 2
            and name.endswith(".weight")
            and leaf not in ("head", "layer3", "analyse3")
            and ("quality" not in name and "gain" not in name and "z_" not in name)
        ):
            matrices.append(p)
        else:
            other.append(p)
    return matrices, bypass, other


def _in_one_piece(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Let the parameters be views of one tensor; -> that, [all elements]."""
    together = torch.cat([p.detach().reshape(-1) for p in parameters])
    for p, part in zip(parameters, together.split([p.numel() for p in parameters]), strict=True):
        p.data = part.view_as(p)
    return together


class Updates:
    """From gradients to the next weights: optimisers, and the running average of the weights.

    Attributes:
        optimisers: Muon and AdamW, or what `adopt` was given.
        factor: of all learning rates; a tensor, to be filled before each step.
        weights: all parameters that are trained, in one piece.
        since: steps that the average has seen.
    """

    def __init__(
        self,
        network: Network,
        average: Network,
        matrix_rate: float,
        other_rate: float,
        dtype: torch.dtype,
        ranks: Ranks,
    ) -> None:
        """
        Args:
            dtype: precision of Muon's iteration.
        """
        self.ranks = ranks
        # Each in one piece, of which the parameters are views: the fewest launches, and no list is gone through.
        trained, averages = _trained(network), dict(average.named_parameters())
        self._parameters = [p for _, p in trained]
        self.weights = _in_one_piece(self._parameters)
        self._averages = _in_one_piece([averages[name] for name, _ in trained])
        self._gradients = torch.zeros_like(self.weights)
        average.requires_grad_(False)
        self._device = network.entropy.spread.device
        cuda = self._device.type == "cuda"
        matrices, bypass, other = split_parameters(network)
        self.factor, self.since = self._scalar(1.0), self._scalar(0.0)
        groups: list[dict[str, Any]] = [{"params": other}, {"params": bypass, "lr": 0.1 * other_rate}]
        rest = torch.optim.AdamW(
            groups, lr=other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True, capturable=cuda
        )
        self.adopt([Muon(matrices, lr=matrix_rate, dtype=dtype, fill=cuda), rest])
        limits = [(p, largest_value(name)) for name, p in trained]
        self._limited: list[Tensor] = [p for p, limit in limits if limit is not None]
        self._limits = [limit for _, limit in limits if limit is not None]
        self._sums = torch.zeros(len(Loss._fields) + 1, device=self._device)

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float32, device=self._device)

    def adopt(self, optimisers: list[torch.optim.Optimizer]) -> None:
        """Take these optimisers, whose learning rates are numbers; AdamW's have to be fused."""
        self.optimisers = optimisers
        self._rates: list[tuple[Tensor, float]] = []
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                rate = self._scalar(0.0)
                self._rates.append((rate, float(group["lr"])))
                group["lr"] = rate

    @torch.no_grad()
    def update(self, loss: Loss) -> None:
        """From the gradients that the parameters have to the next weights; the gradients are gone afterwards."""
        for rate, full in self._rates:
            torch.mul(self.factor, full, out=rate)
        gradients = [p.grad.reshape(-1) for p in self._parameters if p.grad is not None]
        flat = self.ranks.mean(torch.cat(gradients, out=self._gradients))
        norm = flat.norm()
        # A gradient that is no number is none: what the optimisers remember of earlier ones carries on.
        limit = torch.where(torch.isfinite(norm), (LONGEST / (norm + 1e-6)).clamp(max=1), 0.0)
        flat.mul_(limit).nan_to_num_(0.0, 0.0, 0.0)
        parts = flat.split([p.numel() for p in self._parameters])
        for p, part in zip(self._parameters, parts, strict=True):
            p.grad = part.view_as(p)
        for optimiser in self.optimisers:
            optimiser.step()
        self.drop_gradients()
        if self._limited:
            torch._foreach_clamp_max_(self._limited, self._limits)
            torch._foreach_clamp_min_(self._limited, [-limit for limit in self._limits])
        kept = ((1 + self.since) / (10 + self.since)).clamp(max=FORGETTING)
        self._averages.lerp_(self.weights, 1 - kept)
        self.since += 1
        self._sums += torch.stack([*(value.detach() for value in loss), torch.ones_like(norm)])

    def drop_gradients(self) -> None:
        for p in self._parameters:
            p.grad = None

    def take_means(self) -> dict[str, float]:
        """Means of the losses of the steps since this was last asked for; waits for the device."""
        *sums, steps = self._sums.tolist()
        self._sums.zero_()
        return {name: value / max(1, steps) for name, value in zip(Loss._fields, sums, strict=True)}

    # -- what is kept ------------------------------------------------------------------------------------------

    def state_dicts(self) -> list[dict[str, Any]]:
        """Of the optimisers."""
        return [optimiser.state_dict() for optimiser in self.optimisers]

    def load_state_dicts(self, saved: Sequence[dict[str, Any]]) -> None:
        """What the optimisers remember; how they work is not taken from there."""
        for optimiser, state in zip(self.optimisers, saved, strict=True):
            rates = [group["lr"] for group in optimiser.param_groups]
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state["state"], "param_groups": groups})
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate  # this very tensor, which each step sets

    def tensors(self) -> list[Tensor]:
        """All that a step changes, in place."""
        slots = [slot for o in self.optimisers for slot in o.state.values()]
        remembered = [value for slot in slots for value in slot.values() if isinstance(value, Tensor)]
        return [self.weights, self._averages, *remembered, self.since, self._sums]


class Step:
    """What is run again and again."""

    def __init__(self, model: Dense, pictures: Pictures, updates: Updates, batch: int) -> None:
        """
        Args:
            batch: crops.
        """
        self.model, self.pictures, self.updates, self.batch = model, pictures, updates, batch

    def loss(self) -> Loss:
        """Of fresh crops, from the default generator of the device."""
        x, ids, quality = self.pictures.batch(self.batch)
        estimate = self.model(x, ids, quality, exact=False)
        trade_off = self.model.trade_offs.index_select(0, quality.view(-1) - 1).view(quality.shape)
        return objective(estimate, x, trade_off)

    def gradients(self) -> Loss:
        """The loss of fresh crops; afterwards the parameters have their gradients."""
        loss = self.loss()
        loss.loss.backward()
        return loss

    def __call__(self) -> None:
        self.updates.update(self.gradients())

    def compile(self, piece: str, **how: Any) -> None:
        """Let torch.compile make "data", or a piece of `ssic.train.dense.PIECES`, when it is first run."""
        if piece == "data":
            self.pictures.compile(**how)
        else:
            self.model.compile(piece, **how)

    def uncompile(self, piece: str) -> None:
        """Run a piece as it is written."""
        if piece == "data":
            self.pictures.uncompile()
        else:
            self.model.uncompile(piece)
