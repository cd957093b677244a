"""Wrapping a group's content key for those who may open it: stanzas, one per recipient or passphrase.

A stanza is one byte for its kind, whose high bit says that another follows, and a body of fixed length:

====  ==========  ====================================================================================
kind  for         body
====  ==========  ====================================================================================
1     X25519      HPKE (RFC 9180), base mode: encapsulated key (32), ciphertext and tag (16 + 16)
2     passphrase  scrypt salt (16), log2 of scrypt's N (1), nonce (12), ciphertext and tag (16 + 16)
====  ==========  ====================================================================================

Both are bound to the suite only, not to file and group: a content key opens nothing but its own segment, and what was
exchanged shall be told from what was sealed for others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ssic.arguments import is_whole, type_name
from ssic.crypto.keys import Identity, Passphrase, Recipient
from ssic.errors import BadKey, DamagedSegment, EncryptedSegment, InvalidInput, LimitExceeded
from ssic.format.limits import DecodeLimits, checked_limits

Key = Identity | Passphrase
Lock = Recipient | Passphrase

SEED_BYTES = 16
"""The content key as it is drawn and wrapped: 128 bits, the strength of X25519. All else is derived from it."""
TAG_BYTES = 16
NONCE_BYTES = 12
_SALT_BYTES = 16
_X25519, _SCRYPT, _MORE = 1, 2, 0x80
_BODY = {
    _X25519: 32 + SEED_BYTES + TAG_BYTES,
    _SCRYPT: _SALT_BYTES + 1 + NONCE_BYTES + SEED_BYTES + TAG_BYTES,
}
MAX_STANZAS = 32
"""More would let a file that is cheap to make cost its readers much: each is tried with each key."""
SCRYPT_COST = 17
"""log2 of scrypt's N for new stanzas; with r = 8 and p = 1 it takes 128 MiB and some tenths of a second."""


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
    """One wrapped content key."""

    kind: int
    body: bytes


def _scrypt_key(passphrase: Passphrase, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=b"ssic scrypt 1\0" + salt, length=32, n=1 << cost, r=8, p=1).derive(passphrase.bytes)


class Wrapper:
    """Wraps content keys for a list of recipients and passphrases; the slow part of a passphrase is done once."""

    def __init__(self, locks: Iterable[Lock], *, cost: int = SCRYPT_COST, salt: bytes | None = None) -> None:
        """
        Args:
            locks: who may open; at least one, at most `MAX_STANZAS`.
            cost: log2 of scrypt's N.
            salt: of scrypt, for tests; random by default, and must be new for each `Wrapper`.

        Raises:
            InvalidInput: there are none, or too many.
        """
        given = list(locks)
        for lock in given:
            if not isinstance(lock, (Recipient, Passphrase)):
                raise InvalidInput(
                    f"groups are sealed to Recipients and Passphrases, not to {type_name(lock)}; see Recipient.load"
                )
        self._locks = list(dict.fromkeys(given))
        if not self._locks:
            raise InvalidInput(
                "nobody could ever open what is sealed to nobody: give a recipient or a passphrase"
            )
        if len(self._locks) > MAX_STANZAS:
            raise InvalidInput(
                f"{len(self._locks)} recipients are more than the {MAX_STANZAS} that a group may have"
            )
        self._cost = cost
        self._salt = os.urandom(_SALT_BYTES) if salt is None else salt
        self._derived: dict[int, bytes] = {}

    def wrap(self, suite: Suite, seed: bytes, nonce: bytes | None = None) -> tuple[Stanza, ...]:
        """A stanza for each lock.

        Args:
            nonce: of the passphrases' stanzas, for tests; random by default.
        """
        stanzas = []
        for i, lock in enumerate(self._locks):
            if isinstance(lock, Recipient):
                try:
                    stanzas.append(Stanza(_X25519, suite.hpke.encrypt(seed, lock.key, suite.info)))
                except ValueError:
                    raise BadKey(f"{lock} is no usable public key: its point has low order") from None
                continue
            if i not in self._derived:
                self._derived[i] = _scrypt_key(lock, self._salt, self._cost)
            own = os.urandom(NONCE_BYTES) if nonce is None else nonce
            sealed = suite.aead(self._derived[i]).encrypt(own, seed, suite.info)
            stanzas.append(Stanza(_SCRYPT, self._salt + bytes([self._cost]) + own + sealed))
        return tuple(stanzas)


