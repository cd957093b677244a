"""The networks alone, engine beside engine: seconds and memory.

    python benchmarks/engines.py --model small base --engine onnx torch:cpu:float32 torch:cpu:bfloat16
    python benchmarks/engines.py --untrained base base-gated base-sparse    # what presets cost, before any training

For each model, engine and number of threads, in a process of its own: the processor time of all threads and the wall
time that analysis and synthesis of a picture take, the least of several runs after one that is thrown away; and for
pictures of 4000x3000, once, the same per pixel and what the process took at most beyond the loaded engine. Content
doesn't matter to the time, so pixels and latents are random; the mask has nine groups. Untrained networks are measured
at 768x512 only, with their parameters and products of matrices; runs of all of them take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SMALL, LARGE = (768, 512), (4000, 3000)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """In this process: seconds of each side, and memory."""
    import numpy as np

    from _pictures import nine_groups
    from speed import peak
    from ssic.engine.base import find_engine
    from ssic.model.weights import find_weights, load_weights
    from ssic.plan import make_plan

    weights = load_weights(find_weights(options.model[0]))
    engine = find_engine(options.engine[0], weights)
    engine.threads = options.threads[0]
    rng = np.random.default_rng(0)

    def given(ids: Any) -> Any:
        plan = make_plan(ids)
        blocks = rng.integers(0, 256, (len(plan), 4, 192), np.uint8)
        latents = rng.normal(0, 3, (len(plan), weights.config.latent_channels)).astype(np.float32)
        quality = dict.fromkeys(range(9), 60)
        return {
            "analysis": lambda: engine.analyse(blocks, plan, quality),
            "synthesis": lambda: engine.synthesise(latents, plan, quality),
        }

    found: dict[str, Any] = {}
    for name, run in given(nine_groups(*(LARGE if options.large else SMALL)).ids).items():
        if options.large:
            for warm in given(nine_groups(64, 64).ids).values():
                warm()
        before, runs = peak(), []
        for _ in range(1 if options.large else options.runs + 1):
            wall, processor = time.perf_counter(), time.process_time()
            run()
            runs.append((time.perf_counter() - wall, time.process_time() - processor))
        best = runs if options.large else runs[1:]
        found[name] = {
            "seconds": min(wall for wall, _ in best),
            "processor": min(processor for _, processor in best),
            "megabytes": peak() - before,
        }
    return found


def child(
    options: argparse.Namespace, model: str, engine: str, threads: int, *, large: bool
) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", "--model", model, "--engine", engine]
    command += ["--threads", str(threads), "--runs", str(options.runs), *(["--large"] if large else [])]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(command, env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def untrained(options: argparse.Namespace) -> None:
    """What presets cost."""
    from _cost import complexity
    from _cost import untrained as made
    from _report import emit, table
    from ssic.model.config import PRESETS
    from ssic.model.tensors import float_shapes

    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.untrained:
            (Path(folder) / name).write_bytes(made(PRESETS[name]))
            shapes = float_shapes(PRESETS[name]).values()
            results[name] = {
                "parameters": sum(math.prod(shape) for shape in shapes),
                "kmac": complexity(PRESETS[name]),
                "seconds": {},
            }
        for _ in range(options.rounds):
            for engine in options.engine:
                for threads in options.threads:
                    for name, facts in results.items():
                        one = child(options, str(Path(folder) / name), engine, threads, large=False)
                        of_key = facts["seconds"].setdefault(f"{engine}, {threads}", [])
                        of_key.append([one[side]["processor"] for side in ("analysis", "synthesis")])
    keys = list(next(iter(results.values()))["seconds"])
    rows = []
    for name, facts in results.items():
        least = [[min(side) for side in zip(*facts["seconds"][key], strict=True)] for key in keys]
        rows.append(
            [
                *(name, f"{facts['parameters'] / 1e6:.2f} M"),
                *(" / ".join(f"{k:.1f}" for k in facts["kmac"]),),
                *(" / ".join(f"{1000 * s:.0f}" for s in pair) for pair in least),
            ]
        )
    heads = [f"{key} thread(s), CPU ms" for key in keys]
    emit(
        "Untrained networks, analysis / synthesis, 768x512",
        results,
        [table(["preset", "parameters", "kMAC per pixel", *heads], rows)],
        options.json,
        None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["small", "base"])
    parser.add_argument("--engine", nargs="+", default=["onnx", "torch:cpu:float32", "torch:cpu:bfloat16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--untrained", nargs="+", metavar="PRESET", help="instead of --model")
    parser.add_argument("--rounds", type=int, default=2, help="of --untrained")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options)))
        return
    if options.untrained:
        untrained(options)
        return

    from _report import emit, table

    results, small, large = [], [], []
    for model in options.model:
        for engine in options.engine:
            for threads in options.threads:
                one = child(options, model, engine, threads, large=False)
                results.append({"model": model, "engine": engine, "threads": threads, "768x512": one})
                a, s = one["analysis"], one["synthesis"]
                small.append(
                    [
                        f"{model}, {engine}",
                        f"{threads}",
                        *(f"{side[key]:.3f}" for key in ("seconds", "processor") for side in (a, s)),
                    ]
                )
            one = child(options, model, engine, max(options.threads), large=True)
            results.append(
                {"model": model, "engine": engine, "threads": max(options.threads), "4000x3000": one}
            )
            a, s = one["analysis"], one["synthesis"]
            large.append(
                [
                    f"{model}, {engine}",
                    *(f"{side['seconds']:.2f}" for side in (a, s)),
                    *(f"{side['processor']:.1f}" for side in (a, s)),
                    *(f"{side['megabytes']:.0f}" for side in (a, s)),
                ]
            )
    emit(
        "Networks alone",
        {"results": results},
        [
            "768x512:",
            table(
                [
                    "model, engine",
                    "threads",
                    "analysis s",
                    "synthesis s",
                    "analysis CPU s",
                    "synthesis CPU s",
                ],
                small,
            ),
            f"4000x3000, {max(options.threads)} thread(s):",
            table(
                [
                    "model, engine",
                    "analysis s",
                    "synthesis s",
                    "analysis CPU s",
                    "synthesis CPU s",
                    "analysis MB",
                    "synthesis MB",
                ],
                large,
            ),
        ],
        options.json,
        None,
    )


if __name__ == "__main__":
    main()
