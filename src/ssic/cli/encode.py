"""`ssic encode`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ssic.cli.effort import Effort, best_so_far, end_if_asked
from ssic.cli.files import check_local, check_output, check_stdin, is_pipe, read, split, write
from ssic.cli.keys import AskPassphrase, PassphraseFile, Recipients, locks
from ssic.cli.masks import NOTHING_SAID, MaskOptions, with_mask_options
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
    check_quality,
    group_qualities,
    target_of_file,
    targets_of_groups,
)
from ssic.cli.terminal import progress, say, show_file, warn
from ssic.errors import InvalidInput

if TYPE_CHECKING:
    from ssic.groups.mask import GroupMask

_Name = TypeVar("_Name", str, str | int)


@with_mask_options
def encode(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="Picture; - reads stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; - is stdout. By default IN with suffix .ssic."),
    ] = None,
    groups_from: MaskOptions = NOTHING_SAID,
    quality: Quality = None,
    group_quality: GroupQuality = None,
    target_bytes: TargetBytes = None,
    target_bpp: TargetBpp = None,
    target_psnr: TargetPsnr = None,
    group_target: GroupTarget = None,
    order: Order = None,
    model: Model = "small",
    engine: Engine = "auto",
    effort: Effort = 1,
    encrypt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Seal these groups, so that they are never stored in clear."),
    ] = None,
    recipient: Recipients = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
    hide_names: HideNames = False,
    hide_outline: HideOutline = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: that of info, and seconds.")] = False,
) -> None:
    """Encode a picture as a file of independent groups."""
    begun = time.perf_counter()
    groups_from.check()
    if quality is not None:
        check_quality(quality)
    exceptions = group_qualities(group_quality)
    target = target_of_file({"bytes": target_bytes, "bpp": target_bpp, "psnr": target_psnr}, quality)
    group_targets = targets_of_groups(group_target)
    secret = split(encrypt)
    if secret is None and (recipient or passphrase or passphrase_file or hide_names or hide_outline):
        raise InvalidInput("recipients, passphrases and hiding are of use with --encrypt only")
    if secret is not None and (target_bytes is not None or target_bpp is not None):
        raise InvalidInput(
            "--target-bytes and --target-bpp count the file before groups are sealed, which adds some 82 bytes each: "
            "encode to a smaller target first, then use ssic encrypt"
        )
    if output is None:
        if is_pipe(picture) or not picture.name:
            raise InvalidInput("a picture without a name of its own needs an output: -o FILE, or -o -")
        output = picture.with_suffix(".ssic")
    inputs = (picture, *groups_from.files, *(recipient or ()), passphrase_file)
    check_local((picture, *groups_from.local, *(recipient or ()), passphrase_file, model))
    check_output(output, (*inputs, model), as_json=as_json)
    check_stdin(inputs)
    keys = None if secret is None else locks(recipient, passphrase, passphrase_file)

    with best_so_far(effort) as ending, progress("reading the picture") as stage:
        from ssic.codec import Codec
        from ssic.file import SsicFile
        from ssic.pictures.read import load_picture

        loaded = load_picture(read(picture) if is_pipe(picture) else picture)
        stage("finding the groups" if groups_from.segment else "reading the mask")
        groups = groups_from.maker()(loaded, picture.name)
        wanted = split(order)
        if groups_from.segment is not None:
            exceptions = {name: exceptions[name] for name in _found(groups, exceptions, "--group-quality")}
            group_targets = {n: group_targets[n] for n in _found(groups, group_targets, "--group-target")}
            wanted = _found(groups, wanted or (), "--order")
        if secret is not None:
            from ssic.protect import check_there

            check_there(groups, secret, "--encrypt")
            _check_sealed_targets(groups, secret, group_targets)
        stage("loading the model")
        rate: dict[str, Any] = {
            "quality": quality,
            "group_quality": exceptions,
            "order": wanted,
            "effort": effort,
            "progress": stage,
            "stopped": ending,
        }
        reached: dict[str, Any] = {}
        codec = Codec.load(model, engine=engine)
        met = codec.encode(loaded, groups, target=target, group_targets=group_targets, **rate)
        data = met.data
        if target is not None or group_targets:
            reached = {
                "file": met.reached,
                "groups": {groups.names[g]: value for g, value in sorted(met.groups_reached.items())},
                "passes": met.passes,
                "encodes": round(met.encodes, 3),
            }
        if secret is not None and keys is not None:
            from ssic.protect import encrypt as seal

            stage("encryption")
            data = bytes(seal(data, secret, keys, hide=hiding(hide_names, hide_outline)))  # type: ignore[arg-type]
    info = SsicFile(data).info()  # first: what can't be read again shall not replace what is there
    write(output, data)
    seconds = round(time.perf_counter() - begun, 3)
    if as_json:
        extra = {"engine": codec.engine.name, "seconds": seconds}
        say(json.dumps(info | ({"reached": reached} if reached else {}) | extra))
    else:
        show_file("stdout" if is_pipe(output) else str(output), info, stderr=is_pipe(output))
        if reached and not is_pipe(output):
            say(_reached(reached, target, group_targets))
    end_if_asked(ending, output)


def _reached(reached: dict[str, Any], target: str | None, group_targets: dict[str | int, str]) -> str:
    parts = [] if target is None else [f"{target} met with {reached['file']:.10g}"]
    parts += [f"{name} comes to {value:.10g}" for name, value in reached["groups"].items()]
    return f"{'; '.join(parts)}; {reached['encodes']:g} encodes in {reached['passes']} passes"


def _check_sealed_targets(groups: GroupMask, secret: list[str], targets: dict[str | int, str]) -> None:
    sealed = set(groups.resolve(secret))
    for name, target in targets.items():
        if not target.strip().startswith("psnr") and sealed.intersection(groups.resolve(name)):
            raise InvalidInput(
                f"--group-target {name}={target} counts the segment before it is sealed, which adds some 82 bytes: "
                "encode to a smaller target first, then use ssic encrypt"
            )


def _found(groups: GroupMask, names: Iterable[_Name], option: str) -> list[_Name]:
    """Those of the names that groups have. What a segmenter finds nobody knows beforehand, so that the others are
    worth a warning, not an error."""
    found = []
    for name in names:
        if name in groups:
            found.append(name)
        else:
            warn(f'{option}: nothing called "{name}" was found')
    return found
