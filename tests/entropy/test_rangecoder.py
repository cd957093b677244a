"""The range coder against an independent decoder: tables reach it exactly, streams are as the page says."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.reference_range_decoder import ReferenceRangeDecoder
from ssic.rangecoder import TOTAL, decoder_from_bytes, encoder_bytes, integer_model

Encoder = constriction.stream.queue.RangeEncoder


def table(weights: np.ndarray) -> np.ndarray:
    """Integer frequencies, each at least 1, together 2**24."""
    free = TOTAL - len(weights)
    out = np.floor(weights / weights.sum() * free).astype(np.int64)
    out[np.argmax(weights)] += free - out.sum()
    return out + 1


def cumulative(frequencies: np.ndarray) -> list[int]:
    return [0, *np.cumsum(frequencies).tolist()]


def weights(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    x = np.arange(size)
    return {
        "flat": np.ones(size),
        "steep": np.exp(-0.5 * x),  # nearly all entries become 1
        "rough": rng.random(size) ** 8,
        "bell": np.exp(-0.5 * ((x - size / 2) / (1 + size / 40)) ** 2),
        "spike": (x == size - 1).astype(float),
    }[kind]


@pytest.mark.parametrize("size", [2, 3, 64, 1000, 4000])
@pytest.mark.parametrize("kind", ["flat", "steep", "rough", "bell", "spike"])
def test_integer_tables_reach_the_coder_exactly(kind: str, size: int) -> None:
    rng = np.random.default_rng(size)
    frequencies = table(weights(kind, size, rng))
    assert frequencies.min() >= 1
    assert frequencies.sum() == TOTAL
    model = integer_model(frequencies)
    # Every symbol once, the rare ones too, and some at their own rate.
    usual = rng.choice(size, 300, p=frequencies / TOTAL)
    symbols = np.concatenate([rng.permutation(size), usual]).astype(np.int32)
    encoder = Encoder()
    encoder.encode(symbols, model)
    data = encoder_bytes(encoder)
    reference, cdf = ReferenceRangeDecoder(data), cumulative(frequencies)
    assert [reference.decode(cdf) for _ in symbols] == symbols.tolist()
    assert np.array_equal(decoder_from_bytes(data).decode(model, len(symbols)), symbols)
    # An inexact table would decode, too, if encoder and decoder shared it; the length tells.
    bits = -np.log2(frequencies[symbols] / TOTAL).sum()
    assert len(data) * 8 <= bits + 8.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_recipe_holds_for_one_table_per_symbol(dtype: type) -> None:
    rng = np.random.default_rng(5)
    tables = np.stack([table(weights("rough", 40, rng)) for _ in range(200)])
    symbols = rng.integers(0, 40, 200).astype(np.int32)
    encoder = Encoder()
    family = constriction.stream.model.Categorical(perfect=False)
    encoder.encode(symbols, family, (tables - 1).astype(dtype))
    reference = ReferenceRangeDecoder(encoder_bytes(encoder))
    assert [reference.decode(cumulative(row)) for row in tables] == symbols.tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([2, 3, 17, 300]), st.integers(0, 80), st.sampled_from([1, 2, 9])
)
def test_streams_are_shortest_and_decode(seed: int, size: int, length: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    frequencies = table(rng.random(size) ** power)
    model, cdf = integer_model(frequencies), cumulative(frequencies)
    p = frequencies / TOTAL if seed % 2 else None
    symbols = rng.choice(size, length, p=p).astype(np.int32)
    encoder = Encoder()
    for symbol in symbols:
        encoder.encode(int(symbol), model)
    before = encoder.get_compressed()
    data = encoder_bytes(encoder)
    assert np.array_equal(encoder.get_compressed(), before)
    assert len(data) <= 4 * len(before)
    assert not data.endswith(b"\0")

    def decode(stream: bytes) -> list[int]:
        reference = ReferenceRangeDecoder(stream)
        return [reference.decode(cdf) for _ in symbols]

    assert decode(data) == symbols.tolist()
    assert decode(data + b"\0\0\0\0\0") == symbols.tolist()
    if data:
        shorter = int.from_bytes(data[:-1], "big")
        for value in (shorter, shorter + 1):
            if value < 256 ** (len(data) - 1):
                try:
                    found = decode(value.to_bytes(len(data) - 1, "big"))
                except ValueError:
                    continue
                assert found != symbols.tolist()


def test_a_long_run_of_carries() -> None:
    """Symbols at the upper end of the interval, again and again, keep the encoder's words undecided."""
    frequencies = np.array([TOTAL // 2 - 1, 2, TOTAL // 2 - 1])
    model, cdf = integer_model(frequencies), cumulative(frequencies)
    for tail in ([0], [2], []):
        symbols = np.array([1] * 400 + tail, np.int32)
        encoder = Encoder()
        encoder.encode(symbols, model)
        reference = ReferenceRangeDecoder(encoder_bytes(encoder))
        assert [reference.decode(cdf) for _ in symbols] == symbols.tolist()


@pytest.mark.parametrize(
    "bad",
    [
        np.array([TOTAL]),
        np.array([TOTAL, 0]),
        np.array([TOTAL - 2, 1]),
        np.array([0.5, 0.5]),
        np.array([[1, TOTAL - 1]]),
        np.array([-1, TOTAL + 1]),
        np.array([2**63 - 1, 2**63 - 1]),
    ],
)
def test_other_tables_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        integer_model(bad)
