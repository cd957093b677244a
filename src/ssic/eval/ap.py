"""Average precision as pycocotools computes it, of any resampling of the pictures, and rates at equal precision.

pycocotools matches detections to the ground truth picture by picture, which is slow, and then accumulates, which can
be fast: `match` does the first once, `Matches.ap` the second for any weights of the pictures, so that a bootstrap over
pictures costs milliseconds a sample. With all weights 1 the result is pycocotools' own.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssic.eval.extras import optional

Task = Literal["segm", "bbox", "keypoints"]
RECALLS = np.linspace(0, 1, 101)
"""At which precision is read off, as in COCO."""
MOST: Mapping[Task, int] = {"segm": 100, "bbox": 100, "keypoints": 20}
"""Detections per picture that count."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections of D objects, matched to the ground truth of I pictures in K categories.

    Attributes:
        picture: [D] index of its picture; detections are ordered by category, then by falling score.
        category: [D] index of its category.
        true, false: [T, D] whether it is right or wrong at each of the T thresholds of overlap. Neither if it hit
            what is to be ignored (crowds).
        objects: [K, I] how many there are to find.
    """

    picture: NDArray[np.int64]
    category: NDArray[np.int64]
    true: NDArray[np.bool_]
    false: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def ap(self, weights: NDArray[Any] | None = None) -> tuple[float, float]:
        """(AP over all thresholds, AP at the first, which is 0.5); 0..1, NaN if there is nothing to find.

        Args:
            weights: [I] how often each picture counts, as if it were there so many times; once by default.
        """
        weights = np.ones(self.objects.shape[1]) if weights is None else np.asarray(weights, np.float64)
        wanted = self.objects @ weights
        counted = wanted > 0
        if not counted.any():
            return math.nan, math.nan
        thresholds, categories = len(self.true), len(wanted)
        row, place, segment, start, first = self._hits
        weight = weights[self.picture]
        # Recall rises, and precision is at a peak, where something right was found: the rest need not be looked at.
        right = _running(weight[place], start)
        wrong = np.zeros((thresholds, len(weight) + 1))
        np.cumsum(self.false * weight, axis=1, out=wrong[:, 1:])
        recall = right / np.maximum(wanted, 1e-9)[segment % categories]
        precision = right / (right + (wrong[row, place] - wrong[row, first]) + np.spacing(1))
        # Precision at a recall is the best at any higher one. Later segments are lifted out of the way.
        lift = 2.0 * (thresholds * categories - segment)
        best = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        reached = np.searchsorted(RECALLS, recall, side="right")
        before = np.concatenate([[0], reached[:-1]])
        before[start] = 0
        area = np.zeros(thresholds * categories)
        if len(start):
            area[segment[start]] = np.add.reduceat(best * (reached - before), start) / len(RECALLS)
        area = area.reshape(thresholds, categories)[:, counted]
        return float(area.mean()), float(area[0].mean())

    @cached_property
    def _hits(self) -> tuple[NDArray[np.int64], ...]:
        """Of what is right at each threshold: threshold, place among the detections, segment (a threshold and
        category), and where that begins, among the hits (of each segment) and among the detections (of each hit)."""
        row, place = np.nonzero(self.true)
        category = self.category[place]
        segment = row * len(self.objects) + category
        start = np.flatnonzero(np.diff(segment, prepend=-1))
        return row, place, segment, start, np.searchsorted(self.category, category)


def _running(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Running sums [N] that begin anew at each start."""
    total = np.cumsum(values)
    base = np.concatenate([[0.0], total])[start]
    return total - np.repeat(base, np.diff(start, append=len(values)))


