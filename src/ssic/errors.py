"""All errors that ssic raises on purpose, in one tree.

::

    SsicError
    ├── InvalidInput            what the caller gave can't be used (also a ValueError)
    │   ├── ImageError          the picture: unreadable, alpha, 16 bit, too small or too large
    │   ├── MaskError           the group mask: wrong size, too many groups, empty groups
    │   ├── UnknownGroup        a group was asked for that the file or mask does not have
    │   ├── BadKey              a key or passphrase that can't be one
    │   ├── SegmenterError      a segmenter: unknown, not installed, or its model unusable
    │   └── UnreachableTarget   no quality gives the bytes or the PSNR asked for
    ├── FormatError             the bytes are not a whole, intact ssic file
    │   ├── NotAnSsicFile       the magic is missing
    │   ├── UnsupportedVersion  written by a newer format
    │   ├── TruncatedFile       the bytes end too early
    │   ├── CorruptHead         checksum or content of the head is wrong
    │   ├── LimitExceeded       well formed perhaps, but larger than `DecodeLimits` allows
    │   ├── EncryptedSegment    one group's segment is sealed, and no key was given
    │   │   └── WrongKey        ... and none of the keys given opens it
    │   ├── DamagedSegment      one group's segment is damaged; carries `.groups`
    │   │   └── TamperedSegment a key fits, but what it opens is not what was sealed under it
    │   └── SignatureError      the file is not signed as was asked for
    ├── ModelError              weights: unreadable, or not those that the file was made with
    │   └── UnknownModel        the file names a model that is not installed
    └── EngineError             what shall run the networks is unknown, not installed, or fails

Catch `SsicError` for all of them. Files and networks raise `OSError`s besides; pickling a key, or arguments that a
function does not have, a `TypeError`. Anything else that escapes from ssic is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence


class SsicError(Exception):
    """Root of every error that ssic raises on purpose."""


class InvalidInput(SsicError, ValueError):
    """What the caller gave can't be used."""


class ImageError(InvalidInput):
    """The picture can't be coded as it is."""


class MaskError(InvalidInput):
    """The group mask, or what it should be made from, is unusable."""


class UnknownGroup(InvalidInput):
    """A group was asked for, by name or id, that does not exist."""


class BadKey(InvalidInput):
    """What was given as a key or passphrase can't be one. Messages never repeat a secret."""


class UnreachableTarget(InvalidInput):
    """No quality gives the bytes or the PSNR that were asked for; the message says what is reachable."""


class SegmenterError(InvalidInput):
    """A segmenter is unknown, lacks a package, or can't use the model that it was given."""


class FormatError(SsicError):
    """The bytes are not a whole, intact ssic file."""


class NotAnSsicFile(FormatError):
    """The bytes don't start with the magic of an ssic file."""


class UnsupportedVersion(FormatError):
    """The file was written in a format version that this reader doesn't know."""


class TruncatedFile(FormatError):
    """The bytes end before the file does."""


class CorruptHead(FormatError):
    """The head's checksum fails, or its content contradicts itself."""


class LimitExceeded(FormatError):
    """The file asks for more than `DecodeLimits` allows."""


class DamagedSegment(FormatError):
    """The segments of some groups are damaged; the other groups are not concerned.

    Attributes:
        groups: names of the damaged groups.
    """

    def __init__(self, message: str, groups: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.groups = tuple(groups)


class TamperedSegment(DamagedSegment):
    """A key fits, but the sealed segment, or what the head says of its group, was changed or exchanged."""


class EncryptedSegment(FormatError):
    """The segment of a group is sealed, and no key was given to open it."""


class WrongKey(EncryptedSegment):
    """The segment of a group is sealed, and none of the keys given opens it."""


class SignatureError(FormatError):
    """The file is not signed, not by a key that is trusted, or was changed since it was signed."""


class ModelError(SsicError):
    """Weights are unreadable or inconsistent."""


class UnknownModel(ModelError):
    """The file was made with a model that is not installed here."""


class EngineError(SsicError):
    """What shall run the networks is unknown, lacks a package or a device, or fails."""
