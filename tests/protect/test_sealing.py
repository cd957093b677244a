"""Sealed groups: round trips, what they hide, who may open them, and calls that make no sense."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssic
import ssic.format as fmt
from helpers.masks import blob_mask
from helpers.sealed_files import (
    ALICE,
    BOB,
    CAROL,
    HIDING,
    SIGNER,
    changed,
    clear_file,
    files_encrypt,
    inside,
    segment,
)
from ssic import Identity, Passphrase, Recipient
from ssic.crypto import Keyring, sealed
from ssic.crypto.files import DamageKept, NamesTell
from ssic.crypto.stanza import SUITES
from ssic.crypto.wrap import Wrapper
from ssic.errors import (
    BadKey,
    DamagedSegment,
    EncryptedSegment,
    InvalidInput,
    TamperedSegment,
    TruncatedFile,
    UnknownGroup,
    WrongKey,
)
from ssic.names import default_name

pytestmark = pytest.mark.usefixtures("passphrases_that_cost_little")


# -- round trips -------------------------------------------------------------------------------------------


@st.composite
def sealings(draw: st.DrawFn) -> tuple[bytes, list[int], bytes, str]:
    """A clear file, ids, the file with these groups sealed for ALICE and others, and how much is hidden."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = random.Random(seed)
    groups = rng.randint(1, 6)
    count = len(fmt.read_head(clear_file(seed, groups)).groups)
    order = rng.choice([None, rng.sample(range(count), count)])
    chunks = rng.choice([None, {"ICCP": b"profile"}])
    data = clear_file(seed, groups, order=order, chunks=chunks)
    ids = rng.sample(range(count), rng.randint(1, count))
    hide = draw(st.sampled_from(HIDING))
    locks = rng.choice(
        [
            [ALICE.recipient],
            [BOB.recipient, ALICE.recipient],
            [Identity(b"somebody" * 4).recipient, ALICE.recipient],
        ]
    )
    cipher = rng.choice(["aes-256-gcm", "chacha20-poly1305"])
    return data, ids, files_encrypt(data, ids, locks, hide=hide, cipher=cipher), hide


@settings(max_examples=80)
@given(sealings(), st.randoms())
def test_decrypt_undoes_encrypt_to_the_byte(sealing, rng) -> None:
    data, ids, out, _ = sealing
    assert bytes(ssic.decrypt(out, ALICE)) == data
    some = rng.sample(ids, rng.randint(1, len(ids)))
    part = bytes(ssic.decrypt(out, [BOB, ALICE], some))
    head = fmt.read_head(part)
    assert {g.id for g in head.groups if not g.encrypted} == set(some) | set(fmt.read_head(data).order) - set(
        ids
    )
    if len(some) < len(ids):
        assert bytes(ssic.decrypt(part, ALICE)) == data  # in steps as well as at once
    more = [i for i in fmt.read_head(data).order if i not in ids]
    if more:
        twice = files_encrypt(out, more, [CAROL.recipient], hide=rng.choice(HIDING))
        assert bytes(ssic.decrypt(bytes(ssic.decrypt(twice, CAROL)), ALICE)) == data


def test_opening_in_steps_gives_the_order_that_opening_at_once_does() -> None:
    data = clear_file(33, 6, order=[1, 5, 2, 4, 0, 3])
    out = files_encrypt(data, [2, 0, 5, 1], [ALICE.recipient], hide="outline")
    for first in ([2], [1, 0], [5, 2, 0]):
        assert bytes(ssic.decrypt(bytes(ssic.decrypt(out, ALICE, first)), ALICE)) == data


@settings(max_examples=40)
@given(sealings())
def test_clear_groups_stay_as_they_are(sealing) -> None:
    data, ids, out, _ = sealing
    before, after = fmt.read_head(data), fmt.read_head(out)
    for entry in after.groups:
        if entry.encrypted:
            continue
        assert entry.id not in ids
        assert fmt.read_segment(out, after, entry.id) == segment(data, entry.id)
        was = next(g for g in before.groups if g.id == entry.id)
        assert replace(was, offset=entry.offset) == entry
        np.testing.assert_array_equal(after.mask == entry.id, before.mask == entry.id)
    clear = [g.id for g in after.groups if not g.encrypted]
    if clear:
        assert fmt.extract(out, clear) == fmt.extract(data, clear)


