"""Pictures per second of `ssic batch encode`, by number of workers, and of a second run that finds all done.

The command is run as people run it, in a process of its own, start of Python and loading of the model included; so few
pictures flatter it less than many. By default copies of the demo photograph, cut differently; `--images` takes others.

    python benchmarks/batch.py --images /path/to/pictures --workers 1 2
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


def run(pictures: str, out: Path, workers: int, quality: int) -> dict[str, float]:
    line = [sys.executable, "-m", "ssic", "batch", "encode", pictures, "-o", str(out), "--json"]
    line += ["--workers", str(workers), "--quality", str(quality)]
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder or glob (default: the demo photograph, cut differently)")
    parser.add_argument("--count", type=int, default=48, help="of copies, if there is no folder")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quality", type=int, default=60)
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
        for workers in options.workers:
            first = run(pictures, folder / f"out{workers}", workers, options.quality)
            again = run(pictures, folder / f"out{workers}", workers, options.quality)
            rows.append(
                {
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
        ["workers", "pictures", "seconds", "pictures/s", "megapixels/s", "second run, s"],
        [
            [
                r["workers"],
                r["pictures"],
                f"{r['seconds']:.1f}",
                f"{r['per_second']:.2f}",
                f"{r['megapixels_per_second']:.2f}",
                f"{r['second_run_seconds']:.1f}",
            ]
            for r in rows
        ],
    )
    emit("Batch encoding", {"runs": rows}, [shown], options.json)


if __name__ == "__main__":
    main()
