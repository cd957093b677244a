"""Tables of results, and the machine, versions and commit that they belong to."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import features

from ssic.codec import Codec
from ssic.version import __version__

PACKAGES = (
    *("numpy", "torch", "constriction", "pillow", "pillow-heif", "bjontegaard", "pytorch-msssim"),
    *("pycocotools", "onnxruntime"),
)


def environment(model: str, engine: str) -> dict[str, Any]:
    """Machine, versions, model and commit."""
    codec = Codec.load(model, engine=engine)
    libraries = {f: features.version(f) for f in ("libjpeg_turbo", "webp", "jpg_2000", "avif")}
    return {
        "engine": codec.engine.name,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {codec.engine.threads} threads",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"ssic": __version__} | {p: installed_version(p) for p in PACKAGES} | libraries,
        "model": f"{codec.config.name} {codec.model_id.hex()}",
        "floats": codec.engine.floats_id.hex(),
        "commit": _commit(),
    }


def to_json(results: Any) -> str:
    """JSON, with null for what is infinite (the PSNR of equal pictures) or undefined, and nine digits."""
    return json.dumps(_plain(results), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


@dataclass(frozen=True)
class Table:
    """A title, headings and cells; the first `left` columns are text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def markdown(self) -> str:
        """As Markdown."""
        rule = ["---" if i < self.left else "---:" for i in range(len(self.columns))]
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines])


def document(title: str, results: dict[str, Any], tables: Sequence[Table], notes: str | None = None) -> str:
    """The Markdown page of some results."""
    said = [notes] if notes else []
    return "\n\n".join([f"# {title}", about(results), *said, *(t.markdown() for t in tables)]) + "\n"


def about(results: dict[str, Any]) -> str:
    """One line on where the results come from."""
    e, pictures = results["environment"], len(results["settings"]["pictures"])
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items() if version)
    effort = results["settings"].get("effort", 1)
    refined = f", effort {effort}" if effort > 1 else ""
    return (
        f"{pictures} pictures; model {e['model']}, floats {e['floats']}, on {e['engine']}{refined}; {e['machine']}; "
        f"{e['system']}; "
        f"commit {e['commit']}; {versions}."
    )


def rd_tables(results: dict[str, Any]) -> list[Table]:
    """Curves of ssic and of the peers encoded in the same run, BD-rates, price of structure."""
    tables = []
    for name, points in results["curves"].items():
        parts = [key for key in ("head_bytes", "mask_bytes", "z_bytes", "y_bytes") if key in points[0]]
        headings = ["quality", "bpp", "bytes", *(p.removesuffix("_bytes") for p in parts)]
        headings += ["PSNR dB", "MS-SSIM", "encode s", "decode s"]
        rows = [
            [
                f"{p['quality']:g}",
                f"{p['bpp']:.4f}",
                *(f"{p[key]:,.0f}" for key in ("bytes", *parts)),
                f"{p['psnr']:.3f}",
                _number(p["msssim"], ".5f"),
                f"{p['encode_s']:.3f}",
                f"{p['decode_s']:.3f}",
            ]
            for p in points
        ]
        tables.append(Table(f"{name}: means", headings, rows, left=0))
    for name, found in results["bd_rate"].items():
        rows = [
            [f["anchor"], f["source"], _bd(f["psnr"]), _range(f["psnr"]), _bd(f["msssim_db"])]
            for f in found
            if f["psnr"] or f["msssim_db"]
        ]
        if rows:
            headings = ["against", "from", "BD-rate, PSNR", "common range, dB", "BD-rate, MS-SSIM"]
            tables.append(Table(f"BD-rate of {name} (negative: fewer bytes)", headings, rows, left=2))
    if results["structure"]:
        tables += _structure_tables(results["structure"])
    return tables


def _structure_tables(structure: dict[str, Any]) -> list[Table]:
    names = {
        "mask_bytes": "mask",
        "head_bytes": "index and rest of the head",
        "z_bytes": "side information (z)",
        "y_bytes": "lost context (y)",
        "psnr": "change of PSNR",
    }
    shares = [[names[p], _number(v, "+.2f", " %")] for p, v in structure["parts_percent"].items()]
    shares.append(["all", _bd(structure["bd_rate"]["psnr"])])
    shares.append(["all, MS-SSIM", _bd(structure["bd_rate"]["msssim_db"])])
    added = [
        [f"{row['quality']:g}", f"{row['one_group_bytes']:,.0f}"]
        + [f"{row[key]:+,.1f}" for key in ("bytes", "mask_bytes", "head_bytes", "z_bytes", "y_bytes")]
        + [f"{row['psnr']:+.3f}"]
        for row in structure["added"]
    ]
    headings = ["quality", "bytes, one group", "added", "mask", "head", "z", "y", "PSNR dB"]
    return [
        Table("Price of structure: BD-rate against one group", ["part", "share"], shares),
        Table("Price of structure: mean bytes added, by part", headings, added, left=0),
    ]


def selective_tables(results: dict[str, Any]) -> list[Table]:
    """Means by method, and bytes by picture."""
    settings, methods, measured = results["settings"], results["methods"], results["pictures"]
    db = f"{settings['psnr']:g} dB"
    rows = [
        [
            name,
            f"{m['bytes_at_psnr']:,.0f}",
            f"{m['relative']:.2f}",
            f"{m['bytes']:,.0f}",
            f"{m['psnr']:.2f}",
            f"{m['quality']:.1f}",
            f"{m['fewest']}",
        ]
        for name, m in methods.items()
    ]
    headings = ["sent", f"bytes at {db}", "relative", "bytes of the file", "its PSNR", "quality", "fewest"]
    share = _number(results["foreground"], ".0%")
    compared = str(results["compared"])
    if results["compared"] < len(measured):
        compared += f" of {len(measured)}"
    title = f"Foreground ({share} of the picture) at {db}, means of {compared} pictures"
    if results["compared"] < len(measured):
        title += ": of those that every method can code so"
    names = list(measured[0]["methods"])
    pictures = [
        [p["picture"], f"{p['foreground']:.0%}", str(p["groups"])]
        + [_number((p["methods"][name] or {}).get("bytes_at_psnr"), ",.0f") for name in names]
        for p in measured
    ]
    by_picture = Table(f"Bytes at {db}", ["picture", "foreground", "groups", *names], pictures)
    return [Table(title, headings, rows), by_picture]


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _bd(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    percent = found["percent"]
    return f"{percent:+.1f} %" if abs(percent) >= 10 else f"{percent:+.2f} %"


def _range(found: dict[str, float] | None) -> str:
    return "-" if found is None else f"{found['low']:.1f} to {found['high']:.1f}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def computing() -> dict[str, str | None]:
    """Versions of the libraries that compute what comes of networks."""
    return {name: installed_version(name) for name in ("numpy", "onnxruntime", "torch")}


def installed_version(name: str) -> str | None:
    """Of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[3]
    if not ((root / ".git").exists() and (root / "src/ssic").is_dir()):
        return None  # installed, perhaps inside of a repository that is none of ours

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changes = ", with changes" if git("status", "--porcelain", "--", "src") else ""
        return git("rev-parse", "--short", "HEAD") + changes
    except (OSError, subprocess.CalledProcessError):
        return None
