"""Runs the YOLO family's ONNX graphs (v8, 11, 26: boxes, instance masks, keypoints) through onnxruntime.

A graph says itself what it is: task, class names and keypoints in its metadata, sizes in its inputs. The steps::

    picture [H, W, 3] --scaled to fit, centred on gray 114--> [1, 3, h, w] in 0..1
      graph  --> rows: raw [1, 4 + classes + extra, N], or end to end [1, N, 6 + extra]; extra: mask
                 coefficients or keypoints; for masks also prototypes [1, P, h/4, w/4]
      rows   --score, NMS (raw rows only)--> boxes, scores, classes --> back to pixels of the picture

A raw row holds centre and size of a box and one score per class; an end-to-end row two corners, score and class, and
such a graph has already chosen among overlapping boxes.

Coordinates are pixels of the graph's input or, in graphs rebuilt from quantised exports, fractions of it. Which, the
numbers tell: raw rows lie on a grid over the whole input, whatever it shows, so that in pixels the largest coordinate
comes near the input's side, and as a fraction near 1. See `_unit`.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.errors import SegmenterError
from ssic.imports import onnx_runtime, session_options

Floats = NDArray[np.float32]
Task = Literal["detect", "segment", "pose"]

GRAY = 114
"""What stands beside a picture that does not fill the graph's input, as in training."""
FILTERED = 300
"""How many rows an end-to-end head has at most: what exporters let NMS leave."""
CANDIDATES = 30_000
"""How many rows NMS considers at most, the best ones."""

# fmt: off
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""COCO's classes, in the order of every YOLO graph that was trained on them."""


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the graph's input: scaled to fit, keeping its shape, and centred on gray.

    Attributes:
        size: (width, height) of the picture.
        inside: (width, height) of the scaled picture.
        left, top: its upper left corner in the input.
        input: (width, height) of the input.
    """

    size: tuple[int, int]
    inside: tuple[int, int]
    left: int
    top: int
    input: tuple[int, int]

    @classmethod
    def fit(cls, size: tuple[int, int], into: tuple[int, int]) -> Letterbox:
        """A picture of (width, height) in an input of (width, height)."""
        gain = min(into[0] / size[0], into[1] / size[1])
        width, height = (max(1, min(limit, round(gain * n))) for n, limit in zip(size, into, strict=True))
        return cls(size, (width, height), (into[0] - width) // 2, (into[1] - height) // 2, into)

    @property
    def scale(self) -> Floats:
        """(x, y): pixels of the input per pixel of the picture."""
        return np.divide(self.inside, self.size, dtype=np.float32)

    def apply(self, rgb: NDArray[np.uint8]) -> Floats:
        """[H, W, 3] uint8 -> [1, 3, h, w] in 0..1."""
        if self.inside != self.size:
            rgb = np.asarray(Image.fromarray(rgb).resize(self.inside, Image.Resampling.BILINEAR))
        canvas = np.full((self.input[1], self.input[0], 3), GRAY, np.uint8)
        canvas[self.top : self.top + self.inside[1], self.left : self.left + self.inside[0]] = rgb
        return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / np.float32(255)

    def back(self, points: Floats) -> Floats:
        """[..., 2] (x, y) of the input -> of the picture; what lies on the gray is moved to the edge."""
        found = (points - np.array([self.left, self.top], np.float32)) / self.scale
        return found.clip(0, np.array(self.size, np.float32))


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What all masks of a picture are mixed from: `maps` [P, h, w], lying over the whole input."""

    maps: Floats
    place: Letterbox

    def mask(self, coefficients: Floats, box: Sequence[float]) -> NDArray[np.bool_]:
        """The mask of one object, [H, W]: sigmoid of the sum of coefficients times maps, interpolated between the
        centres of their cells, > 1/2, inside the box, which is in pixels of the picture.
        """
        width, height = self.place.size
        mask = np.zeros((height, width), bool)
        x0, y0, x1, y1 = (int(np.ceil(v - 0.5)) for v in box)  # pixels whose centres are inside
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if x0 < x1 and y0 < y1:
            cells_x, across = self._between(x0, x1, 0)
            cells_y, down = self._between(y0, y1, 1)
            logits = np.tensordot(coefficients, self.maps[:, cells_y, cells_x], 1)
            inside = 0.5 * np.tanh(0.5 * logits)  # the sigmoid less 1/2, which can't overflow
            mask[y0:y1, x0:x1] = down @ inside @ across.T > 0
        return mask

    def _between(self, start: int, end: int, axis: int) -> tuple[slice, Floats]:
        """The cells that pixels start..end-1 of the picture lie on along x (0) or y (1), and the weights
        [end - start, cells] of a linear interpolation between their centres."""
        cells = self.maps.shape[2 - axis]
        offset = (self.place.left, self.place.top)[axis]
        at = (np.arange(start, end) + 0.5) * self.place.scale[axis] + offset
        at = (at * cells / self.place.input[axis] - 0.5).clip(0, cells - 1)
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        high = np.minimum(low + 1, cells - 1)
        first, last = int(low[0]), int(high[-1])
        weights = np.zeros((end - start, last - first + 1), np.float32)
        rows = np.arange(end - start)
        weights[rows, low - first] = 1 - (at - low)
        weights[rows, high - first] += at - low
        return slice(first, last + 1), weights


