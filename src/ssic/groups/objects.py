"""Objects that become groups: painted into a label map; and the files that they are read from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import text_of, type_name
from ssic.errors import MaskError
from ssic.names import as_text, numbered

GroupBy = Literal["instance", "class"]

MOST_BYTES = 2**30
"""Of a file with annotations; COCO's largest has 0.45 GB."""
MOST_OBJECTS = 20_000
"""In one picture. (At most 255 of them become groups; the rest would be hidden or have no block.)"""


@dataclass(frozen=True, eq=False)
class Objects:
    """Painted objects: `labels` [H, W] int32 (0 is the background), and what is known of each label > 0."""

    labels: NDArray[np.int32]
    names: dict[int, str]
    classes: dict[int, str]
    scores: dict[int, float]


class Region(NamedTuple):
    """Pixels of an object: a mask [h, w] bool whose upper left corner lies at row `top`, column `left`."""

    top: int
    left: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """An object that is still to be painted.

    Attributes:
        class_name: groups are named after it; what can't be in names becomes a space.
        draw: its pixels, or None if it has none in the picture; called when they are needed, so that not all objects
            of a picture are in memory together.
        score: 0..1, where known.
        layer: what has a higher one lies on top.
    """

    class_name: str
    draw: Callable[[], Region | None]
    score: float | None = None
    layer: int = 0


def paint(items: Sequence[Item], size: tuple[int, int], group_by: GroupBy = "instance") -> Objects:
    """Items painted at full resolution; labels are 1, 2, ... in their order (of the first of each class with
    `group_by="class"`). Where objects of one layer overlap, the smaller lies on top, and of equals the later.

    Raises:
        MaskError: too many items, an item without a name of its class, or another `group_by`.
    """
    check_group_by(group_by)
    if len(items) > MOST_OBJECTS:
        raise MaskError(f"{len(items)} objects in one picture; at most {MOST_OBJECTS} are painted")
    for item in items:
        if not isinstance(item.class_name, str):
            raise MaskError(f"the name of a class is text, not {type_name(item.class_name)}")
    of_class = [as_text(item.class_name) for item in items]
    if "" in of_class:
        raise MaskError(f"object {of_class.index('') + 1} of {len(items)} has no name of its class")
    if group_by == "class":
        names = list(dict.fromkeys(of_class))
        label_of = [names.index(name) + 1 for name in of_class]
        classes, scores = dict(enumerate(names, 1)), {}
    else:
        names, label_of = of_class, list(range(1, len(items) + 1))
        classes = dict(enumerate(of_class, 1))
        scores = {n: item.score for n, item in enumerate(items, 1) if item.score is not None}
    areas = [0 if (region := item.draw()) is None else int(np.count_nonzero(region.mask)) for item in items]
    labels = np.zeros((size[1], size[0]), np.int32)
    for n in sorted(range(len(items)), key=lambda n: (items[n].layer, -areas[n])):
        if areas[n] and (region := items[n].draw()) is not None:
            height, width = region.mask.shape
            part = labels[region.top : region.top + height, region.left : region.left + width]
            part[region.mask] = label_of[n]
    return Objects(labels, dict(enumerate(numbered(names), 1)), classes, scores)


def check_group_by(group_by: object) -> None:
    """`MaskError` if it is neither "instance" nor "class"."""
    if not isinstance(group_by, str) or group_by not in ("instance", "class"):
        raise MaskError(f'group_by is {group_by!r:.80}; it can be "instance" or "class"')


def check_size(stated: Sequence[int | None], size: tuple[int, int], what: str) -> None:
    """`MaskError` if a file states another (width, height) than that of the picture; None states nothing."""
    if any(n is not None and n != m for n, m in zip(stated, size, strict=True)):
        sideways = tuple(stated) == size[::-1]
        raise MaskError(
            f"{what} is for a picture of {stated[0]}x{stated[1]} pixels, and the picture has {size[0]}x{size[1]}: "
            + (
                "it lies sideways; annotate the picture as it is shown, upright"
                if sideways
                else "take the picture that was annotated, at its size"
            )
        )


def is_path(source: object) -> bool:
    """Whether a source is the path of a file."""
    return isinstance(source, (str, os.PathLike))


def read_file(source: Any, what: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of the file at a path, or bytes as they are; `what` says what they are wanted for.

    Raises:
        MaskError: no path and no bytes, unreadable, empty, or of more than `most` bytes.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        shown = ""
    elif is_path(source):
        shown = f" in {source}"
        try:
            if (length := Path(source).stat().st_size) > most:
                raise MaskError(f"the {what}{shown} has {length:,} bytes; at most {most:,} are read")
            data = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            if isinstance(error, MaskError):
                raise
            raise MaskError(
                f"can't read the {what}{shown}: {getattr(error, 'strerror', None) or error}"
            ) from error
    else:
        raise MaskError(f"the {what} is a path or bytes, not {type_name(source)}")
    if not data:
        raise MaskError(f"the file of the {what}{', ' + str(source) if shown else ''}, is empty")
    if len(data) > most:
        raise MaskError(f"the {what}{shown} has {len(data):,} bytes; at most {most:,} are read")
    return data


def read_json(source: object, what: str) -> Any:
    """Parsed content of the JSON file at `source` (str or path), or in bytes; anything else is returned as it is.

    Raises:
        MaskError: the file is missing, unreadable or not JSON; `what` says what it was wanted for.
    """
    if not is_path(source) and not isinstance(source, (bytes, bytearray)):
        return source
    return parse_json(read_file(source, what), what, source if is_path(source) else "the bytes")


def parse_json(data: bytes, what: str, source: object) -> Any:
    """Content of JSON in UTF-8; errors as of `read_json`."""
    if not data:
        raise MaskError(f"the file of the {what}, {source}, is empty")
    try:
        return json.loads(text_of(data, str(source), MaskError))
    except (ValueError, RecursionError) as error:
        raise MaskError(f"the {what} in {source} is not valid JSON: {error}") from error


def listed(values: Iterable[object], most: int = 8) -> str:
    """The first of several values, quoted, for messages."""
    shown = [f'"{value!s:.40}"' for value in values]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
