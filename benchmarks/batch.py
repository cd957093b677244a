"""Pictures per second of `ssic batch encode`, by number of cores and workers, and of a second run that finds all done.

The command is run as people run it, in a process of its own, start of Python and loading of the model included; so few
pictures flatter it less than many. By default copies of the demo photograph, cut differently; `--images` takes others.

    python benchmarks/batch.py --images /path/to/pictures --cores 1 2 --workers 1 2

Where `sched_setaffinity` is missing, `--cores` must be left out: all are used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import ssic
from _pictures import photograph
from _report import emit, table


def run(
    pictures: str, out: Path, workers: int, cores: int | None, options: argparse.Namespace
) -> dict[str, float]:
    """What the command says of its work, on so many of the cores that this process may use."""
    line = [sys.executable, "-m", "ssic", "batch", "encode", pictures, "-o", str(out), "--json"]
    line += ["--workers", str(workers), "--quality", str(options.quality), "--model", options.model]
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
