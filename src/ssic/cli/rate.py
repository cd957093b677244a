"""The options that say what a file may cost, the same for every command that encodes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ssic.cli.files import split
from ssic.errors import InvalidInput
from ssic.rate.targets import Target

_PANEL = "Rate and order"


def _option(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class RateOptions:
    """What was said about rate and order. An option that was not given is None."""

    quality: Annotated[int | None, _option("1 to 100, higher is better. Default: 60.", "N")] = None
    group_quality: Annotated[
        list[str] | None,
        _option(
            "Qualities of single groups; repeatable. A name or id goes before a class, in whatever order.",
            "NAME=N,...",
        ),
    ] = None
    target_bytes: Annotated[
        int | None, _option("Instead of --quality: the best file of at most N bytes.", "N")
    ] = None
    target_bpp: Annotated[
        float | None, _option("Instead of --quality: the best file of at most X bits per pixel.", "X")
    ] = None
    target_psnr: Annotated[
        float | None, _option("Instead of --quality: the smallest file of at least so many dB.", "DB")
    ] = None
    group_target: Annotated[
        list[str] | None,
        _option(
            "Targets of single groups, as in person=psnr:35,background=bytes:2000; bpp, too. Repeatable.",
            "NAME=KIND:VALUE,...",
        ),
    ] = None
    order: Annotated[
        list[str] | None,
        _option(
            "Groups that lie first in the file; the others follow, small before large. Repeatable.",
            "NAME,...",
        ),
    ] = None

    def read(self) -> Rate:
        """The values, checked.

        Raises:
            InvalidInput: two options that exclude each other, or a value that can't be.
        """
        if self.quality is not None:
            check_quality(self.quality)
        targets = {"bytes": self.target_bytes, "bpp": self.target_bpp, "psnr": self.target_psnr}
        return Rate(
            self.quality,
            group_qualities(self.group_quality),
            _target_of_file(targets, self.quality),
            _targets_of_groups(self.group_target),
            split(self.order),
        )


@dataclass(frozen=True)
class Rate:
    """What a file may cost; names as in `ssic.encode`."""

    quality: int | None
    group_quality: dict[str | int, int]
    target: str | None
    group_targets: dict[str | int, str]
    order: list[str] | None


def _target_of_file(values: dict[str, float | None], quality: int | None) -> str | None:
    """The target of the file that one of `--target-bytes`, `--target-bpp` and `--target-psnr` gives, if one does."""
    asked = {kind: value for kind, value in values.items() if value is not None}
    options = [f"--target-{kind}" for kind in asked] + ["--quality"] * (quality is not None)
    if asked and len(options) > 1:
        raise InvalidInput(
            f"{' and '.join(options)} exclude each other: each settles the quality of the file"
        )
    for kind, value in asked.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"--target-{kind} {value}: a number above 0 was expected")
        Target(kind, value)
    return next((f"{kind}:{value}" for kind, value in asked.items()), None)


def group_qualities(values: list[str] | None) -> dict[str | int, int]:
    """Qualities of groups, from the values of `--group-quality`; checked, as they may be for groups not found."""
    exceptions: dict[str | int, int] = {}
    for item in split(values) or ():
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


def _targets_of_groups(values: list[str] | None) -> dict[str | int, str]:
    """Targets of groups, from the values of `--group-target`; checked."""
    targets: dict[str | int, str] = {}
    for item in split(values) or ():
        name, _, target = item.rpartition("=")
        if not name or ":" not in target:
            raise InvalidInput(
                f"--group-target {item}: a group and its target were expected, as in person=psnr:35"
            )
        if Target.of(targets.setdefault(name, target)) != Target.of(target):
            raise InvalidInput(f"--group-target: {name} is given two targets, {targets[name]} and {target}")
    return targets
