"""Other codecs: those that Pillow encodes here and now, and curves from files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from ssic.errors import InvalidInput
from ssic.eval.extras import optional


@dataclass(frozen=True)
class Peer:
    """A codec with its settings.

    Attributes:
        name: of its curve.
        kind: Pillow's name of the format.
        qualities: at which its curve is measured.
        options: quality -> arguments of `Image.save`.
        lowest: the lowest quality; the highest is 100. None if they are no whole numbers in ascending order.
    """

    name: str
    kind: str
    qualities: Sequence[float]
    options: Callable[[float], Mapping[str, Any]]
    lowest: int | None

    def facts(self, quality: float) -> dict[str, Any]:
        """All that decides what is made of a picture."""
        return {"peer": self.name, "options": dict(self.options(quality)), "library": self.library}

    @property
    def library(self) -> str | None:
        """Version of what encodes."""
        if self.kind == "HEIF":
            return metadata.version("pillow-heif")
        return features.version(
            {"JPEG": "libjpeg_turbo", "JPEG2000": "jpg_2000"}.get(self.kind, self.kind.lower())
        )

    def encode(self, pixels: NDArray[np.uint8], quality: float) -> bytes:
        """[H, W, 3] -> the bytes of a file."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.kind, **self.options(quality))
        return file.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Such a file -> [H, W, 3]."""
        with Image.open(io.BytesIO(data), formats=[self.kind]) as image:
            return np.asarray(image.convert("RGB"))


def _jpeg(subsampling: str) -> Peer:
    return Peer(
        f"jpeg_{subsampling.replace(':', '')}",
        "JPEG",
        (5, 12, 25, 45, 65, 80, 90, 95),
        lambda q: {"quality": int(q), "subsampling": subsampling, "optimize": True},
        1,
    )


PEERS: Mapping[str, tuple[Peer, ...]] = {
    "jpeg": (_jpeg("4:4:4"), _jpeg("4:2:0")),
    "webp": (
        Peer(
            "webp",
            "WEBP",
            (0, 10, 30, 50, 70, 85, 95),
            lambda q: {"quality": int(q), "method": 6},
            0,
        ),
    ),
    # Qualities of JPEG 2000 are target rates in bits per pixel; a bare code stream, the 9/7 wavelet.
    "jpeg2000": (
        Peer(
            "jpeg2000",
            "JPEG2000",
            (0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0),
            lambda q: {
                "quality_mode": "rates",
                "quality_layers": [24 / q],
                "irreversible": True,
                "mct": 1,
                "no_jp2": True,
            },
            None,
        ),
    ),
    # libavif's own default tunes for another metric and costs 8 % in PSNR.
    "avif": (
        Peer(
            "avif_psnr_s6",
            "AVIF",
            (5, 15, 25, 38, 50, 62, 75),
            lambda q: {
                "quality": int(q),
                "speed": 6,
                "subsampling": "4:4:4",
                "advanced": {"tune": "psnr"},
            },
            0,
        ),
    ),
    "heic": (
        Peer(
            "heic_x265", "HEIF", (10, 20, 30, 40, 50, 60, 75), lambda q: {"quality": int(q), "chroma": 420}, 0
        ),
    ),
}
"""By the name on the command line; settings and names are those of the measured peers."""


def find_peers(names: Sequence[str]) -> list[Peer]:
    """The peers of these names, ready to be used.

    Raises:
        InvalidInput: there is no such peer, or what it needs is not installed.
    """
    found: list[Peer] = []
    for name in dict.fromkeys(names):
        if name not in PEERS:
            raise InvalidInput(f"no peer {name!r}; there are: {', '.join(PEERS)}")
        if name == "heic":
            optional("pillow_heif").register_heif_opener()
        feature = {"webp": "webp", "jpeg2000": "jpg_2000", "avif": "avif"}.get(name)
        if feature and not features.check(feature):
            raise InvalidInput(f"this Pillow was built without {name}; version 11.3 or later has it")
        found += PEERS[name]
    return found


def available(names: Sequence[str]) -> list[str]:
    """Those of the names that `find_peers` would find."""

    def works(name: str) -> bool:
        try:
            return bool(find_peers([name]))
        except InvalidInput:
            return False

    return [name for name in names if works(name)]


@dataclass(frozen=True)
class Point:
    """A point of a curve."""

    bpp: float
    psnr: float
    msssim_db: float | None = None


@dataclass(frozen=True)
class Curve:
    """A curve from a file."""

    name: str
    source: str
    points: tuple[Point, ...]


def read_curves(path: Path) -> list[Curve]:
    """The curves of a JSON file of one of three shapes: published, ``{name: {"bpp": [], "psnr": []}}``; measured,
    ``{name: [{"bpp", "psnr", "msssim_db"}]}``; or results of `ssic eval rd`.

    Raises:
        InvalidInput: anything else.
        OSError: the file can't be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        curves = content["curves"] if "schema" in content else content
        return [Curve(str(name), path.stem, tuple(_points(points))) for name, points in curves.items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"{path} is no file of curves: {type(error).__name__} {error}") from error


def _points(content: Any) -> list[Point]:
    if isinstance(content, list):
        points = [
            Point(float(p["bpp"]), float(p["psnr"]), _number(p.get("msssim_db")))
            for p in content
            if p["psnr"] is not None  # infinite
        ]
    else:
        # Published results that have MS-SSIM have it as such, not in dB, and often of nets trained for it.
        points = [Point(float(b), float(d)) for b, d in zip(content["bpp"], content["psnr"], strict=True)]
    return sorted(points, key=lambda p: p.bpp)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
