"""Methods to send a picture to a detector: what is sent, in bytes of files, and the picture that arrives."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import BLOCK
from ssic.codec import Codec
from ssic.errors import DamagedSegment, InvalidInput
from ssic.eval.peers import Peer, find_peers
from ssic.eval.task_data import Box, Scene
from ssic.file import SsicFile
from ssic.model.weights import find_weights, load_weights
from ssic.pictures.fill import compose
from ssic.version import __version__

QUALITIES = (3, 8, 15, 25, 40, 60)
"""Of ssic, unless others are asked for."""


@dataclass(frozen=True, eq=False)
class Sent:
    """What arrives.

    Attributes:
        bytes: of all files together.
        pixels: [H, W, 3], what did not arrive being filled.
    """

    bytes: int
    pixels: NDArray[np.uint8]


class Method(ABC):
    """A method to send a picture.

    Attributes:
        name: of its curve.
        qualities: at which its curve is measured.
    """

    name: str
    qualities: Sequence[int]

    @abstractmethod
    def send(self, scene: Scene, quality: int) -> Sent:
        """Encode to files, and decode what is in them."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """All that decides what is sent, but for picture and quality."""

    def identity(self, more: Mapping[str, Any]) -> str:
        """Hash of the facts, and of others."""
        text = json.dumps(self.facts() | dict(more), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Original(Method):
    """The file as it is."""

    name: str = "original"
    qualities: Sequence[int] = (100,)

    def send(self, scene: Scene, quality: int) -> Sent:
        return Sent(scene.original, scene.pixels)

    def facts(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class SsicMethod(Method):
    """An ssic file, or what `ssic extract` takes from it.

    Attributes:
        what: "selective", the groups that the task needs; "whole", all; "graded", all, with the background at a
            quality of its own.
        model, engine: of the codec.
        identity_of_model: `Weights.identity`.
        fill: what stands where no group is, as for `ssic decode`.
        background: quality of the background of "graded".
    """

    what: str
    model: str
    identity_of_model: str
    fill: str
    qualities: Sequence[int] = QUALITIES
    background: int = 1
    engine: str = "auto"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"ssic {self.what}"

    def facts(self) -> dict[str, Any]:
        graded = {"background": self.background} if self.what == "graded" else {}
        return {
            "method": self.name,
            "ssic": __version__,
            "model": self.identity_of_model,
            "engine": Codec.load(self.model, engine=self.engine).engine.name,
            "fill": self.fill,
        } | graded

    def send(self, scene: Scene, quality: int) -> Sent:
        if self.what == "selective" and not scene.wanted:
            return Sent(0, compose(scene.pixels, np.zeros(scene.pixels.shape[:2], bool), self.fill))
        data = self._file(scene, quality)
        if self.what == "selective":
            data = bytes(SsicFile(data).extract(scene.wanted))
        decoded = SsicFile(data, model=self.model).decode_pixels(engine=self.engine)
        if decoded.damaged:
            raise DamagedSegment("a file just written is damaged", decoded.damaged)
        return Sent(len(data), compose(decoded.pixels, decoded.present, self.fill))

    def _file(self, scene: Scene, quality: int) -> bytes:
        graded = self.what == "graded" and 0 in scene.mask.groups
        exceptions: dict[str | int, int] = {0: self.background} if graded else {}
        key = self.identity_of_model, quality, tuple(exceptions.items())
        if key not in scene.files:
            codec = Codec.load(self.model, engine=self.engine)
            made = codec.encode(scene.pixels, scene.mask, quality=quality, group_quality=exceptions)
            scene.files[key] = made.data
        return scene.files[key]


@dataclass(frozen=True)
class PeerMethod(Method):
    """A codec without groups.

    Attributes:
        codec: its name in `PEERS`.
        what: "whole", the picture; "boxes", what is around the objects, in files of their own; "flat", the
            picture with all but the wanted groups painted in their mean colour, encoded for this receiver only.
        fill: what stands where nothing was sent, of "boxes" and "flat".
        margin: around the boxes, in blocks.
    """

    codec: str
    what: str
    fill: str
    margin: int
    qualities: Sequence[int]

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.codec} {self.what}"

    @property
    def peer(self) -> Peer:
        """Found anew, because functions that choose its options don't travel to other processes."""
        return PEERS[self.codec]

    def facts(self) -> dict[str, Any]:
        facts = {
            "method": self.name,
            "options": dict(self.peer.options(50)),
            "library": self.peer.library or "",
        }
        if self.what != "whole":
            facts |= {"fill": self.fill}
        return facts | ({"margin": self.margin} if self.what == "boxes" else {})

    def send(self, scene: Scene, quality: int) -> Sent:
        height, width = scene.pixels.shape[:2]
        if self.what == "whole":
            data = self.peer.encode(scene.pixels, quality)
            return Sent(len(data), self.peer.decode(data))
        if self.what == "boxes":
            return self._boxes(scene, quality)
        if not scene.wanted:
            return Sent(0, compose(scene.pixels, np.zeros((height, width), bool), self.fill))
        shown = np.isin(scene.mask.to_pixels(width, height), scene.wanted)
        data = self.peer.encode(compose(scene.pixels, shown, "mean"), quality)
        return Sent(len(data), compose(self.peer.decode(data), shown, self.fill))

    def _boxes(self, scene: Scene, quality: int) -> Sent:
        """The cheaper of a file per box and one for all; the receiver knows the places at no cost."""
        height, width = scene.pixels.shape[:2]
        apart = disjoint(grown(scene.boxes, self.margin * BLOCK, width, height))
        best: tuple[int, list[tuple[Box, bytes]]] | None = None
        for boxes in (apart, [around(apart)] if len(apart) > 1 else None):
            if boxes is not None:
                files = [(b, self.peer.encode(_cut(scene.pixels, b), quality)) for b in boxes]
                size = sum(len(data) for _, data in files)
                if best is None or size < best[0]:
                    best = size, files
        size, files = best or (0, [])
        pixels, present = np.zeros_like(scene.pixels), np.zeros((height, width), bool)
        for (x0, y0, x1, y1), data in files:
            pixels[y0:y1, x0:x1] = self.peer.decode(data)
            present[y0:y1, x0:x1] = True
        return Sent(size, compose(pixels, present, self.fill))


