"""What the commands of `ssic batch` share: their options, how they run, and what they say at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.batch import (
    CODED,
    RECORDS,
    SUFFIXES,
    Found,
    Job,
    Record,
    Work,
    appending,
    default_workers,
    earlier_root,
    elsewhere,
    find_files,
    read_records,
    run_here,
    run_on_ray,
)
from ssic.cli.interrupts import noting
from ssic.cli.options import AsJson, one_of
from ssic.cli.tables import table, terminal_width
from ssic.cli.terminal import FAILED_SOME, notice, progress_bar, say, say_json, warn
from ssic.imports import optional

_RUN = "How it runs"
_FINISHING = "Ctrl-C: the pictures at hand are finished and recorded"
LISTED = 20
"""Failures that the summary shows; all are in the file of records."""

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="IN...", help="Folders, patterns in quotes (** goes into subfolders), or files."),
]
OutputFolder = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the outputs, made if need be.")
]


@dataclass(frozen=True)
class RunOptions:
    """Where files are looked for, where outputs go, and how the work is done."""

    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Outputs lie in their folder as the inputs lie below DIR. Default: the root of earlier runs, else "
            "what all inputs have in common.",
        ),
    ] = None
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Search the subfolders of folders, too.")
    ] = False
    naming: Annotated[
        str,
        typer.Option(
            metavar="stem|full",
            help="Name of an output: that of the input with another suffix, or with a suffix more, where a.jpg lies "
            "beside a.png.",
        ),
    ] = "stem"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Files at a time. Default: one per core, and per four files at most; as many as a GPU has memory for.",
            rich_help_panel=_RUN,
        ),
    ] = None
    runner: Annotated[
        str,
        typer.Option(
            metavar="local|ray", help="Where to run: this machine, or a Ray cluster.", rich_help_panel=_RUN
        ),
    ] = "local"
    as_json: AsJson = False

    @property
    def here(self) -> bool:
        """Whether the work is done on this machine."""
        return self.runner == "local"

    def check(self) -> None:
        """Refuses, before the work, a value that can't be, or a runner that is not installed (`InvalidInput`)."""
        one_of("--runner", self.runner, ("local", "ray"))
        one_of("--naming", self.naming, ("stem", "full"))
        if not self.here:
            optional("ray", "ray", purpose="--runner ray")


def find(
    inputs: Sequence[str], output: Path, options: RunOptions, *, coded: bool = False, to: str = ".ssic"
) -> tuple[Found, dict[str, Record]]:
    """What there is to do, and what earlier runs did; says what was passed over.

    Args:
        coded: look for ssic files rather than for pictures.
        to: suffix of the outputs.
    """
    known = read_records(output)
    found = find_files(
        inputs,
        root=options.root,
        earlier=earlier_root(output, known) if options.root is None else None,
        recursive=options.recursive,
        suffixes=CODED if coded else SUFFIXES,
        to=to,
        naming="full" if options.naming == "full" else "stem",
    )
    if found.passed_over:
        kinds = ", ".join(
            f"{count:,} {suffix or 'without a suffix'}"
            for suffix, count in sorted(found.passed_over.items(), key=lambda item: (-item[1], item[0]))[:5]
        )
        notice(f"files of other kinds that were passed over: {sum(found.passed_over.values()):,} ({kinds})")
    if options.root is not None and (old := elsewhere(found.files, known, output)):
        picture, file = old[0]
        warn(
            f"{len(old):,} pictures have files of earlier runs, with another root, at other places, too: {file} is of "
            f"{picture}, for one. They are left there"
        )
    return found, known


def run(
    jobs: Iterable[Job],
    work: Work,
    found: Found,
    known: Mapping[str, Record],
    options: RunOptions,
    named: Mapping[str, Collection[str]],
    begun: float,
    *,
    gpu: bool = False,
    most: Callable[[], int | None] = lambda: None,
    sealed: Collection[str] | None = None,
) -> None:
    """Do the work, record it, and sum it up.

    Args:
        named: names of groups, by the option that gave them; which no file has is worth a warning.
        begun: when the command began, of `time.perf_counter`.
        gpu: on a Ray cluster, each task needs one.
        most: gives the number of workers on this machine that the device of the engine has room for, if it has a say.
        sealed: what is sealed where it is found; files in which nothing is are counted.

    Raises:
        typer.Exit: some failed.
        KeyboardInterrupt: it was interrupted, and the files at hand are finished.
    """
    output = work.folder
    output.mkdir(parents=True, exist_ok=True)
    done: list[Record] = []
    try:
        with noting(_FINISHING, if_so=True) as stopped:
            if options.here:
                workers = options.workers or default_workers(len(found.files), most())
                records = run_here(jobs, work, workers, stopped)
            else:
                records = run_on_ray(jobs, work, options.workers, stopped, gpu=gpu)
            _record(records, done, known, len(found.files), output)
        if stopped() and len(done) < len(found.files):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        warn(
            f"interrupted: {len(done):,} of {len(found.files):,} pictures are done; the same command goes on from there"
        )
        raise
    names = {name for names in named.values() for name in names}
    summary = _summary(done, work.DONE, names, found, sealed, time.perf_counter() - begun)
    if options.as_json:
        say_json(summary)
    else:
        _show(output, summary, work.DONE)
    for option, wanted in named.items():
        for name in sorted(set(wanted).intersection(summary["unmatched"])):
            warn(f'{option}: no picture has a group "{name}"')
    _end(summary, output, options.as_json)


