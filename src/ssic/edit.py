"""Coding single groups of a file anew, from other pixels or at another quality; all else stays, byte for byte."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import Size
from ssic.codec import Codec
from ssic.errors import ImageError, InvalidInput
from ssic.format import Replacement
from ssic.pictures.read import ImageSource, Picture, load_picture
from ssic.progress import Progress


class OtherProfile(UserWarning):
    """The new picture has another colour profile than the file, whose profile its numbers will be shown with."""


def load_same_size(image: ImageSource, size: Size, icc: bytes | None) -> Picture:
    """A picture that can take the place of one of `size` with the profile `icc`.

    Raises:
        ImageError: it can't be coded, or has another size. Of another profile an `OtherProfile` warning tells.
    """
    picture = load_picture(image)
    if picture.size != size:
        sizes = ["x".join(map(str, one)) for one in (picture.size, size)]
        raise ImageError(f"the new picture has {sizes[0]} pixels, the file {sizes[1]}: they must be the same")
    if picture.icc != icc:
        text = "the new picture has another colour profile than the file; its numbers are taken as they are"
        warnings.warn(text, OtherProfile, stacklevel=3)
    return picture


def lowered(qualities: Mapping[int, int], now: Mapping[int, int], names: Mapping[int, str]) -> dict[int, int]:
    """Those of the new qualities that are others than now; all by group id.

    Raises:
        InvalidInput: one is higher than now.
    """
    if higher := [names[g] for g, q in qualities.items() if q > now[g]]:
        raise InvalidInput(
            f"a higher quality for {', '.join(higher)} needs the original picture: what is in the file got no better"
        )
    return {g: q for g, q in qualities.items() if q != now[g]}  # what is so already would lose for nothing


def encode_replacements(
    codec: Codec,
    pixels: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    qualities: Mapping[int, int],
    progress: Progress,
    effort: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[int, Replacement]:
    """New segments of the groups that `qualities` names, by id.

    Args:
        pixels: [H, W, 3] of the whole picture; only those of these groups are looked at.
        ids: [h, w] group of each block.
        effort: 1 to 9; above 1 latents are refined.
        stopped: asked whether to leave it at what is reached.
    """
    _, coded = codec.encode_groups(pixels, ids, qualities, progress, effort, stopped)
    return {g: Replacement(coded.by_group[g], q) for g, q in qualities.items()}
