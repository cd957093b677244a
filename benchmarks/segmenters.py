#!/usr/bin/env python
"""How good are segmenters? Foreground against COCO's annotations, and faces against its keypoints.

    PYTHONPATH=src python benchmarks/segmenters.py --coco coco
    PYTHONPATH=src python benchmarks/segmenters.py --coco coco --segment onnx:yolov8n-seg.onnx
    PYTHONPATH=src python benchmarks/segmenters.py --coco coco --segment faces --every 3

`--coco` names a folder with images/, instances.json and person_keypoints.json in COCO's format.

Foreground: intersection over union of all that a segmenter finds (score 0.25 at least) with all annotated objects of a
picture; once as pixels, once as blocks, the unit in which ssic sends. "Covered" is the share of the annotated pixels
that those blocks hold, "picture" the share of the picture that they are. Pictures without objects are left out.
For comparison: the whole picture, and an ellipse of half its area in its middle.

Faces: a face is that of a person whose nose and both eyes are annotated and visible, a profile of one with the nose and
one eye. It is found if the centre of these points lies in the mask of an instance. An instance is right if its centre
lies in the upper third of a person, or anywhere in a crowd. Points are in blocks if they lie in those that are sent (or
sealed); of a head, which is what is annotated as the person within the outline that `head` estimates, the share counts.
`--every 3` is the protocol of docs/segment.md; `--every 3 --rest` are the pictures that it leaves out, on which sizes,
scores and margins of `faces` were chosen. Intervals, 95 %, are Wilson's, or bootstraps over pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.blocks import BLOCK
from ssic.groups.label_maps import blocks_from_pixels
from ssic.groups.segment import MIN_SCORE, Instance, Segmenter, find_segmenter, instances

Mask = NDArray[np.bool_]


def pictures(
    folder: Path, annotations: str, every: int, rest: bool = False
) -> Iterator[tuple[NDArray[np.uint8], list[Any], Any]]:
    """Pixels, annotations, and pycocotools' view of the file, of every Nth picture or of the rest."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(None):  # it says what it does
        coco = COCO(folder / annotations)
    for number, about in enumerate(coco.dataset["images"]):
        if (number % every == 0) == rest:
            continue
        with Image.open(folder / "images" / about["file_name"]) as image:
            rgb = np.asarray(image.convert("RGB"))
        yield rgb, coco.loadAnns(coco.getAnnIds(about["id"])), coco


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def blocks(mask: Mask) -> Mask:
    """[rows, columns]: the blocks that have a pixel of the mask."""
    return blocks_from_pixels(mask.astype(np.int32), "any") > 0


def pixels_of(blocks: Mask, shape: tuple[int, ...]) -> Mask:
    """[H, W]: the pixels of these blocks."""
    return np.kron(blocks, np.ones((BLOCK, BLOCK), np.bool_))[: shape[0], : shape[1]]


