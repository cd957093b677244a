"""The range decoder and the mask decoder of docs/format.md ("Range coder", "Mask") in plain Python.

It follows that page and shares no code with constriction or `ssic.format`, so that the tests show
the page to be enough for a stranger. It is slow, and no part of the package.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

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
64,64
128,256 32,16 32,512 32,64
32,16 256,32 64,32 32,32
128,256 256,32 64,32 128,64
128,32 256,8 16,1 256,32
8,64 16,64 32,32
32,64
4,16
8,8
"""
NUMBER = "8 24 48 60 48 24 8 4 4 2 2 2 2 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"
QUOTIENT = "105 61 34 20 11 7 5 3 2 2 1 1 1 1 1 1"


def cumulative(text: str) -> list[int]:
    return [0, *accumulate(int(n) << 16 for n in text.split())]


def reference_decode_mask(data: bytes, shape: tuple[int, int], labels: int, step: int) -> NDArray[np.uint8]:
    height, width = -(-shape[0] >> step), -(-shape[1] >> step)
    decoder = ReferenceMaskDecoder(data, height, width, labels)
    rows = decoder.rows() if labels > 1 else [[0] * width] * height
    return np.array(rows, np.uint8).repeat(1 << step, 0).repeat(1 << step, 1)[: shape[0], : shape[1]]


class ReferenceMaskDecoder:
    def __init__(self, data: bytes, height: int, width: int, labels: int) -> None:
        self.counts = [[int(n) for n in pair.split(",")] for pair in START.split()]
        self.decoder = ReferenceRangeDecoder(data)
        self.height, self.width, self.labels = height, width, labels
        self.seen: list[int] = []  # labels in order of first appearance

    # -- parts of the code -----------------------------------------------------------------------------------

    def decide(self, context: int) -> bool:
        no, yes = self.counts[context]
        p = max(256 * yes // (no + yes), 1)
        bit = self.decoder.decode([0, (256 - p) << 16, 1 << 24])
        self.counts[context][bit] += 16
        if sum(self.counts[context]) > 4096:
            self.counts[context] = [(n + 1) // 2 for n in self.counts[context]]
        return bit == 1

    def choose(self, size: int) -> int:
        if size == 1:
            return 0
        sizes = [2**24 // size + (i < 2**24 % size) for i in range(size)]
        return self.decoder.decode([0, *accumulate(sizes)])

    def number(self) -> int:
        c = left = self.decoder.decode(cumulative(NUMBER))
        m = 0
        while left:
            piece = min(left, 8)
            m = m * 2**piece + self.choose(2**piece)
            left -= piece
        return 2**c + m - 1

    def gaps(self) -> list[int]:
        cells, breaks = self.height * self.width, self.number()
        if breaks > cells:
            raise InvalidStream("more breaks than cells")
        m = cells // (breaks + 1)
        b = 0 if m < 8 else next(place for place in range(64) if 2 ** (place + 1) > m) - 1
        if b == 0:
            gaps = []
            for _ in range(breaks):
                gaps.append(0)
                while not self.decide(22):
                    gaps[-1] += 1
                    if sum(gaps) > cells:
                        raise InvalidStream("gaps exceed the cells")
            return gaps
        quotients = [self.decoder.decode(cumulative(QUOTIENT)) for _ in range(breaks)]
        rests = [0] * breaks
        left = b
        while left:
            piece = min(left, 8)
            rests = [rest * 2**piece + self.choose(2**piece) for rest in rests]
            left -= piece
        quotients = [q + self.number() if q == 15 else q for q in quotients]
        return [q * 2**b + rest for q, rest in zip(quotients, rests, strict=True)]

    def chance(self) -> bool:
        """Whether the cell breaks."""
        if not self.left:
            return False
        if self.left[0]:
            self.left[0] -= 1
            return False
        del self.left[0]
        return True

    def other(self, *excluded: int) -> int:
        old = [label for label in self.seen if label not in excluded]
        new = [label for label in range(self.labels) if label not in self.seen]
        if old and (not new or not self.decide(20)):
            return old[self.choose(len(old))]
        label = new[0] if len(new) == 1 or self.decide(21) else new[1 + self.choose(len(new) - 1)]
        self.seen.append(label)
        return label

    # -- rows ------------------------------------------------------------------------------------------------

    def rows(self) -> list[list[int]]:
        self.left = self.gaps()
        first = self.other()
        above = above2 = [first] * self.width
        rows = []
        for y in range(self.height):
            self.row = [] if y else [first]
            while len(self.row) < self.width:
                x = len(self.row)
                if x == 0 or self.row[x - 1] == above[x]:
                    self.case_a(x, above, above2)
                else:
                    self.case_b(x, above)
            rows.append(self.row)
            above, above2 = self.row, above
        if self.left:
            raise InvalidStream("breaks are left")
        return rows

    def case_a(self, x: int, above: list[int], above2: list[int]) -> None:
        n = above[x]
        e = next((e for e in range(x + 1, self.width) if above[e] != above[e - 1]), self.width + 1)
        for column in range(x, e - 1):
            if self.chance():
                if e > self.width:
                    self.row.append(self.other(n))
                elif self.labels == 2 or self.decide(17 + min(len(range(column + 1, e - 1)), 2)):
                    self.row.append(above[e])
                else:
                    self.row.append(self.other(n, above[e]))
                return
            self.row.append(n)
        if e > self.width:
            return
        b = above[e]
        if self.decide(0):
            self.row += [n, b]
        elif self.decide(1 + (above2[e - 1] == n) + 2 * (above2[e] == b)):
            self.row.append(n)
            self.row.append(self.other(n, b) if self.labels > 2 and self.chance() else n)
        else:
            self.row.append(self.other(n, b) if self.labels > 2 and self.chance() else b)

    def case_b(self, x: int, above: list[int]) -> None:
        n, w = above[x], self.row[x - 1]
        i = above[x - 1] == n
        j = x == 1 or self.row[x - 2] == w
        k = 1 if x + 1 == self.width or above[x + 1] == n else 2 if above[x + 1] == w else 0
        if self.decide(5 + i + 2 * j + 4 * k):
            self.row.append(n)
        else:
            self.row.append(self.other(n, w) if self.labels > 2 and self.chance() else w)
