"""The range decoder and the mask decoder of docs/format.md ("Range coder", "Mask") in plain Python.

It follows that page and shares no code with constriction or `ssic.format`, so that the tests show
the page to be enough for a stranger. It is slow, and no part of the package.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = 1 << 32
STATE = 1 << 64
PRECISION = 24


class InvalidStream(ValueError):
    """No encoder could have written these bytes with these tables."""


class ReferenceRangeDecoder:
    """Decodes one symbol at a time from big-endian 32-bit words; missing bytes count as zero."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self._words = [int.from_bytes(padded[i : i + 4], "big") for i in range(0, len(padded), 4)]
        self._next = 0
        self.range = STATE - 1
        self.point = 0  # the code value minus the lower end of the interval
        for _ in range(2):
            self.point = self.point * WORD + self._word()

    def _word(self) -> int:
        word = self._words[self._next] if self._next < len(self._words) else 0
        self._next += 1
        return word

    def decode(self, cumulative: Sequence[int]) -> int:
        """One symbol; `cumulative` is 0, n_0, n_0 + n_1, ..., 2**24 and strictly increasing."""
        scale = self.range >> PRECISION
        quantile = self.point // scale
        if quantile >= 1 << PRECISION:
            raise InvalidStream("the code value lies outside of the interval")
        symbol = bisect_right(cumulative, quantile) - 1
        self.point -= scale * cumulative[symbol]
        self.range = scale * (cumulative[symbol + 1] - cumulative[symbol])
        if self.range < WORD:
            self.range *= WORD
            self.point = self.point * WORD + self._word()
        return symbol


START = """
64,128 32,256 128,64 16,128 64,512 16,512 128,64 16,512
8,8    2,16   8,8    4,32   8,128  8,256  8,128  4,256
8,8    8,8    8,8    8,8    8,64   8,8    1,2    8,8
128,64 4,16
"""


def reference_decode_mask(data: bytes, shape: tuple[int, int], labels: int, step: int) -> NDArray[np.uint8]:
    counts = [[int(n) for n in pair.split(",")] for pair in START.split()]
    decoder = ReferenceRangeDecoder(data)

    def decide(context: int) -> bool:
        no, yes = counts[context]
        p = min(max(4096 * yes // (no + yes), 1), 4095)
        bit = decoder.decode([0, (4096 - p) * 4096, 2**24])
        counts[context][bit] += 16
        if sum(counts[context]) > 16384:
            counts[context] = [(n + 1) // 2 for n in counts[context]]
        return bit == 1

    def choose(size: int) -> int:
        if size == 1:
            return 0
        table = [0]
        for i in range(size):
            table.append(table[-1] + 2**24 // size + (i < 2**24 % size))
        return decoder.decode(table)

    rows, columns = -(-shape[0] >> step), -(-shape[1] >> step)
    cells: dict[tuple[int, int], int] = {}
    seen: list[int] = []

    def label_at(y: int, x: int) -> int:
        w, n = cells.get((y, x - 1)), cells.get((y - 1, x))
        nw, ne = cells.get((y - 1, x - 1)), cells.get((y - 1, x + 1))
        ruled_out: list[int] = []
        for c in (w, n, ne):
            if c is None or c in ruled_out:
                continue
            if len(ruled_out) == labels - 1:
                return c
            context = 8 * len(ruled_out)
            for bit, neighbour in ((1, n), (2, nw), (4, ne)):
                context += bit if neighbour is None or neighbour == c else 0
            if decide(context):
                return c
            ruled_out.append(c)
        old = [label for label in seen if label not in ruled_out]
        new = [label for label in range(labels) if label not in seen]
        if old and (not new or not decide(24)):
            return old[choose(len(old))]
        if len(new) == 1 or decide(25):
            return new[0]
        return new[1 + choose(len(new) - 1)]

    for y in range(rows):
        for x in range(columns):
            label = label_at(y, x) if labels > 1 else 0
            cells[y, x] = label
            if label not in seen:
                seen.append(label)
    out = np.zeros(shape, np.uint8)
    for y in range(shape[0]):
        for x in range(shape[1]):
            out[y, x] = cells[y >> step, x >> step]
    return out
