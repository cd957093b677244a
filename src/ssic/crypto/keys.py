"""Keys, and how they are written down.

A key is one word of ASCII: a prefix that says what it is, then 48 characters of base64url: its 32 bytes, and a checksum
of 4 (the first bytes of the SHA-256 of prefix and key), so that a word with a slip is no key.

>>> identity = Identity.generate()
>>> Recipient.parse(str(identity.recipient)) == identity.recipient
True
>>> str(identity) == f"Identity(for {identity.recipient})"
True
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from functools import cached_property
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ssic.errors import BadKey

KEY_BYTES = 32
_CHECK_BYTES = 4
_WORD = re.compile(r"(ssic[a-z]+1-)([A-Za-z0-9_-]*)", re.IGNORECASE)


def described(value: object) -> str:
    """What a value of a wrong type is called in messages: by its type, as it may be a secret.

    >>> described(None), described("ssicpub1-...")
    ('None', 'a value of type str')
    """
    return "None" if value is None else f"a value of type {type(value).__name__}"


class AnyKey:
    """32 bytes with a written form. Equal if they are the same; hashable."""

    PREFIX: ClassVar[str]
    KIND: ClassVar[str]
    SECRET: ClassVar[bool] = False

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise BadKey(f"{self.KIND} has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` writes down.

        Raises:
            BadKey: it is no key of this kind. The message never repeats a secret.
        """
        match = _WORD.fullmatch(text.strip())
        if match is None:
            raise BadKey(f"{cls.KIND} starts with {cls.PREFIX}; what was given does not look like a key")
        if match[1] != cls.PREFIX:
            other = next((k.KIND for k in KINDS if match[1] == k.PREFIX), "no key of this version")
            raise BadKey(f"{cls.KIND} ({cls.PREFIX}...) was expected; what was given is {other}")
        try:
            raw = base64.urlsafe_b64decode(match[2])
        except (binascii.Error, ValueError):
            raw = b""
        key, check = raw[:KEY_BYTES], raw[KEY_BYTES:]
        if len(raw) != KEY_BYTES + _CHECK_BYTES or check != cls._check(key):
            raise BadKey(f"{cls.KIND} is mistyped or incomplete: its checksum does not fit")
        return cls(key)

    @classmethod
    def _check(cls, raw: bytes) -> bytes:
        return hashlib.sha256(cls.PREFIX.encode() + raw).digest()[:_CHECK_BYTES]

    def _word(self) -> str:
        return self.PREFIX + base64.urlsafe_b64encode(self._raw + self._check(self._raw)).decode()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash((self.PREFIX, self._raw))


class _PublicKey(AnyKey):
    def __str__(self) -> str:
        return self._word()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return self._raw


class PrivateKey(AnyKey):
    """Shows itself in no string: `secret` says it on purpose."""

    SECRET = True

    def secret(self) -> str:
        """The written form, for a file that nobody else can read."""
        return self._word()

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled: it would end up who knows where")

    @property
    def public(self) -> _PublicKey:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(for {self.public})"

    __str__ = __repr__


class Recipient(_PublicKey):
    """An X25519 public key, to which groups are sealed."""

    PREFIX, KIND = "ssicpub1-", "a recipient's public key"

    @cached_property
    def key(self) -> X25519PublicKey:
        return X25519PublicKey.from_public_bytes(self._raw)


class Identity(PrivateKey):
    """An X25519 private key, which opens what was sealed to its recipient."""

    PREFIX, KIND = "SSICSECRET1-", "an identity (private key)"

    @classmethod
    def generate(cls) -> Identity:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @cached_property
    def key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._raw)

    @property
    def recipient(self) -> Recipient:
        """The public key that belongs to it."""
        return Recipient(self.key.public_key().public_bytes_raw())

    public = recipient


class VerifyKey(_PublicKey):
    """An Ed25519 public key, which tells whether a file is as its signer left it."""

    PREFIX, KIND = "ssicver1-", "a verification key"

    @cached_property
    def key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._raw)


class SigningKey(PrivateKey):
    """An Ed25519 private key, which signs files."""

    PREFIX, KIND = "SSICSIGN1-", "a signing key (private)"

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._raw)

    @property
    def verify_key(self) -> VerifyKey:
        """The public key that belongs to it."""
        return VerifyKey(self.key.public_key().public_bytes_raw())

    public = verify_key


KINDS: tuple[type[AnyKey], ...] = (Recipient, Identity, VerifyKey, SigningKey)


class Passphrase:
    """A passphrase, to seal with and to open with; as Unicode's NFC, so that it is the same on every keyboard."""

    def __init__(self, text: str) -> None:
        if not text:
            raise BadKey("a passphrase must not be empty")
        try:
            self._bytes = unicodedata.normalize("NFC", text).encode()
        except UnicodeEncodeError:
            raise BadKey("the passphrase is not valid Unicode") from None

    @property
    def bytes(self) -> bytes:
        return self._bytes

    def __repr__(self) -> str:
        return "Passphrase(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a passphrase is not pickled: it would end up who knows where")
