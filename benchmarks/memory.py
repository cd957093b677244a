#!/usr/bin/env python
"""The memory that encoding and decoding take at their peak, each in a process of its own.

    PYTHONPATH=src python benchmarks/memory.py --model small base --megapixels 2 6 12

Prints a table: the peak of the process, and what it took beyond one that has loaded the same code and model, per pixel.
`BYTES_PER_PIXEL` in `ssic.format.limits` is set by the latter, of decoding.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from typing import Any

import numpy as np

import ssic
from ssic.model.weights import find_weights

UNIT = 1 if sys.platform == "darwin" else 1024


def peak() -> int:
    """Bytes that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def photograph(megapixels: float) -> np.ndarray:
    """[H, W, 3], sides 3 to 4, with edges and texture."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 6, (height, width)).astype(np.float32)
    planes = [128 + 60 * np.sin(x / (23 + k)) * np.cos(y / (31 - k)) + noise for k in range(3)]
    return np.stack([plane.clip(0, 255).astype(np.uint8) for plane in planes], 2)


def work(what: str, model: str, engine: str, given: Any, results: Any) -> None:
    """Encodes a picture or decodes a file; puts (peak before, peak, file) into `results`."""
    codec = ssic.Codec.load(find_weights(model), engine=engine)
    ssic.decode(codec.encode(np.zeros((64, 64, 3), np.uint8)).data, engine=engine)  # what loading takes
    before = peak()
    data = b""
    if what == "encode":
        data = codec.encode(given).data
    else:
        ssic.decode(given, engine=engine)
    results.put((before, peak(), data))


def measured(what: str, model: str, engine: str, given: Any) -> tuple[int, int, bytes]:
    """What `work` gives, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=work, args=(what, model, engine, given, results))
    process.start()
    found = results.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", default=["small", "base"])
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[2, 6, 12])
    options = parser.parse_args()
    print(
        "| model | megapixels | work | peak, MB | beyond loading, MB | bytes per pixel |\n|---|---|---|---|---|---|"
    )
    for model in options.model:
        for megapixels in options.megapixels:
            given: Any = photograph(megapixels)
            pixels = given.shape[0] * given.shape[1]
            for what in ("encode", "decode"):
                before, most, data = measured(what, model, options.engine, given)
                row = (model, f"{megapixels:g}", what, f"{most / 1e6:,.0f}", f"{(most - before) / 1e6:,.0f}")
                print(f"| {' | '.join(row)} | {(most - before) / pixels:.0f} |", flush=True)
                given = data or given


if __name__ == "__main__":
    main()
