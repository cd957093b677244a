"""`foreground`: a segmenter that needs no download: what OpenCV carries, its face cascades and GrabCut.

It makes the main job run on a fresh machine; a trained network does it far better. docs/segment.md has the figures.
Its score is no probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import SegmenterError
from ssic.groups.segment import Instance
from ssic.groups.segment.yolo import suppress
from ssic.imports import optional

FACE_SIDE = 1024
"""Longest side of the picture in which faces are looked for, in pixels; a larger one is scaled down."""
CUT_SIDE = 384
"""The same, where the foreground is cut out."""
NEIGHBOURS = 4
"""How many windows, slightly moved or scaled, must agree on a face."""

Box = tuple[float, float, float, float]


class ForegroundSegmenter:
    """`foreground`: what differs from the picture's borders in colour, lies towards the middle, or belongs to a face;
    GrabCut then finds its outline."""

    classes = ("foreground",)

    def __init__(self, argument: str | None = None) -> None:
        if argument:
            raise SegmenterError(f'the segmenter foreground takes no argument: "{argument}"')
        self._cv2 = optional("cv2", "segment", SegmenterError, "the segmenter foreground")
        # Cascades and GrabCut are OpenCV's; the number is to be raised whenever what is made of them changes.
        self.identity = f"OpenCV {self._cv2.__version__}, cut 1"
        self._faces = _Faces(self._cv2)

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
        cv2 = self._cv2
        small = _small(cv2, rgb, CUT_SIDE)
        if min(small.shape[:2]) < 8:
            return
        likely = self.likely(small, self._faces.boxes(small))
        levels = np.round(255 * likely).astype(np.uint8)
        threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
        sure = (levels > threshold + (255 - threshold) / 2, levels < threshold / 4)
        state = np.where(levels > threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        state[sure[0]], state[sure[1]] = cv2.GC_FGD, cv2.GC_BGD
        if not np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
            return
        cv2.setRNGSeed(0)  # the same picture, the same mask
        models = np.zeros((1, 65)), np.zeros((1, 65))
        blurred = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), (0, 0), 1)
        cv2.grabCut(blurred, state, None, *models, 5, cv2.GC_INIT_WITH_MASK)
        cut = self._tidy(np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8))
        if not cut.any():
            return
        inside = cut.astype(bool)
        score = float(np.clip(likely[inside].mean() - likely[~inside].mean() if (~inside).any() else 0, 0, 1))
        size = rgb.shape[1::-1]
        large = cv2.resize(cut.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        if large.any():
            yield Instance("foreground", 0.5 + score / 2, large)

    def likely(self, small: NDArray[np.uint8], faces: list[tuple[Box, float]]) -> NDArray[np.float32]:
        """How likely each pixel [h, w] of a small picture with these faces is foreground, 0..1."""
        cv2 = self._cv2
        height, width = small.shape[:2]
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
        deep, wide = max(2, height // 12), max(2, width // 12)
        far = []
        for strip in (lab[:deep], lab[-deep:], lab[:, :wide], lab[:, -wide:]):
            values = strip.reshape(-1, 3)
            mean = values.mean(0)
            inverse = np.linalg.inv(np.cov(values.T) + 25 * np.eye(3))
            distance = np.sqrt(np.einsum("...i,ij,...j", lab - mean, inverse, lab - mean))
            far.append(distance / max(float(distance.max()), 1e-6))
        # An object may well touch one side: the side that a pixel differs most from doesn't count.
        contrast = np.sort(np.stack(far), axis=0)[:3].mean(0)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        middle = np.exp(-(((x / width - 0.5) / 0.33) ** 2 + ((y / height - 0.5) / 0.38) ** 2) / 2)
        likely = (contrast / max(float(contrast.max()), 1e-6) * middle).astype(np.float32)
        likely /= max(float(likely.max()), 1e-6)
        for (x0, y0, x1, y1), _ in faces:
            side, centre = x1 - x0, (x0 + x1) / 2
            head = (abs(x - centre) < 0.55 * side) & (y > y0 - 0.3 * side) & (y < y1 + 0.1 * side)
            body = (abs(x - centre) < 1.3 * side) & (y >= y1) & (y < y1 + 5 * side)
            likely = np.where(head, 1, np.where(body, np.maximum(likely, 0.6), likely))
        return likely.astype(np.float32)

    def _tidy(self, cut: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Without specks and pinholes: a foreground part is a hundredth of the whole at least, or the largest."""
        cv2 = self._cv2
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        cut = cv2.morphologyEx(cv2.morphologyEx(cut, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)
        count, parts, facts, _ = cv2.connectedComponentsWithStats(cut)
        areas = facts[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        stay = (areas >= min(cut.size / 100, areas.max())) & (np.arange(count) > 0)
        return stay[parts].astype(np.uint8)


class _Faces:
    """Where faces are likely: Viola and Jones' detector with OpenCV's cascades for frontal faces and profiles. It finds
    28 % of them: a hint of where people stand, and nothing to seal by."""

    def __init__(self, cv2: Any) -> None:
        self._cv2 = cv2
        self._frontal, self._profile = (_cascade(cv2, name) for name in ("frontalface_alt2", "profileface"))

    def boxes(self, rgb: NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """(x0, y0, x1, y1) of each face in pixels of the picture, and its score; the surest first."""
        gray = self._cv2.equalizeHist(
            self._cv2.cvtColor(_small(self._cv2, rgb, FACE_SIDE), self._cv2.COLOR_RGB2GRAY)
        )
        least = max(20, min(gray.shape) // 24)
        found: list[tuple[Box, int]] = []
        for cascade, mirrored in ((self._frontal, False), (self._profile, False), (self._profile, True)):
            seen = np.ascontiguousarray(gray[:, ::-1]) if mirrored else gray
            boxes, counts = cascade.detectMultiScale2(seen, 1.1, NEIGHBOURS, 0, (least, least))
            for (x, y, width, height), count in zip(boxes, counts, strict=True):
                x = gray.shape[1] - x - width if mirrored else x
                found.append(((x, y, x + width, y + height), int(count)))
        if not found:
            return []
        found.sort(key=lambda item: -item[1])
        corners = np.array([box for box, _ in found], np.float32)
        scale = np.tile(np.divide(rgb.shape[1::-1], gray.shape[::-1]), 2)
        one_class = np.zeros(len(found), np.int64)
        return [
            (tuple((corners[n] * scale).tolist()), found[n][1] / (found[n][1] + NEIGHBOURS))
            for n in suppress(corners, one_class, 0.3, len(found))
        ]


def _small(cv2: Any, rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    gain = side / max(height, width)
    if gain >= 1:
        return np.ascontiguousarray(rgb)
    size = max(1, round(width * gain)), max(1, round(height * gain))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cascade(cv2: Any, name: str) -> Any:
    path = Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"
    found = cv2.CascadeClassifier(str(path)) if hasattr(cv2, "CascadeClassifier") and path.is_file() else None
    if found is None or found.empty():
        raise SegmenterError(
            f"OpenCV {cv2.__version__} comes without its face cascades, as OpenCV 5 does: "
            'pip install "opencv-python-headless<5"'
        )
    return found