@settings(max_examples=40)
@given(sealings())
def test_sealed_groups_survive_extract_drop_and_merge(sealing) -> None:
    data, _, out, _ = sealing
    head = fmt.read_head(out)
    lone = [fmt.extract(out, [g.id]) for g in head.groups]
    if not fmt.read_head(data).chunks and fmt.read_head(fmt.merge(lone)).order == head.order:
        assert fmt.merge(lone) == out
    for part in lone:
        if fmt.read_head(part).seal is not None:
            opened = bytes(ssic.decrypt(part, ALICE))
            for entry in fmt.read_head(opened).groups:
                assert segment(opened, entry.id) == segment(data, entry.id)


def test_overhead() -> None:
    data = clear_file(1, size=10)  # so small that no length takes another byte
    head = fmt.read_head(data)
    for count in (1, 3):
        out = bytes(ssic.encrypt(data, list(range(count)), ALICE.recipient))
        new = fmt.read_head(out)
        for i in range(count):
            assert new.groups[i].length - head.groups[i].length == 115
        assert new.head_bytes - head.head_bytes == 13  # for the file
        assert len(out) - len(data) <= 128 * count
    assert len(bytes(ssic.encrypt(data, 0, Passphrase("x")))) - len(data) == 115 - 3 + 13


def pieces(segments: list[bytes], size: int) -> set[bytes]:
    """All that stands in so many bytes in a row."""
    return {s[i : i + size] for s in segments for i in range(len(s) - size + 1)}


def test_two_encryptions_share_no_bytes() -> None:
    data = clear_file(2, size=3000)
    for hide in HIDING:
        a, b = (bytes(ssic.encrypt(data, [1, 2], ALICE.recipient, hide=hide)) for _ in range(2))
        heads = [fmt.read_head(x) for x in (a, b)]
        assert heads[0].seal is not None
        assert heads[0].seal[1:] != heads[1].seal[1:]
        sealed = [
            [fmt.read_segment(x, head, g.id) for g in head.groups if g.encrypted]
            for x, head in zip((a, b), heads, strict=True)
        ]
        # Eight bytes: lengths and counts, four in a row at most, are the same each time, and may
        # stand beside a few random bytes that happen to be the same, too.
        assert not pieces(sealed[0], 8) & pieces(sealed[1], 8)
        assert not pieces([segment(data, 1), segment(data, 2)], 6) & pieces(sealed[0], 6)


def test_metadata_that_may_show_what_is_sealed_is_left_out() -> None:
    data = clear_file(1, chunks={"ICCP": b"p", "EXIF": b"II thumbnail"})
    assert set(fmt.read_head(bytes(ssic.encrypt(data, 1, ALICE.recipient))).chunks) == {"ICCP"}
    kept = bytes(ssic.encrypt(data, 1, ALICE.recipient, metadata=True))
    assert bytes(ssic.decrypt(kept, ALICE)) == data


# -- hiding ------------------------------------------------------------------------------------------------


def test_hidden_groups_leave_one_outline_and_nothing_else() -> None:
    mask = blob_mask(5, 6, 8, 5)
    a = clear_file(5, 5, 6, 8, mask=mask)
    # Another file: the two groups divided otherwise, with other names, classes, scores and qualities.
    other = mask.copy()
    inside = np.isin(mask, (1, 3))
    other[inside] = np.where(np.arange(inside.sum()) % 3 == 0, 1, 3)
    b = clear_file(5, 5, 6, 8, mask=other)
    b = changed(b, lambda s: s.update({i: replace(s[i], name=f"x{i}", quality=9, score=1.0) for i in (1, 3)}))
    public = []
    for data in (a, b):
        head = fmt.read_head(bytes(ssic.encrypt(data, [3, 1], ALICE.recipient, hide="outline")))
        bundle = next(g for g in head.groups if g.encrypted)
        assert (bundle.name, bundle.class_name, bundle.score, bundle.quality) == ("sealed", None, None, 1)
        about = [replace(g, offset=0, length=0, crc=0) for g in head.groups]
        public.append((head.mask.tolist(), [g for g in about if g.encrypted], head.order))
    assert public[0] == public[1]
    assert not np.isin(public[0][0], (1, 3)).any()