class Keyring:
    """Keys to try on sealed groups. Remembers what scrypt gave, and bounds how often a file may ask for it."""

    def __init__(
        self, keys: Iterable[Key] | Key, limits: DecodeLimits | None = None, *, min_version: int = 0
    ) -> None:
        """
        Args:
            keys: identities and passphrases, tried in this order.
            limits: what a file may make passphrases cost.
            min_version: take sealed groups of earlier versions for tampered with.
        """
        self.min_version = min_version
        self._keys = list(keys) if isinstance(keys, Iterable) else [keys]
        for key in self._keys:
            if not isinstance(key, (Identity, Passphrase)):
                raise InvalidInput(
                    f"groups are opened by Identities and Passphrases, not by {type_name(key)}; see Identity.load"
                )
        if not is_whole(min_version):
            raise InvalidInput(f"versions are integers, not {min_version!r:.80}")
        self._limits = checked_limits(limits)
        self._derived: dict[tuple[bytes, int], dict[int, bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def unwrap(self, suite: Suite, stanzas: Sequence[Stanza]) -> bytes | None:
        """The content key, or None if no key fits any of the stanzas.

        Raises:
            LimitExceeded: a stanza asks for more work with a passphrase than the limits allow.
        """
        for stanza in stanzas:
            for i, key in enumerate(self._keys):
                try:
                    if stanza.kind == _X25519 and isinstance(key, Identity):
                        return suite.hpke.decrypt(stanza.body, key.key, suite.info)
                    if stanza.kind == _SCRYPT and isinstance(key, Passphrase):
                        return self._by_passphrase(suite, stanza.body, i, key)
                except (InvalidTag, ValueError):  # not for this key; ValueError: a point of low order
                    continue
        return None

    def _by_passphrase(self, suite: Suite, body: bytes, i: int, key: Passphrase) -> bytes:
        salt, cost, rest = body[:_SALT_BYTES], body[_SALT_BYTES], body[_SALT_BYTES + 1 :]
        if not 1 <= cost <= self._limits.max_scrypt_cost:
            raise LimitExceeded(
                f"a passphrase would cost 2^{cost} rounds of scrypt; the limit is 2^{self._limits.max_scrypt_cost}"
            )
        derived = self._derived.setdefault((salt, cost), {})
        if i not in derived:
            if len(self._derived) > self._limits.max_scrypt_salts:
                raise LimitExceeded(
                    f"the file asks for scrypt with more than {self._limits.max_scrypt_salts} salts, each of which "
                    "takes time: extract the groups that you want first, or raise max_scrypt_salts"
                )
            derived[i] = _scrypt_key(key, salt, cost)
        return suite.aead(derived[i]).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], suite.info)


def write_stanzas(stanzas: Sequence[Stanza]) -> bytes:
    """The stanzas as they lie in a segment."""
    if not 1 <= len(stanzas) <= MAX_STANZAS:
        raise InvalidInput(f"a group is sealed for 1 to {MAX_STANZAS} recipients, not for {len(stanzas)}")
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
        if kind not in _BODY:
            raise DamagedSegment(f"has a wrapped key of the unknown kind {kind}")
        if len(stanzas) == MAX_STANZAS:
            raise DamagedSegment(f"has more than {MAX_STANZAS} wrapped keys")
        body = data[offset + 1 : offset + 1 + _BODY[kind]]
        if len(body) < _BODY[kind]:
            raise DamagedSegment("is cut short inside of its wrapped keys")
        stanzas.append(Stanza(kind, body))
        offset += 1 + _BODY[kind]
    return tuple(stanzas), offset
