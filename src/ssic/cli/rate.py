"""What a file may cost and what codes it: the options that say it, the same for every command that encodes."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from ssic.cli.files import split
from ssic.errors import InvalidInput

_PANEL = "Rate and order"

Quality = Annotated[
    int | None, typer.Option(help="1 to 100, higher is better; 60 by default.", rich_help_panel=_PANEL)
]
GroupQuality = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=QUALITY,...", help="Exceptions; repeatable.", rich_help_panel=_PANEL),
]
TargetBytes = Annotated[
    int | None,
    typer.Option(help="Choose qualities: a file of at most so many bytes.", rich_help_panel=_PANEL),
]
TargetBpp = Annotated[float | None, typer.Option(help="The same in bits per pixel.", rich_help_panel=_PANEL)]
TargetPsnr = Annotated[
    float | None, typer.Option(help="Choose qualities: at least so many dB.", rich_help_panel=_PANEL)
]
GroupTarget = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=KIND:VALUE,...",
        help="Targets of groups, as in person=psnr:35,background=bytes:2000; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Order = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,...", help="Groups that shall lie first in the file.", rich_help_panel=_PANEL),
]
Model = Annotated[str, typer.Option(metavar="NAME|FILE", help="Installed model, or path of a weights file.")]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|onnx|torch|torch:DEVICE",
        help="What runs the networks; auto takes a GPU where torch finds one, else ONNX Runtime.",
    ),
]


def target_of_file(given: dict[str, float | None], quality: int | None) -> str | None:
    """The target of the file that one of `--target-bytes`, `--target-bpp` and `--target-psnr` gives, if one does."""
    asked = {kind: value for kind, value in given.items() if value is not None}
    options = [f"--target-{kind}" for kind in asked] + ["--quality"] * (quality is not None)
    if asked and len(options) > 1:
        raise InvalidInput(
            f"{' and '.join(options)} exclude each other: each settles the quality of the file"
        )
    for kind, value in asked.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"--target-{kind} {value}: a number above 0 was expected")
    return next((f"{kind}:{value}" for kind, value in asked.items()), None)


def group_qualities(given: list[str] | None) -> dict[str | int, int]:
    """Qualities of groups, from the values of `--group-quality`; checked, as they may be for groups not found."""
    exceptions: dict[str | int, int] = {}
    for item in split(given) or ():
        name, _, value = item.rpartition("=")
        if not name or not re.fullmatch(" *[0-9]{1,3}", value):
            raise InvalidInput(
                f"--group-quality {item}: a group and its quality were expected, as in person=85"
            )
        check_quality(int(value), f"--group-quality {item}")
        if exceptions.setdefault(name, int(value)) != int(value):
            raise InvalidInput(
                f"--group-quality: {name} is given two qualities, {exceptions[name]} and {value}"
            )
    return exceptions


def check_quality(quality: int, option: str | None = None) -> None:
    """Refuses a quality that there isn't (`InvalidInput`), before a model or a segmenter is loaded.

    Args:
        option: what was given, for the message.
    """
    if not 1 <= quality <= 100:
        raise InvalidInput(f"{option or f'--quality {quality}'}: quality is an integer from 1 to 100")


def targets_of_groups(given: list[str] | None) -> dict[str | int, str]:
    """Targets of groups, from the values of `--group-target`; checked."""
    targets: dict[str | int, str] = {}
    if given is None:
        return targets
    from ssic.rate.targets import Target

    for item in split(given) or ():
        name, _, target = item.rpartition("=")
        if not name or ":" not in target:
            raise InvalidInput(
                f"--group-target {item}: a group and its target were expected, as in person=psnr:35"
            )
        if Target.of(targets.setdefault(name, target)) != Target.of(target):
            raise InvalidInput(f"--group-target: {name} is given two targets, {targets[name]} and {target}")
    return targets
