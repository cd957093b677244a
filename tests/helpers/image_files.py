"""Picture files that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def png_16(values: np.ndarray, orientation: int | None = None) -> bytes:
    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    exif = Image.Exif()
    exif[0x0112] = orientation or 1
    said = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) if orientation else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + said + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def tiff(
    values: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    deflated: bool = False,
    tags: dict[int, tuple[str, Any]] | None = None,
) -> bytes:
    """A TIFF of one strip, or one a channel; `tags` are added or put in place of others."""
    height, width, channels = values.shape
    parts = [values[:, :, c] for c in range(channels)] if planar else [values]
    data = [part.astype(values.dtype.newbyteorder(order)).tobytes() for part in parts]
    data = [zlib.compress(d) for d in data] if deflated else data
    starts = [8 + sum(map(len, data[:n])) for n in range(len(data))]
    entries: dict[int, tuple[str, Any]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [8 * values.dtype.itemsize] * channels),
        259: ("H", [8 if deflated else 1]), 262: ("H", [2 if channels > 2 else 1]), 273: ("I", starts),
        277: ("H", [channels]),
        278: ("H", [height]), 279: ("I", [len(d) for d in data]), 284: ("H", [2 if planar else 1]),
    } | (tags or {})  # fmt: skip
    at = 8 + sum(map(len, data))
    after = at + 2 + 12 * len(entries) + 4
    ifd, beyond = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(packed) > 4:
            packed, beyond = struct.pack(order + "I", after + len(beyond)), beyond + packed
        ifd += struct.pack(order + "HHI", tag, {"B": 1, "H": 3, "I": 4}[kind], len(numbers)) + packed.ljust(
            4, b"\0"
        )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", at) + b"".join(data) + ifd + bytes(4) + beyond
