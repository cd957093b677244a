"""The options that say where a mask comes from, the same for every command that needs one, and the recipe that they
describe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.blocks import MAX_GROUPS
from ssic.cli.files import is_stdin, read, shown, split
from ssic.cli.options import one_of
from ssic.errors import InvalidInput, MaskError
from ssic.groups.label_maps import read_names
from ssic.groups.legend import read_legend
from ssic.groups.mask import GroupMask
from ssic.groups.objects import parse_json, read_file
from ssic.groups.recipe import Kind, MaskRecipe
from ssic.pictures.read import Picture

PANEL = "Mask (one source of groups; without any, the picture is one group)"


def _option(help: str, metavar: str | None = None, *names: str) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=PANEL)


Keep = Annotated[
    list[str] | None,
    _option("Classes of what the segmenter finds that become groups; repeatable. Default: all.", "NAME,..."),
]
MinScore = Annotated[
    float | None, _option("Lowest score, 0 to 1, of what the segmenter finds. Default: 0.25.", "SCORE")
]
MaxGroups = Annotated[
    int | None,
    _option(
        "At most N groups of objects: those with the best scores, the last of each class with all others of it. "
        "Default: 254.",
        "N",
    ),
]
GroupBy = Annotated[
    str | None,
    _option("Of objects that have classes: a group per object (default), or per class.", "instance|class"),
]
BlockRule = Annotated[
    str | None,
    _option(
        "Who owns a 16x16 block: the label with most of its pixels, or any object before the background. "
        "Default: any with --segment, else most.",
        "most|any",
    ),
]
IgnoreLabel = Annotated[
    int | None,
    _option(
        "Label that stands where nobody knows, such as 255: its pixels don't count, and blocks of nothing else go to "
        "the nearest owner.",
        "N",
    ),
]
Names = Annotated[
    Path | None,
    _option(
        'Names of labels or of YOLO\'s classes, JSON: {"1": "dog"}, or a list; or the legend of a map in colour: '
        '{"#ff0000": "car"}, or lines such as car:255,0,0.',
        "FILE",
    ),
]
Grid = Annotated[str | None, _option("Equal cells.", "ROWSxCOLUMNS")]
Segment = Annotated[
    str | None,
    _option(
        "Segmenter that finds the objects: foreground, faces, onnx:FILE, torchvision, ultralytics, or one of another "
        "package.",
        "NAME[:ARG]",
    ),
]


@dataclass(frozen=True)
class MaskOptions:
    """What was said about the mask. An option that was not given is None (a flag False)."""

    mask: Annotated[
        Path | None,
        _option(
            "Mask, recognised by its content: a label map with a number per pixel or 16x16 block, a map in colour, "
            ".npy, or annotations of labelme, YOLO, Pascal VOC, CVAT, COCO or SAM.",
            "FILE",
        ),
    ] = None
    names: Names = None
    ignore_label: IgnoreLabel = None
    coco: Annotated[Path | None, _option("COCO annotations; a group per object.", "FILE")] = None
    image_id: Annotated[
        str | None,
        _option(
            "Which picture of annotations of several. Default: the one that the path of IN means, or the only one.",
            "ID",
        ),
    ] = None
    boxes: Annotated[
        Path | None,
        _option('JSON list of boxes: [x0, y0, x1, y1] in pixels, or objects with such a "box".', "FILE"),
    ] = None
    grid: Grid = None
    segment: Segment = None
    keep: Keep = None
    min_score: MinScore = None
    max_groups: MaxGroups = None
    group_by: GroupBy = None
    block_rule: BlockRule = None
    drop_empty: Annotated[
        bool,
        typer.Option(
            "--drop-empty",
            help="Leave out labels and boxes that own no block, with a warning, rather than refuse them.",
            rich_help_panel=PANEL,
        ),
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

    def recipe(self) -> MaskRecipe:
        """What the options describe. Reads the names.

        Raises:
            InvalidInput: two sources, an option that means nothing with this one, or a value out of range.
            MaskError: the names can't be read.
        """
        kind = check_sources(self, {"--mask": "mask", **_KINDS})
        return make_recipe(self, kind, self.names, drop_empty=True if self.drop_empty else None)

    def source(self) -> Any:
        """What the mask is made of: a path, or the content of stdin; None where no file is read."""
        path = self._source_file()
        if path is None or not is_stdin(path):
            return path
        if self.mask is not None:
            return _of_stdin(read(path))
        return parse_json(read(path), "boxes" if self.coco is None else "COCO annotations", "stdin")

    def make(self, recipe: MaskRecipe, picture: Picture, path: Path) -> GroupMask:
        """The mask of the picture at this path, or from stdin."""
        file = self._source_file()
        called = None if file is None else shown(str(file))
        name = None if is_stdin(path) else os.path.abspath(path)
        return recipe.mask(
            picture.pixels, self.source(), image_id=self.image_id, file_name=name, called=called
        )

    def _source_file(self) -> Path | None:
        return next((path for path in (self.mask, self.coco, self.boxes) if path is not None), None)


def check_sources(options: Any, kinds: dict[str, Kind]) -> Kind:
    """What the mask is made of.

    Args:
        options: a dataclass of options about masks.
        kinds: what each option stands for that makes a mask.

    Raises:
        InvalidInput: two of them are given, or an option that means nothing with what is given.
    """
    chosen = dict(_given(options))
    sources = [option for option in chosen if option in kinds]
    if len(sources) > 1:
        raise InvalidInput(f"{' and '.join(sources)} exclude each other: each makes the whole mask")
    for option in chosen:
        # Of a command, only those of its own options can be named.
        wanted = [source for source in _NEEDS.get(option, ()) if source in kinds]
        if wanted and not set(sources) & set(wanted):
            raise InvalidInput(f"{option} is of use with {' or '.join(wanted)} only")
    return kinds[sources[0]] if sources else "none"


def make_recipe(options: Any, kind: Kind, names: Path | None, drop_empty: bool | None) -> MaskRecipe:
    """The recipe that a dataclass of options about masks describes, after `check_sources`."""
    one_of("--group-by", options.group_by, ("instance", "class"))
    one_of("--block-rule", options.block_rule, ("most", "any"))
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        raise InvalidInput(f"--min-score {options.min_score}: scores are from 0 to 1")
    if options.max_groups is not None and not 1 <= options.max_groups <= 254:
        raise InvalidInput(f"--max-groups {options.max_groups}: 1 to 254 fit beside the background")
    chosen = {key: getattr(options, key) for key in ("min_score", "max_groups", "group_by")}
    return MaskRecipe(
        kind,
        names=None if names is None else _names(names),
        ignore_label=options.ignore_label,
        cells=cells_of(options.grid),
        segmenter=options.segment,
        keep=split(options.keep),
        rule=options.block_rule,
        drop_empty=drop_empty,
        **{key: value for key, value in chosen.items() if value is not None},
    )


def cells_of(grid: str | None) -> tuple[int, int] | None:
    """Rows and columns of `--grid` (`InvalidInput` if it is none, or none that any picture could have)."""
    if grid is None:
        return None
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", grid)
    rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
    if not rows or not columns:
        raise InvalidInput(f"--grid {grid}: rows and columns were expected, as in 4x6")
    if rows * columns > MAX_GROUPS:
        raise InvalidInput(f"--grid {grid} has {rows * columns:,} cells; at most {MAX_GROUPS} fit")
    return rows, columns


def _names(path: Path) -> Any:
    """The names of labels, or a legend; errors name the file that they are in, which is not that of the mask."""
    where = shown(str(path))
    try:
        data = read_file(read(path) if is_stdin(path) else path, "names")
        is_json = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))
        names: Any = parse_json(data, "names", where) if is_json else data
        if (legend := read_legend(names)) is not None:
            return legend
        if not is_json:
            raise MaskError("names are JSON, or lines of a legend such as car:255,0,0")
        read_names(names)  # refuses what is neither
        return names
    except MaskError as error:
        if where not in str(error):
            error.args = (f"{where}: {error}",)
        raise


def _of_stdin(data: bytes) -> bytes:
    """The bytes of a mask; an empty text, which for YOLO means that there is nothing, has no name that would say so."""
    if not data:
        raise MaskError("stdin: the mask is empty")
    return data


def _given(options: Any) -> Iterator[tuple[str, Any]]:
    for f in fields(options):
        if (value := getattr(options, f.name)) is not None and value is not False:
            yield f"--{f.name.replace('_', '-')}", value


_KINDS: dict[str, Kind] = {"--coco": "coco", "--boxes": "boxes", "--grid": "grid", "--segment": "segmenter"}
_NEEDS = {
    "--names": ("--mask", "--masks"),
    "--ignore-label": ("--mask", "--masks"),
    "--image-id": ("--mask", "--coco"),
    "--keep": ("--segment",),
    "--min-score": ("--segment",),
    "--max-groups": ("--segment",),
    "--group-by": ("--mask", "--masks", "--coco", "--segment"),
    "--block-rule": ("--mask", "--masks", "--coco", "--boxes", "--segment"),
    "--drop-empty": ("--mask", "--boxes"),
}
"""Options that mean nothing without one of these."""


@dataclass(frozen=True)
class BatchMaskOptions:
    """The same for many pictures: folders, where there is a file per picture."""

    masks: Annotated[
        Path | None,
        _option(
            "Folder of masks of all kinds that encode takes, which lie in it as the outputs lie in theirs.",
            "DIR",
        ),
    ] = None
    names: Names = None
    ignore_label: IgnoreLabel = None
    boxes: Annotated[
        Path | None, _option("Folder of boxes, JSON, which lie in it as the outputs lie in theirs.", "DIR")
    ] = None
    coco: Annotated[Path | None, _option("COCO annotations of all pictures, found by path.", "FILE")] = None
    grid: Grid = None
    segment: Segment = None
    keep: Keep = None
    min_score: MinScore = None
    max_groups: MaxGroups = None
    group_by: GroupBy = None
    block_rule: BlockRule = None

    def recipe(self) -> MaskRecipe:
        """As `MaskOptions.recipe`; groups that own no block are left out, and are warned of in the records."""
        kind = check_sources(self, {"--masks": "mask", **_KINDS})
        for option, folder in (("--masks", self.masks), ("--boxes", self.boxes)):
            if folder is not None and not folder.is_dir():
                raise InvalidInput(f"{option} {folder}: there is no such folder")
        return make_recipe(self, kind, self.names, drop_empty=True)
