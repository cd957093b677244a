"""Encoding to a target: so many bytes, or so much PSNR, for the file or for single groups.

What a group costs at a quality depends on nothing else (law 1), so each is coded once per quality that is tried, its
substream is kept, and a file of any mixture of those qualities is put together, not encoded. What is returned is
therefore what `encode` gives with the same qualities, byte for byte.

With an effort above 1 the same search runs on refined groups, so what is promised holds for what is returned. As
refining takes long, a search without it comes first, and tells the second where to look: about three qualities are
refined.

The analysis transform is told the quality, so it runs for each quality as well. Reusing its output from a quality five
steps away moves the bytes by 0.3 % (thirty steps: 2 %): good enough to steer by, but not the file that `encode` would
give; and of about three qualities that the search needs, two would have to be coded for real all the same.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ssic.arguments import is_number
from ssic.blocks import inside_blocks, pad_to_blocks, to_blocks
from ssic.entropy.fixedpoint import LATENT_BITS
from ssic.errors import InvalidInput, UnreachableTarget
from ssic.groups.mask import GroupMask
from ssic.model.config import QUALITIES
from ssic.pictures.read import Picture
from ssic.rate.search import Search, accepted, usual_psnr, usual_rate

if TYPE_CHECKING:
    from ssic.codec import Codec, Progress

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
class Targeted:
    """A file that meets its targets.

    Attributes:
        data: the file.
        qualities: of each group, by id.
        reached: what the target of the file came to, in its own unit; None if there was none.
        groups_reached: the same for the targets of groups, by id.
        passes: runs of the encoder, each over some or all groups.
        encodes: the same in encodes of the whole picture, by the number of blocks coded.
    """

    data: bytes = field(repr=False)
    qualities: Mapping[int, int]
    reached: float | None
    groups_reached: Mapping[int, float]
    passes: int
    encodes: float


class _Trials:
    """What groups come to at qualities: coded when first asked for, kept from then on."""

    def __init__(
        self,
        codec: Codec,
        picture: Picture,
        groups: GroupMask,
        progress: Progress,
        effort: int = 1,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._codec, self._groups, self._progress = codec, groups, progress
        self._effort, self._stopped = effort, stopped
        self._blocks = to_blocks(pad_to_blocks(picture.pixels))
        self._inside = inside_blocks(picture.size)
        owners = groups.to_pixels(*picture.size)
        self.pixels = {g: int(np.count_nonzero(owners == g)) for g in groups.groups}
        self.substreams: dict[tuple[int, int], bytes] = {}
        self._errors: dict[tuple[int, int], float] = {}
        self.passes = self._coded = 0

    @property
    def encodes(self) -> float:
        return self._coded / int(np.count_nonzero(np.isin(self._groups.ids, self._groups.groups)))

    def run(self, qualities: Mapping[int, int], errors: bool) -> None:
        """Code what is not known yet; with `errors`, decode it too."""
        known = self._errors if errors else self.substreams
        todo = {g: q for g, q in qualities.items() if (g, q) not in known}
        if not todo:
            return
        plan, coded = self._codec.code(
            self._blocks, self._groups.ids, todo, self._progress, self._inside, self._effort, self._stopped
        )
        self.passes += 1
        self._coded += len(plan)
        self.substreams |= {(g, q): coded.substreams[g] for g, q in todo.items()}
        if errors:
            self._progress("synthesis")
            pixels = self._codec.engine.synthesise(coded.latents / 2**LATENT_BITS, plan, todo)
            wrong = pixels.astype(np.int32) - self._blocks[plan.block]
            squared = np.where(self._inside[plan.block], wrong * wrong, 0).sum((1, 2), dtype=np.int64)
            for g, q in todo.items():
                self._errors[g, q] = float(squared[plan.group == g].sum())

    def bytes(self, group: int, quality: int) -> int:
        return len(self.substreams[group, quality])

    def psnr(self, qualities: Mapping[int, int]) -> float:
        """Of the pixels of these groups at these qualities."""
        error = sum(self._errors[g, q] for g, q in qualities.items())
        samples = 3 * sum(self.pixels[g] for g in qualities)
        return 10 * math.log10(255**2 * samples / error) if error else math.inf


def encode_to(
    codec: Codec,
    picture: Picture,
    groups: GroupMask,
    fixed: Mapping[int, int],
    target: Target | str | None,
    group_targets: Mapping[str | int, Target | str],
    order: Sequence[int],
    progress: Progress,
    effort: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Targeted:
    """Encode at the qualities that meet the targets.

    Args:
        fixed: qualities that are given, by group id. Groups with a target of their own may be among them; without a
            `target` of the file all others must be.
        order: of the segments, all ids.
        effort: 1 to 9.
        stopped: ask whether to refine no further: the targets are met with what is refined till then.

    Raises:
        InvalidInput: a target is none, a group has two, or no group is left for that of the file.
        UnreachableTarget: no quality meets a target.
    """
    wanted = groups.assign({name: Target.of(t) for name, t in group_targets.items()}, "group_targets")
    whole = None if target is None else Target.of(target)
    quick = _Trials(codec, picture, groups, progress)
    trials = quick if effort == 1 else _Trials(codec, picture, groups, progress, effort, stopped)
    found = _of_groups(trials, quick, groups, wanted)
    qualities = {g: q for g, q in fixed.items() if g not in wanted} | found
    free = [g for g in groups.groups if g not in qualities]
    if whole is not None and not free:
        raise InvalidInput(
            f"no group is left whose quality could be chosen for {whole}: all have one, or a target"
        )
    of_file = _File(codec, picture, groups, order, trials, whole)
    if whole is not None:
        expected = None
        if trials is not quick:
            expected = _File(codec, picture, groups, order, quick, whole).passing(qualities, free).course
        qualities = of_file.search(qualities, free, expected)
    trials.run(qualities, False)
    return Targeted(
        data=of_file.data(qualities),
        qualities=dict(sorted(qualities.items())),
        reached=None if whole is None else of_file.value(qualities),
        groups_reached={g: _group_value(trials, g, t, qualities[g]) for g, t in wanted.items()},
        passes=sum(t.passes for t in {trials, quick}),
        encodes=sum(t.encodes for t in {trials, quick}),
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
    size = trials.bytes(group, quality)
    return float(size) if target.kind == "bytes" else 8 * size / trials.pixels[group]


def _searched(trials: _Trials, wanted: Mapping[int, Target], searches: Mapping[int, Search]) -> None:
    """Brings searches for groups to their end; all groups take each step together."""
    while asked := {g: q for g, s in searches.items() if (q := s.next()) is not None}:
        for errors in (False, True):
            part = {g: q for g, q in asked.items() if (wanted[g].kind == "psnr") == errors}
            trials.run(part, errors)
        for g, q in asked.items():
            value = _group_value(trials, g, wanted[g], q)
            searches[g].add(q, _on_course(wanted[g], value, trials.pixels[g]))


def _of_groups(
    trials: _Trials, quick: _Trials, groups: GroupMask, wanted: Mapping[int, Target]
) -> dict[int, int]:
    """Qualities that meet the targets of groups. `quick` tells what to expect, where `trials` are others."""
    searches = {g: _search(target, trials.pixels[g]) for g, target in wanted.items()}
    _searched(quick, wanted, searches)
    if trials is not quick:
        searches = {g: _search(t, trials.pixels[g], searches[g].course) for g, t in wanted.items()}
        _searched(trials, wanted, searches)
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
    """Files of mixtures of substreams."""

    codec: Codec
    picture: Picture
    groups: GroupMask
    order: Sequence[int]
    trials: _Trials
    target: Target | None

    def data(self, qualities: Mapping[int, int]) -> bytes:
        substreams = {g: self.trials.substreams[g, q] for g, q in qualities.items()}
        return self.codec.assemble(self.picture, self.groups, qualities, substreams, self.order)

    def value(self, qualities: Mapping[int, int]) -> float:
        """What the target is about."""
        assert self.target is not None
        if self.target.kind == "psnr":
            return self.trials.psnr(qualities)
        size = len(self.data(qualities))
        return float(size) if self.target.kind == "bytes" else 8 * size / self._area

    @property
    def _area(self) -> int:
        return self.picture.size[0] * self.picture.size[1]

    def passing(
        self, given: Mapping[int, int], free: Sequence[int], expected: Callable[[int], float] | None = None
    ) -> Search:
        """Where the file passes its target, with one quality for all `free` groups."""
        assert self.target is not None
        psnr = self.target.kind == "psnr"
        search = _search(self.target, self._area, expected)
        self.trials.run(given, psnr)
        while (quality := search.next()) is not None:
            state = {**given, **dict.fromkeys(free, quality)}
            self.trials.run(state, psnr)
            search.add(quality, _on_course(self.target, self.value(state), self._area))
        return search

    def search(
        self, given: Mapping[int, int], free: Sequence[int], expected: Callable[[int], float] | None
    ) -> dict[int, int]:
        """All qualities: one for all `free` groups as far as it goes, then single groups.

        For bytes: the highest quality that fits; then one group after the other, in the order of the file, is given one
        more, where that fits too. If the file is still more than 1 % below its target, this is done again.
        For PSNR: the lowest quality that is enough; then groups, in the opposite order, get one less, where that is.
        """
        assert self.target is not None
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
        assert self.target is not None
        value = self.value(qualities)
        return value >= self.target.value if self.target.kind == "psnr" else value <= self.target.value

    def _raised(self, state: dict[int, int], free: Sequence[int]) -> dict[int, int]:
        assert self.target is not None
        state = accepted(free, state, 1, self._fits)
        for _ in range(ROUNDS - 1):
            unit = 1 if self.target.kind == "bytes" else self._area / 8
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
        return self.trials.bytes(group, below + 1) - self.trials.bytes(group, below)
