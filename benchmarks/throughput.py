"""How fast groups are taken out of files, dropped, sealed and put together again, in process: files and bytes of the
input per second.

Files of three kinds: small ones (the masks of a folder, with 100 bytes for each group, so that all the time goes into
heads), the pictures of that folder at quality 60 and 90, and the first tiled to 12 megapixels. Each file is given as
bytes; an operation opens it and gives the bytes of the new file. `cold` begins with no memory of any mask, `warm` is
the second and later times that a mask is met: the last 64 are kept. Seconds are processor time of one thread, the best
of several runs over all files.

    python benchmarks/throughput.py --images kodak --masks kodak_masks/semantic
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import ssic
import ssic.format as fmt
from _pictures import options as arguments
from _pictures import sets
from _report import emit, table
from ssic.format import mask_coder

LARGE = (4000, 3000)


def main() -> None:
    options = arguments(__doc__, [60, 90], coding=False)
    pictures = sets(options.images, options.masks)
    large = [_tiled(*picture[1:]) for picture in pictures[:1]]
    kinds = {"small": [_small(p, m) for _, p, m in pictures]}
    for quality in options.qualities:
        kinds[f"as they are, quality {quality}"] = [
            ssic.encode(p, m, quality=quality) for _, p, m in pictures
        ]
        kinds[f"12 megapixels, quality {quality}"] = [ssic.encode(p, m, quality=quality) for p, m in large]
    recipient = ssic.Identity.generate().recipient
    rows, results = [], []
    for kind, files in kinds.items():
        some = {data: ssic.SsicFile(data).head.order[0] for data in files}
        parts = {
            data: (bytes(_open(data).extract(g)), bytes(_open(data).drop(g))) for data, g in some.items()
        }
        operations: dict[str, Callable[[bytes], bytes]] = {
            "extract": lambda data, some=some: bytes(_open(data).extract(some[data])),  # type: ignore[misc]
            "drop": lambda data, some=some: bytes(_open(data).drop(some[data])),  # type: ignore[misc]
            "encrypt": lambda data, some=some: bytes(ssic.encrypt(data, some[data], recipient)),  # type: ignore[misc]
            "reorder": lambda data, some=some: bytes(_open(data).reorder(some[data])),  # type: ignore[misc]
            "merge": lambda data, parts=parts: bytes(ssic.merge(parts[data])),  # type: ignore[misc]
        }
        size = sum(map(len, files))
        for name, operation in operations.items():
            cold, warm = (_seconds(operation, files, cold) for cold in (True, False))
            results.append({"files": kind, "operation": name, "bytes": size, "cold_s": cold, "warm_s": warm})
            rows.append(
                [
                    f"{name}, {kind}",
                    len(files),
                    f"{size / len(files) / 1000:.1f} kB",
                    f"{1000 * cold / len(files):.2f} ms",
                    f"{len(files) / cold:,.0f} /s",
                    f"{size / cold / 1e6:.0f} MB/s",
                    f"{1000 * warm / len(files):.2f} ms",
                    f"{len(files) / warm:,.0f} /s",
                    f"{size / warm / 1e6:.0f} MB/s",
                ]
            )
    columns = ["operation", "files", "size", "cold", "", "", "warm", "", ""]
    emit("Throughput without the model", {"operations": results}, [table(columns, rows)], options.json, None)


def _small(pixels: Any, mask: ssic.GroupMask) -> bytes:
    noise = np.random.default_rng(0)
    segments = [fmt.Segment(i, name, 60, noise.bytes(100)) for i, name in mask.names.items()]
    height, width = pixels.shape[:2]
    return fmt.write_file(width=width, height=height, model_id=bytes(8), mask=mask.ids, segments=segments)


def _open(data: bytes) -> ssic.SsicFile:
    return ssic.SsicFile(data)


def _seconds(operation: Callable[[bytes], Any], files: Sequence[bytes], cold: bool) -> float:
    """For all files, without the time that forgetting takes."""

    def once() -> float:
        total = 0.0
        for data in files:
            if cold:
                mask_coder._decoded.cache_clear()
                mask_coder._encoded.cache_clear()
            begun = time.process_time()
            operation(data)
            total += time.process_time() - begun
        return total

    once()
    return min(once() for _ in range(3 if cold else 10))


def _tiled(pixels: Any, mask: ssic.GroupMask) -> tuple[Any, ssic.GroupMask]:
    """A picture and its mask beside their mirror images: as much detail, and as many groups, on 12 megapixels."""
    width, height = LARGE
    more = [(0, max(0, height - pixels.shape[0])), (0, max(0, width - pixels.shape[1]))]
    labels = mask.to_pixels(pixels.shape[1], pixels.shape[0])
    tiled = np.pad(pixels, (*more, (0, 0)), mode="symmetric")[:height, :width]
    labels = np.pad(labels, more, mode="symmetric")[:height, :width]
    return tiled, ssic.GroupMask.from_label_map(labels, LARGE, drop_empty=True)


if __name__ == "__main__":
    main()
