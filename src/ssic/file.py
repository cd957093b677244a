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
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    InvalidInput,
    LimitExceeded,
    ModelError,
    SignatureError,
    TruncatedFile,
)
from ssic.format import Bytes, DecodeLimits, FileBytes, GroupEntry, Head
from ssic.image import compose, crop_box, from_blocks
from ssic.mask import BLOCK, GroupMask
from ssic.model.weights import find_by_id, find_weights

if TYPE_CHECKING:
    from ssic.crypto import Keyring, VerifyKey
    from ssic.crypto.signature import Signature
    from ssic.crypto.wrap import Key
    from ssic.model.runtime import Precision

    Keys = Key | Iterable[Key]

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
    """

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    damaged: tuple[str, ...]
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
        trust: Iterable[VerifyKey] | None = None,
    ) -> None:
        """
        Args:
            data: the file's bytes, or a `FileBytes`, of which only what is needed is read.
            model: weights file to decode with; by default the installed model that the file names.
            limits: bounds on what the head may ask for.
            identity: keys and passphrases that sealed groups are opened with, as they are needed. Groups whose
                names and outlines are sealed are opened at once: `groups` and `mask` show those that the keys open.
            min_version: take sealed groups of earlier versions for damaged.
            trust: keys one of which must have signed the file; the segments are checked as they are read.

        Raises:
            FormatError: not an intact ssic file; see `ssic.errors`.
            SignatureError: it is not signed by one of the keys in `trust`, or was changed since.
        """
        if not isinstance(data, (bytes, bytearray, memoryview, FileBytes)):
            raise InvalidInput(f"an ssic file is bytes, not {type(data).__name__}; ssic.open takes a path")
        self.head: Head = container.read_head(data, limits)
        self._data = data
        self._model = model
        self._limits = limits
        self._shown = self.head
        self._inner: dict[int, bytes] = {}
        self._faults: dict[int, FormatError] = {}
        self._keyring: Keyring | None = None
        self._signature: Signature | None = None
        if trust is not None:
            from ssic.crypto.signature import check_head

            self._signature = check_head(data, self.head, tuple(trust))
        if identity is not None:
            from ssic.crypto import Keyring

            self._keyring = Keyring(identity, limits, min_version=min_version)
            self._reveal(self._keyring)

    def _reveal(self, keyring: Keyring) -> None:
        """Open what the keys open of hidden entries; one that is damaged stays as it is, and is told of later."""
        for entry in self.head.groups:
            if not entry.hidden:
                continue
            from ssic.crypto.files import open_parts, reveal

            try:
                parts = open_parts(self.head, entry, self._read(entry), keyring)
                self._shown = reveal(self._shown, {entry.id: parts})
            except (DamagedSegment, TruncatedFile, SignatureError, *_SEALED) as e:
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
        return GroupMask(
            self._shown.mask,
            {g.id: g.name for g in self.groups},
            {g.id: g.class_name for g in self.groups if g.class_name is not None},
            {g.id: g.score for g in self.groups if g.score is not None},
        )

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

    def _read(self, entry: GroupEntry) -> bytes:
        """A segment as it lies in the file, checked."""
        segment = container.read_segment(self._data, self.head, entry.id)
        if self._signature is not None:
            self._signature.check(entry, segment)
        return segment

    def _substream(self, entry: GroupEntry) -> bytes:
        """What a decoder takes, opened if need be."""
        if entry.id in self._inner:
            return self._inner[entry.id]
        if not entry.encrypted:
            return self._read(entry)
        if self._keyring is None:
            raise EncryptedSegment(
                f'"{entry.name}" is sealed: give an identity that it was sealed to (--identity FILE), or its passphrase'
            )
        from ssic.crypto.sealed import open_group, wrong_key

        if entry.hidden:  # what the keys open of it has been opened
            raise self._faults.get(entry.id) or wrong_key(entry.name)
        return open_group(self.head, entry, self._read(entry), self._keyring)

    def _segments(self, ids: Iterable[int]) -> tuple[dict[int, bytes], dict[int, FormatError]]:
        intact: dict[int, bytes] = {}
        broken: dict[int, FormatError] = {}
        entries = {entry.id: entry for entry in self.groups}
        for g in ids:
            try:
                intact[g] = self._substream(entries[g])
            except (DamagedSegment, TruncatedFile, SignatureError, *_SEALED) as e:
                broken[g] = e
        return intact, broken

    def decode_pixels(
        self,
        groups: GroupNames | None = None,
        *,
        crop: bool = False,
        strict: bool = False,
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
        if broken and (strict or len(broken) == len(wanted)):
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
            damaged=tuple(self.mask.names[g] for g in sorted(broken) if not isinstance(broken[g], _SEALED)),
            sealed=tuple(self.mask.names[g] for g in sorted(broken) if isinstance(broken[g], _SEALED)),
        )

    def decode(
        self,
        groups: GroupNames | None = None,
        *,
        fill: str = "black",
        crop: bool = False,
        strict: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        progress: Progress = silent,
        _stacklevel: int = 2,
    ) -> NDArray[np.uint8]:
        """Decode some groups, all by default, into a picture; arguments and result as in `ssic.decode`."""
        # A fill that can't be used is refused before the work, not after it.
        compose(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.bool_), fill)
        decoded = self.decode_pixels(
            groups, crop=crop, strict=strict, device=device, precision=precision, progress=progress
        )
        if decoded.damaged:
            text = f"could not be decoded and is left out: {', '.join(decoded.damaged)}"
            warnings.warn(text, DamagedGroups, stacklevel=_stacklevel)
        if decoded.sealed:
            text = f"sealed and left out, for want of a key: {', '.join(decoded.sealed)}"
            warnings.warn(text, SealedGroups, stacklevel=_stacklevel)
        return compose(decoded.pixels, decoded.present, fill)

    def extract(self, groups: GroupNames) -> bytes:
        """A file with these groups only, their bytes unchanged; sealed ones stay sealed. Runs no model.

        Raises:
            UnknownGroup: there is no such group; or it is one that only the identity shows, whose bytes can't be
                told apart within the file (`ssic.decrypt` it first).
        """
        return container.extract(self._data, self.mask.resolve(groups), self._limits)

    def damaged(self) -> list[str]:
        """Names of the groups whose segments are damaged or missing. Runs no model."""
        return [g.name for g in container.check(self._data, self.head)]

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
                    "encrypted": g.encrypted,
                }
                for g in self.groups
            ],
        }


def open(
    path: str | os.PathLike[str],
    *,
    model: str | Path | None = None,
    limits: DecodeLimits | None = None,
    identity: Keys | None = None,
    min_version: int = 0,
    trust: Iterable[VerifyKey] | None = None,
) -> SsicFile:
    """Open a file: reads its head, and later the segments that are asked for. Arguments as for `SsicFile`.

    Raises:
        OSError: the file can't be read.
        FormatError: it is not an intact ssic file.
    """
    return SsicFile(
        FileBytes(path),
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
    model: str | Path | None = None,
    device: str = "cpu",
    limits: DecodeLimits | None = None,
    progress: Progress = silent,
    identity: Keys | None = None,
    trust: Iterable[VerifyKey] | None = None,
) -> NDArray[np.uint8]:
    """Decode a file, or only some of its groups.

    The work grows with the area of the groups, not with the picture, and with `crop` so does the result.

    Args:
        data: the file's bytes.
        groups: names, classes or ids; all by default.
        fill: what stands where no decoded group is: "black", "mean", "transparent" or "#rrggbb".
        crop: cut the result to the box around the decoded groups.
        strict: raise if any of the groups can't be decoded, rather than warn and leave it out.
        model: weights file; by default the installed model that the file names.
        device: of the float networks, as torch names it.
        limits: bounds on what a hostile head may ask for.
        progress: called with the name of each stage as it begins.
        identity: `ssic.Identity`, `ssic.Passphrase` or several of them, to open sealed groups with.
        trust: keys one of which must have signed the file.

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
        groups, fill=fill, crop=crop, strict=strict, device=device, progress=progress, _stacklevel=3
    )


def merge(files: Sequence[Bytes], limits: DecodeLimits | None = None) -> bytes:
    """One file with the groups of several, of the same picture size and model. Runs no model; see
    `ssic.format.merge`."""
    return container.merge(files, limits)