def test_a_recipient_of_one_hidden_group_learns_of_no_other() -> None:
    data = clear_file(6, 5, 6, 8)
    out = bytes(ssic.encrypt(data, [1, 2, 3], ALICE.recipient, hide="outline"))
    names = {g.id: g.name for g in fmt.read_head(data).groups}
    out = bytes(ssic.rewrap(out, ALICE, BOB.recipient, 2))
    for key, seen in ((BOB, {2}), (ALICE, {1, 3}), (SIGNER, None)):
        if seen is None:
            continue
        opened = ssic.SsicFile(out, identity=key)
        bundle = next(g for g in opened.groups if g.encrypted)
        assert {g.id for g in opened.groups} == {0, 4, bundle.id} | seen
        for i in seen:
            assert opened.mask.names[i] == names[i]
            np.testing.assert_array_equal(opened.mask.ids == i, fmt.read_head(data).mask == i)
        with pytest.raises(WrongKey):
            bytes(ssic.decrypt(out, key, [bundle.id]))
        with pytest.raises(UnknownGroup):
            bytes(ssic.decrypt(out, key, next(iter({1, 2, 3} - seen))))
    part = bytes(ssic.decrypt(out, BOB))
    assert [g.id for g in fmt.read_head(part).groups if not g.encrypted] == [0, 2, 4]
    assert bytes(ssic.decrypt(part, ALICE)) == data
    with pytest.raises(UnknownGroup):
        bytes(ssic.SsicFile(out, identity=BOB).extract(2))


def test_what_a_faulty_sealer_hid_costs_that_part_only() -> None:
    data = clear_file(6, 4, 6, 8)
    out = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient, hide="outline"))
    head = fmt.read_head(out)
    entry = next(g for g in head.groups if g.encrypted)
    packed, _ = sealed.split_parts(fmt.read_segment(out, head, entry.id), "")
    parts = sorted((sealed.unpack_part(p, "") for p in packed), key=lambda p: -inside(head, entry, p))

    def with_inner(change: Callable[[bytes], bytes], at: int = 0) -> bytes:
        seed = sealed.unwrap(head, parts[at], Keyring(ALICE))
        assert seed is not None
        plain = change(sealed.open_with(head, entry, parts[at], seed))
        group = replace(fmt.segment_of(entry, b""), payload=plain)
        new = [*parts]
        new[at] = sealed.seal_group(head, head.seal, group, Wrapper([ALICE.recipient]), 0)
        return changed(
            out, lambda s: s.update({entry.id: replace(group, payload=b"".join(map(sealed.pack_part, new)))})
        )

    assert bytes(ssic.decrypt(with_inner(lambda p: p), ALICE)) == data
    faults: list[Callable[[bytes], bytes]] = [
        lambda p: b"",
        lambda p: p[:5],
        lambda p: b"\xff" + p[1:],  # id 255
        lambda p: b"\0" + p[1:],  # the id of a clear group
        lambda p: p[:1] + b"\0" + p[2:],  # quality 0
        lambda p: p[:3] + b"\x04" + p[4:],  # an unknown flag
        lambda p: p[:3] + b"\0\x00" + p[5:],  # no name
        lambda p: p[:3] + b"\0\x0abackground" + bytes([48]),  # no blocks
        lambda p: p[:3] + b"\0\x01x\0" + bytes([48]),  # everybody's blocks
        lambda p: p[:3] + b"\0\x01x" + bytes([1, 0, 47]),
        lambda p: p[:3] + b"\0\x01x" + bytes([49]),
    ]
    for fault in faults:
        bad = with_inner(fault)
        with pytest.raises(UnknownGroup):
            bytes(ssic.decrypt(bad, ALICE, 2))
        with pytest.raises(DamagedSegment, match="sealed"):
            bytes(ssic.decrypt(bad, ALICE, entry.id))
        with pytest.warns(DamageKept, match="sealed"):
            rest = bytes(ssic.decrypt(bad, ALICE))
        assert [g.id for g in fmt.read_head(rest).groups if not g.encrypted] == [0, 1, 3]
        opened = ssic.SsicFile(bad, identity=ALICE)
        assert {g.id for g in opened.groups} == {0, 1, 3, entry.id}
        with pytest.raises(DamagedSegment, match="sealed"):
            opened.decode(entry.id)
    doubled = with_inner(
        lambda p: sealed.open_with(head, entry, parts[1], sealed.unwrap(head, parts[1], Keyring(ALICE)))
    )
    with pytest.warns(DamageKept, match="same block"):
        bytes(ssic.decrypt(doubled, ALICE))


