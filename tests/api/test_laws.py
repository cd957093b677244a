"""The laws of the design, each held by a test on the shipped weights that would fail if it were broken."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssic
from helpers.engines import ENGINES
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.errors import DamagedSegment, SsicError, TruncatedFile
from ssic.format import read_head, read_segment
from ssic.storage.source import FileBytes


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """A picture, a block mask with at least two groups, a chosen group, a seed."""
    height, width = draw(st.integers(17, 150)), draw(st.integers(17, 170))
    seed = draw(st.integers(0, 2**32 - 1))
    rows, columns = -(-height // 16), -(-width // 16)
    groups = draw(st.integers(2, min(7, rows * columns)))
    mask = blob_mask(seed, rows, columns, groups)
    return natural_picture(seed, height, width), mask, draw(st.integers(0, groups - 1)), seed


def segment(data: bytes, group: int) -> bytes:
    return read_segment(data, read_head(data), group)


def pixels_of(mask: np.ndarray, group: int, shape: tuple[int, ...]) -> np.ndarray:
    return (mask == group).repeat(16, 0).repeat(16, 1)[: shape[0], : shape[1]]


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20)
@given(scene=scenes(), quality=st.integers(1, 100))
def test_bytes_of_a_group_depend_on_nothing_of_the_others(engine, scene, quality):
    picture, mask, group, seed = scene
    before = ssic.encode(picture, mask, quality=quality, engine=engine)
    own = pixels_of(mask, group, picture.shape)

    other = np.where(own[..., None], picture, natural_picture(seed + 1, *picture.shape[:2]))
    # Not the pixels of the others, nor how they are divided among themselves, nor their quality.
    regrouped = np.where(mask == group, group, (mask + 1) % 250 + 5 * (mask.cumsum(1) % 2)).astype(np.uint8)
    regrouped[(regrouped == group) & (mask != group)] = 251
    after = ssic.encode(
        other, regrouped, quality=101 - quality, group_quality={group: quality}, engine=engine
    )
    assert segment(before, group) == segment(after, group)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=15)
@given(scene=scenes(), quality=st.integers(1, 100))
def test_pixels_of_a_group_are_the_same_alone_and_in_company(engine, scene, quality):
    picture, mask, group, _ = scene
    data = ssic.encode(picture, mask, quality=quality)
    own = pixels_of(mask, group, picture.shape)
    whole = ssic.decode(data, engine=engine)
    alone = ssic.decode(data, group, engine=engine)
    extracted = ssic.decode(bytes(ssic.SsicFile(data).extract([group])), engine=engine)
    np.testing.assert_array_equal(alone[own], whole[own])
    np.testing.assert_array_equal(extracted, alone)
    assert not alone[~own].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_both_laws_hold_on_lists_longer_than_a_piece(engine):
    """768x512: several pieces of every matrix product, attention in several parts."""
    picture, mask = natural_picture(7, 512, 768), blob_mask(7, 32, 48, 9)
    data = ssic.encode(picture, mask, quality=50, engine=engine)
    whole = ssic.decode(data, engine=engine)
    own = pixels_of(mask, 4, picture.shape)
    np.testing.assert_array_equal(ssic.decode(data, 4, engine=engine)[own], whole[own])
    alone = ssic.GroupMask(np.where(mask == 4, mask, np.uint8(255)), {4: "group 4"})
    other = np.where(own[..., None], picture, 255 - picture)
    assert segment(ssic.encode(other, alone, quality=50, engine=engine), 4) == segment(data, 4)


LATENTS = """
import hashlib, json, sys
import numpy as np
import ssic
from ssic.format import read_head, read_segment
from ssic.plan import make_plan
data = open(sys.argv[1], "rb").read()
coder = ssic.Codec.load(engine=sys.argv[2]).coder
head = read_head(data)
quality = {g.id: g.quality for g in head.groups}
together = {g.id: read_segment(data, head, g.id) for g in head.groups}
hashes = {}
for wanted in [list(together), *[[g] for g in together]]:
    plan = make_plan(head.mask, np.isin(head.mask, wanted))
    # Not through the codec, whose limit to one BLAS thread would make the threads below mean nothing.
    latents, damaged = coder.decode(plan, quality, {g: together[g] for g in wanted})
    assert not damaged
    for g in wanted:
        rows = np.ascontiguousarray(latents[plan.group == g].astype("<i8"))
        hashes.setdefault(g, set()).add(hashlib.sha256(rows.tobytes()).hexdigest())
