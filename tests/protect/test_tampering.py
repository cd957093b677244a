"""Whatever is changed in a sealed or signed file is noticed, and costs no more than what was changed."""

from __future__ import annotations

import contextlib
import io
import random
from dataclasses import replace
from pathlib import Path

import mutations
import numpy as np
import pytest
from PIL import Image

import ssic
import ssic.format as fmt
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.sealed_files import (
    ALICE,
    BOB,
    HIDING,
    SIGNER,
    changed,
    clear_file,
    files_encrypt,
    inside,
    repaired,
    segment,
)
from ssic import Identity, Passphrase, SigningKey
from ssic.crypto import sealed
from ssic.crypto.files import DamageKept
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    InvalidInput,
    SignatureError,
    SsicError,
    TamperedSegment,
    TruncatedFile,
    UnknownGroup,
    WrongKey,
)
from ssic.storage.source import FileBytes

pytestmark = pytest.mark.usefixtures("passphrases_that_cost_little")


# -- what is noticed ---------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_file_fails_a_checksum() -> None:
    out = bytes(ssic.sign(bytes(ssic.encrypt(clear_file(7, size=20), [1], ALICE.recipient)), SIGNER))
    rng = random.Random(1)
    for byte in range(len(out)):
        bad = bytearray(out)
        bad[byte] ^= 1 << rng.randrange(8)
        with pytest.raises(SsicError):
            ssic.verify(bytes(bad))
        with contextlib.suppress(SsicError):
            assert fmt.check(bytes(bad), fmt.read_head(bytes(bad)))


def test_every_flipped_bit_of_a_signed_file_is_noticed_behind_the_checksums() -> None:
    out = bytes(ssic.sign(bytes(ssic.encrypt(clear_file(7, 3, size=6), [1], ALICE.recipient)), SIGNER))
    head = fmt.read_head(out)
    assert ssic.verify(out) == SIGNER.verify_key
    unnoticed = []
    for bit in range(8 * len(out)):
        bad = bytearray(out)
        bad[bit // 8] ^= 1 << bit % 8
        fixed = repaired(bytes(bad), head)
        if fixed == out:
            continue  # it was a checksum, and has been repaired
        try:
            ssic.verify(fixed, SIGNER.verify_key)
            unnoticed.append(bit)
        except SsicError:
            pass
    assert not unnoticed


@pytest.mark.parametrize("hide", HIDING)
def test_every_flipped_bit_of_a_sealed_group_is_noticed_behind_the_checksums(hide: str) -> None:
    """Its segment (version, wrapped key, ciphertext, tag), and all that the head says of it. Clear groups are not
    protected: that takes a signature."""
    data = clear_file(8, 2, size=6)
    out = files_encrypt(data, [1], [ALICE.recipient], hide=hide)
    head = fmt.read_head(out)
    entry = next(g for g in head.groups if g.encrypted)
    secret = segment(data, 1)
    unnoticed = []
    for bit in range(8 * len(out)):
        bad = bytearray(out)
        bad[bit // 8] ^= 1 << bit % 8
        fixed = repaired(bytes(bad), head)
        if fixed == out:
            continue
        try:
            after = bytes(ssic.decrypt(fixed, ALICE, 1))
            found = fmt.read_head(after)
            group = next(g for g in found.groups if g.id == 1)
            assert fmt.read_segment(after, found, 1) == secret
            was = fmt.read_head(data)
            assert replace(group, offset=0) == replace(was.groups[1], offset=0)
            np.testing.assert_array_equal(found.mask == 1, was.mask == 1)
            assert (found.width, found.height, found.model_id) == (was.width, was.height, was.model_id)
            unnoticed.append(bit // 8)
        except SsicError:
            pass
    # All that is not noticed lies in the clear group's segment, or in what the head says of that group.
    clear = next(g for g in head.groups if not g.encrypted)
    assert not set(unnoticed) & set(range(entry.offset, entry.offset + entry.length))
    segment_of_clear = set(range(clear.offset, clear.offset + clear.length))
    assert segment_of_clear <= set(unnoticed)
    seal_end = out.index(head.seal) + 13
    assert min(set(unnoticed)) > seal_end  # magic, version, flags, size, model and seal are all bound


def test_exchanged_segments_are_noticed() -> None:
    mask = np.array([[0, 1, 2, 2]], np.uint8)
    segments = [fmt.Segment(i, f"g{i}", 60, bytes([i] * 9)) for i in range(3)]
    data = clear_file(1, rows=1, columns=4, mask=mask, segments=segments)
    a = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient))
    b = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient))

    def swap(s: dict[int, fmt.Segment]) -> None:
        s[1], s[2] = replace(s[1], payload=s[2].payload), replace(s[2], payload=s[1].payload)

    swapped = changed(a, swap)
    foreign = changed(a, lambda s: s.update({1: replace(s[1], payload=segment(b, 1))}))
    renamed = changed(a, lambda s: s.update({1: replace(s[1], name="g9")}))
    requalified = changed(a, lambda s: s.update({1: replace(s[1], quality=90)}))
    head = fmt.read_head(a)
    moved = fmt.write_like(
        head,
        [fmt.segment_of(g, segment(a, g.id)) for g in head.groups],
        mask=np.array([[1, 0, 2, 2]], np.uint8),
        seal=head.seal,
    )
    for bad in (swapped, foreign, renamed, requalified, moved):
        with pytest.raises(TamperedSegment, match="sealed, but not like this"):
            bytes(ssic.decrypt(bad, ALICE, 1))
        assert not fmt.check(bad, fmt.read_head(bad))  # the checksums are right
    for bad in (foreign, renamed, requalified, moved):
        bytes(ssic.decrypt(bad, ALICE, 2))  # costs that group only
    with pytest.raises(InvalidInput, match="sealed apart"):
        fmt.merge([fmt.extract(a, [1]), fmt.extract(b, [2])])


