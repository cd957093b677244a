"""`ssic eval task`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.evaluate import AsJson, Out, emit, read_qualities
from ssic.cli.files import split
from ssic.cli.rate import Engine
from ssic.cli.terminal import console
from ssic.errors import InvalidInput
from ssic.storage.atomic import replacing

_DATA = "Pictures and judge"
_GROUPS = "Groups"
_SENT = "What is sent"


def task(
    coco: Annotated[
        tuple[Path, Path],
        typer.Option(metavar="DIR FILE", help="Folder of pictures, COCO annotations.", rich_help_panel=_DATA),
    ],
    task: Annotated[
        str,
        typer.Option(metavar="segm|keypoints|bbox", help="What is scored.", rich_help_panel=_DATA),
    ],
    judge: Annotated[
        str,
        typer.Option("--model", metavar="onnx:PATH", help="The judge: a YOLO graph.", rich_help_panel=_DATA),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Only pictures with this in their record.", rich_help_panel=_DATA
        ),
    ] = None,
    pictures: Annotated[
        int | None, typer.Option(min=1, help="At most so many, evenly spread.", rich_help_panel=_DATA)
    ] = None,
    with_empty: Annotated[
        bool,
        typer.Option("--with-empty", help="Also pictures without annotated objects.", rich_help_panel=_DATA),
    ] = False,
    groups_from: Annotated[
        str,
        typer.Option(
            metavar="annotations|onnx:PATH", help="What the groups are made of.", rich_help_panel=_GROUPS
        ),
    ] = "annotations",
    min_score: Annotated[
        float, typer.Option(help="Of objects that a model finds.", rich_help_panel=_GROUPS)
    ] = 0.25,
    group_by: Annotated[
        str,
        typer.Option(
            metavar="all|class|instance", help="One group of all objects, or more.", rich_help_panel=_GROUPS
        ),
    ] = "all",
    block_rule: Annotated[
        str, typer.Option(metavar="most|any", help="As for encode.", rich_help_panel=_GROUPS)
    ] = "any",
    margin: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Blocks around the objects, also boxes.", rich_help_panel=_GROUPS
        ),
    ] = 0,
    way: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Ways to send; see docs/eval.md.", rich_help_panel=_SENT),
    ] = None,
    quality: Annotated[
        list[str] | None, typer.Option(metavar="N,...", help="Of ssic.", rich_help_panel=_SENT)
    ] = None,
    peer_quality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N,...",
            help="Of another codec, as in avif=10,20,40; repeatable.",
            rich_help_panel=_SENT,
        ),
    ] = None,
    background: Annotated[
        int,
        typer.Option(metavar="N", help='Quality of the background of "ssic graded".', rich_help_panel=_SENT),
    ] = 1,
    fill: Annotated[
        str, typer.Option(metavar="black|mean|#rrggbb", help="Of what is not sent.", rich_help_panel=_SENT)
    ] = "mean",
    weights: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="Model of ssic, or a weights file.", rich_help_panel=_SENT),
    ] = "small",
    samples: Annotated[int, typer.Option(min=0, help="Resamplings of the pictures, for intervals.")] = 500,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    engine: Engine = "auto",
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of what is measured; OUT/points by default."),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """What a judge still finds in what arrives, over the bits that were sent. An interrupted run is resumed."""
    if task not in ("segm", "keypoints", "bbox"):
        raise InvalidInput(f"--task {task}: segm, keypoints or bbox was expected")
    if group_by not in ("all", "class", "instance") or block_rule not in ("most", "any"):
        raise InvalidInput("--group-by is all, class or instance, --block-rule most or any")
    if out is None and work is None:
        raise InvalidInput("--out or --work must say where to keep what is measured: it takes long")
    if not 0 <= min_score <= 1:
        raise InvalidInput(f"--min-score {min_score}: scores are from 0 to 1")
    if fill == "transparent":
        raise InvalidInput("--fill transparent: a judge sees colours only")
    qualities = read_qualities(quality)
    conditions, of_peers = _conditions(where), _peer_qualities(peer_quality)

    from ssic.eval.extras import optional
    from ssic.eval.task import TaskOptions, run_task
    from ssic.eval.task_data import Layout, read_dataset
    from ssic.eval.task_report import draw_task, task_notes, task_tables
    from ssic.eval.task_ways import DEFAULT_WAYS, QUALITIES, find_ways

    optional("pycocotools")
    if out is not None:
        optional("matplotlib")  # now, rather than after hours of measuring
    options = TaskOptions(
        dataset=read_dataset(*coco, where=conditions, empty=with_empty, limit=pictures),
        task=task,  # type: ignore[arg-type]
        judge=judge,
        ways=find_ways(
            split(way) or DEFAULT_WAYS,
            model=weights,
            fill=fill,
            qualities=qualities or QUALITIES,
            peer_qualities=of_peers,
            margin=margin,
            background=background,
            engine=engine,
        ),
        layout=Layout(
            group_by=group_by,  # type: ignore[arg-type]
            rule=block_rule,  # type: ignore[arg-type]
            margin=margin,
            segmenter=None if groups_from == "annotations" else groups_from,
            min_score=min_score,
        ),
        work=work or (out or Path()) / "points",
        jobs=jobs,
        samples=samples,
        model=weights,
        engine=engine,
    )
    for folder in (out, options.work):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    with _progress() as (advance, report):
        results = run_task(options, advance, report)
    if out is not None:
        with replacing(out / "task.png") as temporary:
            draw_task(results, temporary)
    emit("task", "Accuracy per bit", results, task_tables, out, as_json, notes=task_notes)


def _conditions(given: list[str] | None) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for item in given or ():
        key, found, value = item.partition("=")
        if not found or not key:
            raise InvalidInput(f"--where {item}: a key and its value were expected, as in license=4")
        conditions[key] = value
    return conditions


def _peer_qualities(given: list[str] | None) -> dict[str, list[int]]:
    qualities: dict[str, list[int]] = {}
    for item in given or ():
        match = re.fullmatch("([a-z]+)=([0-9]{1,3}(?:,[0-9]{1,3})*)", item)
        if not match:
            raise InvalidInput(
                f"--peer-quality {item}: a codec and its qualities were expected, as in avif=10,20"
            )
        qualities[match[1]] = [int(q) for q in match[2].split(",")]
    return qualities


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """(What to call with pictures done and all of them, what to call with a stage), both told on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=shown, transient=True, disable=not shown.is_interactive
    ) as progress:
        bar = progress.add_task("coding and judging", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)
            if not shown.is_interactive:
                print(f"{done} of {total} pictures", file=shown.file, flush=True)

        def report(stage: str) -> None:
            progress.update(bar, description=stage)
            if not shown.is_interactive:
                print(stage, file=shown.file, flush=True)

        yield advance, report
