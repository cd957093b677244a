"""Heads and files: round trips, and the laws of extract and merge."""

from __future__ import annotations

import dataclasses
import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssic.format as fmt
from helpers.format_files import MODEL, SEAL, files, simple_file
from helpers.masks import blobs, box_union
from ssic import errors
from ssic.blocks import ABSENT
from ssic.format import Segment
from ssic.format.varint import read_varint, write_varint


def rewrite(data: bytes) -> bytes:
    head = fmt.read_head(data)
    segments = [fmt.segment_of(g, fmt.read_segment(data, head, g.id)) for g in head.groups]
    return fmt.write_file(
        width=head.width,
        height=head.height,
        model_id=head.model_id,
        mask=head.mask,
        segments=segments,
        chunks=head.chunks,
        order=head.order,
        seal=head.seal,
    )


@settings(max_examples=100, deadline=None)
@given(files())
def test_what_was_read_writes_the_same_file(data: bytes) -> None:
    head = fmt.read_head(data)
    assert rewrite(data) == data
    segments = [fmt.segment_of(g, fmt.read_segment(data, head, g.id)) for g in head.groups]
    kept = {"order": head.order, "stored_chunks": head.stored_chunks, "seal": head.seal}
    assert fmt.write_like(head, segments, **kept) == data  # without coding the mask
    assert (head.seal is not None) == any(g.encrypted for g in head.groups)
    assert head.file_bytes == len(data)
    assert fmt.head_length(data[: fmt.PREFIX_BYTES]) == head.head_bytes
    assert fmt.read_head(data[: head.head_bytes]).order == head.order
    assert fmt.check(data, head) == []
    assert sum(g.blocks for g in head.groups) == (head.mask != ABSENT).sum()
    assert not head.mask.flags.writeable
    # No holes: the segments follow one another from the head to the end.
    end = head.head_bytes
    for entry in sorted(head.groups, key=lambda g: head.order.index(g.id)):
        assert entry.offset == end
        end += entry.length
    assert end == len(data)


def test_fields_survive() -> None:
    mask = np.array([[0, 7, 7], [0, 0, ABSENT]], np.uint8)
    segments = [
        Segment(7, "person 2", 85, b"seven", class_name="person", score=0.75, encrypted=True),
        Segment(0, "Straße", 1, b"", class_name="road"),
    ]
    size = {"width": 33, "height": 32, "model_id": MODEL, "mask": mask, "segments": segments}
    data = fmt.write_file(**size, chunks={"XMPP": b"<x/>"}, seal=SEAL)  # type: ignore[arg-type]
    head = fmt.read_head(data)
    assert (head.version, head.width, head.height, head.model_id) == (1, 33, 32, MODEL)
    assert np.array_equal(head.mask, mask)
    assert dict(head.chunks) == {"XMPP": b"<x/>"}
    road, person = head.groups
    assert (road.id, road.name, road.class_name, road.score, road.quality, road.blocks) == (
        0, "Straße", "road", None, 1, 3,
    )  # fmt: skip
    assert (person.name, person.class_name, person.quality, person.blocks) == ("person 2", "person", 85, 2)
    assert person.score == pytest.approx(0.75, abs=1 / 510)
    assert (person.encrypted, person.hidden, road.encrypted, head.seal) == (True, False, False, SEAL)
    with pytest.raises(errors.InvalidInput, match="seal"):
        fmt.write_file(**size)  # type: ignore[arg-type]
    assert fmt.read_segment(data, head, 7) == b"seven"


def test_default_order_is_smallest_first_and_background_last() -> None:
    mask = np.array([[0, 1, 1, 1], [2, 2, 3, 3]], np.uint8)
    assert fmt.read_head(simple_file(mask)).order == (2, 3, 1, 0)
    assert fmt.read_head(simple_file(mask, order=[0, 1, 2, 3])).order == (0, 1, 2, 3)
    # An explicit order takes one byte a group; the default order, even if given, none.
    assert len(simple_file(mask, order=[2, 3, 1, 0])) == len(simple_file(mask))
    assert len(simple_file(mask, order=[0, 1, 2, 3])) == len(simple_file(mask)) + 4


