"""Sealing single groups, opening them, and signing whole files. `docs/format.md` and `docs/encryption.md` are the norm.

Knows bytes and heads, neither pixels nor models: nothing here loads NumPy's heavy friends. The primitives are those of
the `cryptography` package; what is settled here is what they are fed with.
"""

from __future__ import annotations

from ssic.crypto.keys import Identity, Passphrase, Recipient, SigningKey, VerifyKey
from ssic.crypto.stanza import Key, Lock, Stanza, Suite
from ssic.crypto.wrap import Keyring

__all__ = [
    "Identity",
    "Key",
    "Keyring",
    "Lock",
    "Passphrase",
    "Recipient",
    "SigningKey",
    "Stanza",
    "Suite",
    "VerifyKey",
]
