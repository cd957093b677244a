"""Encoding to a target: so many bytes, or so much PSNR, for the file or for single groups.

What a group costs at a quality depends on nothing else (law 1), so each is coded once per quality that is tried, its
substream is kept, and a file of any mixture of those qualities is put together, not encoded. What comes of it is
therefore what `encode` gives with the same qualities, byte for byte.

Where coding takes long (groups that are refined), a quicker coder of the same groups, whose results are much alike,
tells the search where to look. What is promised holds for the slower one, as it is measured with that one alone.

The analysis transform is told the quality, so it runs for each quality as well. Reusing its output from a quality five
steps away moves the bytes by 0.3 % (thirty steps: 2 %): good enough to steer by, but not the file that `encode` would
give; and of about three qualities that the search needs, two would have to be coded for real all the same.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ssic.arguments import is_number
from ssic.blocks import Size
from ssic.errors import InvalidInput, UnreachableTarget
from ssic.groups.mask import GroupMask
from ssic.model.config import QUALITIES
from ssic.rate.search import Search, accepted, usual_psnr, usual_rate

KINDS = ("bytes", "bpp", "psnr")

CLOSE = 0.01
"""A file that is by no more than this share below its target is close enough."""

ROUNDS = 6
"""How far the quality of a group may rise above that of the others, to come closer to a target of the file."""


@dataclass(frozen=True)
class Target:
    """What a file or a group shall come to.

    Attributes:
        kind: "bytes" or "bpp" (bits per pixel), of which there may be fewer; or "psnr" (dB): there may be more.
        value: how many.

    Raises:
        InvalidInput: another kind, or not a positive number.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise InvalidInput(f"a target is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not is_number(self.value):
            raise InvalidInput(f"the {self.kind} of a target are a number, not {self.value!r:.80}")
        if not 0 < self.value <= sys.float_info.max:
            raise InvalidInput(f"a target of {self.value!r:.80} {self.kind} can't be met")

    def __str__(self) -> str:
        return f"{self.value:g} dB" if self.kind == "psnr" else f"{self.value:.10g} {self.kind}"

    @classmethod
    def of(cls, target: Target | str) -> Target:
        """The target that a text like "psnr:35" stands for (`InvalidInput` if it is none).

        >>> Target.of("bytes:20000")
        Target(kind='bytes', value=20000.0)
        """
        if isinstance(target, Target):
            return target
        if not isinstance(target, str):
            raise InvalidInput(
                f'a target is written like "bytes:20000" or "psnr:35", or is a Target, not {target!r:.80}'
            )
        match = re.fullmatch(r" *(\w+) *: *([0-9]{0,15}\.?[0-9]{0,15}) *", target)
        if not match or not any(c.isdigit() for c in match[2]):
            raise InvalidInput(
                f"target {target!r}: a kind and a number were expected, as in psnr:35 or bytes:20000"
            )
        return cls(match[1], float(match[2]))


@dataclass(frozen=True)
class Trial:
    """A group, coded at one quality.

    Attributes:
        substream: its bytes.
        squared_error: of its decoded pixels, summed over samples of 0 to 255; None if it was not decoded.
    """

    substream: bytes = field(repr=False)
    squared_error: float | None = None


class GroupCoder(Protocol):
    """What codes the groups of one picture, and puts files together. (`ssic.codec` has the one that is used.)"""

    def trials(self, qualities: Mapping[int, int], *, decode: bool) -> Mapping[int, Trial]:
        """The groups that `qualities` names, by id, each at its quality; with `decode`, their errors too."""
        ...

    def assemble(self, qualities: Mapping[int, int], substreams: Mapping[int, bytes]) -> bytes:
        """The file that holds these substreams, one for each group."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Qualities that meet targets.

    Attributes:
        qualities: of each group, by id.
        substreams: of each group at its quality, by id.
        data: the file that they make.
        reached: what the target of the file came to, in its own unit; None if there was none.
        groups_reached: the same for the targets of groups, by id.
        passes: runs of the encoder, each over some or all groups.
        encodes: the same in encodes of the whole picture, by the number of blocks coded.
    """

    qualities: Mapping[int, int]
    substreams: Mapping[int, bytes] = field(repr=False)
    data: bytes = field(repr=False)
    reached: float | None
    groups_reached: Mapping[int, float]
    passes: int
    encodes: float


class _Trials:
    """What groups come to at qualities: coded when first asked for, kept from then on."""

    def __init__(self, coder: GroupCoder, groups: GroupMask, size: Size) -> None:
        self._coder, self._groups = coder, groups
        pixels = np.bincount(groups.to_pixels(*size).ravel(), minlength=256)
        self.pixels = {g: int(pixels[g]) for g in groups.groups}
        self.substreams: dict[tuple[int, int], bytes] = {}
        self._errors: dict[tuple[int, int], float] = {}
        self.passes = self._coded = 0

    @property
    def encodes(self) -> float:
        return self._coded / sum(map(self._groups.blocks, self._groups.groups))

    def run(self, qualities: Mapping[int, int], errors: bool) -> None:
        """Code what is not known yet; with `errors`, decode it too."""
        known = self._errors if errors else self.substreams
        todo = {g: q for g, q in qualities.items() if (g, q) not in known}
        if not todo:
            return
        self.passes += 1
        self._coded += sum(map(self._groups.blocks, todo))
        for g, trial in self._coder.trials(todo, decode=errors).items():
            self.substreams[g, todo[g]] = trial.substream
            if trial.squared_error is not None:
                self._errors[g, todo[g]] = trial.squared_error

    def size(self, group: int, quality: int) -> int:
        """Bytes of its substream."""
        return len(self.substreams[group, quality])

    def psnr(self, qualities: Mapping[int, int]) -> float:
        """Of the pixels of these groups at these qualities."""
        error = sum(self._errors[g, q] for g, q in qualities.items())
        samples = 3 * sum(self.pixels[g] for g in qualities)
        return 10 * math.log10(255**2 * samples / error) if error else math.inf

    def data(self, qualities: Mapping[int, int]) -> bytes:
        """The file of a mixture."""
        return self._coder.assemble(qualities, {g: self.substreams[g, q] for g, q in qualities.items()})


def meet_targets(
    coder: GroupCoder,
    groups: GroupMask,
    size: Size,
    fixed: Mapping[int, int],
    target: Target | str | None,
    group_targets: Mapping[str | int, Target | str],
    order: Sequence[int],
    quick: GroupCoder | None = None,
) -> Outcome:
    """Find the qualities that meet the targets.

    Args:
        coder: of the picture.
        groups: of the picture.
        size: (width, height) of the picture in pixels.
        fixed: qualities that are given, by group id. Groups with a target of their own may be among them; without a
            `target` of the file all others must be.
        target: of the file.
        group_targets: of groups, by name, class or id.
        order: of the segments, all ids.
        quick: a quicker coder of the picture, to find out about where the qualities lie.

    Raises:
        InvalidInput: a target is none, a group has two, or no group is left for that of the file.
        UnreachableTarget: no quality meets a target.
    """
    wanted = groups.assign({name: Target.of(t) for name, t in group_targets.items()}, "group_targets")
    whole = None if target is None else Target.of(target)
    trials = _Trials(coder, groups, size)
    scouts = None if quick is None else _Trials(quick, groups, size)
    found = _of_groups(trials, scouts, groups, wanted)
    qualities = {g: q for g, q in fixed.items() if g not in wanted} | found
    free = [g for g in groups.groups if g not in qualities]
    if whole is not None and not free:
        raise InvalidInput(
            f"no group is left whose quality could be chosen for {whole}: all have one, or a target"
        )
    reached = None
    if whole is not None:
        of_file = _File(trials, order, size[0] * size[1], whole)
        expected = None
        if scouts is not None:
            expected = replace(of_file, trials=scouts).passing(qualities, free).course
        qualities = of_file.search(qualities, free, expected)
        reached = of_file.value(qualities)
    trials.run(qualities, False)
    return Outcome(
        qualities=dict(sorted(qualities.items())),
        substreams={g: trials.substreams[g, q] for g, q in sorted(qualities.items())},
        data=trials.data(qualities),
        reached=reached,
        groups_reached={g: _group_value(trials, g, t, qualities[g]) for g, t in wanted.items()},
        passes=trials.passes + (0 if scouts is None else scouts.passes),
        encodes=trials.encodes + (0 if scouts is None else scouts.encodes),
    )


def _search(target: Target, pixels: int, expected: Callable[[int], float] | None = None) -> Search:
    """For a target of something with so many pixels, whose course is as expected; the usual one by default."""
    wanted = _on_course(target, target.value, pixels)
    if target.kind == "psnr":
        return Search(wanted, expected or usual_psnr, inclusive=False)
    return Search(wanted, expected or usual_rate)


def _on_course(target: Target, value: float, pixels: int) -> float:
    """A value in the target's unit as the search takes it: dB, or log2 of bits per pixel."""
    if target.kind == "psnr":
        return value
    return math.log2(max(8 * value / pixels if target.kind == "bytes" else value, 1e-9))


def _group_value(trials: _Trials, group: int, target: Target, quality: int) -> float:
    if target.kind == "psnr":
        return trials.psnr({group: quality})
    size = trials.size(group, quality)
    return float(size) if target.kind == "bytes" else 8 * size / trials.pixels[group]


def _run(searches: Mapping[int, Search], trials: _Trials, wanted: Mapping[int, Target]) -> None:
    """Brings searches for groups to their end; all groups take each step together."""
    while asked := {g: q for g, s in searches.items() if (q := s.next()) is not None}:
        for errors in (False, True):
            part = {g: q for g, q in asked.items() if (wanted[g].kind == "psnr") == errors}
            trials.run(part, errors)
        for g, q in asked.items():
            value = _group_value(trials, g, wanted[g], q)
            searches[g].add(q, _on_course(wanted[g], value, trials.pixels[g]))


def _of_groups(
    trials: _Trials, scouts: _Trials | None, groups: GroupMask, wanted: Mapping[int, Target]
) -> dict[int, int]:
    """Qualities that meet the targets of groups."""
    searches = {g: _search(target, trials.pixels[g]) for g, target in wanted.items()}
    if scouts is not None:
        _run(searches, scouts, wanted)
        searches = {g: _search(t, trials.pixels[g], searches[g].course) for g, t in wanted.items()}
    _run(searches, trials, wanted)
    found = {}
    for g, target in wanted.items():
        quality = searches[g].lower + (target.kind == "psnr")
        if not 1 <= quality <= QUALITIES:
            end = 1 if quality < 1 else QUALITIES
            reached = Target(target.kind, _group_value(trials, g, target, end))
            raise _unreachable(f'"{groups.names[g]}"', target, end, reached)
        found[g] = quality
    return found


def _unreachable(
    what: str, target: Target, quality: int, reached: Target, because: str = ""
) -> UnreachableTarget:
    return UnreachableTarget(
        f"{what} can't be brought to {target}: at quality {quality} it comes to {reached}{because}"
    )


@dataclass(frozen=True)
class _File:
    """A file of mixed qualities, and its target."""

    trials: _Trials
    order: Sequence[int]
    area: int
    """Pixels of the picture."""
    target: Target

    def value(self, qualities: Mapping[int, int]) -> float:
        """What the target is about."""
        if self.target.kind == "psnr":
            return self.trials.psnr(qualities)
        size = len(self.trials.data(qualities))
        return float(size) if self.target.kind == "bytes" else 8 * size / self.area

    def passing(
        self, given: Mapping[int, int], free: Sequence[int], expected: Callable[[int], float] | None = None
    ) -> Search:
        """Where the file passes its target, with one quality for all `free` groups."""
        psnr = self.target.kind == "psnr"
        search = _search(self.target, self.area, expected)
        self.trials.run(given, psnr)
        while (quality := search.next()) is not None:
            state = {**given, **dict.fromkeys(free, quality)}
            self.trials.run(state, psnr)
            search.add(quality, _on_course(self.target, self.value(state), self.area))
        return search

    def search(
        self, given: Mapping[int, int], free: Sequence[int], expected: Callable[[int], float] | None = None
    ) -> dict[int, int]:
        """All qualities: one for all `free` groups as far as it goes, then single groups.

        For bytes: the highest quality that fits; then one group after the other, in the order of the file, is given one
        more, where that fits too. If the file is still more than 1 % below its target, this is done again.
        For PSNR: the lowest quality that is enough; then groups, in the opposite order, get one less, where that is.
        """
        psnr = self.target.kind == "psnr"
        quality = self.passing(given, free, expected).lower + psnr
        if not 1 <= quality <= QUALITIES:
            end = 1 if quality < 1 else QUALITIES
            reached = self.value({**given, **dict.fromkeys(free, end)})
            because = ", the groups that have a quality or target of their own included" if given else ""
            raise _unreachable("the file", self.target, end, Target(self.target.kind, reached), because)
        state = {**given, **dict.fromkeys(free, quality)}
        in_file = [g for g in self.order if g in free]
        if psnr:
            return state if quality == 1 else accepted(reversed(in_file), state, -1, self._fits)
        return self._raised(state, in_file) if quality < QUALITIES else state

    def _fits(self, qualities: Mapping[int, int]) -> bool:
        value = self.value(qualities)
        return value >= self.target.value if self.target.kind == "psnr" else value <= self.target.value

    def _raised(self, state: dict[int, int], free: Sequence[int]) -> dict[int, int]:
        state = accepted(free, state, 1, self._fits)
        for _ in range(ROUNDS - 1):
            unit = 1 if self.target.kind == "bytes" else self.area / 8
            left = unit * (self.target.value - self.value(state))
            if left <= CLOSE * unit * self.target.value:
                break
            # Coded is only what will fit, going by the step before.
            likely = [g for g in free if state[g] < QUALITIES and self._last_step(g, state[g]) <= left]
            self.trials.run({g: state[g] + 1 for g in likely}, False)
            raised = accepted(likely, state, 1, self._fits)
            if raised == state:
                break
            state = raised
        return state

    def _last_step(self, group: int, quality: int) -> int:
        """Bytes between this quality and the one below, or the one above, whichever was coded."""
        known = self.trials.substreams
        below = quality - 1 if (group, quality - 1) in known else quality
        return self.trials.size(group, below + 1) - self.trials.size(group, below)
