"""Decoding at 1/4, 1/8 and 1/16 of the resolution: the same groups, at the same places, for a part of the time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ssic
from helpers.commands import SOURCE
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.blocks import from_blocks
from ssic.errors import EncryptedSegment, InvalidInput, LimitExceeded
from ssic.format.limits import decoding_memory
from ssic.model.gains import dequantiser, log2_gain, log2_step, quality_basis, quality_table
from ssic.model.reduced import Reduction
from ssic.model.weights import find_weights, installed, load_weights

REDUCED = (4, 8, 16)
ME = ssic.Identity.generate()


def averaged(pixels: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """[H, W, 3] -> means over squares, those at the edges over what there is of them."""
    height, width = pixels.shape[:2]
    rows, columns = np.arange(0, height, scale), np.arange(0, width, scale)
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, 0), columns, 1)
    there = np.outer(np.minimum(rows + scale, height) - rows, np.minimum(columns + scale, width) - columns)
    return sums / there[:, :, None]


def by_the_document(data: bytes, scale: int) -> NDArray[np.float64]:
    """The picture that the bypass alone gives, in float64 and in full, then averaged. (docs/synthesis.md: `bypass`)"""
    file = ssic.SsicFile(data)
    weights = load_weights(find_weights("base"))
    config, floats = weights.config, {k: v.astype(np.float64) for k, v in weights.floats.items()}
    quality = {g.id: g.quality for g in file.groups}
    segments, _ = file.access.substreams(file.mask.groups)
    codec = file.codec()
    plan, latents, _ = codec.decode_latents(file.head.mask, quality, segments)
    latents[:, sum(config.slices[: {4: 3, 8: 2, 16: 1}[scale]]) :] = 0
    basis = quality_basis(config.anchors)
    gain = log2_gain(quality_table(basis, floats["entropy.gain.weight"]), log2_step(config.lambda_range))
    table = dequantiser(quality_table(basis, floats["entropy.inverse_gain.weight"]), gain)
    y = latents / 64 * table[plan.of_blocks(quality) - 1]
    pixels = 255 * ((y @ floats["synthesis.bypass.weight"].T).reshape(-1, 4, 192) + 0.5)
    return averaged(from_blocks(pixels, *file.head.mask.shape)[: file.height, : file.width], scale)


@pytest.mark.parametrize(
    ("scale", "size"), list(product(REDUCED, [(96, 128), (90, 131), (33, 49), (1, 1), (16, 17)]))
)
def test_pixels_are_those_of_the_averaged_bypass(scale: int, size: tuple[int, int]) -> None:
    """Also at the right and lower edges, where padding doesn't count, and with several qualities."""
    rows, columns = (-(-side // 16) for side in size)
    mask = blob_mask(3, rows, columns, min(3, rows * columns))
    some = {} if mask.max() == 0 else {1: 20}
    data = ssic.encode(natural_picture(5, *size), mask, quality=70, group_quality=some)
    small = ssic.decode(data, scale=scale)
    assert small.shape == (-(-size[0] // scale), -(-size[1] // scale), 3)
    # Half a level of rounding, and none to speak of for weights in fixed point.
    assert np.abs(small - by_the_document(data, scale).clip(0, 255)).max() < 0.51


@pytest.mark.parametrize(("scale", "least"), [(4, 28), (8, 29), (16, 37)])
@pytest.mark.parametrize("model", ["base", "small"])
@pytest.mark.parametrize("quality", [20, 90])
def test_close_to_the_full_picture_shrunk(scale: int, least: float, model: str, quality: int) -> None:
    # Of noise and hard edges; of photographs it is 34 dB and more (`benchmarks/reduced.py`).
    data = ssic.encode(natural_picture(11, 256, 320), quality=quality, model=model)
    off = ssic.decode(data, scale=scale) - averaged(ssic.decode(data).astype(np.float64), scale)
    assert 10 * np.log10(255**2 / np.mean(off**2)) > least


@settings(max_examples=15)
@given(
    st.integers(17, 150), st.integers(17, 170), st.integers(0, 2**32 - 1), st.sampled_from(REDUCED), st.data()
)
def test_a_group_is_the_same_alone_and_in_company(
    height: int, width: int, seed: int, scale: int, data: st.DataObject
) -> None:
    rows, columns = -(-height // 16), -(-width // 16)
    mask = blob_mask(seed, rows, columns, min(5, rows * columns))
    group = data.draw(st.integers(0, int(mask.max())))
    qualities = {g: 1 + (seed + 37 * g) % 100 for g in range(int(mask.max()) + 1)}
    coded = ssic.encode(natural_picture(seed, height, width), mask, group_quality=qualities)
    side = 16 // scale
    own = (mask == group).repeat(side, 0).repeat(side, 1)[: -(-height // scale), : -(-width // scale)]
    whole, alone = ssic.decode(coded, scale=scale), ssic.decode(coded, group, scale=scale)
    np.testing.assert_array_equal(alone[own], whole[own])
    assert not alone[~own].any()
    extracted = ssic.SsicFile(coded).extract([group])
    np.testing.assert_array_equal(extracted.decode(scale=scale), alone)
    cut = extracted.decode_pixels(scale=scale, crop=True)
    left, top, right, bottom = cut.box
    assert cut.box == extracted.decode_pixels(crop=True).box
    assert cut.pixels.shape[:2] == (-(-(bottom - top) // scale), -(-(right - left) // scale))
    at = np.s_[top // scale : -(-bottom // scale), left // scale : -(-right // scale)]
    np.testing.assert_array_equal(np.where(cut.present[..., None], cut.pixels, 0), alone[at])


@pytest.fixture(scope="module")
def data() -> bytes:
    return ssic.encode(natural_picture(2, 70, 90), blob_mask(2, 5, 6, 3), quality=50)


def test_fills_and_transparency(data: bytes) -> None:
    clear = ssic.decode(data, [1], scale=8, fill="transparent")
    red = ssic.decode(data, [1], scale=8, fill="#ff0000")
    assert clear.shape == (9, 12, 4)
    present = clear[..., 3] == 255
    assert present.any()
    assert not present.all()
    assert (red[~present] == (255, 0, 0)).all()
    np.testing.assert_array_equal(red[present], clear[present][:, :3])


@pytest.mark.filterwarnings("ignore::ssic.crypto.files.NamesTell")
def test_damaged_and_sealed_groups_are_left_out(data: bytes) -> None:
    whole = ssic.decode(data, ["background", "group 2"], scale=4)
    broken = bytearray(data)
    broken[ssic.SsicFile(data)["group 1"].offset] ^= 1
    with pytest.warns(ssic.DamagedGroups, match="group 1"):
        np.testing.assert_array_equal(ssic.decode(bytes(broken), scale=4), whole)
    sealed = bytes(ssic.encrypt(data, "group 1", ME.recipient, hide="outline"))
    with pytest.warns(ssic.SealedGroups):
        np.testing.assert_array_equal(ssic.decode(sealed, scale=4), whole)
    opened = ssic.decode(sealed, scale=4, identity=ME)
    np.testing.assert_array_equal(opened, ssic.decode(data, scale=4))
    with pytest.raises(EncryptedSegment):
        ssic.decode(bytes(ssic.encrypt(data, "group 1", ME.recipient)), "group 1", scale=4)


def test_budgets_are_those_of_the_smaller_work(data: bytes) -> None:
    width, height = ssic.open(data).size
    need = decoding_memory(5 * 6 * 256, width, height, 4)
    assert 3 * need < decoding_memory(5 * 6 * 256, width, height)
    tight = replace(ssic.DecodeLimits(), max_memory=need)
    with pytest.raises(LimitExceeded, match="decoding 7,680 pixels takes about"):
        ssic.decode(data, limits=tight)
    ssic.decode(data, limits=tight, scale=4)
    with pytest.raises(LimitExceeded, match="max_memory"):
        ssic.decode(data, limits=replace(tight, max_memory=need - 1), scale=4)


@pytest.mark.parametrize("scale", [0, 2, 3, -4, 32, 4.0, True, "8", None])
def test_other_scales_are_refused(data: bytes, scale: object) -> None:
    with pytest.raises(InvalidInput, match="scale is 1, 4, 8 or 16"):
        ssic.decode(data, scale=scale)  # type: ignore[arg-type]


def test_no_network_is_run(data: bytes) -> None:
    code = (
        "import sys, ssic; ssic.decode(sys.stdin.buffer.read(), scale=8); "
        "print(*({'torch', 'onnxruntime'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True, env={"PYTHONPATH": SOURCE}
    )
    assert done.stdout.strip() == b""


def test_the_weaker_slices_are_left_undecoded() -> None:
    for path in installed().values():
        weights = load_weights(path)
        assert [Reduction(weights.config, weights.floats, n).slices for n in (16, 8, 4)] == [1, 2, 3]


def test_stages_are_told(data: bytes) -> None:
    stages: list[str] = []
    ssic.decode(data, scale=8, progress=stages.append)
    assert stages == ["entropy", "synthesis"]
