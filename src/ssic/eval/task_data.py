"""What a task is measured on: pictures, what of them the task needs, and the detector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import listing
from ssic.errors import InvalidInput
from ssic.eval.ap import MOST, Task
from ssic.eval.extras import optional
from ssic.groups.coco import read_objects
from ssic.groups.label_maps import Rule, blocks_from_pixels
from ssic.groups.mask import GroupMask
from ssic.groups.objects import read_json
from ssic.groups.segment.yolo import YoloModel
from ssic.names import numbered
from ssic.pictures.read import load_picture

GroupBy = Literal["instance", "class", "all"]
Box = tuple[int, int, int, int]


class Found(Protocol):
    """A detection, as `ssic.groups.segment.yolo.Detection`."""

    @property
    def class_name(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def mask(self) -> NDArray[np.bool_] | None: ...
    @property
    def keypoints(self) -> NDArray[np.float32] | None: ...


class Detector(Protocol):
    """What finds objects in pictures, as `ssic.groups.segment.yolo.YoloModel`."""

    def predict(
        self, rgb: NDArray[np.uint8], *, min_score: float, iou: float, max_detections: int
    ) -> Sequence[Found]: ...


@lru_cache(maxsize=2)
def load_detector(name: str, threads: int) -> Detector:
    """The detector that "onnx:PATH" names.

    Raises:
        InvalidInput: another kind of name.
        SegmenterError: it can't be loaded.
    """
    return YoloModel(_graph(name), threads=threads)


def _graph(name: str) -> Path:
    kind, _, path = name.partition(":")
    if kind != "onnx" or not path:
        raise InvalidInput(f"{name}: a model is given as onnx:PATH")
    return Path(path)


def detector_identity(name: str) -> str:
    """Hash of the file of the detector that "onnx:PATH" names.

    Raises:
        InvalidInput: another kind of name, or the file can't be read.
    """
    path = _graph(name)
    return _hash_of_file(path, f"the model {path}").hex()[:16]


def _hash_of_file(path: Path, what: str) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise InvalidInput(f"can't read {what}: {error.strerror or error}") from error


def detector_label(name: str) -> str:
    """How results name the detector that "onnx:PATH" names: its file, without the folder, and its hash. Results are
    passed on, and in whose folder it lay is nobody's business."""
    return f"onnx:{_graph(name).name} {detector_identity(name)}"


