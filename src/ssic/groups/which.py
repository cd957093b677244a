"""Which of the pictures in a file of annotations is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from ssic.groups.rle import whole_number

T = TypeVar("T")


def same_id(value: object) -> object:
    """Ids that mean the same become equal, whatever their type in JSON.

    >>> same_id(139) == same_id("139") == same_id(139.0), same_id("a1")
    (True, 'a1')
    """
    number = whole_number(value)
    return str(value).strip() if number is None else number


def path_parts(path: object) -> list[str]:
    r"""Names along a path, the last one first; also of paths as Windows writes them.

    >>> path_parts("a/b.png"), path_parts("imgs\\b.png")
    (['b.png', 'a'], ['b.png', 'imgs'])
    """
    return [part for part in re.split(r"[\\/]+", str(path or "")) if part not in ("", ".")][::-1]


def choose(pictures: Sequence[T], file_name: str | None, name_of: Callable[[T], object]) -> list[T]:
    """Those of the pictures that a file name or path means: of those with its base name the ones whose folders agree
    with it furthest, from the end. If none has its base name, or there is no name: the only picture, or none."""
    parts = path_parts(file_name)
    named = [(picture, path_parts(name_of(picture))) for picture in pictures]
    fitting = [(picture, own) for picture, own in named if parts and own[:1] == parts[:1]]
    if not fitting:
        return list(pictures) if len(pictures) == 1 else []
    common = [_agreement(own, parts) for _, own in fitting]
    return [picture for (picture, _), n in zip(fitting, common, strict=True) if n == max(common)]


def _agreement(own: list[str], other: list[str]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other))
    )
