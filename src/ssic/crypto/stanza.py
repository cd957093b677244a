"""What a content key is wrapped in: cipher suites, stanzas and their bytes, and what keys must be able to do.

A stanza is one byte for its kind, whose high bit says that another follows, and a body:

====  ==============  ====================================================================================
kind  for             body
====  ==============  ====================================================================================
1     X25519          HPKE (RFC 9180), base mode: encapsulated key (32), ciphertext and tag (16 + 16)
2     a passphrase    scrypt salt (16), log2 of scrypt's N (1), nonce (12), ciphertext and tag (16 + 16)
3     others          text: who defines it; varint: how many bytes; these bytes
====  ==============  ====================================================================================

All are bound to the suite only, not to file and group: a content key opens nothing but its own segment, and what was
exchanged shall be told from what was sealed for others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ssic.errors import DamagedSegment, EncryptedSegment, InvalidInput
from ssic.format.varint import read_varint, write_varint

SEED_BYTES = 16
"""The content key as it is drawn and wrapped: 128 bits, the strength of X25519. All else is derived from it."""
TAG_BYTES = 16
NONCE_BYTES = 12
SALT_BYTES = 16
MAX_STANZAS = 32
"""More would let a file that is cheap to make cost its readers much: each is tried with each key."""
MAX_FOREIGN_BYTES = 2048

X25519, SCRYPT, FOREIGN = 1, 2, 3
_MORE = 0x80
_BODY = {X25519: 32 + SEED_BYTES + TAG_BYTES, SCRYPT: SALT_BYTES + 1 + NONCE_BYTES + SEED_BYTES + TAG_BYTES}
_LABEL = re.compile("(?=.{3,64}$)[A-Za-z0-9._-]+/[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class Suite:
    """The ciphers of a file."""

    number: int
    name: str
    aead: type[AESGCM] | type[ChaCha20Poly1305]
    hpke_aead: hpke.AEAD

    @property
    def hpke(self) -> hpke.Suite:
        return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, self.hpke_aead)

    @property
    def info(self) -> bytes:
        """What wrapped keys are bound to."""
        return b"ssic wrap 1\0" + bytes([self.number])


SUITES = {
    s.number: s
    for s in (
        Suite(1, "aes-256-gcm", AESGCM, hpke.AEAD.AES_256_GCM),
        Suite(2, "chacha20-poly1305", ChaCha20Poly1305, hpke.AEAD.CHACHA20_POLY1305),
    )
}


def suite_of(seal: bytes) -> Suite:
    """The suite that a file's seal names.

    Raises:
        EncryptedSegment: this version does not know it.
    """
    try:
        return SUITES[seal[0]]
    except KeyError:
        known = ", ".join(f"{s.number} ({s.name})" for s in SUITES.values())
        raise EncryptedSegment(
            f"the groups are sealed with cipher suite {seal[0]}; this reader knows {known}"
        ) from None


def suite_named(name: str) -> Suite:
    """The suite of that name (`InvalidInput` if there is none)."""
    for suite in SUITES.values():
        if suite.name == name:
            return suite
    raise InvalidInput(
        f"there is no cipher {name!r}; choose from {', '.join(s.name for s in SUITES.values())}"
    )


@dataclass(frozen=True)
class Stanza:
    """One wrapped content key.

    Attributes:
        kind: 1, 2 or 3; keys that others make write stanzas of kind 3, with `foreign`.
        body: what stands behind the kind.
    """

    kind: int
    body: bytes

    @classmethod
    def foreign(cls, label: str, body: bytes) -> Stanza:
        """A stanza for a key of another sort.

        Args:
            label: who defines it: a domain, a slash and a word, "example.org/token"; 64 letters at most.
            body: theirs, 1 to 2048 bytes.

        Raises:
            InvalidInput: label or body can't be.
        """
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise InvalidInput(f'a stanza is labelled like "example.org/token", not {label!r:.80}')
        if not isinstance(body, bytes) or not 1 <= len(body) <= MAX_FOREIGN_BYTES:
            raise InvalidInput(f"the body of a stanza has 1 to {MAX_FOREIGN_BYTES} bytes")
        return cls(FOREIGN, bytes([len(label)]) + label.encode() + write_varint(len(body)) + body)

    def foreign_body(self, label: str) -> bytes | None:
        """The body of a stanza that `foreign` made for this label; None of any other."""
        start = bytes([len(label)]) + label.encode()
        if self.kind != FOREIGN or not self.body.startswith(start):
            return None
        return self.body[read_varint(self.body, len(start))[1] :]


@runtime_checkable
class Lock(Protocol):
    """Who may open: anything with this method. `ssic.Recipient` is one; a key in a hardware token may be another."""

    def wrap(self, content_key: bytes, suite: Suite) -> Stanza:
        """The content key (16 bytes), so that only the holder of the private key gets it back."""
        ...


@runtime_checkable
class Key(Protocol):
    """What opens: anything with this method. `ssic.Identity` is one."""

    def unwrap(self, stanzas: Sequence[Stanza], suite: Suite) -> bytes | None:
        """The content key out of one of the stanzas; None if none is for this key. Strangers made the stanzas."""
        ...


def write_stanzas(stanzas: Sequence[Stanza]) -> bytes:
    """The stanzas as they lie in a segment."""
    if not 1 <= len(stanzas) <= MAX_STANZAS:
        raise InvalidInput(f"a group is sealed for 1 to {MAX_STANZAS} recipients, not for {len(stanzas)}")
    if _mixed(stanzas):
        raise InvalidInput("a passphrase opens a group alone: seal it for recipients, or for one passphrase")
    last = len(stanzas) - 1
    return b"".join(bytes([s.kind | (_MORE if i < last else 0)]) + s.body for i, s in enumerate(stanzas))


def read_stanzas(data: bytes, offset: int) -> tuple[tuple[Stanza, ...], int]:
    """The stanzas that lie at `offset`, and the offset behind them.

    Raises:
        DamagedSegment: there are none, too many, or one of no known kind; or `data` ends before they do.
    """
    stanzas: list[Stanza] = []
    more = True
    while more:
        if offset >= len(data):
            raise DamagedSegment("is cut short inside of its wrapped keys")
        kind, more = data[offset] & ~_MORE, bool(data[offset] & _MORE)
        if kind not in (*_BODY, FOREIGN):
            raise DamagedSegment(f"has a wrapped key of the unknown kind {kind}")
        if len(stanzas) == MAX_STANZAS:
            raise DamagedSegment(f"has more than {MAX_STANZAS} wrapped keys")
        start = offset + 1
        offset = start + _BODY[kind] if kind in _BODY else _end_of_foreign(data, start)
        if offset > len(data):
            raise DamagedSegment("is cut short inside of its wrapped keys")
        stanzas.append(Stanza(kind, data[start:offset]))
    if _mixed(stanzas):
        raise DamagedSegment("has a passphrase beside other keys")
    return tuple(stanzas), offset


def _mixed(stanzas: Sequence[Stanza]) -> bool:
    """Whether a passphrase does not stand alone."""
    return len(stanzas) > 1 and any(stanza.kind == SCRYPT for stanza in stanzas)


def _end_of_foreign(data: bytes, at: int) -> int:
    try:
        start = at + 1 + data[at]
        label = data[at + 1 : start]
        length, start = read_varint(data, start)
    except (IndexError, ValueError):
        raise DamagedSegment("is cut short inside of its wrapped keys") from None
    if not _LABEL.fullmatch(label.decode("latin-1")) or not 1 <= length <= MAX_FOREIGN_BYTES:
        raise DamagedSegment("has a wrapped key whose label or length can't be")
    return start + length
