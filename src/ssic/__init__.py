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

from ssic.version import __version__ as __version__

TYPE_CHECKING = False  # type checkers know the name; importing it from `typing` would take most of the time

if TYPE_CHECKING:  # what HOMES says, for type checkers and editors
    # isort: off
    from ssic.codec import Codec as Codec, Encoding as Encoding, encode as encode
    from ssic.crypto import (
        Identity as Identity,
        Passphrase as Passphrase,
        Recipient as Recipient,
        SigningKey as SigningKey,
        VerifyKey as VerifyKey,
    )
    from ssic.decoded import DamagedGroups as DamagedGroups, Decoded as Decoded, SealedGroups as SealedGroups
    from ssic.edit import OtherProfile as OtherProfile
    from ssic.errors import (
        BadKey as BadKey,
        CorruptHead as CorruptHead,
        DamagedSegment as DamagedSegment,
        EncryptedSegment as EncryptedSegment,
        EngineError as EngineError,
        FormatError as FormatError,
        ImageError as ImageError,
        InvalidInput as InvalidInput,
        LimitExceeded as LimitExceeded,
        MaskError as MaskError,
        ModelError as ModelError,
        NotAnSsicFile as NotAnSsicFile,
        SegmenterError as SegmenterError,
        SignatureError as SignatureError,
        SsicError as SsicError,
        TamperedSegment as TamperedSegment,
        TruncatedFile as TruncatedFile,
        UnknownGroup as UnknownGroup,
        UnknownModel as UnknownModel,
        UnreachableTarget as UnreachableTarget,
        UnsupportedVersion as UnsupportedVersion,
        WrongKey as WrongKey,
    )
    from ssic.file import SsicFile as SsicFile
    from ssic.format import (
        DecodeLimits as DecodeLimits,
        GroupEntry as GroupEntry,
        LargePicture as LargePicture,
        set_default_limits as set_default_limits,
    )
    from ssic.groups.mask import DroppedGroups as DroppedGroups, GroupMask as GroupMask
    from ssic.groups.segment import find_segmenter as find_segmenter, segment as segment
    from ssic.opening import decode as decode, merge as merge, open as open
    from ssic.pictures.read import Picture as Picture, load_picture as load_picture
    from ssic.protect import (
        decrypt as decrypt,
        encrypt as encrypt,
        rewrap as rewrap,
        sign as sign,
        verify as verify,
    )
    from ssic.rate.targets import Target as Target
    from ssic.storage.remote import NoRangeRequests as NoRangeRequests
    # isort: on

# Every public name, and the module that it comes from. Imported when first used (PEP 562), so that `import ssic` and
# `ssic --help` take no time.
HOMES = {
    "BadKey": "ssic.errors",
    "Codec": "ssic.codec",
    "CorruptHead": "ssic.errors",
    "DamagedGroups": "ssic.decoded",
    "DamagedSegment": "ssic.errors",
    "DecodeLimits": "ssic.format",
    "Decoded": "ssic.decoded",
    "DroppedGroups": "ssic.groups.mask",
    "Encoding": "ssic.codec",
    "EncryptedSegment": "ssic.errors",
    "EngineError": "ssic.errors",
    "FormatError": "ssic.errors",
    "GroupEntry": "ssic.format",
    "GroupMask": "ssic.groups.mask",
    "Identity": "ssic.crypto",
    "ImageError": "ssic.errors",
    "InvalidInput": "ssic.errors",
    "LargePicture": "ssic.format",
    "LimitExceeded": "ssic.errors",
    "MaskError": "ssic.errors",
    "ModelError": "ssic.errors",
    "NoRangeRequests": "ssic.storage.remote",
    "NotAnSsicFile": "ssic.errors",
    "OtherProfile": "ssic.edit",
    "Passphrase": "ssic.crypto",
    "Picture": "ssic.pictures.read",
    "Recipient": "ssic.crypto",
    "SealedGroups": "ssic.decoded",
    "SegmenterError": "ssic.errors",
    "SignatureError": "ssic.errors",
    "SigningKey": "ssic.crypto",
    "SsicError": "ssic.errors",
    "SsicFile": "ssic.file",
    "TamperedSegment": "ssic.errors",
    "Target": "ssic.rate.targets",
    "TruncatedFile": "ssic.errors",
    "UnknownGroup": "ssic.errors",
    "UnknownModel": "ssic.errors",
    "UnreachableTarget": "ssic.errors",
    "UnsupportedVersion": "ssic.errors",
    "VerifyKey": "ssic.crypto",
    "WrongKey": "ssic.errors",
    "decode": "ssic.opening",
    "decrypt": "ssic.protect",
    "encode": "ssic.codec",
    "encrypt": "ssic.protect",
    "find_segmenter": "ssic.groups.segment",
    "load_picture": "ssic.pictures.read",
    "merge": "ssic.opening",
    "open": "ssic.opening",
    "rewrap": "ssic.protect",
    "segment": "ssic.groups.segment",
    "set_default_limits": "ssic.format",
    "sign": "ssic.protect",
    "verify": "ssic.protect",
}

__all__ = [*HOMES]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*HOMES, *(name for name in globals() if name.startswith("__"))])
