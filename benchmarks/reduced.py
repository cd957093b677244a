#!/usr/bin/env python
"""Decoding at a lower resolution: how near it comes to the full picture shrunk, and what it takes.

    PYTHONPATH=src python benchmarks/reduced.py PICTURES... --model base --qualities 10 30 60 90

Prints a table: PSNR against the means of the fully decoded pixels, its mean and least over the pictures, at each
quality; and seconds, the least of three, summed over the pictures, on top of a model that is loaded.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

import ssic
from ssic.blocks import SCALES


def psnr(pixels: np.ndarray, whole: Image.Image, scale: int) -> float:
    """Of pixels at 1/scale, against the means of the whole picture."""
    # Also where `reduce` rounds: a part of a level.
    off = pixels.astype(np.float64) - np.asarray(whole.reduce(scale))
    return float(10 * np.log10(255**2 / np.mean(off**2)))


def seconds(data: bytes, scale: int) -> float:
    """The least time of three."""
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        ssic.decode(data, scale=scale)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--qualities", nargs="+", type=int, default=[10, 30, 60, 90])
    options = parser.parse_args()
    print("| quality | scale | PSNR, mean | least | seconds | of a full decode |\n|---|---|---|---|---|---|")
    for quality in options.qualities:
        found: dict[int, list[float]] = {scale: [] for scale in SCALES[1:]}
        taken = dict.fromkeys(SCALES, 0.0)
        for path in options.pictures:
            with Image.open(path) as image:
                data = ssic.encode(image.convert("RGB"), quality=quality, model=options.model)
            whole = Image.fromarray(ssic.decode(data))
            for scale in SCALES:
                taken[scale] += seconds(data, scale)
            for scale, values in found.items():
                values.append(psnr(ssic.decode(data, scale=scale), whole, scale))
        for scale, values in found.items():
            share = taken[scale] / taken[1]
            row = (
                quality,
                f"1/{scale}",
                f"{np.mean(values):.1f}",
                f"{min(values):.1f}",
                f"{taken[scale]:.2f}",
            )
            print("|", " | ".join(map(str, row)), f"| {share:.0%} |")


if __name__ == "__main__":
    main()
