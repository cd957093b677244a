"""Pictures per second of `ssic batch encode`, by number of cores and workers, and of a second run that finds all done.

The command is run as people run it, in a process of its own, start of Python and loading of the model included; so few
pictures flatter it less than many. By default copies of the demo photograph, cut differently; `--images` takes others.

    python benchmarks/batch.py --images /path/to/pictures --cores 1 2 --workers 1 2

How many workers keep one GPU busy, on a machine that has one:

    python benchmarks/batch.py --engine torch:cuda --count 400 --workers 1 2 4 8 16 32

`--shares` tells what there is to gain: seconds of the processor that a picture takes beside its networks, those of the
clock in them (on a GPU the waiting for it, too), with one thread, and how many operations PyTorch hands to the device.

Where `sched_setaffinity` is missing, `--cores` must be left out: all are used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import ssic
from _pictures import nine_groups, photograph
from _report import emit, table
from ssic.blocks import cut_blocks
from ssic.model.weights import find_weights, load_weights
from ssic.pictures.read import load_picture
from ssic.pictures.write import picture_bytes
from ssic.plan import make_plan


def run(
    pictures: str, out: Path, workers: int, cores: int | None, options: argparse.Namespace
) -> dict[str, float]:
    """What the command says of its work, on so many of the cores that this process may use."""
    line = [sys.executable, "-m", "ssic", "batch", "encode", pictures, "-o", str(out), "--json"]
    line += ["--workers", str(workers), "--quality", str(options.quality), "--model", options.model]
    line += ["--engine", options.engine]
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    before = os.sched_getaffinity(0) if cores else set()
    if cores:
        os.sched_setaffinity(0, sorted(before)[:cores])  # the command inherits it
    try:
        done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True)
    finally:
        if cores:
            os.sched_setaffinity(0, before)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def to_jpeg(data: bytes, options: argparse.Namespace) -> bytes:
    return picture_bytes(ssic.decode(data, model=options.model, engine=options.engine), "a.jpg")


def shares(pictures: list[Path], options: argparse.Namespace) -> str:
    """A table of what a picture takes beside its networks, and in them."""
    codec = ssic.Codec.load(options.model, engine=options.engine)
    codec.engine.threads = 1
    networks: list[tuple[float, float]] = []  # seconds of the processor, and of the clock

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            begun = time.process_time(), time.perf_counter()
            result = function(*args, **more)
            networks.append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
            return result

        return run

    for name in ("analyse", "synthesise"):
        setattr(codec.engine, name, timed(getattr(codec.engine, name)))
    taken: dict[str, list[tuple[float, float]]] = {"encode": [], "decode, to JPEG": []}
    for path in pictures:
        size = load_picture(path.read_bytes()).size
        mask = nine_groups(*size)
        data = codec.encode(path, mask, quality=options.quality).data
        jobs: dict[str, Callable[[], object]] = {
            "encode": partial(codec.encode, path, mask, quality=options.quality),
            "decode, to JPEG": partial(to_jpeg, data, options),
        }
        for name, work in jobs.items():
            networks.clear()
            begun = time.process_time()
            work()
            processor, clock = networks[0]
            taken[name].append((time.process_time() - begun - processor, clock))
    counts = ["-", "-"]
    if find_spec("torch") is not None:
        from _cost import operations

        pixels = load_picture(pictures[0].read_bytes()).pixels
        plan = make_plan(nine_groups(pixels.shape[1], pixels.shape[0]).ids)
        weights = load_weights(find_weights(options.model))
        counts = [str(n) for n in operations(weights, cut_blocks(pixels, plan.block), plan)]
    rows = []
    for (name, found), count in zip(taken.items(), counts, strict=True):
        beside, within = (1000 * statistics.median(column) for column in zip(*found, strict=True))
        rows.append([name, f"{beside:.0f} ms", f"{within:.1f} ms", count])
    columns = [
        "one picture, one thread",
        "beside the networks",
        f"networks, {codec.engine.name}",
        "operations",
    ]
    return table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder or glob (default: the demo photograph, cut differently)")
    parser.add_argument("--count", type=int, default=48, help="of copies, if there is no folder")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cores", type=int, nargs="+", default=[None], help="cores to use (default: all)")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--model", default="base")
    parser.add_argument("--engine", default="auto", help="auto, onnx, torch:cuda...")
    parser.add_argument("--shares", action="store_true", help="the networks' share of a picture's time, only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory(prefix="ssic-batch-") as name:
        folder = Path(name)
        pictures = options.images
        if pictures is None:
            (folder / "in").mkdir()
            photo = np.asarray(Image.open(photograph()).convert("RGB"))
            for n in range(options.count):
                Image.fromarray(np.roll(photo, 7 * n, (0, 1))).save(folder / f"in/{n}.jpg", quality=95)
            pictures = str(folder / "in")
        if options.shares:
            paths = sorted(Path(pictures).iterdir())[: options.count]
            emit("What a picture takes", {}, [shares(paths, options)], options.json, options.model)
            return
        for cores in options.cores:
            for workers in options.workers:
                if cores and workers > cores:
                    continue
                out = folder / f"out-{cores}-{workers}"
                first = run(pictures, out, workers, cores, options)
                again = run(pictures, out, workers, cores, options)
                rows.append(
                    {
                        "cores": cores or os.cpu_count(),
                        "workers": workers,
                        "pictures": first["pictures"],
                        "megapixels": first["megapixels"],
                        "seconds": first["seconds"],
                        "per_second": first["pictures"] / first["seconds"],
                        "megapixels_per_second": first["megapixels"] / first["seconds"],
                        "second_run_seconds": again["seconds"],
                    }
                )
    shown = table(
        [
            "cores, workers",
            "pictures",
            "seconds",
            "pictures/s",
            "against the first",
            "megapixels/s",
            "second run, s",
        ],
        [
            [
                f"{r['cores']}, {r['workers']}",
                r["pictures"],
                f"{r['seconds']:.1f}",
                f"{r['per_second']:.2f}",
                f"{r['per_second'] / rows[0]['per_second']:.2f}",
                f"{r['megapixels_per_second']:.2f}",
                f"{r['second_run_seconds']:.1f}",
            ]
            for r in rows
        ],
    )
    emit("Batch encoding", {"runs": rows}, [shown], options.json, options.model)


if __name__ == "__main__":
    main()
