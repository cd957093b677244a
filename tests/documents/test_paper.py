"""The yardstick of `benchmarks/speed.py`: the paper's networks, as far as their shapes and what depends on what."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from helpers import ROOT

torch = pytest.importorskip("torch")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    torch.manual_seed(0)
    return importlib.import_module("paper")


def test_what_is_decoded_is_what_was_encoded(paper: Any) -> None:
    """The decoder runs slice by slice on symbols alone, and comes to the latents that the encoder went on from."""
    networks = paper.Networks().eval()
    pixels = torch.rand(128, 256, 3)
    ids = torch.arange(8 * 16).view(8, 16) % 3
    symbols, z = networks.encode(pixels, ids)
    assert symbols.shape == (8, 16, 320)
    assert z.shape == (1, 192, 2, 4)
    seen = []
    with torch.inference_mode():
        y = networks.analysis(pixels, paper.stages_of(ids))

        def write(i: int, mean: Any, scale: Any) -> Any:
            seen.append((y.chunk(10, 2)[i] - mean).round())
            return seen[-1]

        shown = networks.synthesis(networks.entropy.slices(z, write), paper.stages_of(ids))
    assert torch.equal(torch.cat(seen, 2), symbols)
    decoded = networks.decode(symbols, z, ids)
    assert decoded.shape == pixels.shape
    assert torch.equal(decoded, shown)


def test_groups_are_independent_in_the_transforms(paper: Any) -> None:
    """What another group shows changes no latent of a group, shifted windows included."""
    networks = paper.Networks().eval()
    pixels, ids = torch.rand(128, 128, 3), torch.zeros(8, 8, dtype=torch.int64)
    ids[2:5, 3:7] = 1
    other = pixels.clone()
    own = ids.repeat_interleave(16, 0).repeat_interleave(16, 1) == 1
    other[~own] = torch.rand(int((~own).sum()), 3)
    with torch.inference_mode():
        one, two = (networks.analysis(p, paper.stages_of(ids)) for p in (pixels, other))
    torch.testing.assert_close(one[ids == 1], two[ids == 1])
    assert not torch.allclose(one[ids == 0], two[ids == 0])


def test_multiplications_are_those_that_are_known(paper: Any) -> None:
    """About 230 thousand a pixel and side, for linear maps within blocks; attention and the joints add some."""
    found = paper.measure(np.zeros((128, 128, 3), np.uint8), np.zeros((8, 8), np.uint8), runs=1, threads=1)
    blocks = sum(
        12 * width**2 * depth / 4 ** (k + 1)
        for k, (width, depth) in enumerate(zip(paper.WIDTHS, paper.DEPTHS, strict=True))
    )
    attention = sum(
        2 * 64 * width * depth / 4 ** (k + 1)
        for k, (width, depth) in enumerate(zip(paper.WIDTHS, paper.DEPTHS, strict=True))
    )
    joints = sum(
        4 * i * o / 4 ** (k + 1)
        for k, (i, o) in enumerate(zip((3, *paper.WIDTHS), paper.WIDTHS, strict=False))
    )
    assert 218_000 < blocks < 232_000
    assert found["transforms_kmac"] == pytest.approx([(blocks + attention + joints) / 1000] * 2)
    assert all(seconds > 0 for name in ("encode", "decode") for seconds in found[name].values())
