"""Encryption and signatures for whole files: groups by name, files in, files out. Runs no model.

>>> import numpy as np, ssic
>>> me = ssic.Identity.generate()
>>> labels = np.zeros((2, 3), np.uint8); labels[0, 1:] = 1
>>> data = ssic.encode(np.zeros((32, 48, 3), np.uint8), labels)
>>> sealed = ssic.encrypt(data, "group 1", me.recipient)
>>> ssic.decode(sealed, identity=me).shape
(32, 48, 3)
>>> bytes(ssic.decrypt(sealed, me)) == data
True
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ssic.arguments import type_name
from ssic.crypto import files, signature
from ssic.crypto.files import Hide
from ssic.crypto.keys import SigningKey, VerifyKey, trusted
from ssic.crypto.wrap import Keyring, Locker, Opener, Wrapper
from ssic.errors import InvalidInput, UnknownGroup
from ssic.file import GroupNames, SsicFile, group_mask
from ssic.format import DecodeLimits, Head, read_head
from ssic.format import renumber as renumbered
from ssic.groups.mask import GroupMask
from ssic.opening import FileSource, open
from ssic.storage.source import Bytes


def encrypt(
    file: FileSource,
    groups: GroupNames,
    recipients: Locker | Iterable[Locker],
    *,
    hide: Hide = "nothing",
    version: int = 0,
    cipher: str | None = None,
    metadata: bool = False,
    pad: bool = False,
    renumber: bool = False,
    limits: DecodeLimits | None = None,
) -> SsicFile:
    """The same file with some groups sealed, each under a key of its own that only the recipients can unwrap.

    The other groups keep their bytes and pixels. A signature is left out: sign what you send.

    Args:
        file: as for `ssic.open`: a path, a URL, bytes, a binary file, or an opened file; so in all functions here.
        groups: names, classes or ids of those to seal.
        recipients: one or more of `ssic.Recipient`, or of whatever else wraps keys (`ssic.crypto.Lock`); or one
            `ssic.Passphrase`.
        hide: what else to seal. "names": name, class, score, quality and id of each group; "outline": these, and which
            blocks belong to which of the groups: only the outline of all of them together can be seen.
        version: number of this version of the groups, for readers who remember which they saw last; 0 is none.
        cipher: "aes-256-gcm", the default, or "chacha20-poly1305". One per file.
        metadata: keep Exif, XMP and unknown chunks, which may show the sealed groups (as a thumbnail, say).
        pad: hide the length of each sealed group, as far as Padmé does: up to an eighth more bytes.
        renumber: with `hide`: close gaps in ids and in the numbers of names first, as `ssic.format.renumber` does, so
            that what is left does not tell of what is hidden. The file that `decrypt` gives is the renumbered one.
        limits: bounds on what the head may ask for.

    Warns:
        DamageKept: other groups are damaged, and are copied as they are.
        NamesTell: names or ids of the groups that are left tell of those that are hidden.

    Raises:
        UnknownGroup: the file has no such group.
        InvalidInput: no recipient, a group is sealed already, or a value can't be.
        EncryptedSegment: `renumber`, and another group is sealed already, and so bound to its id and name.
        FormatError: the file is damaged or not whole.
    """
    wrapper = Wrapper(_list(recipients))
    if not isinstance(hide, str):
        raise InvalidInput(f'hide is "nothing", "names" or "outline", not {type_name(hide)}')
    if cipher is not None and not isinstance(cipher, str):
        raise InvalidInput(f"a cipher is given by its name, not as {type_name(cipher)}")
    opened = open(file, limits=limits)
    copied = opened.access.to_copy()
    if renumber is True:
        if hide == "nothing":
            raise InvalidInput(
                "renumber is of use where names or outlines are hidden: else all ids and names stay"
            )
        copied, groups = _renumbered(copied, groups, metadata, opened)
    data = files.encrypt(
        copied,
        _chooser(groups),
        wrapper,
        hide=hide,
        version=version,
        cipher=cipher,
        metadata=metadata,
        pad=pad,
        limits=opened.limits,
    )
    return opened.with_content(data)


def decrypt(
    file: FileSource,
    identity: Opener | Iterable[Opener],
    groups: GroupNames | None = None,
    *,
    min_version: int = 0,
    limits: DecodeLimits | None = None,
) -> SsicFile:
    """The same file with sealed groups opened. Undoes `encrypt`, to the byte, for the files that ssic writes, also in
    steps. (Only where groups of one hidden entry are opened by people of whom none has the keys of all, segments that
    lay in an order of your own may come to lie in another.)

    Args:
        file: as for `ssic.open`.
        identity: one or more of `ssic.Identity`, `ssic.Passphrase` and whatever else unwraps keys
            (`ssic.crypto.Key`).
        groups: which to open; by default all that the keys open. Hidden ones go by their real names.
        min_version: refuse groups of earlier versions.
        limits: bounds on what the head, and passphrases, may ask for.

    Warns:
        DamageKept: some groups, or parts of a hidden entry, are damaged or were tampered with, and stay as they are.

    Raises:
        WrongKey: none of the keys opens a group that was named, or any at all.
        TamperedSegment: a group that was named is not what was sealed, or none is.
        UnknownGroup: there is no such group, or it is hidden from these keys.
        InvalidInput: none of the groups is sealed.
        FormatError: the file is damaged or not whole.
    """
    keyring = Keyring(identity, limits, min_version=min_version)
    choose = None if groups is None else _chooser(groups)
    opened = open(file, limits=limits)
    data = files.decrypt(opened.access.to_copy(), keyring, choose, limits=opened.limits)
    return opened.with_content(data)


def rewrap(
    file: FileSource,
    identity: Opener | Iterable[Opener],
    recipients: Locker | Iterable[Locker],
    groups: GroupNames | None = None,
    *,
    keep: bool = False,
    limits: DecodeLimits | None = None,
) -> SsicFile:
    """The same file with other recipients; what is sealed is not sealed anew.

    Whoever could open a group and has kept its bytes can do so for ever: to shut somebody out of later versions,
    `decrypt` and `encrypt` again.

    Args:
        identity: opens the groups now.
        recipients: may open them from now on.
        groups: which; by default all that the identity opens.
        keep: those who can open them now still can. (Who they are can't be seen, so that all stay or none.)

    Raises:
        As `decrypt` and `encrypt`.
    """
    choose = None if groups is None else _chooser(groups)
    wrapper, keyring = Wrapper(_list(recipients)), Keyring(identity, limits)
    opened = open(file, limits=limits)
    data = files.rewrap(opened.access.to_copy(), keyring, wrapper, choose, keep=keep, limits=opened.limits)
    return opened.with_content(data)


def sign(file: FileSource, key: SigningKey, *, limits: DecodeLimits | None = None) -> SsicFile:
    """The same file with an Ed25519 signature over head and segments, in the place of an earlier one.

    Raises:
        FormatError: the file is damaged or not whole.
    """
    if not isinstance(key, SigningKey):
        raise InvalidInput(
            f"files are signed with a SigningKey, not with {type_name(key)} (SigningKey.load reads one)"
        )
    opened = open(file, limits=limits)
    return opened.with_content(signature.sign(opened.access.to_copy(), key, opened.limits))


def verify(
    file: FileSource,
    trust: VerifyKey | Iterable[VerifyKey] | None = None,
    *,
    limits: DecodeLimits | None = None,
) -> VerifyKey:
    """Check the signature of a whole file, each segment included.

    Args:
        trust: keys one of which must have signed it. None takes any, and says nothing about who that was.

    Returns:
        the key that signed it.

    Raises:
        SignatureError: not signed, not by one of these, or changed since: groups taken out, too.
        FormatError: the file is damaged or not whole.
    """
    keys = None if trust is None else trusted(trust)
    opened = open(file, limits=limits)
    return signature.verify(opened.access.to_copy(), keys, opened.limits)


def _list(one_or_more: Any) -> list[Any]:
    return list(one_or_more) if isinstance(one_or_more, Iterable) else [one_or_more]


def _chooser(groups: GroupNames) -> Callable[[Head], Collection[int]]:
    return lambda head: group_mask(head).resolve(groups)


def _renumbered(data: Bytes, groups: GroupNames, metadata: bool, opened: SsicFile) -> tuple[bytes, list[int]]:
    """The file without gaps in ids and names, and the new ids of `groups`, which are the highest."""
    ids = _chooser(groups)(opened.head)
    changed = renumbered(data, list(ids), opened.limits, metadata=metadata)
    return changed, sorted(group.id for group in read_head(changed, opened.limits).groups)[
        -len(ids) or None :
    ]


class NotFound(UserWarning):
    """Nothing was found of what was to be sealed."""


def those_there(
    mask: GroupMask, groups: Sequence[str], asked_by: str, classes: Collection[str] | None = None
) -> list[str]:
    """Of the groups that are to be sealed, those that a picture has.

    Whoever asks for sealing must not get a file in clear because of a slip of the pen: what is not there is an error.
    Not so a class that a segmenter knows, and looked for in vain: there are pictures without faces.

    Args:
        groups: names, classes or ids.
        asked_by: what named the groups, for messages.
        classes: those that a segmenter of this mask knows, if it says so.

    Warns:
        NotFound: such a class has no group.

    Raises:
        UnknownGroup: there is no such group, nor such a class.
    """
    found = []
    for group in groups:
        try:
            mask.resolve(group)
        except UnknownGroup as error:
            if group not in (classes or ()):
                raise _not_there(group, asked_by, error, classes) from error
            text = f'{asked_by}: no "{group}" was found, and so none is sealed: one that was missed is public'
            warnings.warn(text, NotFound, stacklevel=2)
        else:
            found.append(group)
    return found


def _not_there(
    group: str, asked_by: str, error: UnknownGroup, classes: Collection[str] | None
) -> UnknownGroup:
    close = difflib.get_close_matches(group, classes or (), n=1)
    hint = f' (the segmenter finds "{close[0]}")' if close and "did you mean" not in str(error) else ""
    return UnknownGroup(f"{asked_by}: {error}{hint}. Nothing is written, as it would be in clear")
