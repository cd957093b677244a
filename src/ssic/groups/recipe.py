"""How a picture gets its group mask: described once, for one picture or for thousands.

>>> import numpy as np
>>> picture = np.zeros((32, 48, 3), np.uint8)
>>> MaskRecipe("boxes").mask(picture, [[0, 0, 16, 32]]).ids
array([[1, 0, 0],
       [1, 0, 0]], dtype=uint8)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_number, is_whole
from ssic.errors import InvalidInput, MaskError
from ssic.groups.label_maps import Rule
from ssic.groups.mask import GroupMask
from ssic.groups.segment import (
    MAX_OBJECTS,
    MIN_SCORE,
    Segmenter,
    check_classes,
    find_segmenter,
    identity_of,
    segment,
)

Kind = Literal["none", "mask", "labels", "coco", "boxes", "grid", "segmenter"]
GroupBy = Literal["instance", "class"]

KINDS: tuple[Kind, ...] = ("none", "mask", "labels", "coco", "boxes", "grid", "segmenter")


@dataclass(frozen=True)
class MaskRecipe:
    """How a picture gets its group mask. Immutable, comparable, picklable.

    Attributes:
        kind: what the mask is made of: "mask" (whatever `GroupMask.from_any` recognises), "labels" (a label map and
            nothing else), "coco" (annotations), "boxes", "grid", "segmenter", or "none": one group.
        names: of labels, of YOLO's classes or of masks in a stack, or the legend of a map in colour: what
            `GroupMask.from_any` takes, but no path.
        ignore_label: of label maps: what stands where nobody knows, such as 255.
        cells: rows and columns of a grid.
        segmenter: NAME[:ARG], as for `ssic.groups.segment.find_segmenter`.
        keep: classes of what it finds that become groups; None is all.
        min_score: the lowest score of what it finds, 0 to 1.
        max_groups: at most that many groups beside the background, 1 to 254; objects beyond share groups (`segment`).
        always: classes that get a group before surer ones do; None for none.
        group_by: a group per object, or per class (annotations, segmenters).
        rule: who owns a block, see `blocks_from_pixels`. None is "any" for segmenters, so that objects are whole, and
            "most" for everything else.
        drop_empty: whether groups that own no block are left out, with a `DroppedGroups` warning, or are an error. None
            leaves it to `drops_empty`.

    Raises:
        InvalidInput: a value out of range, or a kind without what it needs.
    """

    kind: Kind = "none"
    names: Mapping[Any, Any] | Sequence[str] | None = None
    ignore_label: int | None = None
    cells: tuple[int, int] | None = None
    segmenter: str | None = None
    keep: Sequence[str] | None = None
    min_score: float = MIN_SCORE
    max_groups: int = MAX_OBJECTS
    always: Sequence[str] | None = None
    group_by: GroupBy = "instance"
    rule: Rule | None = None
    drop_empty: bool | None = None

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("the kind of a mask", self.kind, KINDS),
            ("group_by", self.group_by, ("instance", "class")),
            ("the block rule", self.rule or "most", ("most", "any")),
        ):
            if not isinstance(value, str) or value not in allowed:
                raise InvalidInput(
                    f"{what} is {value!r:.80}; it can be {', '.join(allowed[:-1])} or {allowed[-1]}"
                )
        if self.kind not in ("mask", "labels") and (self.names, self.ignore_label) != (None, None):
            raise InvalidInput("names and a label to ignore are of use with masks that have labels only")
        if self.ignore_label is not None and not is_whole(self.ignore_label):
            raise InvalidInput(
                f"the label to ignore is {self.ignore_label!r:.80}; a whole number was expected"
            )
        if (self.kind == "grid") != (self.cells is not None):
            raise InvalidInput("a grid needs cells, (rows, columns), and nothing else has them")
        if (self.kind == "segmenter") != (self.segmenter is not None):
            raise InvalidInput("a mask from a segmenter needs its name, and nothing else has one")
        if not is_number(self.min_score) or not 0 <= self.min_score <= 1:
            raise InvalidInput(f"the lowest score is {self.min_score!r:.80}; scores are from 0 to 1")
        if not is_whole(self.max_groups) or not 1 <= self.max_groups <= MAX_OBJECTS:
            raise InvalidInput(
                f"at most {self.max_groups!r:.80} groups; 1 to {MAX_OBJECTS} fit beside the background"
            )
        if self.kind == "segmenter" and self.drop_empty is False:
            raise InvalidInput("what a segmenter finds and owns no block is always left out")

    @property
    def drops_empty(self) -> bool:
        """The rule for groups that own no block. Who draws a label map or boxes for a picture wants each of them in the
        file, so that one that can't be is an error. Data sets and segmenters hold objects that are too small as a
        matter of course: these are left out, with a warning. Where many pictures are coded in one run, `drop_empty` is
        set. (What a "mask" turns out to be only `GroupMask.from_any` knows, and goes by the same rule.)"""
        return self.kind in ("coco", "segmenter") if self.drop_empty is None else self.drop_empty

    @property
    def block_rule(self) -> Rule:
        """Who owns a block, the default filled in."""
        return self.rule or ("any" if self.kind == "segmenter" else "most")

    def prepare(self) -> None:
        """Load the segmenter, if there is one, so that what is wrong with it is told before the work.

        Raises:
            SegmenterError: there is no such segmenter, it can't be made, or does not know a class in `keep`.
        """
        if self.segmenter is not None:
            check_classes(_segmenter(self.segmenter), self.keep)

    def segmenter_identity(self) -> dict[str, str] | None:
        """What the segmenter is, see `ssic.groups.segment.identity_of`; None where there is none.

        Raises:
            SegmenterError: as `prepare`.
        """
        return None if self.segmenter is None else identity_of(self.segmenter, _segmenter(self.segmenter))

    @property
    def classes(self) -> Collection[str] | None:
        """Those that the segmenter can find and that become groups; None where there is none, or it does not say.

        Raises:
            SegmenterError: as `prepare`.
        """
        known = None if self.segmenter is None else getattr(_segmenter(self.segmenter), "classes", None)
        return known if known is None or self.keep is None else [name for name in known if name in self.keep]

    def mask(
        self,
        pixels: NDArray[np.uint8],
        source: Any = None,
        *,
        image_id: int | str | None = None,
        file_name: str | None = None,
        called: str | None = None,
    ) -> GroupMask:
        """The mask of a picture.

        Args:
            pixels: [H, W, 3].
            source: what `kind` needs beside the pixels: the mask (anything that `GroupMask.from_any` takes), the label
                map (path or array), the boxes (path or list), the annotations (path or loaded JSON).
            image_id: which picture of the annotations it is.
            file_name: its path, which tells where no id is given.
            called: what the source is called in errors.

        Raises:
            MaskError: the source can't be read, or does not fit the picture; or groups own no block, see `drops_empty`.
            SegmenterError: the segmenter failed.
        """
        try:
            return self._made(pixels, source, image_id, file_name)
        except MaskError as error:
            if called is not None and called not in str(error):
                error.args = (f"{called}: {error}",)
            raise

    def _made(
        self, pixels: NDArray[np.uint8], source: Any, image_id: int | str | None, file_name: str | None
    ) -> GroupMask:
        size = pixels.shape[1], pixels.shape[0]
        rule, drop = self.block_rule, self.drops_empty
        names, ignored = self.names, self.ignore_label
        if self.kind == "mask":
            return GroupMask.from_any(
                source,
                size,
                names,
                file_name=file_name,
                image_id=image_id,
                group_by=self.group_by,
                rule=rule,
                drop_empty=self.drop_empty,
                ignore_label=ignored,
            )
        if self.kind == "labels":
            return GroupMask.from_label_map(
                source, size, names, rule=rule, drop_empty=drop, ignore_label=ignored
            )
        if self.kind == "boxes":
            return GroupMask.from_boxes(source, size, rule=rule, drop_empty=drop)
        if self.kind == "coco":
            which: dict[str, Any] = {"image_id": image_id, "file_name": file_name, "group_by": self.group_by}
            return GroupMask.from_coco(source, size, rule=rule, drop_empty=drop, **which)
        if self.segmenter is not None:
            return segment(
                _segmenter(self.segmenter),
                pixels,
                keep=self.keep,
                min_score=self.min_score,
                max_groups=self.max_groups,
                group_by=self.group_by,
                rule=rule,
                always=self.always or (),
            )
        if self.cells is not None:
            return GroupMask.grid(size, *self.cells)
        return GroupMask.single(size)


def _segmenter(spec: str) -> Segmenter:
    path = Path(spec.partition(":")[2])
    state = path.stat() if path.is_file() else None
    return _made_once(spec, None if state is None else (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=1)
def _made_once(spec: str, version: tuple[int, int] | None) -> Segmenter:
    """One per process, for each version of its file: it may be a model that takes seconds to load."""
    return find_segmenter(spec)
