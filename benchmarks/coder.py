#!/usr/bin/env python
"""Seconds and memory of the entropy coder alone: the integer twin and the range coder, without the float networks.

    PYTHONPATH=src python benchmarks/coder.py --megapixels 0.4 12 50 200

Latents are normal noise with the spread of real ones: the model's own unit of each channel at that quality, and
hyper-latents with the scale of their prior. Each picture is coded in a process of its own, as one group and as nine
(a disc and eight sectors); encoding is as `Codec.encode` does it, without the latents that a decoder would have.

Bytes per pixel are what the process had at its peak beyond what it had before: for "plan" before the plan was made, for
"encode" and "decode" before these, the plan and the given latents or substreams being there. What is given is not
counted: latents take 5 bytes a pixel. Times are the least of several runs for small pictures, of one for large ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SMALL = 2e6
"""Pixels below which work is done several times."""

RUNS = 9


def memory(field: str) -> int:
    """Bytes of this process: "VmRSS", what it has now, or "VmHWM", the most since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def measured(work: Callable[[], Any], runs: int) -> tuple[Any, float, int]:
    """Result, least seconds, and bytes beyond those before at the peak."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return result, min(times), memory("VmHWM") - before


def one(options: argparse.Namespace) -> dict[str, Any]:
    """One picture: of each kind of work the seconds, and the bytes at the peak."""
    import numpy as np

    import ssic
    from _pictures import nine_groups
    from ssic.blocks import block_grid
    from ssic.engine.threads import one_blas_thread
    from ssic.plan import make_plan

    codec = ssic.Codec.load(options.model)
    pixels = options.megapixels[0] * 1e6
    height = round((pixels * 2 / 3) ** 0.5)
    size = round(pixels / height), height
    ids = np.zeros(block_grid(size), np.uint8) if options.groups[0] == 1 else nine_groups(*size).ids
    quality = dict.fromkeys(np.unique(ids).tolist(), options.quality)
    runs = RUNS if pixels < SMALL else 1
    result: dict[str, Any] = {"pixels": size[0] * size[1], "blocks": ids.size, "groups": len(quality)}

    def note(name: str, work: Callable[[], Any]) -> Any:
        found, seconds, peak = measured(work, runs)
        result[name] = {"seconds": seconds, "bytes": peak}
        return found

    plan = note("plan", lambda: make_plan(ids))
    rng = np.random.default_rng(1)
    twin = codec._weights.twin
    spread = (twin["reference"][options.quality - 1] / 256).astype(np.float32)
    y = np.empty((len(plan), len(spread)), np.float32)
    for start in range(0, len(y), 1024):  # with no copy of the whole
        rng.standard_normal(dtype=np.float32, out=y[start : start + 1024])
        y[start : start + 1024] *= spread
    z = rng.standard_normal((len(plan.pair_count), codec.config.hyper_channels), np.float32)
    z *= np.exp2(twin["z_scale"][options.quality - 1] / 1024).astype(np.float32)
    threads = options.threads
    with one_blas_thread():
        encode = partial(codec.coder.encode, plan, quality, y, z, latents=False, threads=threads)
        coded = note("encode", encode).by_group
        del y, z, encode
        result["substreams"] = sum(map(len, coded.values()))
        _, damaged = note("decode", lambda: codec.coder.decode(plan, quality, coded, threads=threads))
    if damaged:
        raise SystemExit(f"groups {damaged} did not come back")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", nargs="+", type=float, default=[0.393216, 12, 50, 200])
    parser.add_argument("--groups", nargs="+", type=int, choices=(1, 9), default=[1, 9])
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--model", default="base", help="installed model, or a weights file")
    parser.add_argument("--threads", type=int, default=2, help="that share the work")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options)))
        return

    from _report import emit, table

    results = []
    for megapixels in options.megapixels:
        for groups in options.groups:
            command = [sys.executable, __file__, "--one", "--model", options.model]
            command += ["--megapixels", str(megapixels), "--groups", str(groups)]
            command += ["--quality", str(options.quality), "--threads", str(options.threads)]
            done = subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout))
    work = ("plan", "encode", "decode")
    rows = [
        [
            f"{r['pixels'] / 1e6:.3g}",
            r["groups"],
            f"{8 * r['substreams'] / r['pixels']:.2f}",
            *(f"{r[w]['seconds']:.3f}" for w in work),
            *(f"{r[w]['bytes'] / r['pixels']:.1f}" for w in work),
        ]
        for r in results
    ]
    columns = ["megapixels", "groups", "bpp", *(f"{w}, s" for w in work), *(f"{w}, B/pixel" for w in work)]
    head = f"model {options.model}, quality {options.quality}, {options.threads} thread(s)"
    emit("The entropy coder", {"runs": results}, [head, table(columns, rows)], options.json, options.model)


if __name__ == "__main__":
    main()
