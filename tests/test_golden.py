"""Files that were written once must decode for ever."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from ssic.model.weights import find_by_id

GOLDEN = Path(__file__).parent / "golden"
HASHES: dict[str, str] = json.loads((GOLDEN / "latents.json").read_text())

sys.path.insert(0, str(GOLDEN.parent.parent / "scripts"))

from make_golden import latent_hash  # noqa: E402


def test_every_golden_file_is_listed():
    assert sorted(HASHES) == sorted(p.stem for p in GOLDEN.glob("*.ssic"))
    assert len(HASHES) >= 4


@pytest.mark.parametrize("name", sorted(HASHES))
def test_golden_files_decode_to_the_same_latents_and_pixels(name):
    data = (GOLDEN / f"{name}.ssic").read_bytes()
    codec = ssic.Codec.load(find_by_id(ssic.SsicFile(data).head.model_id))
    assert latent_hash(codec, data) == HASHES[name]
    expected = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB")).astype(int)
    assert np.abs(ssic.decode(data) - expected).max() <= 1
