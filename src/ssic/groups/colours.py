"""Colours, as Pillow names them: the one place where text becomes red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ImageColor

from ssic.arguments import is_whole, type_name
from ssic.errors import InvalidInput

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""


def parse_colour(given: str | Sequence[int], error: type[InvalidInput] = InvalidInput) -> Colour:
    """The colour that a text or three integers stand for.

    Args:
        given: a name ("white", "rebeccapurple"), "#fff", "#20a0ff", "rgb(32, 160, 255)", "hsl(210, 100%, 56%)", or
            red, green and blue as three integers from 0 to 255.
        error: kind of the error.

    Raises:
        InvalidInput: of the kind `error`: no such colour, or one that is transparent.

    >>> parse_colour("white"), parse_colour("#20a0ff"), parse_colour([0, 1, 2])
    ((255, 255, 255), (32, 160, 255), (0, 1, 2))
    """
    if isinstance(given, str):
        try:
            red, green, blue, *alpha = ImageColor.getrgb(given.strip())
        except ValueError:
            raise error(f'"{given:.80}" is no colour: white, #fff and #20a0ff are some') from None
        if alpha and alpha[0] != 255:
            raise error(f'the colour "{given}" is transparent; an opaque one is needed: leave the alpha out')
        return red, green, blue
    values: list[Any] = (
        list(given) if isinstance(given, (Sequence, np.ndarray)) and np.ndim(given) == 1 else []
    )
    if len(values) != 3 or not all(map(is_whole, values)) or not all(0 <= v <= 255 for v in values):
        shown = f"{given!r:.80}" if isinstance(given, (Sequence, np.ndarray)) else type_name(given)
        raise error(f"{shown} is no colour: a name, #rrggbb or three integers from 0 to 255 were expected")
    return int(values[0]), int(values[1]), int(values[2])
