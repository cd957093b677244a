"""Memory and time of encoding and decoding by the size of the picture, through the command line.

    python benchmarks/memory.py --model base --megapixels 2 12 24 50 200 --groups 1 9

For each size a JPEG with edges and texture is made, and a label map for nine groups; `ssic encode` reads them, and
`ssic decode` writes a JPEG, each in a process of its own. The table has the peak of the process (VmHWM of Linux), what
it took beyond the same command on a picture of 64x64, per pixel, and the processor time per pixel beyond that
command's. `ssic.format.limits` estimates memory by the second of these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import ssic
from _pictures import nine_groups
from _report import emit, table
from ssic.blocks import BLOCK

CHILD = """
import json, resource, sys
from ssic.cli import main
try:
    main()
finally:
    words = open("/proc/self/status").read().split()
    used = resource.getrusage(resource.RUSAGE_SELF)
    high = int(words[words.index("VmHWM:") + 1]) * 1024
    print(json.dumps({"peak": high, "seconds": used.ru_utime + used.ru_stime}), file=sys.stderr)
"""


def photograph(megapixels: float) -> Image.Image:
    """Sides 4 to 3, with edges and texture; made in strips, so that this process stays small."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    pixels = np.empty((height, width, 3), np.uint8)
    x = np.arange(width, dtype=np.float32)
    rng = np.random.default_rng(1)
    for top in range(0, height, 64):
        y = np.arange(top, min(height, top + 64), dtype=np.float32)[:, None]
        noise = rng.normal(0, 6, (len(y), width)).astype(np.float32)
        for k in range(3):
            plane = 128 + 60 * np.sin(x / (23 + k)) * np.cos(y / (31 - k)) + noise
            pixels[top : top + 64, :, k] = plane.clip(0, 255)
    return Image.fromarray(pixels)


def run(*line: str | Path) -> dict[str, float]:
    """Peak memory in bytes and processor time of an ssic command."""
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    command = [sys.executable, "-c", CHILD, *map(str, line)]
    done = subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return found


def both(
    folder: Path, model: str, megapixels: float, groups: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Encode and decode one picture."""
    picture, file, out = folder / "in.jpg", folder / "coded.ssic", folder / "out.jpg"
    more: list[str | Path] = ["--engine", options.engine, "--max-pixels", "400000000"]
    mask: list[str | Path] = []
    image = photograph(megapixels)
    image.save(picture, quality=90)
    if groups > 1:
        ids = nine_groups(*image.size).ids
        labels = Image.fromarray(ids).resize(
            (ids.shape[1] * BLOCK, ids.shape[0] * BLOCK), Image.Resampling.NEAREST
        )
        labels.crop((0, 0, *image.size)).save(folder / "mask.png")
        mask = ["--mask", folder / "mask.png"]
    size = image.size[0] * image.size[1]
    del image
    encode = run("encode", picture, "-o", file, "--model", model, *mask, *more)
    decode = run("decode", file, "-o", out, *more)
    return {"pixels": size, "bytes": file.stat().st_size, "encode": encode, "decode": decode}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["small", "base"])
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[2, 12, 24])
    parser.add_argument("--groups", nargs="+", type=int, choices=(1, 9), default=[1, 9])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results, rows = [], []
    with tempfile.TemporaryDirectory(prefix="ssic-memory-") as name:
        for model in options.model:
            for groups in options.groups:
                least = both(Path(name), model, 64 * 64 / 1e6, 1, options)
                for megapixels in options.megapixels:
                    found = both(Path(name), model, megapixels, groups, options)
                    results.append({"model": model, "groups": groups, "megapixels": megapixels, **found})
                    row = [f"{model}, {groups}", f"{megapixels:g}"]
                    for what in ("encode", "decode"):
                        peak, seconds = (found[what][key] - least[what][key] for key in ("peak", "seconds"))
                        row += [
                            f"{found[what]['peak'] / 1e9:.2f} GB",
                            f"{peak / found['pixels']:.0f}",
                            f"{1e6 * seconds / found['pixels']:.2f}",
                        ]
                    rows.append(row)
                    print(*row, sep="  ", file=sys.stderr, flush=True)
    columns = ["model, groups", "megapixels"]
    for what in ("encode", "decode"):
        columns += [f"{what}, peak", "bytes/pixel", "CPU s/megapixel"]
    emit("Memory by size", {"runs": results}, [table(columns, rows)], options.json, None)


if __name__ == "__main__":
    main()
