"""TIFF with YCbCr: read as it is stored, whatever Pillow takes it for, or refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ssic.errors import ImageError
from ssic.pictures.read import load_picture


def ycbcr_tiff(
    strips: list[bytes], subsampling: tuple[int, int] | None, compression: int = 1, planes: bool = False
) -> bytes:
    """A TIFF of 16x16 pixels in YCbCr, as strips of equal height, or planes; other data follow upon them."""
    rows = 16 if planes else 16 // len(strips)
    count = len(strips)
    tags: list[tuple[int, str, tuple[int, ...]]] = [
        *((256, "H", (16,)), (257, "H", (16,)), (258, "H", (8, 8, 8)), (259, "H", (compression,))),
        *((262, "H", (6,)), (273, "I", ()), (277, "H", (3,)), (278, "I", (rows,))),
        *((279, "I", tuple(map(len, strips))), (284, "H", (2 if planes else 1,))),
        *([(530, "H", subsampling)] if subsampling else []),
    ]
    at = 8 + 2 + 12 * len(tags) + 4 + 6 + 8 * count  # what lies outside of the table: bits, places, lengths
    places = [at + sum(map(len, strips[:n])) for n in range(count)]
    table, outside = b"", b""
    for tag, kind, stated in tags:
        values = tuple(places) if tag == 273 else stated
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            start = 8 + 2 + 12 * len(tags) + 4 + len(outside)
            outside += packed
            packed = struct.pack("<I", start)
        table += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + table + bytes(4)
    return (head + outside).ljust(at, b"\0") + b"".join(strips) + bytes(4096)


@pytest.mark.parametrize("strips", [1, 4])
def test_uncompressed_ycbcr_is_read_as_it_is_stored(strips: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("YCbCr")
    rows = np.split(np.asarray(image), strips)
    data = ycbcr_tiff([part.tobytes() for part in rows], (1, 1))
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(load_picture(data).pixels, expected)
    assert np.array_equal(load_picture(Image.open(io.BytesIO(data))).pixels, expected)
    decoded = Image.open(io.BytesIO(data))
    decoded.load()
    if decoded.mode == "YCbCr":
        assert np.array_equal(load_picture(decoded).pixels, expected)
    else:  # as Pillow before 13 has it
        with pytest.raises(ImageError, match="decodes wrongly"):
            load_picture(decoded)


@pytest.mark.parametrize("subsampling", [(2, 2), (2, 1), None])
def test_uncompressed_ycbcr_with_shared_chroma_is_refused(subsampling: tuple[int, int] | None) -> None:
    with pytest.raises(ImageError, match=r"YCbCr with chroma of 2x. pixels, which Pillow can't read"):
        load_picture(ycbcr_tiff([bytes(16 * 16 * 3)], subsampling))


def test_uncompressed_planes_of_ycbcr_are_refused() -> None:
    with pytest.raises(ImageError, match="YCbCr in planes"):
        load_picture(ycbcr_tiff([bytes(256)] * 3, (1, 1), planes=True))


def test_compressed_ycbcr_is_read_by_pillow() -> None:
    # Luma of four pixels, and chroma of them: gray.
    unit = bytes([10, 20, 30, 40, 128, 128])
    data = ycbcr_tiff([zlib.compress(unit * 64)], (2, 2), compression=8)
    expected = np.tile(np.array([[10, 20], [30, 40]], np.uint8), (8, 8))
    assert np.array_equal(load_picture(data).pixels, expected[:, :, None].repeat(3, axis=2))
