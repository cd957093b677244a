"""Signatures over whole files: an Ed25519 signature of the head, which holds the SHA-256 of each segment.

The chunk `SIGN` is the last one: algorithm (1 byte, 1), public key (32), the SHA-256 of each segment in the order of
the group table (32 each), signature (64). Signed is `ssic signature 1`, a zero byte, and the head from the magic to the
end of its body, with zeros in the place of the signature. Whoever reads one group checks the head and that group.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from ssic.crypto.keys import KEY_BYTES, SigningKey, VerifyKey
from ssic.errors import BadKey, SignatureError
from ssic.format.container import kept_chunks, whole_segments, write_like
from ssic.format.head import read_head
from ssic.format.hold import hold_head
from ssic.format.layout import CRC_BYTES, SIGNATURE
from ssic.format.limits import DecodeLimits
from ssic.format.types import GroupEntry, Head
from ssic.storage.source import Bytes

_ED25519 = 1
_HASH_BYTES, _SIGNATURE_BYTES = 32, 64
_CONTEXT = b"ssic signature 1\0"


@dataclass(frozen=True)
class Signature:
    """A signature of a head that was verified.

    Attributes:
        key: whose it is.
        hashes: by group id, the SHA-256 of its segment.
    """

    key: VerifyKey
    hashes: dict[int, bytes]

    def covers(self, entry: GroupEntry, segment: bytes) -> bool:
        """Whether `segment` is the one that was signed."""
        return hashlib.sha256(segment).digest() == self.hashes[entry.id]

    def check(self, entry: GroupEntry, segment: bytes) -> None:
        """Raises `SignatureError` if `segment` is not the one that was signed."""
        if not self.covers(entry, segment):
            raise SignatureError(f'the segment of "{entry.name}" is not the one that was signed')


def sign(data: Bytes, key: SigningKey, limits: DecodeLimits | None = None) -> bytes:
    """The same file with a signature, which takes the place of an earlier one.

    Raises:
        FormatError: `data` is no whole, intact file: what is damaged is not signed.
    """
    head = read_head(data, limits)
    segments = list(whole_segments(data, head, head.order).values())
    hashes = b"".join(hashlib.sha256(segment.payload).digest() for segment in segments)
    body = bytes([_ED25519]) + key.verify_key.raw + hashes + bytes(_SIGNATURE_BYTES)
    chunks = kept_chunks(head, metadata=True) | {SIGNATURE: body}
    out = bytearray(write_like(head, segments, order=head.order, stored_chunks=chunks, seal=head.seal))
    signed = read_head(bytes(out), limits)
    start, end = _span(signed)
    out[start : start + _SIGNATURE_BYTES] = key.key.sign(_CONTEXT + bytes(out[:end]))
    out[end : end + CRC_BYTES] = zlib.crc32(out[:end]).to_bytes(CRC_BYTES, "little")
    return bytes(out)


def _span(head: Head) -> tuple[int, int]:
    """Where the signature starts, and where the head body ends."""
    end = head.head_bytes - CRC_BYTES
    return end - head.mask_bytes - _SIGNATURE_BYTES, end


def check_head(data: Bytes, head: Head, trusted: Collection[VerifyKey] | None = None) -> Signature:
    """Verify the signature of a head. The segments are not read: `Signature.check` is for them.

    Args:
        data: the bytes that `head` was parsed from, and no later reading of them (`ssic.format.hold.hold_head`).
        trusted: keys one of which must have signed; None takes any, which shows that the file is as its signer left
            it, but not who that was.

    Raises:
        SignatureError: it is not signed, not by one of `trusted`, or was changed since.
    """
    if SIGNATURE not in head.stored_chunks:
        raise SignatureError("the file is not signed")
    body, count = head.stored_chunks[SIGNATURE], len(head.groups)
    length = 1 + KEY_BYTES + count * _HASH_BYTES + _SIGNATURE_BYTES
    if len(body) != length or body[0] != _ED25519 or list(head.stored_chunks)[-1] != SIGNATURE:
        raise SignatureError("the signature is malformed, or that of a file with other groups")
    key = VerifyKey(body[1 : 1 + KEY_BYTES])
    if trusted is not None and key not in trusted:
        raise SignatureError(f"the file is signed by {key}, which is none of the keys that are trusted")
    start, end = _span(head)
    message = bytearray(bytes(data[:end]))
    signature = bytes(message[start : start + _SIGNATURE_BYTES])
    message[start : start + _SIGNATURE_BYTES] = bytes(_SIGNATURE_BYTES)
    try:
        key.key.verify(signature, _CONTEXT + bytes(message))
    except (InvalidSignature, ValueError, BadKey):  # ValueError: the key is no point of the curve
        raise SignatureError(f"the head is not the one that {key} signed: it was changed since") from None
    hashes = body[1 + KEY_BYTES : -_SIGNATURE_BYTES]
    by_group = {g.id: hashes[_HASH_BYTES * i :][:_HASH_BYTES] for i, g in enumerate(head.groups)}
    return Signature(key, by_group)


def verify(
    data: Bytes, trusted: Collection[VerifyKey] | None = None, limits: DecodeLimits | None = None
) -> VerifyKey:
    """Check the signature of a whole file, every segment included; returns the key that signed it.

    Raises:
        SignatureError: see `check_head`; or a segment is not the one that was signed.
        FormatError: the file is damaged or not whole.
    """
    data, head = hold_head(data, limits)
    signature = check_head(data, head, trusted)
    segments = whole_segments(data, head, head.order)
    for entry in head.groups:
        signature.check(entry, segments[entry.id].payload)
    return signature.key