def test_each_cause_has_its_own_error() -> None:
    data = clear_file(4)
    out = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient))

    def kind(file: bytes, *keys: Identity | Passphrase) -> type[SsicError]:
        with pytest.raises(SsicError) as error:
            ssic.SsicFile(file, identity=keys or None).decode(1)
        assert '"' in str(error.value) or "suite 9" in str(error.value)
        return type(error.value)

    head = fmt.read_head(out)
    entry = head.groups[1]
    assert kind(out) is EncryptedSegment
    assert kind(out, BOB) is WrongKey
    assert kind(out, Passphrase("x")) is WrongKey
    assert kind(out[: entry.offset + 90], ALICE) is TruncatedFile
    bad = bytearray(out)
    bad[entry.offset + 70] ^= 1
    assert kind(bytes(bad), ALICE) is DamagedSegment  # by its checksum

    def cut(length: int) -> bytes:
        return changed(out, lambda s: s.update({1: replace(s[1], payload=s[1].payload[:length])}))

    assert kind(cut(entry.length - 1), ALICE) is TamperedSegment
    for length in (0, 1, 2, 50, 66, 81, 113):
        assert kind(cut(length), ALICE) is DamagedSegment
    other_suite = changed(out, lambda s: None).replace(head.seal, b"\x09" + head.seal[1:])
    assert kind(repaired(other_suite, head), ALICE) is EncryptedSegment
    with pytest.raises(WrongKey):
        bytes(ssic.decrypt(out, BOB))
    with pytest.raises(WrongKey):
        bytes(ssic.decrypt(out, []))
    for nothing in (data, bytes(ssic.decrypt(out, ALICE))):
        with pytest.raises(InvalidInput, match="no group of the file is encrypted"):
            bytes(ssic.decrypt(nothing, ALICE))
    with pytest.raises(InvalidInput, match="none of the groups"):
        bytes(ssic.decrypt(out, ALICE, 0))


# -- signatures --------------------------------------------------------------------------------------------


