#!/usr/bin/env python
"""How good are segmenters? Foreground against COCO's annotations, and faces against its keypoints.

    PYTHONPATH=src python benchmarks/segmenters.py --coco coco
    PYTHONPATH=src python benchmarks/segmenters.py --coco coco --segment onnx:yolov8n-seg.onnx

`--coco` names a folder with images/, instances.json and person_keypoints.json in COCO's format.

Foreground: intersection over union of all that a segmenter finds (score 0.25 at least) with all annotated objects of a
picture; once as pixels, once as blocks, the unit in which ssic sends. "Covered" is the share of the annotated pixels
that those blocks hold, "picture" the share of the picture that they are. Pictures without objects are left out.
For comparison: the whole picture, and an ellipse of half its area in its middle.

Faces: a person counts whose nose and both eyes are annotated and visible. The face is found if their centre lies in
the mask of an instance. An instance is right if such a point, or that of a nose alone, or the upper third of a
person (where people face away or are crowds) lies in it. Faces are counted by the height of the person in pixels.
Intervals are bootstraps over pictures, 95 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.blocks import BLOCK
from ssic.groups.label_maps import blocks_from_pixels
from ssic.groups.segment import MIN_SCORE, Segmenter, find_segmenter, instances

Mask = NDArray[np.bool_]


def pictures(
    folder: Path, annotations: str, every: int
) -> Iterator[tuple[NDArray[np.uint8], list[Any], Any]]:
    """Pixels, annotations, and pycocotools' view of the file."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(None):  # it says what it does
        coco = COCO(folder / annotations)
    for about in coco.dataset["images"][::every]:
        with Image.open(folder / "images" / about["file_name"]) as image:
            rgb = np.asarray(image.convert("RGB"))
        yield rgb, coco.loadAnns(coco.getAnnIds(about["id"])), coco


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def blocks(mask: Mask) -> Mask:
    return blocks_from_pixels(mask.astype(np.int32), "any") > 0


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
            held = sent.repeat(BLOCK, 0)[: truth.shape[0]].repeat(BLOCK, 1)[:, : truth.shape[1]]
            row[name] = {
                "iou": iou(mask, truth),
                "block_iou": iou(sent, blocks(truth)),
                "covered": float((held & truth).sum() / truth.sum()),
                "picture": float(held.mean()),
                "seconds": seconds if name == "segmenter" else 0.0,
            }
        rows.append(row)
    return rows


def faces(segmenter: Segmenter, folder: Path, every: int) -> dict[str, tuple[int, int]]:
    """(found, all) of the persons that show a face, by height, and (right, all) of what was found."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for rgb, annotated, _ in pictures(folder, "person_keypoints.json", every):
        found = [i for i in instances(segmenter, rgb) if i.score >= MIN_SCORE and i.name == "face"]
        allowed = np.zeros(rgb.shape[:2], bool)
        for item in annotated:
            x, y, width, height = item["bbox"]
            allowed[
                int(y) : int(y + (height if item["iscrowd"] else height / 3)) + 1, int(x) : int(x + width) + 1
            ] = True
            points = np.array(item["keypoints"]).reshape(-1, 3)[:3]  # nose, left eye, right eye
            if item["iscrowd"] or not (points[:, 2] == 2).all():
                continue
            at_x, at_y = points[:, :2].mean(0).astype(int)
            size = "below 100" if height < 100 else "100 to 200" if height < 200 else "200 and more"
            hit = any(i.mask[min(at_y, len(rgb) - 1), min(at_x, rgb.shape[1] - 1)] for i in found)
            for key in (f"persons of {size} pixels", "persons"):
                counts[key][0] += hit
                counts[key][1] += 1
        for instance in found:
            rows, columns = np.nonzero(instance.mask)
            counts["right"][0] += bool(allowed[int(rows.mean()), int(columns.mean())])
            counts["right"][1] += 1
    return {key: (hits, total) for key, (hits, total) in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--segment", default="foreground", metavar="NAME[:ARG]")
    parser.add_argument("--persons", action="store_true", help="only persons count")
    parser.add_argument("--every", type=int, default=1, help="every Nth picture only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    segmenter = find_segmenter(options.segment)
    if options.segment == "faces":
        result: dict[str, Any] = {
            k: {"hits": h, "of": n, "share": h / n}
            for k, (h, n) in faces(segmenter, options.coco, options.every).items()
        }
    else:
        rows = foreground(segmenter, options.coco, options.every, options.persons)
        rng = np.random.default_rng(0)
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
            print(f"{name:28} {facts['hits']:4} of {facts['of']:4}  {facts['share']:.2f}")
        else:
            print(
                f"{name:10}",
                *(f"{k} {v['mean']:.3f} ({v['low']:.3f}..{v['high']:.3f})" for k, v in facts.items()),
            )


if __name__ == "__main__":
    main()
