"""TIFF with YCbCr that is not compressed. Pillow takes all of it for samples side by side, and before 13 for RGB with a
byte to spare, without a word where the file is long enough. So it is told how they lie, or they are refused."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ssic.errors import ImageError
from ssic.pictures.depth import keep_facts

_COMPRESSION, _PHOTOMETRIC, _PLANES, _SUBSAMPLING = 259, 262, 284, 530
_YCBCR, _UNCOMPRESSED, _SEPARATE = 6, 1, 2


def uncompressed_ycbcr(image: Image.Image, shown: str) -> Image.Image:
    """An image of Pillow as YCbCr if that is what it is, else as it is.

    Raises:
        ImageError: it has planes, or chroma of several pixels at once, or Pillow has decoded it already, wrongly.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or (tags.get(_PHOTOMETRIC), tags.get(_COMPRESSION, 1)) != (_YCBCR, _UNCOMPRESSED):
        return image
    subsampling = tuple(tags.get(_SUBSAMPLING, (2, 2)))  # the TIFF specification has this default
    if subsampling != (1, 1) or tags.get(_PLANES) == _SEPARATE:
        how = (
            "in planes"
            if subsampling == (1, 1)
            else f"with chroma of {subsampling[0]}x{subsampling[1]} pixels"
        )
        raise ImageError(
            f"{shown} is a TIFF of uncompressed YCbCr {how}, which Pillow can't read: compress it first, for example "
            "with: tiffcp -c zip IN OUT.tif"
        )
    if image.mode == "YCbCr":
        return image
    tiles: list[Any] = getattr(image, "tile", None) or []
    if not tiles:
        raise ImageError(
            f"{shown} is a TIFF of uncompressed YCbCr, which this version of Pillow decodes wrongly: pass its path "
            "or bytes rather than the image"
        )
    image.tile = [tile._replace(args=("RGB", *tile[3][1:])) for tile in tiles]  # type: ignore[attr-defined]
    return keep_facts(image, Image.frombytes("YCbCr", image.size, image.tobytes()))