@dataclass(frozen=True, eq=False)
class Detection:
    """An object that was found.

    Attributes:
        class_id, class_name: as the graph numbers and names it.
        score: 0..1.
        box: (x0, y0, x1, y1) in pixels of the picture, within it.
        keypoints: [K, 3] float32, (x, y, confidence) in pixels of the picture, or None. A graph without
            confidences gives 1.
    """

    class_id: int
    class_name: str
    score: float
    box: tuple[float, float, float, float]
    keypoints: Floats | None = None
    _coefficients: Floats | None = field(default=None, repr=False)
    _prototypes: Prototypes | None = field(default=None, repr=False)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """[H, W], the picture's size, computed anew at each call; None from a graph without masks."""
        if self._coefficients is None or self._prototypes is None:
            return None
        return self._prototypes.mask(self._coefficients, self.box)


@dataclass(frozen=True, eq=False)
class Rows:
    """What a head gives, in the order of its rows, in pixels of the input.

    Attributes:
        boxes: [N, 4], two corners.
        scores: [N, classes]; of an end-to-end head [N, 1].
        classes: [N] of an end-to-end head, whose rows NMS leaves alone where they were filtered; None of a raw one.
        extra: [N, E]: mask coefficients, or keypoints as x, y and perhaps confidence.
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64] | None
    extra: Floats


class YoloModel:
    """A graph of the YOLO family: boxes, and masks or keypoints if it has them.

    Attributes:
        task: "detect", "segment" or "pose".
        names: the name of each class id.
        input: (width, height) of the graph's input in pixels.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        task: Task | None = None,
        names: Mapping[int, str] | Sequence[str] | None = None,
    ) -> None:
        """Loads the graph.

        Args:
            threads: of onnxruntime; by default as many as there are cores.
            task, names: for graphs without metadata, and instead of what the metadata says. Where neither
                tells, a graph with prototypes is "segment"; 80 classes are COCO's (`COCO_NAMES`), and one class
                of a "pose" graph is "person".

        Raises:
            SegmenterError: onnxruntime is missing, the file is unreadable or no graph of this family, or it does not
                say what it is and the arguments don't either.
        """
        ort = onnx_runtime()
        self.path = Path(path)
        try:
            with self.path.open("rb"):
                pass
        except OSError as error:
            raise SegmenterError(f"can't read the graph {path}: {error.strerror or error}") from error
        try:
            self._session = ort.InferenceSession(
                str(path), session_options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of errors of its own for each reason
            raise SegmenterError(f"{path} can't be loaded as an ONNX graph: {error}") from error
        about = self._session.get_modelmeta().custom_metadata_map
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
            met = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise self._error(f"one input [1, 3, height, width] was expected, met {met}")
        self._input, self._half = inputs[0].name, inputs[0].type == "tensor(float16)"
        self.input = self._input_size(inputs[0].shape, about)
        self.task: Task = self._read_task(task or about.get("task"), [o.shape for o in outputs])
        self._keypoints = self._read_keypoints(about)
        self._end2end = {"True": True, "False": False}.get(about.get("end2end", ""))
        given = names if names is not None else self._literal(about, "names")
        self._given = dict(given if isinstance(given, Mapping) else enumerate(given)) if given else None
        # What the head does not tell in its shapes, because they are dynamic, one run on gray does.
        width, height = self.input
        self._layout = self._choose_layout(self._run(np.full((1, 3, height, width), GRAY / 255, np.float32)))
        self.names: dict[int, str] = self._read_names()

    def predict(
        self,
        rgb: NDArray[np.uint8],
        *,
        min_score: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
        multi_label: bool = False,
    ) -> list[Detection]:
        """What is in a picture, best first.

        Args:
            rgb: [H, W, 3] uint8.
            min_score: 0..1; what scores no more than that is left out.
            iou: of two boxes of one class that overlap by more than that, the better stays.
            multi_label: let each class of a box count that scores enough, rather than the best one, as the makers
                of these models do when they measure them (with `min_score=0.001`; worth a point of AP).

        Raises:
            SegmenterError: the picture is no such array, or the graph fails.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise SegmenterError(f"a picture [H, W, 3] uint8 was expected, met {rgb.dtype} {list(rgb.shape)}")
        place = Letterbox.fit((rgb.shape[1], rgb.shape[0]), self.input)
        outputs = self._run(place.apply(rgb))
        rows = self._rows(outputs)
        chosen, classes, scores = choose(rows, min_score, iou, max_detections, multi_label)
        corners = place.back(rows.boxes[chosen].reshape(-1, 2, 2)).reshape(-1, 4)
        maps = Prototypes(outputs[1][0], place) if self.task == "segment" else None
        points: Sequence[Floats | None] = [None] * len(chosen)
        if self.task == "pose":
            count, values = self._keypoints
            found = rows.extra[chosen].reshape(-1, count, values)
            seen = found[:, :, 2:] if values == 3 else np.ones_like(found[:, :, :1])
            points = [*np.concatenate([place.back(found[:, :, :2]), seen], 2)]
        return [
            Detection(
                class_id=int(classes[k]),
                class_name=self.names.get(int(classes[k]), f"class {classes[k]}"),
                score=float(min(scores[k], 1)),
                box=(float(x0), float(y0), float(x1), float(y1)),
                keypoints=points[k],
                _coefficients=rows.extra[n] if maps is not None else None,
                _prototypes=maps,
            )
            for k, (n, (x0, y0, x1, y1)) in enumerate(zip(chosen, corners, strict=True))
        ]

    def _run(self, values: Floats) -> list[Floats]:
        fed: NDArray[Any] = values.astype(np.float16) if self._half else values
        try:
            return [np.asarray(o, np.float32) for o in self._session.run(None, {self._input: fed})]
        except Exception as error:
            raise self._error(f"it failed: {error}") from error

    def _rows(self, outputs: list[Floats]) -> Rows:
        head = outputs[0][0]
        if self._layout == "raw":
            head = without_broken(head, 1)
            return raw_rows(head, len(head) - 4 - self._extra(outputs), self.input, self._pairs())
        return end_to_end_rows(without_broken(head, 0), self.input, self._pairs())

    def _extra(self, outputs: Sequence[Floats]) -> int:
        if self.task == "segment":
            return outputs[1].shape[1]
        return self._keypoints[0] * self._keypoints[1]

    def _pairs(self) -> int:
        return self._keypoints[1] if self.task == "pose" else 0

    def _choose_layout(self, outputs: list[Floats]) -> Literal["raw", "end to end"]:
        shapes = [o.shape for o in outputs]
        if outputs[0].ndim != 3 or (self.task == "segment" and (len(outputs) < 2 or outputs[1].ndim != 4)):
            raise self._error(f"its outputs {shapes} are not those of a {self.task} graph of the YOLO family")
        extra = self._extra(outputs)
        classes = outputs[0].shape[1] - 4 - extra
        raw = classes == len(self._given) if self._given else 0 < classes < outputs[0].shape[2]
        chosen = outputs[0].shape[2] == 6 + extra
        if raw and chosen and self._end2end is None:
            raise self._error(f'{shapes} may be raw or end to end: metadata "end2end" must say it')
        if not raw and not chosen:
            named = f", {len(self._given)} class names" if self._given else ""
            raise self._error(
                f"outputs {shapes} don't fit a {self.task} graph with {extra} values per row beside boxes and scores"
                f"{named}: [1, 4 + classes + {extra}, N] or [1, N, {6 + extra}] was expected"
            )
        self._classes = None if chosen and not (raw and not self._end2end) else classes
        return "raw" if self._classes is not None else "end to end"

    def _read_names(self) -> dict[int, str]:
        if self._given:
            return {int(n): str(name) for n, name in self._given.items()}
        if self._classes == len(COCO_NAMES):
            return dict(enumerate(COCO_NAMES))
        if self._classes == 1 and self.task == "pose":
            return {0: "person"}
        raise self._error('it has no metadata "names": pass names=, one for each of its classes')

    def _read_task(self, task: str | None, shapes: Sequence[Sequence[Any]]) -> Task:
        for known in ("detect", "segment", "pose"):
            if task == known:
                return known
        if task is not None:
            raise self._error(f'its task is "{task}"; detect, segment and pose can be run')
        if len(shapes) == 2 and len(shapes[1]) == 4:
            return "segment"
        raise self._error('it has no metadata "task": pass task=, which is "detect" or "pose"')

    def _read_keypoints(self, about: Mapping[str, str]) -> tuple[int, int]:
        if self.task != "pose":
            return 0, 0
        shape = self._literal(about, "kpt_shape") or (17, 3)  # COCO's, where nothing is said
        if len(shape) != 2 or shape[1] not in (2, 3) or shape[0] < 1:
            raise self._error(f'metadata "kpt_shape" is {shape}; [count, 2 or 3] was expected')
        return int(shape[0]), int(shape[1])

    def _input_size(self, shape: Sequence[Any], about: Mapping[str, str]) -> tuple[int, int]:
        fixed = [n for n in shape[2:] if isinstance(n, int)]
        size = fixed if len(fixed) == 2 else self._literal(about, "imgsz")
        size = [size, size] if isinstance(size, int) else size
        if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(isinstance(n, int) for n in size):
            raise self._error('its input has no fixed size, and no metadata "imgsz" says which one to use')
        return size[1], size[0]

    def _literal(self, about: Mapping[str, str], key: str) -> Any:
        try:
            return ast.literal_eval(about[key]) if key in about else None
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise self._error(f'metadata "{key}" is {about[key]!r:.80}, which is no literal') from error

    def _error(self, text: str) -> SegmenterError:
        return SegmenterError(f"{self.path}: {text}")


def raw_rows(head: Floats, classes: int, size: tuple[int, int], values: int) -> Rows:
    """Rows of a raw head, [4 + classes + E, N], for an input of (width, height); `values` are there per keypoint,
    0 if the extra columns are none."""
    centre, spread = head[:2].T, head[2:4].T
    boxes = np.concatenate([centre - spread / 2, centre + spread / 2], 1) * np.tile(_unit(centre, size), 2)
    extra = _scaled(head[4 + classes :].T, size, values)
    return Rows(boxes, head[4 : 4 + classes].T, None, extra)


def end_to_end_rows(head: Floats, size: tuple[int, int], values: int) -> Rows:
    """Rows of an end-to-end head, [N, 6 + E]: two corners, score, class, extra."""
    boxes = head[:, :4] * np.tile(_unit(head[:, :4].reshape(-1, 2), size), 2)
    return Rows(boxes, head[:, 4:5], head[:, 5].round().astype(np.int64), _scaled(head[:, 6:], size, values))


def _scaled(extra: Floats, size: tuple[int, int], values: int) -> Floats:
    if not values:
        return extra
    points = extra.reshape(len(extra), -1, values)
    unit = np.ones(values, np.float32)
    unit[:2] = _unit(points[:, :, :2].reshape(-1, 2), size)
    return (points * unit).reshape(extra.shape)


def _unit(points: Floats, size: tuple[int, int]) -> Floats:
    """(x, y): what to multiply coordinates [N, 2] of a whole head with to have pixels.

    In pixels, rows that cover the input reach across it; nobody has a graph with an input of 2x2 pixels. As fractions
    they go little beyond 0 and 1, where a box reaches out of the picture.
    """
    fractions = points.size > 0 and bool(np.abs(points).max() <= 2)
    return np.array(size if fractions else (1, 1), np.float32)


def choose(
    rows: Rows, min_score: float, iou: float, max_detections: int, multi_label: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Which rows stay, best first, and class and score of each.

    Raw rows go through greedy NMS within each class, after which no two boxes of a class overlap by more
    than `iou`. Those of an end-to-end head do where nobody filtered them: where there are more of them than exporters
    let a filter leave.
    """
    if rows.classes is not None:
        at = np.flatnonzero(rows.scores[:, 0] > min_score)
        classes, scores = rows.classes[at], rows.scores[at, 0]
    elif multi_label:
        at, classes = np.nonzero(rows.scores > min_score)
        scores = rows.scores[at, classes]
    else:
        best = rows.scores.argmax(1)
        scores = np.take_along_axis(rows.scores, best[:, None], 1)[:, 0]
        at = np.flatnonzero(scores > min_score)
        classes, scores = best[at], scores[at]
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    at, classes, scores = at[order], classes[order], scores[order]
    if rows.classes is None or len(rows.scores) > FILTERED:
        stay = suppress(rows.boxes[at], classes, iou, max_detections)
        at, classes, scores = at[stay], classes[stay], scores[stay]
    return at[:max_detections], classes[:max_detections], scores[:max_detections]


def without_broken(head: Floats, axis: int) -> Floats:
    """A head whose rows lie along `axis`; those that aren't finite (half precision overflows now and then) become 0,
    and so score nothing."""
    good = np.isfinite(head).all(1 - axis)
    return head if good.all() else np.where(np.expand_dims(good, 1 - axis), head, np.float32(0))


def suppress(boxes: Floats, classes: NDArray[np.int64], iou: float, limit: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices, ascending, of the boxes [N, 4] that stay, at most `limit`.

    Boxes come best first. One stays unless a better one of its class that stays overlaps it by more than `iou`.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    # Classes are moved so far apart that their boxes can't meet, which makes one pass of all of them.
    far = float(boxes.max() - boxes.min()) + 1
    x0, y0, x1, y1 = (boxes.astype(np.float64) + (classes * far)[:, None]).T
    area = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    left = np.arange(len(boxes))
    stay: list[int] = []
    while left.size and len(stay) < limit:
        n, left = left[0], left[1:]
        stay.append(n)
        width = np.minimum(x1[n], x1[left]) - np.maximum(x0[n], x0[left])
        height = np.minimum(y1[n], y1[left]) - np.maximum(y0[n], y0[left])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[common <= iou * (area[n] + area[left] - common)]
    return np.array(stay, np.int64)
