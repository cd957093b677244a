"""`ssic batch encode`."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ssic.cli.effort import Effort
from ssic.cli.files import split
from ssic.cli.keys import Recipients, locks
from ssic.cli.masks import MaskOptions
from ssic.cli.protect import HideNames, HideOutline, hiding
from ssic.cli.rate import (
    Engine,
    GroupQuality,
    GroupTarget,
    Model,
    Order,
    Quality,
    TargetBpp,
    TargetBytes,
    TargetPsnr,
    group_qualities,
    target_of_file,
    targets_of_groups,
)
from ssic.cli.terminal import FAILED_SOME, console, notice, say, warn
from ssic.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssic.batch import Record
    from ssic.crypto.files import Hide

batch = typer.Typer(no_args_is_help=True)

_MASK = "Mask (one of --masks, --boxes, --coco, --grid, --segment; none of them makes one group)"
_RUN = "How it runs"
LISTED = 20
"""Failures that the summary shows; all are in the file of records."""


@batch.callback()
def _batch() -> None:
    """Many pictures at a time."""


@batch.command()
def encode(
    pictures: Annotated[
        list[str], typer.Argument(metavar="DIR|GLOB...", help="Pictures: folders, or patterns in quotes.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the files; made if need be.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Files lie as the pictures lie below it. By default what all have in common, or that of earlier runs.",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Search the subfolders of folders, too.")
    ] = False,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Label maps, PNG, named like the pictures.", rich_help_panel=_MASK),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help='JSON with names of their labels: {"1": "dog"}.', rich_help_panel=_MASK),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Boxes, JSON, named like the pictures.", rich_help_panel=_MASK),
    ] = None,
    coco: Annotated[
        Path | None, typer.Option(help="COCO annotations of all pictures.", rich_help_panel=_MASK)
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="ROWSxCOLUMNS", help="Equal cells.", rich_help_panel=_MASK)
    ] = None,
    segment: Annotated[
        str | None,
        typer.Option(metavar="NAME[:ARG]", help="A segmenter finds the objects.", rich_help_panel=_MASK),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS,...", help="Of what it finds only these.", rich_help_panel=_MASK),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Of what it finds, 0 to 1.", rich_help_panel=_MASK)
    ] = None,
    max_groups: Annotated[
        int | None, typer.Option(help="The surest so many at most.", rich_help_panel=_MASK)
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="instance|class", help="A group per object or class.", rich_help_panel=_MASK),
    ] = None,
    block_rule: Annotated[
        str | None,
        typer.Option(
            metavar="most|any",
            help="Who owns a block: the label with most pixels, or any object before the background. By default "
            "any with --segment, else most.",
            rich_help_panel=_MASK,
        ),
    ] = None,
    quality: Quality = None,
    group_quality: GroupQuality = None,
    target_bytes: TargetBytes = None,
    target_bpp: TargetBpp = None,
    target_psnr: TargetPsnr = None,
    group_target: GroupTarget = None,
    order: Order = None,
    encrypt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Seal these groups; a picture without one of them fails."),
    ] = None,
    recipient: Recipients = None,
    hide_names: HideNames = False,
    hide_outline: HideOutline = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures at a time. By default one per two cores.", rich_help_panel=_RUN),
    ] = None,
    runner: Annotated[
        str, typer.Option(metavar="local|ray", help="This machine, or a Ray cluster.", rich_help_panel=_RUN)
    ] = "local",
    model: Model = "small",
    engine: Engine = "auto",
    effort: Effort = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Encode many pictures. What an earlier run did, and is still intact, is kept."""
    begun = time.perf_counter()
    sources = {"--masks": masks, "--boxes": boxes, "--coco": coco, "--grid": grid, "--segment": segment}
    if len(chosen := [option for option, value in sources.items() if value is not None]) > 1:
        raise InvalidInput(f"{' and '.join(chosen)} exclude each other: each makes the whole mask")
    if names is not None and masks is None:
        raise InvalidInput("--names is of use with --masks only")
    for option, folder in (("--masks", masks), ("--boxes", boxes)):
        if folder is not None and not folder.is_dir():
            raise InvalidInput(f"{option} {folder}: there is no such folder")
    if group_by is not None and coco is None and segment is None:
        raise InvalidInput("--group-by is of use with --coco or --segment only")
    if block_rule is not None and (not chosen or grid is not None):
        raise InvalidInput("--block-rule is of use with --masks, --boxes, --coco or --segment only")
    # What is wrong with these would else be told once per picture.
    about = MaskOptions(segment=segment, keep=keep, min_score=min_score, max_groups=max_groups, grid=grid)
    about.check()
    if runner not in ("local", "ray"):
        raise InvalidInput(f"--runner {runner}: local or ray was expected")
    if group_by not in (None, "instance", "class") or block_rule not in (None, "most", "any"):
        raise InvalidInput("--group-by is instance or class, --block-rule most or any")

    target = target_of_file({"bytes": target_bytes, "bpp": target_bpp, "psnr": target_psnr}, quality)
    targets = {str(name): aim for name, aim in targets_of_groups(group_target).items()}
    secret = split(encrypt)
    if secret is None and (recipient or hide_names or hide_outline):
        raise InvalidInput("recipients and hiding are of use with --encrypt only")
    if secret is not None:
        if not recipient:
            raise InvalidInput("--encrypt: for whom? --recipient KEY|FILE must say it")
        if any(aim is not None and not aim.strip().startswith("psnr") for aim in (target, *targets.values())):
            raise InvalidInput(
                "with --encrypt, targets can be of PSNR only: bytes and bits would be counted before groups are "
                "sealed, which adds some 82 bytes each"
            )

    from ssic import batch as work
    from ssic.codec import check_quality
    from ssic.groups.label_maps import read_names

    recipe = work.Recipe(
        quality=60 if quality is None else check_quality(quality),  # here, rather than once per picture
        group_quality={str(name): q for name, q in group_qualities(group_quality).items()},
        target=_checked(target),
        group_targets=targets,
        order=split(order),
        rule=block_rule or ("any" if segment else "most"),  # type: ignore[arg-type]
        group_by=group_by or "instance",  # type: ignore[arg-type]
        names=None if names is None else read_names(names),
        segment=segment,
        keep=split(keep),
        min_score=min_score,
        max_groups=max_groups,
        grid=about.cells(),
        encrypt=secret,
        recipients=tuple(map(str, locks(recipient, False, None))) if secret is not None else (),
        hide=cast("Hide", hiding(hide_names, hide_outline)),
        model=model,
        engine=engine,
        effort=None if effort == 1 else effort,
    )
    known = work.read_records(output)
    earlier = work.earlier_root(output, known) if root is None else None
    found = work.find_pictures(pictures, root=root, earlier=earlier, recursive=recursive)
    if segment is not None:
        from ssic.groups.segment import check_classes, find_segmenter

        check_classes(find_segmenter(segment), recipe.keep)
    encoder = work.Encoder(recipe, recipe.identity(), output)
    output.mkdir(parents=True, exist_ok=True)
    if root is not None and (old := work.elsewhere(found, known, output)):
        picture, file = old[0]
        warn(
            f"{len(old):,} pictures have files of earlier runs, with another root, at other places, too: {file} is of "
            f"{picture}, for one. They are left there"
        )
    jobs = work.find_jobs(found, known, masks=masks, boxes=boxes, coco=coco)
    done: list[Record] = []
    try:
        with _finishing(runner == "local") as stopped:
            if runner == "ray":
                records = work.run_on_ray(jobs, encoder, workers)
            else:
                records = work.run_here(jobs, encoder, workers or work.default_workers(), stopped)
            with _advance(len(found)) as advance, work.appending(output) as append:
                for record in records:
                    if record.status != "kept" or record.picture != known[record.output].picture:
                        append(record)
                    advance(record)
                    done.append(record)
        if stopped() and len(done) < len(found):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        warn(
            f"interrupted: {len(done):,} of {len(found):,} pictures are done; the same command goes on from there"
        )
        raise
    wanted = {
        "--group-quality": recipe.group_quality,
        "--group-target": recipe.group_targets,
        "--order": recipe.order or (),
    }
    named = {name for names in wanted.values() for name in names}
    summary = _summary(done, named, time.perf_counter() - begun)
    if as_json:
        say(json.dumps(summary))
    else:
        _show(output, summary)
    for option, names_in in wanted.items():
        for name in sorted(set(names_in).intersection(summary["unmatched"])):
            warn(f'{option}: no picture has a group "{name}"')
    if summary["failed"]:
        if not as_json:
            warn(
                f"{summary['failed']:,} of {len(found):,} pictures failed; all are in {output / work.RECORDS}"
            )
        raise typer.Exit(FAILED_SOME)


