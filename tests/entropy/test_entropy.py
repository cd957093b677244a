"""The integer twin, its tables and the coder of latents."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ssic
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.blocks import to_blocks
from ssic.entropy import fixedpoint, tables
from ssic.entropy.coder import UNIT, LatentCoder
from ssic.entropy.fixedpoint import Layer, shift_right, to_fixed
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.errors import ModelError
from ssic.model.config import CLASSES
from ssic.model.weights import find_weights, load_weights
from ssic.plan import make_plan
from ssic.rangecoder import TOTAL
from ssic.train.freeze import freeze


@given(st.integers(-(2**45), 2**45), st.integers(1, 20))
def test_shift_rounds_halves_upwards(x, n):
    assert int(shift_right(np.array(float(x)), n)) == (x + (1 << (n - 1))) >> n


@given(st.integers(0, 2**32 - 1))
def test_layers_agree_with_unlimited_integers(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-fixedpoint.VALUE_LIMIT, fixedpoint.VALUE_LIMIT + 1, (3, 700))
    weight = rng.integers(-(2**15), 2**15, (700, 4))
    bias = rng.integers(-(2**31), 2**31, 4)
    got = Layer.of(weight.T, bias)(x.astype(float), -fixedpoint.VALUE_LIMIT)
    for i in range(3):
        for j in range(4):
            acc = sum(int(a) * int(b) for a, b in zip(x[i], weight[:, j], strict=True)) + int(bias[j])
            value = (acc + 2048) >> 12
            assert got[i, j] == max(-fixedpoint.VALUE_LIMIT, min(fixedpoint.VALUE_LIMIT, value))


def test_values_that_leave_their_format_are_an_error():
    with pytest.raises(OverflowError, match="12 fractional bits"):
        to_fixed(np.array([8.1]), 12, np.int16)
    weights = load_weights(find_weights("small"))
    grown = weights.floats["entropy.slices.0.layer1.weight"].copy()
    grown[0, 0] = 9.0
    with pytest.raises(ModelError, match=r"slices\.0\.layer1\.weight"):
        freeze(weights.config, {**weights.floats, "entropy.slices.0.layer1.weight": grown})


def test_tables_are_whole_and_close_to_their_scales():
    weights = load_weights(find_weights("small"))
    shipped = Tables(weights.twin["tables.support"], weights.twin["tables.frequencies"])
    assert len(shipped.support) == CLASSES
    for i in range(CLASSES):
        table = shipped.table(i).astype(np.int64)
        assert table.min() >= 1
        assert table.sum() == TOTAL
        support = int(shipped.support[i])
        assert len(table) == 2 * support + 2
        # The model's scale is the spread of what its table expects, within what a change of shape may do.
        spread = np.sqrt((table[:-1] / TOTAL * np.arange(-support, support + 1) ** 2.0).sum())
        if tables.scale_of(i) > 1:
            assert 0.6 < spread / tables.scale_of(i) < 1.5


@settings(max_examples=30)
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 3.0, 300.0, 1e5]),
    st.lists(st.integers(1, 100), min_size=3, max_size=3),
)
def test_any_latents_come_back_within_a_step_and_a_half(rows, columns, seed, size, qualities):
    """Whatever a network may put out: escapes, constants, values beyond all tables."""
    codec = ssic.Codec.load()
    rng = np.random.default_rng(seed)
    mask = blob_mask(seed, rows, columns, 3)
    plan = make_plan(mask)
    y = rng.laplace(size=(len(plan), codec.config.latent_channels)) * size
    z = rng.normal(size=(len(plan.pair_group), codec.config.hyper_channels)) * size
    quality = dict(enumerate(qualities))
    coded = codec.coder.encode(plan, quality, y, z)
    # Half a step from rounding, one more where the encoder found the smaller symbol worth its error.
    np.testing.assert_array_less(np.abs(coded.latents / UNIT - y.clip(-(2**19), 2**19)), 1.5 + 1.01 / UNIT)
    latents, damaged = codec.coder.decode(plan, quality, coded.by_group)
    assert not damaged
    np.testing.assert_array_equal(latents, coded.latents)
    total = 8 * sum(map(len, coded.by_group.values()))
    assert total <= coded.ideal_bits * 1.001 + 20 * len(coded.by_group)


@pytest.mark.parametrize("slices", [0, 1, 2, 5])
def test_the_first_slices_alone_are_those_of_all(slices):
    """What follows them in a substream, even damage, is not looked at."""
    codec = ssic.Codec.load()
    rng = np.random.default_rng(slices)
    plan = make_plan(blob_mask(7, 5, 6, 3))
    y = rng.laplace(size=(len(plan), codec.config.latent_channels)) * 9
    z = rng.normal(size=(len(plan.pair_group), codec.config.hyper_channels))
    quality = {0: 20, 1: 60, 2: 95}
    coded = codec.coder.encode(plan, quality, y, z)
    latents, damaged = codec.coder.decode(plan, quality, coded.by_group, slices=slices)
    channels = sum(codec.config.slices[:slices])
    assert damaged == []
    assert np.array_equal(latents, coded.latents[:, :channels])
    if slices in (1, 2):
        cut = {g: data[: -len(data) // 4] + b"\1" for g, data in coded.by_group.items()}
        assert np.array_equal(codec.coder.decode(plan, quality, cut, slices=slices)[0], latents)


@given(npst.arrays(np.float64, (1, 320), elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e30])))
@settings(max_examples=10)
def test_latents_that_are_no_numbers_are_limited_not_fatal(y):
    codec = ssic.Codec.load()
    plan = make_plan(np.zeros((1, 1), np.uint8))
    coded = codec.coder.encode(plan, {0: 50}, y, np.zeros((1, codec.config.hyper_channels)))
    latents, damaged = codec.coder.decode(plan, {0: 50}, coded.by_group)
    assert not damaged
    np.testing.assert_array_equal(latents, coded.latents)


class Unrounded:
    """Makes the twin compute in floating point, and keep that: nothing rounded but the symbols and the classes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(freeze.__globals__, "to_fixed", lambda x, bits, dtype: np.asarray(x) * 2.0**bits)
        monkeypatch.setattr("ssic.entropy.twin.shift_right", lambda x, bits: x * 2.0**-bits)
        monkeypatch.setattr(
            Layer, "__call__", lambda self, x, low: fixedpoint.clamp(x @ self.weight + (self.bias - 0.5), low)
        )
        for kind in ("twin.VALUE_TYPE", "walk.VALUE_TYPE", "walk.LATENT_TYPE"):
            monkeypatch.setattr(f"ssic.entropy.{kind}", np.float64)
        monkeypatch.setattr(
            "ssic.entropy.twin.scale_class",
            lambda x: np.clip(np.floor((x + 3328) / 128 + 0.5), 0, CLASSES - 1).astype(np.uint8),
        )


