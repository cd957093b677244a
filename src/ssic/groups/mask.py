"""Group masks: which group owns each 16x16 block of a picture.

A mask is made from a label map, annotations of many tools, boxes or a grid. All but the grid know a label per pixel;
`blocks_from_pixels` is the one rule that decides which label owns a block. Sizes are (width, height) in
pixels; arrays are [rows, columns].
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic.arguments import as_mapping, counted, is_whole, listing
from ssic.blocks import ABSENT, BLOCK, MAX_GROUPS, Size, block_grid
from ssic.errors import MaskError, UnknownGroup
from ssic.groups.arrays import read_named, read_stack
from ssic.groups.boxes import read_boxes
from ssic.groups.coco import read_objects
from ssic.groups.cvat import read_cvat
from ssic.groups.label_maps import Names, Rule, read_names
from ssic.groups.labelme import read_labelme
from ssic.groups.lookup import assign, resolve
from ssic.groups.objects import GroupBy, Objects, check_group_by
from ssic.groups.ownership import Owned, of_label_map, of_objects
from ssic.groups.recognise import read_recognised, recognise
from ssic.groups.sam import read_sam
from ssic.groups.voc import read_voc
from ssic.groups.yolo_text import read_yolo
from ssic.names import text_fault

T = TypeVar("T")


class DroppedGroups(UserWarning):
    """Groups own no block under the block rule and were left out, as `drop_empty` asked for."""


@dataclass(frozen=True, eq=False)
class GroupMask:
    """Which group owns each block, and what the groups are called. Immutable and hashable.

    Attributes:
        ids: [ceil(H/16), ceil(W/16)] uint8: 0..254 is a group, 255 (`ABSENT`) no group. Read-only.
        names: a name for each id that occurs; unique; 1 to 255 bytes of UTF-8, no commas (they separate
            groups on the command line), no control or invisible characters, no space at either end: the rule
            of docs/format.md.
        classes: the class ("person") of a group, where known; the same rules, but not unique.
        scores: a detector's confidence, 0..1, where known.

    Raises:
        MaskError: any of this does not hold, a group has no name, or a name has no block.
    """

    ids: NDArray[np.uint8]
    names: Mapping[int, str]
    classes: Mapping[int, str] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.ids, np.ndarray) or self.ids.dtype != np.uint8 or self.ids.ndim != 2:
            met = getattr(self.ids, "dtype", type(self.ids).__name__), getattr(self.ids, "shape", None)
            raise MaskError(
                f"group ids must be a uint8 array [rows, columns], not {met[0]} of shape {met[1]}"
            )
        ids = np.array(self.ids, order="C")
        ids.flags.writeable = False
        object.__setattr__(self, "ids", ids)
        present = {int(n) for n in np.flatnonzero(np.bincount(ids.ravel(), minlength=256))} - {ABSENT}
        if not present:
            raise MaskError("no block of the mask belongs to a group: at least one id must be 0..254")
        for about in ("names", "classes", "scores"):
            entries = _by_id(getattr(self, about), about)
            if about == "names" and present - set(entries):
                raise MaskError(f"groups without a name: ids {sorted(present - set(entries))}")
            if empty := sorted(set(entries) - present):
                listed = listing([f"{n} ({self.names.get(n, 'unnamed')})" for n in empty])
                raise MaskError(f"{about} are given for groups that own no block: {listed}; leave them out")
            object.__setattr__(self, about, MappingProxyType(dict(sorted(entries.items()))))
        owner: dict[str, int] = {}
        for n, name in self.names.items():
            _check_text(name, f"the name of group {n}")
            if owner.setdefault(name, n) != n:
                raise MaskError(
                    f'groups {owner[name]} and {n} are both called "{name}": names must be unique'
                )
        for n, name in self.classes.items():
            _check_text(name, f"the class of group {n}")
        for n, score in self.scores.items():
            if not isinstance(score, Real) or isinstance(score, bool) or not 0 <= score <= 1:
                raise MaskError(f"the score of group {n} is {score!r}; a number from 0 to 1 was expected")
        scores = {n: float(score) for n, score in self.scores.items()}
        object.__setattr__(self, "scores", MappingProxyType(scores))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GroupMask):
            return NotImplemented
        about = self.names == other.names and self.classes == other.classes and self.scores == other.scores
        return about and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        about = (tuple(entries.items()) for entries in (self.names, self.classes, self.scores))
        return hash((self.ids.shape, self.ids.tobytes(), *about))

    def __repr__(self) -> str:
        rows, columns = self.ids.shape
        names = listing([*self.names.values()], 8)
        return f"<GroupMask {columns}x{rows} blocks, {counted(len(self.names), 'group')}: {names}>"

    def __reduce__(self) -> tuple[Any, ...]:  # read-only views of dicts can't be pickled
        return GroupMask, (self.ids, dict(self.names), dict(self.classes), dict(self.scores))

    @property
    def groups(self) -> list[int]:
        """Ids of the groups, ascending."""
        return list(self.names)

    def blocks(self, group: int) -> int:
        """How many blocks the group with this id owns (`UnknownGroup` if there is none)."""
        if not is_whole(group):
            raise UnknownGroup(
                f"blocks are counted by a group's id, not by {group!r:.80}; `resolve` finds ids"
            )
        return int(np.count_nonzero(self.ids == self.resolve([int(group)])[0]))

    def resolve(self, wanted: Iterable[str | int] | str | int) -> list[int]:
        """Ids of the groups asked for, in that order, each once.

        A string is taken as a name, and as a class: "person" means the group of that name and all groups of
        that class. If it is neither, it is taken as an id ("3" and 3).

        Raises:
            UnknownGroup: nothing fits, and the message lists what there is; or it is no string and no integer.
        """
        return resolve(self.names, self.classes, wanted)

    def __contains__(self, item: object) -> bool:
        """Whether a group is called so: by name, class or id."""
        try:
            return bool(self.resolve([item]))  # type: ignore[list-item]
        except UnknownGroup:
            return False

    def assign(self, wanted: Mapping[str | int, T], what: str) -> dict[int, T]:
        """A value for each group that is named, by id. Keys as for `resolve`, whose order says nothing: what a group
        is given by its name or id goes before what its class is given.

        Args:
            what: `wanted` is called in messages.

        Raises:
            UnknownGroup: as `resolve`.
            InvalidInput: two keys that name a group equally exactly give it different values.
        """
        return assign(self.names, self.classes, wanted, what)

    def to_pixels(self, width: int, height: int) -> NDArray[np.uint8]:
        """The id of each pixel, [height, width] uint8; `MaskError` if the mask is not for such a picture."""
        if block_grid((width, height)) != self.ids.shape:
            rows, columns = self.ids.shape
            raise MaskError(
                f"a mask of {columns}x{rows} blocks does not fit a picture of {width}x{height} pixels"
            )
        return self.ids.repeat(BLOCK, 0)[:height].repeat(BLOCK, 1)[:, :width]

    @classmethod
    def single(cls, size: Size) -> GroupMask:
        """The whole picture as one group, id 0, "image"."""
        return cls(np.zeros(block_grid(size), np.uint8), {0: "image"})

    @classmethod
    def grid(cls, size: Size, rows: int, columns: int) -> GroupMask:
        """Cells as equal as whole blocks allow: ids 0, 1, ... in raster order, named "r1c1", "r1c2", ...

        Raises:
            MaskError: more cells than blocks in a direction, or more than 255 cells.
        """
        height, width = block_grid(size)
        if not is_whole(rows) or not is_whole(columns):
            raise MaskError(
                f"a grid has whole numbers of rows and columns, not {rows!r:.80} by {columns!r:.80}"
            )
        if not (1 <= rows <= height and 1 <= columns <= width):
            raise MaskError(
                f"a grid of {rows} rows by {columns} columns would leave cells empty: the picture has "
                f"{height} rows by {width} columns of blocks; ask for at least 1x1 and at most that"
            )
        if rows * columns > MAX_GROUPS:
            raise MaskError(
                f"a grid of {rows}x{columns} has {rows * columns} cells; at most {MAX_GROUPS} fit"
            )
        row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
        ids = (row[:, None] * columns + column).astype(np.uint8)
        return cls(ids, {n: f"r{n // columns + 1}c{n % columns + 1}" for n in range(rows * columns)})

    @classmethod
    def from_any(
        cls,
        source: Any,
        size: Size,
        names: Any = None,
        *,
        file_name: str | None = None,
        image_id: int | str | None = None,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool | None = None,
        ignore_label: int | None = None,
    ) -> GroupMask:
        """A mask from whatever masks are kept in, recognised by its content (docs/segment.md has them all).

        Args:
            source: a path or the bytes of a file: a label map or .npy, annotations of COCO, labelme, YOLO, Pascal VOC,
                CVAT, SA-1B, or boxes; an image of Pillow; an array [H, W] of labels or [N, H, W] of masks; masks by
                name, {"dog": mask}; SAM's list; or the content of such a JSON file.
            size: (width, height) of the picture.
            names: of labels, as for `from_label_map`; of YOLO's classes; of masks in a stack, from 0.
            file_name, image_id: which picture of COCO's or CVAT's, as for `from_coco`.
            group_by: a group for each object, or for each class, where there are classes.
            drop_empty: leave out what owns no block, with a `DroppedGroups` warning, rather than raise. By default as
                the methods for one kind have it: not with label maps and boxes.
            ignore_label: of label maps, as for `from_label_map`.

        Raises:
            MaskError: what was given is not recognised, or can't be read as what it was recognised as.
        """
        block_grid(size)
        check_group_by(group_by)
        if drop_empty is not None and not isinstance(drop_empty, bool):
            raise MaskError(f"drop_empty is True, False or None, not {drop_empty!r:.80}")
        found = recognise(source)
        if found.kind == "label map":
            if group_by != "instance" or image_id is not None:
                raise MaskError(f"{found.shown} is a label map: group_by and image_id mean nothing with it")
            return cls.from_label_map(
                found.content, size, names, rule=rule, drop_empty=bool(drop_empty), ignore_label=ignore_label
            )
        if ignore_label is not None:
            raise MaskError(
                f"{found.shown}, recognised as {found.kind}: only label maps have a label to ignore"
            )
        objects = read_recognised(
            found, size, names=names, file_name=file_name, image_id=image_id, group_by=group_by
        )
        keep = found.kind == "boxes"
        return from_objects(objects, rule, not keep if drop_empty is None else drop_empty)

    @classmethod
    def from_label_map(
        cls,
        source: str | os.PathLike[str] | bytes | Image.Image | NDArray[Any],
        size: Size,
        names: Names | None = None,
        *,
        rule: Rule = "most",
        drop_empty: bool = False,
        ignore_label: int | None = None,
    ) -> GroupMask:
        """A mask from a label per pixel, or from one per block.

        Args:
            source: path, bytes of a file or Pillow image (palette indices, 1- to 16-bit gray, RGB of equal channels; in
                colour, if `names` is a legend), or integer array [rows, columns]. It has the picture's size or that of
                its block grid (for a picture of 1x1 these are the same, and so is the mask). A TIFF whose pages show
                one object each is taken as `from_masks` takes a stack.
            size: (width, height) of the picture.
            names: label -> name, as a mapping (keys may be strings, as in JSON), as a list by label, or as
                the path of a JSON file with either. Default "background" for label 0, "group N" for the others, N
                being the group's id. Or the legend of a map in colour, as `ssic.groups.legend.read_legend` takes it:
                {"#ff0000": "car"}, {"car": [255, 0, 0]}, or the path of a file with one.
            rule: see `blocks_from_pixels`.
            drop_empty: leave out labels that own no block (with a `DroppedGroups` warning) rather than raise.
            ignore_label: what stands where nobody knows, such as 255 in Pascal VOC: see `blocks_without`.

        Labels up to 254 become ids as they are. If one is larger, the labels that own blocks are renumbered
        in ascending order: 0 stays 0, the others are 1, 2, ... (from 0 only if all 255 ids are needed).

        Warns:
            UnusedNames: a mapping names labels that do not occur.

        Raises:
            MaskError: unreadable, in colour, of another size, more than 255 labels, or labels without blocks.
        """
        return _made(of_label_map(source, size, names, rule, drop_empty, ignore_label))

    @classmethod
    def from_coco(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any],
        size: Size,
        *,
        image_id: int | str | None = None,
        file_name: str | None = None,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from a COCO annotation file (path or loaded dict): a group per object, or per class.

        The picture is the one with `image_id`, else the one with `file_name`, else the only one. Groups are
        named by category, and numbered where several have it ("dog", "person 1", "person 2"); ids are
        1, 2, ... in the order of the annotations, and 0 is the background, where it owns blocks. Of
        overlapping objects the smaller lies on top, crowds below all others. Small objects often own no block
        at all; these are left out, with a `DroppedGroups` warning, unless `drop_empty` is false.

        Raises:
            MaskError: as `ssic.groups.coco.read_objects`, or more than 255 groups.
        """
        block_grid(size)
        found = read_objects(source, size, image_id=image_id, file_name=file_name, group_by=group_by)
        return from_objects(found, rule, drop_empty)

    @classmethod
    def from_boxes(
        cls,
        source: str | os.PathLike[str] | Sequence[Any],
        size: Size,
        *,
        rule: Rule = "most",
        drop_empty: bool = False,
    ) -> GroupMask:
        """A mask from boxes: a list, or the path of a JSON file with one, of `[x0, y0, x1, y1]` or of
        `{"box": [x0, y0, x1, y1], "name": ..., "class": ..., "score": ...}` (all but the box optional).

        Pixels, x1 and y1 exclusive; fractions are rounded outwards; what is outside the picture is cut off.
        Later boxes lie on top. Ids are 1, 2, ... in order, 0 is the background. A box without a name is
        called after its class, else "box", numbered where there are several.

        Raises:
            MaskError: malformed, a box outside the picture, more than 255 groups, or boxes without blocks.
        """
        block_grid(size)
        return from_objects(read_boxes(source, size), rule, drop_empty)

    @classmethod
    def from_masks(
        cls,
        source: Any,
        size: Size,
        names: Names | None = None,
        *,
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from masks, not 0 where an object is: by name, {"dog": [H, W]}, or as a stack [N, H, W], where `names`
        are a list, or a mapping by place from 0. The smaller lies on top. Soft masks are refused: which threshold is
        right, only you know."""
        block_grid(size)
        if isinstance(source, Mapping):
            return from_objects(read_named(source, size), rule, drop_empty)
        return from_objects(read_stack(source, size, read_names(names)), rule, drop_empty)

    @classmethod
    def from_sam(cls, source: Any, size: Size, *, rule: Rule = "most", drop_empty: bool = True) -> GroupMask:
        """A mask from the list of SAM's automatic mask generator, or from a file of SA-1B: see `ssic.groups.sam`."""
        block_grid(size)
        return from_objects(read_sam(source, size), rule, drop_empty)

    @classmethod
    def from_labelme(
        cls,
        source: Any,
        size: Size,
        *,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from labelme's JSON (path, bytes or loaded dict): see `ssic.groups.labelme`."""
        block_grid(size)
        return from_objects(read_labelme(source, size, group_by=group_by), rule, drop_empty)

    @classmethod
    def from_voc(
        cls,
        source: Any,
        size: Size,
        *,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from the XML of Pascal VOC (path or bytes): see `ssic.groups.voc`."""
        block_grid(size)
        return from_objects(read_voc(source, size, group_by=group_by), rule, drop_empty)

    @classmethod
    def from_cvat(
        cls,
        source: Any,
        size: Size,
        *,
        image_id: int | str | None = None,
        file_name: str | None = None,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from CVAT's XML (path or bytes): see `ssic.groups.cvat`."""
        block_grid(size)
        found = read_cvat(source, size, image_id=image_id, file_name=file_name, group_by=group_by)
        return from_objects(found, rule, drop_empty)

    @classmethod
    def from_yolo(
        cls,
        source: Any,
        size: Size,
        names: Names | None = None,
        *,
        group_by: GroupBy = "instance",
        rule: Rule = "most",
        drop_empty: bool = True,
    ) -> GroupMask:
        """A mask from YOLO's text, boxes or outlines (path or bytes): see `ssic.groups.yolo_text`."""
        block_grid(size)
        return from_objects(
            read_yolo(source, size, names=read_names(names), group_by=group_by), rule, drop_empty
        )


MaskSource = (
    GroupMask
    | str
    | os.PathLike[str]
    | bytes
    | Image.Image
    | NDArray[Any]
    | Sequence[Any]
    | Mapping[str, Any]
)
"""A mask, or what one is made from: see `GroupMask.from_any`."""


def from_objects(found: Objects, rule: Rule, drop_empty: bool) -> GroupMask:
    """A mask from painted objects; 0 is the background. Arguments and errors as of `GroupMask.from_boxes`."""
    return _made(of_objects(found, rule, drop_empty))


def _made(owned: Owned) -> GroupMask:
    if owned.left_out:
        text = f"left out, because they own no block: {listing(owned.left_out)}"
        warnings.warn(text, DroppedGroups, stacklevel=3)
    return GroupMask(owned.ids, owned.names, owned.classes, owned.scores)


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str) or not text:
        raise MaskError(f"{what} is {text!r}; it must be a string that is not empty")
    if fault := text_fault(text):
        raise MaskError(f"{what} is {text!r:.80}, which {fault}")


def _by_id(given: object, about: str) -> dict[int, Any]:
    entries = as_mapping(given, about, MaskError)
    try:
        return {int(key): value for key, value in entries.items()}
    except (TypeError, ValueError):
        keys = listing([repr(key) for key in entries])
        raise MaskError(f"the keys of {about} must be ids of groups, not {keys:.80}") from None