def _checked(target: str | None) -> str | None:
    """The target as it is, if it is one."""
    if target is not None:
        from ssic.rate.targets import Target

        Target.of(target)
    return target


@contextmanager
def _finishing(works: bool) -> Iterator[Callable[[], bool]]:
    """Ctrl-C is noted, rather than raised where it strikes; a second one is raised. Yields what says whether there was
    one. Not so where signals can't be had, or are ignored, nor if it `works` not."""
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        with suppress(
            RuntimeError
        ):  # it struck where stderr was being written to; a notice is not worth more
            notice("Ctrl-C: the pictures at hand are finished and recorded")

    before = signal.getsignal(signal.SIGINT)
    if (
        not works
        or threading.current_thread() is not threading.main_thread()
        or before in (None, signal.SIG_IGN)
    ):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _advance(total: int) -> Iterator[Callable[[Record], None]]:
    """A progress bar on stderr, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_interactive) as progress:
        task = progress.add_task("", total=total)
        failed = 0

        def advance(record: Record) -> None:
            nonlocal failed
            failed += record.status == "failed"
            progress.update(task, advance=1, description=f"{failed} failed" if failed else "")

        yield advance


def _summary(done: Iterable[Record], named: Collection[str], seconds: float) -> dict[str, Any]:
    records = list(done)
    count = Counter(r.status for r in records)
    good = [r for r in records if r.status != "failed"]
    pixels = sum(r.width * r.height for r in good)
    matched = {name for r in good for name in r.matched}
    return {
        "pictures": len(records),
        **{status: count[status] for status in ("encoded", "kept", "failed")},
        "bytes": sum(r.bytes for r in good),
        "megapixels": round(pixels / 1e6, 3),
        "bpp": 8 * sum(r.bytes for r in good) / pixels if pixels else None,
        "groups": sum(r.groups for r in good),
        "seconds": round(seconds, 3),
        "pictures_per_second": round(count["encoded"] / seconds, 3),
        "unmatched": sorted(set(named) - matched) if good else [],
        "warnings": [{"picture": r.picture, "warning": note} for r in good for note in r.notes],
        "failures": [
            {"picture": r.picture, "error": r.error, "stale": r.output if r.stale else None}
            for r in records
            if r.status == "failed"
        ],
    }


def _show(output: Path, summary: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    out = console()
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key in ("pictures", "encoded", "kept", "failed", "groups", "bytes"):
        table.add_row(key, f"{summary[key]:,}")
    table.add_row("bits per pixel", "-" if summary["bpp"] is None else f"{summary['bpp']:.3f}")
    table.add_row("seconds", f"{summary['seconds']:,.1f}")
    table.add_row("pictures per second", f"{summary['pictures_per_second']:,.2f}")
    out.print(f"{output}:", soft_wrap=True)
    out.print(table)
    if summary["warnings"]:
        out.print(
            f"{len(summary['warnings']):,} warnings, such as {summary['warnings'][0]['picture']}: "
            f"{summary['warnings'][0]['warning']}",
            soft_wrap=True,
        )
    for failure in summary["failures"][:LISTED]:
        left = "" if failure["stale"] is None else f" ({output / failure['stale']} is of an earlier run)"
        out.print(f"failed: {failure['picture']}: {failure['error']}{left}", soft_wrap=True)
    if len(summary["failures"]) > LISTED:
        out.print(f"and {len(summary['failures']) - LISTED:,} more")
