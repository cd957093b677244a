"""`ssic eval task`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ssic.cli.evaluate import Out, emit, read_qualities
from ssic.cli.files import split
from ssic.cli.options import AsJson, Engine, one_of
from ssic.cli.terminal import progress_bar, say
from ssic.errors import InvalidInput
from ssic.eval.extras import optional
from ssic.eval.task import TaskOptions, run_task
from ssic.eval.task_data import Dataset, Layout, read_dataset
from ssic.eval.task_methods import DEFAULT_METHODS, QUALITIES, Method, find_methods
from ssic.eval.task_report import draw_task, task_notes, task_tables
from ssic.storage.atomic import replacing


def _option(*names: str, panel: str, help: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


_DATA, _GROUPS, _SENT = "Pictures and detector", "Groups", "What is sent"


@dataclass(frozen=True)
class DataOptions:
    """Which pictures are looked at, and by what."""

    coco: Annotated[
        tuple[Path, Path],
        _option(panel=_DATA, metavar="DIR FILE", help="Folder of pictures, and their COCO annotations."),
    ]
    task: Annotated[str, _option(panel=_DATA, metavar="segm|keypoints|bbox", help="What is scored.")]
    detector: Annotated[
        str,
        _option("--model", panel=_DATA, metavar="onnx:PATH", help="Detector: a graph of the YOLO family."),
    ]
    where: Annotated[
        list[str] | None,
        _option(
            panel=_DATA, metavar="KEY=VALUE", help="Only pictures with this in their record; repeatable."
        ),
    ] = None
    pictures: Annotated[
        int | None,
        _option(panel=_DATA, metavar="N", min=1, help="At most N pictures, at equal steps of the list."),
    ] = None
    with_empty: Annotated[
        bool, _option("--with-empty", panel=_DATA, help="Also pictures without an annotated object.")
    ] = False

    def dataset(self) -> Dataset:
        """The pictures (`InvalidInput` if there are none)."""
        return read_dataset(
            *self.coco, where=_conditions(self.where), empty=self.with_empty, limit=self.pictures
        )


@dataclass(frozen=True)
class GroupOptions:
    """How groups are made of objects."""

    groups_from: Annotated[
        str,
        _option(
            panel=_GROUPS,
            metavar="annotations|onnx:PATH",
            help="What groups are made of: the annotated objects, or what a model finds in the original.",
        ),
    ] = "annotations"
    min_score: Annotated[
        float, _option(panel=_GROUPS, metavar="SCORE", help="Lowest score, 0 to 1, of what that model finds.")
    ] = 0.25
    group_by: Annotated[
        str,
        _option(
            panel=_GROUPS,
            metavar="all|class|instance",
            help="One group of all objects, or one per class or object.",
        ),
    ] = "all"
    block_rule: Annotated[
        str, _option(panel=_GROUPS, metavar="most|any", help="Who owns a block, as for encode.")
    ] = "any"
    margin: Annotated[
        int,
        _option(
            panel=_GROUPS,
            metavar="N",
            min=0,
            help="N blocks around objects belong to them; 16 N pixels to boxes.",
        ),
    ] = 0

    def layout(self) -> Layout:
        """The values, checked."""
        one_of("--group-by", self.group_by, ("all", "class", "instance"))
        one_of("--block-rule", self.block_rule, ("most", "any"))
        if not 0 <= self.min_score <= 1:
            raise InvalidInput(f"--min-score {self.min_score}: scores are from 0 to 1")
        return Layout(
            group_by=cast(Any, self.group_by),
            rule=cast(Any, self.block_rule),
            margin=self.margin,
            segmenter=None if self.groups_from == "annotations" else self.groups_from,
            min_score=self.min_score,
        )


@dataclass(frozen=True)
class SendOptions:
    """What is sent."""

    method: Annotated[
        list[str] | None,
        _option(panel=_SENT, metavar="NAME,...", help="Methods to send a picture; see docs/eval.md."),
    ] = None
    quality: Annotated[list[str] | None, _option(panel=_SENT, metavar="N,...", help="Qualities of ssic.")] = (
        None
    )
    peer_quality: Annotated[
        list[str] | None,
        _option(
            panel=_SENT,
            metavar="NAME=N,...",
            help="Qualities of another codec, as in avif=10,20; repeatable.",
        ),
    ] = None
    background: Annotated[
        int, _option(panel=_SENT, metavar="N", help='Quality of the background of "ssic graded".')
    ] = 1
    fill: Annotated[
        str,
        _option(
            panel=_SENT,
            metavar="black|mean|#rrggbb",
            help="What stands where nothing was sent; mean is the mean colour of what was sent.",
        ),
    ] = "mean"
    weights: Annotated[
        str,
        _option(panel=_SENT, metavar="NAME|FILE", help="Installed model of ssic, or path of a weights file."),
    ] = "small"

    def methods(self, margin: int, engine: str) -> list[Method]:
        """The values, checked."""
        if self.fill == "transparent":
            raise InvalidInput("--fill transparent: a detector sees colours only")
        return find_methods(
            split(self.method) or DEFAULT_METHODS,
            model=self.weights,
            fill=self.fill,
            qualities=read_qualities(self.quality) or QUALITIES,
            peer_qualities=_peer_qualities(self.peer_quality),
            margin=margin,
            background=self.background,
            engine=engine,
        )


def task(
    data: DataOptions,
    groups: GroupOptions,
    sending: SendOptions,
    samples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Resamplings of the pictures, for intervals.")
    ] = 500,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    engine: Engine = "auto",
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of what is measured, for later runs. Default: OUT/points."),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a detector still finds in what arrives, over the bits that were sent. An interrupted run is
    resumed."""
    one_of("--task", data.task, ("segm", "keypoints", "bbox"))
    if out is None and work is None:
        raise InvalidInput("--out or --work must say where to keep what is measured: it takes long")
    layout = groups.layout()
    optional("pycocotools")
    if out is not None:
        optional("matplotlib")  # now, rather than after hours of measuring
    options = TaskOptions(
        dataset=data.dataset(),
        task=cast(Any, data.task),
        detector=data.detector,
        methods=sending.methods(layout.margin, engine),
        layout=layout,
        work=work or (out or Path()) / "points",
        jobs=jobs,
        samples=samples,
        model=sending.weights,
        engine=engine,
    )
    for folder in (out, options.work):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    with progress_bar(log="pictures") as advance:
        results = run_task(options, advance, lambda stage: say(stage, stderr=True))
    if out is not None:
        with replacing(out / "task.png") as temporary:
            draw_task(results, temporary)
    emit("task", "Accuracy per bit", results, task_tables, out, as_json, notes=task_notes)


def _conditions(values: list[str] | None) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for item in values or ():
        key, found, value = item.partition("=")
        if not found or not key:
            raise InvalidInput(f"--where {item}: a key and its value were expected, as in license=4")
        conditions[key] = value
    return conditions


def _peer_qualities(values: list[str] | None) -> dict[str, list[int]]:
    qualities: dict[str, list[int]] = {}
    for item in values or ():
        match = re.fullmatch("([a-z]+)=([0-9]{1,3}(?:,[0-9]{1,3})*)", item)
        if not match:
            raise InvalidInput(
                f"--peer-quality {item}: a codec and its qualities were expected, as in avif=10,20"
            )
        qualities[match[1]] = [int(q) for q in match[2].split(",")]
    return qualities
