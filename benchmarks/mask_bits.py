#!/usr/bin/env python
"""Bytes and time of the mask coder; with --fit, what the tables of `mask_tables` were made from.

    PYTHONPATH=src python benchmarks/mask_bits.py --masks kodak_masks
    PYTHONPATH=src python benchmarks/mask_bits.py --fit

`--masks` names a folder of folders of label maps: RGB, gray or palette PNG, one pixel a block or the size of
the picture (then each 16x16 block takes its most frequent label).
The fit uses synthetic masks only (unions of boxes, wobbly ellipses), none of the masks that are measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time  # of the process: others may be at work
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.format import mask_coder, mask_tables
from ssic.format.mask_coder import decode_mask, encode_mask, mask_step
from ssic.format.mask_writer import short_gaps, walk

Mask = NDArray[np.uint8]


def load(path: Path) -> Mask:
    picture = Image.open(path)
    ids = np.array(picture if picture.mode in ("P", "L") else picture.convert("L"))
    if min(ids.shape) > 64:
        rows, columns = ids.shape[0] // 16, ids.shape[1] // 16
        blocks = ids[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16).swapaxes(1, 2)
        ids = np.apply_along_axis(lambda b: np.bincount(b).argmax(), 2, blocks.reshape(rows, columns, 256))
    return consecutive(ids)


def consecutive(ids: NDArray[np.integer]) -> Mask:
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.uint8)


def box_union(rng: np.random.Generator, rows: int, columns: int, low: int, high: int, share: float) -> Mask:
    ids = np.zeros((rows, columns), np.uint8)
    while (ids > 0).mean() < share:
        h, w = rng.integers(low, high + 1, 2)
        y, x = rng.integers(0, rows - h + 1), rng.integers(0, columns - w + 1)
        ids[y : y + h, x : x + w] = 255
    group = 0
    for start in zip(*np.nonzero(ids), strict=True):
        todo = [start] if ids[start] == 255 else []
        group = min(group + len(todo), 254)
        while todo:
            y, x = todo.pop()
            if 0 <= y < rows and 0 <= x < columns and ids[y, x] == 255:
                ids[y, x] = group
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return consecutive(ids)


def blobs(rng: np.random.Generator, rows: int, columns: int, scale: int = 4) -> Mask:
    """Things in front of things: each of one to three wobbly ellipses, drawn `scale` times finer."""
    y, x = np.mgrid[: rows * scale, : columns * scale]
    ids = np.zeros(y.shape, np.uint8)
    for group in range(1, 1 + int(rng.integers(1, 1 + rng.choice([2, 4, 9])))):
        cy, cx = rng.random(2) * y.shape
        radius = min(y.shape) * math.exp(rng.uniform(math.log(0.08), math.log(0.5)))
        for _ in range(rng.integers(1, 4)):
            angle = np.arctan2(y - cy, x - cx) - rng.uniform(0, 6.3)
            stretch = math.exp(rng.uniform(-1, 1))
            rim = np.ones(y.shape)
            roughness = rng.uniform(0.2, 1)
            for k in range(1, 7):
                rim += roughness * rng.normal(0, 0.5 / k**1.3) * np.cos(k * angle + rng.uniform(0, 6.3))
            distance = np.hypot(y - cy, x - cx)
            distance = np.hypot(distance * np.cos(angle) * stretch, distance * np.sin(angle) / stretch)
            ids[distance < radius * rim] = group
            cy, cx = cy + rng.normal() * radius, cx + rng.normal() * radius
            radius *= rng.uniform(0.4, 1)
    blocks = ids.reshape(rows, scale, columns, scale).swapaxes(1, 2).reshape(rows, columns, scale * scale)
    return consecutive(np.apply_along_axis(lambda b: np.bincount(b).argmax(), 2, blocks))


def synthetic(count: int, seed: int = 1) -> list[Mask]:
    rng = np.random.default_rng(seed)
    shapes = [(32, 48), (48, 32), (16, 24), (24, 16), (34, 60), (16, 16)]
    out = []
    for i in range(count):
        rows, columns = shapes[rng.integers(len(shapes))]
        if i % 2 == 0:
            out.append(blobs(rng, rows, columns))
        elif rng.random() < 0.5:
            out.append(box_union(rng, max(rows // 2, 12), max(columns // 2, 12), 2, 3, rng.uniform(0.2, 0.6)))
        else:
            out.append(box_union(rng, rows, columns, 2, 6, rng.uniform(0.2, 0.6)))
    return out


def fit(count: int) -> dict[str, list[Any]]:
    """What codes synthetic masks at the least cost: starting counts, tables of numbers and quotients."""
    decided: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    numbers, quotients = np.zeros(32), np.zeros(mask_tables.ESCAPE + 1)
    for mask in synthetic(count):
        cells = mask_coder._shrink(mask, mask_step(mask))
        if mask.max() == 0:
            continue
        gaps, events = walk(cells.tobytes(), cells.shape[1], int(mask.max()) + 1)
        numbers[(len(gaps) + 1).bit_length() - 1] += 1
        bits = mask_tables.gap_bits(cells.size, len(gaps))
        if not bits:
            events += short_gaps(gaps)
        for gap in gaps if bits else []:
            quotients[min(gap >> bits, mask_tables.ESCAPE)] += 1
        for context in {event >> 1 for event in events if event >= 0}:
            decided[context][events.count(2 * context), events.count(2 * context + 1)] += 1

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    def score(context: int, no: float, yes: float) -> float:
        gain = sum(
            k * (log_beta(no + n, yes + y) - log_beta(no, yes)) for (n, y), k in decided[context].items()
        )
        return gain - 0.02 * (no + yes)  # among equals, the one that adapts faster

    def score_of(context: int, pair: tuple[int, int]) -> float:
        return score(context, pair[0] / 16, pair[1] / 16)

    choices = [2**i for i in range(11)]
    pairs = list(itertools.product(choices, choices))
    start = [
        max(pairs, key=partial(score_of, context)) if decided[context] else (8, 8)
        for context in range(len(mask_tables.START))
    ]
    return {"START": start, "NUMBER": shares(numbers), "QUOTIENT": shares(quotients)}


def shares(seen: NDArray[np.float64]) -> list[int]:
    """Frequencies that sum to 256, at least 1 each, in proportion to what was seen."""
    share = 1 + np.floor((256 - seen.size) * seen / seen.sum()).astype(int)
    share[seen.argmax()] += 256 - share.sum()
    return [int(n) for n in share]


def measure(masks: list[Mask]) -> dict[str, float]:
    mask_tables.decisions()  # is made once for a process
    sizes, seconds = [], [0.0, 0.0]
    for mask in masks:
        labels = int(mask.max()) + 1
        start = time.process_time()
        data = encode_mask(mask, labels, mask_step(mask))
        middle = time.process_time()
        if not np.array_equal(decode_mask(data, mask.shape, labels, mask_step(mask)), mask):
            raise AssertionError("a mask came back changed")
        seconds[0] += middle - start
        seconds[1] += time.process_time() - middle
        sizes.append(len(data))
    return {
        "masks": len(masks),
        "groups": round(float(np.mean([len(np.unique(mask)) for mask in masks])), 2),
        "mean_bytes": round(float(np.mean(sizes)), 2),
        "min_bytes": min(sizes),
        "max_bytes": max(sizes),
        "encode_ms": round(1000 * seconds[0] / len(masks), 2),
        "decode_ms": round(1000 * seconds[1] / len(masks), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--masks", type=Path, help="folder of folders of label maps")
    parser.add_argument("--fit", action="store_true", help="print starting counts fitted to synthetic masks")
    options = parser.parse_args()
    if options.fit:
        for name, values in fit(800).items():
            print(name, "=", values)
        return
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (512, 512)).astype(np.uint8)
    result = {
        "12 megapixels, blobs": measure([blobs(rng, 188, 250)]),
        "67 megapixels, noise of 256 labels": measure([noise]),
        "67 megapixels, stripes": measure(
            [((np.arange(512)[:, None] + 2 * np.arange(512)) % 4).astype(np.uint8)]
        ),
    }
    for folder in sorted(options.masks.iterdir()) if options.masks else []:
        result[folder.name] = measure([load(path) for path in sorted(folder.glob("*.png"))])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
