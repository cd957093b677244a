"""Accuracy per bit: what a detector finds in what arrives, over the bits that were sent.

Coding and detecting are slow, so what comes of each (method, quality, picture) lies in a file of its own and is found
again; scoring starts from these files.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.batch import new_pool, starting
from ssic.eval.ap import Matches, Task, interval, match, saved
from ssic.eval.report import computing, environment
from ssic.eval.task_data import (
    Dataset,
    Entry,
    Layout,
    detect,
    detector_identity,
    detector_label,
    load_detector,
)
from ssic.eval.task_methods import Method, Original
from ssic.model.weights import DEFAULT_MODEL
from ssic.storage.atomic import replacing

SCHEMA = "ssic-eval-task/2"
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the AP on the original pictures, at which rates are compared."""
Advance = Callable[[int, int], None]
"""Called with how many of how many pictures are done."""


@dataclass(frozen=True)
class TaskOptions:
    """What to measure.

    Attributes:
        detector: "onnx:PATH".
        work: folder of what was measured so far.
        jobs: processes.
        samples: of the bootstrap over pictures.
    """

    dataset: Dataset
    task: Task
    detector: str
    methods: Sequence[Method]
    layout: Layout
    work: Path
    jobs: int = 1
    samples: int = 500
    seed: int = 0
    model: str = DEFAULT_MODEL
    engine: str = "auto"


