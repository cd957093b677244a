"""Where a mask comes from: the options that say it, the same for every command that needs one, and what they make."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ssic.cli.files import is_pipe, read, shown, split
from ssic.errors import InvalidInput, MaskError

if TYPE_CHECKING:
    from ssic.groups.mask import GroupMask
    from ssic.pictures.read import Picture

_PANEL = "Mask (one of --mask, --coco, --boxes, --grid, --segment; none of them makes one group)"


def _option(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class MaskOptions:
    """What was said about the mask. An option that was not given is None (a flag False)."""

    mask: Annotated[
        Path | None,
        _option("Label map, or annotations of labelme, YOLO, VOC, CVAT, SAM, ...: see docs/segment.md."),
    ] = None
    names: Annotated[
        Path | None, _option('Names of its labels, {"1": "dog"}, or of its colours, {"#ff0000": "dog"}.')
    ] = None
    ignore_label: Annotated[
        int | None, _option("Label that means void: its blocks go to their neighbours.", "N")
    ] = None
    coco: Annotated[Path | None, _option("COCO annotations.")] = None
    image_id: Annotated[str | None, _option("Which picture of them; by default that of IN's file name.")] = (
        None
    )
    boxes: Annotated[Path | None, _option("JSON list of boxes, see docs/cli.md.")] = None
    grid: Annotated[str | None, _option("Equal cells.", "ROWSxCOLUMNS")] = None
    segment: Annotated[
        str | None, _option("Segmenter that finds objects, as in foreground or onnx:FILE.", "NAME[:ARG]")
    ] = None
    keep: Annotated[
        list[str] | None, _option("Classes that become groups; repeatable. By default all.", "NAME,...")
    ] = None
    min_score: Annotated[float | None, _option("How sure it must be, 0 to 1; 0.25 by default.")] = None
    max_groups: Annotated[int | None, _option("At most so many, the surest, beside the background.")] = None
    group_by: Annotated[str | None, _option("A group per object or class.", "instance|class")] = None
    block_rule: Annotated[
        str | None,
        _option(
            "Who owns a block: the label with most pixels, or any object before the background.", "most|any"
        ),
    ] = None
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out groups without a block.", rich_help_panel=_PANEL)
    ] = False

    @property
    def files(self) -> tuple[Path | None, ...]:
        """Files that will be read; what stands after a segmenter's colon may be one."""
        argument = (self.segment or "").partition(":")[2]
        return *self.local, Path(argument) if argument else None

    @property
    def local(self) -> tuple[Path | None, ...]:
        """Those of the files that can't be URLs; what a segmenter takes, it knows itself."""
        return self.mask, self.names, self.coco, self.boxes

    def check(self) -> None:
        """Refuses, before the work, what contradicts itself.

        Raises:
            InvalidInput: two sources, an option that means nothing with this one, or a value out of range.
        """
        sources = [option for option, value in self._given() if option in _SOURCES and value is not None]
        if len(sources) > 1:
            raise InvalidInput(f"{' and '.join(sources)} exclude each other: each makes the whole mask")
        for option, value in self._given():
            if option in _NEEDS and value not in (None, False) and not set(sources) & set(_NEEDS[option]):
                raise InvalidInput(f"{option} is of use with {' or '.join(_NEEDS[option])} only")
        self.cells()
        split(self.keep)
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise InvalidInput(f"--min-score {self.min_score}: scores are from 0 to 1")
        if self.max_groups is not None and not 1 <= self.max_groups <= 254:
            raise InvalidInput(f"--max-groups {self.max_groups}: 1 to 254 fit beside the background")

    def maker(self) -> Callable[[Picture, str], GroupMask]:
        """What makes the mask of a picture, given that and its file name; for any number of pictures. A segmenter is
        loaded here.

        Raises:
            SegmenterError: there is no such segmenter, or it can't be made.
        """
        from ssic.groups.mask import GroupMask

        rule: Any = {"rule": self.block_rule or ("any" if self.segment else "most")}
        by: Any = {"group_by": self.group_by or "instance"}
        if self.mask is not None:
            mask = read(self.mask) if is_pipe(self.mask) else self.mask
            names = None if self.names is None else _json(self.names, "names")
            return _about(
                self.mask,
                lambda picture, name: GroupMask.from_any(
                    mask,
                    picture.size,
                    names,
                    file_name=_whole(name),
                    image_id=self.image_id,
                    drop_empty=self.drop_empty or None,
                    ignore_label=self.ignore_label,
                    **rule,
                    **by,
                ),
            )
        if self.coco is not None:
            coco = _json(self.coco, "COCO annotations")
            return _about(
                self.coco,
                lambda picture, name: GroupMask.from_coco(
                    coco, picture.size, image_id=self.image_id, file_name=_whole(name), **rule, **by
                ),
            )
        if self.boxes is not None:
            boxes = _json(self.boxes, "boxes")
            return _about(
                self.boxes,
                lambda picture, _: GroupMask.from_boxes(
                    boxes, picture.size, drop_empty=self.drop_empty, **rule
                ),
            )
        if (cells := self.cells()) is not None:
            return lambda picture, _: GroupMask.grid(picture.size, *cells)
        if self.segment is not None:
            return self._segmenting(rule | by)
        return lambda picture, _: GroupMask.single(picture.size)

    def _segmenting(self, about: dict[str, Any]) -> Callable[[Picture, str], GroupMask]:
        from ssic.groups.segment import find_segmenter, segment

        for key in ("min_score", "max_groups"):
            if (value := getattr(self, key)) is not None:
                about[key] = value
        segmenter, keep = find_segmenter(self.segment or ""), split(self.keep)
        return lambda picture, _: segment(segmenter, picture.pixels, keep=keep, **about)

    def _given(self) -> Iterator[tuple[str, Any]]:
        return ((f"--{f.name.replace('_', '-')}", getattr(self, f.name)) for f in fields(self))

    def cells(self) -> tuple[int, int] | None:
        """Rows and columns of `--grid` (`InvalidInput` if it is none)."""
        if self.grid is None:
            return None
        if match := re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", self.grid):
            return int(match[1]), int(match[2])
        raise InvalidInput(f"--grid {self.grid}: rows and columns were expected, as in 4x6")