# -- rewrap ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hide", HIDING)
def test_rewrap_changes_who_and_not_what(hide: str) -> None:
    data = clear_file(2)
    out = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient, hide=hide))
    for_bob = bytes(ssic.rewrap(out, ALICE, BOB.recipient))
    both = bytes(ssic.rewrap(for_bob, BOB, ALICE.recipient, keep=True))
    assert (
        bytes(ssic.decrypt(for_bob, BOB))
        == bytes(ssic.decrypt(both, ALICE))
        == bytes(ssic.decrypt(both, BOB))
        == data
    )
    with pytest.raises(WrongKey):
        bytes(ssic.decrypt(for_bob, ALICE))
    with pytest.raises(WrongKey):
        bytes(ssic.rewrap(for_bob, ALICE, ALICE.recipient))
    for entry in fmt.read_head(out).groups:
        if not entry.encrypted:
            assert segment(both, entry.id) == segment(out, entry.id)
            continue
        bodies = [
            [p.body for p in
             ([sealed.unpack_part(p, "") for p in sealed.split_parts(segment(x, entry.id), "")[0]]
              if hide != "nothing" else [sealed.unpack(segment(x, entry.id), "")])]
            for x in (out, for_bob, both)
        ]  # fmt: skip
        assert bodies[0] == bodies[1] == bodies[2]
    one = bytes(ssic.rewrap(out, ALICE, BOB.recipient, 1))
    assert bytes(ssic.decrypt(bytes(ssic.decrypt(one, BOB)), ALICE)) == data
    with pytest.raises(InvalidInput):
        bytes(ssic.rewrap(out, ALICE, BOB.recipient, 0))


# -- lengths, orders and gaps ------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.booleans())
def test_padding_comes_off_again(length: int, pad: bool) -> None:
    content = bytes(range(1, 200)) * 30
    plain = sealed.padded(content[:length], pad)
    assert sealed.unpadded(plain, "x") == content[:length]
    assert len(plain) == sealed.padme(len(plain)) if pad else len(plain) == length + 1
    assert len(plain) <= max(2, length * 9 / 8 + 4)


@pytest.mark.parametrize("plain", [b"", b"\x01", b"\x01a", b"\x02a\0", b"\x05", b"\x80", b"\x01a\x01"])
def test_padding_that_is_none_is_refused(plain: bytes) -> None:
    with pytest.raises(DamagedSegment, match="faulty writer"):
        sealed.unpadded(plain, "x")


@pytest.mark.parametrize("hide", HIDING)
def test_padded_groups_open_as_others_and_show_few_lengths(hide: str) -> None:
    lengths = set()
    for size in range(300, 340):
        mask = np.array([[0, 1]], np.uint8)
        segments = [fmt.Segment(0, "background", 60, b"a"), fmt.Segment(1, "x", 60, bytes([7]) * size)]
        data = clear_file(1, rows=1, columns=2, mask=mask, segments=segments)
        out = bytes(ssic.encrypt(data, 1, ALICE.recipient, hide=hide, pad=True))
        assert bytes(ssic.decrypt(out, ALICE)) == data
        lengths.add(next(g.length for g in fmt.read_head(out).groups if g.encrypted))
    assert len(lengths) <= 4


def test_orders_tell_nothing() -> None:
    data = clear_file(6, 5, 6, 8)
    orders, firsts = set(), set()
    for _ in range(40):
        out = bytes(ssic.encrypt(data, [1, 2, 3], [ALICE.recipient, BOB.recipient], hide="outline"))
        head = fmt.read_head(out)
        entry = next(g for g in head.groups if g.encrypted)
        parts = [sealed.unpack_part(p, "") for p in sealed.split_parts(segment(out, entry.id), "")[0]]
        orders.add(tuple(inside(head, entry, part) for part in parts))
        firsts.add(ALICE.unwrap(parts[0].stanzas[:1], SUITES[1]) is None)
    assert len(orders) > 3
    assert firsts == {True, False}


