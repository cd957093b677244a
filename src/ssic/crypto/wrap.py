"""Wrapping a group's content key for those who may open it, and getting it back (`ssic.crypto.stanza` has the bytes).

Recipients and identities are whatever wraps and unwraps. Passphrases are dealt with here, since what they cost is
shared: scrypt runs once for all groups that are sealed at a time, and a file may make a reader run it so often and no
more.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ssic.arguments import is_whole, type_name
from ssic.crypto.keys import Passphrase
from ssic.crypto.stanza import (
    MAX_STANZAS,
    NONCE_BYTES,
    SALT_BYTES,
    SCRYPT,
    SEED_BYTES,
    Key,
    Lock,
    Stanza,
    Suite,
)
from ssic.errors import InvalidInput, LimitExceeded
from ssic.format.limits import DecodeLimits, checked_limits

Locker = Lock | Passphrase
Opener = Key | Passphrase

SCRYPT_COST = 17
"""log2 of scrypt's N for new stanzas; with r = 8 and p = 1 it takes 128 MiB and some tenths of a second."""


def _scrypt_key(passphrase: Passphrase, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=b"ssic scrypt 1\0" + salt, length=32, n=1 << cost, r=8, p=1).derive(passphrase.bytes)


class Wrapper:
    """Wraps content keys for a list of recipients and passphrases; the slow part of a passphrase is done once."""

    def __init__(
        self, locks: Iterable[Locker], *, cost: int = SCRYPT_COST, salt: bytes | None = None
    ) -> None:
        """
        Args:
            locks: who may open: recipients, at least one, at most `MAX_STANZAS`; or one passphrase.
            cost: log2 of scrypt's N; lower ones than the default are for tests, and readers refuse them.
            salt: of scrypt, for tests; random by default, and must be new for each `Wrapper`.

        Raises:
            InvalidInput: there are none, or too many, or a passphrase and others.
        """
        self._locks: list[Locker] = []
        for lock in locks:
            if not isinstance(lock, (Lock, Passphrase)):
                raise InvalidInput(
                    f"groups are sealed to Recipients and Passphrases, not to {type_name(lock)}; see Recipient.load"
                )
            if lock not in self._locks:
                self._locks.append(lock)
        if not self._locks:
            raise InvalidInput(
                "nobody could ever open what is sealed to nobody: give a recipient or a passphrase"
            )
        if len(self._locks) > MAX_STANZAS:
            raise InvalidInput(
                f"{len(self._locks)} recipients are more than the {MAX_STANZAS} that a group may have"
            )
        if len(self._locks) > 1 and any(isinstance(lock, Passphrase) for lock in self._locks):
            raise InvalidInput(
                "a passphrase opens a group alone, not beside recipients or other passphrases: whoever opens by it "
                "shall know that somebody who knew it has sealed the group. Seal for recipients, or for one passphrase"
            )
        self._cost = cost
        self._salt = os.urandom(SALT_BYTES) if salt is None else salt
        self._derived: dict[int, bytes] = {}

    def wrap(self, suite: Suite, seed: bytes, nonce: bytes | None = None) -> tuple[Stanza, ...]:
        """A stanza for each lock.

        Args:
            nonce: of the passphrases' stanzas, for tests; random by default.
        """
        stanzas = []
        for i, lock in enumerate(self._locks):
            if not isinstance(lock, Passphrase):
                stanza = lock.wrap(seed, suite)
                if not isinstance(stanza, Stanza):
                    raise InvalidInput(f"{type_name(lock)}.wrap gave {type_name(stanza)}, not a Stanza")
                stanzas.append(stanza)
                continue
            if i not in self._derived:
                self._derived[i] = _scrypt_key(lock, self._salt, self._cost)
            own = os.urandom(NONCE_BYTES) if nonce is None else nonce
            sealed = suite.aead(self._derived[i]).encrypt(own, seed, suite.info)
            stanzas.append(Stanza(SCRYPT, self._salt + bytes([self._cost]) + own + sealed))
        secrets.SystemRandom().shuffle(stanzas)  # the order in which they were given says who matters
        return tuple(stanzas)


class Keyring:
    """Keys to try on sealed groups. Remembers what scrypt gave, and bounds how often a file may ask for it."""

    def __init__(
        self,
        keys: Iterable[Opener] | Opener,
        limits: DecodeLimits | None = None,
        *,
        min_version: int = 0,
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
            if not isinstance(key, (Key, Passphrase)):
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
        for i, key in enumerate(self._keys):
            if not isinstance(key, Passphrase):
                seed = key.unwrap(stanzas, suite)
            elif len(stanzas) == 1 and stanzas[0].kind == SCRYPT:
                seed = self._by_passphrase(suite, stanzas[0].body, i, key)
            else:
                seed = None
            if seed is None:
                continue
            if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
                raise InvalidInput(f"{type_name(key)}.unwrap gave no content key of {SEED_BYTES} bytes")
            return seed
        return None

    def _by_passphrase(self, suite: Suite, body: bytes, i: int, key: Passphrase) -> bytes | None:
        salt, cost, rest = body[:SALT_BYTES], body[SALT_BYTES], body[SALT_BYTES + 1 :]
        if cost < self._limits.min_scrypt_cost:
            raise LimitExceeded(
                f"the passphrase is guarded by 2^{cost} rounds of scrypt only, which guessers pass in no time; at "
                f"least 2^{self._limits.min_scrypt_cost} are asked for (DecodeLimits.min_scrypt_cost)"
            )
        if cost > self._limits.max_scrypt_cost:
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
        try:
            return suite.aead(derived[i]).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], suite.info)
        except InvalidTag:  # another passphrase
            return None
