"""Sending the foreground only: bytes of ssic and of its peers at the same PSNR of the foreground's pixels."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import ABSENT
from ssic.codec import DEFAULT_QUALITY
from ssic.engine.effort import check_effort
from ssic.errors import InvalidInput
from ssic.eval.kept import Kept
from ssic.eval.measure import Ssic
from ssic.eval.metrics import psnr
from ssic.eval.peers import Peer
from ssic.eval.pictures import Case, Cases, Report, stored
from ssic.eval.report import environment
from ssic.file import SsicFile
from ssic.groups.mask import GroupMask
from ssic.model.weights import DEFAULT_MODEL
from ssic.pictures.fill import compose, crop_box

SCHEMA = "ssic-eval-selective/1"
Measure = Callable[[int], tuple[int, float]]
"""Quality -> bytes of the files and PSNR of the foreground."""


@dataclass(frozen=True)
class SelectiveOptions:
    """What to measure.

    Attributes:
        cases: pictures with masks.
        target: PSNR of the foreground in dB.
        background: id of the group that is not sent.
        peers: each is measured with four methods, see `regions_by_method`.
        model: installed model, or a weights file.
        engine: what runs its networks.
        effort: of the encoder, 1 to 9. Above 1 ssic is measured with effort 1, too.
        work: folder of what is measured, for later runs; None keeps nothing.
    """

    cases: Cases
    target: float = 33
    background: int = 0
    peers: Sequence[Peer] = ()
    model: str = DEFAULT_MODEL
    engine: str = "auto"
    effort: int = 1
    work: Path | None = None


@dataclass(frozen=True)
class Trial:
    """Files at one quality."""

    quality: int
    bytes: int
    psnr: float


@dataclass(frozen=True)
class Found:
    """The lowest quality that reaches the target, and the one below, which does not (None if it was the lowest)."""

    at: Trial
    below: Trial | None

    def bytes_at(self, target: float) -> float:
        """Bytes at exactly the target: between the two trials, the logarithm of the bytes linear in dB."""
        if self.below is None or not math.isfinite(self.at.psnr):
            return float(self.at.bytes)
        share = (target - self.below.psnr) / (self.at.psnr - self.below.psnr)
        return float(self.below.bytes * (self.at.bytes / self.below.bytes) ** share)


def search(measure: Measure, target: float, lowest: int, highest: int = 100) -> Found | None:
    """Bisection for the lowest quality that reaches the target; None if the highest does not."""
    above = Trial(highest, *measure(highest))
    if above.psnr < target:
        return None
    below = Trial(lowest, *measure(lowest))
    if below.psnr >= target:
        return Found(below, None)
    return _bisect(measure, target, below, above)


def search_from(start: int, measure: Measure, target: float, lowest: int, highest: int = 100) -> Found | None:
    """The same for measures that take long, where about the right quality is known: from there, in steps that double,
    until the target lies between two of them."""
    above = below = None
    quality, step = start, 1
    while above is None or below is None:
        trial = Trial(quality, *measure(quality))
        if trial.psnr >= target:
            above = trial
            if quality == lowest:
                return Found(above, None)
            quality = max(lowest, quality - step)
        else:
            below = trial
            if quality == highest:
                return None
            quality = min(highest, quality + step)
        step *= 2
    return _bisect(measure, target, below, above)


def _bisect(measure: Measure, target: float, below: Trial, above: Trial) -> Found:
    while above.quality - below.quality > 1:
        quality = (below.quality + above.quality) // 2
        middle = Trial(quality, *measure(quality))
        if middle.psnr >= target:
            above = middle
        else:
            below = middle
    return Found(above, below)


def run_selective(options: SelectiveOptions, report: Report) -> dict[str, Any]:
    """Measure every picture; the result is what `--json` prints, see docs/eval.md.

    Raises:
        InvalidInput: a peer without a scale of whole qualities; a target or a background that there can't be; no
            masks; no picture has a foreground.
        EngineError: the effort takes PyTorch, which is not installed.
    """
    check_effort(options.effort, here=True)
    if not 0 < options.target < math.inf:
        raise InvalidInput(f"the PSNR to be reached is a positive number of dB, not {options.target}")
    if not 0 <= options.background < ABSENT:
        raise InvalidInput(f"groups have ids from 0 to {ABSENT - 1}: {options.background} is none")
    for peer in options.peers:
        if peer.lowest is None:
            raise InvalidInput(f"{peer.name} has no scale of qualities to search")
    pictures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ssic-eval-") as folder:
        for n, case in enumerate(options.cases):
            report(f"{case.name}, {n + 1} of {len(options.cases)}")
            moved = _moved(pictures[-1], options.effort) if pictures else 0
            measured = _measure(case, options, Path(folder), moved)
            if measured is not None:
                pictures.append(measured)
    if not pictures:
        raise InvalidInput(f"no picture has a group other than {options.background}")
    compared = [p for p in pictures if None not in p["methods"].values()]
    return {
        "schema": SCHEMA,
        "environment": environment(options.model, options.engine),
        "settings": {
            "pictures": [path.stem for path, _ in options.cases.files],
            "psnr": options.target,
            "background": options.background,
            "effort": options.effort,
        },
        "compared": len(compared),
        "foreground": float(np.mean([p["foreground"] for p in compared])) if compared else None,
        "methods": _means(compared) if compared else {},
        "pictures": pictures,
    }


def _refined(effort: int) -> str:
    """Name of the method that is ssic with an effort above 1."""
    return f"ssic, effort {effort}"


def _moved(measured: dict[str, Any], effort: int) -> int:
    """By how much the quality that reaches the target moved with the effort: the same in many pictures."""
    plain, refined = (measured["methods"].get(name) for name in ("ssic", _refined(effort)))
    return 0 if plain is None or refined is None else int(refined["quality"] - plain["quality"])


def _measure(case: Case, options: SelectiveOptions, work: Path, moved: int) -> dict[str, Any] | None:
    """
    Args:
        moved: of the picture before, to begin with: each trial with an effort takes long.
    """
    if case.mask is None:
        raise InvalidInput("which part is sent, masks say: --masks")
    height, width = case.pixels.shape[:2]
    wanted = [g for g in case.mask.groups if g != options.background]
    if not wanted:
        return None
    ids = case.mask.to_pixels(width, height)
    foreground = _Foreground(case, case.mask, wanted, np.isin(ids, wanted), work, Kept(options.work))
    codec = Ssic(options.model, options.engine)
    found = search(foreground.by_ssic(codec), options.target, 1)
    results = {"ssic": found}
    if options.effort > 1:
        better = None
        if found is not None:
            start = min(100, max(1, found.at.quality + moved))
            refined = foreground.by_ssic(replace(codec, effort=options.effort))
            better = search_from(start, refined, options.target, 1)
        results[_refined(options.effort)] = better
    for peer in options.peers:
        for method, regions in regions_by_method(case.pixels, ids, wanted).items():
            measure = foreground.by_peer(peer, method, regions)
            results[f"{peer.name} {method}"] = search(measure, options.target, peer.lowest or 0)
    return {
        "picture": case.name,
        "width": width,
        "height": height,
        "foreground": float(foreground.shown.mean()),
        "groups": len(wanted),
        "methods": {
            name: None
            if found is None
            else asdict(found.at)
            | {"below": found.below and asdict(found.below), "bytes_at_psnr": found.bytes_at(options.target)}
            for name, found in results.items()
        },
    }


@dataclass(frozen=True, eq=False)
class Region:
    """A picture of its own that stands for a part of the whole.

    Attributes:
        pixels: [h, w, 3], what is encoded.
        left, top: where it lies.
        used: [h, w], which of its pixels the receiver takes from it.
    """

    pixels: NDArray[np.uint8]
    left: int
    top: int
    used: NDArray[np.bool_]


def regions_by_method(
    pixels: NDArray[np.uint8], ids: NDArray[np.uint8], wanted: Sequence[int]
) -> dict[str, list[Region]]:
    """How a codec without groups can send the wanted ones: the pictures that it would encode.

    Args:
        pixels: [H, W, 3].
        ids: [H, W], the group of each pixel.
        wanted: groups to be sent.
    """
    shown = np.isin(ids, wanted)
    return {
        "whole": [Region(pixels, 0, 0, shown)],
        "box": [_boxed(pixels, shown)],
        # What lies in a group's box and is not of it would be sent for nothing, so it is painted.
        "per group": [_boxed(compose(pixels, ids == g, "mean"), ids == g) for g in wanted],
        "painted flat": [Region(compose(pixels, shown, "mean"), 0, 0, shown)],
    }


def _boxed(pixels: NDArray[np.uint8], shown: NDArray[np.bool_]) -> Region:
    left, top, right, bottom = crop_box(shown)
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    return Region(cut, left, top, shown[top:bottom, left:right])


def measure_regions(
    pixels: NDArray[np.uint8], shown: NDArray[np.bool_], regions: Sequence[Region], peer: Peer, work: Path
) -> Measure:
    """Sending a part of a picture as pictures of their own.

    Args:
        pixels: [H, W, 3].
        shown: [H, W], the pixels that count.
        regions: that are encoded.
        work: folder for files.
    """

    def measure(quality: int) -> tuple[int, float]:
        received, size = np.zeros_like(pixels), 0
        for region in regions:
            data = stored(work / "part.peer", peer.encode(region.pixels, quality))
            size += len(data)
            height, width = region.used.shape
            there = received[region.top : region.top + height, region.left : region.left + width]
            there[region.used] = peer.decode(data)[region.used]
        return size, psnr(pixels, received, shown)

    return measure


@dataclass(frozen=True, eq=False)
class _Foreground:
    """What is sent of a picture.

    Attributes:
        wanted: ids of its groups.
        shown: [H, W], its pixels.
        work: folder for files.
        kept: what was measured before.
    """

    case: Case
    mask: GroupMask
    wanted: Sequence[int]
    shown: NDArray[np.bool_]
    work: Path
    kept: Kept

    def by_ssic(self, codec: Ssic) -> Measure:
        """Sent as an extract of a file with all groups."""

        def extract_at(quality: int) -> SsicFile:
            data = replace(codec, effort=1).encode(self.case.picture, self.mask, quality).data
            return SsicFile(data, model=codec.model).extract(self.wanted)

        some = cache(lambda: extract_at(DEFAULT_QUALITY))

        def measure(quality: int) -> tuple[int, float]:
            if codec.effort == 1:
                extract = extract_at(quality)
            else:  # as if the whole picture had been refined, and taken apart then: groups are independent
                qualities: dict[str | int, int] = dict.fromkeys(self.wanted, quality)
                extract = some().set_quality(
                    qualities, self.case.picture, effort=codec.effort, engine=codec.engine
                )
            part = stored(self.work / "part.ssic", bytes(extract))
            pixels, present = codec.decode(part)
            if not np.array_equal(present, self.shown):
                raise AssertionError("the extract does not hold the foreground")
            return len(part), psnr(self.case.pixels, pixels, self.shown)

        return self._keeping(measure, lambda quality: {"codec": codec.facts(), "quality": quality})

    def by_peer(self, peer: Peer, method: str, regions: Sequence[Region]) -> Measure:
        """Sent as pictures of their own."""
        measure = measure_regions(self.case.pixels, self.shown, regions, peer, self.work)
        return self._keeping(measure, lambda quality: {"codec": peer.facts(quality), "method": method})

    def _keeping(self, measure: Measure, facts: Callable[[int], dict[str, Any]]) -> Measure:
        """The same, but what was measured before is found again."""
        sent = {"measured": "selective", "case": self.case.identity, "wanted": list(self.wanted)}

        def found_again(quality: int) -> tuple[int, float]:
            result = self.kept(
                lambda: sent | facts(quality),
                lambda: dict(zip(("bytes", "psnr"), measure(quality), strict=True)),
            )
            return result["bytes"], result["psnr"]

        return found_again


def _means(pictures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = list(pictures[0]["methods"])
    whole = next((name for name in names if name.endswith(" whole")), "ssic")
    total = {name: sum(p["methods"][name]["bytes_at_psnr"] for p in pictures) for name in names}

    def fewest(name: str, p: dict[str, Any]) -> bool:
        """Whether nothing else took fewer bytes; ssic with another effort is no rival."""
        rivals = [n for n in names if n == name or not (n.startswith("ssic") and name.startswith("ssic"))]
        return name == min(rivals, key=lambda n: p["methods"][n]["bytes_at_psnr"])

    return {
        name: {
            key: float(np.mean([p["methods"][name][key] for p in pictures]))
            for key in ("bytes_at_psnr", "bytes", "psnr", "quality")
        }
        | {"relative": total[name] / total[whole], "fewest": sum(fewest(name, p) for p in pictures)}
        for name in names
    }
