"""`ssic encode`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ssic.batch.coding import CodedPicture, encode_picture
from ssic.cli.effort import Effort, best_so_far, end_if_asked
from ssic.cli.files import check_local, check_output, check_stdin, is_stdin, is_stdout, split, write
from ssic.cli.keys import Encrypted, HideOptions, LockOptions
from ssic.cli.limits import LimitOptions
from ssic.cli.masks import MaskOptions
from ssic.cli.options import AsJson, Engine, Model
from ssic.cli.pictures import PictureOptions
from ssic.cli.rate import Rate, RateOptions
from ssic.cli.tables import show_file
from ssic.cli.terminal import noted, progress, say, say_json, warn
from ssic.codec import Codec
from ssic.errors import InvalidInput
from ssic.file import SsicFile
from ssic.groups.mask import GroupMask
from ssic.groups.recipe import MaskRecipe
from ssic.model.weights import DEFAULT_MODEL
from ssic.pictures.read import Picture
from ssic.protect import encrypt as seal
from ssic.protect import those_there

_Name = TypeVar("_Name", str, str | int)


def encode(
    pictures: Annotated[list[Path], typer.Argument(metavar="IN", help="Picture: a path, or - for stdin.")],
    masks: MaskOptions,
    rates: RateOptions,
    reading: PictureOptions,
    limits: LimitOptions,
    *,
    encrypt: Encrypted = None,
    recipients: LockOptions,
    hiding: HideOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="ssic file to write; - is stdout. Default: IN with suffix .ssic.",
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    engine: Engine = "auto",
    effort: Effort = 1,
    as_json: AsJson = False,
) -> None:
    """Encode a picture as a file of independent groups."""
    begun = time.perf_counter()
    picture = _one(pictures)
    inputs = (picture, *masks.files, *recipients.files)
    check_local((picture, *masks.local, *recipients.files, model))
    check_stdin(inputs)
    recipe, rate = masks.recipe(), rates.read()
    reading.wishes()
    secret = split(encrypt)
    _check_sealing(secret, rate, recipients.given or hiding.given)
    hiding.check()
    if output is None:
        output = _output_of(picture)
    check_output(output, (*inputs, model), as_json=as_json)
    keys = None if secret is None else recipients.locks()
    if secret is not None and recipe.segmenter is not None:
        recipe = replace(recipe, always=secret)

    def load_codec() -> Codec:
        return Codec.load(model, engine=engine)

    with noted() as notes, best_so_far(effort) as ending, progress("reading the picture") as stage:
        loaded = reading.load(picture, limits)
        stage("reading the mask" if recipe.segmenter is None else "finding the groups")
        groups = masks.make(recipe, loaded, picture)
        if secret is not None:
            secret = those_there(groups, secret, "--encrypt", recipe.classes)
        coded = _code(loaded, groups, rate, secret, recipe, load_codec, effort, ending, stage)
        data = coded.data
        if secret and keys is not None:
            stage("encryption")
            data = bytes(seal(data, secret, keys, **hiding.how()))
    info = SsicFile(data).info()  # first: what can't be read again shall not replace what is there
    write(output, data)
    _report(output, info, coded, rate, as_json, notes, begun)
    end_if_asked(ending, output)


def _one(pictures: list[Path]) -> Path:
    if len(pictures) > 1:
        raise InvalidInput(
            f"encode takes one picture, and {len(pictures)} were given: ssic batch encode PICTURES... -o DIR takes many"
        )
    if pictures[0].is_dir():
        raise InvalidInput(
            f"{pictures[0]} is a folder: ssic batch encode {pictures[0]} -o DIR encodes its pictures"
        )
    return pictures[0]


def _output_of(picture: Path) -> Path:
    if is_stdin(picture) or not picture.name:
        raise InvalidInput("a picture without a name of its own needs an output: -o FILE, or -o -")
    return picture.with_suffix(".ssic")


def _check_sealing(secret: list[str] | None, rate: Rate, told: bool) -> None:
    if secret is None and told:
        raise InvalidInput("recipients, passphrases and hiding are of use with --encrypt only")
    if secret is not None and rate.target is not None and not rate.target.startswith("psnr"):
        raise InvalidInput(
            "--target-bytes and --target-bpp count the file before groups are sealed, which adds some 115 bytes each: "
            "encode to a smaller target first, then use ssic encrypt"
        )


def _code(
    picture: Picture,
    groups: GroupMask,
    rate: Rate,
    secret: list[str] | None,
    recipe: MaskRecipe,
    load_codec: Callable[[], Codec],
    effort: int,
    stopped: Callable[[], bool],
    stage: Callable[[str], None],
) -> CodedPicture:
    if recipe.segmenter is not None:
        rate = _of_those_found(groups, rate)
    if secret:
        _check_sealed_targets(groups, secret, rate.group_targets)
    stage("loading the model")
    return encode_picture(
        load_codec(),
        picture,
        groups,
        quality=rate.quality,
        group_quality=rate.group_quality,
        target=rate.target,
        group_targets=rate.group_targets,
        order=rate.order,
        effort=effort,
        progress=stage,
        stopped=stopped,
    )


def _of_those_found(groups: GroupMask, rate: Rate) -> Rate:
    """What was said of groups that a segmenter found. What it finds nobody knows beforehand, so that the others are
    worth a warning, not an error."""

    def found(names: Iterable[_Name], option: str) -> list[_Name]:
        names = list(names)
        for name in names:
            if name not in groups:
                warn(f'{option}: nothing called "{name}" was found')
        return [name for name in names if name in groups]

    qualities, targets = rate.group_quality, rate.group_targets
    return replace(
        rate,
        group_quality={name: qualities[name] for name in found(qualities, "--group-quality")},
        group_targets={name: targets[name] for name in found(targets, "--group-target")},
        order=found(rate.order or (), "--order"),
    )


def _check_sealed_targets(groups: GroupMask, secret: list[str], targets: Mapping[str | int, str]) -> None:
    sealed = set(groups.resolve(secret))
    for name, target in targets.items():
        if not target.strip().startswith("psnr") and sealed.intersection(groups.resolve(name)):
            raise InvalidInput(
                f"--group-target {name}={target} counts the segment before it is sealed, which adds some 115 bytes: "
                "encode to a smaller target first, then use ssic encrypt"
            )


def _report(
    output: Path,
    info: dict[str, Any],
    coded: CodedPicture,
    rate: Rate,
    as_json: bool,
    notes: list[str],
    begun: float,
) -> None:
    reached = coded.reached
    if as_json:
        ran = {"engine": coded.engine, "seconds": round(time.perf_counter() - begun, 3)}
        said: dict[str, Any] = {"reached": reached} if reached else {}
        said |= {"notes": notes} if notes else {}
        say_json(info | said | ran)
        return
    piped = is_stdout(output)
    show_file("stdout" if piped else str(output), info, stderr=piped)
    if reached:
        parts = [] if rate.target is None else [f"{rate.target} met with {reached['file']:.10g}"]
        parts += [f"{name} comes to {value:.10g}" for name, value in reached["groups"].items()]
        tried = f"{reached['encodes']:g} encodes in {reached['passes']} passes"
        say(f"{'; '.join(parts)}; {tried}", stderr=piped)