def _record(
    records: Iterator[Record], done: list[Record], known: Mapping[str, Record], total: int, output: Path
) -> None:
    with progress_bar() as advance, appending(output) as append:
        for record in records:
            if record.status != "kept" or record.picture != known[record.output].picture:
                append(record)
            done.append(record)
            advance(len(done), total)


def _end(summary: Mapping[str, Any], output: Path, as_json: bool) -> None:
    if summary["damaged"]:
        warn(f"{len(summary['damaged']):,} pictures or files have groups that are damaged")
    if summary["failed"] and not as_json:
        warn(
            f"{summary['failed']:,} of {summary['pictures']:,} pictures failed; all are in {output / RECORDS}"
        )
    if summary["failed"] or summary["damaged"]:
        raise typer.Exit(FAILED_SOME)


def _summary(
    records: Sequence[Record],
    status: str,
    named: Collection[str],
    found: Found,
    sealed: Collection[str] | None,
    seconds: float,
) -> dict[str, Any]:
    count = Counter(r.status for r in records)
    good = [r for r in records if r.status != "failed"]
    pixels = sum(r.width * r.height for r in good)
    matched = {name for r in good for name in r.matched}
    return {
        "pictures": len(records),
        status: count[status],  # type: ignore[index]
        **{other: count[other] for other in ("kept", "failed")},
        "bytes": sum(r.bytes for r in good),
        "megapixels": round(pixels / 1e6, 3),
        "bpp": 8 * sum(r.bytes for r in good) / pixels if pixels else None,
        "groups": sum(r.groups for r in good),
        "seconds": round(seconds, 3),
        "pictures_per_second": round(count[status] / seconds, 3),  # type: ignore[index]
        "passed_over": dict(found.passed_over),
        **(
            {} if sealed is None else {"nothing_sealed": sum(set(sealed).isdisjoint(r.matched) for r in good)}
        ),
        "unmatched": sorted(set(named) - matched) if good else [],
        "damaged": [{"picture": r.picture, "groups": list(r.damaged)} for r in good if r.damaged],
        "warnings": [{"picture": r.picture, "warning": note} for r in good for note in r.notes],
        "failures": [
            {"picture": r.picture, "error": r.error, "stale": r.output if r.stale else None}
            for r in sorted(records, key=lambda r: r.output)
            if r.status == "failed"
        ],
    }


def _show(output: Path, summary: Mapping[str, Any], status: str) -> None:
    rows = [["", ""]]
    rows += [[key, f"{summary[key]:,}"] for key in ("pictures", status, "kept", "failed", "groups", "bytes")]
    if "nothing_sealed" in summary:
        rows.append(["nothing to seal", f"{summary['nothing_sealed']:,}"])
    rows.append(["bits per pixel", "-" if summary["bpp"] is None else f"{summary['bpp']:.3f}"])
    rows.append(["seconds", f"{summary['seconds']:,.1f}"])
    rows.append(["pictures per second", f"{summary['pictures_per_second']:,.2f}"])
    say(f"{output}:")
    say(table(rows, left=1, width=terminal_width(), headings=False))
    if summary["warnings"]:
        first = summary["warnings"][0]
        say(f"{len(summary['warnings']):,} warnings, such as {first['picture']}: {first['warning']}")
    for failure in summary["failures"][:LISTED]:
        left = "" if failure["stale"] is None else f" ({output / failure['stale']} is of an earlier run)"
        say(f"failed: {failure['picture']}: {failure['error']}{left}")
    if len(summary["failures"]) > LISTED:
        say(f"and {len(summary['failures']) - LISTED:,} more")
