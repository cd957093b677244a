"""Fit how hyper-latents are predicted from those of the cells around (`ModelConfig.hyper_context`) to what training
pictures really give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import block_grid, to_blocks
from ssic.codec import Codec
from ssic.entropy.coder import UNIT
from ssic.entropy.fixedpoint import SCALE_BITS
from ssic.entropy.twin import context_kinds, scale_class
from ssic.model.config import CLASSES_PER_OCTAVE, HYPER_CONTEXTS
from ssic.model.gains import hyper_precision
from ssic.model.weights import Weights
from ssic.plan import make_plan
from ssic.train.tables import CROP, QUALITIES

PRIOR = 20.0
"""Squared steps that the gain zero weighs as much as: rare kinds stay close to it."""

OFFSETS = np.array(sorted(range(-3 * CLASSES_PER_OCTAVE, CLASSES_PER_OCTAVE + 1), key=abs))
"""Classes that a scale may be moved by, the least first: it is taken where others do no better."""


def fit_hyper_context(
    weights: Weights, crops: Sequence[NDArray[np.uint8]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gains by least squares; scales by the code length of what is left under the model's tables.

    Args:
        weights: without a context, or with one that is all zeros.
        crops: `ssic.train.tables.centres` of pictures, taken at several qualities, every second one in three groups.

    Returns:
        gains and what is added to log2 of the scales, by kind (`context_kinds`) and channel, [9, Z] each.
    """
    codec = Codec(weights)
    around, wanted, scales, kinds = [], [], [], []
    for n, centre in enumerate(crops):
        ids = _groups(n) if n % 2 else np.zeros(block_grid((CROP, CROP)), np.uint8)
        plan = make_plan(ids)
        blocks = to_blocks(centre)[plan.block]
        kind, earlier = context_kinds(plan, np.arange(len(plan.pair_count)))
        precision = hyper_precision(plan.pair_count.astype(np.float64))[:, None]
        for quality in QUALITIES:
            qualities = dict.fromkeys(np.unique(ids).tolist(), quality)
            y, z = codec.engine.analyse(blocks, plan, qualities)
            coded = codec.coder.encode(plan, qualities, y, z)
            mean = weights.twin["z_mean"][quality - 1] / UNIT
            off = (coded.hyper_latents / UNIT - mean) / precision
            around.append(precision * np.append(off, np.zeros((1, off.shape[1])), 0)[earlier].sum(1))
            wanted.append(z - mean)
            scales.append(weights.twin["z_scale"][quality - 1] + weights.twin["z_count"][plan.pair_count - 1])
            kinds.append(kind)
    x, y, scale, kind = (np.concatenate(part) for part in (around, wanted, scales, kinds))
    gain, seen = np.zeros((2, HYPER_CONTEXTS, y.shape[1]))
    for k in range(HYPER_CONTEXTS):
        here = kind == k
        if k:
            gain[k] = (x[here] * y[here]).sum(0) / ((x[here] ** 2).sum(0) + PRIOR)
        if here.any():
            seen[k] = _best_offsets(codec, y[here] - gain[k] * x[here], scale[here]) / CLASSES_PER_OCTAVE
    return gain, seen


def _groups(seed: int) -> NDArray[np.uint8]:
    """Three groups: what is nearest to each of three blocks."""
    rows, columns = block_grid((CROP, CROP))
    centres = np.random.default_rng(seed).uniform(0, (rows, columns), (3, 2))
    places = np.argwhere(np.ones((rows, columns), bool)).reshape(rows, columns, 1, 2)
    return np.square(places - centres).sum(-1).argmin(-1).astype(np.uint8)


def _best_offsets(codec: Codec, off: NDArray[np.float64], scale: NDArray[np.integer]) -> NDArray[np.int64]:
    """[Z] the number of classes to move the scale of each channel by, for the fewest bits.

    Args:
        off: [n, Z] what is to be coded, before rounding.
        scale: [n, Z] log2 of the scale, `SCALE_BITS` fractional bits.
    """
    tables = codec.coder.tables
    symbols = np.rint(off).astype(np.int64)
    step = 2**SCALE_BITS // CLASSES_PER_OCTAVE
    bits = []
    for offset in OFFSETS:
        its_class = scale_class((scale + offset * step).astype(np.float64))
        support = tables.support[its_class]
        beyond = 2.0 * np.log2(np.maximum(np.abs(symbols) - support, 1)) + 2  # of an escape's code, about
        inside = np.abs(symbols) <= support
        length = tables.lengths[tables.zero[its_class] + np.where(inside, symbols, support + 1)]
        bits.append(np.where(inside, length, length + beyond).sum(0))
    return OFFSETS[np.argmin(bits, 0)]