def test_signatures_hold_for_the_whole_file_only() -> None:
    data = clear_file(3, chunks={"ICCP": b"p", "EXIF": b"II"})
    signed = bytes(ssic.sign(data, SIGNER))
    assert (
        len(signed) - len(data) == 97 + 32 * 4 + 4 + 2 + 1
    )  # tag, its length, and a longer length of the head
    assert ssic.verify(signed) == ssic.verify(signed, [SIGNER.verify_key]) == SIGNER.verify_key
    assert bytes(ssic.sign(signed, SIGNER)) == signed
    other = SigningKey(b"othr" * 8)
    with pytest.raises(SignatureError, match="none of the keys that are trusted"):
        ssic.verify(signed, other.verify_key)
    resigned = bytes(ssic.sign(signed, other))
    assert len(resigned) == len(signed)
    with pytest.raises(SignatureError, match="trusted"):
        ssic.verify(resigned, SIGNER.verify_key)
    for stripped in (data, fmt.extract(signed, [0, 1, 2]), fmt.extract(signed, [0, 1, 2], metadata=True)):
        with pytest.raises(SignatureError, match="not signed"):
            ssic.verify(stripped)
    # Somebody keeps the signature, and takes a group out, or puts the old one of it in.
    head = fmt.read_head(signed)
    less = fmt.write_like(
        head,
        [fmt.segment_of(g, segment(signed, g.id)) for g in head.groups[:-1]],
        mask=np.where(head.mask == 3, 0, head.mask).astype(np.uint8),
        stored_chunks=head.stored_chunks,
    )
    old = changed(signed, lambda s: s.update({1: replace(s[1], payload=b"old")}))
    shuffled = fmt.write_like(
        head,
        [fmt.segment_of(g, segment(signed, g.id)) for g in head.groups],
        order=head.order[::-1],
        stored_chunks=head.stored_chunks,
    )
    for bad in (less, old, shuffled):
        with pytest.raises(SignatureError):
            ssic.verify(bad)
        with pytest.raises(SignatureError):
            ssic.SsicFile(bad, trust=[SIGNER.verify_key])


def test_sealing_and_opening_leave_no_stale_signature() -> None:
    signed = bytes(ssic.sign(clear_file(3), SIGNER))
    out = bytes(ssic.encrypt(signed, 1, ALICE.recipient))
    for changed_file in (
        out,
        bytes(ssic.rewrap(bytes(ssic.sign(out, SIGNER)), ALICE, BOB.recipient)),
        bytes(ssic.decrypt(out, ALICE)),
    ):
        with pytest.raises(SignatureError, match="not signed"):
            ssic.verify(changed_file)
    both = bytes(ssic.sign(out, SIGNER))
    assert ssic.verify(both) == SIGNER.verify_key
    assert bytes(ssic.decrypt(both, ALICE)) == clear_file(3)


# -- pixels ------------------------------------------------------------------------------------------------


# Five bytes whose exclusive-or changes no CRC-32: the polynomial itself, reflected.
CRC_BLIND = (0x1DB710641).to_bytes(5, "little")


@pytest.fixture(scope="module")
def encoded() -> tuple[bytes, np.ndarray]:
    mask = blob_mask(2, 3, 4, 4)
    return ssic.encode(natural_picture(1, 45, 61), mask), mask


@pytest.mark.parametrize("hide", HIDING)
def test_pixels_with_and_without_the_key(encoded: tuple[bytes, np.ndarray], hide: str) -> None:
    data, mask = encoded
    whole = ssic.decode(data)
    out = bytes(ssic.encrypt(data, [1, 3], ALICE.recipient, hide=hide))
    np.testing.assert_array_equal(ssic.decode(out, identity=[BOB, ALICE]), whole)
    np.testing.assert_array_equal(ssic.decode(out, 3, identity=ALICE), ssic.decode(data, 3))
    secret = np.isin(mask, (1, 3)).repeat(16, 0).repeat(16, 1)[:45, :61]
    for keys in (None, BOB):
        with pytest.warns(ssic.SealedGroups, match="want of a key"):
            shown = ssic.decode(out, identity=keys)
        np.testing.assert_array_equal(shown[~secret], whole[~secret])
        assert not shown[secret].any()
    decoded = ssic.SsicFile(out).decode_pixels()
    assert decoded.damaged == ()
    assert decoded.sealed == tuple(g.name for g in ssic.SsicFile(out).groups if g.encrypted)
    with pytest.raises(EncryptedSegment, match="--identity"):
        ssic.decode(out, decoded.sealed)
    assert ssic.SsicFile(out).damaged() == []
    signed = bytes(ssic.sign(out, SIGNER))
    np.testing.assert_array_equal(ssic.decode(signed, identity=ALICE, trust=[SIGNER.verify_key]), whole)
    with pytest.raises(SignatureError):
        ssic.decode(out, identity=ALICE, trust=[SIGNER.verify_key])