print(json.dumps({g: sorted(h) for g, h in hashes.items()}))
"""


def test_latents_are_exact_whatever_the_threads_kernels_engine_and_company(tmp_path):
    picture, mask = natural_picture(5, 200, 260), blob_mask(5, 13, 17, 5)
    encoding = ssic.Codec.load().encode(
        picture, mask, quality=70, group_quality={1: 20, 2: 100}, latents=True
    )
    path = tmp_path / "a.ssic"
    path.write_bytes(encoding.data)
    seen = set()
    for threads, engine, kernels in (
        ("1", ENGINES[-1], "Prescott"),
        ("2", "onnx", "Haswell"),
        ("2", "auto", ""),
    ):
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        if kernels:  # OpenBLAS's kernels of another processor: other orders of summation
            env["OPENBLAS_CORETYPE"] = kernels
        command = [sys.executable, "-c", LATENTS, str(path), engine]
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        hashes = json.loads(run.stdout)
        assert all(len(h) == 1 for h in hashes.values()), "alone and in company differ"
        seen.add(run.stdout)
    assert len(seen) == 1
    for g in range(5):
        rows = np.ascontiguousarray(encoding.latents[mask.reshape(-1) == g].astype("<i8"))
        assert hashes[str(g)] == [hashlib.sha256(rows.tobytes()).hexdigest()]


def test_a_damaged_group_costs_that_group_only(picture):
    mask = blob_mask(3, 6, 9, 4)
    data = ssic.encode(picture, mask)
    whole = ssic.decode(data)
    head = read_head(data)
    entry = head.groups[2]
    broken = bytearray(data)
    broken[entry.offset : entry.offset + entry.length : 2] = bytes(
        b ^ 0xA5 for b in broken[entry.offset : entry.offset + entry.length : 2]
    )
    with pytest.warns(ssic.DamagedGroups, match=entry.name):
        decoded = ssic.decode(bytes(broken))
    own = pixels_of(mask, 2, picture.shape)
    np.testing.assert_array_equal(decoded[~own], whole[~own])
    assert not decoded[own].any()
    assert ssic.SsicFile(bytes(broken)).damaged() == [entry.name]
    with pytest.raises(DamagedSegment, match=entry.name):
        ssic.decode(bytes(broken), entry.name)


def test_a_prefix_gives_the_groups_that_are_whole(picture):
    mask = blob_mask(4, 6, 9, 3)
    data = ssic.encode(picture, mask)
    last = max(read_head(data).groups, key=lambda g: g.offset)
    with pytest.warns(ssic.DamagedGroups, match=last.name):
        decoded = ssic.decode(data[: last.offset + last.length // 2])
    own = pixels_of(mask, last.id, picture.shape)
    np.testing.assert_array_equal(decoded[~own], ssic.decode(data)[~own])
    with pytest.raises(TruncatedFile):
        ssic.decode(data[: last.offset], last.id)


class Counting(FileBytes):
    """Remembers which bytes are read."""

    def __init__(self, path):
        super().__init__(path)
        self.ranges = []

    def __getitem__(self, part):
        self.ranges.append(range(*part.indices(len(self))))
        return super().__getitem__(part)


def test_opening_reads_the_head_and_decoding_the_segments_asked_for(picture, tmp_path):
    data = ssic.encode(picture, blob_mask(6, 6, 9, 3))
    (tmp_path / "a.ssic").write_bytes(data)
    source = Counting(tmp_path / "a.ssic")
    opened = ssic.SsicFile(source)
    assert max(r.stop for r in source.ranges) <= opened.head.head_bytes
    wanted = opened.groups[1]
    source.ranges.clear()
    np.testing.assert_array_equal(opened.decode(wanted.id), ssic.decode(data, wanted.id))
    assert source.ranges == [range(wanted.offset, wanted.offset + wanted.length)]


def test_decoding_a_group_needs_no_other_segment(picture):
    mask = blob_mask(6, 6, 9, 3)
    data = ssic.encode(picture, mask)
    head = read_head(data)
    wanted = head.groups[1]
    zeroed = bytearray(len(data))
    zeroed[: head.head_bytes] = data[: head.head_bytes]
    zeroed[wanted.offset : wanted.offset + wanted.length] = data[
        wanted.offset : wanted.offset + wanted.length
    ]
    np.testing.assert_array_equal(ssic.decode(bytes(zeroed), wanted.id), ssic.decode(data, wanted.id))


@settings(max_examples=60)
@given(st.data())
def test_substreams_that_no_encoder_wrote_give_pixels_or_a_typed_error(data):
    """Behind the checksum too: here the damage is in bytes whose checksum is right."""
    mask = np.array([[0, 0, 1], [0, 1, 1]], np.uint8)
    codec = ssic.Codec.load()
    segments = {g: data.draw(st.binary(max_size=400)) for g in (0, 1)}
    quality = {g: data.draw(st.integers(1, 100)) for g in (0, 1)}
    plan, latents, damaged = codec.decode_latents(mask, quality, segments)
    assert set(damaged) <= {0, 1}
    assert np.isfinite(latents).all()
    assert codec.engine.synthesise(latents / 64, plan, quality).shape == (6, 4, 192)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_a_typed_error(data):
    with pytest.raises(SsicError):
        ssic.decode(data)