def match(
    truth: Mapping[str, Any],
    pictures: Sequence[int],
    found: Mapping[int, Sequence[Mapping[str, Any]]],
    task: Task,
) -> Matches:
    """Match what was found to the ground truth, by pycocotools.

    Args:
        truth: COCO annotations.
        pictures: ids of those that count.
        found: by picture, results in COCO's format, without "image_id".
    """
    coco_api, evaluation = optional("pycocotools.coco"), optional("pycocotools.cocoeval")
    results = [dict(d) | {"image_id": i} for i in pictures for d in found.get(i, ())]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
        coco = coco_api.COCO()
        # Copies, because it writes into them.
        coco.dataset = dict(truth) | {"annotations": [dict(a) for a in truth["annotations"]]}
        coco.createIndex()
        if results:
            detections = coco.loadRes(results)
        else:
            detections = coco_api.COCO()
            detections.dataset = dict(truth) | {"annotations": []}
            detections.createIndex()
        run = evaluation.COCOeval(coco, detections, task)
        run.params.imgIds = list(pictures)
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [MOST[task]]
        run.evaluate()
    # evaluate() sorts the ids, and keeps each once.
    index = {i: n for n, i in enumerate(pictures)}
    order, categories = [index[i] for i in run.params.imgIds], list(run.params.catIds)
    return _collect(run.evalImgs, order, len(categories), len(run.params.iouThrs))


def _collect(evaluated: Sequence[Any], order: Sequence[int], categories: int, thresholds: int) -> Matches:
    objects = np.zeros((categories, len(order)), np.int64)
    parts: list[tuple[Any, ...]] = []
    for k in range(categories):
        here = []
        for n, number in enumerate(order):
            e = evaluated[k * len(order) + n]
            if e is None:
                continue
            objects[k, number] = np.count_nonzero(np.asarray(e["gtIgnore"]) == 0)
            scores = np.asarray(e["dtScores"], np.float64)
            here.append((scores, np.full(len(scores), number), e["dtMatches"] != 0, e["dtIgnore"] != 0))
        if sum(len(h[0]) for h in here) and objects[k].any():
            scores, picture, matched, ignored = (np.concatenate(h, axis=-1) for h in zip(*here, strict=True))
            rank = np.argsort(-scores, kind="mergesort")
            flags = (matched & ~ignored)[:, rank], (~matched & ~ignored)[:, rank]
            parts.append((picture[rank], np.full(len(rank), k), *flags))
    if not parts:
        none = np.zeros(0, np.int64)
        flags = np.zeros((thresholds, 0), bool), np.zeros((thresholds, 0), bool)
        return Matches(none, none, *flags, objects)
    picture, category, true, false = (np.concatenate(p, axis=-1) for p in zip(*parts, strict=True))
    return Matches(picture.astype(np.int64), category.astype(np.int64), true, false, objects)


@dataclass(frozen=True)
class Saved:
    """How many fewer bits a curve takes than another at equal precision.

    Attributes:
        mean: mean over the common range of AP (of the logarithm of the rates), 0..1; negative if it takes more.
        low, high: the common range of AP.
        at: the same at each AP asked for; None outside the common range.
    """

    mean: float
    low: float
    high: float
    at: Sequence[float | None]


Points = Sequence[tuple[float, float]]
"""(rate, AP) of a curve."""


def saved(test: Points, anchor: Points, levels: Sequence[float] = ()) -> Saved | None:
    """Compare two curves: the logarithm of the rate linear in AP between points on each one's monotone envelope
    (points that cost more than another and are no better are not on it).

    Returns:
        None where the curves have no range of AP in common.
    """
    curves = [envelope(points) for points in (test, anchor)]
    if min(map(len, curves)) == 0:
        return None
    low, high = max(c[0][1] for c in curves), min(c[-1][1] for c in curves)
    if low >= high:
        return None

    def more(ap: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the test's rate by the anchor's."""
        rates = [np.interp(ap, [p[1] for p in c], [math.log(p[0]) for p in c]) for c in curves]
        return rates[0] - rates[1]

    # Between knots both are linear, so the trapezoids are exact.
    knots = np.array(sorted({low, high, *(p[1] for c in curves for p in c if low < p[1] < high)}))
    values = more(knots)
    mean = float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(knots)) / (high - low))
    at = [1 - math.exp(more(np.array([v]))[0]) if low <= v <= high else None for v in levels]
    return Saved(1 - math.exp(mean), low, high, at)


def envelope(points: Points) -> list[tuple[float, float]]:
    """The points that are better than all that cost less, by rising rate."""
    kept: list[tuple[float, float]] = []
    for rate, ap in sorted(points, key=lambda p: (p[0], -p[1])):
        if rate > 0 and math.isfinite(ap) and (not kept or ap > kept[-1][1]):
            kept.append((rate, ap))
    return kept


def interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float] | None:
    """The middle `share` of the values; None if there are too few for that (under 20)."""
    if len(values) < 20:
        return None
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
