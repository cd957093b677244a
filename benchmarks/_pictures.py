"""Pictures and masks that the benchmarks measure on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ssic import GroupMask
from ssic.blocks import block_grid
from ssic.model.weights import DEFAULT_MODEL

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".ppm", ".tif", ".tiff", ".bmp")


def options(description: str | None, qualities: Sequence[int], *, coding: bool = True) -> argparse.Namespace:
    """The command line of a benchmark over `sets`: images, masks, qualities, json; model, where it runs one."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of pictures (default: the demo photograph)")
    parser.add_argument(
        "--masks", type=Path, help="label maps, PNG, named like the pictures (default: nine groups)"
    )
    parser.add_argument("--qualities", type=int, nargs="+", default=list(qualities))
    if coding:
        parser.add_argument("--model", default=DEFAULT_MODEL, help="installed model, or a weights file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def photograph() -> Path:
    """The demo photograph, which matplotlib brings (the extra `demo`)."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def fitted(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]: scaled to cover the frame, then cropped to it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS))


def tiled(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]: the picture and its mirror images side by side: detail stays as fine as it was."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    more = ((0, max(0, height - pixels.shape[0])), (0, max(0, width - pixels.shape[1])), (0, 0))
    return np.pad(pixels, more, mode="symmetric")[:height, :width]


def nine_groups(width: int, height: int) -> GroupMask:
    """A disc of a tenth of the blocks in the middle, id 0, and eight sectors around it, ids 1 to 8."""
    rows, columns = block_grid((width, height))
    y, x = np.mgrid[:rows, :columns]
    y, x = y + 0.5 - rows / 2, x + 0.5 - columns / 2
    sector = ((np.arctan2(y, x) / (2 * np.pi) % 1) * 8).astype(np.uint8) % 8
    ids = 1 + sector
    distance = np.hypot(y, x).ravel()
    ids.reshape(-1)[np.argsort(distance, kind="stable")[: max(1, rows * columns // 10)]] = 0
    return GroupMask.from_label_map(ids.astype(np.uint8), (width, height))


def sets(images: Path | None, masks: Path | None) -> list[tuple[str, NDArray[np.uint8], GroupMask]]:
    """(name, pixels, mask) of each picture.

    Args:
        images: folder of pictures; by default the demo photograph as it is.
        masks: folder of label maps named like the pictures, as PNG; by default `nine_groups`.
    """
    paths = [photograph()]
    if images is not None:
        paths = sorted(p for p in images.iterdir() if p.suffix.lower() in EXTENSIONS)
    if not paths:
        raise SystemExit(f"no pictures in {images}")
    result = []
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        size = pixels.shape[1], pixels.shape[0]
        if masks is None:
            mask = nine_groups(*size)
        else:
            mask = GroupMask.from_label_map(masks / f"{path.stem}.png", size, drop_empty=True)
        result.append((path.stem, pixels, mask))
    return result
