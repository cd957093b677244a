"""ssic: images as independent semantic groups.

>>> import numpy as np, ssic
>>> picture = np.zeros((40, 60, 3), np.uint8)
>>> labels = np.zeros((40, 60), np.uint8); labels[:16, :32] = 1
>>> data = ssic.encode(picture, labels, quality=50)
>>> ssic.decode(data, "group 1", crop=True).shape
(16, 32, 3)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssic.errors import (
    BadKey,
    CorruptHead,
    DamagedSegment,
    EncryptedSegment,
    EngineError,
    FormatError,
    ImageError,
    InvalidInput,
    LimitExceeded,
    MaskError,
    ModelError,
    NotAnSsicFile,
    SegmenterError,
    SignatureError,
    SsicError,
    TamperedSegment,
    TruncatedFile,
    UnknownGroup,
    UnknownModel,
    UnreachableTarget,
    UnsupportedVersion,
    WrongKey,
)
from ssic.version import __version__ as __version__

if TYPE_CHECKING:
    from ssic.codec import Codec, encode
    from ssic.crypto import Identity, Passphrase, Recipient, SigningKey, VerifyKey
    from ssic.decoded import DamagedGroups, Decoded, SealedGroups
    from ssic.file import SsicFile, decode, merge, open
    from ssic.format import DecodeLimits
    from ssic.groups.mask import GroupMask
    from ssic.protect import decrypt, encrypt, rewrap, sign, verify
    from ssic.rate.targets import Target

__all__ = [
    "BadKey",
    "Codec",
    "CorruptHead",
    "DamagedGroups",
    "DamagedSegment",
    "DecodeLimits",
    "Decoded",
    "EncryptedSegment",
    "EngineError",
    "FormatError",
    "GroupMask",
    "Identity",
    "ImageError",
    "InvalidInput",
    "LimitExceeded",
    "MaskError",
    "ModelError",
    "NotAnSsicFile",
    "Passphrase",
    "Recipient",
    "SealedGroups",
    "SegmenterError",
    "SignatureError",
    "SigningKey",
    "SsicError",
    "SsicFile",
    "TamperedSegment",
    "Target",
    "TruncatedFile",
    "UnknownGroup",
    "UnknownModel",
    "UnreachableTarget",
    "UnsupportedVersion",
    "VerifyKey",
    "WrongKey",
    "decode",
    "decrypt",
    "encode",
    "encrypt",
    "merge",
    "open",
    "rewrap",
    "sign",
    "verify",
]

# Imported when first used (PEP 562), so that `import ssic` and `ssic --help` take no time.
_HOMES = {
    "Codec": "ssic.codec",
    "DamagedGroups": "ssic.decoded",
    "DecodeLimits": "ssic.format",
    "Decoded": "ssic.decoded",
    "GroupMask": "ssic.groups.mask",
    "Identity": "ssic.crypto",
    "Passphrase": "ssic.crypto",
    "Recipient": "ssic.crypto",
    "SealedGroups": "ssic.decoded",
    "SigningKey": "ssic.crypto",
    "SsicFile": "ssic.file",
    "Target": "ssic.rate.targets",
    "VerifyKey": "ssic.crypto",
    "decode": "ssic.file",
    "decrypt": "ssic.protect",
    "encode": "ssic.codec",
    "encrypt": "ssic.protect",
    "merge": "ssic.file",
    "open": "ssic.file",
    "rewrap": "ssic.protect",
    "sign": "ssic.protect",
    "verify": "ssic.protect",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(
        [*__all__, *(name for name in globals() if name.startswith("__"))]
    )  # not what is imported here
