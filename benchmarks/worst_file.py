#!/usr/bin/env python
"""The worst that a file can do per kilobyte: time and memory of reading and decoding valid files that claim much.

    PYTHONPATH=src python benchmarks/worst_file.py --megapixels 4

Each file is valid, and made for one cost: pixels (one group, no bytes of mask or substream), 255 groups, a mask of
noise, a profile that inflates, and scrypt. Each is read in a process of its own; time is CPU time, memory the growth of
the peak beyond a process that has loaded the same code. Prints a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

import ssic
import ssic.format as fmt
from ssic.crypto import Passphrase, files
from ssic.crypto.wrap import Wrapper
from ssic.model.weights import find_weights
from ssic.names import default_name

MODEL = ssic.Codec.load(find_weights("small")).model_id


def file_of(mask: np.ndarray, chunks: dict[str, bytes] | None = None) -> bytes:
    ids = [int(i) for i in np.unique(mask)]
    segments = [fmt.Segment(i, default_name(i), 60, b"") for i in ids]
    rows, columns = mask.shape
    return fmt.write_file(
        width=16 * columns, height=16 * rows, model_id=MODEL, mask=mask, segments=segments, chunks=chunks
    )


def worst(megapixels: float) -> dict[str, tuple[bytes, str]]:
    """Files by what they are made for, with what is done to them: "read", "decode" or "open"."""
    side = max(16, int((megapixels * 1e6 / 256) ** 0.5))
    rng = np.random.default_rng(1)
    one = np.zeros((side, side), np.uint8)
    many = np.arange(side * side, dtype=np.int64).reshape(side, side) % 255
    noise = rng.integers(0, 2, (side, side))
    sealed = file_of(np.zeros((2, 2), np.uint8))
    sealed = files.encrypt(sealed, lambda _: [0], Wrapper([Passphrase("right")]))
    return {
        "pixels": (file_of(one), "decode"),
        "groups": (file_of(many.astype(np.uint8)), "decode"),
        "mask of noise": (file_of(noise.astype(np.uint8)), "read"),
        "profile": (file_of(np.zeros((1, 1), np.uint8), {"ICCP": bytes(2**22)}), "read"),
        "passphrase": (sealed, "open"),
    }


def cost(data: bytes, how: str, results: multiprocessing.SimpleQueue[tuple[float, float]]) -> None:
    """Runs in a process of its own; puts CPU seconds and MiB."""
    warnings.simplefilter("ignore", UserWarning)
    ssic.decode(file_of(np.zeros((2, 2), np.uint8)))  # code and weights are loaded
    work: dict[str, Callable[[], object]] = {
        "read": lambda: fmt.read_head(data),
        "decode": lambda: ssic.decode(data),
        "open": lambda: ssic.decode(data, identity=Passphrase("wrong")),
    }
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        work[how]()
    except ssic.SsicError as error:
        print(f"{how}: {type(error).__name__}: {error}", file=sys.stderr)
    seconds = time.process_time() - began
    results.put((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megapixels", type=float, default=4.0, help="that the files claim")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    context = multiprocessing.get_context("spawn")
    for name, (data, how) in worst(options.megapixels).items():
        results = context.SimpleQueue()
        process = context.Process(target=cost, args=(data, how, results))
        process.start()
        process.join()
        if process.exitcode != 0:
            print(f"{name}: the process ended with {process.exitcode}", file=sys.stderr)
            return 1
        seconds, mib = results.get()
        kilobytes = len(data) / 1000
        rows.append(
            {
                "file": name,
                "bytes": len(data),
                "what": how,
                "seconds": round(seconds, 3),
                "mib": round(mib, 1),
                "seconds_per_kb": round(seconds / kilobytes, 3),
                "mib_per_kb": round(mib / kilobytes, 1),
            }
        )
    if options.json:
        print(json.dumps({"megapixels": options.megapixels, "files": rows}, indent=2))
        return 0
    print("| file | bytes | what | CPU s | MiB | CPU s per kB | MiB per kB |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
