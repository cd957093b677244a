"""An opened file: what its head says, and decoding, group by group, what is asked for. `ssic.opening` opens files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import as_mapping, counted, listing
from ssic.blocks import BLOCK
from ssic.codec import Codec, check_quality, check_scale, load_current
from ssic.crypto.access import SEALED, Access, Keys, Trust
from ssic.decoded import DamagedGroups, Decoded, SealedGroups, joined_error, place_blocks
from ssic.describe import describe
from ssic.edit import encode_replacements, load_same_size, lowered
from ssic.engine.base import Engine
from ssic.engine.effort import Stopped, as_stopped, check_effort
from ssic.errors import DamagedSegment, InvalidInput, ModelError, TruncatedFile, UnknownGroup
from ssic.format import ICC, DecodeLimits, GroupEntry, Head, check_clear
from ssic.format import drop as drop_groups
from ssic.format import extract as extract_groups
from ssic.format import reorder as reorder_groups
from ssic.format import replace as replace_segments
from ssic.format.limits import checked_limits
from ssic.groups.mask import GroupMask
from ssic.model.weights import find_by_id, find_weights
from ssic.notebook import html, outlined_png
from ssic.pictures.fill import Fill, check_fill, compose
from ssic.pictures.read import ImageSource
from ssic.progress import Progress, as_progress
from ssic.storage.atomic import write_whole
from ssic.storage.source import Bytes, as_bytes

GroupNames = Iterable[str | int] | str | int
"""Names, classes or ids of groups."""


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

    `bytes(file)` are the bytes of the file, and `file.save(path)` writes them. `extract`, `drop`, `reorder`, `replace`
    and `set_quality` give another `SsicFile`; it has the model and the limits of this one, but neither keys nor trust.

    It holds no file open: `with` is allowed, and closes nothing. Iterating gives the groups; `file["face"]` is the one
    of that name, or id. It can be pickled, for other processes, unless it was opened with keys; of a file on a disk the
    path is pickled, not the bytes.

    Attributes:
        head: everything that the head says (`ssic.format.Head`).
        mask: the groups and their blocks.
        access: the bytes, and what keys and trust reveal of them (`ssic.crypto.access.Access`).
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
                (`ssic.open` takes paths and all the rest.)
            model: to decode with, a preset that comes with the package or the path of a weights file; by default the
                installed model that the file names.
            limits: bounds on what the head may ask for.
            identity: keys and passphrases that sealed groups are opened with, as they are needed. Groups whose
                names and outlines are sealed are opened at once: `groups` and `mask` show those that the keys open.
            min_version: take sealed groups of earlier versions for damaged.
            trust: one or more keys, one of which must have signed the file. Whatever is read is checked before it is
                used, also if the file is exchanged in the meantime.

        Raises:
            FormatError: not an intact ssic file; see `ssic.errors`.
            SignatureError: it is not signed by one of the keys in `trust`, or was changed since.
        """
        if isinstance(data, SsicFile):
            raise InvalidInput("this file is open already: call its own methods, such as .decode(...)")
        if isinstance(identity, Iterable):
            identity = list(identity)  # it may be asked for again
        limits = checked_limits(limits)
        self.access = Access(as_bytes(data), limits, identity=identity, min_version=min_version, trust=trust)
        self.head: Head = self.access.head
        self._options: dict[str, Any] = {
            "model": model,
            "limits": limits,
            "identity": identity,
            "min_version": min_version,
            "trust": None if self.access.signer is None else [self.access.signer],
        }

    def with_content(self, data: bytes) -> SsicFile:
        """A file that was made from this one: with its model and limits, without its keys and trust."""
        return SsicFile(data, model=self._options["model"], limits=self.limits)

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments that it was opened with, by name, for opening it anew."""
        return MappingProxyType(self._options)

    @property
    def limits(self) -> DecodeLimits:
        """The bounds that it was opened with."""
        limits: DecodeLimits = self._options["limits"]
        return limits

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.head.width

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return self.head.height

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.head.width, self.head.height

    @property
    def groups(self) -> tuple[GroupEntry, ...]:
        """The groups, in ascending order of id; with an identity, as it shows them."""
        return self.access.shown.groups

    @property
    def names(self) -> tuple[str, ...]:
        """Names of `groups`."""
        return tuple(entry.name for entry in self.groups)

    @property
    def icc(self) -> bytes | None:
        """ICC profile of the pixels."""
        return self.head.chunks.get(ICC)

    @cached_property
    def mask(self) -> GroupMask:
        """Which group owns each block, with names, classes and scores."""
        return group_mask(self.access.shown)

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
        return {name: value for name, value in vars(self).items() if name != "_preview"}

    def __bytes__(self) -> bytes:
        """All bytes of the file; with `trust`, as they were signed.

        Raises:
            TruncatedFile: the file ends too early.
            SignatureError: opened with `trust`, and a segment is not as it was signed.
        """
        return self.access.whole()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file: whole, or not at all; also over the one that it was opened from.

        Raises:
            OSError: it can't be written.
            TruncatedFile, SignatureError: as `bytes(file)`.
        """
        write_whole(path, bytes(self))

    @cached_property
    def _preview(self) -> bytes | None:
        """A PNG of what can be decoded, outlined; None if nothing can."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return outlined_png(self.decode_pixels(), self.mask, self.icc)
        except Exception:  # a notebook shows what it can: the table still tells what is in the file
            return None

    def _repr_png_(self) -> bytes | None:
        """For notebooks: the picture with its groups; None if no group can be decoded."""
        return self._preview

    def _repr_html_(self) -> str:
        """For notebooks: the picture with its groups, if it can be decoded, and a table of them."""
        return html(self.size, self.groups, self.head.file_bytes, self._preview)

    def codec(self, *, engine: str | Engine = "auto") -> Codec:
        """The codec that decodes this file.

        Raises:
            UnknownModel: the model that the file names is not installed.
            ModelError: the model given when opening is not the one that the file was made with.
        """
        model = self._options["model"]
        path = find_by_id(self.head.model_id) if model is None else find_weights(model)
        codec = load_current(path, engine)
        if codec.model_id != self.head.model_id:
            raise ModelError(
                f"{path} is model {codec.model_id.hex()}; the file needs {self.head.model_id.hex()}"
            )
        return codec

    def decode_pixels(
        self,
        groups: GroupNames | None = None,
        *,
        crop: bool = False,
        strict: bool = False,
        partial: bool = False,
        scale: int = 1,
        engine: str | Engine = "auto",
        progress: Progress | None = None,
    ) -> Decoded:
        """Decode some groups, all by default, and say where their pixels are; arguments as in `ssic.decode`.

        Raises:
            UnknownGroup: the file has no such group.
            LimitExceeded: it would take more memory than `DecodeLimits.max_memory` allows.
            DamagedSegment, EncryptedSegment, TruncatedFile: not one of the groups can be decoded; or not all, if
                `strict`. (`WrongKey` and `TamperedSegment` are of these kinds.)
            UnknownModel: see `codec`.
        """
        wanted = self.mask.groups if groups is None else self.mask.resolve(groups)
        scale = check_scale(scale)
        if not wanted:
            raise InvalidInput("no group was asked for: name one, or leave `groups` out for all")
        blocks = int(np.isin(self.access.shown.mask, wanted).sum())
        self.limits.check_decoding(blocks * BLOCK**2, *self.size, scale)
        segments, broken = self.access.substreams(wanted)
        if not segments:
            raise joined_error(broken)
        quality = {g.id: g.quality for g in self.groups}
        codec = self.codec(engine=engine)
        ids, progress = self.access.shown.mask, as_progress(progress)
        if scale == 1:
            plan, pixels, damaged = codec.decode_blocks(ids, quality, segments, progress)
        else:
            plan, pixels, damaged = codec.decode_reduced(self.size, ids, quality, segments, scale, progress)
        for g in damaged:
            name = self.mask.names[g]
            broken[g] = DamagedSegment(f'the substream of "{name}" contradicts itself', [name])
        missing = [g for g, e in broken.items() if partial and isinstance(e, TruncatedFile)]
        if len(broken) == len(wanted) or (strict and len(broken) > len(missing)):
            raise joined_error(broken)

        shown = np.isin(self.access.shown.mask, [g for g in segments if g not in damaged])
        return Decoded(
            *place_blocks(plan.block, pixels, shown, self.size, crop, scale),
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
        scale: int = 1,
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
            scale=scale,
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
        if hidden := [self.mask.names[g] for g in ids if g in self.access.hidden]:
            raise UnknownGroup(
                f"hidden in the file, so that it can't be changed alone: {', '.join(hidden)}; decrypt first"
            )
        return ids

    def _but(self, ids: Iterable[int]) -> Bytes:
        """What the segments of all other groups are copied from."""
        return self.access.to_copy([g for g in self.head.order if g not in set(ids)])

    def extract(self, groups: GroupNames) -> SsicFile:
        """A file with these groups only, their bytes unchanged; sealed ones stay sealed. Runs no model.

        Raises:
            UnknownGroup: there is no such group; or it is one that only the identity shows, whose bytes can't be
                told apart within the file (`ssic.decrypt` it first).
        """
        ids = self._in_file(groups)
        return self.with_content(extract_groups(self.access.to_copy(ids), ids, head=self.head))

    def drop(self, groups: GroupNames) -> SsicFile:
        """A file without these groups, the bytes of the others unchanged. Runs no model, and reads the others only.

        Raises:
            InvalidInput: no group would be left.
            UnknownGroup, DamagedSegment, TruncatedFile: about the groups to be dropped, or those to be kept.
        """
        ids = self._in_file(groups)
        return self.with_content(drop_groups(self._but(ids), ids, head=self.head))

    def reorder(self, first: GroupNames) -> SsicFile:
        """The same file with the segments of these groups first, in this order; the others follow, smallest first,
        background last. Runs no model."""
        return self.with_content(reorder_groups(self.access.to_copy(), self._in_file(first), head=self.head))

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
    ) -> SsicFile:
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
        effort, stopped = check_effort(effort), as_stopped(stopped)
        ids = self._in_file(groups)
        if not ids:
            raise InvalidInput("no group is to be replaced: name one")
        check_clear(self.head, ids)
        now = {g.id: g.quality for g in self.groups}
        qualities = {g: now[g] if quality is None else check_quality(quality) for g in ids}
        picture = load_same_size(image, self.size, self.icc)
        codec = self.codec(engine=engine)
        progress = as_progress(progress)
        new = encode_replacements(codec, picture.pixels, self.head.mask, qualities, progress, effort, stopped)
        return self.with_content(replace_segments(self._but(new), new, head=self.head, metadata=False))

    def set_quality(
        self,
        group_quality: Mapping[str | int, int],
        original: ImageSource | None = None,
        *,
        engine: str | Engine = "auto",
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
    ) -> SsicFile:
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
        effort, stopped = check_effort(effort), as_stopped(stopped)
        progress = as_progress(progress)
        named = self.mask.assign(as_mapping(group_quality, "group_quality"), "group_quality")
        ids = self._in_file(list(named))
        check_clear(self.head, ids)
        qualities = {g: check_quality(q) for g, q in named.items()}
        if original is not None:
            pixels = load_same_size(original, self.size, self.icc).pixels
        else:
            qualities = lowered(qualities, {g.id: g.quality for g in self.groups}, self.mask.names)
            if qualities:
                pixels = self.decode_pixels(
                    [*qualities], strict=True, engine=engine, progress=progress
                ).pixels
        new = {}
        if qualities:
            codec = self.codec(engine=engine)
            new = encode_replacements(codec, pixels, self.head.mask, qualities, progress, effort, stopped)
        return self.with_content(replace_segments(self._but(new), new, head=self.head))

    def damaged(self) -> list[str]:
        """Names of the groups whose segments are damaged or missing, or, with `trust`, not those that were signed.
        Hidden ones go by their public names. Runs no model."""
        return [g.name for g in self.access.damaged()]

    def info(self) -> dict[str, Any]:
        """What `ssic info --json` prints. Runs no model."""
        return describe(self.head, self.groups, self.access.opening_bytes, self.transfer)

    def transfer(self, groups: GroupNames) -> int:
        """Bytes that reading these groups from a URL takes: their segments, without what came when the file was opened
        (`info()["transfer"]["head"]`; with an identity, hidden groups too), with small gaps between them."""
        return self.access.bytes_of(self.mask.resolve(groups))
