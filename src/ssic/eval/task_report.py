"""Tables and the plot of accuracy per bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssic.eval.extras import optional
from ssic.eval.report import Table

TITLES = {"segm": "instance segmentation", "bbox": "object detection", "keypoints": "persons' keypoints"}


def task_tables(results: dict[str, Any]) -> list[Table]:
    """Bits saved against each other method, then the curves."""
    settings, original = results["settings"], results["original"]
    tables = [
        Table(
            f"{TITLES[settings['task']].capitalize()}: {len(settings['pictures'])} pictures, "
            f"{settings['objects']} objects",
            ["", "bits per pixel", "AP", "95 % of resamplings", "AP at 0.5"],
            [
                [
                    "original files",
                    f"{original['bpp']:.3f}",
                    f"{original['ap']:.3f}",
                    _between(original["ap_interval"], ".3f"),
                    f"{original['ap50']:.3f}",
                ]
            ],
        )
    ]
    for name, rows in results["saved"].items():
        if not rows:
            continue
        shares = [f"at {at['share']:.0%} (AP {at['ap']:.3f})" for at in rows[0]["at"]]
        tables.append(
            Table(
                f"Bits that {name} saves at equal AP",
                ["against", "mean", "95 % of resamplings", "common range of AP", *shares],
                [
                    [
                        row["against"],
                        _percent(row["mean"]),
                        _between(row["interval"], "+.0%"),
                        "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
                        *(_percent(at["saved"]) for at in row["at"]),
                    ]
                    for row in rows
                ],
            )
        )
    for name, points in results["curves"].items():
        rows = [
            [
                str(p["quality"]),
                f"{p['bpp']:.4f}",
                f"{p['bytes'] / len(settings['pictures']):,.0f}",
                f"{p['ap']:.4f}",
                _between(p["ap_interval"], ".3f"),
                f"{p['ap50']:.4f}",
                f"{p['ap'] / original['ap']:.0%}" if original["ap"] else "-",
            ]
            for p in points
        ]
        headings = [
            "quality",
            "bits per pixel",
            "bytes",
            "AP",
            "95 % of resamplings",
            "AP at 0.5",
            "of original",
        ]
        tables.append(Table(name, headings, rows, left=0))
    return tables


def task_notes(results: dict[str, Any]) -> str:
    """What must be known to read the tables."""
    layout = results["settings"]["layout"]
    source = (
        "**Groups are made of the annotations**: the outlines of what is sent show the detector where the objects are, "
        "in ssic selective as in boxes and flat, so that their AP can exceed that of the original files."
        if layout["segmenter"] is None
        else f"Groups are made of what {layout['segmenter']} finds in the original pictures."
    )
    fills = {facts["fill"] for facts in results["settings"]["methods"].values() if "fill" in facts}
    return (
        f"{source} Groups: {layout['group_by']}, block rule {layout['rule']}, margin of {layout['margin']} blocks; "
        f"fill of what is not sent: {', '.join(sorted(fills)) or 'none'}. Bits per pixel are those sent, by all pixels "
        "of the pictures. Bits saved at equal AP: 1 - rate / rate of the other method; mean over the common range of "
        "AP. "
        f"Intervals: {results['settings']['samples']} resamplings of the pictures."
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def _between(values: Sequence[float] | None, form: str) -> str:
    return "-" if values is None else f"{values[0]:{form}} to {values[1]:{form}}"


def draw_task(results: dict[str, Any], path: Path) -> None:
    """Write the plot: AP over bits per pixel."""
    figure = optional("matplotlib.figure").Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for n, (name, points) in enumerate(results["curves"].items()):
        bpp, ap = [p["bpp"] for p in points], [p["ap"] for p in points]
        style: dict[str, Any] = {"linewidth": 1.3, "marker": ".", "linestyle": "--"}
        if name.startswith("ssic"):
            style = {"linewidth": 2.5, "marker": "o", "markersize": 4, "zorder": 3}
        axes.plot(bpp, ap, label=name, color=f"C{n % 10}", **style)
        if name == "ssic selective" and all(p["ap_interval"] for p in points):
            below, above = zip(*(p["ap_interval"] for p in points), strict=True)
            axes.fill_between(bpp, below, above, color=f"C{n % 10}", alpha=0.12, linewidth=0)
    axes.axhline(results["original"]["ap"], color="black", linewidth=1, linestyle=":", label="original files")
    axes.set_xscale("log")
    ticks: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
    low = min(p["bpp"] for points in results["curves"].values() for p in points if p["bpp"] > 0)
    high = max(p["bpp"] for points in results["curves"].values() for p in points)
    shown = [t for t in ticks if low / 1.5 <= t <= high * 1.5]
    axes.set_xticks(shown, [f"{t:g}" for t in shown])
    axes.minorticks_off()
    axes.set_xlabel("bits per pixel that were sent, of files")
    axes.set_ylabel("AP")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    task, pictures = results["settings"]["task"], len(results["settings"]["pictures"])
    figure.suptitle(
        f"{TITLES[task].capitalize()} in what arrives: {pictures} pictures; model {results['environment']['model']}"
    )
    figure.savefig(path, dpi=120)
