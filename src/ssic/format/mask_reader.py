"""From a coded mask to labels. `docs/format.md` ("Mask") is the norm; `mask_writer` does the same the other way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.format.mask_tables import (
    ESCAPE,
    FOLLOWS,
    LIMIT,
    LOWEST,
    NEW,
    NEXT_LABEL,
    NUMBER,
    ONE,
    OVER,
    QUOTIENT,
    SHARE_BITS,
    START,
    STAYS,
    STRAIGHT,
    decisions,
    digits,
    even,
    gap_bits,
)
from ssic.rangecoder import RangeEncoder, decoder_from_bytes, encoder_bytes


def read_cells(data: bytes, height: int, width: int, labels: int) -> bytes:
    """The cells of a mask in raster order, one byte each: labels ``0 .. labels - 1``, of which there are two or more.

    Raises:
        ValueError: `data` is not what `mask_writer.cell_bytes` writes for any mask.
        AssertionError: the same; constriction's word for data that contradict the model.
    """
    symbols = _Symbols(data)
    gaps = _gaps(symbols, height * width)
    bit = symbols.bit
    names = _Labels(symbols, labels)
    never = height * width  # there are fewer chances to break than cells
    gaps.append(never)
    gaps.reverse()
    free = gaps.pop()
    third = labels > 2  # only then can a cell be neither W nor N

    above = above2 = bytearray([names.read()]) * width
    edges = [width + 1]  # of the row above: where a label differs from the one before, and an end
    rows = []
    begin = 1  # the first cell is known
    for _ in range(height):
        row = above[:]  # what differs is written into it
        found: list[int] = []
        x, j = begin, 0
        begin = 0
        while x < width:
            n = above[x]
            if x and (w := row[x - 1]) != n:
                context = FOLLOWS + (above[x - 1] == n) + 2 * (x == 1 or row[x - 2] == w)
                while True:
                    if x + 1 == width or (ne := above[x + 1]) == n:
                        context += 4
                    elif ne == w:
                        context += 8
                    if bit(context):
                        found.append(x)
                        x += 1
                        break
                    row[x] = w
                    if third:
                        if free:
                            free -= 1
                        else:
                            free = gaps.pop()
                            row[x] = names.read(n, w)
                            found.append(x)
                            x += 1
                            break
                    x += 1
                    if x == width or (after := above[x]) == w:
                        break
                    context = FOLLOWS + 2 + (after == n)
                    n = after
                continue
            while edges[j] <= x:
                j += 1
            while True:
                e = edges[j]
                if free < e - 1 - x:
                    x += free
                    free = gaps.pop()
                    row[x] = names.read_next(n, above[e], e - 2 - x) if e < width else names.read(n)
                    found.append(x)
                    x += 1
                    break
                free -= e - 1 - x
                if e > width:
                    x = width
                    break
                # The edge and the cell before it, together.
                b = above[e]
                if bit(STRAIGHT):
                    found.append(e)
                    x = e + 1
                    j += 1
                    if edges[j] == x:
                        break
                    n = b
                    continue
                if bit(STAYS + (above2[e - 1] == n) + 2 * (above2[e] == b)):
                    x, other = e, n
                else:
                    x, other = e - 1, b
                    found.append(x)
                row[x] = other
                if third:
                    if free:
                        free -= 1
                    else:
                        free = gaps.pop()
                        row[x] = names.read(n, b)
                        if x == e:
                            found.append(e)
                x += 1
                break
        found.append(width + 1)
        rows.append(row)
        above2, above, edges = above, row, found
    if gaps:
        raise ValueError("the mask's bytes announce more than there is room for")
    if encoder_bytes(symbols.encoder) != data:
        raise ValueError("the mask's bytes are not the shortest form of that mask")
    return b"".join(rows)


class _Symbols:
    """Decodes symbols, and writes them again: the bytes are right only if they are those that a writer makes."""

    def __init__(self, data: bytes) -> None:
        self.encoder = RangeEncoder()
        decode, encode = decoder_from_bytes(data).decode, self.encoder.encode
        counts = [[no, yes] for no, yes in START]
        models = decisions()

        def bit(context: int) -> int:
            pair = counts[context]
            no, yes = pair
            total = no + yes
            model = models[(yes << SHARE_BITS) // total]
            found: int = decode(model)
            encode(found, model)
            pair[found] += ONE
            if total > LIMIT - ONE:
                pair[:] = (pair[0] + 1) >> 1, (pair[1] + 1) >> 1
            return found

        # Closures: most of the time that it takes to read a mask is spent on calls and attributes.
        self.bit, self._decode, self._encode = bit, decode, encode

    def one(self, model: Any) -> int:
        symbol: int = self._decode(model)
        self._encode(symbol, model)
        return symbol

    def choice(self, size: int) -> int:
        return self.one(even(size)) if size > 1 else 0

    def many(self, model: Any, count: int) -> NDArray[np.int32]:
        symbols: NDArray[np.int32] = self._decode(model, count)
        self._encode(symbols, model)
        return symbols

    def number(self) -> int:
        value = 1
        for size in digits(self.one(NUMBER)):
            value = value << size | self.choice(1 << size)
        return value - 1


def _gaps(symbols: _Symbols, cells: int) -> list[int]:
    breaks = symbols.number()
    if breaks > cells:
        raise ValueError(f"the mask's bytes announce {breaks} breaks in {cells} cells")
    if not breaks:
        return []
    bits = gap_bits(cells, breaks)
    if not bits:
        return _short_gaps(symbols, cells, breaks)
    quotients = symbols.many(QUOTIENT, breaks).astype(np.int64)
    rest = np.zeros(breaks, np.int64)
    for size in digits(bits):
        rest = rest << size | symbols.many(even(1 << size), breaks)
    gaps: list[int] = ((quotients << bits) + rest).tolist()
    if ESCAPE in quotients:
        for i in np.flatnonzero(quotients == ESCAPE).tolist():
            gaps[i] += symbols.number() << bits
    return gaps


def _short_gaps(symbols: _Symbols, cells: int, breaks: int) -> list[int]:
    bit = symbols.bit
    gaps, left = [], cells
    for _ in range(breaks):
        gap = 0
        while not bit(OVER):
            gap += 1
            if gap > left:
                raise ValueError("the mask's bytes announce a longer gap than there is room for")
        left -= gap
        gaps.append(gap)
    return gaps


class _Labels:
    """Labels that no rule predicts."""

    def __init__(self, symbols: _Symbols, labels: int) -> None:
        self._bit, self._choice = symbols.bit, symbols.choice
        self._total = labels
        self._seen: list[int] = []  # in order of first appearance
        self._place = [-1] * labels  # of each label in `_seen`
        self._unseen = list(range(labels))

    def read_next(self, n: int, other: int, distance: int) -> int:
        """One that is not `n`; perhaps `other`, whose edge is to follow `distance` cells later."""
        if self._total == 2 or self._bit(NEXT_LABEL + (distance if distance < 2 else 2)):
            return other
        return self.read(n, other)

    def read(self, *excluded: int) -> int:
        """One that is none of those excluded, at most two, which were all seen."""
        seen, unseen = self._seen, self._unseen
        others = len(seen) - len(excluded)
        if self._bit(NEW) if others and unseen else not others:
            index = 0
            if len(unseen) > 1 and not self._bit(LOWEST):
                index = 1 + self._choice(len(unseen) - 1)
            label = unseen.pop(index)
            self._place[label] = len(seen)
            seen.append(label)
            return label
        index = self._choice(others)
        first, last = self._place[excluded[0]], self._place[excluded[-1]]
        if len(excluded) == 1:
            return seen[index + (index >= first)]
        if first > last:
            first, last = last, first
        index += index >= first
        return seen[index + (index >= last)]
