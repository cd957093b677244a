"""The mask coder: exact, small, fast, and as docs/format.md describes it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers.masks import blobs, box_union
from helpers.reference_range_decoder import reference_decode_mask
from ssic.format.mask_coder import decode_mask, encode_mask, mask_step
from ssic.format.mask_tables import NUMBER, QUOTIENT, decisions, even
from ssic.rangecoder import RangeEncoder, encoder_bytes


def masks() -> st.SearchStrategy[NDArray[np.uint8]]:
    def make(seed: int, kind: str, rows: int, columns: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        if kind == "noise":
            return rng.integers(0, rng.integers(1, 257), (rows, columns)).astype(np.uint8)
        if kind == "boxes":
            return box_union(rng, rows + 3, columns + 3)
        return blobs(rng, rows, columns, 6).repeat(2, 0).repeat(2, 1)[: 2 * rows - 1]

    return st.builds(
        make,
        st.integers(0, 2**32),
        st.sampled_from(["noise", "boxes", "blobs"]),
        st.integers(1, 20),
        st.integers(1, 20),
    )


@settings(max_examples=80, deadline=None)
@given(masks())
def test_round_trip_and_reference(mask: NDArray[np.uint8]) -> None:
    labels, step = int(mask.max()) + 1, mask_step(mask)
    data = encode_mask(mask, labels, step)
    assert np.array_equal(decode_mask(data, mask.shape, labels, step), mask)
    assert np.array_equal(reference_decode_mask(data, mask.shape, labels, step), mask)
    finer = encode_mask(mask, labels, 0)
    assert np.array_equal(decode_mask(finer, mask.shape, labels, 0), mask)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 12), st.integers(1, 12), st.integers(1, 256), st.integers(0, 3))
def test_any_bytes_are_a_mask_or_an_error(
    data: bytes, rows: int, columns: int, labels: int, step: int
) -> None:
    try:
        mask = decode_mask(data, (rows, columns), labels, step)
    except ValueError:
        return
    assert mask.shape == (rows, columns)
    assert mask.max() < labels
    assert encode_mask(mask, labels, step) == data


@pytest.mark.parametrize("labels", [2, 3, 9])
def test_ten_thousand_mutations_are_a_mask_or_an_error(labels: int) -> None:
    """Whatever is decoded has no second code, and reading takes no longer than a mask of that size may."""
    rng = np.random.default_rng(labels)
    whole = blobs(rng, 15, 22, 8) % labels
    data = encode_mask(whole, labels, 0)
    masks, slowest = 0, 0.0
    for _ in range(3400):
        mutated = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            kind, at = rng.integers(0, 4), int(rng.integers(0, len(mutated) + 1))
            if kind == 0:
                mutated[at:at] = rng.bytes(int(rng.integers(1, 6)))
            elif kind == 1:
                del mutated[at : at + int(rng.integers(1, 6))]
            else:
                mutated[at : at + 1] = rng.bytes(1)
        begun = time.process_time()
        try:
            mask = decode_mask(bytes(mutated), whole.shape, labels, 0)
        except ValueError:
            continue
        finally:
            slowest = max(slowest, time.process_time() - begun)
        masks += 1
        assert mask.shape == whole.shape
        assert mask.max() < labels
        assert encode_mask(mask, labels, 0) == mutated
    assert masks > 0
    assert slowest < 0.2


def test_needless_bytes_and_needless_breaks_are_refused() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 1
    data = encode_mask(mask, 2, 0)
    for longer in (data + b"\0", data + b"\1"):
        with pytest.raises(ValueError, match=r"shortest|no coded mask"):
            decode_mask(longer, mask.shape, 2, 0)

    def coded(*symbols: tuple[int, Any]) -> bytes:
        encoder = RangeEncoder()
        for symbol, model in symbols:
            encoder.encode(symbol, model)
        return encoder_bytes(encoder)

    with pytest.raises(ValueError, match="20 breaks in 16 cells"):
        decode_mask(coded((4, NUMBER), (5, even(16))), mask.shape, 2, 0)
    # One break, after more chances than there are: 15 * 2 and 3 * 2 more.
    late = coded((1, NUMBER), (0, even(2)), (15, QUOTIENT), (0, even(4)), (2, NUMBER), (0, even(4)))
    with pytest.raises(ValueError, match="more than there is room for"):
        decode_mask(late, mask.shape, 2, 0)
    # Eight breaks, and a first gap that does not end.
    endless = coded((3, NUMBER), (1, even(8)), *[(0, decisions()[1])] * 40)
    with pytest.raises(ValueError, match="longer gap than there is room for"):
        decode_mask(endless, mask.shape, 2, 0)


def test_gaps_of_every_length() -> None:
    """Single cells that differ, near and far from each other: quotients that escape, rests of more than eight bits."""
    for spots in ([5], [0, 1, 2, 3000], [0, 1, 2, 4, 8, 16, 32, 64, 16000], [0, 70_000], [119_999]):
        mask = np.zeros((300, 400), np.uint8)
        mask.ravel()[spots] = 1
        data = encode_mask(mask, 2, 0)
        assert np.array_equal(decode_mask(data, mask.shape, 2, 0), mask)
        assert np.array_equal(reference_decode_mask(data, mask.shape, 2, 0), mask)


@pytest.mark.parametrize("size", range(1, 40))
def test_step_is_the_largest_that_is_exact(size: int) -> None:
    rng = np.random.default_rng(size)
    for step in range(5):
        cells = rng.integers(0, 2, (40, 40)).repeat(1 << step, 0).repeat(1 << step, 1)
        mask = cells[: int(rng.integers(1, 40)), :size].astype(np.uint8)
        exact = [
            s for s in range(4) if np.array_equal(mask[:: 1 << s, :: 1 << s].repeat(1 << s, 0).repeat(1 << s, 1)[
                : mask.shape[0], : mask.shape[1]], mask)
        ]  # fmt: skip
        assert mask_step(mask) == max(exact)


def test_one_label_takes_no_bytes() -> None:
    mask = np.zeros((5, 7), np.uint8)
    assert encode_mask(mask, 1, mask_step(mask)) == b""
    with pytest.raises(ValueError, match="none are needed"):
        decode_mask(b"\1", (5, 7), 1, 0)


def test_box_unions_take_few_bytes() -> None:
    rng = np.random.default_rng(7)
    sizes = [
        len(encode_mask(mask, int(mask.max()) + 1, mask_step(mask)))
        for mask in (box_union(rng) for _ in range(40))
    ]
    assert np.mean(sizes) < 36
    sizes = [len(encode_mask(blobs(rng, 32, 48, 5), 6, 0)) for _ in range(40)]
    assert np.mean(sizes) < 50


def test_noise_takes_no_more_than_itself() -> None:
    rng = np.random.default_rng(8)
    for labels in (2, 3, 16, 256):
        mask = rng.integers(0, labels, (100, 100)).astype(np.uint8)
        assert len(encode_mask(mask, labels, 0)) < 1.02 * mask.size * np.log2(labels) / 8 + 150


@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_twelve_megapixels_are_fast(kind: str) -> None:
    rng = np.random.default_rng(1)
    mask = blobs(rng, 188, 250, 20) if kind == "blobs" else rng.integers(0, 256, (188, 250)).astype(np.uint8)
    labels = int(mask.max()) + 1
    start = time.process_time()
    data = encode_mask(mask, labels, 0)
    middle = time.process_time()
    assert np.array_equal(decode_mask(data, mask.shape, labels, 0), mask)
    # 0.001 s (blobs) and 0.1 s (noise) where this was written.
    assert middle - start < 1
    assert time.process_time() - middle < 1