def ellipse(shape: tuple[int, ...]) -> Mask:
    """Half of the area, in the middle."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return y[:, None] ** 2 + x**2 < 2 / np.pi


def foreground(
    segmenter: Segmenter, folder: Path, every: int, persons: bool
) -> list[dict[str, dict[str, float]]]:
    rows = []
    for rgb, annotated, coco in pictures(folder, "instances.json", every):
        person = coco.getCatIds(["person"])[0]
        truth = np.zeros(rgb.shape[:2], bool)
        for item in annotated:
            if not persons or item["category_id"] == person:
                truth |= coco.annToMask(item).astype(bool)
        if not truth.any():
            continue
        begun = time.perf_counter()
        found = np.zeros_like(truth)
        for instance in instances(segmenter, rgb):
            if instance.score >= MIN_SCORE and (
                not persons or instance.name in ("person", "foreground", "face")
            ):
                found |= instance.mask
        seconds = time.perf_counter() - begun
        row = {}
        for name, mask in (
            ("segmenter", found),
            ("whole", ~np.zeros_like(truth)),
            ("ellipse", ellipse(truth.shape)),
        ):
            sent = blocks(mask)
            held = pixels_of(sent, truth.shape)
            row[name] = {
                "iou": iou(mask, truth),
                "block_iou": iou(sent, blocks(truth)),
                "covered": float((held & truth).sum() / truth.sum()),
                "picture": float(held.mean()),
                "seconds": seconds if name == "segmenter" else 0.0,
            }
        rows.append(row)
    return rows


@dataclass
class Faces:
    """What of the faces that people annotated a segmenter finds.

    Attributes:
        shares: [N, 2] of what is counted, by name: how many are hit, of how many, a row per picture.
        seconds: of CPU for each picture, all threads together.
    """

    shares: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)

    def add(self, name: str, hits: float, of: float = 1) -> None:
        self.shares[name].append((float(hits), float(of)))


def faces(segmenter: Segmenter, folder: Path, every: int, rest: bool, min_score: float) -> Faces:
    result = Faces()
    for rgb, annotated, coco in pictures(folder, "person_keypoints.json", every, rest):
        begun = time.process_time()
        found = [i for i in instances(segmenter, rgb) if i.score >= min_score and i.name == "face"]
        result.seconds.append(time.process_time() - begun)
        covered = np.zeros(rgb.shape[:2], bool)
        for instance in found:
            covered |= instance.mask
        sent = pixels_of(blocks(covered), covered.shape)
        result.add("of the picture, in blocks", sent.sum(), sent.size)
        allowed = np.zeros(sent.shape, bool)
        for item in annotated:
            x, y, width, height = item["bbox"]
            deep = height if item["iscrowd"] else height / 3
            allowed[int(y) : int(y + deep) + 1, int(x) : int(x + width) + 1] = True
            if not item["iscrowd"]:
                _face(result, item, found, covered, sent, coco.annToMask(item).astype(bool))
        for instance in found:
            rows, columns = np.nonzero(instance.mask)
            result.add("right", allowed[int(rows.mean()), int(columns.mean())])
    return result


def _face(result: Faces, item: Any, found: list[Instance], covered: Mask, sent: Mask, person: Mask) -> None:
    """What was found of the face of one person, if it is seen."""
    points = np.array(item["keypoints"], float).reshape(-1, 3)[:5]  # nose, eyes, ears
    seen = points[:, 2] == 2
    if not seen[0] or not seen[1:3].any():
        return
    kind = "faces" if seen[1:3].all() else "profiles"
    pixels = points[:, :2].astype(int).clip(0, np.array(sent.shape)[::-1] - 1)
    x, y = points[:3][seen[:3], :2].mean(0).astype(int)
    hit = any(i.mask[min(y, len(sent) - 1), min(x, sent.shape[1] - 1)] for i in found)
    result.add(f"{kind} found", hit)
    if kind == "faces":
        height = item["bbox"][3]
        size = "below 100" if height < 100 else "100 to 200" if height < 200 else "200 and more"
        result.add(f"faces found, persons of {size} pixels", hit)
    held = sent[pixels[seen, 1], pixels[seen, 0]]
    result.add(f"{kind}: nose, eyes, ears in blocks", held.sum(), len(held))
    if kind == "profiles" or not hit:
        return
    result.add("faces found: nose, eyes, ears in blocks", held.sum(), len(held))
    inside = head(points[:3, :2], sent.shape) & person
    for name, held in (("blocks", sent), ("masks", covered)):
        share = (held & inside).sum() / max(inside.sum(), 1)
        result.add(f"faces found: head in {name}", share)
        result.add(f"faces found: heads to 95 % in {name}", share >= 0.95)


def head(points: NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    """Where the head lies [H, W] whose nose and eyes are at these points [3, 2] (x, y), by the proportions of people: a
    head is 2.6 times as wide as its eyes are apart, and reaches up 1.9 and down 1.75 times that."""
    nose, middle = points[0], points[1:].mean(0)
    down = nose - middle
    # The eyes of a face that is turned are nearer to each other, and its nose is as far below as before.
    unit = max(float(np.linalg.norm(points[1] - points[2])), 1.3 * float(np.linalg.norm(down)), 1.0)
    down /= max(float(np.linalg.norm(down)), 1e-6)
    y, x = np.mgrid[: shape[0], : shape[1]]
    along = (x - middle[0]) * down[0] + (y - middle[1]) * down[1]
    across = (x - middle[0]) * down[1] - (y - middle[1]) * down[0]
    return (across / 1.3) ** 2 + (along / np.where(along > 0, 1.75, 1.9)) ** 2 <= unit**2


def intervals(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float, float]:
    """Share and 95 % interval (Wilson's, of hits and misses; else bootstrapped) of [N, 2] (hits, of)."""
    hits, of = values.sum(0)
    share = hits / of
    if set(np.unique(values[:, 0])) <= {0.0, 1.0} and (values[:, 1] == 1).all():
        z = 1.96
        middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
        spread = z / (1 + z**2 / of) * np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
        return share, max(0, middle - spread), min(1, middle + spread)
    drawn = values[rng.integers(0, len(values), (2000, len(values)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1e-9), [2.5, 97.5])
    return share, low, high


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--segment", default="foreground", metavar="NAME[:ARG]")
    parser.add_argument("--persons", action="store_true", help="only persons count")
    parser.add_argument("--every", type=int, default=1, help="every Nth picture only")
    parser.add_argument("--rest", action="store_true", help="the pictures that --every leaves out (faces)")
    parser.add_argument("--min-score", type=float, default=MIN_SCORE, help="of faces that count")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    segmenter = find_segmenter(options.segment)
    rng = np.random.default_rng(0)
    if options.segment == "faces":
        seen = faces(segmenter, options.coco, options.every, options.rest, options.min_score)
        result: dict[str, Any] = {
            "pictures": len(seen.seconds),
            "CPU seconds a picture, median": round(float(np.median(seen.seconds)), 3),
        }
        for key, rows_of in sorted(seen.shares.items()):
            values = np.array(rows_of)
            share, low, high = intervals(values, rng)
            hits, of = values.sum(0)
            result[key] = {"hits": hits, "of": of, "share": share, "low": low, "high": high}
    else:
        rows = foreground(segmenter, options.coco, options.every, options.persons)
        draws = rng.integers(0, len(rows), (2000, len(rows)))
        result = {"pictures": len(rows)}
        for name in rows[0]:
            result[name] = {}
            for key in rows[0][name]:
                values = np.array([row[name][key] for row in rows])
                low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
                result[name][key] = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, facts in result.items():
        if not isinstance(facts, dict):
            print(f"{name}: {facts}")
        elif "of" in facts:
            counted = f"{facts['hits']:10.10g} of {facts['of']:8.8g}"
            print(f"{name:45} {counted}  {facts['share']:.3f} ({facts['low']:.3f}..{facts['high']:.3f})")
        else:
            print(
                f"{name:10}",
                *(f"{k} {v['mean']:.3f} ({v['low']:.3f}..{v['high']:.3f})" for k, v in facts.items()),
            )


if __name__ == "__main__":
    main()
