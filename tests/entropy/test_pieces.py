"""Coding in pieces: however steps are cut, and however many threads share the pieces, bytes and latents are the same;
and memory doesn't grow with what is computed, only with what is kept."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ssic
from helpers.masks import blob_mask
from ssic.entropy.coder import PIECE, LatentCoder, Substreams
from ssic.entropy.fixedpoint import as_floats
from ssic.entropy.pieces import SMALLEST, Pieces
from ssic.entropy.symbols import in_order, join
from ssic.entropy.twin import EARLIER
from ssic.model.config import CLASSES
from ssic.plan import Plan, make_plan
from ssic.workers import Workers


@pytest.fixture(scope="module")
def coder() -> LatentCoder:
    return ssic.Codec.load("small").coder


def cut(coder: LatentCoder, piece: int) -> LatentCoder:
    """The same coder with pieces of another size."""
    return LatentCoder(coder.twin, coder.tables, coder.step_worth, piece=piece)


def latents(plan: Plan, coder: LatentCoder, seed: int, size: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """y and z, of some size, with tails."""
    rng = np.random.default_rng(seed)
    y = size * rng.laplace(size=(len(plan), coder.twin.bounds[-1]))
    z = size * rng.normal(size=(len(plan.pair_count), coder.twin.config.hyper_channels))
    return y.astype(np.float32), z.astype(np.float32)


def assert_same(one: Substreams, other: Substreams) -> None:
    assert one.by_group == other.by_group
    assert one.hyper_bytes == other.hyper_bytes
    assert one.ideal_bits == pytest.approx(other.ideal_bits, rel=1e-12)
    np.testing.assert_array_equal(one.latents, other.latents)
    np.testing.assert_array_equal(one.hyper_latents, other.hyper_latents)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.2, 3.0, 300.0]),
    st.integers(1, 7),
    st.integers(1, 3),
    st.booleans(),
)
def test_how_steps_are_cut_changes_nothing(coder, rows, columns, groups, seed, size, piece, threads, part):
    """Sizes reach from nothing but zeros to an escape for nearly every symbol of the first slices, which are then on
    both sides of every cut; and some masks have blocks that are left out."""
    mask = blob_mask(seed, rows, columns, groups)
    plan = make_plan(mask, mask != 0 if part and mask.any() else None)
    y, z = latents(plan, coder, seed, size)
    quality = {g: 1 + (seed + 31 * g) % 100 for g in range(groups)}
    whole, small = cut(coder, 10**6), cut(coder, piece)
    coded = whole.encode(plan, quality, y, z)
    assert_same(small.encode(plan, quality, y, z, threads=threads), coded)
    for one in (whole, small):
        found, damaged = one.decode(plan, quality, coded.by_group, threads=threads)
        assert not damaged
        np.testing.assert_array_equal(found, coded.latents)


def test_escapes_on_both_sides_of_a_cut(coder):
    """They follow their step in the order of the picture: an order by piece and class would decode to others."""
    plan = make_plan(blob_mask(3, 8, 8, 2))
    y, z = latents(plan, coder, 1, 0.1)
    far = np.random.default_rng(2).choice(y.size, 400, replace=False)
    y.reshape(-1)[far] = np.random.default_rng(3).choice([-5000.0, 700.0, 90000.0], 400)
    quality, small = {0: 30, 1: 90}, cut(coder, 3)
    coded = coder.encode(plan, quality, y, z)
    assert np.abs(coded.latents).max() > 64 * coder.tables.support.max(), "nothing is escaped"
    assert_same(small.encode(plan, quality, y, z), coded)
    found, damaged = small.decode(plan, quality, coded.by_group)
    assert not damaged
    np.testing.assert_array_equal(found, coded.latents)


def test_damage_is_found_however_steps_are_cut(coder):
    """A group that fails in the middle is named, and the other is whole."""
    plan = make_plan(blob_mask(5, 8, 8, 2))
    y, z = latents(plan, coder, 1, 3.0)
    quality = {0: 70, 1: 70}
    coded = coder.encode(plan, quality, y, z)
    rng = np.random.default_rng(8)
    failed = 0
    for _ in range(12):
        at = int(rng.integers(len(coded.by_group[0]) // 2))
        bad = coded.by_group[0][:at] + rng.bytes(200)
        streams = {0: bad.rstrip(b"\0"), 1: coded.by_group[1]}
        found, damaged = cut(coder, 5).decode(plan, quality, streams, threads=2)
        again, same = coder.decode(plan, quality, streams)
        assert damaged == same
        np.testing.assert_array_equal(found[plan.group == 1], coded.latents[plan.group == 1])
        if damaged:
            assert damaged == [0]
            failed += 1
        else:
            np.testing.assert_array_equal(found, again)
    assert failed, "no damage was found: the test would show nothing"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 255), st.integers(1, 6), st.integers(1, 20))
def test_pieces_are_laid_into_the_order_of_a_sort(seed, groups, columns, piece):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, (57, columns)).astype(np.uint8)
    rank = rng.integers(0, groups, 57).astype(np.uint8)
    key = rank.astype(int)[:, None] * CLASSES + classes
    expected = np.argsort(key.ravel(), kind="stable")
    parts = np.split(np.arange(57), range(piece, 57, piece))
    sorted_parts = [in_order(rank[part], classes[part], groups) for part in parts]
    runs = join([counts for _, counts in sorted_parts], groups)
    got = np.full(57 * columns, -1)
    for part, (order, counts) in zip(parts, sorted_parts, strict=True):
        got[counts.places()] = part[0] * columns + order
    np.testing.assert_array_equal(got, expected)
    bounds = [0, *(stop for *_, stop in runs)]
    assert bounds[-1] == len(expected)
    for begin, (of_rank, scale, start, stop) in zip(bounds, runs, strict=False):
        assert start == begin < stop
        assert (key.ravel()[expected[start:stop]] == of_rank * CLASSES + scale).all()


@pytest.mark.parametrize(
    ("rows", "threads"), [(0, 2), (1, 2), (63, 2), (64, 2), (130, 1), (130, 2), (700, 3), (5000, 2)]
)
def test_pieces_are_bounded_and_even(rows, threads):
    pieces = Pieces(PIECE, threads, Workers())
    parts = pieces.cut(np.arange(rows))
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(rows))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= PIECE
    assert max(sizes) - min(sizes) <= 1
    if rows >= 2 * SMALLEST:
        assert len(parts) % threads == 0
        assert min(sizes) >= SMALLEST
    else:
        assert len(parts) == 1
    assert pieces.each(lambda part: part.sum(), np.arange(rows)) == [part.sum() for part in parts]


@pytest.mark.parametrize("groups", [1, 9])
def test_memory_is_that_of_what_is_kept(coder, groups):
    """30,000 blocks, 8 megapixels. Kept are values (2 bytes a channel) and features, in decoding latents (4 bytes), and
    for a while 4 to 12 bytes for each symbol of the longest step: less than 25 bytes a pixel with the latents given. In
    whole arrays of float64 it was twice to three times as much."""
    plan = make_plan(blob_mask(1, 150, 200, groups))
    y, z = latents(plan, coder, 1, 0.3)
    quality = dict.fromkeys(range(groups), 50)
    peaks = {}
    tracemalloc.start()
    try:
        coded = coder.encode(plan, quality, y, z, latents=False, threads=2)
        peaks["encode"] = tracemalloc.get_traced_memory()[1] + y.nbytes + z.nbytes
        with pytest.raises(ValueError, match="not kept"):
            _ = coded.latents
        tracemalloc.reset_peak()
        _, damaged = coder.decode(plan, quality, coded.by_group, threads=2)
        peaks["decode"] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not damaged
    per_pixel = {name: peak / (256 * len(plan)) for name, peak in peaks.items()}
    assert max(per_pixel.values()) < 16, per_pixel


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_of_neighbours_those_are_earlier_whose_inputs_are_computed(rows, columns, groups, seed):
    plan = make_plan(blob_mask(seed, rows, columns, groups))
    expected = np.full_like(plan.neighbours, len(plan))
    for phase, places in enumerate(EARLIER):
        here = np.ix_(plan.phase == phase, places)
        expected[here] = plan.neighbours[here]
    np.testing.assert_array_equal(plan.earlier, expected)


def test_making_a_plan_takes_little_beside_the_plan():
    mask = blob_mask(1, 150, 200, 9)
    tracemalloc.start()
    try:
        plan = make_plan(mask)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / (256 * len(plan)) < 0.5
    assert peak / (256 * len(plan)) < 0.9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_latents_become_numbers_as_if_they_were_divided(seed):
    rng = np.random.default_rng(seed)
    integers = (rng.integers(-(2**31), 2**31, (1500, 3)) >> rng.integers(0, 31, (1500, 3))).astype(np.int32)
    np.testing.assert_array_equal(as_floats(integers.copy()), (integers / 64).astype(np.float32))
