"""Segmenters that run models of others: YOLO graphs in ONNX, torchvision's Mask R-CNN, Ultralytics' own package.

Each is a factory that takes what stands after the colon of `--segment NAME:ARG`, and imports what it needs only then.
No weights come with ssic; whose they are, and under which licence, is their makers' word (docs/segment.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import SegmenterError
from ssic.groups.segment import Instance
from ssic.groups.segment.yolo import YoloModel

LOWEST = 0.05
"""What scores less is noise to all of these models; whoever calls them draws the line, higher."""


class OnnxSegmenter:
    """`onnx:PATH`: a segmentation graph of the YOLO family, through onnxruntime."""

    def __init__(self, path: str | None) -> None:
        if not path:
            raise SegmenterError("the segmenter onnx needs a graph: onnx:PATH, as in onnx:yolov8n-seg.onnx")
        self._model = YoloModel(path)
        if self._model.task != "segment":
            raise SegmenterError(
                f"{path} is a {self._model.task} graph, which gives no masks: one for segmentation is needed (-seg)"
            )
        self.classes = tuple(self._model.names.values())
        self.identity = "YOLO 1"  # the file is known; raised whenever the same graph gives other masks

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
        for found in self._model.predict(rgb, min_score=LOWEST):
            if (mask := found.mask) is not None:
                yield Instance(found.class_name, found.score, mask)


class TorchvisionSegmenter:
    """`torchvision[:WEIGHTS]`: its Mask R-CNN, ResNet-50 FPN v2, with COCO's classes. WEIGHTS is a file with its state
    dictionary; by default torchvision downloads its own once."""

    def __init__(self, weights: str | None) -> None:
        torch, detection = _needed("torch"), _needed("torchvision.models.detection", "torchvision")
        about = detection.MaskRCNN_ResNet50_FPN_V2_Weights.DEFAULT
        if weights:
            network = detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        else:
            network = detection.maskrcnn_resnet50_fpn_v2(weights=about)
        self._torch, self._network = torch, network.eval()
        self._names: list[str] = about.meta["categories"]
        self.classes = tuple(name for name in self._names if name not in ("__background__", "N/A"))
        self.identity = f"torchvision {_needed('torchvision').__version__}, {about}"

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
        values = self._torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255
        with self._torch.inference_mode():
            found = self._network([values])[0]
        for label, score, mask in zip(found["labels"], found["scores"], found["masks"], strict=True):
            if score >= LOWEST:
                yield Instance(self._names[int(label)], float(score), (mask[0] > 0.5).numpy())


class UltralyticsSegmenter:
    """`ultralytics[:WEIGHTS]`: a segmentation model of that package (AGPL-3.0). WEIGHTS is a file, or the name of a
    model that the package then downloads; yolo11n-seg.pt by default."""

    def __init__(self, weights: str | None) -> None:
        self._model = _needed("ultralytics").YOLO(weights or "yolo11n-seg.pt")
        if self._model.task != "segment":
            raise SegmenterError(
                f"{weights} is a {self._model.task} model: one for segmentation is needed (-seg)"
            )
        self.classes = tuple(self._model.names.values())
        # The package downloads what has no file yet, to a place that it then tells.
        path = Path(str(getattr(self._model, "ckpt_path", None) or ""))
        weighed = f", {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else ""
        self.identity = f"ultralytics {_needed('ultralytics').__version__}{weighed}"

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
        # It takes arrays as OpenCV has them: blue first.
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        found = self._model.predict(bgr, conf=LOWEST, retina_masks=True, verbose=False)[0]
        if found.masks is None:
            return
        boxes = found.boxes
        for label, score, mask in zip(boxes.cls, boxes.conf, found.masks.data, strict=True):
            yield Instance(self._model.names[int(label)], float(score), mask.cpu().numpy() > 0.5)


def _needed(module: str, package: str | None = None) -> Any:
    package = package or module
    try:
        return import_module(module)
    except ImportError as error:
        raise SegmenterError(f"the segmenter needs {package}: pip install {package}") from error
