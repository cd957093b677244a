"""Training pictures: folders of files, decoded once into memory, and batches that depend on (seed, step) only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssic.blocks import BLOCK, to_blocks
from ssic.errors import ImageError, InvalidInput
from ssic.pictures.read import load_picture
from ssic.plan import Plan, make_plan
from ssic.train.masks import random_mask, random_qualities

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


def usable(files: Sequence[Path], smallest: int) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the pictures that can be used, one after another; at the end an `Unusable` warning for the others."""
    too_small, refused = 0, []
    for path in files:
        try:
            pixels = decode(path, smallest)
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


def check_crop(side: int) -> None:
    """
    Raises:
        InvalidInput: a crop with so many pixels a side can't be coded without padding.
    """
    if side < BLOCK or side % BLOCK:
        raise InvalidInput(f"crops are made of 16x16 blocks: {side} is no multiple of 16")


@dataclass(frozen=True)
class Batch:
    """Crops as one token list; `quality` is per block, `pair_quality` per (cell, group) pair."""

    x: Tensor
    plan: Plan
    quality: Tensor
    pair_quality: Tensor


class Pictures:
    """All pictures in memory, and random batches of crops from them."""

    def __init__(self, files: Sequence[Path], crop: int) -> None:
        check_crop(crop)
        self.crop = crop
        self.pictures = list(usable(files, crop))
        if not self.pictures:
            raise InvalidInput(f"none of {len(files)} pictures has {crop} pixels on its shorter side")
        # Every pixel is met equally often.
        area = np.array([p.shape[0] * p.shape[1] for p in self.pictures], np.float64)
        self.chance = area / area.sum()

    def _random_crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        picture = self.pictures[rng.choice(len(self.pictures), p=self.chance)]
        h, w = picture.shape[:2]
        size = self.crop
        if rng.random() < 0.3:  # other scales; shrinking only, which makes no artefacts of its own
            size = int(rng.integers(size, min(2 * size, h, w) + 1))
        top, left = rng.integers(0, h - size + 1), rng.integers(0, w - size + 1)
        crop = picture[top : top + size, left : left + size]
        if size != self.crop:
            crop = np.asarray(Image.fromarray(crop).resize((self.crop, self.crop), Image.Resampling.BICUBIC))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return crop

    def batch(self, seed: int, step: int, size: int, rank: int = 0) -> Batch:
        """The batch of a step: the same whenever and wherever it is asked for. Each rank has its own."""
        rng = np.random.default_rng((seed, step, rank) if rank else (seed, step))
        crops = np.concatenate([to_blocks(np.ascontiguousarray(self._random_crop(rng))) for _ in range(size)])
        side = self.crop // 16
        ids = np.stack([random_mask(rng, side, side) for _ in range(size)])
        table = np.ones((size, 256), np.int64)
        for row, mask in zip(table, ids, strict=True):
            groups = int(mask.max()) + 1
            row[:groups] = random_qualities(rng, groups)
        plan = make_plan(ids)
        picture = plan.block // side**2
        quality = table[picture, plan.group]
        pair_quality = np.empty(len(plan.pair_group), np.int64)
        pair_quality[plan.pair] = quality
        return Batch(
            x=torch.from_numpy(crops),
            plan=plan,
            quality=torch.from_numpy(quality),
            pair_quality=torch.from_numpy(pair_quality),
        )