def test_pillow_fills_sealed_groups(encoded: tuple[bytes, np.ndarray]) -> None:
    import ssic.pillow

    data, _ = encoded
    with Image.open(io.BytesIO(bytes(ssic.encrypt(data, 1, ALICE.recipient)))) as image:
        with pytest.warns(ssic.SealedGroups, match="group 1"):
            image.load()
        np.testing.assert_array_equal(np.asarray(image), ssic.decode(data, [0, 2, 3]))


def test_a_tampered_group_costs_that_group_only(encoded: tuple[bytes, np.ndarray]) -> None:
    data, _ = encoded
    out = bytes(ssic.sign(bytes(ssic.encrypt(data, [1, 3], ALICE.recipient)), SIGNER))
    bad = changed(
        out, lambda s: s.update({1: replace(s[1], payload=s[1].payload[:-1] + bytes([s[1].payload[-1] ^ 1]))})
    )
    with pytest.warns(ssic.DamagedGroups, match="group 1"):
        shown = ssic.decode(bad, identity=ALICE)
    np.testing.assert_array_equal(shown, ssic.decode(data, [0, 2, 3]))
    # The segment alone exchanged, behind a right CRC-32, which is easy to forge: the signature notices.
    head = fmt.read_head(out)
    entry = head.groups[0]
    forged = bytearray(out)
    forged[entry.offset : entry.offset + 5] = bytes(
        b ^ x for b, x in zip(out[entry.offset :], CRC_BLIND, strict=False)
    )
    assert not fmt.check(bytes(forged), head)
    with pytest.raises(SignatureError, match="background"):
        ssic.verify(bytes(forged))
    with pytest.warns(ssic.DamagedGroups, match="background"):
        shown = ssic.decode(bytes(forged), identity=ALICE, trust=[SIGNER.verify_key])
    np.testing.assert_array_equal(shown, ssic.decode(data, [1, 2, 3]))


def test_only_what_is_asked_for_is_read_and_opened(encoded: tuple[bytes, np.ndarray], tmp_path: Path) -> None:
    data, _ = encoded
    (tmp_path / "a.ssic").write_bytes(bytes(ssic.encrypt(data, [1, 3], ALICE.recipient)))
    read: list[range] = []

    class Counting(FileBytes):
        def __getitem__(self, part: slice) -> bytes:
            read.append(range(*part.indices(len(self))))
            return super().__getitem__(part)

    opened = ssic.SsicFile(Counting(tmp_path / "a.ssic"), identity=ALICE)
    assert max(r.stop for r in read) <= opened.head.head_bytes
    read.clear()
    opened.decode(3)
    entry = opened.groups[3]
    assert read == [range(entry.offset, entry.offset + entry.length)]


# -- fuzz --------------------------------------------------------------------------------------------------


def test_a_slice_of_the_fuzzing() -> None:
    """fuzz/mutations.py does this with many more; here a few of each kind, some down to pixels."""
    found = mutations.fuzz(mutations.arguments(["--decode", "0.04", "--memory-every", "50"]), 11, 300)
    assert found["faults"] == []
    assert set(found["outcomes"]) == set(mutations.MUTATIONS)
    assert found["decoded_to_pixels"] > 3


