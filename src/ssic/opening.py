"""Files in, by path, URL or content: opening them, decoding them at once, merging several."""

from __future__ import annotations

import builtins
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import as_mapping, type_name
from ssic.codec import Encoding
from ssic.crypto.access import Keys, Trust
from ssic.engine.base import Engine
from ssic.errors import InvalidInput
from ssic.file import GroupNames, SsicFile
from ssic.format import DecodeLimits
from ssic.format import merge as merge_files
from ssic.pictures.fill import Fill
from ssic.progress import Progress
from ssic.storage.places import open_source
from ssic.storage.source import ByteSource

FileSource = (
    str
    | os.PathLike[str]
    | builtins.bytes
    | bytearray
    | memoryview
    | IO[builtins.bytes]
    | ByteSource
    | Encoding
    | SsicFile
)
"""What a file is given as: its path or URL, its bytes, a binary file, what `Codec.encode` gives, or an opened file."""


def open(
    file: FileSource,
    *,
    model: str | Path | None = None,
    limits: DecodeLimits | None = None,
    storage_options: Mapping[str, Any] | None = None,
    prefix: int | None = None,
    protocols: Collection[str] = (),
    identity: Keys | None = None,
    min_version: int | None = None,
    trust: Trust | None = None,
) -> SsicFile:
    """Open a file: reads its head, and later the segments that are asked for.

    Args:
        file: the path of a file, or a URL: "https://..." (`pip install "ssic[http]"`), "s3://...", "gs://...", "az://..."
            with the file systems that fsspec names for them. Or the bytes of a file, or a file that is open in binary
            mode, such as `io.BytesIO`, which is read to its end at once. Or a file that is open already: it itself, or,
            if other arguments are given, opened anew with these; what is not given stays as it was.
        model: preset or weights file to decode with; by default the installed model that the file names.
        limits: bounds on what the head may ask for.
        storage_options: of fsspec's file system, such as ``{"headers": {...}}``; of use with URLs only.
        prefix: read no more than so many bytes, all at once if it is a URL; then decode with `partial`.
        protocols: others of fsspec's that a URL may name, also in a chain (`zip://a.ssic::https://...`). Some of them
            read, cache or run what they find at a second place: allow them only for URLs of people whom you trust.
        identity: keys and passphrases that sealed groups are opened with, as for `SsicFile`.
        min_version: take sealed groups of earlier versions for damaged.
        trust: one or more keys, one of which must have signed the file.

    Raises:
        OSError: the file can't be read; its `filename` is the URL, without user, password and query.
        InvalidInput: nothing here reads such URLs, or another argument can't be used.
        FormatError: it is not an intact ssic file.
        SignatureError: it is not signed by one of the keys in `trust`, or was changed since.
    """
    storage_options = as_mapping(storage_options, "storage_options")
    options: dict[str, Any] = {
        "model": model,
        "limits": limits,
        "identity": identity,
        "min_version": min_version,
        "trust": trust,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(file, SsicFile):
        if not options and prefix is None:
            return file
        options = {**file.options, **options}
        file = file.access.data
    elif isinstance(file, Encoding):
        file = file.data
    return SsicFile(open_source(file, storage_options, prefix=prefix, protocols=protocols), **options)


def decode(
    file: FileSource,
    groups: GroupNames | None = None,
    *,
    fill: Fill = "black",
    crop: bool = False,
    strict: bool = False,
    partial: bool = False,
    scale: int = 1,
    model: str | Path | None = None,
    engine: str | Engine = "auto",
    limits: DecodeLimits | None = None,
    progress: Progress | None = None,
    identity: Keys | None = None,
    min_version: int | None = None,
    trust: Trust | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> NDArray[np.uint8]:
    """Decode a file, or only some of its groups.

    The work grows with the area of the groups, not with the picture, and with `crop` so does the result.

    Args:
        file: as for `ssic.open`: a path, a URL, bytes, a binary file, or an opened file.
        groups: names, classes or ids; all by default.
        fill: what stands where no decoded group is: "black", "mean", "transparent", "#rrggbb" or (red, green, blue).
        crop: cut the result to the box around the decoded groups.
        strict: raise if any of the groups can't be decoded, rather than warn and leave it out.
        partial: these are the first bytes of a file: that groups lie behind their end is no damage, and they are
            left out without a warning (`SsicFile.decode_pixels` lists them).
        scale: 4, 8 or 16 for 1/4, 1/8 or 1/16 of the width and of the height, rounded up: in a sixth to a
            twentieth of the time of decoding in full, and not quite the same as shrinking that (docs/access.md,
            "Small pictures").
        model: preset that comes with the package, or path of a weights file; by default the installed model that the
            file names.
        engine: what runs the float networks: "auto", "onnx", "torch", "torch:cuda", or an engine. With a scale none
            are run.
        limits: bounds on what a hostile head may ask for.
        progress: called with the name of each stage as it begins.
        identity: `ssic.Identity`, `ssic.Passphrase` or several of them, to open sealed groups with.
        min_version: take sealed groups of earlier versions for damaged.
        trust: one or more keys, one of which must have signed the file.
        storage_options: of fsspec's file system, for URLs.

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
    opened = open(
        file,
        model=model,
        limits=limits,
        storage_options=storage_options,
        identity=identity,
        min_version=min_version,
        trust=trust,
    )
    return opened.decode(
        groups,
        fill=fill,
        crop=crop,
        strict=strict,
        partial=partial,
        scale=scale,
        engine=engine,
        progress=progress,
        _stacklevel=3,
    )


def merge(files: Iterable[FileSource], limits: DecodeLimits | None = None) -> SsicFile:
    """One file with the groups of several, of the same picture size and model, for instance of several `extract`\\ s.
    Runs no model. Where ids or names meet, the first file keeps its own; later ones get a free id, and a name with a
    free number ("person 2").

    Args:
        files: each as for `ssic.open`.
        limits: bounds on what the heads may ask for.

    Raises:
        InvalidInput: no files, other size or other model than the first, or encrypted groups that can't be in one file.
        MaskError: two groups own the same block.
        FormatError: a file is damaged or not whole.
        OSError: a file can't be read.
    """
    alone = isinstance(files, (str, os.PathLike, bytes, bytearray, memoryview, SsicFile, Encoding))
    if alone or not isinstance(files, Iterable):
        raise InvalidInput(f"merge takes a list of files, [one, another], not {type_name(files)} alone")
    opened = [open(file, limits=limits) for file in files]
    if not opened:
        raise InvalidInput("merge needs at least one file")
    data = merge_files([file.access.to_copy() for file in opened], limits or opened[0].limits)
    return opened[0].with_content(data)
