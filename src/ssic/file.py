"""An opened file: what its head says, and decoding, group by group, what is asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ssic import format as container
from ssic.arguments import as_mapping, counted, listing, type_name
from ssic.codec import Codec, Progress, as_progress, load_current
from ssic.decoded import SEALED, all_of, placed
from ssic.decoded import DamagedGroups as DamagedGroups
from ssic.decoded import Decoded as Decoded
from ssic.decoded import SealedGroups as SealedGroups
from ssic.engine.base import Engine
from ssic.engine.effort import Stopped, as_stopped, check_effort
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    InvalidInput,
    ModelError,
    SignatureError,
    TruncatedFile,
    UnknownGroup,
)
from ssic.format import DecodeLimits, GroupEntry, Head
from ssic.format.container import whole_segments
from ssic.groups.mask import GroupMask
from ssic.model.weights import find_by_id, find_weights
from ssic.pictures.fill import Fill, check_fill, compose
from ssic.pictures.read import ImageSource
from ssic.storage.opening import open_source
from ssic.storage.source import FIRST_BYTES, Bytes, as_bytes, joined

if TYPE_CHECKING:
    from ssic.crypto import Keyring, VerifyKey
    from ssic.crypto.signature import Signature
    from ssic.crypto.wrap import Key

    Keys = Key | Iterable[Key]
    Trust = VerifyKey | Iterable[VerifyKey]

GroupNames = Iterable[str | int] | str | int


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

    It holds no file open: `with` is allowed, and closes nothing. Iterating gives the groups; `file["face"]` is the one
    of that name, or id. It can be pickled, for other processes, unless it was opened with keys; of a file on a disk the
    path is pickled, not the bytes.

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
            data: the file's bytes, or a `ssic.storage.source.ByteSource`, of which only what is needed is read.
            model: to decode with, a preset that comes with the package or the path of a weights file; by default the
                installed model that the file names.
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
        if isinstance(data, SsicFile):
            raise InvalidInput("this file is open already: call its own methods, such as .decode(...)")
        data = as_bytes(data)
        self.head: Head = container.read_head(data, limits)
        self._data = data
        self._model = model
        self._shown = self.head
        self._inner: dict[int, bytes] = {}
        self._faults: dict[int, FormatError] = {}
        self._keyring: Keyring | None = None
        self._signature: Signature | None = None
        if trust is not None:
            from ssic.crypto.keys import trusted
            from ssic.crypto.signature import check_head

            self._signature = check_head(data, self.head, trusted(trust))
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
            except (DamagedSegment, SignatureError, *SEALED) as e:
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
    def names(self) -> tuple[str, ...]:
        """Names of `groups`."""
        return tuple(entry.name for entry in self.groups)

    @property
    def icc(self) -> bytes | None:
        """ICC profile of the pixels."""
        return self.head.chunks.get(container.ICC)

    @cached_property
    def mask(self) -> GroupMask:
        """Which group owns each block, with names, classes and scores."""
        return group_mask(self._shown)

    def __repr__(self) -> str:
        width, height = self.size
        return f"<SsicFile {width}x{height} pixels, {counted(len(self), 'group')}: {listing(self.names, 8)}>"

    def __iter__(self) -> Iterator[GroupEntry]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __contains__(self, group: object) -> bool:
        """Whether a group is called so: by name, class or id."""
        return group in self.mask

    def __getitem__(self, group: str | int) -> GroupEntry:
        """The one group of this name, class or id (`UnknownGroup`, if it is not exactly one)."""
        entries = {entry.id: entry for entry in self.groups}
        named = [g for g, entry in entries.items() if isinstance(group, str) and entry.name == group]
        ids = named or self.mask.resolve([group])
        if len(ids) > 1:
            names = listing([entries[g].name for g in ids])
            raise UnknownGroup(f'"{group}" is more than one group: {names}; name one of them')
        return entries[ids[0]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        data = bytes(self._data) if isinstance(self._data, memoryview) else self._data
        return vars(self) | {"_data": data}

    def codec(self, *, engine: str | Engine = "auto") -> Codec:
        """The codec that decodes this file.

        Raises:
            UnknownModel: the model that the file names is not installed.
            ModelError: the model given when opening is not the one that the file was made with.
        """
        path = find_by_id(self.head.model_id) if self._model is None else find_weights(self._model)
        codec = load_current(path, engine)
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
            except (DamagedSegment, SignatureError, *SEALED) as e:
                broken[g] = e
        return intact, broken

    def decode_pixels(
        self,
        groups: GroupNames | None = None,
        *,
        crop: bool = False,
        strict: bool = False,
        partial: bool = False,
        engine: str | Engine = "auto",
        progress: Progress | None = None,
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
            raise all_of(broken)
        quality = {g.id: g.quality for g in self.groups}
        codec = self.codec(engine=engine)
        plan, pixels, damaged = codec.decode_blocks(
            self._shown.mask, quality, segments, as_progress(progress)
        )
        for g in damaged:
            name = self.mask.names[g]
            broken[g] = DamagedSegment(f'the substream of "{name}" contradicts itself', [name])
        missing = [g for g, e in broken.items() if partial and isinstance(e, TruncatedFile)]
        if len(broken) == len(wanted) or (strict and len(broken) > len(missing)):
            raise all_of(broken)

        shown = np.isin(self._shown.mask, [g for g in segments if g not in damaged])
        return Decoded(
            *placed(plan.block, pixels, shown, self.size, crop),
            damaged=tuple(
                self.mask.names[g]
                for g in sorted(broken)
                if g not in missing and not isinstance(broken[g], SEALED)
            ),
            missing=tuple(self.mask.names[g] for g in sorted(missing)),
            sealed=tuple(self.mask.names[g] for g in sorted(broken) if isinstance(broken[g], SEALED)),
        )

    def decode(
        self,
        groups: GroupNames | None = None,
        *,
        fill: Fill = "black",
        crop: bool = False,
        strict: bool = False,
        partial: bool = False,
        engine: str | Engine = "auto",
        progress: Progress | None = None,
        _stacklevel: int = 2,
    ) -> NDArray[np.uint8]:
        """Decode some groups, all by default, into a picture; arguments and result as in `ssic.decode`."""
        # A fill that can't be used is refused before the work, not after it.
        check_fill(fill)
        decoded = self.decode_pixels(
            groups,
            crop=crop,
            strict=strict,
            partial=partial,
            engine=engine,
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

    def _others(self, ids: Iterable[int]) -> list[int]:
        return [g for g in self.head.order if g not in set(ids)]

    def _copied(self, ids: Iterable[int]) -> Bytes:
        """What the segments `ids` are copied from; with `trust`, once it is seen that they were signed so."""
        if self._signature is None:
            return self._data
        data = bytearray(self.head.file_bytes)  # holds what was checked, and nothing else
        segments = whole_segments(self._data, self.head, ids)
        for entry in self.head.groups:
            if entry.id in segments:
                segment = self._signed(entry, segments[entry.id].payload)
                data[entry.offset : entry.offset + entry.length] = segment
        return bytes(data)

    def extract(self, groups: GroupNames) -> bytes:
        """A file with these groups only, their bytes unchanged; sealed ones stay sealed. Runs no model.

        Raises:
            UnknownGroup: there is no such group; or it is one that only the identity shows, whose bytes can't be
                told apart within the file (`ssic.decrypt` it first).
        """
        ids = self._in_file(groups)
        return container.extract(self._copied(ids), ids, head=self.head)

    def drop(self, groups: GroupNames) -> bytes:
        """A file without these groups, the bytes of the others unchanged. Runs no model, and reads the others only.

        Raises:
            InvalidInput: no group would be left.
            UnknownGroup, DamagedSegment, TruncatedFile: about the groups to be dropped, or those to be kept.
        """
        ids = self._in_file(groups)
        return container.drop(self._copied(self._others(ids)), ids, head=self.head)

    def reorder(self, first: GroupNames) -> bytes:
        """The same file with the segments of these groups first, in this order; the others follow, smallest first,
        background last. Runs no model."""
        return container.reorder(self._copied(self.head.order), self._in_file(first), head=self.head)

    def replace(
        self,
        groups: GroupNames,
        image: ImageSource,
        *,
        quality: int | None = None,
        engine: str | Engine = "auto",
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
    ) -> bytes:
        """A file in which these groups show what another picture has in their place. The mask and the bytes of all
        other groups stay. EXIF and XMP, which may show what was replaced, do not.

        Args:
            groups: names, classes or ids. Their old segments are not read: they may be damaged.
            image: as for `ssic.encode`, of the size of this one.
            quality: of the new segments; by default that of the old ones.
            effort: 1 to 9, as for `ssic.encode`.
            stopped: asked often while latents are refined: once it returns True, the best so far is taken.

        Raises:
            ImageError: the picture can't be coded, or has another size.
            EncryptedSegment: one of the groups is encrypted.
            UnknownGroup, DamagedSegment, TruncatedFile, InvalidInput, UnknownModel.
        """
        from ssic.edit import new_pixels

        effort = check_effort(effort)
        ids = self._in_file(groups)
        if not ids:
            raise InvalidInput("no group is to be replaced: name one")
        recoded = new_pixels(
            self, ids, image, quality, engine, as_progress(progress), effort, as_stopped(stopped)
        )
        data = self._copied(self._others(recoded))
        return container.replace(data, recoded, head=self.head, metadata=False)

    def set_quality(
        self,
        group_quality: Mapping[str | int, int],
        original: ImageSource | None = None,
        *,
        engine: str | Engine = "auto",
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
    ) -> bytes:
        """A file in which some groups have another quality. The bytes of all other groups stay.

        Args:
            group_quality: by group name, class or id; a name or id goes before a class.
            original: the picture that the file was made from, as for `ssic.encode`. With it the segments are those
                that encoding it at these qualities gives. Without it they are made from the decoded pixels: qualities
                can only be lowered, and some PSNR is lost on top of what the lower quality costs (docs/access.md).
            effort: 1 to 9, as for `ssic.encode`.
            stopped: asked often while latents are refined: once it returns True, the best so far is taken.

        Raises:
            InvalidInput: a quality is not in 1 to 100, higher than now without `original`, or one of two for a group.
            ImageError: the original can't be coded, or has another size.
            EncryptedSegment: one of the groups is encrypted.
            UnknownGroup, DamagedSegment, TruncatedFile, UnknownModel.
        """
        from ssic.edit import new_quality

        effort = check_effort(effort)
        qualities = self.mask.assign(as_mapping(group_quality, "group_quality"), "group_quality")
        self._in_file(list(qualities))
        recoded = new_quality(
            self, qualities, original, engine, as_progress(progress), effort, as_stopped(stopped)
        )
        return container.replace(self._copied(self._others(recoded)), recoded, head=self.head)

    def damaged(self) -> list[str]:
        """Names of the groups whose segments are damaged or missing, or, with `trust`, not those that were signed.
        Hidden ones go by their public names. Runs no model."""
        good = None if self._signature is None else self._signature.covers
        return [g.name for g in container.check(self._data, self.head, good)]

    def signed_bytes(self) -> Bytes:
        """What the file was opened from, for functions that read it without `trust`.

        Raises:
            SignatureError: it was opened with `trust`, and is not as it was signed.
        """
        if self._signature is None:
            return self._data
        from ssic.crypto.signature import verify

        data = bytes(self._data[: self.head.file_bytes])  # read once: what is checked is what is used
        verify(data, [self._signature.key])
        return data

    def info(self) -> dict[str, Any]:
        """What `ssic info --json` prints. Runs no model."""
        from ssic.describe import describe

        return describe(self)

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

    @property
    def opening_bytes(self) -> int:
        """Bytes that opening it from a URL takes."""
        return self._first_bytes() + self._read_bytes(self._read_when_opened())

    def _first_bytes(self) -> int:
        return max(self.head.head_bytes, min(FIRST_BYTES, self.head.file_bytes))


def open(
    path: str | os.PathLike[str] | IO[bytes],
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
            the file systems installed for it take. Or an open binary file, such as `io.BytesIO`, which is read to its
            end at once. (The bytes of a file go to `SsicFile`.)
        model: preset or weights file to decode with; by default the installed model that the file names.
        limits: bounds on what the head may ask for.
        storage_options: of fsspec's file system, such as ``{"headers": {...}}``.
        prefix: read no more than so many bytes, all at once if it is a URL; then decode with `partial`.

    Raises:
        OSError: the file can't be read; its `filename` is the URL, without user, password and query.
        InvalidInput: nothing here reads such URLs, or another argument can't be used.
        FormatError: it is not an intact ssic file.
    """
    return SsicFile(
        open_source(path, as_mapping(storage_options, "storage_options"), prefix=prefix),
        model=model,
        limits=limits,
        identity=identity,
        min_version=min_version,
        trust=trust,
    )