def test_trust_sees_forged_segments_behind_their_checksums() -> None:
    signed = bytes(ssic.sign(clear_file(), SIGNER))
    head = fmt.read_head(signed)
    entry = head.groups[1]
    forged = bytearray(signed)
    for i, byte in enumerate((1 | 0xEDB88320 << 1).to_bytes(5, "little"), entry.offset):
        forged[i] ^= byte  # the polynomial of CRC-32, which CRC-32 can't see
    opened = ssic.SsicFile(bytes(forged), trust=SIGNER.verify_key)  # one key needs no list
    assert ssic.SsicFile(bytes(forged)).damaged() == []
    assert opened.damaged() == [entry.name]


def test_hidden_groups_are_not_changed_alone() -> None:
    opened = ssic.SsicFile(
        bytes(ssic.encrypt(clear_file(), [1, 2], ALICE.recipient, hide="outline")), identity=ALICE
    )
    name = opened.mask.names[1]
    for change in (
        opened.extract,
        opened.drop,
        opened.reorder,
        lambda group: bytes(opened.set_quality({group: 1})),
    ):
        with pytest.raises(UnknownGroup, match=f"hidden in the file.*{name}; decrypt first"):
            change(1)


# -- damage ------------------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 4
    return bytes(out)


def test_one_flipped_bit_costs_one_hidden_group() -> None:
    data = clear_file(6, 5, 6, 8)
    out = bytes(ssic.encrypt(data, [1, 2, 3], ALICE.recipient, hide="outline"))
    head = fmt.read_head(out)
    entry = next(g for g in head.groups if g.encrypted)
    packed, _ = sealed.split_parts(segment(out, entry.id), "")
    at = entry.offset
    for part in packed:
        lost = inside(head, entry, sealed.unpack_part(part, ""))
        bad = flipped(out, at + len(part) - 3)
        at += len(part)
        opened = ssic.SsicFile(bad, identity=ALICE)
        assert {g.id for g in opened.groups} == {0, 1, 2, 3, 4, entry.id} - {lost}
        with pytest.warns(DamageKept):
            rest = bytes(ssic.decrypt(bad, ALICE))
        after = fmt.read_head(rest)
        assert {g.id for g in after.groups if not g.encrypted} == {0, 1, 2, 3, 4} - {lost}
        for i in {1, 2, 3} - {lost}:
            assert segment(rest, i) == segment(data, i)
        assert [g.id for g in fmt.check(rest, after)] == [entry.id]  # what is left is as damaged as it was
        with pytest.raises(UnknownGroup):
            bytes(ssic.decrypt(bad, ALICE, lost))
        with pytest.warns(DamageKept):
            again = bytes(ssic.rewrap(bad, ALICE, BOB.recipient))
        assert {g.id for g in ssic.SsicFile(again, identity=BOB).groups} == {0, 1, 2, 3, 4, entry.id} - {lost}


def test_a_damaged_clear_group_hinders_nobody() -> None:
    data = clear_file(4)
    head = fmt.read_head(data)
    bad = flipped(data, head.groups[2].offset)
    with pytest.warns(DamageKept, match=head.groups[2].name):
        out = bytes(ssic.encrypt(bad, 1, ALICE.recipient))
    assert [g.id for g in fmt.check(out, fmt.read_head(out))] == [2]
    with pytest.warns(DamageKept, match=head.groups[2].name):
        assert bytes(ssic.decrypt(out, ALICE)) == bad
    with pytest.raises(DamagedSegment, match="not to be sealed as if whole"):
        bytes(ssic.encrypt(bad, [1, 2], ALICE.recipient))
    two = bytes(ssic.encrypt(data, [1, 2], ALICE.recipient))
    entry = fmt.read_head(two).groups[1]
    hurt = flipped(two, entry.offset + entry.length - 1)
    with pytest.warns(DamageKept, match=entry.name):
        rest = bytes(ssic.decrypt(hurt, ALICE))
    assert [g.encrypted for g in fmt.read_head(rest).groups] == [False, True, False, False]
    with pytest.raises(DamagedSegment, match=entry.name):
        bytes(ssic.decrypt(hurt, ALICE, 1))
    with pytest.raises(TruncatedFile):
        bytes(ssic.encrypt(data[:-1], 1, ALICE.recipient))
