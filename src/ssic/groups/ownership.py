"""From labels to groups: which labels own blocks, which ids and names these get, and which are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_whole, listing
from ssic.blocks import ABSENT, MAX_GROUPS, Size, block_grid
from ssic.errors import MaskError
from ssic.groups.arrays import read_stack
from ssic.groups.label_maps import (
    Names,
    Rule,
    blocks_from_pixels,
    blocks_without,
    check_labels,
    looks_soft,
    read_colours,
    read_labels,
    read_names,
    tell_unused,
)
from ssic.groups.legend import labels_of_colours, read_legend
from ssic.groups.objects import Objects
from ssic.names import BACKGROUND


@dataclass(frozen=True)
class Owned:
    """What a mask is made of.

    Attributes:
        ids: [ceil(H/16), ceil(W/16)] uint8 id of the group of each block.
        names, classes, scores: by id, of the groups that own blocks.
        left_out: labels that own no block, for people.
    """

    ids: NDArray[np.uint8]
    names: Mapping[int, str]
    classes: Mapping[int, str]
    scores: Mapping[int, float]
    left_out: Sequence[str]


def of_objects(found: Objects, rule: Rule, drop_empty: bool) -> Owned:
    """Of painted objects; 0 is the background. Errors as of `GroupMask.from_boxes`."""
    owners = blocks_from_pixels(found.labels, rule)
    return _owned(owners, {0: BACKGROUND} | found.names, drop_empty, found.classes, found.scores)


def of_label_map(
    source: Any, size: Size, names: Names | None, rule: Rule, drop_empty: bool, ignore_label: int | None
) -> Owned:
    """Of a label map; arguments, warnings and errors as of `GroupMask.from_label_map`."""
    grid = block_grid(size)
    width, height = size
    legend = None if names is None else read_legend(names)
    if legend is not None:
        labels, given = labels_of_colours(read_colours(source), legend)
    else:
        labels, given = read_labels(source), read_names(names)
        if labels.ndim == 3 and not isinstance(source, np.ndarray):
            return of_objects(read_stack(labels, size, given), rule, drop_empty)
    labels = check_labels(labels)
    if ignore_label is not None and not is_whole(ignore_label):
        raise MaskError(f"the label to ignore is a whole number, not {ignore_label!r:.80}")
    if labels.shape not in ((height, width), grid):
        sideways = labels.shape == (width, height)
        hint = "; it seems to lie sideways: rotate it as the picture is shown" if sideways else ""
        raise MaskError(
            f"the label map has {labels.shape[1]}x{labels.shape[0]} entries; this picture needs "
            f"{width}x{height} (one per pixel) or {grid[1]}x{grid[0]} (one per block){hint}"
        )
    per_block = labels.shape != (height, width)
    if ignore_label is not None:
        owners = blocks_without(labels, rule, int(ignore_label), per_block)
    else:
        owners = labels.astype(np.int64) if per_block else blocks_from_pixels(labels, rule)
    there = [n for n in _distinct(labels) if n != ignore_label]
    if isinstance(names, Mapping) or legend is None:
        tell_unused(given, there, listed=isinstance(names, Sequence) and not isinstance(names, str))
    named = {n: given.get(n, BACKGROUND if n == 0 else "") for n in there}
    try:
        return _owned(owners, named, drop_empty)
    except MaskError as error:
        if looks_soft(labels):
            error.args = (
                f"{error} (It looks like a soft mask, with smoothed edges: choose a threshold first.)",
            )
        raise


def _owned(
    owners: NDArray[np.int64],
    names: Mapping[int, str],
    drop_empty: bool,
    classes: Mapping[int, str] = MappingProxyType({}),
    scores: Mapping[int, float] = MappingProxyType({}),
) -> Owned:
    """Of owning labels; of `names` (all labels) label 0 alone may own nothing without a word."""
    left = _distinct(owners)
    owning = {0, *left}
    empty = [f'{n} "{names[n]}"' if names[n] else f"label {n}" for n in names if n not in owning]
    if empty and not drop_empty:
        raise _empty_groups(empty)
    if len(left) > MAX_GROUPS:
        raise MaskError(
            f"{len(left)} groups; a file holds at most {MAX_GROUPS}: merge some, or group by class, where objects have "
            'one (group_by="class", --group-by class)'
        )
    first = 0 if left[0] == 0 or len(left) == MAX_GROUPS else 1
    id_of = {n: n for n in left} if left[-1] < ABSENT else {n: k for k, n in enumerate(left, first)}
    ids = np.array(list(id_of.values()), np.uint8)[np.searchsorted(np.array(left), owners)]
    # A group without a name is called after its id, which costs the file nothing.
    names = {n: names[n] or f"group {id_of[n]}" for n in left}
    if names.get(0) == BACKGROUND and (others := [n for n in left if n and names[n] == BACKGROUND]):
        raise MaskError(
            f'group {id_of[others[0]]} is called "{BACKGROUND}", which is the name of group 0, all that no other group '
            "owns: give it another name"
        )
    by_id = {id_of[n]: n for n in left}
    return Owned(
        ids,
        {group: names[n] for group, n in by_id.items()},
        {group: classes[n] for group, n in by_id.items() if n in classes},
        {group: scores[n] for group, n in by_id.items() if n in scores},
        empty,
    )


def _empty_groups(empty: list[str]) -> MaskError:
    return MaskError(
        f"groups that own no block: {listing(empty)}. Leave them out (drop_empty=True, --drop-empty), let "
        'small objects own every block that they touch (rule="any", --block-rule any), or merge them with a neighbour'
    )


def _distinct(labels: NDArray[Any]) -> list[int]:
    if labels.size and int(labels.max()) < 2**16:  # much faster than sorting megapixels
        return [int(n) for n in np.flatnonzero(np.bincount(labels.ravel(), minlength=1))]
    return [int(n) for n in np.unique(labels)]
