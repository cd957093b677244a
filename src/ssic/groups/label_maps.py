"""Label maps: a number per pixel or per block, read from pictures and arrays, and what the labels are called."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssic.arguments import type_name
from ssic.arrays import to_numpy
from ssic.blocks import BLOCK, block_grid
from ssic.errors import MaskError
from ssic.groups.objects import read_json

Names = Mapping[Any, str] | Sequence[str] | str | os.PathLike[str]


def read_labels(source: str | os.PathLike[str] | Image.Image | NDArray[Any]) -> NDArray[Any]:
    """The labels in a file (path) or Pillow image; anything else as an array, still to be checked.

    Raises:
        MaskError: unreadable, a JPEG, or in a mode that does not hold labels.
    """
    if isinstance(source, Image.Image):
        return _labels(lambda: source, "the label map")
    if not isinstance(source, (str, os.PathLike)):
        try:
            return np.asarray(to_numpy(source, MaskError, "labels are whole numbers: labels.round().long()"))
        except ValueError as error:  # rows of different lengths
            raise MaskError(f"the label map is no array [rows, columns]: {error}") from error
    shown = f"the label map {source}"
    if os.path.isfile(source) and not os.path.getsize(source):
        raise MaskError(f"{shown} is empty")
    return _labels(lambda: Image.open(Path(source)), shown)


def parse_labels(data: bytes, source: object) -> NDArray[Any]:
    """The labels in the bytes of a picture's file; errors as of `read_labels`."""
    if not data:
        raise MaskError(f"the label map {source} is empty")
    return _labels(lambda: Image.open(io.BytesIO(data)), f"the label map {source}")


def _labels(opened: Callable[[], Image.Image], shown: str) -> NDArray[Any]:
    try:
        image = opened()
        if image.format in ("JPEG", "MPO"):
            raise MaskError(f"{shown} is a JPEG, which does not keep labels exact: use PNG")
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.asarray(ImageOps.exif_transpose(image))
        pixels = np.asarray(ImageOps.exif_transpose(image))
        if image.mode == "RGB" and (pixels == pixels[:, :, :1]).all():
            return pixels[:, :, 0]  # gray, saved as colour
        raise MaskError(
            f"{shown} is in colour or has alpha (mode {image.mode}); labels are palette indices or "
            "8- or 16-bit gray. Save it as an indexed or gray PNG with one number per group"
        )
    except MaskError:
        raise
    except UnidentifiedImageError as error:
        raise MaskError(f"can't read {shown}: it is no picture that Pillow knows") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise MaskError(f"can't read {shown}: {error}") from error


def read_names(names: Names | None) -> dict[int, str]:
    """label -> name, from a mapping, a list, the path of a JSON file with either, or None (nothing).

    Raises:
        MaskError: none of these, or keys that aren't integers.
    """
    given = read_json(names, "names") if names is not None else {}
    if isinstance(given, Mapping):
        try:
            return {int(key): name for key, name in given.items()}
        except (TypeError, ValueError) as error:
            raise MaskError(f'the keys of names must be labels, as in {{"1": "dog"}}: {error}') from error
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return dict(enumerate(given))
    raise MaskError("names must be an object, label -> name, or a list of names by label")


def check_labels(labels: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(labels, np.ndarray):
        raise MaskError(f"labels are an array [rows, columns], not {type_name(labels)}")
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "bui":
        hint = "; a map in colour must become indices first" if labels.ndim == 3 else ""
        if labels.dtype.kind == "f" and labels.ndim == 2:
            hint = "; labels.round().astype(numpy.int32) makes integers of them"
        raise MaskError(
            f"a label map must be integers [rows, columns], not {labels.dtype} of shape {labels.shape}{hint}"
        )
    if labels.min() < 0 or labels.max() >= 2**31:
        raise MaskError(f"labels must be 0 to 2^31-1; these go from {labels.min()} to {labels.max()}")
    return labels if labels.dtype.itemsize <= 2 else labels.astype(np.int32)


def blocks_from_pixels(labels: NDArray[Any], rule: Rule = "most") -> NDArray[np.int64]:
    """The label that owns each block: [H, W] integers 0..2^31-1 -> [ceil(H/16), ceil(W/16)] int64.

    "most": the label with most pixels in the block; of equals an object rather than the background (0), then
    the smaller label. "any": the same, but the background owns only blocks without any pixel of an object.
    Blocks at the edge count the pixels that are there.
    """
    if not isinstance(rule, str) or rule not in ("most", "any"):
        raise MaskError(f'the block rule is {rule!r}; it can be "most" or "any"')
    labels = check_labels(labels)
    rows, columns = block_grid((labels.shape[1], labels.shape[0]))
    owners = np.empty((rows, columns), np.int64)
    area = BLOCK * BLOCK
    step = max(1, 2**20 // (area * columns))  # strips of about a megapixel bound the memory
    for top in range(0, rows, step):
        strip = labels[top * BLOCK : (top + step) * BLOCK].astype(np.int32)
        edges = ((0, -strip.shape[0] % BLOCK), (0, -strip.shape[1] % BLOCK))
        strip = np.pad(strip, edges, constant_values=-1)  # -1: no pixel
        tiles = strip.reshape(-1, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, area)
        winner = tiles.max(1)
        mixed = np.flatnonzero(tiles.min(1) != winner)
        ordered = np.sort(tiles[mixed], axis=1)
        start = np.ones(ordered.shape, bool)
        start[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        at = np.flatnonzero(start)
        label, count = ordered.ravel()[at], np.diff(at, append=ordered.size)
        # Runs are in ascending order of label, so argmax settles what is still equal for the smaller label.
        score = np.full(ordered.shape, -1, np.int32)
        background = 2 * count if rule == "most" else np.zeros_like(count)
        score.ravel()[at] = np.where(label > 0, 2 * count + 1, np.where(label == 0, background, -1))
        winner[mixed] = np.take_along_axis(ordered, score.argmax(1)[:, None], 1)[:, 0]
        owners[top : top + step] = winner.reshape(-1, columns)
    return owners


Rule = Literal["most", "any"]
