"""Heads and files: round trips, the laws of extract and merge, and typed errors for whatever is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ssic.format as fmt
from helpers.masks import blobs, box_union
from ssic import errors
from ssic.blocks import ABSENT
from ssic.format import DecodeLimits, Segment
from ssic.format.mask_coder import encode_mask
from ssic.format.varint import read_varint, write_varint
from ssic.names import default_name

MODEL = bytes(range(8))
SEAL = b"\1" + bytes(range(12))


def simple_file(mask: NDArray[np.uint8], seed: int = 0, /, **changes: object) -> bytes:
    """A file with default names and one quality, its payloads random."""
    rng = random.Random(seed)
    ids = [int(i) for i in np.unique(mask) if i != ABSENT]
    segments = [Segment(i, default_name(i), 60, rng.randbytes(rng.randrange(200, 9000))) for i in ids]
    h, w = mask.shape
    arguments: dict[str, object] = {"width": w * 16, "height": h * 16, "model_id": MODEL, "mask": mask}
    return fmt.write_file(**{**arguments, "segments": segments, **changes})  # type: ignore[arg-type]


@st.composite
def files(draw: st.DrawFn, metadata: bool = True, order: bool = True) -> bytes:
    rng = random.Random(draw(st.integers(0, 2**32)))
    numpy_rng = np.random.default_rng(rng.randrange(2**32))
    mask = blobs(numpy_rng, rng.randint(1, 14), rng.randint(1, 14), rng.randint(0, 6))
    ids = sorted(rng.sample(range(255), int(mask.max()) + 1)) if rng.random() < 0.5 else range(mask.max() + 1)
    if rng.random() < 0.3 and mask.max() > 0:
        ids = [*list(ids)[:-1], ABSENT]
    mask = np.array(ids, np.uint8)[mask]
    segments = []
    for i in ids:
        if i == ABSENT:
            continue
        name = rng.choice([default_name(i), f"Hündin {i}", f"dog {i}", "x" * 240 + str(i)])
        class_name = rng.choice([None, "dog", "group", name])
        score = rng.choice([None, 0.0, 1.0, rng.random()])
        payload = rng.randbytes(rng.choice([0, 1, 100, 300]))
        encrypted, hidden = rng.choice([(False, False)] * 4 + [(True, False), (True, True)])
        quality = rng.choice([60, 85])
        if hidden:
            count = sum(s.hidden for s in segments)
            name, quality, class_name, score = "sealed" if not count else f"sealed {count + 1}", 1, None, None
        segments.append(Segment(i, name, quality, payload, class_name, score, encrypted, hidden))
    chunks = {}
    if rng.random() < 0.5:
        chunks["ICCP"] = b"profile" * rng.randrange(100)
        if metadata:
            chunks |= {"EXIF": rng.randbytes(9), "teST": b""}
    sequence = [s.id for s in segments]
    rng.shuffle(sequence)
    return fmt.write_file(
        width=mask.shape[1] * 16 - rng.randrange(16),
        height=mask.shape[0] * 16 - rng.randrange(16),
        model_id=rng.randbytes(8),
        mask=mask,
        segments=rng.sample(segments, len(segments)),
        chunks=chunks,
        order=sequence if order and rng.random() < 0.5 else None,
        seal=SEAL,
    )


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


# -- what can't be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mask": np.zeros((2, 3), np.uint8)}, errors.MaskError),
        ({"mask": np.zeros((2, 2), np.int64)}, errors.MaskError),
        ({"mask": np.full((2, 2), 1, np.uint8)}, errors.MaskError),
        ({"width": 0}, errors.InvalidInput),
        ({"model_id": b"short"}, errors.InvalidInput),
        ({"segments": []}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 0, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 101, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a\x1b[31m", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "\ud800", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a,b", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b"", "b,c")]}, errors.InvalidInput),
        ({"segments": [Segment(0, " a", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "ä" * 128, 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b"", score=float("nan"))]}, errors.InvalidInput),
        ({"segments": [Segment(255, "a", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b"", encrypted=True)]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b"", hidden=True)], "seal": SEAL}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b""), Segment(0, "b", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b""), Segment(1, "a", 50, b"")]}, errors.InvalidInput),
        ({"segments": [Segment(0, "a", 50, b""), Segment(1, "b", 50, b"")]}, errors.MaskError),
        (
            {"segments": [Segment(0, "faces", 1, b"", None, None, True, True)], "seal": SEAL},
            errors.InvalidInput,
        ),
        (
            {"segments": [Segment(0, "sealed", 9, b"", None, None, True, True)], "seal": SEAL},
            errors.InvalidInput,
        ),
        ({"order": [1]}, errors.InvalidInput),
        ({"chunks": {"IC\nP": b""}}, errors.InvalidInput),
    ],
)
def test_arguments_are_checked(changes: dict[str, object], error: type[errors.InvalidInput]) -> None:
    with pytest.raises(error):
        simple_file(np.zeros((2, 2), np.uint8), **{"width": 32, "height": 32, **changes})


# -- what can't be read ------------------------------------------------------------------------------------


def with_body(body: bytes) -> bytes:
    start = b"\xf3sic\x01" + write_varint(len(body)) + body
    return start + zlib.crc32(start).to_bytes(4, "little")


SIZE = write_varint(20) + write_varint(20) + MODEL
ENTRY = b"\x32\x00" + bytes(4)  # quality 50, no bytes
ALL_ZERO = encode_mask(np.zeros((2, 2), np.uint8), 2, 0)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", errors.TruncatedFile, "byte 0"),
        (b"\xf3si", errors.TruncatedFile, "byte 3"),
        (b"\x89PNG\r\n", errors.NotAnSsicFile, "89 50 4e 47"),
        (b"\xf3sic\x02", errors.UnsupportedVersion, "version 2"),
        (b"\xf3sic\x01\x80", errors.TruncatedFile, "length"),
        (b"\xf3sic\x01\x80\x00", errors.CorruptHead, "needless"),
        (b"\xf3sic\x01" + b"\xff" * 9, errors.CorruptHead, "longer than nine"),
        (b"\xf3sic\x01\xff\xff\xff\x7f", errors.LimitExceeded, "head has"),
        (with_body(b"\x40" + SIZE + b"\x01" + ENTRY)[:-1], errors.TruncatedFile, "head alone"),
        (with_body(b"\x40" + SIZE + b"\x01" + ENTRY)[:-1] + b"\x00", errors.CorruptHead, "checksum"),
        (with_body(b"\x70" + SIZE + b"\x01" + ENTRY) + b"\x00", errors.FormatError, "goes on"),
        (with_body(b""), errors.CorruptHead, "flags"),
        (with_body(b"\xc0" + SIZE + SEAL + b"\x01" + ENTRY), errors.CorruptHead, "only then"),
        (with_body(b"\x00" + SIZE + b"\x01\x10" + ENTRY), errors.CorruptHead, "only then"),
        (with_body(b"\xc0" + SIZE + bytes(13) + b"\x01" + ENTRY), errors.CorruptHead, "suite 0"),
        (with_body(b"\x00" + SIZE + b"\x01\x80" + ENTRY), errors.CorruptHead, "undefined"),
        (with_body(b"\x80" + SIZE + SEAL + b"\x01\x40" + ENTRY), errors.CorruptHead, "flags 0x40"),
        (with_body(b"\x40\x00\x10" + MODEL), errors.CorruptHead, "width of 0"),
        (with_body(b"\x40" + write_varint(2**32) + b"\x01"), errors.CorruptHead, "width of"),
        (with_body(b"\x40" + write_varint(2**20) * 2), errors.LimitExceeded, "pixels"),
        (with_body(b"\x40" + write_varint(2**30) + b"\x01"), errors.LimitExceeded, "pixels"),
        (with_body(b"\x40" + SIZE + b"\x00"), errors.CorruptHead, "needs a group"),
        (with_body(b"\x40" + SIZE + b"\x01\x00" + ENTRY[1:]), errors.CorruptHead, "quality 0"),
        (with_body(b"\x00" + SIZE + b"\x01\x20" + ENTRY[1:]), errors.CorruptHead, "quality 0"),
        (with_body(b"\x00" + SIZE + b"\x01\x06" + ENTRY), errors.CorruptHead, "contradictory"),
        (with_body(b"\x00" + SIZE + b"\x01\x01\x01\x9b" + ENTRY), errors.CorruptHead, "UTF-8"),
        (with_body(b"\x00" + SIZE + b"\x01\x01\x01\x1b" + ENTRY), errors.CorruptHead, "control.*U.001B"),
        (with_body(b"\x00" + SIZE + b"\x01\x01\x01," + ENTRY), errors.CorruptHead, "comma"),
        (with_body(b"\x00" + SIZE + b"\x01\x01\x00" + ENTRY), errors.CorruptHead, "empty"),
        (with_body(b"\x41" + SIZE + b"\x01\xff" + ENTRY), errors.CorruptHead, "group id 255"),
        (with_body(b"\x41" + SIZE + b"\x02\x03" + ENTRY + b"\x03" + ENTRY[1:]), errors.CorruptHead, "id 3"),
        (with_body(b"\x42" + SIZE + b"\x01" + ENTRY + b"\x01"), errors.CorruptHead, "order"),
        (with_body(b"\x44" + SIZE + b"\x01" + ENTRY + b"\x00"), errors.CorruptHead, "none"),
        (with_body(b"\x44" + SIZE + b"\x01" + ENTRY + b"\x01AB1D\x00"), errors.CorruptHead, "tag"),
        (with_body(b"\x44" + SIZE + b"\x01" + ENTRY + b"\x01ABCD\x09"), errors.CorruptHead, "reaches beyond"),
        (with_body(b"\x44" + SIZE + b"\x01" + ENTRY + b"\x01ICCP\x01a"), errors.CorruptHead, "zlib"),
        (with_body(b"\x40" + SIZE + b"\x01" + ENTRY + b"\x01"), errors.CorruptHead, "none are needed"),
        (with_body(b"\x40" + SIZE + b"\x02" + ENTRY + ENTRY[1:] + ALL_ZERO), errors.CorruptHead, "has id 1"),
        # One content has one form.
        *(
            (with_body(bytes([0x40 | 16 * s]) + SIZE + b"\x01" + ENTRY), errors.CorruptHead, f"step {s}")
            for s in range(3)
        ),
        (with_body(b"\x30" + SIZE + b"\x01\x00" + ENTRY), errors.CorruptHead, "one form"),  # could be plain
        (
            with_body(b"\x71" + SIZE + b"\x01\x00" + ENTRY),
            errors.CorruptHead,
            "one form",
        ),  # ids that need not be told
        (
            with_body(b"\x72" + SIZE + b"\x01" + ENTRY + b"\x00"),
            errors.CorruptHead,
            "one form",
        ),  # nor the order
        (with_body(b"\x30" + SIZE + b"\x01\x01\x0abackground" + ENTRY), errors.CorruptHead, "one form"),
        (with_body(b"\x30" + SIZE + b"\x01\x03\x01a\x01a" + ENTRY), errors.CorruptHead, "one form"),
        (
            with_body(b"\x74" + SIZE + b"\x01" + ENTRY + b"\x02ZZZZ\x00AAAA\x00"),
            errors.CorruptHead,
            "one form",
        ),
        (
            with_body(b"\x74" + SIZE + b"\x01" + ENTRY + b"\x02SIGN\x00XMPP\x00"),
            errors.CorruptHead,
            "one form",
        ),
        (
            with_body(b"\xb0" + SIZE + SEAL + b"\x01\x51\x06sealed\x02" + ENTRY[1:]),
            errors.CorruptHead,
            "tells more",
        ),
        (
            with_body(b"\xb0" + SIZE + SEAL + b"\x01\x51\x05faces\x01" + ENTRY[1:]),
            errors.CorruptHead,
            "tells more",
        ),
        (
            with_body(b"\xb0" + SIZE + SEAL + b"\x01\x53\x06sealed\x01x\x01" + ENTRY[1:]),
            errors.CorruptHead,
            "tells more",
        ),
        (
            with_body(b"\xb0" + SIZE + SEAL + b"\x01\x59\x06sealed\x07\x01" + ENTRY[1:]),
            errors.CorruptHead,
            "tells more",
        ),
        (
            with_body(b"\x40" + SIZE + b"\x02" + ENTRY + ENTRY[1:] + b"\x01" * 20),
            errors.CorruptHead,
            "shortest",
        ),
        (
            with_body(b"\x40\x01\x01" + MODEL + b"\x02" + ENTRY + ENTRY[1:]),
            errors.CorruptHead,
            "2 labels for 1",
        ),
        (
            with_body(b"\x40" + SIZE + b"\x01\x32" + write_varint(2**40) + bytes(4)),
            errors.LimitExceeded,
            "group 0: 1099511627776",
        ),
    ],
)
def test_errors_say_where_and_what(data: bytes, error: type[errors.FormatError], message: str) -> None:
    with pytest.raises(errors.FormatError, match=message) as caught:
        fmt.read_head(data)
    assert type(caught.value) is error
    if error is errors.CorruptHead and "zlib" not in message:
        assert "byte " in str(caught.value)


def test_a_compressed_profile_does_not_explode() -> None:
    bomb = zlib.compress(bytes(2**25), 9)
    body = b"\x74" + SIZE + b"\x01" + ENTRY + b"\x01ICCP" + write_varint(len(bomb)) + bomb
    with pytest.raises(errors.LimitExceeded, match="profile"):
        fmt.read_head(with_body(body))
    head = fmt.read_head(with_body(body), DecodeLimits(max_profile_bytes=2**25))
    assert len(head.chunks["ICCP"]) == 2**25


def test_limits_are_knobs() -> None:
    data = simple_file(blobs(np.random.default_rng(2), 12, 12, 5))
    for limit in ("max_pixels", "max_groups", "max_head_bytes", "max_segment_bytes"):
        with pytest.raises(errors.LimitExceeded):
            fmt.read_head(data, DecodeLimits(**{limit: 1}))


def test_damage_costs_one_group() -> None:
    data = bytearray(simple_file(blobs(np.random.default_rng(2), 12, 12, 5)))
    head = fmt.read_head(bytes(data))
    victim = head.groups[2]
    data[victim.offset + 5] ^= 4
    assert [g.id for g in fmt.check(bytes(data), head)] == [victim.id]
    with pytest.raises(errors.DamagedSegment) as caught:
        fmt.read_segment(bytes(data), head, victim.id)
    assert caught.value.groups == (victim.name,)
    cut = bytes(data[:-1])
    assert {g.id for g in fmt.check(cut, fmt.read_head(cut))} == {victim.id, 0}
    with pytest.raises(errors.UnknownGroup):
        fmt.read_segment(data, head, 99)


@settings(max_examples=40, deadline=None)
@given(files())
def test_every_prefix_of_a_head_is_truncated(data: bytes) -> None:
    head_bytes = fmt.read_head(data).head_bytes
    for end in {*range(20), head_bytes // 2, head_bytes - 1}:
        with pytest.raises(errors.TruncatedFile):
            fmt.read_head(data[: min(end, head_bytes - 1)])


@settings(max_examples=300, deadline=None)
@given(files(), st.randoms(use_true_random=False), st.booleans())
def test_mutations_give_typed_errors(data: bytes, rng: random.Random, fix_checksum: bool) -> None:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    if fix_checksum:
        end = fmt.read_head(data).head_bytes - 4
        damaged[end : end + 4] = zlib.crc32(damaged[:end]).to_bytes(4, "little")
    with contextlib.suppress(errors.SsicError):
        head = fmt.read_head(bytes(damaged))
        bad = {g.id for g in fmt.check(bytes(damaged), head)}
        good = [g.id for g in head.groups if g.id not in bad]
        if good:
            fmt.read_head(fmt.extract(bytes(damaged), good))


@given(st.binary(max_size=200))
def test_any_bytes_give_typed_errors(data: bytes) -> None:
    for prefix in (b"", b"\xf3sic\x01"):
        with pytest.raises(errors.FormatError):
            fmt.read_head(prefix + data)
    with contextlib.suppress(errors.FormatError):
        fmt.read_head(with_body(data))


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


def test_limits_of_the_process_hold_where_none_are_given() -> None:
    data = simple_file(blobs(np.random.default_rng(2), 12, 12, 5))
    before = fmt.set_default_limits(DecodeLimits(max_groups=1))
    try:
        with pytest.raises(errors.LimitExceeded, match="groups"):
            fmt.read_head(data)
        with pytest.raises(errors.LimitExceeded, match="groups"):
            fmt.merge([data])
        fmt.read_head(data, DecodeLimits())
    finally:
        assert fmt.set_default_limits(before) == DecodeLimits(max_groups=1)
    assert fmt.default_limits() == DecodeLimits()
    with pytest.raises(errors.InvalidInput, match="are a DecodeLimits"):
        fmt.set_default_limits(3)  # type: ignore[arg-type]


def test_what_pillow_warns_of_is_warned_of_and_what_it_refuses_is_refused() -> None:
    """The mask has one label: no byte of it, whatever the size."""
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    assert most is not None
    for pixels, outcome in (
        (most, None),
        (most + 10**6, fmt.LargePicture),
        (2 * most + 10**6, errors.LimitExceeded),
    ):
        rows = pixels // 65536 // 16 * 16
        width = write_varint(65536) + write_varint(rows)
        body = with_body(b"\x70" + width + MODEL + b"\x01" + ENTRY)
        with contextlib.ExitStack() as stack:
            if outcome is fmt.LargePicture:
                stack.enter_context(pytest.warns(fmt.LargePicture))
            elif outcome is not None:
                stack.enter_context(pytest.raises(errors.LimitExceeded))
            fmt.read_head(body)
    DecodeLimits(max_memory=2**20).check_work(32, 1)
    with pytest.raises(errors.LimitExceeded, match="decode some groups only"):
        DecodeLimits(max_memory=2**20).check_work(32, 2)
