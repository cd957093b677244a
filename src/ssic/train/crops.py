"""Pictures on the device, and random crops of them, made there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssic.blocks import BLOCK
from ssic.errors import InvalidInput
from ssic.train import masks

SCALES = (1.25, 1.5, 1.8)
"""Each picture is kept once more, shrunk by one of these in turn."""

SHRUNK = 0.3
"""Share of crops from shrunken pictures."""

NUMBERS = 10
"""Uniform random numbers that a crop takes."""


def check_crop(side: int) -> None:
    """
    Raises:
        InvalidInput: a crop with so many pixels a side can't be coded without padding.
    """
    if side < BLOCK or side % BLOCK:
        raise InvalidInput(f"crops are made of 16x16 blocks: {side} is no multiple of 16")


def to_blocks(pixels: Tensor) -> Tensor:
    """[B, 16 h, 16 w, 3] -> [B, h, w, 4, 192], as `ssic.blocks.to_blocks` orders them."""
    b, height, width, _ = pixels.shape
    x = pixels.reshape(b, height // 16, 2, 8, width // 16, 2, 8, 3).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(b, height // 16, width // 16, 4, 192)


def cut_crops(
    pixels: Tensor, start: Tensor, height: Tensor, width: Tensor, uniform: Tensor, side: int
) -> Tensor:
    """
    Args:
        pixels: all pictures, [bytes] uint8, each by row, column, channel.
        start, height, width: [B] int64, of the picture that each crop is from.
        uniform: [B, NUMBERS] in [0, 1): where it lies, how it is turned and coloured.
        side: of a crop in pixels.

    Returns:
        [B, side / 16, side / 16, 4, 192] in [-0.5, 0.5].
    """
    n, h = len(start), side // BLOCK
    top, left, mirror, flip, turn, recolour, gamma, tint = uniform.split([1] * 7 + [3], 1)
    along = torch.arange(side, device=pixels.device)
    height, width, start = height[:, None], width[:, None], start[:, None]
    top, left = (top * (height - side + 1)).long(), (left * (width - side + 1)).long()
    # A product may be rounded up to the next whole number.
    top, left = torch.minimum(top, height - side), torch.minimum(left, width - side)
    row = (top + torch.where(flip < 0.15, side - 1 - along, along)) * (3 * width)
    column = (left + torch.where(mirror < 0.5, side - 1 - along, along)) * 3
    down, across = torch.where(turn < 0.25, column, row) + start, torch.where(turn < 0.25, row, column)
    at = down.view(n, h, 1, 2, 1, 8, 1, 1) + across.view(n, 1, h, 1, 2, 1, 8, 1)
    x = pixels[at + torch.arange(3, device=pixels.device)].float() / 255
    # A quarter is made brighter or darker, and tinted, in 8 bits as pictures are.
    each = (n, *[1] * 7)
    other = x.pow(torch.exp((gamma - 0.5) * 0.8).view(each))
    other = other * (1 + 0.15 * (tint - 0.5)).view(n, *[1] * 6, 3)
    other = (other.clamp(0, 1) * 255).round() / 255
    return (torch.where((recolour < 0.25).view(each), other, x) - 0.5).view(n, h, h, 4, 192)


def draw_masks(uniform: Tensor, normal: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Random numbers as of `ssic.train.masks` -> group ids and qualities, [B, side, side] each."""
    ids = masks.random_masks(uniform, normal, side)
    return ids, masks.random_qualities(uniform, ids)


class Pictures:
    """All pictures in the memory of a device, and random batches of crops from them.

    Attributes:
        crop: side of a crop in pixels.
        count: pictures, without shrunken ones.
    """

    def __init__(self, pictures: Iterable[NDArray[np.uint8]], crop: int, device: torch.device) -> None:
        """
        Args:
            pictures: [H, W, 3] each, no side below `crop`.

        Raises:
            InvalidInput: there are none, or the crop can't be coded.
        """
        check_crop(crop)
        self.crop, self.device, self.count = crop, device, 0
        kept: list[tuple[Tensor, bool]] = []
        for picture in pictures:
            whole = torch.from_numpy(np.array(picture)).to(device)
            kept.append((whole, False))
            small = _shrunk(whole, SCALES[self.count % len(SCALES)])
            if min(small.shape[:2]) >= crop:
                kept.append((small, True))
            self.count += 1
        if not kept:
            raise InvalidInput(f"no picture has {crop} pixels on its shorter side")

        def put(values: list[Any], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        size = [picture.numel() for picture, _ in kept]
        ends = np.cumsum(size).tolist()
        self._height = put([picture.shape[0] for picture, _ in kept], torch.long)
        self._width = put([picture.shape[1] for picture, _ in kept], torch.long)
        self._start = put([end - n for end, n in zip(ends, size, strict=True)], torch.long)
        # Every pixel is met equally often; of whole and of shrunken pictures, in their shares.
        chance = np.array(size, np.float64)
        shrunk = np.array([is_shrunk for _, is_shrunk in kept])
        if shrunk.any():
            chance[shrunk] *= SHRUNK / chance[shrunk].sum()
            chance[~shrunk] *= (1 - SHRUNK) / chance[~shrunk].sum()
        self._whole = np.flatnonzero(~shrunk).tolist()
        self._up_to = put((chance / chance.sum()).cumsum().tolist(), torch.float64)
        self._pixels = torch.empty(ends[-1], dtype=torch.uint8, device=device)
        while kept:  # one after another, so that they aren't in memory twice
            last, _ = kept.pop()
            end = ends[len(kept)]
            self._pixels[end - last.numel() : end] = last.reshape(-1)
        self.uncompile()

    def whole(self, every: int = 1) -> Iterator[Tensor]:
        """The pictures themselves, or one of so many, [H, W, 3] uint8."""
        for i in self._whole[::every]:
            start, h, w = int(self._start[i]), int(self._height[i]), int(self._width[i])
            yield self._pixels[start : start + 3 * h * w].view(h, w, 3)

    def compile(self, **how: Any) -> None:
        """Let torch.compile make what makes crops, when it is first run."""
        self._cut: Any = torch.compile(cut_crops, dynamic=False, **how)
        self._draw: Any = torch.compile(draw_masks, dynamic=False, **how)

    def uncompile(self) -> None:
        """Run it as it is written."""
        self._cut, self._draw = cut_crops, draw_masks

    @torch.no_grad()
    def batch(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops, from the default generator of the device.

        Returns:
            x [B, h, h, 4, 192] in [-0.5, 0.5]; group ids and qualities [B, h, h] int64.
        """
        side = self.crop // BLOCK
        which = torch.rand(size, dtype=torch.float64, device=self.device)
        uniform = torch.rand(size, NUMBERS + masks.NUMBERS, device=self.device)
        normal = torch.randn(size, masks.normals(side), device=self.device)
        place, outline = uniform.split([NUMBERS, masks.NUMBERS], 1)
        # Below the last entry, which is 1 but for rounding.
        at = torch.searchsorted(self._up_to, which, right=True).clamp(max=len(self._up_to) - 1)
        start, height, width = (t.index_select(0, at) for t in (self._start, self._height, self._width))
        x: Tensor = self._cut(self._pixels, start, height, width, place, self.crop)
        ids, quality = self._draw(outline, normal, side)
        return x, ids, quality


def _shrunk(picture: Tensor, scale: float) -> Tensor:
    """[H, W, 3] uint8 -> the same smaller; shrinking makes no artefacts of its own."""
    height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
    x = picture.permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=(height, width), mode="bicubic", antialias=True)
    return x[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()
