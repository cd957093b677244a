"""`ssic eval rd` and `ssic eval selective`, and what `ssic eval task` has in common with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.effort import Effort
from ssic.cli.files import split, write
from ssic.cli.options import AsJson, Engine, Model
from ssic.cli.tables import table, terminal_width
from ssic.cli.terminal import progress, say
from ssic.errors import InvalidInput
from ssic.eval.peers import available, find_peers, read_curves
from ssic.eval.pictures import find_cases
from ssic.eval.plot import choose
from ssic.eval.plot import draw as draw_plot
from ssic.eval.rd import QUALITIES, RdOptions, run_rd
from ssic.eval.report import Table, about, document, rd_tables, selective_tables, to_json
from ssic.eval.selective import SelectiveOptions, run_selective
from ssic.model.weights import DEFAULT_MODEL
from ssic.storage.atomic import replacing

Images = Annotated[Path, typer.Option(metavar="DIR", help="Folder of pictures; subfolders are not searched.")]
RunPeer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME,...", help="Other codecs to encode with here: jpeg, webp, jpeg2000, avif, heic."
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for JSON, tables and plot, made if need be.")
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of what is measured, for later runs; several at a time may share it. Default: nothing is kept.",
    ),
]


def rd(
    images: Images,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of label maps named like the pictures. Default: one group."),
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N,...", help="Qualities of ssic. BD-rates need four. Default: 10, 20, ... 100."
        ),
    ] = None,
    peers: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="JSON with curves of other codecs, or earlier results; repeatable."
        ),
    ] = None,
    run_peer: RunPeer = None,
    ablate_structure: Annotated[
        bool, typer.Option("--ablate-structure", help="Measure with one group, too: what the groups cost.")
    ] = False,
    bpp_range: Annotated[
        str | None,
        typer.Option(metavar="LOW-HIGH", help="Take BD-rates from points of ssic with these rates only."),
    ] = None,
    draw: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Curves from files that the plot shows. Default: a selection."),
    ] = None,
    effort: Effort = 1,
    model: Model = DEFAULT_MODEL,
    engine: Engine = "auto",
    work: Work = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure rate-distortion curves, BD-rates against other codecs, and what the groups cost."""
    qualities, limits = read_qualities(quality), _range(bpp_range)
    with progress("reading the curves", log=True) as stage:
        curves = [curve for path in peers or () for curve in read_curves(path)]
        drawn = choose(curves, split(draw))
        options = RdOptions(
            cases=find_cases(images, masks),
            qualities=qualities or QUALITIES,
            peers=find_peers(split(run_peer) or ()),
            curves=curves,
            structure=ablate_structure,
            bpp_range=limits,
            model=model,
            engine=engine,
            effort=effort,
            work=work,
        )
        _make(out)
        results = run_rd(options, stage)
        if out is not None:
            stage("drawing")
            with replacing(out / "rd.png") as temporary:
                draw_plot(results, drawn, temporary)
    emit("rd", "Rate and distortion", results, rd_tables, out, as_json)


def selective(
    images: Images,
    masks: Annotated[Path, typer.Option(metavar="DIR", help="Folder of label maps named like the pictures.")],
    psnr: Annotated[float, typer.Option(metavar="DB", help="PSNR of the foreground to be reached.")] = 33,
    background: Annotated[
        int, typer.Option(metavar="ID", help="Group that is not sent; all others are.")
    ] = 0,
    run_peer: RunPeer = None,
    effort: Effort = 1,
    model: Model = DEFAULT_MODEL,
    engine: Engine = "auto",
    work: Work = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure the bytes of sending the foreground only, at equal PSNR. Other codecs are AVIF, and HEIC where it is
    installed, by default."""
    with progress("reading the masks", log=True) as stage:
        options = SelectiveOptions(
            cases=find_cases(images, masks),
            target=psnr,
            background=background,
            peers=find_peers(split(run_peer) or available(("avif", "heic"))),
            model=model,
            engine=engine,
            effort=effort,
            work=work,
        )
        _make(out)
        results = run_selective(options, stage)
    emit("selective", "Sending the foreground only", results, selective_tables, out, as_json)


def _make(out: Path | None) -> None:
    # Before the hours of measuring, so that a path that can't be written is told at once.
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)


def emit(
    name: str,
    title: str,
    results: dict[str, Any],
    tables: Callable[[dict[str, Any]], Sequence[Table]],
    out: Path | None,
    as_json: bool,
    notes: Callable[[dict[str, Any]], str] | None = None,
) -> None:
    """Write JSON and tables to the folder, and print one of them; `notes` is text between title and tables."""
    made, text = tables(results), to_json(results)
    said = notes(results) if notes is not None else None
    if out is not None:
        write(out / f"{name}.json", text.encode() + b"\n")
        write(out / f"{name}.md", document(title, results, made, said).encode())
    if as_json:
        print(text)
        return
    say(about(results))
    if said:
        say(said.replace("*", ""))
    for one in made:
        say(f"\n{one.title}\n")
        say(table([one.columns, *one.rows], left=one.left, width=terminal_width()))


def read_qualities(values: list[str] | None) -> list[int] | None:
    """The numbers of --quality."""
    items = split(values)
    if items is None:
        return None
    if wrong := [item for item in items if not re.fullmatch("[0-9]{1,3}", item) or not 1 <= int(item) <= 100]:
        raise InvalidInput(f"--quality {wrong[0]}: numbers from 1 to 100 were expected, as in 10,20,30")
    return [int(item) for item in items]


def _range(values: str | None) -> tuple[float, float] | None:
    if values is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)-([0-9]*\.?[0-9]+)", values)
    if not match or float(match[1]) >= float(match[2]):
        raise InvalidInput(f"--bpp-range {values}: two rates were expected, as in 0.15-1.5")
    return float(match[1]), float(match[2])
