"""Giving single groups of a file other pixels or another quality; all else stays, byte for byte. Runs the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssic import format as container
from ssic.blocks import inside_blocks, pad_to_blocks, to_blocks
from ssic.codec import Progress, check_quality
from ssic.engine.base import Engine
from ssic.errors import ImageError, InvalidInput
from ssic.format import Recoded
from ssic.pictures.read import ImageSource, Picture, load_picture

if TYPE_CHECKING:
    from ssic.file import SsicFile


class OtherProfile(UserWarning):
    """The new picture has another colour profile than the file, whose profile its numbers will be shown with."""


def new_pixels(
    opened: SsicFile,
    ids: list[int],
    image: ImageSource,
    quality: int | None,
    engine: str | Engine,
    progress: Progress,
    effort: int,
    stopped: Callable[[], bool],
) -> dict[int, Recoded]:
    """Segments of groups `ids` from the pixels of another picture; see `SsicFile.replace`."""
    container.check_clear(opened.head, ids)
    now = {g.id: g.quality for g in opened.groups}
    qualities = {g: now[g] if quality is None else check_quality(quality) for g in ids}
    return _coded(opened, _fitting(opened, image).pixels, qualities, engine, progress, effort, stopped)


def new_quality(
    opened: SsicFile,
    qualities: Mapping[int, int],
    original: ImageSource | None,
    engine: str | Engine,
    progress: Progress,
    effort: int,
    stopped: Callable[[], bool],
) -> dict[int, Recoded]:
    """Segments of groups at other qualities; see `SsicFile.set_quality`."""
    container.check_clear(opened.head, list(qualities))
    now = {g.id: g.quality for g in opened.groups}
    changed = {g: check_quality(q) for g, q in qualities.items()}
    if original is not None:
        return _coded(opened, _fitting(opened, original).pixels, changed, engine, progress, effort, stopped)
    if higher := [opened.mask.names[g] for g, q in changed.items() if q > now[g]]:
        raise InvalidInput(
            f"a higher quality for {', '.join(higher)} needs the original picture: what is in the file got no better"
        )
    changed = {g: q for g, q in changed.items() if q != now[g]}  # what is so already would lose for nothing
    if not changed:
        return {}
    decoded = opened.decode_pixels(list(changed), strict=True, engine=engine, progress=progress)
    return _coded(opened, decoded.pixels, changed, engine, progress, effort, stopped)


def _fitting(opened: SsicFile, image: ImageSource) -> Picture:
    picture = load_picture(image)
    if picture.size != opened.size:
        sizes = ["x".join(map(str, size)) for size in (picture.size, opened.size)]
        raise ImageError(f"the new picture has {sizes[0]} pixels, the file {sizes[1]}: they must be the same")
    if picture.icc != opened.icc:
        text = "the new picture has another colour profile than the file; its numbers are taken as they are"
        warnings.warn(text, OtherProfile, stacklevel=4)
    return picture


def _coded(
    opened: SsicFile,
    pixels: NDArray[np.uint8],
    qualities: Mapping[int, int],
    engine: str | Engine,
    progress: Progress,
    effort: int,
    stopped: Callable[[], bool],
) -> dict[int, Recoded]:
    blocks, inside = to_blocks(pad_to_blocks(pixels)), inside_blocks(opened.size)
    codec = opened.codec(engine=engine)
    _, coded = codec.code(blocks, opened.head.mask, qualities, progress, inside, effort, stopped)
    return {g: Recoded(coded.substreams[g], q) for g, q in qualities.items()}
