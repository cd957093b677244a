"""What the entropy model doesn't see, and what it would save if it did: to be asked before more context is built and
trained.

Pictures are encoded, and their symbols set against what the decoder has by then and the nets are not given. A
correction that is linear in it is fitted to half of the pictures, and tried on the other half: of the mean, by the
neighbours' values beyond what was expected of them, channel by channel, in standard deviations; of log2 of the scale,
by the logarithm of their size, in the same channel and over the slice.

- *fourth phase*: of the third phase, half of all blocks, one half is coded first, so that the other sees its corners;
- *values*: the neighbours that have been coded, channel by channel, where nets see sums of magnitudes only;
- *knight's moves*: in the third phase, the eight blocks at a knight's move, all of which have been coded;
- *slices before*: how much was coded in the slices before, in all eight neighbours;
- *tables*: of each scale class one for each slice, in the place of one for all (which serves as a prior). As all are
  fitted anew, some of what is saved is the fit's, not the slices'.

And of the hyper-latents, coded as if no other were known, also where the model has a context for them:

- *tables*: one for each channel and quality, in the place of those of the scale classes (which serve as a prior);
- *cells before*: the vectors to the left, above, and above to the left, for the mean.

What is saved on the half that it was fitted to is more than any such correction could save; what is saved on the other
half is less than one fitted to more pictures would. Nets that are trained with an input may make more of it than a
linear correction, but where that finds nothing, there is little to be expected. Rates are code lengths: of Gaussians,
as in training, for the latents.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from _report import emit, table
from ssic.blocks import to_blocks
from ssic.codec import Codec
from ssic.entropy.coder import PIECE
from ssic.entropy.fixedpoint import LATENT_BITS
from ssic.entropy.pieces import Pieces
from ssic.entropy.tables import Tables
from ssic.entropy.walk import Walk
from ssic.model.config import CLASSES_PER_OCTAVE, SCALE_FLOOR, VALUE_NEIGHBOURS
from ssic.model.weights import DEFAULT_MODEL, Weights, find_weights, load_weights
from ssic.nets.entropy_model import bits
from ssic.plan import CELL, NEIGHBOURS, make_plan
from ssic.train.data import find_pictures, usable
from ssic.workers import Workers

CROP = 512
SIDE = CROP // 16
UNIT = 1 << LATENT_BITS
CORNERS = tuple(offset for offset in NEIGHBOURS if all(offset))
EDGES = tuple(offset for offset in NEIGHBOURS if not all(offset))
KNIGHTS = tuple((dy, dx) for dy, dx in itertools.product((-2, -1, 1, 2), repeat=2) if abs(dy * dx) == 2)
STEPS, RATE = 30, 0.03
EXPECTED = 0.05
"""How large the factors of corrections are expected to be: a prior, without which hundreds of them fit noise."""
PRIOR = 200
"""Symbols that a table which serves as a prior weighs as much as."""
LIMIT = 8.0
"""Standard deviations to which a neighbour's value is limited."""


@dataclass(frozen=True)
class Coded:
    """Pictures at one quality, as one group each: P pictures of `SIDE` x `SIDE` blocks, M channels.

    Attributes:
        slices: first channel of each slice, and the end of the last.
        deviation: [P, SIDE, SIDE, M] of the latents before rounding from their means.
        log2_scale: [P, SIDE, SIDE, M] of their scale.
        symbols: [P, SIDE, SIDE, M] of the latents: what the decoder has, less the mean.
        hyper: [P, cells, cells, Z] symbols of the hyper-latents.
        hyper_class: [Z] their scale classes, the same in all whole cells.
    """

    slices: Sequence[int]
    deviation: Tensor
    log2_scale: Tensor
    symbols: Tensor
    hyper: NDArray[np.int64]
    hyper_class: NDArray[np.uint8]

    @property
    def excess(self) -> Tensor:
        """[P, SIDE, SIDE, M] the symbols in standard deviations, which nets would be given."""
        return (self.symbols / torch.exp2(self.log2_scale)).clamp(-LIMIT, LIMIT)


def without_context(weights: Weights) -> Weights:
    """The same model, but for what predicts hyper-latents from those around."""
    twin = {k: v for k, v in weights.twin.items() if k not in ("z_gain", "z_seen", "precision")}
    config = dataclasses.replace(weights.config, hyper_context=False)
    return dataclasses.replace(weights, config=config, twin=twin)


