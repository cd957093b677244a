"""docs/encryption.md once more, in plain Python: HPKE, scrypt stanzas, content and associated data from hashes, X25519
and AEADs alone. Shares no code with ssic; the tests hold the two against each other."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

AEADS = {1: (AESGCM, 2), 2: (ChaCha20Poly1305, 3)}  # suite -> cipher, its number in RFC 9180


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block = b"", b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([i]), "sha256")
        out += block
    return out[:length]


def hpke_key(suite: int, shared: bytes, enc: bytes, recipient: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of RFC 9180 in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256."""

    def labelled_extract(ids: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + ids + label + secret)

    def labelled_expand(ids: bytes, key: bytes, label: bytes, context: bytes, length: int) -> bytes:
        return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + ids + label + context, length)

    kem = b"KEM" + (0x20).to_bytes(2, "big")
    secret = labelled_expand(
        kem, labelled_extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + recipient, 32
    )
    ids = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x20, 1, AEADS[suite][1]))
    hashes = labelled_extract(ids, b"", b"psk_id_hash", b"") + labelled_extract(ids, b"", b"info_hash", info)
    secret = labelled_extract(ids, secret, b"secret", b"")
    return (
        labelled_expand(ids, secret, b"key", b"\0" + hashes, 32),
        labelled_expand(ids, secret, b"base_nonce", b"\0" + hashes, 12),
    )


def wrap_info(suite: int) -> bytes:
    return b"ssic wrap 1\0" + bytes([suite])


def wrap_x25519(suite: int, seed: bytes, recipient: bytes, ephemeral: bytes) -> bytes:
    """Body of a stanza of kind 1, with a given ephemeral private key."""
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = private.public_key().public_bytes_raw()
    shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    key, nonce = hpke_key(suite, shared, enc, recipient, wrap_info(suite))
    return enc + AEADS[suite][0](key).encrypt(nonce, seed, b"")


def unwrap_x25519(suite: int, body: bytes, identity: bytes) -> bytes:
    private = X25519PrivateKey.from_private_bytes(identity)
    shared = private.exchange(X25519PublicKey.from_public_bytes(body[:32]))
    recipient = private.public_key().public_bytes_raw()
    key, nonce = hpke_key(suite, shared, body[:32], recipient, wrap_info(suite))
    return AEADS[suite][0](key).decrypt(nonce, body[32:], b"")


def scrypt_key(passphrase: bytes, salt: bytes, cost: int) -> bytes:
    salt = b"ssic scrypt 1\0" + salt
    return hashlib.scrypt(passphrase, salt=salt, n=1 << cost, r=8, p=1, dklen=32, maxmem=2**28)


def wrap_passphrase(
    suite: int, seed: bytes, passphrase: bytes, salt: bytes, cost: int, nonce: bytes
) -> bytes:
    """Body of a stanza of kind 2."""
    key = scrypt_key(passphrase, salt, cost)
    return salt + bytes([cost]) + nonce + AEADS[suite][0](key).encrypt(nonce, seed, wrap_info(suite))


def unwrap_passphrase(suite: int, body: bytes, passphrase: bytes) -> bytes:
    key = scrypt_key(passphrase, body[:16], body[16])
    return AEADS[suite][0](key).decrypt(body[17:29], body[29:], wrap_info(suite))


def associated(
    seal: bytes,
    size: tuple[int, int],
    model: bytes,
    group: int,
    hidden: bool,
    quality: int,
    score: int | None,
    name: str,
    class_name: str | None,
    version: int,
    length: int,
    mask: list[list[int]],
) -> bytes:
    out = b"ssic segment 1\0" + seal + b"".join(n.to_bytes(4, "little") for n in size) + model
    out += bytes([group, int(hidden), quality])
    out += b"\0\0" if score is None else bytes([1, score])
    for text in (name, class_name or ""):
        out += bytes([len(text.encode())]) + text.encode()
    out += version.to_bytes(8, "little") + length.to_bytes(8, "little")
    if hidden:
        return out + bytes(32)
    bits = "".join("1" if g == group else "0" for row in mask for g in row)
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return out + hashlib.sha256(packed).digest()


def content(suite: int, seal: bytes, seed: bytes) -> tuple[AESGCM | ChaCha20Poly1305, bytes]:
    """The cipher with its key, and the nonce."""
    okm = expand(extract(seal, seed), b"ssic content 1\0", 44)
    return AEADS[suite][0](okm[:32]), okm[32:]


def keys_mac(seal: bytes, seed: bytes, stanzas: bytes) -> bytes:
    """The MAC over the stanzas as they lie in the file."""
    return hmac.digest(expand(extract(seal, seed), b"ssic keys 1\0", 32), stanzas, "sha256")


def unpad(plain: bytes) -> bytes:
    """The content: behind a varint for the zeros, and before these."""
    zeros = shift = at = 0
    while True:
        zeros |= (plain[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if plain[at - 1] < 0x80:
            break
    assert plain.endswith(bytes(zeros))
    assert at + zeros <= len(plain)
    return plain[at : len(plain) - zeros]
