"""The walk through a plan's hyper-latents, slices and phases, in the order of docs/entropy.md, with what the nets have
seen so far. All groups take each step together, because the nets are fast on many tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.entropy.fixedpoint import LATENT_TYPE, VALUE_TYPE, Fixed, Latents, StoredValues
from ssic.entropy.pieces import Pieces
from ssic.entropy.twin import Twin
from ssic.plan import PHASES, Plan
from ssic.progress import nothing

Prediction = tuple[Fixed, NDArray[np.uint8]]


@dataclass(frozen=True)
class Step:
    """One step: some rows of a matrix of latents, and some of its columns.

    Attributes:
        hyper: whether it is that of the hyper-latents; otherwise one of the latents.
        rows: [T] rows, in coding order.
        columns: columns, adjacent.
        rank: of each row of the matrix, the rank of its group.
        predict: rows -> mean (6 fractional bits) and scale class, [t, columns] each.
        keep: takes rows and their decoded latents [t, columns]. Other threads may be in it with other rows.
    """

    hyper: bool
    rows: NDArray[np.int64]
    columns: slice
    rank: NDArray[np.uint8]
    predict: Callable[[NDArray[np.int64]], Prediction]
    keep: Callable[[NDArray[np.int64], NDArray[Any]], None]


class Walk:
    """The steps of one plan.

    Attributes:
        groups: ids of the plan's groups, ascending; the rank of a group is its index here.
        latents: [N, M], or the channels of the slices asked for, 6 fractional bits, as far as they are decoded; None if
            they are not asked for.
        hyper_latents: [P, Z], likewise.
    """

    def __init__(
        self,
        twin: Twin,
        plan: Plan,
        quality: Mapping[int, int],
        *,
        latents: bool,
        slices: int | None = None,
    ) -> None:
        """
        Args:
            latents: whether to keep them.
            slices: to walk through so many only, the first ones; all by default.
        """
        self._slices = len(twin.config.slices) if slices is None else slices
        self.groups = np.unique(plan.group).tolist()
        self._twin, self._plan = twin, plan
        ranks, qualities = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
        ranks[self.groups] = np.arange(len(self.groups))
        qualities[self.groups] = [quality[g] for g in self.groups]
        self._rank, self._pair_rank = ranks[plan.group], ranks[plan.pair_group]
        self._quality, self._pair_quality = qualities[plan.group], qualities[plan.pair_group]
        self.hyper_latents = np.empty((len(plan.pair_count), twin.config.hyper_channels), LATENT_TYPE)
        self.latents: Latents | None = None
        if latents:
            self.latents = np.empty((len(plan), twin.bounds[self._slices]), LATENT_TYPE)

    def steps(self, pieces: Pieces, reached: Callable[[float], None] = nothing) -> Iterator[Step]:
        """Each step, once the one before it has kept all its rows.

        Args:
            reached: called after each step with the share of all symbols that are done.
        """
        total, done = self.hyper_latents.size + len(self._plan) * self._twin.bounds[self._slices], 0
        for step in self._steps(pieces):
            yield step
            done += len(step.rows) * (step.columns.stop - step.columns.start)
            reached(done / total)

    def _steps(self, pieces: Pieces) -> Iterator[Step]:
        yield from self._hyper_steps()
        features = self._features(pieces)
        values = self._twin.new_values(len(self._plan))
        phases = [np.flatnonzero(self._plan.phase == p) for p in range(PHASES)]
        for k in range(self._slices):
            for phase, tokens in enumerate(phases):
                if len(tokens):
                    yield self._slice_step(k, phase, tokens, features, values)

    def _hyper_steps(self) -> Iterator[Step]:
        plan, quality = self._plan, self._pair_quality

        def predict(pairs: NDArray[np.int64]) -> Prediction:
            return self._twin.hyper_prior(pairs, quality, plan, self.hyper_latents)

        def keep(pairs: NDArray[np.int64], decoded: NDArray[Any]) -> None:
            self.hyper_latents[pairs] = decoded

        columns = slice(0, self.hyper_latents.shape[1])
        passes = [np.arange(len(plan.pair_count))]
        if self._twin.config.hyper_context:
            passes = [np.flatnonzero(plan.pair_phase == phase) for phase in range(PHASES)]
        for rows in passes:
            if len(rows):
                yield Step(True, rows, columns, self._pair_rank, predict, keep)

    def _features(self, pieces: Pieces) -> StoredValues:
        """[N, F] of all blocks."""
        plan, width = self._plan, self._twin.config.hyper_features
        of_pairs = np.empty((len(plan.pair_count), width), VALUE_TYPE)
        features = np.empty((len(plan), width), VALUE_TYPE)

        def pairs_in(pairs: NDArray[np.int64]) -> None:
            of_pairs[pairs] = self._twin.pair_features(self.hyper_latents[pairs], plan.pair_count[pairs])

        def blocks_in(blocks: NDArray[np.int64]) -> None:
            features[blocks] = self._twin.features(
                of_pairs.take(plan.pair[blocks], 0), self._quality[blocks], plan.cell_position[blocks]
            )

        pieces.each(pairs_in, np.arange(len(of_pairs)))
        pieces.each(blocks_in, np.arange(len(features)))
        return features

    def _slice_step(
        self,
        k: int,
        phase: int,
        tokens: NDArray[np.int64],
        features: StoredValues,
        values: list[StoredValues],
    ) -> Step:
        twin, quality, plan = self._twin, self._quality, self._plan
        columns = slice(*twin.bounds[k : k + 2])

        def predict(rows: NDArray[np.int64]) -> Prediction:
            return twin.predict(k, phase, rows, features, values, quality, plan)

        def keep(rows: NDArray[np.int64], decoded: NDArray[Any]) -> None:
            values[k][rows] = twin.normalise(k, decoded, quality[rows])
            if self.latents is not None:
                self.latents[rows, columns] = decoded

        return Step(False, tokens, columns, self._rank, predict, keep)
