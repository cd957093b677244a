"""How an opened file shows itself in a notebook: the picture with its groups outlined, and a table of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import counted
from ssic.blocks import Size
from ssic.decoded import Decoded
from ssic.format import GroupEntry
from ssic.groups.mask import GroupMask
from ssic.pictures.fill import compose
from ssic.pictures.preview import draw
from ssic.pictures.write import picture_bytes

MOST_PIXELS = 1024
"""Pixels of the longer side, about: larger pictures are shown smaller, so that notebooks stay small."""

MOST_ROWS = 40


def outlined_png(decoded: Decoded, mask: GroupMask, icc: bytes | None) -> bytes:
    """The picture with its groups tinted, outlined and labelled, as the bytes of a PNG."""
    pixels = draw(compose(decoded.pixels, decoded.present), mask)
    return picture_bytes(_shrunk(pixels), PurePath("preview.png"), icc)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """By a whole number, each pixel the mean of those that it stands for."""
    step = -(-max(pixels.shape[:2]) // MOST_PIXELS)
    if step == 1:
        return pixels
    rows, columns = (-(-n // step) for n in pixels.shape[:2])
    edges = ((0, rows * step - pixels.shape[0]), (0, columns * step - pixels.shape[1]), (0, 0))
    tiles = np.pad(pixels, edges, mode="edge").reshape(rows, step, columns, step, 3)
    return (tiles.mean((1, 3)) + 0.5).astype(np.uint8)


def html(size: Size, groups: Sequence[GroupEntry], file_bytes: int, png: bytes | None) -> str:
    """A table of the groups, under the picture if there is one.

    Args:
        size: (width, height) in pixels.
        png: what `outlined_png` gives.
    """
    rows = "".join(
        f'<tr><td>{g.id}</td><td style="text-align:left">{escape(g.name)}{" (encrypted)" if g.encrypted else ""}</td>'
        f"<td>{g.quality}</td><td>{g.blocks:,}</td><td>{g.length:,}</td></tr>"
        for g in groups[:MOST_ROWS]
    )
    if len(groups) > MOST_ROWS:
        rows += f'<tr><td></td><td colspan="4">and {len(groups) - MOST_ROWS} more</td></tr>'
    image = ""
    if png is not None:
        image = f'<img style="max-width:100%" src="data:image/png;base64,{base64.b64encode(png).decode()}"/>'
    return (
        f"<div>{image}<p>ssic file: {size[0]}x{size[1]} pixels, {counted(len(groups), 'group')}, "
        f"{file_bytes:,} bytes</p><table><thead><tr><th>id</th><th>name</th><th>quality</th><th>blocks</th>"
        f"<th>bytes</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