def detect(
    detector: Detector, pixels: NDArray[np.uint8], task: Task, categories: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What the detector finds, as COCO results without "image_id": a class per box, scores from 0.001, NMS at 0.7.

    Args:
        categories: ids by name; what is of none of them is not counted.
    """
    rle = optional("pycocotools.mask")
    results: list[dict[str, Any]] = []
    found = detector.predict(np.ascontiguousarray(pixels), min_score=0.001, iou=0.7, max_detections=300)
    for d in sorted((d for d in found if d.class_name in categories), key=lambda d: -d.score)[: MOST[task]]:
        x0, y0, x1, y1 = d.box
        result: dict[str, Any] = {
            "category_id": categories[d.class_name],
            "score": float(d.score),
            "bbox": [round(float(v), 3) for v in (x0, y0, x1 - x0, y1 - y0)],
        }
        if task == "segm":
            mask = d.mask
            if mask is None:
                raise InvalidInput(
                    "the model finds no masks: --task segm needs one for instance segmentation"
                )
            encoded = rle.encode(np.asfortranarray(mask, np.uint8))
            result["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}
        if task == "keypoints":
            if d.keypoints is None:
                raise InvalidInput("the model finds no keypoints: --task keypoints needs one for poses")
            result["keypoints"] = [round(float(v), 3) for v in np.asarray(d.keypoints).ravel()]
            del result["bbox"]  # pycocotools takes the extent of the keypoints
        results.append(result)
    return results


@dataclass(frozen=True)
class Layout:
    """How groups are made of objects.

    Attributes:
        group_by: a group per object, per class, or one of all objects.
        rule: who owns a block, see `blocks_from_pixels`.
        margin: so many blocks around the objects belong to them too. Detectors look at the surroundings.
        segmenter: name of a model that finds the objects; None takes the annotated ones.
        min_score: of objects that the segmenter finds.
    """

    group_by: GroupBy = "all"
    rule: Rule = "any"
    margin: int = 0
    segmenter: str | None = None
    min_score: float = 0.25


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, and what of it the task needs.

    Attributes:
        pixels: [H, W, 3].
        original: bytes of its file.
        mask: its groups; the background is 0.
        wanted: ids of the groups that the task needs; may be empty.
        boxes: of the objects, in pixels, x1 and y1 exclusive, without margin.
        files: ssic files made of it so far, by what they were made with.
    """

    pixels: NDArray[np.uint8]
    original: int
    mask: GroupMask
    wanted: Sequence[int]
    boxes: Sequence[Box]
    files: dict[Any, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A picture of the annotations: its file, and COCO annotations with nothing else in them."""

    id: int
    path: Path
    annotations: Mapping[str, Any]

    def load(self, layout: Layout, categories: Mapping[str, int], threads: int) -> Scene:
        """
        Raises:
            ImageError: the picture can't be read.
            MaskError: its annotations can't.
        """
        pixels = load_picture(self.path).pixels
        height, width = pixels.shape[:2]
        if layout.segmenter is None:
            labels, classes = self._annotated((width, height))
            boxes = [_outer(a["bbox"], width, height) for a in self.annotations["annotations"]]
        else:
            labels, classes, boxes = _segmented(pixels, layout, categories, threads)
        mask = grouped(labels, classes, layout)
        wanted = [g for g in mask.groups if mask.names[g] != "background"]
        return Scene(
            pixels, self.path.stat().st_size, mask, wanted, [b for b in boxes if b[0] < b[2] and b[1] < b[3]]
        )

    def _annotated(self, size: tuple[int, int]) -> tuple[NDArray[np.int32], dict[int, str]]:
        found = read_objects(self.annotations, size, image_id=self.id)
        return found.labels, found.classes


def _outer(box: Sequence[float], width: int, height: int) -> Box:
    """COCO's x, y, width, height -> corners on whole pixels, within the picture."""
    x, y, w, h = box
    return max(0, int(x)), max(0, int(y)), min(width, int(np.ceil(x + w))), min(height, int(np.ceil(y + h)))


def _segmented(
    pixels: NDArray[np.uint8], layout: Layout, categories: Mapping[str, int], threads: int
) -> tuple[NDArray[np.int32], dict[int, str], list[Box]]:
    """Objects as a model finds them in the picture, the smaller on top."""
    detector = load_detector(layout.segmenter or "", threads)
    height, width = pixels.shape[:2]
    found = detector.predict(pixels, min_score=layout.min_score, iou=0.7, max_detections=100)
    objects = []
    for d in found:
        if d.class_name not in categories:
            continue
        x0, y0, x1, y1 = d.box
        box = _outer((x0, y0, x1 - x0, y1 - y0), width, height)
        mask = d.mask
        if mask is None:
            mask = np.zeros((height, width), bool)
            mask[box[1] : box[3], box[0] : box[2]] = True
        if mask.any():
            objects.append((mask, d.class_name, box))
    objects.sort(key=lambda o: -int(o[0].sum()))
    labels = np.zeros((height, width), np.int32)
    for n, (mask, _, _) in enumerate(objects, 1):
        labels[mask] = n
    return labels, {n: o[1] for n, o in enumerate(objects, 1)}, [o[2] for o in objects]


def grouped(labels: NDArray[np.int32], classes: Mapping[int, str], layout: Layout) -> GroupMask:
    """Groups of painted objects.

    Args:
        labels: [H, W], 0 is the background.
        classes: of each label.
    """
    owners = widened(blocks_from_pixels(labels, layout.rule), layout.margin)
    left = [n for n in np.unique(owners).tolist() if n]
    if layout.group_by == "all":
        kinds = ["objects"] * len(left)
    elif layout.group_by == "class":
        kinds = [classes[n] for n in left]
    else:
        kinds = numbered([classes[n] for n in left])
    names = list(dict.fromkeys(kinds))
    if len(names) > 254:
        raise InvalidInput(f"{len(names)} objects in one picture; group them by class")
    table = np.zeros(int(owners.max()) + 1, np.uint8)
    table[left] = [names.index(kind) + 1 for kind in kinds]
    # A label per block; a picture of one block is the same either way.
    size = labels.shape[1], labels.shape[0]
    about = {0: "background"} | dict(enumerate(names, 1))
    ids = table[owners]
    if ids.shape == labels.shape:
        return GroupMask(ids, {g: about[g] for g in np.unique(ids).tolist()})
    return GroupMask.from_label_map(ids, size, about)


def widened(owners: NDArray[np.int64], margin: int) -> NDArray[np.int64]:
    """Objects grown into the background by so many blocks in all eight directions; where two meet, the larger
    label wins."""
    for _ in range(margin):
        around = np.pad(owners, 1)
        shifts = [
            around[1 + dy : around.shape[0] - 1 + dy, 1 + dx : around.shape[1] - 1 + dx]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        owners = np.where(owners == 0, np.max(shifts, axis=0), owners)
    return owners


@dataclass(frozen=True)
class Dataset:
    """Annotated pictures.

    Attributes:
        truth: COCO annotations of exactly these pictures.
        entries: the pictures, in ascending order of id.
        categories: ids by name.
        identity: hash of the annotations and of the pictures' files.
    """

    truth: Mapping[str, Any]
    entries: Sequence[Entry]
    categories: Mapping[str, int]
    identity: str


def read_dataset(
    images: Path,
    annotations: Path,
    *,
    where: Mapping[str, str] | None = None,
    empty: bool = False,
    limit: int | None = None,
) -> Dataset:
    """
    Args:
        images: folder of the pictures.
        where: only pictures whose records have these values.
        empty: also pictures without a single annotated object.
        limit: at most so many, evenly spread.

    Raises:
        InvalidInput: no pictures are left, or files are missing.
        MaskError: the annotations can't be read.
    """
    data = read_json(annotations, "COCO annotations")
    try:
        categories = {str(c["name"]): int(c["id"]) for c in data["categories"]}
        annotated = {int(a["image_id"]) for a in data["annotations"]}
        records = {int(i["id"]): i for i in data["images"]}
        kept = sorted(
            n
            for n, record in records.items()
            if (empty or n in annotated) and all(str(record.get(k)) == v for k, v in (where or {}).items())
        )
        kept = [kept[k * len(kept) // limit] for k in range(limit)] if limit and limit < len(kept) else kept
        chosen = set(kept)
        of: dict[int, list[Any]] = {n: [] for n in kept}
        for a in data["annotations"]:
            if int(a["image_id"]) in chosen:
                of[int(a["image_id"])].append(a)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{annotations} is no COCO annotation file: {error!r}") from error
    if not kept:
        raise InvalidInput(f"no picture of {annotations} is left to measure")
    entries = [
        Entry(
            n,
            images / str(records[n]["file_name"]),
            {"images": [records[n]], "annotations": of[n], "categories": data["categories"]},
        )
        for n in kept
    ]
    if missing := [e.path.name for e in entries if not e.path.is_file()]:
        raise InvalidInput(f"{images} lacks {listing(missing, 5)}")
    truth = {
        "info": {},
        "images": [records[n] for n in kept],
        "annotations": [a for n in kept for a in of[n]],
        "categories": data["categories"],
    }
    return Dataset(truth, entries, categories, _hash_of(truth, entries))


def _hash_of(truth: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    """Hash of annotations and of pictures, as their files are."""
    content = hashlib.sha256(json.dumps(truth, sort_keys=True).encode())
    for entry in entries:
        content.update(_hash_of_file(entry.path, str(entry.path)))
    return content.hexdigest()[:16]
