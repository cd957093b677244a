"""Pictures of any size through a network of windows, in bands of rows: a few rows at a time go into the first layer,
and each layer computes those that have all they depend on by then. So nothing is computed twice, and what is in memory
depends on how wide the picture is, not on how high.

A layer of windows can't compute the last rows that it was given, as windows may reach beyond them: it lags behind the
layer before, by whole rows of blocks. A layer that only mixes neighbours lags by one row. What comes out is what the
whole picture at once would give, to the last bit, by the argument for a group alone and in company: a window sees the
same tokens in the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssic.model.config import BLOCK_VALUES, ModelConfig
from ssic.plan import WINDOW, Plan, Windows, cut_windows, fine_neighbours, token_places
from ssic.progress import nothing

STEP = 8
"""Bands begin at multiples of so many rows of blocks: of windows at both levels, and of cells."""

BAND = 8_000
"""Blocks that go into the first layer at a time by default (2 megapixels)."""

A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Attributes:
        name: of its graph, "analysis.fine.0" say.
        tokens: on a side of a block, of what comes in; 2 at 1/8 of the picture, 1 at 1/16.
        shift: in tokens, of its windows; None for a layer that has none: of single blocks, or of neighbours alone.
        local: it sees the tokens around its own, too.
        lag: rows of blocks by which it is behind what the network is given.
        gives: tokens of a block, of what comes out.
        width: channels of these.
    """

    name: str
    tokens: int
    shift: int | None
    local: bool
    lag: int
    gives: int
    width: int

    @property
    def sees_others(self) -> bool:
        """It is a transformer block, and no layer of single blocks."""
        return self.shift is not None or self.local

    @property
    def sees_input(self) -> bool:
        """It is given what the network is given, too: the first and the last are."""
        return self.name.endswith((".begin", ".end"))


