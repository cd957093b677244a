"""Pixels against an independent decoder: the synthesis is as docs/synthesis.md says, whichever engine runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ssic
from helpers.engines import ENGINES
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.reference_synthesis import ReferenceSynthesis, load_floats
from ssic.model.weights import find_weights

EXACT = [engine for engine in ENGINES if not engine.endswith("bfloat16")]
"""Engines that compute in float32; bfloat16 is further from the page than the difference of one level asked for."""

PICTURES = {
    "tiny": (natural_picture(3, 48, 64), blob_mask(3, 3, 4, 3), {0: 1, 1: 50, 2: 99}),
    # Two windows, and seams.
    "tall": (natural_picture(4, 150, 75), blob_mask(5, 10, 5, 3), {0: 70, 1: 30, 2: 90}),
    "wide": (natural_picture(6, 20, 160), np.zeros((2, 10), np.uint8), {0: 80}),
}


def check_pixels(model: Path, engine: str, picture: np.ndarray, mask: np.ndarray, quality: dict[int, int]):
    encoding = ssic.Codec.load(model, engine=engine).encode(
        picture, mask, group_quality=quality, latents=True
    )
    decoded = ssic.decode(encoding.data, model=model, engine=engine)
    config, floats = load_floats(model)
    blocks = encoding.latents.reshape(*mask.shape, -1)
    latents = {(r, c): blocks[r, c].astype(int).tolist() for r, c in np.ndindex(mask.shape)}
    expected = ReferenceSynthesis(config, floats).decode(latents, mask.tolist(), quality)
    height, width = picture.shape[:2]
    for (r, c), pixels in expected.items():
        shown = decoded[16 * r : 16 * r + 16, 16 * c : 16 * c + 16].astype(int)
        difference = np.abs(shown - pixels[: shown.shape[0], : shown.shape[1]])
        assert difference.max() <= 1, (r, c)
        assert difference.mean() < 0.2, (r, c)
    assert len(expected) == -(-height // 16) * -(-width // 16)
    return decoded


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("case", PICTURES)
def test_pixels_are_those_of_the_page(case, engine):
    check_pixels(find_weights("small"), engine, *PICTURES[case])


def written(folder: Path, kind: str) -> Path:
    """Random weights of a kind of blocks."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from helpers.random_weights import KINDS, random_weights

    path = folder / f"{kind}.safetensors"
    path.write_bytes(random_weights(1, KINDS[kind]))
    return path


@pytest.fixture(scope="module")
def mixing(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("weights"), "local")


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("case", PICTURES)
def test_so_are_those_of_networks_that_mix_neighbours(case, engine, mixing):
    decoded = check_pixels(mixing, engine, *PICTURES[case])
    assert np.mean((decoded > 0) & (decoded < 255)) > 0.2  # clipped pixels would show nothing


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("kind", ["gated", "sparse", "dictionary"])
def test_so_are_those_of_networks_with_other_blocks(kind, engine, tmp_path):
    decoded = check_pixels(written(tmp_path, kind), engine, *PICTURES["tall"])
    assert np.mean((decoded > 0) & (decoded < 255)) > 0.2


@pytest.mark.parametrize(
    ("kind", "without"), [("local", {"local": False}), ("dictionary", {"dictionary": 0})]
)
def test_what_blocks_are_made_of_shows(kind, without, tmp_path):
    """Without it the reference gives other pixels: so the tests above would fail if an engine left it out. Gated and
    sparse blocks have other shapes."""
    config, floats = load_floats(written(tmp_path, kind))
    rng = np.random.default_rng(0)
    mask = blob_mask(3, 3, 4, 3)
    latents = {at: rng.integers(-200, 200, 32).tolist() for at in np.ndindex(mask.shape)}
    quality = {0: 20, 1: 50, 2: 90}
    one, two = (
        ReferenceSynthesis(stated, floats).decode(latents, mask.tolist(), quality)
        for stated in (config, {**config, **without})
    )
    assert max(np.abs(one[at].astype(int) - two[at]).max() for at in one) > 10
