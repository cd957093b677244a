"""Which recipe learns most for its training steps: equal-budget experiments, one table.

    python benchmarks/recipe.py --data DIR --steps 300 base adamw no-bypass ...
    python benchmarks/recipe.py --data DIR --weights small.safetensors --steps 300 base local

Every variant sees the same crops and the same number of steps, with the learning rate falling to zero; `--weights`
lets all start from trained weights rather than from a KLT, where the variant allows it. The objective is that of
`ssic train` on the held-out pictures (lower is better; 0.01 is about one percent of the rate). CPU seconds are those of
the process, so that other work on the machine matters little; kMAC are per pixel, of analysis and synthesis together,
from counting the matrix products of a forward pass. Finished variants are appended to `--out`, one JSON line each, and
not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from _cost import complexity
from ssic.model.config import PRESETS, ModelConfig
from ssic.train.dense import Dense
from ssic.train.grids import Sight
from ssic.train.options import TrainOptions
from ssic.train.trainer import Trainer

SMALL = PRESETS["small"]


def no_bypass(trainer: Trainer) -> None:
    """Nothing linear beside the deep transforms, whose last layers then must not start at zero."""
    for network in (trainer.network, trainer.average):
        for side in (network.analysis, network.synthesis):
            side.bypass.weight.data.zero_()
            torch.manual_seed(0)
            side.head.reset_parameters()
        network.entropy.spread.fill_(0.2)
    for optimiser in trainer.updates.optimisers:
        for group in optimiser.param_groups:
            group["params"] = [p for p in group["params"] if not _is_bypass(trainer, p)]


def _is_bypass(trainer: Trainer, p: torch.Tensor) -> bool:
    return any(p is side.bypass.weight for side in (trainer.network.analysis, trainer.network.synthesis))


def adamw(trainer: Trainer) -> None:
    """AdamW for the hidden matrices too."""
    muon, rest = trainer.updates.optimisers
    matrices = [p for group in muon.param_groups for p in group["params"]]
    for group, rate in zip(rest.param_groups, (1.0, 0.1), strict=True):
        group["lr"] = rate * trainer.options.other_rate
    instead = torch.optim.AdamW(matrices, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    trainer.updates.adopt([instead, rest])


class Blind(Dense):
    """The context nets see no neighbours."""

    def _predict(self, features: Any, rounded: Any, reference: Any, sight: Sight) -> Any:
        none = torch.zeros_like(sight.same)
        return super()._predict(
            features, rounded, reference, dataclasses.replace(sight, same=none, earlier=none)
        )


class SumPooling(Dense):
    """Hyper-latents from the sum of a pair's tokens rather than from their mean."""

    def _entropy(self, y: Any, of: Any, sight: Sight, ids: Any, exact: bool) -> Any:
        sixteen = torch.full_like(sight.number, 16)
        return super()._entropy(y, of, dataclasses.replace(sight, number=sixteen), ids, exact)


def no_neighbours(trainer: Trainer) -> None:
    """See `Blind`."""
    trainer.launch.step.model.__class__ = trainer.judge.__class__ = Blind


def sum_pooling(trainer: Trainer) -> None:
    """See `SumPooling`."""
    trainer.launch.step.model.__class__ = trainer.judge.__class__ = SumPooling


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the base."""

    config: ModelConfig = SMALL
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    crops: float = 1.0  # per step, relative to --batch
    change: Callable[[Trainer], None] | None = None


def _config(**changes: Any) -> Variant:
    return Variant(config=dataclasses.replace(SMALL, **changes))


VARIANTS = {
    "base": Variant(),
    "no-bypass": Variant(change=no_bypass),
    "adamw": Variant(change=adamw),
    "muon-2x": Variant(options={"matrix_rate": 1.6e-3}),
    "muon-4x": Variant(options={"matrix_rate": 3.2e-3}),
    "muon-8x": Variant(options={"matrix_rate": 6.4e-3}),
    "half-rate": Variant(options={"matrix_rate": 4e-4, "other_rate": 5e-4}),
    "double-rate": Variant(options={"matrix_rate": 1.6e-3, "other_rate": 2e-3}),
    "crop-128": Variant(options={"crop": 128}, crops=4),
    "crop-512": Variant(options={"crop": 512}, crops=1 / 4),
    "half-batch": Variant(crops=1 / 2),
    "local": _config(local=True),
    "gated": _config(gated=True),
    "local-sparse": _config(local=True, attention_every=2),
    "dictionary": _config(dictionary=128),
    # Widths and depths at about equal kMAC per pixel: 12 w^2 + 128 w per token and block, four fine tokens to a coarse.
    "more-coarse": _config(depths=(1, 3)),
    "more-fine": _config(depths=(3, 1)),
    "wide-coarse": _config(widths=(96, 320)),
    "wide-fine": _config(widths=(160, 192), depths=(2, 1)),
    "narrow-deep": _config(widths=(96, 192), depths=(3, 4)),
    "twice-coarse": _config(depths=(1, 5)),
    "slices-3": _config(slices=(32, 96, 192)),
    "slices-8": _config(slices=(8, 8, 16, 24, 32, 56, 72, 104)),
    "no-neighbours": Variant(change=no_neighbours),
    "sum-pooling": Variant(change=sum_pooling),
}


def run(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one variant; -> its line of the table."""
    variant = VARIANTS[name]
    PRESETS["experiment"] = variant.config
    start = Trainer(
        TrainOptions(
            data=tuple(args.data),
            run=args.runs / name,
            preset="experiment",
            decay=args.decay,
            weights=args.weights,
            threads=args.threads,
            checkpoint_minutes=1e9,
            batch=round(args.batch * variant.crops),
            **({"seed": args.seed, "steps": args.steps} | variant.options),
        )
    )
    start.options = dataclasses.replace(start.options, steps=start.step + args.steps)
    if variant.change:
        variant.change(start)
    before, cpu = time.monotonic(), time.process_time()
    start.run()
    seconds, cpu = time.monotonic() - before, time.process_time() - cpu
    facts = start.validate()
    return {
        "variant": name,
        "steps": args.steps,
        "samples": args.steps * start.options.batch,
        "crop": start.options.crop,
        "start": args.weights.stem if args.weights else "KLT",
        "parameters": sum(p.numel() for p in start.network.parameters()),
        "kmac": round(sum(complexity(variant.config)), 1),
        "cpu_seconds": round(cpu),
        "seconds": round(seconds),
        **facts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="+", choices=[*VARIANTS, "all"])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--decay", type=float, default=0.5)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--out", type=Path, default=Path("runs/recipe.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    start = args.weights.stem if args.weights else "KLT"
    for name in VARIANTS if "all" in args.variants else args.variants:
        if not any((d["variant"], d["steps"], d["start"]) == (name, args.steps, start) for d in done):
            done.append(run(name, args))
            with args.out.open("a") as out:
                out.write(json.dumps(done[-1]) + "\n")
    print("| variant | start | steps | kMAC/pixel | parameters | CPU seconds | objective | against base |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    done = [d for d in done if (d["steps"], d["start"]) == (args.steps, start)]
    base = next((d["objective"] for d in done if d["variant"] == "base"), None)
    for d in done:
        change = f"{100 * (d['objective'] / base - 1):+.2f} %" if base else ""
        print(
            f"| {d['variant']} | {d['start']} | {d['steps']} | {d['kmac']:.1f} | {d['parameters'] / 1e6:.2f} M | "
            f"{d['cpu_seconds']} | {d['objective']:.4f} | {change} |"
        )


if __name__ == "__main__":
    main()