def test_overhead_of_nine_groups() -> None:
    """Nine groups with default names and one quality on 768x512, masks made as the paper makes its own."""
    rng = np.random.default_rng(11)
    overheads, masks = [], []
    while len(overheads) < 30:
        mask = box_union(rng)
        if mask.max() == 8:
            head = fmt.read_head(simple_file(mask, len(overheads)))
            assert len(head.groups) == 9
            overheads.append(head.head_bytes)
            masks.append(head.mask_bytes)
    assert max(overheads) <= 140
    assert np.mean(masks) < 45


def test_no_mask_costs_nothing() -> None:
    data = simple_file(np.zeros((32, 48), np.uint8))
    head = fmt.read_head(data)
    assert head.mask_bytes == 0
    assert head.head_bytes <= 32


# -- extract and merge ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(files(metadata=False, order=False), st.randoms())
def test_merge_undoes_extract(data: bytes, rng: random.Random) -> None:
    ids = list(fmt.read_head(data).order)
    some = rng.sample(ids, rng.randint(1, len(ids)))
    rest = [i for i in ids if i not in some]
    parts = [fmt.extract(data, part) for part in (some, rest) if part]
    rng.shuffle(parts)
    assert fmt.merge(parts) == data


@settings(max_examples=60, deadline=None)
@given(files(), st.randoms())
def test_extract_keeps_bytes_and_leaks_nothing(data: bytes, rng: random.Random) -> None:
    head = fmt.read_head(data)
    some = rng.sample(head.order, rng.randint(1, len(head.order)))
    part = fmt.extract(data, some)
    small = fmt.read_head(part)
    assert small.order == tuple(i for i in head.order if i in some)
    for entry in small.groups:
        assert fmt.read_segment(part, small, entry.id) == fmt.read_segment(data, head, entry.id)
        was = next(g for g in head.groups if g.id == entry.id)
        assert dataclasses.replace(was, offset=entry.offset) == entry
    assert np.array_equal(small.mask, np.where(np.isin(head.mask, some), head.mask, ABSENT))
    assert set(small.chunks) <= {"ICCP"}
    assert set(fmt.read_head(fmt.extract(data, some, metadata=True)).chunks) == set(head.chunks)
    assert fmt.extract(data, head.order, metadata=True) == data


def test_extract_is_blind_to_the_other_groups() -> None:
    mask = blobs(np.random.default_rng(2), 12, 12, 5)
    other = np.where(mask == 1, mask, 0).astype(np.uint8)
    a = simple_file(mask)
    head = fmt.read_head(a)
    keep = Segment(1, "group 1", 60, fmt.read_segment(a, head, 1))
    b = simple_file(other, segments=[Segment(0, "background", 3, b"other"), keep])
    assert fmt.extract(a, [1]) == fmt.extract(b, [1])


def test_extract_from_a_prefix() -> None:
    data = simple_file(blobs(np.random.default_rng(2), 12, 12, 5))
    head = fmt.read_head(data)
    first = head.order[0]
    entry = next(g for g in head.groups if g.id == first)
    prefix = data[: entry.offset + entry.length]
    assert fmt.extract(prefix, [first]) == fmt.extract(data, [first])
    with pytest.raises(errors.TruncatedFile, match="background"):
        fmt.extract(prefix, [0])


def test_merge_renumbers_and_renames() -> None:
    left = np.array([[0, 1, ABSENT, ABSENT]], np.uint8)
    right = np.array([[ABSENT, ABSENT, 1, 0]], np.uint8)
    a = simple_file(left, segments=[Segment(0, "background", 60, b"a0"), Segment(1, "person", 60, b"a1")])
    b = simple_file(right, segments=[Segment(0, "background", 60, b"b0"), Segment(1, "person", 60, b"b1")])
    both = fmt.merge([a, b])
    head = fmt.read_head(both)
    assert [(g.id, g.name, fmt.read_segment(both, head, g.id)) for g in head.groups] == [
        (0, "background", b"a0"),
        (1, "person", b"a1"),
        (2, "background 2", b"b0"),
        (3, "person 2", b"b1"),
    ]
    assert head.mask.tolist() == [[0, 1, 3, 2]]


