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
import builtins
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ssic.arguments import text_of, type_name
from ssic.crypto.stanza import X25519, Stanza, Suite
from ssic.errors import BadKey, InvalidInput

KEY_BYTES = 32
MOST_BYTES = 2**16
"""Of a file of keys."""
_CHECK_BYTES = 4
_WORD = re.compile(r"(ssic[a-z]+1-)([A-Za-z0-9_-]*)", re.IGNORECASE)


class AnyKey:
    """32 bytes with a written form. Equal if they are the same; hashable."""

    PREFIX: ClassVar[str]
    KIND: ClassVar[str]
    SECRET: ClassVar[bool] = False

    def __init__(self, raw: bytes) -> None:
        if not isinstance(raw, bytes):
            raise BadKey(
                f"{self.KIND} is made of bytes, not of {type_name(raw)}; `parse` takes its written form"
            )
        if len(raw) != KEY_BYTES:
            raise BadKey(f"{self.KIND} has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` writes down: the word, or all of a file with one. Lines that are empty or start with #
        don't count.

        Raises:
            BadKey: it is no key of this kind, or several. The message never repeats a secret.
        """
        if not isinstance(text, str):
            raise BadKey(f"{cls.KIND} is written as text, not as {type_name(text)}; `load` reads a file")
        words = _words(text)
        if len(words) > 1 and all(map(_WORD.fullmatch, words)):
            raise BadKey(
                f"{len(words)} keys, where {cls.KIND} alone was expected; `load_all` reads a file with several"
            )
        match = _WORD.fullmatch("\n".join(words))
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
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The one key in a file, such as `ssic keygen` writes. A private key stands for its public one where that is
        wanted: `Recipient.load("me.key")`.

        Raises:
            BadKey: there is none, or several (`load_all`). The message never repeats a secret.
            OSError: the file can't be read.
        """
        keys = cls.load_all(path)
        if len(keys) > 1:
            raise BadKey(f"{os.fspath(path)} holds {len(keys)} keys; `load_all` gives them all")
        return keys[0]

    @classmethod
    def load_all(cls, path: str | os.PathLike[str]) -> list[Self]:
        """The keys in a file, one a line, at least one; as `load` else."""
        if not isinstance(path, (str, os.PathLike)):
            raise BadKey(f"a file of keys is named by its path, not by {type_name(path)}; `parse` takes text")
        try:
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except ValueError as error:  # a NUL
            raise BadKey(f"that is no path: {error}") from None
        return cls.read_all(data, os.fspath(path))

    @classmethod
    def read_all(cls, data: bytes, where: str) -> list[Self]:
        """The keys in the content of the file that messages call `where`."""
        if len(data) > MOST_BYTES:
            raise BadKey(f"{where} has more than {MOST_BYTES:,} bytes; that is no file of keys")
        words = _words(text_of(data, where, BadKey))
        if not words:
            raise BadKey(f"{where} holds no key")
        private = next((k for k in (Identity, SigningKey) if k.PUBLIC is cls), None)
        try:
            return [
                cast(Self, private.parse(word).public)
                if private is not None and word.startswith(private.PREFIX)
                else cls.parse(word)
                for word in words
            ]
        except BadKey as error:
            raise BadKey(f"{where}: {error}") from None

    @classmethod
    def _check(cls, raw: bytes) -> bytes:
        return hashlib.sha256(cls.PREFIX.encode() + raw).digest()[:_CHECK_BYTES]

    def _word(self) -> str:
        return self.PREFIX + base64.urlsafe_b64encode(self._raw + self._check(self._raw)).decode()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash((self.PREFIX, self._raw))


def _words(text: str) -> list[str]:
    """The lines of a file of keys that count."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class _PublicKey(AnyKey):
    def __str__(self) -> str:
        return self._word()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __reduce__(self) -> tuple[Any, ...]:  # without what `key` keeps
        return type(self), (self._raw,)

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return self._raw


class PrivateKey(AnyKey):
    """Shows itself in no string: `secret` says it on purpose."""

    SECRET = True
    PUBLIC: ClassVar[type[_PublicKey]]

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

    def wrap(self, content_key: bytes, suite: Suite) -> Stanza:
        """The content key for the holder of the private key, by HPKE.

        Raises:
            BadKey: the key is no usable one: its point has low order.
        """
        try:
            return Stanza(X25519, suite.hpke.encrypt(content_key, self.key, suite.info))
        except ValueError:
            raise BadKey(f"{self} is no usable public key: its point has low order") from None


class Identity(PrivateKey):
    """An X25519 private key, which opens what was sealed to its recipient."""

    PREFIX, KIND, PUBLIC = "SSICSECRET1-", "an identity (private key)", Recipient

    @classmethod
    def generate(cls) -> Identity:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @cached_property
    def key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._raw)

    def unwrap(self, stanzas: Sequence[Stanza], suite: Suite) -> bytes | None:
        """The content key out of the first stanza that is for this key; None if none is."""
        for stanza in stanzas:
            if stanza.kind == X25519:
                try:
                    return suite.hpke.decrypt(stanza.body, self.key, suite.info)
                except (InvalidTag, ValueError):  # not for this key; ValueError: a point of low order
                    continue
        return None

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

    PREFIX, KIND, PUBLIC = "SSICSIGN1-", "a signing key (private)", VerifyKey

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


def trusted(keys: VerifyKey | Iterable[VerifyKey]) -> tuple[VerifyKey, ...]:
    """The keys of a `trust` argument.

    Raises:
        InvalidInput: one of them is no `VerifyKey`; a path or text is none.
    """
    whole = isinstance(keys, (VerifyKey, str, bytes, os.PathLike)) or not isinstance(keys, Iterable)
    given: list[Any] = [keys] if whole else list(cast(Iterable[VerifyKey], keys))
    for key in given:
        if not isinstance(key, VerifyKey):
            raise InvalidInput(
                f"trusted are VerifyKeys, not {type_name(key)}: VerifyKey.load reads one, VerifyKey.parse its text"
            )
    return tuple(given)


class Passphrase:
    """A passphrase, to seal with and to open with; as Unicode's NFC, so that it is the same on every keyboard."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise BadKey(f"a passphrase is text, not {type_name(text)}")
        if not text:
            raise BadKey("a passphrase must not be empty")
        try:
            self._bytes = unicodedata.normalize("NFC", text).encode()
        except UnicodeEncodeError:
            raise BadKey("the passphrase is not valid Unicode") from None

    @classmethod
    def read(cls, data: builtins.bytes, where: str) -> Passphrase:
        """The passphrase in the first line of a file, whose content this is. A line ends with a line feed, or with a
        carriage return and one; nothing else is taken off.

        Args:
            where: what messages call the file.

        Raises:
            BadKey: the line is empty, or the file no text. The message never repeats a secret.
        """
        line = text_of(data, where, BadKey).partition("\n")[0].removesuffix("\r")
        if not line:
            raise BadKey(f"{where}: the first line, which should be the passphrase, is empty")
        return cls(line)

    @property
    def bytes(self) -> builtins.bytes:
        return self._bytes

    def __repr__(self) -> str:
        return "Passphrase(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a passphrase is not pickled: it would end up who knows where")