def _cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = box
    return np.ascontiguousarray(pixels[y0:y1, x0:x1])


def grown(boxes: Sequence[Box], margin: int, width: int, height: int) -> list[Box]:
    """Boxes with so many pixels more on each side, within the picture."""
    return [
        (max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin))
        for x0, y0, x1, y1 in boxes
    ]


def around(boxes: Sequence[Box]) -> Box:
    """The box around all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def disjoint(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that don't overlap, so that no pixel is sent twice: those that do are replaced by the box around them."""
    left = list(boxes)
    result: list[Box] = []
    while left:
        box = left.pop()
        hit = [b for b in result if b[0] < box[2] and box[0] < b[2] and b[1] < box[3] and box[1] < b[3]]
        if hit:
            result = [b for b in result if b not in hit]
            left.append(around([box, *hit]))
        else:
            result.append(box)
    return sorted(result)


PEERS: Mapping[str, Peer] = {
    "jpeg": Peer(
        "jpeg",
        "JPEG",
        (6, 11, 18, 30, 50),
        lambda q: {"quality": int(q), "subsampling": "4:2:0", "optimize": True, "progressive": True},
        1,
    ),
    "webp": Peer("webp", "WEBP", (1, 6, 15, 35, 60), lambda q: {"quality": int(q), "method": 6}, 0),
    "avif": Peer(
        "avif",
        "AVIF",
        (5, 10, 18, 27, 40, 55),
        lambda q: {"quality": int(q), "speed": 6, "subsampling": "4:2:0", "advanced": {"tune": "psnr"}},
        0,
    ),
}
"""Settings that suit low rates: colour at half the resolution, unlike where PSNR of RGB is measured."""

METHODS = (
    *("ssic selective", "ssic whole", "avif whole", "webp whole", "jpeg whole", "avif boxes", "avif flat"),
    *("ssic graded", "webp boxes", "jpeg boxes"),
)
"""All there are; the last ones only if they are asked for."""
DEFAULT_METHODS = METHODS[:7]


def find_methods(
    names: Sequence[str],
    *,
    model: str,
    fill: str,
    qualities: Sequence[int] = QUALITIES,
    margin: int = 0,
    peer_qualities: Mapping[str, Sequence[int]] | None = None,
    background: int = 1,
    engine: str = "auto",
) -> list[Method]:
    """The methods of these names.

    Args:
        qualities: of ssic.
        peer_qualities: of others, "avif" and so on, instead of those in `PEERS`.

    Raises:
        InvalidInput: there is no such method, or what it needs is not installed.
        ModelError: there is no such model.
    """
    of_model = load_weights(find_weights(model)).identity
    found: list[Method] = []
    for name in dict.fromkeys(names):
        if name not in METHODS:
            raise InvalidInput(f"no method {name!r}; there are: {', '.join(METHODS)}")
        kind, _, what = name.partition(" ")
        if kind == "ssic":
            found.append(SsicMethod(what, model, of_model, fill, tuple(qualities), background, engine))
            continue
        find_peers([kind])  # tells what is missing
        peer = PEERS[kind]
        chosen_qualities = (peer_qualities or {}).get(kind)
        if chosen_qualities is not None and any(not (peer.lowest or 0) <= q <= 100 for q in chosen_qualities):
            raise InvalidInput(
                f"qualities of {kind} are from {peer.lowest} to 100, not {list(chosen_qualities)}"
            )
        chosen = peer.qualities if chosen_qualities is None else chosen_qualities
        found.append(PeerMethod(kind, what, fill, margin, tuple(int(q) for q in chosen)))
    if unknown := set(peer_qualities or ()) - set(PEERS):
        raise InvalidInput(f"no codec {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}")
    return found
