"""What `set-quality` without the original loses.

Each picture is coded as one group at one quality, and set to a lower one from its decoded pixels. That is compared with
coding the original at the lower quality: bytes of all files, and mean PSNR against the original. The last column is the
highest quality at which coding the original gives no higher mean PSNR.

    python benchmarks/recoding.py --images kodak
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

import ssic
from _pictures import options as arguments
from _pictures import sets
from _report import emit, table
from ssic.eval.metrics import psnr

CHANGES = ((60, 50), (80, 40), (90, 20))


def main() -> None:
    options = arguments(__doc__, [])
    codec = ssic.Codec.load(options.model)
    pictures: Mapping[str, NDArray[np.uint8]] = {
        name: pixels for name, pixels, _ in sets(options.images, None)
    }

    @cache
    def coded(name: str, quality: int) -> bytes:
        return codec.encode(pictures[name], quality=quality).data

    def measured(files: Mapping[str, bytes]) -> tuple[int, float]:
        errors = [
            psnr(pictures[name], ssic.decode(data, model=options.model)) for name, data in files.items()
        ]
        return sum(map(len, files.values())), float(np.mean(errors))

    results = []
    for high, low in CHANGES:
        again = {}
        for name in pictures:
            opened = ssic.SsicFile(coded(name, high), model=options.model)
            again[name] = bytes(opened.set_quality({0: low}))
        size, error = measured(again)
        straight, without = measured({name: coded(name, low) for name in pictures})
        equal, there = low, without
        while there > error and equal > 1:
            equal -= 1
            _, there = measured({name: coded(name, equal) for name in pictures})
        results.append(
            {"from": high, "to": low, "bytes": size / straight - 1, "psnr": error - without, "equal": equal}
        )
    rows = [(r["from"], r["to"], f"{r['bytes']:+.1%}", f"{r['psnr']:+.2f} dB", r["equal"]) for r in results]
    columns = ("from quality", "to", "bytes", "PSNR", "as good as quality")
    found = {"pictures": list(pictures), "changes": results}
    emit("Coding again", found, [table(columns, rows)], options.json, options.model)


if __name__ == "__main__":
    main()