def decode(
    data: Bytes,
    groups: GroupNames | None = None,
    *,
    fill: Fill = "black",
    crop: bool = False,
    strict: bool = False,
    partial: bool = False,
    model: str | Path | None = None,
    engine: str | Engine = "auto",
    limits: DecodeLimits | None = None,
    progress: Progress | None = None,
    identity: Keys | None = None,
    trust: Trust | None = None,
) -> NDArray[np.uint8]:
    """Decode a file, or only some of its groups.

    The work grows with the area of the groups, not with the picture, and with `crop` so does the result.

    Args:
        data: the file's bytes.
        groups: names, classes or ids; all by default.
        fill: what stands where no decoded group is: "black", "mean", "transparent", "#rrggbb" or (red, green, blue).
        crop: cut the result to the box around the decoded groups.
        strict: raise if any of the groups can't be decoded, rather than warn and leave it out.
        partial: these are the first bytes of a file: that groups lie behind their end is no damage, and they are
            left out without a warning (`SsicFile.decode_pixels` lists them).
        model: preset that comes with the package, or path of a weights file; by default the installed model that the
            file names.
        engine: what runs the float networks: "auto", "onnx", "torch", "torch:cuda", or an engine.
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
        InvalidInput: an argument can't be used: `ImageError` for the fill, `UnknownGroup` for groups.
        SignatureError: the file is not signed by one of the keys in `trust`, or was changed since.
        UnknownModel: the file was made with a model that is not installed.
        ModelError: `model` is not the one that the file was made with.
        EngineError: the engine is not installed, or its device is not there.
    """
    opened = SsicFile(data, model=model, limits=limits, identity=identity, trust=trust)
    return opened.decode(
        groups,
        fill=fill,
        crop=crop,
        strict=strict,
        partial=partial,
        engine=engine,
        progress=progress,
        _stacklevel=3,
    )


def merge(files: Iterable[Bytes | SsicFile], limits: DecodeLimits | None = None) -> bytes:
    """One file with the groups of several, of the same picture size and model. Runs no model; see
    `ssic.format.merge`."""
    if isinstance(files, (str, bytes, bytearray, memoryview, SsicFile)) or not isinstance(files, Iterable):
        raise InvalidInput(f"merge takes a list of files, [one, another], not {type_name(files)} alone")
    return container.merge([bytes_of(file) for file in files], limits)


def bytes_of(file: Bytes | SsicFile) -> Bytes:
    """The bytes that a function which makes another file of one is given; of an opened file, all that it was opened
    from.

    Raises:
        InvalidInput: it is no file.
        SignatureError: it was opened with `trust`, and a segment is not as it was signed.
    """
    if not isinstance(file, SsicFile):
        return as_bytes(file, "its bytes, or what ssic.open returns, were expected")
    return file.signed_bytes()