def test_gaps_are_told_of_and_closed() -> None:
    mask = np.array([[0, 1, 2, 3, 4]], np.uint8)
    names = ["background", "person 1", "person 2", "person 3", "dog"]
    segments = [fmt.Segment(i, name, 60, bytes([i] * 9)) for i, name in enumerate(names)]
    data = clear_file(1, rows=1, columns=5, mask=mask, segments=segments)
    for hide in ("names", "outline"):
        with pytest.warns(NamesTell, match=r"names \(person"):
            bytes(ssic.encrypt(data, 2, ALICE.recipient, hide=hide))
    with pytest.warns(NamesTell, match="ids"):
        bytes(ssic.encrypt(fmt.drop(data, [1, 3]), 2, ALICE.recipient, hide="outline"))
    closed = fmt.renumber(data, [2])
    assert [(g.id, g.name) for g in fmt.read_head(closed).groups] == [
        (0, "background"), (1, "person 1"), (2, "person 2"), (3, "dog"), (5, "person 3"),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", NamesTell)
        out = bytes(
            ssic.encrypt(fmt.renumber(fmt.drop(data, [3]), [2]), "person 2", ALICE.recipient, hide="outline")
        )
    assert [(g.id, g.name) for g in fmt.read_head(out).groups] == [
        (0, "background"), (1, "person"), (2, "dog"), (3, "sealed"),
    ]  # fmt: skip
    with pytest.raises(EncryptedSegment):
        fmt.renumber(bytes(ssic.encrypt(data, 1, ALICE.recipient)), [2])


# -- what is refused --------------------------------------------------------------------------------------


def test_versions_tell_old_from_new_to_who_remembers() -> None:
    data = clear_file(4)
    for hide in HIDING:
        out = bytes(ssic.encrypt(data, 1, ALICE.recipient, version=7, hide=hide))
        assert bytes(ssic.decrypt(out, ALICE, min_version=7)) == data
        with pytest.raises(TamperedSegment, match="version 7, and at least 8"):
            bytes(ssic.decrypt(out, ALICE, min_version=8))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda d: bytes(ssic.encrypt(d, 1, [])), InvalidInput, "nobody"),
        (lambda d: bytes(ssic.encrypt(d, [], ALICE.recipient)), InvalidInput, "no group"),
        (lambda d: bytes(ssic.encrypt(d, "cat", ALICE.recipient)), UnknownGroup, "cat"),
        (lambda d: bytes(ssic.encrypt(d, 1, ALICE)), InvalidInput, "not to Identity"),
        (lambda d: bytes(ssic.encrypt(d, 1, [ALICE])), InvalidInput, "not to Identity"),
        (lambda d: bytes(ssic.encrypt(d, 1, None)), InvalidInput, "not to None"),
        (lambda d: bytes(ssic.decrypt(d, None)), InvalidInput, "not by None"),
        (lambda d: bytes(ssic.sign(d, None)), InvalidInput, "not with None"),
        (lambda d: bytes(ssic.encrypt(d, 1, Recipient(bytes(32)))), BadKey, "low order"),
        (lambda d: bytes(ssic.encrypt(d, 1, ALICE.recipient, hide="all")), InvalidInput, "hide is"),
        (lambda d: bytes(ssic.encrypt(d, 1, ALICE.recipient, version=-1)), InvalidInput, "version"),
        (lambda d: bytes(ssic.encrypt(d, 1, ALICE.recipient, cipher="rot13")), InvalidInput, "rot13"),
        (
            lambda d: bytes(ssic.encrypt(bytes(ssic.encrypt(d, 1, ALICE.recipient)), 1, BOB.recipient)),
            InvalidInput,
            "already",
        ),
        (
            lambda d: bytes(
                ssic.encrypt(
                    bytes(ssic.encrypt(d, 1, ALICE.recipient)), 2, BOB.recipient, cipher="chacha20-poly1305"
                )
            ),
            InvalidInput,
            "one cipher",
        ),
        (
            lambda d: bytes(ssic.encrypt(d, 1, [Identity.generate().recipient for _ in range(33)])),
            InvalidInput,
            "33",
        ),
        (
            lambda d: bytes(ssic.decrypt(bytes(ssic.encrypt(d, 1, ALICE.recipient)), ALICE.recipient)),
            InvalidInput,
            "Identities",
        ),
        (lambda d: bytes(ssic.sign(d, ALICE)), InvalidInput, "SigningKey"),
        (lambda d: bytes(ssic.encrypt(d[:-1], 0, ALICE.recipient)), TruncatedFile, "ends"),
    ],
)
def test_calls_that_make_no_sense_are_refused(call, error, says) -> None:
    with pytest.raises(error, match=says):
        call(clear_file())


def test_hiding_needs_free_ids() -> None:
    mask = np.arange(255, dtype=np.uint8).reshape(15, 17)
    segments = [fmt.Segment(i, default_name(i), 60, b"") for i in range(255)]
    data = clear_file(rows=15, columns=17, mask=mask, segments=segments)
    with pytest.raises(InvalidInput, match="no free group id"):
        bytes(ssic.encrypt(data, 3, ALICE.recipient, hide="outline"))
    assert bytes(ssic.decrypt(bytes(ssic.encrypt(data, range(255), ALICE.recipient)), ALICE)) == data
