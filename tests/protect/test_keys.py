"""Keys: how they are written, what wraps a content key for whom, passphrases and their limits, keys of others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

import ssic
import ssic.format as fmt
from helpers import ROOT
from helpers import reference_sealing as reference
from helpers.sealed_files import (
    ALICE,
    BOB,
    CAROL,
    HIDING,
    MODEL,
    SIGNER,
    changed,
    clear_file,
    files_encrypt,
    segment,
)
from ssic import Identity, Passphrase, Recipient, SigningKey, VerifyKey
from ssic.crypto import Keyring, sealed
from ssic.crypto.stanza import MAX_STANZAS, SUITES, Stanza
from ssic.crypto.wrap import Wrapper
from ssic.errors import (
    BadKey,
    DamagedSegment,
    InvalidInput,
    LimitExceeded,
    TamperedSegment,
    WrongKey,
)

pytestmark = pytest.mark.usefixtures("passphrases_that_cost_little")


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
