"""From labels to a coded mask. `docs/format.md` ("Mask") is the norm; `mask_reader` does the same the other way.

The steps of `walk` are those of `mask_reader.read_cells`, one by one. They are written out twice because that is twice
as fast as one function for both directions; the tests hold the two, and a third by the document, together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
from ssic.rangecoder import RangeEncoder, encoder_bytes


def cell_bytes(cells: bytes, width: int, labels: int) -> bytes:
    """Codes the cells of a mask.

    Args:
        cells: in raster order, one byte each: labels ``0 .. labels - 1``.
        labels: 2 to 256.
    """
    gaps, events = walk(cells, width, labels)
    encoder = RangeEncoder()
    _write_number(encoder, len(gaps))
    bits = gap_bits(len(cells), len(gaps))
    if bits and gaps:
        _write_gaps(encoder, gaps, bits)
    elif gaps:
        events = short_gaps(gaps) + events
    counts = [[no, yes] for no, yes in START]
    models = decisions()
    encode = encoder.encode
    for event in events:
        if event >= 0:
            bit = event & 1
            pair = counts[event >> 1]
            no, yes = pair
            total = no + yes
            encode(bit, models[(yes << SHARE_BITS) // total])
            pair[bit] += ONE
            if total > LIMIT - ONE:
                pair[:] = (pair[0] + 1) >> 1, (pair[1] + 1) >> 1
        else:
            index, size = divmod(~event, 512)
            encode(index, even(size))
    return encoder_bytes(encoder)


def _write_number(encoder: Any, value: int) -> None:
    bits = (value + 1).bit_length() - 1
    encoder.encode(bits, NUMBER)
    for size in digits(bits):
        bits -= size
        encoder.encode((value + 1) >> bits & (1 << size) - 1, even(1 << size))


def _write_gaps(encoder: Any, gaps: list[int], bits: int) -> None:
    values = np.array(gaps, np.int32)
    quotients = values >> bits
    longest = int(quotients.max())
    encoder.encode(quotients if longest < ESCAPE else np.minimum(quotients, ESCAPE), QUOTIENT)
    left = bits
    for size in digits(bits):
        left -= size
        encoder.encode(values >> left & (1 << size) - 1, even(1 << size))
    if longest >= ESCAPE:
        for quotient in quotients[quotients >= ESCAPE].tolist():
            _write_number(encoder, quotient - ESCAPE)


def short_gaps(gaps: list[int]) -> list[int]:
    """The decisions that say them: as many times no, and a yes."""
    return [event for gap in gaps for event in [2 * OVER] * gap + [2 * OVER + 1]]


def walk(cells: bytes, width: int, labels: int) -> tuple[list[int], list[int]]:
    """What there is to say about a mask, before any of it is coded.

    Returns:
        Before each break, how many chances to break pass by; and the decisions, ``2 context + bit``, in one list
        with the choices, ``~(512 index + size)``.
    """
    gaps: list[int] = []
    events: list[int] = []
    add = events.append
    names = _Labels(events, labels)
    free = 0
    third = labels > 2  # only then can a cell be neither W nor N

    names.add(cells[0])
    above = above2 = cells[:1] * width
    edges = [width + 1]  # of the row above: where a label differs from the one before, and an end
    begin = 1  # the first cell is known
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        same = row == above
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
                    label = row[x]
                    if label == n:
                        add(2 * context + 1)
                        found.append(x)
                        x += 1
                        break
                    add(2 * context)
                    if third:
                        if label == w:
                            free += 1
                        else:
                            gaps.append(free)
                            free = 0
                            names.add(label, n, w)
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
                if not same and row[x : e - 1] != above[x : e - 1]:
                    begun = x
                    while row[x] == n:
                        x += 1
                    gaps.append(free + x - begun)
                    free = 0
                    if e < width:
                        names.add_next(row[x], n, above[e], e - 2 - x)
                    else:
                        names.add(row[x], n)
                    found.append(x)
                    x += 1
                    break
                free += e - 1 - x
                if e > width:
                    x = width
                    break
                # The edge and the cell before it, together.
                b = above[e]
                stays = row[e - 1] == n
                if stays and row[e] == b:
                    add(2 * STRAIGHT + 1)
                    found.append(e)
                    x = e + 1
                    j += 1
                    if edges[j] == x:
                        break
                    n = b
                    continue
                add(2 * STRAIGHT)
                add(2 * (STAYS + (above2[e - 1] == n) + 2 * (above2[e] == b)) + stays)
                if stays:
                    x, other = e, n
                else:
                    x, other = e - 1, b
                    found.append(x)
                if third:
                    if row[x] == other:
                        free += 1
                    else:
                        gaps.append(free)
                        free = 0
                        names.add(row[x], n, b)
                        if x == e:
                            found.append(e)
                x += 1
                break
        found.append(width + 1)
        above2, above, edges = above, row, found
    return gaps, events


class _Labels:
    """Labels that no rule predicts."""

    def __init__(self, events: list[int], labels: int) -> None:
        self._events = events
        self._total = labels
        self._seen: list[int] = []  # in order of first appearance
        self._place = [-1] * labels  # of each label in `_seen`
        self._unseen = list(range(labels))

    def add_next(self, label: int, n: int, other: int, distance: int) -> None:
        """`label` is not `n`; perhaps `other`, whose edge is to follow `distance` cells later."""
        if self._total > 2:
            is_it = label == other
            self._events.append(2 * (NEXT_LABEL + (distance if distance < 2 else 2)) + is_it)
            if not is_it:
                self.add(label, n, other)

    def add(self, label: int, *excluded: int) -> None:
        """`label` is none of those excluded, which were all seen."""
        place, unseen, events = self._place[label], self._unseen, self._events
        others = len(self._seen) - len(excluded)
        if others and unseen:
            events.append(2 * NEW + (place < 0))
        if place < 0:
            index = unseen.index(label)
            if len(unseen) > 1:
                events.append(2 * LOWEST + (index == 0))
                if index and len(unseen) > 2:
                    events.append(~(512 * (index - 1) + len(unseen) - 1))
            self._place[unseen.pop(index)] = len(self._seen)
            self._seen.append(label)
        elif others > 1:
            index = place
            for other in excluded:
                index -= self._place[other] < place
            events.append(~(512 * index + others))
