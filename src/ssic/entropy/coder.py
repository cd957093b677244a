"""Latents to substreams and back: the walk through hyper-latents, slices and phases, for any number of groups.

All groups take each step together, because the nets are fast on many tokens; but each group has a coder of its
own, and nothing that one group's coder is told depends on another group. `docs/entropy.md` is
the norm for the order of symbols.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.fixedpoint import LATENT_BITS, Fixed
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.errors import DamagedSegment
from ssic.model.config import CLASSES, STEP_WORTH
from ssic.plan import PHASES, Plan
from ssic.rangecoder import TOTAL, RangeEncoder, decoder_from_bytes, encoder_bytes, integer_model

UNIT = 1 << LATENT_BITS

LARGEST = 1 << 20
"""Latents are limited to half of this; no picture comes near."""

_ESCAPE_BITS = 2 * LARGEST.bit_length()


@dataclass(frozen=True)
class Substreams:
    """The latents of some groups, coded.

    Attributes:
        by_group: the substream of each group, by id.
        hyper_bytes: how many of them, about, serve the hyper-latent, by id.
        latents: [N, M] as the decoder will have them, 6 fractional bits.
        hyper_latents: [P, Z], likewise.
        ideal_bits: code length of all symbols under the integer tables, were the range coder perfect.
    """

    by_group: dict[int, bytes]
    hyper_bytes: dict[int, int]
    latents: Fixed
    hyper_latents: Fixed
    ideal_bits: float


@dataclass(frozen=True)
class _Step:
    """One step of the walk: where its symbols lie and how they are batched.

    Attributes:
        order: position of each coded symbol in the flattened step, sorted by group, then class, then position.
        runs: (group rank, class, start, stop) in that order.
        bounds: where each group's symbols start in that order; one more entry for the end.
    """

    order: NDArray[np.int64]
    runs: list[tuple[int, int, int, int]]
    bounds: list[int]

    @classmethod
    def of(cls, rank: NDArray[np.int64], classes: NDArray[np.uint8], groups: int) -> _Step:
        """rank [T] of each row's group, classes [T, C]."""
        key = (rank[:, None] * CLASSES + classes).reshape(-1).astype(np.uint16)
        order = np.argsort(key, kind="stable")
        count = np.bincount(key, minlength=groups * CLASSES)
        stop = np.cumsum(count)
        runs = [
            (int(r) // CLASSES, int(r) % CLASSES, int(stop[r] - count[r]), int(stop[r]))
            for r in np.flatnonzero(count)
        ]
        return cls(order, runs, [0, *stop[CLASSES - 1 :: CLASSES].tolist()])


class LatentCoder:
    """Codes latents with the integer twin. Immutable after construction."""

    def __init__(self, twin: Twin, tables: Tables, step_worth: float = STEP_WORTH) -> None:
        """
        Args:
            step_worth: bits that an error of one step, squared, is worth when symbols are chosen. It matters to
                encoding only.
        """
        self.twin = twin
        self.tables = tables
        self.step_worth = step_worth
        self._support = tables.support.astype(np.int64)
        self._models = tables.models()
        # Code length of every entry, and where each class's entries start.
        self._lengths = -np.log2(tables.frequencies / TOTAL)
        self._starts = np.cumsum(2 * self._support + 2) - (2 * self._support + 2)
        self._fair = integer_model(np.full(2, TOTAL // 2))

    # -- the walk ----------------------------------------------------------------------------------------------

    def _steps(self, plan: Plan, slices: int | None = None) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(slice, tokens) in coding order, of the first slices or of all."""
        phases = [np.flatnonzero(plan.phase == p) for p in range(PHASES)]
        for k in range(len(self.twin.config.slices))[:slices]:
            for tokens in phases:
                if len(tokens):
                    yield k, tokens

    # -- encoding ----------------------------------------------------------------------------------------------

    def encode(
        self,
        plan: Plan,
        quality: Mapping[int, int],
        y: NDArray[np.floating[Any]],
        z: NDArray[np.floating[Any]],
        *,
        step_worth: float | None = None,
    ) -> Substreams:
        """Code the latents of all groups of the plan.

        Args:
            plan: of the picture's blocks.
            quality: 1..100 of each group.
            y: [N, M] latents, gain applied, before rounding.
            z: [P, Z] hyper-latents before rounding.
            step_worth: in the place of the coder's own.
        """
        worth = self.step_worth if step_worth is None else step_worth
        groups, rank, pair_rank = _ranks(plan)
        q, pair_q = _qualities(plan, quality)
        encoders = [RangeEncoder() for _ in groups]
        ideal = 0.0

        def code(ranks: NDArray[np.int64], target: Fixed, mean: Fixed, classes: NDArray[np.uint8]) -> Fixed:
            nonlocal ideal
            symbols = self._choose((target - mean) / UNIT, classes, worth)
            step = _Step.of(ranks, classes, len(groups))
            ideal += self._write(encoders, step, symbols.reshape(-1), classes.reshape(-1))
            return symbols * UNIT + mean

        z_fixed = _fixed(z)
        mean, classes = self.twin.hyper_prior(pair_q, plan)
        z_hat = code(pair_rank, z_fixed, mean, classes)
        hyper = [e.num_bits() // 8 for e in encoders]

        y_fixed = _fixed(y)
        latents = np.empty_like(y_fixed)
        features = self.twin.features(z_hat, q, plan)
        values = self.twin.new_values(plan)
        for k, tokens in self._steps(plan):
            start, stop = self.twin.bounds[k : k + 2]
            mean, classes = self.twin.predict(k, tokens, features, values, q, plan)
            decoded = code(rank[tokens], y_fixed[tokens, start:stop], mean, classes)
            latents[tokens, start:stop] = decoded
            values[tokens, start:stop] = self.twin.normalise(k, tokens, decoded, q)
        return Substreams(
            by_group={int(g): encoder_bytes(e) for g, e in zip(groups, encoders, strict=True)},
            hyper_bytes={int(g): h for g, h in zip(groups, hyper, strict=True)},
            latents=latents,
            hyper_latents=z_hat,
            ideal_bits=ideal,
        )

    def _choose(
        self, deviation: NDArray[np.float64], classes: NDArray[np.uint8], step_worth: float
    ) -> NDArray[np.float64]:
        """The symbol for each deviation from the mean (in steps): the nearest, or its neighbour towards zero
        where that saves more bits than the distortion is worth."""
        nearest = np.floor(deviation + 0.5)
        smaller = nearest - np.sign(nearest)
        support = self._support[classes]
        at = self._starts[classes] + support
        inside = np.abs(nearest) <= support
        saved = self._lengths[at + np.where(inside, nearest, 0).astype(np.int64)]
        saved -= self._lengths[at + np.where(inside, smaller, 0).astype(np.int64)]
        worse = (deviation - smaller) ** 2 - (deviation - nearest) ** 2
        return np.where(saved > step_worth * worse, smaller, nearest)

    def _write(
        self, encoders: list[Any], step: _Step, symbols: NDArray[np.float64], classes: NDArray[np.uint8]
    ) -> float:
        """Encode one step's symbols; -> their ideal code length in bits."""
        ordered = symbols[step.order].astype(np.int64)
        support = self._support[classes[step.order]]
        outside = np.abs(ordered) > support
        index = np.where(outside, 2 * support + 1, ordered + support).astype(np.int32)
        ideal = float(self._lengths[self._starts[classes[step.order]] + index].sum())
        for rank, cls, start, stop in step.runs:
            encoders[rank].encode(index[start:stop], self._models[cls])
        if outside.any():
            # Escaped symbols follow their step, group by group, in the order of the picture.
            for rank, (start, stop) in enumerate(zip(step.bounds, step.bounds[1:], strict=False)):
                escaped = start + np.flatnonzero(outside[start:stop])
                for i in escaped[np.argsort(step.order[escaped])]:
                    bits = _escape_bits(int(ordered[i]), int(support[i]))
                    encoders[rank].encode(np.array(bits, np.int32), self._fair)
                    ideal += len(bits)
        return ideal

    # -- decoding ----------------------------------------------------------------------------------------------

    def decode(
        self,
        plan: Plan,
        quality: Mapping[int, int],
        substreams: Mapping[int, bytes],
        slices: int | None = None,
    ) -> tuple[Fixed, list[int]]:
        """Decode the latents of the plan's groups.

        Args:
            plan: of the wanted groups' blocks.
            quality: 1..100 of each group.
            substreams: bytes of each group.
            slices: so many of the first ones only; what follows them in a substream is not looked at. All by default.

        Returns:
            latents [N, M], or [N, channels of these slices], with 6 fractional bits, and the ids of groups whose
            substream contradicts itself; their latents are meaningless.
        """
        groups, rank, pair_rank = _ranks(plan)
        q, pair_q = _qualities(plan, quality)
        decoders = [decoder_from_bytes(substreams[int(g)]) for g in groups]
        # The shortest stream never ends in a zero byte. (Whether it is the shortest otherwise, only coding would tell.)
        damaged = {rank for rank, g in enumerate(groups) if substreams[int(g)].endswith(b"\0")}

        def code(ranks: NDArray[np.int64], mean: Fixed, classes: NDArray[np.uint8]) -> Fixed:
            step = _Step.of(ranks, classes, len(groups))
            symbols = self._read(decoders, step, classes.reshape(-1), damaged)
            return symbols.reshape(mean.shape) * UNIT + mean

        mean, classes = self.twin.hyper_prior(pair_q, plan)
        features = self.twin.features(code(pair_rank, mean, classes), q, plan)
        latents = np.empty((len(plan), self.twin.bounds[-1 if slices is None else slices]))
        values = self.twin.new_values(plan)
        for k, tokens in self._steps(plan, slices):
            start, stop = self.twin.bounds[k : k + 2]
            mean, classes = self.twin.predict(k, tokens, features, values, q, plan)
            decoded = code(rank[tokens], mean, classes)
            latents[tokens, start:stop] = decoded
            values[tokens, start:stop] = self.twin.normalise(k, tokens, decoded, q)
        return latents, sorted(int(groups[r]) for r in damaged)

    def _read(
        self, decoders: list[Any], step: _Step, classes: NDArray[np.uint8], damaged: set[int]
    ) -> NDArray[np.float64]:
        """Decode one step's symbols; groups that fail join `damaged` and read as zero from there on."""
        support = self._support[classes[step.order]]
        index = support.copy()
        for rank, cls, start, stop in step.runs:
            if rank not in damaged:
                try:
                    index[start:stop] = decoders[rank].decode(self._models[cls], stop - start)
                except AssertionError:
                    damaged.add(rank)
        ordered = index - support
        escaped = ordered > support
        if escaped.any():
            for rank, (start, stop) in enumerate(zip(step.bounds, step.bounds[1:], strict=False)):
                places = start + np.flatnonzero(escaped[start:stop])
                for i in places[np.argsort(step.order[places])]:
                    ordered[i] = 0
                    if rank not in damaged:
                        try:
                            ordered[i] = self._read_escape(decoders[rank], int(support[i]))
                        except (AssertionError, DamagedSegment):
                            damaged.add(rank)
        symbols = np.empty(len(ordered))
        symbols[step.order] = ordered
        return symbols

    def _read_escape(self, decoder: Any, support: int) -> int:
        """Inverse of `_escape_bits`."""

        def bit() -> int:
            return int(decoder.decode(self._fair))

        negative = bit()
        length = 0
        while bit():
            length += 1
            if 2 * length > _ESCAPE_BITS:
                raise DamagedSegment("an escaped symbol has no end")
        rest = 1
        for _ in range(length):
            rest = 2 * rest + bit()
        magnitude = rest + support
        return -magnitude if negative else magnitude


def _escape_bits(symbol: int, support: int) -> list[int]:
    """Sign, then the excess over the support as an Exp-Golomb code of order 0."""
    rest = abs(symbol) - support  # >= 1
    length = rest.bit_length() - 1
    tail = [(rest >> i) & 1 for i in range(length - 1, -1, -1)]
    return [int(symbol < 0), *([1] * length), 0, *tail]


def _ranks(plan: Plan) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """-> ids of the groups, and the rank of its group among them for each block and each pair."""
    groups = np.unique(plan.group)
    return groups, np.searchsorted(groups, plan.group), np.searchsorted(groups, plan.pair_group)


def _qualities(plan: Plan, quality: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Quality of each block and of each pair."""
    return plan.of_blocks(quality), plan.of_pairs(quality)


def _fixed(x: NDArray[np.floating[Any]]) -> Fixed:
    """Latents to integers with 6 fractional bits; what is not finite or beyond any picture's reach is limited."""
    limit = float(LARGEST // 2)
    return np.rint(
        np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=limit, neginf=-limit).clip(-limit, limit) * UNIT
    )
