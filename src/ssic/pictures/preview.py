"""Draws the groups of a picture: outlines along blocks, names, shares."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ssic.blocks import ABSENT, BLOCK
from ssic.groups.mask import GroupMask
from ssic.names import BACKGROUND

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

_TINT = 0.22
_GRAY: Colour = (150, 150, 150)


def captions(mask: GroupMask) -> dict[int, str]:
    """By group: name, share of the blocks, and score, where known: "dog  12 %  0.93"."""
    total = int(np.count_nonzero(mask.ids != ABSENT))
    found = {}
    for n, name in mask.names.items():
        score = f"  {mask.scores[n]:.2f}" if n in mask.scores else ""
        found[n] = f"{name}  {_percent(mask.blocks(n) / total)}{score}"
    return found


def draw(
    pixels: NDArray[np.uint8], mask: GroupMask, texts: Mapping[int, str] | None = None
) -> NDArray[np.uint8]:
    """A picture with its groups tinted, outlined and labelled; the background stays as it is.

    Args:
        pixels: [H, W, 3] uint8.
        mask: of such a picture.
        texts: the label of each group; those of `captions` by default.

    Returns:
        A new [H, W, 3] uint8.

    Raises:
        MaskError: the mask is not for a picture of that size.
    """
    height, width = pixels.shape[:2]
    owner = mask.to_pixels(width, height)
    colours = {n: _GRAY if name == BACKGROUND else _colour(n) for n, name in mask.names.items()}
    tint = np.zeros((256, 3), np.float32)
    weight = np.zeros((256, 1), np.float32)
    for n, colour in colours.items():
        if mask.names[n] != BACKGROUND:
            tint[n], weight[n] = colour, _TINT
    shown = pixels * (1 - weight[owner]) + tint[owner] * weight[owner]
    image = Image.fromarray((shown + 0.5).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    unit = max(1, round(min(width, height) / 400))
    # All dark edges first: a neighbour's must not lie on a line in colour.
    edges = [
        (colours[n], line)
        for n in mask.groups
        if mask.names[n] != BACKGROUND
        for line in _edges(mask.ids == n)
    ]
    for colours_too in (False, True):
        for colour, (x0, y0, x1, y1, inwards) in edges:
            dx, dy = inwards[0] * unit, inwards[1] * unit
            line = (x0 * BLOCK + dx, y0 * BLOCK + dy, x1 * BLOCK + dx, y1 * BLOCK + dy)
            cut = tuple(min(v, limit) for v, limit in zip(line, (width - 1, height - 1) * 2, strict=True))
            pen.line(cut, fill=colour if colours_too else (0, 0, 0), width=unit * (2 if colours_too else 4))
    _label(pen, mask, captions(mask) if texts is None else texts, colours, (width, height))
    return np.asarray(image)


def _edges(own: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int, tuple[int, int]]]:
    """Sides of the blocks that meet another group or the edge of the picture, joined where they are in line:
    (x0, y0, x1, y1) in blocks, and the direction (x, y) to the group's own side."""
    for vertical in (False, True):
        across = own.T if vertical else own
        lines = np.flatnonzero(across.any(1))
        padded = np.pad(across[lines[0] : lines[-1] + 1], ((1, 1), (0, 0)))
        for at, (before, after) in enumerate(pairwise(padded), int(lines[0])):
            for inwards, here in ((1, after & ~before), (-1, before & ~after)):
                turns = np.flatnonzero(np.diff(here.astype(np.int8), prepend=0, append=0))
                for start, end in turns.reshape(-1, 2).tolist():
                    if vertical:
                        yield at, start, at, end, (inwards, 0)
                    else:
                        yield start, at, end, at, (0, inwards)


def _label(
    pen: ImageDraw.ImageDraw,
    mask: GroupMask,
    texts: Mapping[int, str],
    colours: Mapping[int, Colour],
    size: tuple[int, int],
) -> None:
    """Each text on a plate in its group's colour, within the group where there is room, and none on another; what
    finds no free place goes where it covers least."""
    points = max(11.0, min(size) / (28 if len(mask.groups) <= 8 else 36))
    font = ImageFont.load_default(points)
    margin = max(2, round(points / 5))
    taken: list[Box] = []
    for n in sorted(mask.groups, key=mask.blocks):  # small groups have least choice
        left, top, right, bottom = pen.textbbox((0, 0), texts[n], font=font)
        width, height = right - left + 2 * margin, bottom - top + 2 * margin
        x, y = _place(mask.ids == n, width, height, size, taken)
        taken.append((x, y, x + width, y + height))
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colours[n], outline=(0, 0, 0))
        pen.text((x + margin - left, y + margin - top), texts[n], fill=(0, 0, 0), font=font)


def _place(
    own: NDArray[np.bool_], width: float, height: float, size: tuple[int, int], taken: list[Box]
) -> tuple[float, float]:
    """The upper left corner for a plate [width, height]: where it covers least of other plates; of such places
    where it lies most within the group `own`, and then highest."""
    rows, columns = np.nonzero(own)
    step = max(1, len(rows) // 200)
    x, y = columns[::step] * float(BLOCK), rows[::step] * float(BLOCK)
    # Above the group too: a small one would be hidden by its own label.
    x, y = np.concatenate([x, x[:20]]), np.concatenate([y, y[:20] - height])
    x = np.minimum(x, size[0] - width).clip(0)
    y = np.minimum(y, size[1] - height).clip(0)
    x0, y0, x1, y1 = np.array(taken, np.float64).reshape(-1, 4).T
    common_x = np.minimum(x[:, None] + width, x1) - np.maximum(x[:, None], x0)
    common_y = np.minimum(y[:, None] + height, y1) - np.maximum(y[:, None], y0)
    covered = (common_x.clip(0) * common_y.clip(0)).sum(1)
    sums = np.pad(own.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    left, top = (x // BLOCK).astype(int), (y // BLOCK).astype(int)
    right = np.minimum((x + width) // BLOCK + 1, own.shape[1]).astype(int)
    bottom = np.minimum((y + height) // BLOCK + 1, own.shape[0]).astype(int)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    best = np.lexsort((y, -inside / ((right - left) * (bottom - top)), covered))[0]
    return float(x[best]), float(y[best])


def _colour(n: int) -> Colour:
    """Bright enough for dark text; neighbours in number are far apart in hue."""
    hue, lightness = (0.13 + n * 0.6180339887) % 1, (0.66, 0.56, 0.76)[n % 3]
    while True:
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.95)
        if 0.299 * red + 0.587 * green + 0.114 * blue >= 0.45:
            return round(255 * red), round(255 * green), round(255 * blue)
        lightness += 0.04  # blues and violets are dark for their lightness


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.095 else f"{share:.1%}".replace("%", " %")
