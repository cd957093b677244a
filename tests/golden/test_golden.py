"""Files that were written once must decode for ever."""

from __future__ import annotations

import ctypes
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_golden import latent_hash
from PIL import Image

import ssic
import ssic.format as fmt
from ssic.model.weights import find_by_id

GOLDEN = Path(__file__).parent
HASHES: dict[str, str] = json.loads((GOLDEN / "latents.json").read_text())


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


FE_MODES = {"downwards": 0x400, "upwards": 0x800, "to zero": 0xC00}
"""Of x86-64's fesetround; 0 is to nearest."""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="numbers of x86-64, glibc"
)
@pytest.mark.parametrize("mode", sorted(FE_MODES))
@pytest.mark.parametrize("name", sorted(HASHES))
def test_golden_files_have_the_same_latents_under_every_rounding_mode(name, mode):
    """Nothing that decides a symbol is rounded, and no function of the C library is asked."""
    data = (GOLDEN / f"{name}.ssic").read_bytes()
    codec = ssic.Codec.load(find_by_id(ssic.SsicFile(data).head.model_id))
    libm = ctypes.CDLL("libm.so.6")
    one, three = 1.0, 3.0
    libm.fesetround(FE_MODES[mode])
    try:
        third = one / three
        found = latent_hash(codec, data)
    finally:
        libm.fesetround(0)
    assert (third != one / three) == (mode == "upwards")  # the mode was really on
    assert found == HASHES[name]


def test_a_substream_that_ends_in_a_zero_byte_is_damaged():
    data = (GOLDEN / f"{min(HASHES)}.ssic").read_bytes()
    head = fmt.read_head(data)
    segments = [fmt.segment_of(g, fmt.read_segment(data, head, g.id)) for g in head.groups]
    longer = [replace(s, payload=s.payload + bytes(s.id == head.groups[1].id)) for s in segments]
    changed = ssic.SsicFile(fmt.write_like(head, longer, order=head.order)).decode_pixels()
    assert changed.damaged == (head.groups[1].name,)
