"""Latents to substreams and back, for any number of groups.

All groups take each step of the walk together (`ssic.entropy.walk`); but each group has a coder of its own, and nothing
that one group's coder is told depends on another group. `docs/entropy.md` is the norm for the order of symbols.

Steps are computed in pieces of some blocks, so that memory beside latents and values stays bounded by a few bytes for
each symbol of a step. How a step is cut, and how many threads share the pieces, changes no bit: arithmetic is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.escapes import read_escape, write_escape
from ssic.entropy.fixedpoint import LATENT_BITS, LATENT_TYPE, Fixed, Latents
from ssic.entropy.pieces import Pieces
from ssic.entropy.symbols import Counts, Run, in_order, join
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.entropy.walk import Step, Walk
from ssic.errors import DamagedSegment
from ssic.model.config import STEP_WORTH
from ssic.plan import Plan
from ssic.progress import nothing
from ssic.rangecoder import RangeEncoder, decoder_from_bytes, encoder_bytes
from ssic.workers import Workers

UNIT = 1 << LATENT_BITS

LARGEST = 1 << 20
"""Latents are limited to half of this; no picture comes near."""

PIECE = 384
"""Blocks that are computed at a time: enough for matrix products to be fast, few enough to stay in a processor's
cache."""


@dataclass(frozen=True)
class Substreams:
    """The latents of some groups, coded.

    Attributes:
        by_group: the substream of each group, by id.
        hyper_bytes: how many of them, about, serve the hyper-latent, by id.
        ideal_bits: code length of all symbols under the integer tables, were the range coder perfect.
        kept: latents and hyper-latents, if they were asked for.
    """

    by_group: dict[int, bytes]
    hyper_bytes: dict[int, int]
    ideal_bits: float
    kept: tuple[Latents, Latents] | None = field(default=None, repr=False)

    @property
    def latents(self) -> NDArray[Any]:
        """[N, M] as the decoder will have them, 6 fractional bits.

        Raises:
            ValueError: `LatentCoder.encode` was told not to keep them.
        """
        return self._kept()[0]

    @property
    def hyper_latents(self) -> NDArray[Any]:
        """[P, Z], likewise."""
        return self._kept()[1]

    def _kept(self) -> tuple[Latents, Latents]:
        if self.kept is None:
            raise ValueError("the latents were not kept: encode with latents=True")
        return self.kept


@dataclass
class Coded:
    """One piece of a step, ready to be written.

    Attributes:
        counts: how many symbols of each kind it has.
        index: of each symbol in its table, in coding order.
        escapes: [E, 3] group's rank, symbol and support of those beyond their tables, as they lie in the step.
        ideal: code length of the indices, in bits.
    """

    counts: Counts
    index: NDArray[np.int32]
    escapes: NDArray[np.int32]
    ideal: float


@dataclass
class _Expected:
    """One piece of a step, as far as it is known before its symbols are read.

    Attributes:
        rows: of the piece.
        mean: [t, columns].
        order: position in the flattened piece of each symbol, in coding order.
        counts: how many symbols of each kind it has.
    """

    rows: NDArray[np.int64]
    mean: Latents
    order: NDArray[np.int32]
    counts: Counts


@dataclass
class _Escapes:
    """One piece of a step of which some symbols are escaped.

    Attributes:
        symbols: all of them, in coding order.
        places: of the escaped ones, in the order of the picture, which is that of their codes.
        support: of each symbol's class.
    """

    symbols: NDArray[np.int32]
    places: NDArray[np.int64]
    support: NDArray[np.int32]


class LatentCoder:
    """Codes latents with the integer twin. Immutable after construction."""

    def __init__(
        self, twin: Twin, tables: Tables, step_worth: float = STEP_WORTH, *, piece: int = PIECE
    ) -> None:
        """
        Args:
            step_worth: bits that an error of one step, squared, is worth when symbols are chosen. It matters to
                encoding only.
            piece: blocks that are computed at a time. It changes no byte.
        """
        self.twin = twin
        self.tables = tables
        self.step_worth = step_worth
        self.piece = piece
        self._workers = Workers()
        self._support = tables.support.astype(np.int32)
        self._models = tables.models()
        self._lengths, self._zero = tables.lengths, tables.zero

    # -- encoding ----------------------------------------------------------------------------------------------

    def encode(
        self,
        plan: Plan,
        quality: Mapping[int, int],
        y: NDArray[np.floating[Any]],
        z: NDArray[np.floating[Any]],
        *,
        step_worth: float | None = None,
        latents: bool = True,
        threads: int = 1,
        reached: Callable[[float], None] = nothing,
    ) -> Substreams:
        """Code the latents of all groups of the plan.

        Args:
            plan: of the picture's blocks.
            quality: 1..100 of each group.
            y: [N, M] latents, gain applied, before rounding.
            z: [P, Z] hyper-latents before rounding.
            step_worth: in the place of the coder's own.
            latents: whether to keep the latents that the decoder will have.
            threads: that share the work.
            reached: called now and then with the share of the work that is done. What it raises ends the work.
        """
        worth = self.step_worth if step_worth is None else step_worth
        walk = Walk(self.twin, plan, quality, latents=latents)
        encoders = [RangeEncoder() for _ in walk.groups]
        hyper: list[int] = []
        ideal = 0.0
        pieces = Pieces(self.piece, threads, self._workers)
        for step in walk.steps(pieces, reached):
            code = partial(self._code, step, z if step.hyper else y, len(encoders), worth)
            coded = pieces.each(code, step.rows)
            ideal += sum(piece.ideal for piece in coded)
            ideal += self._write(encoders, coded)
            if step.hyper:
                hyper = [e.num_bits() // 8 for e in encoders]
        return Substreams(
            by_group={g: encoder_bytes(e) for g, e in zip(walk.groups, encoders, strict=True)},
            hyper_bytes=dict(zip(walk.groups, hyper, strict=True)),
            ideal_bits=ideal,
            kept=None if walk.latents is None else (walk.latents, walk.hyper_latents),
        )

    def _code(
        self,
        step: Step,
        target: NDArray[np.floating[Any]],
        groups: int,
        worth: float,
        rows: NDArray[np.int64],
    ) -> Coded:
        """Choose the symbols of some rows, and let the walk keep what they decode to."""
        mean, classes = step.predict(rows)
        deviation = _fixed(target[rows, step.columns])
        deviation -= mean
        deviation *= 1 / UNIT
        symbols = self._choose(deviation, classes, worth)
        decoded = symbols * UNIT
        decoded += mean
        step.keep(rows, decoded)
        return self._sorted(symbols.ravel().astype(np.int32), classes, step.rank[rows], groups)

    def _choose(
        self, deviation: NDArray[np.float64], classes: NDArray[np.uint8], step_worth: float
    ) -> NDArray[np.float64]:
        """The symbol for each deviation from the mean (in steps): the nearest, or its neighbour towards zero
        where that saves more bits than the distortion is worth."""
        symbols = np.floor(deviation + 0.5)
        at = np.flatnonzero(symbols)  # no neighbour is nearer to zero than zero
        nearest, exact, scale = symbols.take(at), deviation.take(at), classes.take(at)
        smaller = nearest - np.sign(nearest)
        zero = self._zero.take(scale)
        inside = np.abs(nearest) <= self._support.take(scale)
        saved = self._lengths.take(zero + np.where(inside, nearest, 0).astype(np.int32))
        saved -= self._lengths.take(zero + np.where(inside, smaller, 0).astype(np.int32))
        worse = (exact - smaller) ** 2 - (exact - nearest) ** 2
        cheaper = saved > step_worth * worse
        symbols.put(at[cheaper], smaller[cheaper])
        return symbols

    def _sorted(
        self, symbols: NDArray[np.int32], classes: NDArray[np.uint8], rank: NDArray[np.uint8], groups: int
    ) -> Coded:
        """Symbols of some rows, as they lie there -> in coding order.

        Args:
            symbols: [t * columns].
            classes: [t, columns].
            rank: [t] of each row's group among `groups`.
        """
        order, counts = in_order(rank, classes, groups)
        index = symbols.take(order)
        support = counts.by_symbol(self._support[counts.scale])
        escaped = np.flatnonzero(np.abs(index) > support)
        escapes = np.empty((0, 3), np.int32)
        if len(escaped):
            here = escaped[np.argsort(order[escaped])]
            ranks = counts.by_symbol(counts.rank)[here]
            escapes = np.stack([ranks, index[here], support[here]], 1).astype(np.int32)
            index[escaped] = support[escaped] + 1  # the last entry
        ideal = float(self._lengths.take(counts.by_symbol(self._zero[counts.scale]) + index).sum())
        index += support
        return Coded(counts, index, escapes, ideal)

    def _write(self, encoders: list[Any], pieces: Sequence[Coded]) -> float:
        """Encode one step; -> code length of its escapes, in bits."""
        runs = join([piece.counts for piece in pieces], len(encoders))
        index = np.empty(runs[-1][-1], np.int32)
        for piece in pieces:
            index[piece.counts.places()] = piece.index
        for rank, scale, start, stop in runs:
            encoders[rank].encode(index[start:stop], self._models[scale])
        # Escaped symbols follow their step, in the order of the picture.
        return sum(write_escape(encoders[rank], *more) for p in pieces for rank, *more in p.escapes.tolist())

    # -- decoding ----------------------------------------------------------------------------------------------

    def decode(
        self,
        plan: Plan,
        quality: Mapping[int, int],
        substreams: Mapping[int, bytes],
        *,
        slices: int | None = None,
        threads: int = 1,
        reached: Callable[[float], None] = nothing,
    ) -> tuple[Latents, list[int]]:
        """Decode the latents of the plan's groups.

        Args:
            plan: of the wanted groups' blocks.
            quality: 1..100 of each group.
            substreams: bytes of each group.
            slices: so many of the first ones only; what follows them in a substream is not looked at. All by default.
            threads: that share the work.
            reached: as for `encode`.

        Returns:
            latents [N, M], or [N, channels of these slices], with 6 fractional bits, and the ids of groups whose
            substream contradicts itself; their latents are meaningless.
        """
        walk = Walk(self.twin, plan, quality, latents=True, slices=slices)
        decoders = [decoder_from_bytes(substreams[g]) for g in walk.groups]
        # The shortest stream never ends in a zero byte. (Whether it is the shortest otherwise, only coding would tell.)
        damaged = {rank for rank, g in enumerate(walk.groups) if substreams[g].endswith(b"\0")}
        pieces = Pieces(self.piece, threads, self._workers)
        for step in walk.steps(pieces, reached):
            self._decode_step(step, decoders, damaged, pieces)
        assert walk.latents is not None
        return walk.latents, [walk.groups[rank] for rank in sorted(damaged)]

    def _decode_step(self, step: Step, decoders: list[Any], damaged: set[int], pieces: Pieces) -> None:
        """Read the symbols of one step, and let the walk keep what they decode to."""

        def expect(rows: NDArray[np.int64]) -> _Expected:
            mean, classes = step.predict(rows)
            order, counts = in_order(step.rank[rows], classes, len(decoders))
            return _Expected(rows, mean.astype(LATENT_TYPE), order, counts)

        expected = pieces.each(expect, step.rows)
        index = self._read(decoders, join([piece.counts for piece in expected], len(decoders)), damaged)

        def settle(piece: _Expected) -> _Escapes | None:
            """Keeps the piece, unless some of its symbols are yet to be read."""
            symbols = index.take(piece.counts.places())
            support = piece.counts.by_symbol(self._support[piece.counts.scale])
            symbols -= support
            escaped = np.flatnonzero(symbols > support)
            if not len(escaped):
                self._keep(step, piece, symbols)
                return None
            return _Escapes(symbols, escaped[np.argsort(piece.order[escaped])], support)

        for piece, escapes in zip(expected, pieces.map(settle, expected), strict=True):
            if escapes is not None:
                self._read_escapes(decoders, piece, escapes, damaged)
                self._keep(step, piece, escapes.symbols)

    def _keep(self, step: Step, piece: _Expected, symbols: NDArray[np.int32]) -> None:
        """Let the walk keep what the symbols of a piece, in coding order, decode to."""
        decoded = np.empty(piece.mean.shape, LATENT_TYPE)
        decoded.put(piece.order, symbols)
        decoded *= UNIT
        decoded += piece.mean
        step.keep(piece.rows, decoded)

    def _read(self, decoders: list[Any], runs: list[Run], damaged: set[int]) -> NDArray[np.int32]:
        """Decode one step; -> of each symbol, in coding order, the index in its table. Groups that fail join `damaged`
        and read as zero from there on."""
        index = np.empty(runs[-1][-1], np.int32)
        for rank, scale, start, stop in runs:
            found = self._support[scale]  # zero
            if rank not in damaged:
                try:
                    found = decoders[rank].decode(self._models[scale], stop - start)
                except AssertionError:
                    damaged.add(rank)
            index[start:stop] = found
        return index

    def _read_escapes(
        self, decoders: list[Any], piece: _Expected, escapes: _Escapes, damaged: set[int]
    ) -> None:
        """Put the escaped symbols of a piece into their places."""
        ranks = piece.counts.by_symbol(piece.counts.rank)[escapes.places]
        supports = escapes.support[escapes.places]
        for place, rank, support in zip(
            escapes.places.tolist(), ranks.tolist(), supports.tolist(), strict=True
        ):
            escapes.symbols[place] = 0
            if rank not in damaged:
                try:
                    escapes.symbols[place] = read_escape(decoders[rank], support)
                except (AssertionError, DamagedSegment):
                    damaged.add(rank)


def _fixed(x: NDArray[np.floating[Any]]) -> Fixed:
    """Latents to integers with 6 fractional bits; what is not finite or beyond any picture's reach is limited."""
    limit = float(LARGEST // 2)
    fixed = x.astype(np.float64)
    fixed[np.isnan(fixed)] = 0.0
    np.clip(fixed, -limit, limit, out=fixed)
    fixed *= UNIT
    return np.rint(fixed, out=fixed)
