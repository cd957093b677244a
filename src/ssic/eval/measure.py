"""Curves of ssic and of its peers on the same pictures, from files that were written and read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.codec import Codec, current_weights
from ssic.errors import DamagedSegment
from ssic.eval.kept import Kept
from ssic.eval.metrics import decibels, ms_ssim, psnr
from ssic.eval.peers import Peer
from ssic.eval.pictures import Case, Cases, Report, stored
from ssic.eval.report import computing
from ssic.file import SsicFile
from ssic.groups.mask import GroupMask
from ssic.model.weights import find_weights
from ssic.pictures.read import Picture
from ssic.version import __version__

Points = list[dict[str, Any]]
"""A curve: a dictionary of means per quality, "pictures" in it being those of each picture."""

PARTS = ("mask_bytes", "head_bytes", "z_bytes", "y_bytes")
"""What a file is made of: the mask, the rest of the head, and of the segments hyper-latents and latents."""


@dataclass(frozen=True)
class Coded:
    """A file, and the bytes of its parts where they are known."""

    data: bytes
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ssic:
    """ssic with one model on one engine."""

    model: str
    engine: str = "auto"
    effort: int = 1

    def facts(self) -> dict[str, Any]:
        """All that decides its files and what they decode to, now: the weights may be replaced."""
        codec = Codec.load(self.model, engine=self.engine)
        return {
            "ssic": __version__,
            "model": current_weights(find_weights(self.model)).identity,
            "engine": codec.engine.name,
            "effort": self.effort,
            "libraries": computing(),
        }

    def encode(self, picture: Picture, mask: GroupMask | None, quality: int) -> Coded:
        """Encode as `ssic encode` does."""
        codec = Codec.load(self.model, engine=self.engine)
        coded = codec.encode(picture, mask, quality=quality, effort=self.effort)
        head = SsicFile(coded.data).head
        z = sum(coded.hyper_bytes.values())
        y = sum(g.length for g in head.groups) - z
        sizes = (head.mask_bytes, head.head_bytes - head.mask_bytes, z, y)
        return Coded(coded.data, dict(zip(PARTS, sizes, strict=True)))

    def decode(self, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels, and where they are.

        Raises:
            DamagedSegment: a group could not be decoded.
        """
        decoded = SsicFile(data, model=self.model).decode_pixels(engine=self.engine)
        if decoded.damaged:
            raise DamagedSegment("a file just written is damaged", decoded.damaged)
        return decoded.pixels, decoded.present


def measure_ssic(
    cases: Cases, codec: Ssic, qualities: Sequence[int], masks: bool, work: Path, report: Report, kept: Kept
) -> Points:
    """The curve of ssic, with the masks of the cases or with one group."""
    warm = False

    def measure(case: Case, quality: int) -> dict[str, Any]:
        nonlocal warm
        mask = case.mask if masks else None
        if not warm:  # the first run pays for memory and code that the others find in place
            codec.decode(codec.encode(case.picture, mask, quality).data)
            warm = True
        return _measure(
            case,
            lambda: codec.encode(case.picture, mask, quality),
            lambda data: codec.decode(data)[0],
            work / "picture.ssic",
        )

    def facts(masked: bool, quality: int) -> dict[str, Any]:
        return codec.facts() | {"masks": masked, "quality": quality}

    rows: list[list[dict[str, Any]]] = []
    for n, case in enumerate(cases):
        masked = masks and case.mask is not None
        report(f"ssic {'with masks' if masked else 'with one group'}: {case.name}, {n + 1} of {len(cases)}")
        rows.append(
            [_kept(kept, case, partial(facts, masked, q), partial(measure, case, q)) for q in qualities]
        )
    return _means(qualities, rows)


def measure_peer(cases: Cases, peer: Peer, work: Path, report: Report, kept: Kept) -> Points:
    """The curve of another codec."""

    def measure(case: Case, quality: float) -> dict[str, Any]:
        return _measure(
            case, lambda: Coded(peer.encode(case.pixels, quality)), peer.decode, work / "picture.peer"
        )

    rows: list[list[dict[str, Any]]] = []
    for n, case in enumerate(cases):
        report(f"{peer.name}: {case.name}, {n + 1} of {len(cases)}")
        rows.append(
            [_kept(kept, case, partial(peer.facts, q), partial(measure, case, q)) for q in peer.qualities]
        )
    return _means(peer.qualities, rows)


def _kept(
    kept: Kept, case: Case, facts: Callable[[], dict[str, Any]], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """A point of one picture."""
    found = kept(lambda: {"measured": "rd", "case": case.identity, "codec": facts()}, measure)
    return {"picture": case.name} | found


def _measure(
    case: Case, encode: Callable[[], Coded], decode: Callable[[bytes], NDArray[np.uint8]], path: Path
) -> dict[str, Any]:
    begun = time.perf_counter()
    coded = encode()
    encode_s = time.perf_counter() - begun
    data = stored(path, coded.data)
    begun = time.perf_counter()
    pixels = decode(data)
    decode_s = time.perf_counter() - begun
    height, width = case.pixels.shape[:2]
    similarity = ms_ssim(case.pixels, pixels)
    return {
        "width": width,
        "height": height,
        "groups": 1 if case.mask is None else len(case.mask.groups),
        "bytes": len(data),
        "bpp": 8 * len(data) / (width * height),
        "psnr": psnr(case.pixels, pixels),
        "msssim": similarity,
        "msssim_db": None if similarity is None else decibels(similarity),
        "encode_s": encode_s,
        "decode_s": decode_s,
        **coded.parts,
    }


def _means(qualities: Sequence[float], rows: Sequence[Sequence[dict[str, Any]]]) -> Points:
    points: Points = []
    for k, quality in enumerate(qualities):
        pictures = [row[k] for row in rows]
        keys = [key for key in pictures[0] if key not in ("picture", "width", "height", "groups")]
        points.append({"quality": quality} | {key: _mean(pictures, key) for key in keys})
        points[-1]["pictures"] = pictures
    return points


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows]
    return None if None in values else float(np.mean(values))
