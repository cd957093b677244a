"""An opened file: what its head says, and decoding, group by group, what is asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssic import format as container
from ssic.codec import Codec, Progress, load_current, silent
from ssic.codec import Source as Image
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    InvalidInput,
    LimitExceeded,
    ModelError,
    SignatureError,
    TruncatedFile,
    UnknownGroup,
)
from ssic.format import Bytes, DecodeLimits, GroupEntry, Head, Source, joined, open_source
from ssic.format.source import FIRST_BYTES
from ssic.image import compose, crop_box, from_blocks
from ssic.mask import BLOCK, GroupMask
from ssic.model.weights import find_by_id, find_weights

if TYPE_CHECKING:
    from ssic.crypto import Keyring, VerifyKey
    from ssic.crypto.signature import Signature
    from ssic.crypto.wrap import Key
    from ssic.model.runtime import Precision

    Keys = Key | Iterable[Key]
    Trust = VerifyKey | Iterable[VerifyKey]

GroupNames = Iterable[str | int] | str | int


class DamagedGroups(UserWarning):
    """Some groups could not be decoded and were left out; the others are whole."""


class SealedGroups(UserWarning):
    """Some groups are sealed and were left out, for want of a key; the file is as it should be."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of the groups asked for.

    Attributes:
        pixels: [H, W, 3] uint8 of the whole picture, or of the box around the groups if it was cropped;
            meaningless where `present` is false.
        present: [H, W] bool.
        box: (left, top, right, bottom) of these pixels in the picture.
        damaged: names of groups that were asked for and could not be decoded.
        sealed: names of groups that were asked for and are sealed: no key was given, or none that opens them.
        missing: of a partial file, names of groups that were asked for and lie behind its end.
    """

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    damaged: tuple[str, ...]
    missing: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()


_SEALED = EncryptedSegment, LimitExceeded
"""Errors of groups that may well be intact."""


def _all_of(broken: Mapping[int, FormatError]) -> FormatError:
    """One error for several groups."""
    errors = list(broken.values())
    if len(errors) == 1:
        return errors[0]
    names = [name for e in errors if isinstance(e, DamagedSegment) for name in e.groups]
    text = f"{len(errors)} groups can't be decoded: {'; '.join(map(str, errors))}"
    return DamagedSegment(text, names) if names else type(errors[0])(text)


def group_mask(head: Head) -> GroupMask:
    """The groups that a head lists, with their blocks."""
    return GroupMask(
        head.mask,
        {g.id: g.name for g in head.groups},
        {g.id: g.class_name for g in head.groups if g.class_name is not None},
        {g.id: g.score for g in head.groups if g.score is not None},
    )


class SsicFile:
    """An opened file. The head is read and checked at once, segments when they are needed; immutable.

    Attributes:
        head: everything that the head says (`ssic.format.Head`).
        mask: the groups and their blocks.
    """

    def __init__(
        self,
        data: Bytes,
        *,
        model: str | Path | None = None,
        limits: DecodeLimits | None = None,
        identity: Keys | None = None,
        min_version: int = 0,
        trust: Trust | None = None,
    ) -> None:
        """
        Args:
            data: the file's bytes, or a `ssic.format.Source`, of which only what is needed is read.
            model: weights file to decode with; by default the installed model that the file names.
            limits: bounds on what the head may ask for.
            identity: keys and passphrases that sealed groups are opened with, as they are needed. Groups whose
                names and outlines are sealed are opened at once: `groups` and `mask` show those that the keys open.
            min_version: take sealed groups of earlier versions for damaged.
            trust: one or more keys, one of which must have signed the file; the segments are checked as they are
                read.

        Raises:
            FormatError: not an intact ssic file; see `ssic.errors`.
            SignatureError: it is not signed by one of the keys in `trust`, or was changed since.
        """
        if not isinstance(data, (bytes, bytearray, memoryview, Source)):
            raise InvalidInput(f"an ssic file is bytes, not {type(data).__name__}; ssic.open takes a path")
        self.head: Head = container.read_head(data, limits)
        self._data = data
        self._model = model
        self._shown = self.head
        self._inner: dict[int, bytes] = {}
        self._faults: dict[int, FormatError] = {}
        self._keyring: Keyring | None = None
        self._signature: Signature | None = None
        if trust is not None:
            from ssic.crypto.keys import VerifyKey
            from ssic.crypto.signature import check_head

            trusted = (trust,) if isinstance(trust, VerifyKey) else tuple(trust)
            self._signature = check_head(data, self.head, trusted)
        if identity is not None:
            from ssic.crypto import Keyring

            self._keyring = Keyring(identity, limits, min_version=min_version)
            self._reveal(self._keyring)

    def _reveal(self, keyring: Keyring) -> None:
        """Open what the keys open of hidden entries; one that is damaged stays as it is, and is told of later."""
        from ssic.crypto.files import open_parts, reveal

        hidden = {entry.id: entry for entry in self.head.groups if entry.hidden}
        segments, broken = container.read_segments(self._data, self.head, hidden)
        self._faults |= broken
        for group_id, segment in segments.items():
            entry = hidden[group_id]
            try:
                parts = open_parts(self.head, entry, self._signed(entry, segment), keyring)
                self._shown = reveal(self._shown, {entry.id: parts})
            except (DamagedSegment, SignatureError, *_SEALED) as e:
                self._faults[entry.id] = e
                continue
            inners = [inner.segment for _, inner in parts if inner is not None]
            self._inner |= {segment.id: segment.payload for segment in inners}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.head.width, self.head.height

    @property
    def groups(self) -> tuple[GroupEntry, ...]:
        """The groups, in ascending order of id; with an identity, as it shows them."""
        return self._shown.groups

    @property
    def icc(self) -> bytes | None:
        """ICC profile of the pixels."""
        return self.head.chunks.get(container.ICC)

    @cached_property
    def mask(self) -> GroupMask:
        """Which group owns each block, with names, classes and scores."""
        return group_mask(self._shown)

    def codec(self, *, device: str = "cpu", precision: Precision = "auto") -> Codec:
        """The codec that decodes this file.

        Raises:
            UnknownModel: the model that the file names is not installed.
            ModelError: the model given when opening is not the one that the file was made with.
        """
        path = find_weights(self._model) if self._model else find_by_id(self.head.model_id)
        codec = load_current(path, device, precision)
        if codec.model_id != self.head.model_id:
            raise ModelError(
                f"{path} is model {codec.model_id.hex()}; the file needs {self.head.model_id.hex()}"
            )
        return codec

    def _signed(self, entry: GroupEntry, segment: bytes) -> bytes:
        if self._signature is not None:
            self._signature.check(entry, segment)
        return segment

    def _sealed(self, entry: GroupEntry) -> FormatError | None:
        """Why there is no point in reading a segment; None if there is."""
        if not entry.encrypted:
            return None
        if self._keyring is None:
            return EncryptedSegment(
                f'"{entry.name}" is sealed: give an identity that it was sealed to (--identity FILE), or its passphrase'
            )
        if entry.hidden:  # what the keys open of it has been opened
            from ssic.crypto.sealed import wrong_key

            return self._faults.get(entry.id) or wrong_key(entry.name)
        return None

    def _opened(self, entry: GroupEntry, segment: bytes) -> bytes:
        """What a decoder takes, from a segment as it lies in the file."""
        segment = self._signed(entry, segment)
        if not entry.encrypted:
            return segment
        from ssic.crypto.sealed import open_group

        assert self._keyring is not None, "_sealed"
        return open_group(self.head, entry, segment, self._keyring)

    def _segments(self, ids: Iterable[int]) -> tuple[dict[int, bytes], dict[int, FormatError]]:
        """Substreams by id, and what is wrong with those that can't be had. Neighbours are read together."""
        entries = {entry.id: entry for entry in self.groups}
        intact = {g: self._inner[g] for g in ids if g in self._inner}
        broken: dict[int, FormatError] = {}
        wanted = []
        for g in ids:
            if g in intact:
                continue
            if (fault := self._sealed(entries[g])) is not None:
                broken[g] = fault
            else:
                wanted.append(g)
        found, damaged = container.read_segments(self._data, self.head, wanted)
        broken |= damaged
        for g, segment in found.items():
            try:
                intact[g] = self._opened(entries[g], segment)
            except (DamagedSegment, SignatureError, *_SEALED) as e:
                broken[g] = e
        return intact, broken

    def decode_pixels(
        self,
        groups: GroupNames | None = None,
        *,
        crop: bool = False,
        strict: bool = False,
        partial: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        progress: Progress = silent,
    ) -> Decoded:
        """Decode some groups, all by default, and say where their pixels are; arguments as in `ssic.decode`.

        Raises:
            UnknownGroup: the file has no such group.
            DamagedSegment, EncryptedSegment, TruncatedFile: not one of the groups can be decoded; or not all, if
                `strict`. (`WrongKey` and `TamperedSegment` are of these kinds.)
            UnknownModel: see `codec`.
        """
        wanted = self.mask.groups if groups is None else self.mask.resolve(groups)
        if not wanted:
            raise InvalidInput("no group was asked for: name one, or leave `groups` out for all")
        segments, broken = self._segments(wanted)
        if not segments:
            raise _all_of(broken)
        quality = {g.id: g.quality for g in self.groups}
        codec = self.codec(device=device, precision=precision)
        plan, pixels, damaged = codec.decode_blocks(self._shown.mask, quality, segments, progress)
        for g in damaged:
            name = self.mask.names[g]
            broken[g] = DamagedSegment(f'the substream of "{name}" contradicts itself', [name])
        missing = [g for g, e in broken.items() if partial and isinstance(e, TruncatedFile)]
        if len(broken) == len(wanted) or (strict and len(broken) > len(missing)):
            raise _all_of(broken)

        shown = np.isin(self._shown.mask, [g for g in segments if g not in damaged])
        left, top, right, bottom = crop_box(shown) if crop else (0, 0, *shown.shape[::-1])
        rows, columns = bottom - top, right - left
        row, column = np.divmod(plan.block, shown.shape[1])
        inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
        blocks = np.zeros((rows * columns, *pixels.shape[1:]), np.uint8)
        blocks[((row - top) * columns + column - left)[inside]] = pixels[inside]
        width, height = (min(BLOCK * end, size) for end, size in zip((right, bottom), self.size, strict=True))
        cut = slice(height - BLOCK * top), slice(width - BLOCK * left)
        present = shown[top:bottom, left:right].repeat(BLOCK, 0).repeat(BLOCK, 1)
        return Decoded(
            pixels=from_blocks(blocks, rows, columns)[cut],
            present=present[cut],
            box=(BLOCK * left, BLOCK * top, width, height),
            damaged=tuple(
                self.mask.names[g]
                for g in sorted(broken)
                if g not in missing and not isinstance(broken[g], _SEALED)
            ),
            missing=tuple(self.mask.names[g] for g in sorted(missing)),
            sealed=tuple(self.mask.names[g] for g in sorted(broken) if isinstance(broken[g], _SEALED)),
        )

    def decode(
        self,
        groups: GroupNames | None = None,
        *,
        fill: str = "black",
        crop: bool = False,
        strict: bool = False,
        partial: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        progress: Progress = silent,
        _stacklevel: int = 2,
    ) -> NDArray[np.uint8]:
        """Decode some groups, all by default, into a picture; arguments and result as in `ssic.decode`."""
        # A fill that can't be used is refused before the work, not after it.
        compose(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.bool_), fill)
        decoded = self.decode_pixels(
            groups,
            crop=crop,
            strict=strict,
            partial=partial,
            device=device,
            precision=precision,
            progress=progress,
        )
        if decoded.damaged:
            text = f"could not be decoded and is left out: {', '.join(decoded.damaged)}"
            warnings.warn(text, DamagedGroups, stacklevel=_stacklevel)
        if decoded.sealed:
            text = f"sealed and left out, for want of a key: {', '.join(decoded.sealed)}"
            warnings.warn(text, SealedGroups, stacklevel=_stacklevel)
        return compose(decoded.pixels, decoded.present, fill)

    def _in_file(self, groups: GroupNames) -> list[int]:
        """Ids of groups whose bytes can be told apart within the file."""
        ids = self.mask.resolve(groups)
        if hidden := [self.mask.names[g] for g in ids if g in self._inner]:
            raise UnknownGroup(
                f"hidden in the file, so that it can't be changed alone: {', '.join(hidden)}; decrypt first"
            )
        return ids

    def extract(self, groups: GroupNames) -> bytes:
        """A file with these groups only, their bytes unchanged; sealed ones stay sealed. Runs no model.

        Raises:
            UnknownGroup: there is no such group; or it is one that only the identity shows, whose bytes can't be
                told apart within the file (`ssic.decrypt` it first).
        """
        return container.extract(self._data, self._in_file(groups), head=self.head)

    def drop(self, groups: GroupNames) -> bytes:
        """A file without these groups, the bytes of the others unchanged. Runs no model, and reads the others only.

        Raises:
            InvalidInput: no group would be left.
            UnknownGroup, DamagedSegment, TruncatedFile: about the groups to be dropped, or those to be kept.
        """
        return container.drop(self._data, self._in_file(groups), head=self.head)

    def reorder(self, first: GroupNames) -> bytes:
        """The same file with the segments of these groups first, in this order; the others follow, smallest first,
        background last. Runs no model."""
        return container.reorder(self._data, self._in_file(first), head=self.head)

    def replace(
        self,
        groups: GroupNames,
        image: Image,
        *,
        quality: int | None = None,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> bytes:
        """A file in which these groups show what another picture has in their place. The mask and the bytes of all
        other groups stay. EXIF and XMP, which may show what was replaced, do not.

        Args:
            groups: names, classes or ids. Their old segments are not read: they may be damaged.
            image: as for `ssic.encode`, of the size of this one.
            quality: of the new segments; by default that of the old ones.

        Raises:
            ImageError: the picture can't be coded, or has another size.
            EncryptedSegment: one of the groups is encrypted.
            UnknownGroup, DamagedSegment, TruncatedFile, InvalidInput, UnknownModel.
        """
        from ssic.edit import new_pixels

        ids = self._in_file(groups)
        recoded = new_pixels(self, ids, image, quality, device, progress)
        return container.replace(self._data, recoded, head=self.head, metadata=False)

    def set_quality(
        self,
        group_quality: Mapping[str | int, int],
        original: Image | None = None,
        *,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> bytes:
        """A file in which some groups have another quality. The bytes of all other groups stay.

        Args:
            group_quality: by group name, class or id; a name or id goes before a class.
            original: the picture that the file was made from, as for `ssic.encode`. With it the segments are those
                that encoding it at these qualities gives. Without it they are made from the decoded pixels: qualities
                can only be lowered, and some PSNR is lost on top of what the lower quality costs (docs/access.md).

        Raises:
            InvalidInput: a quality is not in 1 to 100, higher than now without `original`, or one of two for a group.
            ImageError: the original can't be coded, or has another size.
            EncryptedSegment: one of the groups is encrypted.
            UnknownGroup, DamagedSegment, TruncatedFile, UnknownModel.
        """
        from ssic.edit import new_quality

        qualities = self.mask.assign(group_quality, "group_quality")
        self._in_file(list(qualities))
        recoded = new_quality(self, qualities, original, device, progress)
        return container.replace(self._data, recoded, head=self.head)

    def damaged(self) -> list[str]:
        """Names of the groups whose segments are damaged or missing, or, with `trust`, not those that were signed.
        Hidden ones go by their public names. Runs no model."""
        good = None if self._signature is None else self._signature.covers
        return [g.name for g in container.check(self._data, self.head, good)]

    def info(self) -> dict[str, Any]:
        """What `ssic info --json` prints. Runs no model."""
        return {
            "format": self.head.version,
            "model": self.head.model_id.hex(),
            "width": self.head.width,
            "height": self.head.height,
            "file_bytes": self.head.file_bytes,
            "head_bytes": self.head.head_bytes,
            "mask_bytes": self.head.mask_bytes,
            "groups": [
                {
                    "id": g.id,
                    "name": g.name,
                    "class": g.class_name,
                    "score": g.score,
                    "quality": g.quality,
                    "blocks": g.blocks,
                    "offset": g.offset,
                    "bytes": g.length,
                    "encrypted": g.encrypted or g.id in self._inner,
                }
                for g in self.groups
            ],
            "transfer": {
                "head": self._opening_bytes(),
                "groups": {g.name: self.transfer([g.id]) for g in self.groups},
                "all": self.transfer([g.id for g in self.groups]),
            },
        }

    def transfer(self, groups: GroupNames) -> int:
        """Bytes that reading these groups from a URL takes: their segments, without what came when the file was opened
        (`info()["transfer"]["head"]`; with an identity, hidden groups too), with small gaps between them."""
        have = {*self._inner, *(g.id for g in self._read_when_opened())}
        ids = set(self.mask.resolve(groups)) - have
        return self._read_bytes([g for g in self.groups if g.id in ids])

    def _read_bytes(self, entries: Iterable[GroupEntry]) -> int:
        reads = joined((range(g.offset, g.offset + g.length) for g in entries), self._first_bytes())
        return sum(map(len, reads))

    def _read_when_opened(self) -> list[GroupEntry]:
        return [g for g in self.head.groups if g.hidden and self._keyring is not None]

    def _opening_bytes(self) -> int:
        return self._first_bytes() + self._read_bytes(self._read_when_opened())

    def _first_bytes(self) -> int:
        return max(self.head.head_bytes, min(FIRST_BYTES, self.head.file_bytes))


def open(
    path: str | os.PathLike[str],
    *,
    model: str | Path | None = None,
    limits: DecodeLimits | None = None,
    storage_options: Mapping[str, Any] | None = None,
    prefix: int | None = None,
    identity: Keys | None = None,
    min_version: int = 0,
    trust: Trust | None = None,
) -> SsicFile:
    """Open a file: reads its head, and later the segments that are asked for. Arguments as for `SsicFile`.

    Args:
        path: of a file, or a URL: "https://..." (`pip install "ssic[http]"`), "s3://..." and whatever else fsspec and
            the file systems installed for it take.
        model: weights file to decode with; by default the installed model that the file names.
        limits: bounds on what the head may ask for.
        storage_options: of fsspec's file system, such as ``{"headers": {...}}``.
        prefix: read no more than so many bytes, all at once if it is a URL; then decode with `partial`.

    Raises:
        OSError: the file can't be read; its `filename` is the URL, without user, password and query.
        InvalidInput: nothing here reads such URLs.
        FormatError: it is not an intact ssic file.
    """
    return SsicFile(
        open_source(path, storage_options, prefix=prefix),
        model=model,
        limits=limits,
        identity=identity,
        min_version=min_version,
        trust=trust,
    )


def decode(
    data: bytes,
    groups: GroupNames | None = None,
    *,
    fill: str = "black",
    crop: bool = False,
    strict: bool = False,
    partial: bool = False,
    model: str | Path | None = None,
    device: str = "cpu",
    limits: DecodeLimits | None = None,
    progress: Progress = silent,
    identity: Keys | None = None,
    trust: Trust | None = None,
) -> NDArray[np.uint8]:
    """Decode a file, or only some of its groups.

    The work grows with the area of the groups, not with the picture, and with `crop` so does the result.

    Args:
        data: the file's bytes.
        groups: names, classes or ids; all by default.
        fill: what stands where no decoded group is: "black", "mean", "transparent" or "#rrggbb".
        crop: cut the result to the box around the decoded groups.
        strict: raise if any of the groups can't be decoded, rather than warn and leave it out.
        partial: these are the first bytes of a file: that groups lie behind their end is no damage, and they are
            left out without a warning (`SsicFile.decode_pixels` lists them).
        model: weights file; by default the installed model that the file names.
        device: of the float networks, as torch names it.
        limits: bounds on what a hostile head may ask for.
        progress: called with the name of each stage as it begins.
        identity: `ssic.Identity`, `ssic.Passphrase` or several of them, to open sealed groups with.
        trust: one or more keys, one of which must have signed the file.

    Returns:
        [H, W, 3] uint8, or [H, W, 4] if the fill is transparent.

    Raises:
        FormatError: not an intact ssic file; `DamagedSegment`, `EncryptedSegment` or `TruncatedFile` if no group
            could be decoded. If some could, the others are filled, and a `DamagedGroups` warning names them, a
            `SealedGroups` warning those that are sealed (programs ask `SsicFile.decode_pixels` or `SsicFile.damaged`).
        ImageError: there is no such fill.
        UnknownGroup: the file has no such group.
        UnknownModel: the file was made with a model that is not installed.
        ModelError: `model` is not the one that the file was made with.
    """
    opened = SsicFile(data, model=model, limits=limits, identity=identity, trust=trust)
    return opened.decode(
        groups,
        fill=fill,
        crop=crop,
        strict=strict,
        partial=partial,
        device=device,
        progress=progress,
        _stacklevel=3,
    )


def merge(files: Sequence[Bytes], limits: DecodeLimits | None = None) -> bytes:
    """One file with the groups of several, of the same picture size and model. Runs no model; see
    `ssic.format.merge`."""
    return container.merge(files, limits)