def cost(coder: LatentCoder, quality: int) -> float:
    """Bits of six pictures, and what the error of their latents is worth: what the encoder weighs against each other.
    Bits alone would also count every symbol that it now decides otherwise, for a better or a worse picture."""
    codec = ssic.Codec.load("small", engine="onnx")
    total = 0.0
    for seed in range(6):
        mask = blob_mask(seed, 12, 14, 3)
        plan = make_plan(mask)
        blocks = to_blocks(natural_picture(seed, 192, 224))
        qualities = dict.fromkeys(range(3), quality)
        y, z = codec.engine.analyse(blocks, plan, qualities)
        coded = coder.encode(plan, qualities, y, z)
        total += coded.ideal_bits + coder.step_worth * float(np.square(y - coded.latents / UNIT).sum())
    return total


@pytest.mark.parametrize("quality", [15, 60, 95])
def test_the_twin_costs_less_than_a_fifth_of_a_percent(quality, monkeypatch):
    """Against the same nets and tables in float64. A twin with six bits fewer in its weights does cost more."""
    weights = load_weights(find_weights("small"))
    tables = Tables(weights.twin["tables.support"], weights.twin["tables.frequencies"])
    exact = cost(
        LatentCoder(Twin(weights.config, freeze(weights.config, weights.floats, tables)), tables), quality
    )
    coarse = {k: np.round(v / 256) * 256 if k.endswith("weight") else v for k, v in weights.twin.items()}
    sabotaged = cost(LatentCoder(Twin(weights.config, coarse), tables), quality)
    Unrounded(monkeypatch)
    unrounded = cost(
        LatentCoder(Twin(weights.config, freeze(weights.config, weights.floats, tables)), tables), quality
    )
    assert exact / unrounded - 1 < 0.002
    assert sabotaged / unrounded - 1 > 0.005


def test_overlapping_calls_leave_the_blas_threads_as_they_were():
    from threadpoolctl import threadpool_info

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    codec = ssic.Codec.load()
    picture = natural_picture(0, 32, 32)
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: codec.encode(picture).data, range(16)))
    assert len(set(files)) == 1
    assert threads() == before
