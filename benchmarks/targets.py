"""Encoding to targets: how many encodes it takes, and how near the result is.

Each picture is encoded to 20, 40, 60 and 80 % of the bytes that quality 90 takes, and to four values of PSNR, with its
mask and with one group. `passes` are runs of the encoder over some or all groups; `encodes` counts the blocks that they
coded, in pictures. `below` is how far the file is below its target, in percent of the bytes, or above it in dB.

    python benchmarks/targets.py --images kodak --masks kodak_masks/semantic
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ssic
from _pictures import options as arguments
from _pictures import sets
from _report import emit, table

SHARES = (0.2, 0.4, 0.6, 0.8)
LEVELS = (0.25, 0.5, 0.75, 0.9)


def main() -> None:
    options = arguments(__doc__, [90])
    codec = ssic.Codec.load(options.model)
    measured: list[dict[str, Any]] = []
    for name, pixels, mask in sets(options.images, options.masks):
        largest = len(codec.encode(pixels, mask, quality=options.qualities[0]).data)
        errors = [_psnr(pixels, codec.encode(pixels, mask, quality=q).data) for q in (1, 100)]
        targets = [ssic.Target("bytes", int(share * largest)) for share in SHARES]
        targets += [ssic.Target("psnr", round(errors[0] + s * (errors[1] - errors[0]), 2)) for s in LEVELS]
        for groups in (mask, None):
            for target in targets:
                begun = time.process_time()
                met = codec.encode(pixels, groups, target=target)
                assert met.reached is not None
                off = met.reached - target.value
                measured.append(
                    {
                        "picture": name,
                        "groups": len(met.qualities),
                        "target": str(target),
                        "kind": target.kind,
                        "passes": met.passes,
                        "encodes": met.encodes,
                        "below": off if target.kind == "psnr" else -100 * off / target.value,
                        "qualities": sorted(set(met.qualities.values())),
                        "cpu_s": time.process_time() - begun,
                    }
                )
    rows = []
    for kind, many in (("bytes", True), ("bytes", False), ("psnr", True), ("psnr", False)):
        of = [m for m in measured if m["kind"] == kind and (m["groups"] > 1) == many]
        if not of:
            continue
        below = [m["below"] for m in of]
        unit = "dB" if kind == "psnr" else "%"
        rows.append(
            [
                f"{kind}, {'groups' if many else 'one group'}",
                len(of),
                f"{np.mean([m['passes'] for m in of]):.2f}",
                max(m["passes"] for m in of),
                f"{np.mean([m['encodes'] for m in of]):.2f}",
                f"{np.mean(below):.2f} {unit}",
                f"{max(below):.2f} {unit}",
                sum(b <= 1 for b in below) if kind == "bytes" else "",
            ]
        )
    columns = ["target", "files", "passes", "most", "encodes", "below", "at most", "within 1 %"]
    emit("Encodes per target", {"files": measured}, [table(columns, rows)], options.json, options.model)


def _psnr(pixels: Any, data: bytes) -> float:
    error = np.mean((ssic.decode(data).astype(float) - pixels) ** 2)
    return float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