def test_encrypted_groups_keep_id_name_and_seal_in_a_merge() -> None:
    def part(columns: list[int], seal: bytes | None, name: str = "x") -> bytes:
        mask = np.array([columns], np.uint8)
        i = next(i for i in columns if i != ABSENT)
        return simple_file(mask, segments=[Segment(i, name, 60, b"", encrypted=seal is not None)], seal=seal)

    no = ABSENT
    sealed, clear = part([1, no, no], SEAL), part([no, 1, no], None)
    head = fmt.read_head(fmt.merge([sealed, clear]))
    assert [(g.id, g.name, g.encrypted) for g in head.groups] == [(1, "x", True), (2, "x 2", False)]
    assert head.seal == SEAL
    with pytest.raises(errors.InvalidInput, match='file 2 has the encrypted group 1 "x"'):
        fmt.merge([clear, sealed])
    with pytest.raises(errors.InvalidInput, match="taken"):
        fmt.merge([clear, part([2, no, no], SEAL)])
    other = part([no, no, 3], b"\1" + bytes(12), "y")
    with pytest.raises(errors.InvalidInput, match="file 1 and file 3 were sealed apart"):
        fmt.merge([sealed, clear, other])


def test_a_signature_goes_with_the_whole_only() -> None:
    mask = np.array([[0, 1, 2]], np.uint8)
    data = simple_file(mask, chunks={"EXIF": b"II", "SIGN": b"signature"})
    assert set(fmt.read_head(fmt.extract(data, [0, 1], metadata=True)).chunks) == {"EXIF"}
    assert fmt.extract(data, [0, 1, 2], metadata=True) == fmt.merge([data]) == data
    assert set(fmt.read_head(fmt.merge([fmt.extract(data, [0]), fmt.extract(data, [1])])).chunks) == set()


def test_merge_refuses_what_does_not_fit() -> None:
    mask = np.array([[0, 1, ABSENT]], np.uint8)
    data = simple_file(mask)
    with pytest.raises(
        errors.MaskError, match='"background", "group 1" of file 2 and "background", "group 1" of file 1 own'
    ):
        fmt.merge([data, data])
    with pytest.raises(errors.InvalidInput, match="model"):
        fmt.merge([data, simple_file(mask, model_id=b"another.")])
    with pytest.raises(errors.InvalidInput):
        fmt.merge([data, simple_file(mask, width=47)])
    with pytest.raises(errors.InvalidInput):
        fmt.merge([])


# -- small things ------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1))
def test_varints(value: int) -> None:
    data = write_varint(value)
    assert read_varint(data, 0) == (value, len(data))
    assert len(data) == max(1, -(-value.bit_length() // 7))


def test_varints_out_of_range() -> None:
    for value in (-1, 2**63):
        with pytest.raises(ValueError, match="does not fit"):
            write_varint(value)


def test_public_names() -> None:
    assert fmt.__all__ == sorted(
        fmt.__all__, key=lambda name: (not name.isupper(), name.lower() == name, name)
    )
    for name in fmt.__all__:
        home = getattr(getattr(fmt, name), "__module__", "types")
        assert home.startswith("ssic.format") or name == "Bytes" or name.isupper()


def test_extracting_everything_keeps_the_bytes_of_any_writer() -> None:
    """Another deflate of the profile is another file; who takes all groups out gets that one."""
    profile = bytes(500)
    stored = {"ICCP": zlib.compress(profile, 0), "EXIF": b"II*\0"}
    mask = np.array([[0, 1]], np.uint8)
    plain = fmt.read_head(simple_file(mask))
    segments = [Segment(0, "background", 60, b"a"), Segment(1, "group 1", 60, b"b")]
    data = fmt.write_like(plain, segments, stored_chunks=stored)
    assert fmt.extract(data, [0, 1], metadata=True) == data
    assert fmt.extract(data, [1, 0], metadata=True) == data
    assert set(fmt.read_head(fmt.extract(data, [0, 1])).chunks) == {"ICCP"}