def layers(config: ModelConfig, side: str) -> list[Layer]:
    """Those of "analysis" or "synthesis", in order: begin, a level, between, the other level, end."""
    levels = [("fine", 2, 0), ("coarse", 1, 1)]
    analysis = side == "analysis"
    found = []
    lag, given = 0, 1
    for joint, (level, tokens, i) in zip(
        ("begin", "between"), levels if analysis else reversed(levels), strict=True
    ):
        width = config.widths[i]
        found.append(Layer(f"{side}.{joint}", given, None, False, lag, tokens**2, width))
        for k, block in enumerate(config.blocks(i)):
            lag += block.local
            if block.shift is not None:  # the least lag at which rows of windows end where bands do
                lag += (block.shift - lag * tokens) % WINDOW // tokens
            name = f"{side}.{level}.{k}"
            found.append(Layer(name, tokens, block.shift, block.local, lag, tokens**2, width))
        given = tokens
    last = (1, config.latent_channels) if analysis else (4, BLOCK_VALUES // 4)
    found.append(Layer(f"{side}.end", given, None, False, lag, *last))
    return found


class Piece(NamedTuple):
    """Some windows of a band, as what a graph of one layer is fed with. Positions are those in what the layer is given;
    0 is a token that is zero.

    Attributes:
        length: tokens of the piece; the rest of its list is filled up with zeros.
        tokens: [length] index of each in the band.
        own: [n] position of each.
        gather, key, scatter: windows over the piece's tokens, as `ssic.plan.Windows`.
        neighbours: [n, 8] positions of each token's neighbours of the same group, 0 for none; None where the layer
            doesn't see them.
    """

    length: int
    tokens: NDArray[np.int64]
    own: NDArray[np.int32]
    gather: NDArray[np.int32]
    key: NDArray[np.int32]
    scatter: NDArray[np.int32]
    neighbours: NDArray[np.int32] | None


@dataclass(frozen=True)
class Band:
    """The rows that a layer computes at a time.

    Attributes:
        plan: of the whole picture.
        layer: which computes.
        blocks: the rows' blocks in the plan's list.
        rows: of blocks, from and to.
        first: position of the rows' first token in what the layer is given; their tokens follow each other.
        made: what was made for layers that see the same, by what it is of.
    """

    plan: Plan
    layer: Layer
    blocks: slice
    rows: tuple[int, int]
    first: int
    made: dict[Any, Any]

    def __len__(self) -> int:
        """Tokens that it computes."""
        return (self.blocks.stop - self.blocks.start) * self.layer.tokens**2

    def _once(self, make: Callable[..., T], *args: Any) -> T:
        """`make(self, *args)`, or what that gave for a layer that sees the same."""
        key = make, self.layer.tokens, self.layer.shift, self.layer.local, self.rows, self.first, args
        if key not in self.made:
            self.made[key] = make(self, *args)
        result: T = self.made[key]
        return result

    @property
    def windows(self) -> Windows:
        """Windows over the band's own tokens, counted from 0."""
        return self._once(Band._windows)

    def _windows(self) -> Windows:
        shift, side = self.layer.shift, self.layer.tokens
        assert shift is not None, "the layer has no windows"
        low, high = self.rows
        columns = self.plan.shape[2]
        row, column = token_places(*np.divmod(self.plan.block[self.blocks] - low * columns, columns), side)
        group = self.plan.group[self.blocks].repeat(side**2)
        # Only at the top of the picture does a band begin within a window: the part that is beyond the top is empty.
        beyond = -(side * low + shift) % WINDOW
        assert beyond == 0 or low == 0
        shape = side * (high - low) + beyond, side * columns
        return cut_windows(np.zeros_like(row), row + beyond, column, group, shape, 0, shift)

    @property
    def neighbours(self) -> NDArray[np.int32]:
        """[n, 8] position, in what the layer is given, of the neighbours of each of the band's own tokens that are of
        its group; 0 for none."""
        return self._once(Band._neighbours)

    def _neighbours(self) -> NDArray[np.int32]:
        plan, per_block = self.plan, self.layer.tokens**2
        near = plan.neighbours[self.blocks]
        apart = near - self.blocks.start
        position = np.where(near == len(plan), -1, per_block * apart + self.first)
        if per_block > 1:
            own = self.first + per_block * np.arange(len(near))
            position = fine_neighbours(own, position)
        return np.maximum(position, 0).astype(np.int32)

    def pieces(self, windows: int, multiple: int, threads: int = 1) -> list[Piece]:
        """The band in pieces of about so many full windows at most, or of more that are not full, each with about as
        much to do, as many as the threads can share evenly; lists of tokens are filled up to a multiple of
        `multiple`."""
        return self._once(Band._pieces, windows, multiple, threads)

    def _pieces(self, windows: int, multiple: int, threads: int) -> list[Piece]:
        gather, key = self.windows.gather, self.windows.key
        there = key >= 0
        # Tokens up to each window, and what there is to do: a window costs as much as some tokens, empty or not.
        until = np.concatenate([[0], np.cumsum(there.sum(1))])
        work = until + _OF_WINDOW * np.arange(len(until))
        parts = even_parts(len(key), -(-int(work[-1]) // (windows * (WINDOW**2 + _OF_WINDOW))), threads)
        bounds = np.searchsorted(parts * work, work[-1] * np.arange(1, parts)).tolist()
        tokens, slots = gather[there], np.flatnonzero(there).astype(np.int32)
        own = (tokens + self.first).astype(np.int32)
        neighbours = self.neighbours if self.layer.local else None
        found = []
        for start, stop in pairwise(dict.fromkeys([0, *bounds, len(key)])):
            part = slice(until[start], until[stop])
            scatter = slots[part] - start * WINDOW**2
            within = np.zeros((stop - start, WINDOW**2), np.int32)
            within.reshape(-1)[scatter] = np.arange(len(scatter))
            found.append(
                Piece(
                    length=len(scatter),
                    tokens=tokens[part],
                    own=filled(own[part], multiple),
                    gather=within,
                    key=key[start:stop],
                    scatter=filled(scatter, multiple),
                    neighbours=None if neighbours is None else filled(neighbours[tokens[part]], multiple),
                )
            )
        return found


_OF_WINDOW = 8
"""Tokens that take as long as the attention of a window, about."""


def filled(values: NDArray[Any], multiple: int, value: int = 0) -> NDArray[Any]:
    """A list filled up to a multiple of so many."""
    added = -len(values) % multiple
    if not added:
        return values
    full = np.empty((len(values) + added, *values.shape[1:]), values.dtype)
    full[: len(values)] = values
    full[len(values) :] = value
    return full


def even_parts(count: int, least: int, threads: int) -> int:
    """Into how many parts, not less than so many, to cut `count` things so that threads have the same to do."""
    return min(count, -(-least // threads) * threads)


class Runner(Protocol[A]):
    """What computes layers. Lists of tokens are of a type of its own."""

    def begin(self, band: Band) -> A:
        """The first layer, of single blocks: the tokens of the band's blocks."""
        ...

    def layer(self, tokens: A, band: Band) -> A:
        """Any other: what the layer is given, [T + 1, C], behind a first token that is zero -> what it gives."""
        ...

    def join(self, parts: Sequence[A]) -> A:
        """Lists of tokens behind each other, behind a token that is zero."""
        ...

    def cut(self, tokens: A, part: slice) -> A:
        """A copy of some tokens."""
        ...


def through(
    plan: Plan,
    stages: Sequence[Layer],
    runner: Runner[A],
    limit: int,
    reached: Callable[[float], None] = nothing,
) -> Iterator[tuple[slice, A]]:
    """The blocks of a plan of one picture through all layers.

    Args:
        limit: blocks that a band has at most, if it has more than the fewest rows that there can be.
        reached: called with the share of the work that is done, after each layer of a band.

    Yields:
        blocks of the plan's list, one part after the other, and what the last layer gives for them.
    """
    pictures, rows, columns = plan.shape
    assert pictures == 1, "bands are of one picture"
    before = np.searchsorted(plan.block, np.arange(rows + 1) * columns)

    def clipped(row: int) -> int:
        return min(max(row, 0), rows)

    def of_rows(low: int, high: int) -> slice:
        return slice(int(before[low]), int(before[high]))

    waiting = [_Waiting(runner, stage, before) for stage in stages[1:]]
    start, done = 0, 0
    work = len(plan) * sum(stage.sees_others for stage in stages)  # the rest take next to no time
    for stop in _stops(before, stages[-1].lag, limit):
        rows_of = [(clipped(start - stage.lag), clipped(stop - stage.lag)) for stage in stages]
        made: dict[Any, Any] = {}
        first = Band(plan, stages[0], of_rows(*rows_of[0]), rows_of[0], 0, made)
        tokens = runner.begin(first) if len(first) else None
        blocks = first.blocks
        for stage, line, given, own in zip(stages[1:], waiting, rows_of[:-1], rows_of[1:], strict=True):
            blocks = of_rows(*own)
            joined, position = line.add(tokens, given[1])
            band = Band(plan, stage, blocks, own, position, made)
            tokens = runner.layer(joined, band) if joined is not None and len(band) else None
            line.keep(joined, own[1])
            del joined
            if stage.sees_others and len(band):
                done += blocks.stop - blocks.start
                reached(done / work)
        if tokens is not None:
            yield blocks, tokens
        start = stop


class _Waiting(Generic[A]):
    """Tokens that a layer was given and has not done with: those of rows that it has yet to compute, and of the row
    before these if it sees it."""

    def __init__(self, runner: Runner[A], layer: Layer, before: NDArray[np.int64]) -> None:
        """
        Args:
            before: [rows + 1] blocks in the rows before each.
        """
        self._runner, self._layer = runner, layer
        self._before = before * layer.tokens**2
        self._held: A | None = None
        self._low = 0  # the row at which it begins
        self._done = 0  # the row up to which the layer has computed
        self._high = 0  # the row up to which it was given tokens

    def add(self, tokens: A | None, high: int) -> tuple[A | None, int]:
        """With the tokens up to row `high`: all that there are, behind a token that is zero, and the position of the
        first that is yet to be computed."""
        self._high = high
        parts = [part for part in (self._held, tokens) if part is not None]
        self._held = None
        position = 1 + int(self._before[self._done] - self._before[self._low])
        return (self._runner.join(parts) if parts else None), position

    def keep(self, joined: A | None, done: int) -> None:
        """What was added, now that the rows up to `done` are computed."""
        low = max(done - self._layer.local, 0)
        keep = 1 + int(self._before[low] - self._before[self._low])
        stop = 1 + int(self._before[self._high] - self._before[self._low])
        if joined is not None and keep < stop:
            self._held = self._runner.cut(joined, slice(keep, stop))
        self._low, self._done = low, done


def _stops(before: NDArray[np.int64], lag: int, limit: int) -> Iterator[int]:
    """Rows of blocks up to which the first layer is to go, band by band."""
    rows = len(before) - 1
    start = 0
    while before[rows] - before[start] > limit and start + STEP < rows:
        stop = start + STEP
        while before[min(stop + STEP, rows)] - before[start] <= limit:
            stop += STEP
        yield stop
        start = stop
    yield -(-(rows + lag) // STEP) * STEP
