"""What can't be written and what can't be read: typed errors for whatever is wrong."""

from __future__ import annotations

import contextlib
import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssic.format as fmt
from helpers.format_files import MODEL, SEAL, files, simple_file
from helpers.masks import blobs
from ssic import errors
from ssic.blocks import BLOCK
from ssic.engine.bands import BAND
from ssic.format import DecodeLimits, Segment
from ssic.format.limits import BAND_PIXELS, decoding_memory, encoding_memory
from ssic.format.mask_coder import encode_mask
from ssic.format.varint import write_varint

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


def test_memory_is_estimated_by_what_is_decoded():
    limits = DecodeLimits(max_memory=2**30)
    limits.check_decoding(2_000_000, 12_000, 8_000)
    with pytest.raises(errors.LimitExceeded, match=r"takes about 2\.\d GB; .*decode some groups only"):
        limits.check_decoding(96_000_000, 12_000, 8_000)
    whole, part = decoding_memory(6_000_000, 3000, 2000), decoding_memory(600_000, 3000, 2000)
    assert part < whole / 3
    # What a default process takes at all, it has the memory for; of a picture as wide as high, or of one row.
    side = round(DecodeLimits().max_pixels ** 0.5)
    assert decoding_memory(side * side, side, side) < DecodeLimits().max_memory
    assert encoding_memory(side, side) < DecodeLimits().max_memory
    assert decoding_memory(16 * 65536, 65536, 16) < 2**28
    assert BAND_PIXELS >= BAND * BLOCK**2, "engines take larger bands than the estimate knows"
