"""Pixels against an independent decoder: the synthesis is as docs/synthesis.md says."""

from __future__ import annotations

import numpy as np
import pytest

import ssic
from conftest import blob_mask, natural_picture
from reference_synthesis import ReferenceSynthesis, load_floats
from ssic.model.weights import find_weights


@pytest.mark.parametrize(
    ("picture", "mask", "quality"),
    [
        (natural_picture(3, 48, 64), blob_mask(3, 3, 4, 3), {0: 1, 1: 50, 2: 99}),
        (
            natural_picture(4, 150, 75),
            blob_mask(5, 10, 5, 3),
            {0: 70, 1: 30, 2: 90},
        ),  # two windows, and seams
        (natural_picture(6, 20, 160), np.zeros((2, 10), np.uint8), {0: 80}),
    ],
    ids=["tiny", "tall", "wide"],
)
def test_pixels_are_those_of_the_page(picture, mask, quality):
    encoding = ssic.Codec.load().encode(picture, mask, group_quality=quality)
    decoded = ssic.decode(encoding.data)
    config, floats = load_floats(find_weights("small"))
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
