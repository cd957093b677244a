"""The coder of latents against an independent decoder: substreams are as docs/entropy.md says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ssic
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.reference_decoder import SubstreamDecoder, decode_substream, load_tensors, shift
from helpers.reference_range_decoder import InvalidStream
from ssic.entropy.twin import context_kinds
from ssic.format import read_head, read_segment
from ssic.model.config import HYPER_CONTEXTS
from ssic.model.weights import find_weights
from ssic.plan import make_plan
from ssic.rangecoder import RangeEncoder, encoder_bytes, integer_model


@pytest.fixture(scope="module")
def weights() -> tuple[dict[str, Any], list[int]]:
    return load_tensors(find_weights("small"))


def black_or_white(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Every sample of every channel at one end of its range, by chance."""
    noise = np.random.default_rng(seed).integers(0, 2, (height, width, 3))
    return (255 * noise).astype(np.uint8)


def by_group(latents: NDArray[np.float64], mask: NDArray[np.uint8], group: int) -> dict[Any, list[int]]:
    """Latents of all blocks in raster order -> those of one group, by row and column."""
    blocks = latents.reshape(*mask.shape, -1)
    return {(int(r), int(c)): blocks[r, c].astype(np.int64).tolist() for r, c in np.argwhere(mask == group)}


def test_hyper_latents_are_predicted_from_those_of_earlier_cells(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from helpers.random_weights import KINDS, random_weights

    path = tmp_path / "context.safetensors"
    path.write_bytes(random_weights(3, KINDS["hyper-context"]))
    # 6x5 cells, cut ones too; blocks of two groups are strewn about, so that some of the cells around lack them.
    mask = np.random.default_rng(0).choice(3, (22, 19), p=(0.9, 0.06, 0.04)).astype(np.uint8)
    picture = natural_picture(5, 350, 300)
    codec = ssic.Codec.load(path)
    encoding = codec.encode(picture, mask, group_quality={0: 70, 1: 30, 2: 90}, latents=True)
    plan = make_plan(mask)
    kinds, _ = context_kinds(plan, np.arange(len(plan.pair_count)))
    assert set(range(HYPER_CONTEXTS)) == set(kinds.tolist())
    head = read_head(encoding.data)
    for g in head.groups:
        segment = read_segment(encoding.data, head, g.id)
        decoded = decode_substream(*load_tensors(path), head.mask.tolist(), g.id, g.quality, segment)
        assert decoded == by_group(encoding.latents, mask, g.id)
    # It takes part: without gains the same latents are other bytes.
    plain = random_weights(3, replace(KINDS["hyper-context"], hyper_context=False))
    (tmp_path / "plain.safetensors").write_bytes(plain)
    assert ssic.encode(picture, mask, model=tmp_path / "plain.safetensors")[100:] != encoding.data[100:]


@pytest.mark.parametrize(
    ("picture", "mask", "quality"),
    [
        (natural_picture(3, 48, 64), blob_mask(3, 3, 4, 3), {0: 1, 1: 50, 2: 99}),
        (
            natural_picture(4, 90, 85),
            blob_mask(5, 6, 6, 3),
            {0: 70, 1: 30, 2: 90},
        ),  # several cells, cut ones too
        (black_or_white(5, 48, 64), blob_mask(4, 3, 4, 2), {0: 100, 1: 100}),
    ],
    ids=["tiny", "cells", "noise"],
)
def test_pictures_decode_to_the_encoders_latents(weights, picture, mask, quality):
    encoding = ssic.Codec.load("small").encode(picture, mask, group_quality=quality, latents=True)
    head = read_head(encoding.data)
    assert len(head.groups) == len(quality)
    for g in head.groups:
        segment = read_segment(encoding.data, head, g.id)
        decoded = decode_substream(*weights, head.mask.tolist(), g.id, g.quality, segment)
        assert decoded == by_group(encoding.latents, mask, g.id)


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_latents_beyond_all_tables(weights, size):
    """Long escapes, and values that every clamp has to limit."""
    coder = ssic.Codec.load("small").coder
    rng = np.random.default_rng(6)
    mask = blob_mask(6, 3, 3, 2)
    plan = make_plan(mask)
    y = size * rng.laplace(size=(len(plan), sum(weights[1])))
    z = size * rng.normal(size=(len(plan.pair_group), len(weights[0]["z_mean"][0])))
    coded = coder.encode(plan, {0: 20, 1: 80}, y, z)
    for group, quality in ((0, 20), (1, 80)):
        decoder = SubstreamDecoder(*weights, mask.tolist(), group, quality, coded.by_group[group])
        assert decoder.decode() == by_group(coded.latents, mask, group)
        assert decoder.escapes


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_bytes_that_no_encoder_wrote(weights, seed):
    """Noise, and no bytes at all, mean the same to both, or are an error to both."""
    data = b"" if seed is None else np.random.default_rng(seed).bytes(2000)
    mask = np.zeros((2, 2), np.uint8)
    _, latents, damaged = ssic.Codec.load("small").decode_latents(mask, {0: 50}, {0: data})
    if damaged:
        with pytest.raises(InvalidStream):
            decode_substream(*weights, mask.tolist(), 0, 50, data)
    else:
        assert decode_substream(*weights, mask.tolist(), 0, 50, data) == by_group(latents, mask, 0)


def hyper_latents_with_an_escape(tensors: dict[str, Any], quality: int, ones: int) -> bytes:
    """The start of a substream of one block: zeros but for an escape whose code has `ones` ones, a zero, ones."""
    supports, frequencies = tensors["tables.support"], np.array(tensors["tables.frequencies"])
    ends = np.cumsum([2 * s + 2 for s in supports])
    scales = sum(
        map(np.array, (tensors["z_scale"][quality - 1], tensors["z_count"][0], tensors["z_seen"][0]))
    )
    encoder = RangeEncoder()
    for i, c in enumerate(sorted(min(max(shift(int(s) + 3328, 7), 0), 90) for s in scales)):
        table = frequencies[ends[c] - 2 * supports[c] - 2 : ends[c]]
        encoder.encode(2 * supports[c] + 1 if i == 0 else supports[c], integer_model(table))
    for bit in [1, *[1] * ones, 0, *[1] * ones]:
        encoder.encode(bit, integer_model(np.full(2, 2**23)))
    return encoder_bytes(encoder)


def test_the_longest_escape(weights):
    """21 ones pass, 22 do not."""
    codec = ssic.Codec.load("small")
    mask = np.zeros((1, 1), np.uint8)
    data = hyper_latents_with_an_escape(weights[0], 50, 21)
    _, latents, damaged = codec.decode_latents(mask, {0: 50}, {0: data})
    assert not damaged
    decoder = SubstreamDecoder(*weights, mask.tolist(), 0, 50, data)
    assert decoder.decode() == by_group(latents, mask, 0)
    assert decoder.escapes

    data = hyper_latents_with_an_escape(weights[0], 50, 22)
    assert codec.decode_latents(mask, {0: 50}, {0: data})[2] == [0]
    with pytest.raises(InvalidStream, match="21 ones"):
        decode_substream(*weights, mask.tolist(), 0, 50, data)
