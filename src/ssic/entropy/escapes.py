"""Symbols that are beyond the table of their class: sign, then the excess over the support as an Exp-Golomb code of
order 0, in bits with two equal frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssic.errors import DamagedSegment
from ssic.rangecoder import TOTAL, integer_model

LONGEST = 21
"""Ones of the longest code."""

_FAIR = integer_model(np.full(2, TOTAL // 2))


def write_escape(encoder: Any, symbol: int, support: int) -> int:
    """Encode a symbol beyond its support; -> how many bits that takes."""
    excess = abs(symbol) - support  # >= 1
    length = excess.bit_length() - 1
    tail = [(excess >> i) & 1 for i in range(length - 1, -1, -1)]
    bits = [int(symbol < 0), *([1] * length), 0, *tail]
    encoder.encode(np.array(bits, np.int32), _FAIR)
    return len(bits)


def read_escape(decoder: Any, support: int) -> int:
    """Inverse of `write_escape`: the symbol.

    Raises:
        DamagedSegment: the code has no end.
    """

    def bit() -> int:
        return int(decoder.decode(_FAIR))

    negative = bit()
    length = 0
    while bit():
        length += 1
        if length > LONGEST:
            raise DamagedSegment("an escaped symbol has no end")
    excess = 1
    for _ in range(length):
        excess = 2 * excess + bit()
    magnitude = excess + support
    return -magnitude if negative else magnitude
