"""Rate-distortion: curves, BD-rates between them, and the price of structure."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssic.engine.effort import check_effort
from ssic.errors import InvalidInput
from ssic.eval.extras import optional
from ssic.eval.kept import Kept
from ssic.eval.measure import PARTS, Points, Ssic, measure_peer, measure_ssic
from ssic.eval.metrics import bd_rate
from ssic.eval.peers import Curve, Peer, Point
from ssic.eval.pictures import Cases, Report
from ssic.eval.report import environment
from ssic.model.weights import DEFAULT_MODEL

SCHEMA = "ssic-eval-rd/1"
QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
HERE = "this run"
METRICS = ("psnr", "msssim_db")


@dataclass(frozen=True)
class RdOptions:
    """What to measure.

    Attributes:
        cases: pictures, with their masks.
        qualities: of ssic.
        peers: to be encoded here.
        curves: of peers from files.
        structure: measure with one group as well, and compare.
        bpp_range: mean rates of the points of ssic that BD-rates are taken from; None is all.
        model: installed model, or a weights file.
        engine: what runs its networks.
        effort: of the encoder, 1 to 9.
        work: folder of what is measured, for later runs; None keeps nothing.
    """

    cases: Cases
    qualities: Sequence[int] = QUALITIES
    peers: Sequence[Peer] = ()
    curves: Sequence[Curve] = ()
    structure: bool = False
    bpp_range: tuple[float, float] | None = None
    model: str = DEFAULT_MODEL
    engine: str = "auto"
    effort: int = 1
    work: Path | None = None


def run_rd(options: RdOptions, report: Report) -> dict[str, Any]:
    """Measure everything; the result is what `--json` prints, see docs/eval.md.

    Raises:
        InvalidInput: the extra is not installed, or there are no masks to compare with and without.
        EngineError: the effort takes PyTorch, which is not installed.
    """
    for module in ("bjontegaard", "pytorch_msssim"):
        optional(module)
    masked = all(mask is not None for _, mask in options.cases.files)
    if options.structure and not masked:
        raise InvalidInput("the price of structure needs masks: --masks")
    check_effort(options.effort, here=True)
    qualities = sorted(set(options.qualities))
    if not qualities or qualities[0] < 1 or qualities[-1] > 100:
        raise InvalidInput(f"qualities are numbers from 1 to 100, not {list(options.qualities)}")
    codec = Ssic(options.model, options.engine, options.effort)
    curves: dict[str, Points] = {}
    kept = Kept(options.work)
    with tempfile.TemporaryDirectory(prefix="ssic-eval-") as folder:
        work = Path(folder)
        curves["ssic"] = measure_ssic(options.cases, codec, qualities, masked, work, report, kept)
        if options.structure:
            curves["ssic, one group"] = measure_ssic(
                options.cases, codec, qualities, False, work, report, kept
            )
        ours = list(curves)
        for peer in options.peers:
            curves[peer.name] = measure_peer(options.cases, peer, work, report, kept)
    anchors = [as_curve(name, HERE, points) for name, points in curves.items() if name not in ours]
    anchors += options.curves
    used = {name: within(curves[name], options.bpp_range) for name in ours}
    structure = None
    if options.structure:
        pairs = zip(curves["ssic, one group"], curves["ssic"], strict=True)
        both = [(one, grouped) for one, grouped in pairs if within([one], options.bpp_range)]
        structure = price_of_structure([one for one, _ in both], [grouped for _, grouped in both])
    return {
        "schema": SCHEMA,
        "environment": environment(options.model, options.engine),
        "settings": {
            "pictures": [path.stem for path, _ in options.cases.files],
            "masks": masked,
            "qualities": qualities,
            "bpp_range": options.bpp_range,
            "effort": options.effort,
        },
        "curves": curves,
        "bd_rate": {name: compare(as_curve(name, HERE, used[name]), anchors) for name in ours},
        "structure": structure,
    }


def as_curve(name: str, source: str, points: Points) -> Curve:
    """A measured curve in the shape of those from files."""
    return Curve(name, source, tuple(Point(p["bpp"], p["psnr"], p["msssim_db"]) for p in points))


def within(points: Points, bpp_range: tuple[float, float] | None) -> Points:
    """The points whose mean rate lies in the range."""
    low, high = bpp_range or (0, np.inf)
    return [p for p in points if low <= p["bpp"] <= high]


def compare(curve: Curve, anchors: Sequence[Curve]) -> list[dict[str, Any]]:
    """BD-rates of a curve against others, the strongest of them first."""
    found = []
    for anchor in anchors:
        rates = {metric: _bd_rate(anchor, curve, metric) for metric in METRICS}
        found.append({"anchor": anchor.name, "source": anchor.source} | rates)
    return sorted(found, key=lambda f: -f["psnr"]["percent"] if f["psnr"] else np.inf)


def price_of_structure(one: Points, grouped: Points) -> dict[str, Any]:
    """What the groups cost: as BD-rate against one group, and in bytes at equal quality settings.

    The BD-rate is split without a rest: part after part is added to the rate of the curve with one group, then its
    PSNR is exchanged for that with groups. What each step adds is the part's share.
    """
    rates, before = [_bpp(p, "bytes") for p in one], 0.0
    quality = [p["psnr"] for p in one]
    anchor = list(zip(rates, quality, strict=True))
    shares: dict[str, float | None] = {}
    for part in (*PARTS, "psnr"):
        if part == "psnr":
            quality = [p["psnr"] for p in grouped]
        else:
            added = [_bpp(g, part) - _bpp(o, part) for o, g in zip(one, grouped, strict=True)]
            rates = [rate + more for rate, more in zip(rates, added, strict=True)]
        reached = bd_rate(anchor, list(zip(rates, quality, strict=True)))
        shares[part] = None if reached is None else reached.percent - before
        before = before if reached is None else reached.percent
    whole, apart = as_curve("one group", HERE, one), as_curve("groups", HERE, grouped)
    return {
        "bd_rate": {metric: _bd_rate(whole, apart, metric) for metric in METRICS},
        "parts_percent": shares,
        "added": [
            {"quality": o["quality"], "one_group_bytes": o["bytes"], "bytes": g["bytes"] - o["bytes"]}
            | {part: g[part] - o[part] for part in PARTS}
            | {"psnr": g["psnr"] - o["psnr"]}
            for o, g in zip(one, grouped, strict=True)
        ],
    }


def _bd_rate(anchor: Curve, test: Curve, metric: str) -> dict[str, float] | None:
    found = bd_rate(_points(anchor, metric), _points(test, metric))
    return None if found is None else asdict(found)


def _points(curve: Curve, metric: str) -> list[tuple[float, float]]:
    return [(p.bpp, float(db)) for p in curve.points if (db := getattr(p, metric)) is not None]


def _bpp(point: dict[str, Any], key: str) -> float:
    return float(np.mean([8 * p[key] / (p["width"] * p["height"]) for p in point["pictures"]]))
