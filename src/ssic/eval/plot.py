"""The picture of the curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssic.errors import InvalidInput
from ssic.eval.extras import optional
from ssic.eval.peers import Curve
from ssic.eval.rd import HERE, METRICS, as_curve

SHOWN = (
    "vtm",
    "git-ssic-charm (figure)",
    "elic2022 (paper)",
    "bmshj2018-hyperprior",
    "bpg_hm",
    "avif_psnr_s6",
    "heic_x265",
    "jpeg2000",
    "webp",
    "jpeg_444",
    "jpeg_420",
)
"""Curves from files that are drawn unless others are asked for; dozens lie there, one on the other."""


def choose(curves: Sequence[Curve], names: Sequence[str] | None) -> list[Curve]:
    """The curves to draw, each name once, measured ones before published ones.

    Raises:
        InvalidInput: there is no curve of that name.
    """
    by_name: dict[str, Curve] = {}
    for curve in curves:
        known = by_name.setdefault(curve.name, curve)
        if _with_msssim(curve) and not _with_msssim(known):
            by_name[curve.name] = curve
    if missing := sorted(set(names or ()) - set(by_name)):
        raise InvalidInput(f"no curve {', '.join(missing)}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in (names or SHOWN) if name in by_name]


def _with_msssim(curve: Curve) -> bool:
    return any(p.msssim_db is not None for p in curve.points)


def draw(results: dict[str, Any], curves: Sequence[Curve], path: Path) -> None:
    """Write the plot of the results of `run_rd`, with curves from files dashed."""
    ours = [as_curve(name, "ssic", points) for name, points in results["curves"].items()]
    measured = {curve.name for curve in ours}
    everything = [*ours, *(c for c in curves if c.name not in measured)]
    right = 1.15 * max(p.bpp for c in ours if c.name.startswith("ssic") for p in c.points)
    figure = optional("matplotlib.figure").Figure(figsize=(13, 6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), METRICS, strict=True):
        seen: list[float] = []
        for n, curve in enumerate(everything):
            values = [(p.bpp, getattr(p, metric)) for p in curve.points]
            points = sorted((bpp, db) for bpp, db in values if db is not None and math.isfinite(db))
            if not points:
                continue
            seen += [db for bpp, db in points if bpp <= right]
            axes.plot(*zip(*points, strict=True), label=_label(curve), color=f"C{n % 10}", **_style(curve, n))
        axes.set_xlim(0, right)
        if seen:
            margin = 0.05 * (max(seen) - min(seen)) + 0.1
            axes.set_ylim(min(seen) - margin, max(seen) + margin)
            axes.legend(fontsize=8, loc="lower right")
        axes.set_xlabel("bits per pixel, of files")
        axes.set_ylabel("PSNR, RGB, dB" if metric == "psnr" else "MS-SSIM, RGB, -10 log10(1 - x) dB")
        axes.grid(alpha=0.3)
    pictures = len(results["settings"]["pictures"])
    figure.suptitle(
        f"Rate and distortion, means of {pictures} pictures; model {results['environment']['model']}"
    )
    figure.savefig(path, dpi=120)


def _label(curve: Curve) -> str:
    return curve.name if curve.source in (HERE, "ssic") else f"{curve.name} [{curve.source}]"


def _style(curve: Curve, n: int) -> dict[str, Any]:
    if curve.name.startswith("ssic"):
        return {"linewidth": 2.5, "marker": "o", "markersize": 4, "zorder": 3}
    if curve.source == "ssic":
        return {"linewidth": 1.2, "marker": ".", "linestyle": "-"}
    return {"linewidth": 1, "linestyle": ("--", ":", "-.")[n // 10 % 3]}