@dataclass(frozen=True)
class Bench:
    """Measures one picture with all methods. Picklable: it is what the processes get."""

    task: Task
    detector: str
    layout: Layout
    categories: Mapping[str, int]
    points: Sequence[tuple[Method, Path]]
    threads: int

    def __call__(self, entry: Entry) -> int:
        """Measure what is not there yet; returns how many points that were."""
        missing = [
            (method, quality, path)
            for method, folder in self.points
            for quality in method.qualities
            if not (path := _path(folder, entry.id, quality)).exists()
        ]
        if not missing:
            return 0
        detector = load_detector(self.detector, self.threads)
        scene = entry.load(self.layout, self.categories, self.threads)
        for method, quality, path in missing:
            sent = method.send(scene, quality)
            height, width = scene.pixels.shape[:2]
            result = {
                "bytes": sent.bytes,
                "pixels": height * width,
                "found": detect(detector, sent.pixels, self.task, self.categories),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(gzip.compress(json.dumps(result).encode(), 6, mtime=0))
        return len(missing)


def _path(folder: Path, picture: int, quality: int) -> Path:
    return folder / f"q{quality}" / f"{picture}.json.gz"


def folders(options: TaskOptions) -> list[tuple[Method, Path]]:
    """Each method, the original first, and where its points lie: under a hash of all that decides them."""
    detector = {
        "task": options.task,
        "detector": detector_identity(options.detector),
        "data": options.dataset.identity,
        "libraries": computing(),  # they run the detector, too
    }
    layout = asdict(options.layout)
    if options.layout.segmenter is not None:
        layout["segmenter"] = detector_identity(options.layout.segmenter)
    result: list[tuple[Method, Path]] = []
    for method in (Original(), *options.methods):
        # What is sent whole by others does not depend on groups.
        grouped = method.name.startswith("ssic") or method.name.endswith((" boxes", " flat"))
        identity = method.identity(detector | ({"layout": layout} if grouped else {}))
        result.append((method, options.work / f"{method.name.replace(' ', '-')}-{identity}"))
    return result


def measure(options: TaskOptions, points: Sequence[tuple[Method, Path]], advance: Advance) -> None:
    """Code, and run the detector on, what is missing.

    Args:
        points: see `folders`.
    """
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    dataset = options.dataset
    bench = Bench(options.task, options.detector, options.layout, dataset.categories, points, threads)
    total = len(dataset.entries)
    if options.jobs == 1:
        for n, entry in enumerate(dataset.entries, 1):
            bench(entry)
            advance(n, total)
        return
    with new_pool(options.jobs) as pool:
        with starting(threads):
            waiting = [pool.submit(bench, entry) for entry in dataset.entries]
        try:
            for n, done in enumerate(as_completed(waiting), 1):
                done.result()
                advance(n, total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass(frozen=True, eq=False)
class Measured:
    """A point of a curve: the pictures' bytes [I] and pixels [I], and what the detector found in them."""

    quality: int
    bytes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    matches: Matches

    def at(self, weights: NDArray[Any] | None = None) -> tuple[float, float, float]:
        """(bits per pixel, AP, AP at 0.5)."""
        w = np.ones(len(self.bytes)) if weights is None else weights
        return 8 * float(w @ self.bytes) / float(w @ self.pixels), *self.matches.ap(w)


def collect(options: TaskOptions, points: Sequence[tuple[Method, Path]]) -> dict[str, list[Measured]]:
    """The measured points, by method; `points` as for `measure`."""
    dataset = options.dataset
    pictures = [entry.id for entry in dataset.entries]
    curves: dict[str, list[Measured]] = {}
    for method, folder in points:
        curves[method.name] = []
        for quality in method.qualities:
            read = [json.loads(gzip.decompress(_path(folder, n, quality).read_bytes())) for n in pictures]
            found = {n: r["found"] for n, r in zip(pictures, read, strict=True)}
            sizes, pixels = (np.array([r[key] for r in read], np.int64) for key in ("bytes", "pixels"))
            matches = match(dataset.truth, pictures, found, options.task)
            curves[method.name].append(Measured(quality, sizes, pixels, matches))
    return curves


def run_task(options: TaskOptions, advance: Advance, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything, and score it; the result is what `--json` prints, see docs/eval.md."""
    layout = asdict(options.layout)
    if options.layout.segmenter is not None:
        layout["segmenter"] = detector_label(options.layout.segmenter)
    points = folders(options)
    measure(options, points, advance)
    report("scoring")
    curves = collect(options, points)
    original = curves.pop("original")[0]
    report("resampling the pictures")
    rng = np.random.default_rng(options.seed)
    count = len(options.dataset.entries)
    weights = [rng.multinomial(count, np.full(count, 1 / count)) for _ in range(options.samples)]
    resampled = [
        (original.at(w)[1], {name: [p.at(w) for p in points] for name, points in curves.items()})
        for w in weights
    ]
    ap, ap50 = original.at()[1:]
    return {
        "schema": SCHEMA,
        "environment": environment(options.model, options.engine),
        "settings": {
            "pictures": [entry.path.stem for entry in options.dataset.entries],
            "objects": len(options.dataset.truth["annotations"]),
            "task": options.task,
            "detector": detector_label(options.detector),
            "layout": layout,
            "methods": {method.name: method.facts() for method in options.methods},
            "samples": options.samples,
        },
        "original": {"bpp": original.at()[0], "ap": ap, "ap50": ap50}
        | {"ap_interval": interval([r[0] for r in resampled])},
        "curves": {
            name: [
                {"quality": p.quality, "bytes": int(p.bytes.sum())}
                | dict(zip(("bpp", "ap", "ap50"), p.at(), strict=True))
                | {"ap_interval": interval([r[1][name][n][1] for r in resampled])}
                for n, p in enumerate(points)
            ]
            for name, points in curves.items()
        },
        "saved": _savings(curves, ap, resampled),
    }


Resampled = Sequence[tuple[float, Mapping[str, Sequence[tuple[float, float, float]]]]]


def _savings(curves: Mapping[str, Sequence[Measured]], ap: float, resampled: Resampled) -> dict[str, Any]:
    """Bits that each ssic curve saves against each other, by name of the first."""
    whole = {name: [p.at()[:2] for p in points] for name, points in curves.items()}
    result: dict[str, Any] = {}
    for name in (n for n in curves if n.startswith("ssic")):
        result[name] = []
        for other in (n for n in curves if n != name):
            found = saved(whole[name], whole[other], [ap * s for s in LEVELS])
            again = [
                saved([p[:2] for p in c[name]], [p[:2] for p in c[other]], [top * s for s in LEVELS])
                for top, c in resampled
            ]
            several = [s for s in again if s is not None]
            result[name].append(
                {
                    "against": other,
                    "mean": None if found is None else found.mean,
                    "interval": interval([s.mean for s in several]),
                    "low": None if found is None else found.low,
                    "high": None if found is None else found.high,
                    "at": [
                        {
                            "share": share,
                            "ap": ap * share,
                            "saved": None if found is None else found.at[n],
                            "interval": interval([v for s in several if (v := s.at[n]) is not None]),
                        }
                        for n, share in enumerate(LEVELS)
                    ],
                }
            )
    return result
