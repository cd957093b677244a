"""Draw the README's picture through ssic itself: `python examples/make_picture.py` writes docs/img/groups.jpg.

Left the photograph with the outlines of its groups, in the middle the file, to scale, on the right what two of its
groups decode to alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from lay_out import photograph
from make_labels import COLOURS, HERE
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import ssic

INK, FAINT, PAPER = (36, 41, 47), (110, 119, 129), (255, 255, 255)
MARGIN, GAP, TITLE, BAR = 28, 56, 96, 150
SHOWN = ("face", "cap")


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def outlined(photo: NDArray[np.uint8], mask: ssic.GroupMask) -> Image.Image:
    """The photograph, tinted and outlined by group."""
    height, width = photo.shape[:2]
    ids = mask.to_pixels(width, height)
    colour = np.array([COLOURS[mask.names[g]] for g in range(len(COLOURS))], float)[ids]
    inner = np.zeros(ids.shape, bool)
    reach = 2
    inner[reach:-reach, reach:-reach] = True
    for dy in (-reach, 0, reach):
        for dx in (-reach, 0, reach):
            inner &= np.roll(ids, (dy, dx), (0, 1)) == ids
    weight = np.where(inner, 0.16, 1.0)[..., None]
    return Image.fromarray((photo * (1 - weight) + colour * weight).astype(np.uint8))


def checkered(picture: NDArray[np.uint8]) -> Image.Image:
    """RGBA on the board that stands for nothing."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width] // 20
    board = Image.fromarray(np.where((x + y) % 2, 242, 226).astype(np.uint8)).convert("RGBA")
    board.alpha_composite(Image.fromarray(picture))
    return board.convert("RGB")


def spread(wanted: list[float], distance: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones (ascending), at least `distance` apart, within low..high."""
    placed: list[float] = []
    for at in wanted:
        placed.append(max(at, placed[-1] + distance if placed else low))
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], placed[i + 1] - distance if i + 1 < len(placed) else high)
    return placed


def file_map(file: ssic.SsicFile, height: int, width: int) -> Image.Image:
    """The file from its first byte at the top to its last, to scale."""
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    parts = [("head, mask, index", file.head.head_bytes, FAINT)]
    parts += [(g.name, g.length, COLOURS[g.name]) for g in sorted(file.groups, key=lambda g: g.offset)]
    scale = height / file.head.file_bytes
    start, middles = 0.0, []
    for name, size, colour in parts:
        stop = start + size * scale
        pen.rectangle((0, round(start), BAR, max(round(start), round(stop) - 2)), fill=colour)
        if name not in SHOWN and colour != FAINT:  # what is not decoded on the right is pale
            stripe = Image.new("RGB", (BAR + 1, max(1, round(stop) - 2 - round(start) + 1)), PAPER)
            image.paste(stripe, (0, round(start)), Image.new("L", stripe.size, 130))
        middles.append((start + stop) / 2)
        start = stop
    for (name, size, _), middle, at in zip(parts, middles, spread(middles, 48, 20, height - 20), strict=True):
        strong = INK if name in SHOWN else FAINT
        pen.line([(BAR + 4, middle), (BAR + 30, at), (BAR + 38, at)], fill=FAINT, width=2)
        pen.text((BAR + 48, at), name, font=font(28), fill=strong, anchor="lm")
        pen.text((width - 1, at), f"{size:,}", font=font(28), fill=strong, anchor="rm")
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "docs" / "img" / "groups.jpg")
    parser.add_argument("--quality", type=int, default=50)
    options = parser.parse_args()

    photo = np.asarray(Image.open(photograph()).convert("RGB"))
    height, width = photo.shape[:2]
    labels, names = (HERE / f"grace_hopper_{name}" for name in ("labels.png", "names.json"))
    mask = ssic.GroupMask.from_label_map(labels, (width, height), names)
    file = ssic.SsicFile(ssic.encode(photo, mask, quality=options.quality, group_quality={"face": 80}))
    part = sum(g.length for g in file.groups if g.name in SHOWN) + file.head.head_bytes

    columns = [
        ("A picture and its groups", outlined(photo, mask)),
        (f"One file: {file.head.file_bytes:,} bytes", file_map(file, height, 510)),
        (f"{part:,} of them: {' and '.join(SHOWN)}", checkered(file.decode(SHOWN, fill="transparent"))),
    ]
    total = sum(picture.width for _, picture in columns) + 2 * (MARGIN + GAP)
    canvas = Image.new("RGB", (total, height + TITLE + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    x = MARGIN
    for title, picture in columns:
        pen.text((x, TITLE / 2), title, font=font(36), fill=INK, anchor="lm")
        canvas.paste(picture, (x, TITLE))
        x += picture.width + GAP
    options.output.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(options.output, quality=88, subsampling=0, optimize=True)
    print(f"{options.output}: {canvas.width}x{canvas.height}, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
