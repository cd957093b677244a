"""Seals and signatures: what they hide, what they bind, and that whatever is changed is noticed."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import mutations
import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ssic
import ssic.format as fmt
from helpers import ROOT
from helpers import reference_sealing as reference
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic import Identity, Passphrase, Recipient, SigningKey, VerifyKey
from ssic.crypto import Keyring, sealed
from ssic.crypto.files import DamageKept, NamesTell
from ssic.crypto.stanza import MAX_STANZAS, SUITES, Stanza
from ssic.crypto.wrap import Wrapper
from ssic.errors import (
    BadKey,
    DamagedSegment,
    EncryptedSegment,
    InvalidInput,
    LimitExceeded,
    SignatureError,
    SsicError,
    TamperedSegment,
    TruncatedFile,
    UnknownGroup,
    WrongKey,
)
from ssic.names import default_name
from ssic.storage.source import FileBytes

ALICE, BOB, CAROL = Identity(b"alice" * 6 + b"!!"), Identity(b"bob and " * 4), Identity(b"carol th" * 4)
SIGNER = SigningKey(b"sign" * 8)
HIDING = ("nothing", "names", "outline")
MODEL = bytes(range(8))


@pytest.fixture(autouse=True)
def passphrases_that_cost_little() -> Iterator[None]:
    before = fmt.set_default_limits(ssic.DecodeLimits(min_scrypt_cost=4))
    yield
    fmt.set_default_limits(before)


def clear_file(
    seed: int = 0, groups: int = 4, rows: int = 4, columns: int = 5, size: int = 40, **changes
) -> bytes:
    """A file of a few groups whose payloads are random; `size` is that of the largest."""
    rng = random.Random(seed)
    mask = blob_mask(seed, rows, columns, groups)
    segments = [
        fmt.Segment(
            i,
            rng.choice([f"person {i}", default_name(i)]),
            rng.choice([60, 85]),
            rng.randbytes(rng.randint(size // 2, size)),
            rng.choice([None, "person"]),
            rng.choice([None, 0.5]),
        )
        for i in range(mask.max() + 1)
    ]
    arguments = {"width": columns * 16 - 3, "height": rows * 16, "model_id": MODEL, "mask": mask}
    return fmt.write_file(**{**arguments, "segments": segments, **changes})


def segment(data: bytes, group: int) -> bytes:
    return fmt.read_segment(data, fmt.read_head(data), group)


def changed(data: bytes, change: Callable[[dict[int, fmt.Segment]], None]) -> bytes:
    """The file with other segments, all checksums right: what an attacker without keys can do."""
    head = fmt.read_head(data)
    segments = {g.id: fmt.segment_of(g, segment(data, g.id)) for g in head.groups}
    change(segments)
    chunks = head.stored_chunks
    return fmt.write_like(
        head, list(segments.values()), order=head.order, stored_chunks=chunks, seal=head.seal
    )


def repaired(data: bytes, like: fmt.Head) -> bytes:
    """The checksums made right, where the head still has the length and layout of `like`."""
    out = bytearray(data)
    for entry in like.groups:  # each segment's checksum lies in the head, once
        old = entry.crc.to_bytes(4, "little")
        at = out.find(old, 0, like.head_bytes)
        payload = out[entry.offset : entry.offset + entry.length]
        if at >= 0:
            out[at : at + 4] = zlib.crc32(payload).to_bytes(4, "little")
    end = like.head_bytes - 4
    out[end : end + 4] = zlib.crc32(out[:end]).to_bytes(4, "little")
    return bytes(out)


# -- keys --------------------------------------------------------------------------------------------------


def test_keys_have_one_written_form_and_slips_are_noticed() -> None:
    kinds = (Recipient, Identity, VerifyKey, SigningKey)
    keys = (ALICE.recipient, ALICE, SIGNER.verify_key, SIGNER)
    for kind, key in zip(kinds, keys, strict=True):
        word = key.secret() if isinstance(key, (Identity, SigningKey)) else str(key)
        assert kind.parse(f" {word}\n") == key
        assert len(word) == len(kind.PREFIX) + 48
        for at in range(len(kind.PREFIX), len(word)):
            slip = word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :]
            with pytest.raises(BadKey, match="checksum"):
                kind.parse(slip)
        for other in (k for k in kinds if k is not kind):
            with pytest.raises(BadKey, match="was expected; what was given is"):
                other.parse(word)
        for wrong in (word[:-1], word + "A", word[:-4], kind.PREFIX, "", "hello", word.swapcase()):
            with pytest.raises(BadKey):
                kind.parse(wrong)


def test_secrets_show_in_no_string() -> None:
    passphrase = Passphrase("correct horse")
    assert "horse" not in f"{passphrase}{passphrase!r}{[passphrase]}"
    for key in (ALICE, SIGNER):
        for text in (str(key), repr(key), f"{key}", str([key]), str(vars(Keyring(ALICE)).keys())):
            assert key.secret() not in text
        with pytest.raises(BadKey) as error:
            Recipient.parse(key.secret())
        assert key.secret()[15:] not in str(error.value)
        with pytest.raises(BadKey) as error:
            type(key).parse(key.secret()[:-1] + "~")
        assert key.secret()[15:30] not in str(error.value)
    for secret in (ALICE, SIGNER, passphrase):
        with pytest.raises(TypeError):
            pickle.dumps(secret)


def test_passphrases_are_the_same_however_typed() -> None:
    data = ssic.format.extract(clear_file(), [0])
    out = files_encrypt(data, [0], [Passphrase("Zürich")])
    assert bytes(ssic.decrypt(out, Passphrase("Zu\u0308rich"))) == data
    for empty in ("", "\ud800"):
        with pytest.raises(BadKey):
            Passphrase(empty)


# -- known answers -----------------------------------------------------------------------------------------

SEED, SALT, NONCE = bytes(range(16)), bytes(range(100, 116)), bytes(range(50, 62))
VECTORS = {
    1: (
        "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d"
        "c203f3b96eec7e0f705e1c191954e277efc8e0645169d88fb87f59fab87ddcd1",
        "6465666768696a6b6c6d6e6f707172730a32333435363738393a3b3c3d1719c9"
        "c90f589a38cc59e2745261da4d84b64dc5763d3969b4a56cce9f29232c",
    ),
    2: (
        "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d"
        "b6da068de1c0d0e7e244fc94a45a3661bd75b69ee24be635ebb9bb7b680bd71b",
        "6465666768696a6b6c6d6e6f707172730a32333435363738393a3b3c3da23125"
        "94ad67a219d5acd00f0c0aaad22b003a9502dc5f0e426d382779bf0d61",
    ),
}
"""By suite: `SEED` wrapped for ALICE with the ephemeral key `bytes(32 * [7])`, and for the passphrase "open sesame"
with `SALT`, N = 2^10 and `NONCE`. Made by tests/helpers/reference_sealing.py; they must never change."""


@pytest.mark.parametrize("suite", [1, 2])
def test_known_answers_of_wrapped_keys(suite: int) -> None:
    x25519, scrypt = (bytes.fromhex(v) for v in VECTORS[suite])
    assert reference.wrap_x25519(suite, SEED, ALICE.recipient.raw, bytes([7] * 32)) == x25519
    assert reference.wrap_passphrase(suite, SEED, b"open sesame", SALT, 10, NONCE) == scrypt
    ours, sesame = SUITES[suite], Passphrase("open sesame")
    assert Keyring(ALICE).unwrap(ours, [Stanza(1, x25519)]) == SEED
    assert Keyring(sesame).unwrap(ours, [Stanza(2, scrypt)]) == SEED
    assert Wrapper([sesame], cost=10, salt=SALT).wrap(ours, SEED, NONCE) == (Stanza(2, scrypt),)
    # The sender's ephemeral key is the library's own business: theirs is opened by the reference.
    for stanza in Wrapper([ALICE.recipient]).wrap(ours, SEED):
        assert reference.unwrap_x25519(suite, stanza.body, b"alice" * 6 + b"!!") == SEED
    # Each bit counts.
    for body, kind, key in ((x25519, 1, ALICE), (scrypt, 2, sesame)):
        for bit in range(8 * len(body)):
            if kind == 2 and bit // 8 == 16:
                continue  # the cost: below
            flipped = bytearray(body)
            flipped[bit // 8] ^= 1 << bit % 8
            if kind == 2 and bit // 8 < 16 and bit % 8:
                continue  # scrypt is slow on purpose: one bit of each byte of the salt
            # Bit 255 of a coordinate is ignored by X25519, but not by HPKE, which binds the key as it was sent.
            assert Keyring(key).unwrap(ours, [Stanza(kind, bytes(flipped))]) is None


def test_the_reference_is_hpke() -> None:
    for suite, aead in ((1, hpke.AEAD.AES_256_GCM), (2, hpke.AEAD.CHACHA20_POLY1305)):
        theirs = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, aead)
        body = reference.wrap_x25519(suite, SEED, BOB.recipient.raw, bytes(range(32)))
        assert theirs.decrypt(body, BOB.key, reference.wrap_info(suite)) == SEED


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "chacha20-poly1305"])
@pytest.mark.parametrize("hide", HIDING)
def test_a_stranger_opens_a_file_by_the_documentation(cipher: str, hide: str) -> None:
    data = clear_file(3)
    out = bytes(
        ssic.encrypt(data, 2, [BOB.recipient, ALICE.recipient], hide=hide, cipher=cipher, version=300)
    )
    head = fmt.read_head(out)
    entry = next(g for g in head.groups if g.encrypted)
    assert head.seal is not None
    part = fmt.read_segment(out, head, entry.id)
    if hide != "nothing":
        length = part[0] & 0x7F | part[1] << 7  # a varint of two bytes
        part = part[2:]
        assert length == len(part)
    assert part[:2] == b"\xac\x02"  # version 300
    assert (part[2], part[67]) == (0x81, 1)
    keys = [b"alice" * 6 + b"!!", b"bob and " * 4]
    try:  # stanzas are shuffled
        seed = reference.unwrap_x25519(head.seal[0], part[68:132], keys[0])
    except InvalidTag:
        seed = reference.unwrap_x25519(head.seal[0], part[68:132], keys.pop())
    assert seed == reference.unwrap_x25519(head.seal[0], part[3:67], keys[-1])
    assert part[132:164] == reference.keys_mac(head.seal, seed, part[2:132])
    cipher_, nonce = reference.content(head.seal[0], head.seal, seed)
    score = None if entry.score is None else round(255 * entry.score)
    aad = reference.associated(
        head.seal, (head.width, head.height), MODEL, entry.id, hide != "nothing", entry.quality, score, entry.name,
        entry.class_name, 300, len(part) - 164 - 16, head.mask.tolist(),
    )  # fmt: skip
    plain = reference.unpad(cipher_.decrypt(nonce, part[164:], aad))
    if hide == "nothing":
        assert plain == segment(data, 2)
    else:
        assert plain.endswith(segment(data, 2))
        assert plain[0] == 2
        assert fmt.read_head(data).groups[2].name.encode() in plain


# -- round trips -------------------------------------------------------------------------------------------


def files_encrypt(data: bytes, ids: Collection[int], locks: list[Recipient | Passphrase], **options) -> bytes:
    """`ssic.encrypt` with passphrases that cost less."""
    from ssic.crypto import files

    return files.encrypt(data, lambda _: ids, Wrapper(locks, cost=4), **options)


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


def test_two_encryptions_share_no_bytes() -> None:
    data = clear_file(2, size=3000)
    for hide in HIDING:
        a, b = (bytes(ssic.encrypt(data, [1, 2], ALICE.recipient, hide=hide)) for _ in range(2))
        heads = [fmt.read_head(x) for x in (a, b)]
        assert heads[0].seal is not None
        assert heads[0].seal[1:] != heads[1].seal[1:]
        pieces: list[set[bytes]] = []
        for x, head in zip((a, b), heads, strict=True):
            whole = b"|".join(fmt.read_segment(x, head, g.id) for g in head.groups if g.encrypted)
            pieces.append({whole[i : i + 6] for i in range(len(whole) - 5)})
        assert not pieces[0] & pieces[1]
        assert not any(segment(data, 1)[i : i + 6] in pieces[0] for i in range(100))


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


def inside(head: fmt.Head, entry: fmt.GroupEntry, part: sealed.SealedGroup) -> int:
    """The id of the group in a part that ALICE opens."""
    seed = sealed.unwrap(head, part, Keyring(ALICE))
    assert seed is not None
    return sealed.open_with(head, entry, part, seed)[0]


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


# -- passphrases and limits --------------------------------------------------------------------------------


def test_passphrases_cost_no_more_than_the_limits_allow() -> None:
    data = clear_file(9, 5)
    sesame = Passphrase("open sesame")
    out = files_encrypt(data, [0, 1, 2], [sesame])
    assert len({segment(out, g)[2:18] for g in range(3)}) == 1  # one salt, so that scrypt runs once
    assert (
        bytes(ssic.decrypt(out, sesame, limits=ssic.DecodeLimits(min_scrypt_cost=4, max_scrypt_salts=1)))
        == data
    )
    with pytest.raises(LimitExceeded, match="2\\^4 rounds"):
        bytes(ssic.decrypt(out, sesame, limits=ssic.DecodeLimits(min_scrypt_cost=3, max_scrypt_cost=3)))
    for g in (3, 4):
        out = files_encrypt(out, [g], [sesame])
    assert (
        bytes(ssic.decrypt(out, sesame, limits=ssic.DecodeLimits(min_scrypt_cost=4, max_scrypt_salts=3)))
        == data
    )
    with pytest.raises(LimitExceeded, match="more than 2 salts"):
        bytes(ssic.decrypt(out, sesame, limits=ssic.DecodeLimits(min_scrypt_cost=4, max_scrypt_salts=2)))
    hostile = changed(
        out, lambda s: s.update({0: replace(s[0], payload=s[0].payload[:18] + b"\x3f" + s[0].payload[19:])})
    )
    with pytest.raises(LimitExceeded):
        ssic.SsicFile(hostile, identity=sesame).decode(0)


def test_wrapped_keys_are_bounded() -> None:
    many = [Identity.generate().recipient for _ in range(MAX_STANZAS - 1)]
    data = clear_file()
    out = bytes(ssic.encrypt(data, 1, [*many, ALICE.recipient]))
    assert bytes(ssic.decrypt(out, ALICE)) == data
    payload = segment(out, 1)
    more = payload[:1] + payload[1:66] + payload[1:]
    with pytest.raises(DamagedSegment, match="more than 32"):
        bytes(ssic.decrypt(changed(out, lambda s: s.update({1: replace(s[1], payload=more)})), ALICE))


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


# Five bytes whose exclusive-or changes no CRC-32: the polynomial itself, reflected.
CRC_BLIND = (0x1DB710641).to_bytes(5, "little")


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


# -- the list of keys --------------------------------------------------------------------------------------


def with_part(data: bytes, group: int, change: Callable[[sealed.SealedGroup], sealed.SealedGroup]) -> bytes:
    part = change(sealed.unpack(segment(data, group), ""))
    return changed(data, lambda s: s.update({group: replace(s[group], payload=part.pack())}))


def test_a_wrapped_key_that_is_taken_away_put_in_or_exchanged_is_noticed() -> None:
    data = clear_file()
    out = bytes(ssic.encrypt(data, 1, [ALICE.recipient, BOB.recipient, CAROL.recipient]))
    other = sealed.unpack(segment(bytes(ssic.encrypt(data, 1, BOB.recipient)), 1), "").stanzas
    changes: list[Callable[[tuple[Stanza, ...]], tuple[Stanza, ...]]] = [
        lambda s: s[1:],
        lambda s: s[:-1],
        lambda s: s + other,
        lambda s: other + s,
        lambda s: s[::-1],
        lambda s: (*s[:2], *other),
        lambda s: (*s, Stanza.foreign("example.org/x", b"?")),
    ]
    for change in changes:
        bad = with_part(out, 1, lambda p, change=change: replace(p, stanzas=change(p.stanzas)))
        seen = 0
        for key in (ALICE, BOB, CAROL):
            with pytest.raises((TamperedSegment, WrongKey)) as caught:
                bytes(ssic.decrypt(bad, key))
            seen += caught.type is TamperedSegment
        assert seen >= 2  # whose own key is gone can't know more than that
    with pytest.raises(TamperedSegment, match="list of those who may open"):
        bytes(ssic.decrypt(with_part(out, 1, lambda p: replace(p, mac=bytes(32))), ALICE))


def test_nobody_shows_two_pictures_in_one_group() -> None:
    """A sender who wraps one content key for ALICE and another for BOB has one MAC to give."""
    data = clear_file()
    out = bytes(ssic.encrypt(data, 1, ALICE.recipient))
    head = fmt.read_head(out)
    assert head.seal is not None
    suite = SUITES[head.seal[0]]
    seeds = b"a" * 16, b"b" * 16
    stanzas = ALICE.recipient.wrap(seeds[0], suite), BOB.recipient.wrap(seeds[1], suite)
    bad = with_part(
        out, 1, lambda p: replace(p, stanzas=stanzas, mac=sealed.keys_mac(head.seal, seeds[0], stanzas))
    )
    for key in (ALICE, BOB):
        with pytest.raises(TamperedSegment):
            bytes(ssic.decrypt(bad, key))


def test_a_passphrase_stands_alone() -> None:
    data = clear_file()
    sesame = Passphrase("open sesame")
    for locks in ([sesame, ALICE.recipient], [sesame, Passphrase("another")]):
        with pytest.raises(InvalidInput, match="a passphrase opens a group alone"):
            bytes(ssic.encrypt(data, 1, locks))
    out = files_encrypt(data, [1], [sesame])
    with pytest.raises(InvalidInput, match="a passphrase opens a group alone"):
        bytes(ssic.rewrap(out, sesame, ALICE.recipient, keep=True))
    part = sealed.unpack(segment(out, 1), "")
    other = ALICE.recipient.wrap(bytes(16), SUITES[1])
    body = b"\0" + b"\x82" + part.stanzas[0].body + b"\x01" + other.body + part.mac + part.body
    bad = changed(out, lambda s: s.update({1: replace(s[1], payload=body)}))
    with pytest.raises(DamagedSegment, match="passphrase beside other keys"):
        bytes(ssic.decrypt(bad, sesame))


def test_scrypt_has_a_floor() -> None:
    out = files_encrypt(clear_file(), [1], [Passphrase("x")])
    with pytest.raises(LimitExceeded, match="guarded by 2\\^4"):
        bytes(ssic.decrypt(out, Passphrase("x"), limits=ssic.DecodeLimits()))
    assert ssic.DecodeLimits().min_scrypt_cost == 14


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


# -- keys from elsewhere -----------------------------------------------------------------------------------


def test_keys_of_other_kinds_need_two_methods() -> None:
    """The example of docs/encryption.md, as it stands there."""
    page = (ROOT / "docs" / "encryption.md").read_text("utf-8")
    code = next(block for block in page.split("```python\n")[1:] if "class Token" in block).split("```")[0]
    found: dict[str, object] = {"data": clear_file()}
    exec(code, found)
    assert bytes(found["opened"]) == found["data"]
    with pytest.raises(WrongKey):
        bytes(ssic.decrypt(found["sealed"], BOB))


def test_stanzas_of_others_are_bounded_and_passed_over() -> None:
    with pytest.raises(InvalidInput, match="labelled like"):
        Stanza.foreign("nodomain", b"x")
    for body in (b"", bytes(2049), "x"):
        with pytest.raises(InvalidInput, match="1 to 2048"):
            Stanza.foreign("example.org/x", body)  # type: ignore[arg-type]

    class Odd:
        def wrap(self, content_key: bytes, suite: object) -> Stanza:
            return Stanza.foreign("example.org/odd", content_key * 100)

        def unwrap(self, stanzas: object, suite: object) -> bytes:
            return b"short"

    out = bytes(ssic.encrypt(clear_file(), 1, [Odd(), ALICE.recipient]))
    assert bytes(ssic.decrypt(out, ALICE)) == clear_file()
    with pytest.raises(InvalidInput, match="gave no content key"):
        bytes(ssic.decrypt(out, Odd()))

    class Worse(Odd):
        def wrap(self, content_key: bytes, suite: object) -> Stanza:
            return b"?"  # type: ignore[return-value]

    with pytest.raises(InvalidInput, match="not a Stanza"):
        bytes(ssic.encrypt(clear_file(), 1, Worse()))
    for label, length in ((b"example.org/x", b"\0"), (b"x", b"\1"), (b"example.org/x", b"\x81\x10")):
        body = b"\0\x03" + bytes([len(label)]) + label + length + bytes(3000)
        bad = changed(out, lambda s, body=body: s.update({1: replace(s[1], payload=body)}))
        with pytest.raises(DamagedSegment, match="label or length"):
            bytes(ssic.decrypt(bad, ALICE))