def _whole(name: str) -> str:
    """A picture's path with its folders, by which pictures of one name are told apart in annotations."""
    return name if is_pipe(name) else os.path.abspath(name)


def _json(path: Path, what: str) -> Any:
    """What `ssic.groups.coco` takes: a path, or the content of stdin."""
    if not is_pipe(path):
        return path
    from ssic.groups.objects import parse_json

    return parse_json(read(path), what, "stdin")


def _about(path: Path, make: Callable[[Picture, str], GroupMask]) -> Callable[[Picture, str], GroupMask]:
    """The same, but errors name the file that the mask is made from."""

    def naming(picture: Picture, name: str) -> GroupMask:
        try:
            return make(picture, name)
        except MaskError as error:
            if shown(str(path)) not in str(error):
                error.args = (f"{shown(str(path))}: {error}",)
            raise

    return naming


NOTHING_SAID = MaskOptions()

_SOURCES = ("--mask", "--coco", "--boxes", "--grid", "--segment")
_NEEDS = {
    "--names": ("--mask",),
    "--ignore-label": ("--mask",),
    "--image-id": ("--coco", "--mask"),
    "--keep": ("--segment",),
    "--min-score": ("--segment",),
    "--max-groups": ("--segment",),
    "--group-by": ("--mask", "--coco", "--segment"),
    "--block-rule": ("--mask", "--coco", "--boxes", "--segment"),
    "--drop-empty": ("--mask", "--boxes"),
}
"""Options that mean nothing without one of these."""


def with_mask_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `groups_from: MaskOptions` became the options of that class, in its place.

    typer reads options from the signature of a function, and has no other way to share them.
    """
    hints = get_type_hints(MaskOptions, include_extras=True)
    own = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "groups_from":
            parameters.append(parameter.replace(annotation=own[parameter.name]))
            continue
        for f in fields(MaskOptions):
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]))
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]

    def run(**given: Any) -> None:
        about = {f.name: given.pop(f.name) for f in fields(MaskOptions)}
        command(**given, groups_from=MaskOptions(**about))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
