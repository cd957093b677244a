"""What lies at a place, whatever that is: a path, a URL, an open binary file, or the bytes themselves."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection, Mapping
from typing import IO, Any

from ssic.arguments import is_whole, type_name
from ssic.errors import InvalidInput
from ssic.storage.remote import open_url
from ssic.storage.source import FIRST_BYTES, Bytes, ByteSource, FileBytes, Prefix, as_bytes, is_url


def open_source(
    place: str | os.PathLike[str] | IO[bytes] | Bytes,
    options: Mapping[str, Any] | None = None,
    *,
    prefix: int | None = None,
    protocols: Collection[str] = (),
) -> Bytes:
    """The file at a path or URL, the rest of an open binary file, or the file whose bytes these are.

    Args:
        options: of fsspec's file system; of no use with paths.
        prefix: read no more than so many bytes from the start; of a URL, all of them at once.
        protocols: which a URL may name besides `ssic.storage.urls.PROTOCOLS`, also in a chain.

    Raises:
        InvalidInput: such URLs are not read, or nothing here can; a prefix without a byte, or no place at all.
        OSError: the file can't be read.
    """
    if prefix is not None and not (is_whole(prefix) and prefix >= 1):
        raise InvalidInput(f"a prefix of {prefix!r} bytes: an integer, at least 1, is needed")
    if isinstance(place, (bytes, bytearray, memoryview, ByteSource)):
        data = as_bytes(place)
        if prefix is None:
            return data
        return (
            Prefix(data, int(prefix))
            if isinstance(data, ByteSource)
            else data[: min(int(prefix), sys.maxsize)]
        )
    if hasattr(place, "read"):
        data = place.read() if prefix is None else place.read(min(int(prefix), sys.maxsize))
        return as_bytes(data, "the file must be open in binary mode")
    if not isinstance(place, (str, os.PathLike)) or not isinstance(os.fspath(place), str):
        raise InvalidInput(
            f"an ssic file is given by its path or URL, as bytes, as a binary file, or as ssic.open returns it, not "
            f"as {type_name(place)}"
        )
    if not os.fspath(place):  # which pathlib takes for the current folder
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    source: ByteSource
    if is_url(place):
        source = open_url(str(place), options, FIRST_BYTES if prefix is None else prefix, protocols)
    else:
        try:
            source = FileBytes(place)
        except ValueError as error:  # a NUL
            raise InvalidInput(f"{os.fspath(place)!r} is no path: {error}") from error
    return source if prefix is None else Prefix(source, prefix)
