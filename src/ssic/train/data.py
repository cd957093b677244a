"""Training pictures: which files they are, and what of them can be used."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssic.errors import ImageError, InvalidInput
from ssic.pictures.read import load_picture

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}

HELD_OUT = 50
"""Every 50th file, in the order of sorted paths, is never trained on. Where there are fewer, none is held out."""


class Unusable(UserWarning):
    """Pictures that training leaves out."""


def find_pictures(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Sorted picture files below the folders -> (for training, held out)."""
    files = sorted({p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES})
    if not files:
        raise InvalidInput(
            f"no pictures ({', '.join(sorted(SUFFIXES))}) below {', '.join(map(str, folders))}"
        )
    held_out = files[::HELD_OUT] if len(files) >= HELD_OUT else []
    return [f for i, f in enumerate(files) if not held_out or i % HELD_OUT], held_out


def decode(path: Path, smallest: int) -> NDArray[np.uint8] | None:
    """RGB pixels [H, W, 3]; None where a side is below `smallest`.

    Raises:
        ImageError: the file is no picture that ssic could code.
    """
    pixels = load_picture(path).pixels
    return pixels if min(pixels.shape[:2]) >= smallest else None


def _decoded(files: Sequence[Path], smallest: int) -> Iterator[Future[NDArray[np.uint8] | None]]:
    """What `decode` gives for each file, in order; some are decoded ahead, in threads."""
    workers = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[NDArray[np.uint8] | None]] = deque()
        try:
            for path in files:
                waiting.append(pool.submit(decode, path, smallest))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()


def usable(files: Sequence[Path], smallest: int) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the pictures that can be used, one after another; at the end an `Unusable` warning for the others."""
    too_small, refused = 0, []
    for decoded in _decoded(files, smallest):
        try:
            pixels = decoded.result()
        except (ImageError, OSError) as error:
            refused.append(str(error))
            continue
        if pixels is None:
            too_small += 1
        else:
            yield pixels
    if too_small:
        text = f"{too_small} of {len(files)} pictures are left out: a side is below {smallest} pixels"
        warnings.warn(text, Unusable, stacklevel=2)
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        text = f"{len(refused)} of {len(files)} pictures are left out: {refused[0]}{more}"
        warnings.warn(text, Unusable, stacklevel=2)
