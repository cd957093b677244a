"""What efforts cost and buy, and the speed ladder of another encoder beside them: AVIF (Pillow, speeds 10 to 0).

Centre crops of pictures are encoded at several qualities with each effort, as one group, from files; each ladder is
compared with its own first step at equal PSNR (BD-rate). Small crops will do for that, as the bytes that every file has
are in all steps of a ladder; they won't do for comparing one encoder with the other. Seconds are CPU seconds per
megapixel.

    python benchmarks/effort.py validation/*.webp --model base.safetensors --crop 160 --plot docs/img/effort.png
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from _report import emit, table
from ssic.blocks import from_blocks
from ssic.codec import Codec
from ssic.eval.metrics import bd_rate
from ssic.file import SsicFile
from ssic.model.weights import DEFAULT_MODEL

AVIF_QUALITIES = (20, 35, 50, 65, 80)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--crop", type=int, default=256, help="side of the centre crops; a multiple of 16")
    parser.add_argument("--qualities", type=int, nargs="+", default=[20, 50, 80])
    parser.add_argument("--efforts", type=int, nargs="+", default=list(range(1, 10)))
    parser.add_argument("--speeds", type=int, nargs="+", default=[10, 8, 6, 4, 2, 0])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    crops = [_crop(path, options.crop) for path in options.pictures]
    codec = Codec.load(options.model)
    codec.encode(crops[0], quality=50)  # what is loaded and set up once is not measured

    def ours(effort: int) -> Callable[[NDArray[np.uint8], int], bytes]:
        return lambda pixels, quality: bytes(codec.encode(pixels, quality=quality, effort=effort).data)

    def theirs(speed: int) -> Callable[[NDArray[np.uint8], int], bytes]:
        return lambda pixels, quality: _avif(pixels, quality, speed)

    steps = [("ssic", e, ours(e), _ssic_pixels(codec), options.qualities) for e in options.efforts]
    steps += [("AVIF", s, theirs(s), _avif_pixels, AVIF_QUALITIES) for s in options.speeds]
    measured: list[dict[str, Any]] = []
    for name, step, encode, decode, qualities in steps:
        found = {"name": name, "step": step} | _measured(crops, encode, decode, qualities)
        first = next((m for m in measured if m["name"] == name), found)
        found["bd_rate"] = _compared(first, found)
        measured.append(found)
        print(
            f"{name} {step}: {found['s_per_mp']:.1f} s/MP, {found['bd_rate']} %", file=sys.stderr, flush=True
        )
    rows = [
        (
            m["name"],
            m["step"],
            f"{m['s_per_mp']:.2f}",
            f"{m['bpp']:.4f}",
            f"{m['psnr']:.2f}",
            "-" if m["bd_rate"] is None else f"{m['bd_rate']:+.1f} %",
        )
        for m in measured
    ]
    columns = ("", "effort or speed", "s/MP", "bpp, mean", "dB, mean", "bytes against the first step")
    results = {"model": codec.model_id.hex(), "crop": options.crop, "measured": measured}
    emit("Efforts", results, [table(columns, rows)], options.json, options.model)
    if options.plot:
        _plot(measured, options.plot)


def _crop(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _measured(
    crops: Sequence[NDArray[np.uint8]],
    encode: Callable[[NDArray[np.uint8], int], bytes],
    decode: Callable[[bytes], NDArray[np.uint8]],
    qualities: Sequence[int],
) -> dict[str, Any]:
    seconds, area = 0.0, 0
    points = []
    for pixels in crops:
        of_picture = []
        for quality in qualities:
            begun = time.process_time()
            data = encode(pixels, quality)
            seconds += time.process_time() - begun
            area += pixels.shape[0] * pixels.shape[1]
            error = float(np.mean((decode(data).astype(float) - pixels) ** 2))
            bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
            of_picture.append((bpp, 10 * math.log10(255**2 / max(error, 1e-9))))
        points.append(of_picture)
    rates, decibels = (float(np.mean([p[i] for of in points for p in of])) for i in (0, 1))
    return {"points": points, "s_per_mp": 1e6 * seconds / area, "bpp": rates, "psnr": decibels}


def _compared(anchor: dict[str, Any], test: dict[str, Any]) -> float | None:
    """Mean BD-rate over the pictures, in percent; None where the curves have nothing in common."""
    pairs = zip(anchor["points"], test["points"], strict=True)
    found = [bd_rate(a, t, fewest=3) for a, t in pairs]
    percent = [f.percent for f in found if f is not None]
    return float(np.mean(percent)) if percent else None


def _avif(pixels: NDArray[np.uint8], quality: int, speed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer,
        "AVIF",
        quality=quality,
        speed=speed,
        subsampling="4:4:4",
        max_threads=1,
        advanced={"tune": "psnr"},
    )
    return buffer.getvalue()


def _avif_pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _ssic_pixels(codec: Codec) -> Callable[[bytes], NDArray[np.uint8]]:
    def decode(data: bytes) -> NDArray[np.uint8]:
        file = SsicFile(data)
        mask, qualities = file.head.mask, {g.id: g.quality for g in file.groups}
        segments = {g.id: data[g.offset : g.offset + g.length] for g in file.groups}
        _, blocks, _ = codec.decode_blocks(mask, qualities, segments)
        return from_blocks(blocks, *mask.shape)

    return decode


def _plot(measured: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained", dpi=90)
    axes = figure.subplots()
    for name, label in (("ssic", "ssic, efforts"), ("AVIF", "AVIF, speeds")):
        of = [m for m in measured if m["name"] == name and m["bd_rate"] is not None]
        axes.plot([m["s_per_mp"] for m in of], [m["bd_rate"] for m in of], "o-", label=label)
        for m in of:
            axes.annotate(str(m["step"]), (m["s_per_mp"], m["bd_rate"]), (4, 4), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_xlabel("CPU seconds per megapixel")
    axes.set_ylabel("BD-rate against its first step, %")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