def code(codec: Codec, pictures: Sequence[NDArray[np.uint8]], quality: int) -> Coded:
    """Encode, and walk the decoder's way with what comes of it."""
    twin = codec.coder.twin
    plan = make_plan(np.zeros((SIDE, SIDE), np.uint8))
    found: list[tuple[NDArray[np.float32], ...]] = []
    hyper: list[NDArray[np.int64]] = []
    classes = np.empty(0, np.uint8)
    for pixels in pictures:
        y, z = codec.engine.analyse(to_blocks(pixels), plan, {0: quality})
        coded = codec.coder.encode(plan, {0: quality}, y, z)
        mean, scale = np.empty(y.shape, np.float32), np.empty(y.shape, np.float32)
        for step in Walk(twin, plan, {0: quality}, latents=False).steps(Pieces(PIECE, 1, Workers())):
            at = np.ix_(step.rows, np.arange(step.columns.start, step.columns.stop))
            decoded = (coded.hyper_latents if step.hyper else coded.latents)[at]
            expected, its_class = step.predict(step.rows)
            if step.hyper:
                hyper.append((decoded - expected).astype(np.int64) // UNIT)
                classes = its_class[0]
            else:
                mean[at], scale[at] = expected / UNIT, SCALE_FLOOR + its_class / CLASSES_PER_OCTAVE
            step.keep(step.rows, decoded)
        found.append((y - mean, scale, np.rint(coded.latents / UNIT - mean).astype(np.float32)))
    cells = SIDE // CELL
    deviation, log2_scale, symbols = (
        torch.from_numpy(np.stack(part)).unflatten(1, (SIDE, SIDE)) for part in zip(*found, strict=True)
    )
    return Coded(
        twin.bounds,
        deviation,
        log2_scale,
        symbols,
        np.stack(hyper).reshape(len(pictures), cells, cells, -1),
        classes,
    )


def moved(values: Tensor, dy: int, dx: int) -> Tensor:
    """[P, SIDE, SIDE, C] -> at each block what the one at (dy, dx) from it has; nothing counts as zero."""
    result = torch.zeros_like(values)
    to, of = ([slice(max(0, sign * d), SIDE + min(0, sign * d)) for d in (dy, dx)] for sign in (-1, 1))
    result[:, to[0], to[1]] = values[:, of[0], of[1]]
    return result


def by_slice(coded: Coded, values: Tensor) -> Tensor:
    """Mean over the channels of each slice, [..., M] -> [..., slices]."""
    return torch.stack([part.mean(-1) for part in values.split(np.diff(coded.slices).tolist(), -1)], -1)


def spread(coded: Coded, values: Tensor) -> Tensor:
    """[..., slices] -> [..., M]."""
    return values.repeat_interleave(torch.from_numpy(np.diff(coded.slices)), -1)


@dataclass(frozen=True)
class Question:
    """A kind of context.

    Attributes:
        where: [SIDE, SIDE] blocks that would have it.
        offsets: of the neighbours that are looked at.
        first: slice with which it begins.
    """

    name: str
    where: Tensor
    offsets: Sequence[tuple[int, int]]
    first: int = 0


def questions() -> list[Question]:
    """Those about neighbours."""
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    second, third = (row % 2 == 1) & (column % 2 == 1), (row + column) % 2 == 1
    return [
        Question("fourth phase", third & (row % 2 == 1), CORNERS),
        Question("values, second phase", second, CORNERS, VALUE_NEIGHBOURS),
        Question("values, third phase", third, EDGES, VALUE_NEIGHBOURS),
        Question("knight's moves", third, KNIGHTS),
    ]


Saved = tuple[float, float, float]
"""Shares, negative where something is saved: of the bits of the latents that would have the context, on the pictures
that it was fitted to and on the others; and of all bits on the others."""


def neighbours(coded: Coded, question: Question) -> Saved:
    """What a correction by the values of some neighbours saves."""
    channels = slice(coded.slices[question.first], None)
    around = torch.stack([moved(coded.excess, *offset)[:, question.where] for offset in question.offsets])
    size = around.abs().mean(0)
    whole = spread(coded, by_slice(coded, size))
    scales = [torch.log2(size + 0.25)[..., channels], torch.log2(whole + 0.1)[..., channels]]
    return correct(coded, question.where, channels, around[..., channels], scales)


def slices_before(coded: Coded) -> Saved:
    """What a correction of the scales saves by how much was coded in the slices before in the blocks around."""
    size = by_slice(coded, coded.excess.abs())
    around = torch.log2(torch.stack([moved(size, *offset) for offset in NEIGHBOURS]).mean(0) + 0.1)
    # A quarter of the blocks is enough of them; these have the neighbours that all have.
    where = torch.zeros((SIDE, SIDE), dtype=torch.bool)
    where[1::2, 1::2] = True
    there = around[:, where]
    count = np.diff(coded.slices)
    scales = [
        torch.cat([there[..., j : j + 1].expand(-1, -1, int(n)) * (j < k) for k, n in enumerate(count)], -1)
        for j in range(len(count) - 1)
    ]
    return correct(coded, where, slice(None), None, scales)


def correct(
    coded: Coded, where: Tensor, channels: slice, means: Tensor | None, scales: Sequence[Tensor]
) -> Saved:
    """Fit a correction, and see what it saves beyond a constant one, which could be had without any context.

    Args:
        means: [J, P, T, C] what the mean may be corrected by, in standard deviations.
        scales: [P, T, C] what log2 of the scale may be corrected by, each.
    """
    deviation = coded.deviation[:, where][..., channels]
    log2_scale = coded.log2_scale[:, where][..., channels]
    deviation = deviation + torch.rand(deviation.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    unit = torch.exp2(log2_scale)
    scales = [scale - scale.mean((0, 1)) for scale in scales]
    to_fit, to_try = (slice(n, None, 2) for n in (0, 1))

    def fitted(use: bool) -> Callable[[slice], Tensor]:
        by_mean = torch.zeros(0 if means is None else len(means), deviation.shape[-1], requires_grad=use)
        by_scale = torch.zeros(len(scales), deviation.shape[-1], requires_grad=use)
        constant = torch.zeros(deviation.shape[-1], requires_grad=True)

        def cost(part: slice) -> Tensor:
            off, log2 = deviation[part], log2_scale[part] + constant
            if use:
                if means is not None:
                    off = off - unit[part] * torch.einsum("jptc,jc->ptc", means[:, part], by_mean)
                for weight, scale in zip(by_scale, scales, strict=True):
                    log2 = log2 + weight * scale[part]
            return bits(off, log2).sum()

        wanted = [by_mean, by_scale, constant] if use else [constant]
        optimiser = torch.optim.Adam(wanted, RATE)
        for step in range(STEPS):
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad()
            prior = (by_mean.square().sum() + by_scale.square().sum()) / (2 * EXPECTED**2 * math.log(2))
            ((cost(to_fit) + prior) / deviation[to_fit].numel()).backward()
            optimiser.step()
        return cost

    plain, better = fitted(False), fitted(True)
    with torch.no_grad():
        own, tried = (float(better(part) / plain(part)) - 1 for part in (to_fit, to_try))
        saved = float(better(to_try) - plain(to_try))
        total = float(bits(coded.deviation[to_try], coded.log2_scale[to_try]).sum())
    return own, tried, saved / total


def slice_tables(coded: Coded, tables: Tables) -> Saved:
    """What tables of each slice save."""
    classes = torch.round((coded.log2_scale - SCALE_FLOOR) * CLASSES_PER_OCTAVE).numpy().astype(np.int64)
    symbols, length = coded.symbols.numpy().astype(np.int64), class_lengths(tables)
    before, after = np.zeros(2), np.zeros(2)
    for start, stop in itertools.pairwise(coded.slices):
        for its_class in np.unique(classes[..., start:stop]):
            half = len(length[its_class]) // 2
            here = classes[..., start:stop] == its_class
            count = [
                np.bincount(
                    symbols[n::2, ..., start:stop][here[n::2]].clip(-half, half) + half,
                    minlength=2 * half + 1,
                )
                for n in (0, 1)
            ]
            chance = smoothed(count[0], length[its_class])
            before += [c @ length[its_class] for c in count]
            after += [-(c @ np.log2(chance)) for c in count]
    own, tried = (float(a / b) - 1 for a, b in zip(after, before, strict=True))
    return own, tried, tried


def smoothed(count: NDArray[np.int64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of each symbol of a table, from counts and the code lengths of a table that serves as a prior."""
    return (count + PRIOR * np.exp2(-length)) / (count.sum() + PRIOR)


def hyper_bits(coded: Coded, tables: Tables, symbols: NDArray[np.int64]) -> float:
    """Code length of hyper-latents under the model's tables; symbols beyond a table count as its last."""
    length, total = class_lengths(tables), 0.0
    for channel, its_class in enumerate(coded.hyper_class):
        of = length[its_class]
        half = len(of) // 2
        total += of[symbols[..., channel].clip(-half, half) + half].sum()
    return total


def class_lengths(tables: Tables) -> list[NDArray[np.float64]]:
    """By class, bits of the symbols from -support to support."""
    return [
        tables.lengths[zero - support : zero + support + 1]
        for zero, support in zip(tables.zero.tolist(), tables.support.tolist(), strict=True)
    ]


def hyper_tables(coded: Coded, tables: Tables, total: float) -> Saved:
    """What tables of each channel save, fitted to the symbols of half of the pictures."""
    parts = coded.hyper[::2], coded.hyper[1::2]
    length = class_lengths(tables)
    cost = np.zeros(2)
    for channel, its_class in enumerate(coded.hyper_class):
        half = len(length[its_class]) // 2
        index = [part[..., channel].ravel().clip(-half, half) + half for part in parts]
        count = np.bincount(index[0], minlength=2 * half + 1)
        chance = smoothed(count, length[its_class])
        cost += [-np.log2(chance[i]).sum() for i in index]
    before = [hyper_bits(coded, tables, part) for part in parts]
    own, tried = (float(after / b) - 1 for after, b in zip(cost, before, strict=True))
    return own, tried, (cost[1] - before[1]) / total


def hyper_context(coded: Coded, tables: Tables, total: float) -> Saved:
    """What a linear prediction of each channel from three cells before saves: half the log2 of how much smaller the
    error's variance is, that of rounding included."""
    x = np.stack(
        [coded.hyper[:, 1:, :-1], coded.hyper[:, :-1, 1:], coded.hyper[:, :-1, :-1]], -1, dtype=np.float64
    )
    y = coded.hyper[:, 1:, 1:].astype(np.float64)
    saved = np.zeros(2)
    for channel in range(y.shape[-1]):
        inputs, wanted = x[..., channel, :], y[..., channel]
        weights = np.linalg.lstsq(inputs[::2].reshape(-1, 3), wanted[::2].ravel(), rcond=None)[0]
        for n in (0, 1):
            error = wanted[n::2] - inputs[n::2] @ weights
            before, after = (np.mean(v**2) + 1 / 12 for v in (wanted[n::2], error))
            saved[n] -= 0.5 * np.log2(before / after) * error.size
    cost = [hyper_bits(coded, tables, coded.hyper[n::2, 1:, 1:]) for n in (0, 1)]
    return saved[0] / cost[0], saved[1] / cost[1], saved[1] / total


def measure(codec: Codec, pictures: Sequence[NDArray[np.uint8]], quality: int) -> dict[str, Saved]:
    """All questions at one quality."""
    coded = code(codec, pictures, quality)
    tables = codec.coder.tables
    tried = float(bits(coded.deviation[1::2], coded.log2_scale[1::2]).sum())
    tried += hyper_bits(coded, tables, coded.hyper[1::2])
    saved = {question.name: neighbours(coded, question) for question in questions()}
    saved["slices before"] = slices_before(coded)
    saved["tables"] = slice_tables(coded, tables)
    saved["hyper-latents: tables"] = hyper_tables(coded, tables, tried)
    saved["hyper-latents: cells before"] = hyper_context(coded, tables, tried)
    return saved


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of pictures, of 512 pixels or more"
    )
    parser.add_argument("--pictures", type=int, default=60, help="how many of them, spread over the folder")
    parser.add_argument("--qualities", type=int, nargs="+", default=[20, 50, 80])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    files, _ = find_pictures([options.images])
    files = files[:: max(1, len(files) // options.pictures)]
    pictures = []
    for pixels in itertools.islice(usable(files, CROP), options.pictures):
        top, left = ((length - CROP) // 2 for length in pixels.shape[:2])
        pictures.append(np.ascontiguousarray(pixels[top : top + CROP, left : left + CROP]))
    if len(pictures) < 2:
        raise SystemExit(f"fewer than two pictures of {CROP}x{CROP} in {options.images}")
    codec = Codec(without_context(load_weights(find_weights(options.model))))
    results = {q: measure(codec, pictures, q) for q in options.qualities}
    shown = [
        table(
            [f"quality {q}", "fitted to", "others", "of all bits, others"],
            [[name, *(f"{100 * share:+.2f} %" for share in saved)] for name, saved in of.items()],
        )
        for q, of in results.items()
    ]
    note = f"{len(pictures)} pictures, {CROP}x{CROP} from their middle; bits, less is negative"
    emit("What the entropy model doesn't see", results, [note, *shown], options.json, options.model)


if __name__ == "__main__":
    main()
