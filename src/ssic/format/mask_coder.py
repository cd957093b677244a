"""The mask coder: a picture of labels to a few dozen bytes and back, exactly.

`docs/format.md` ("Mask") is the norm. In short: every cell is predicted from its left (W), upper (N) and
upper right (NE) neighbour by yes/no decisions with adaptive integer counts; labels that none of them has are
coded outright. One function, `_walk`, makes the decisions for both directions, so that they can't drift
apart.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ssic.format.rangecoder import TOTAL, Categorical, decoder_from_bytes, encoder_bytes, integer_model

MAX_STEP = 3

# Counts (no, yes) that each context starts with, in sixteenths of an occurrence: fitted to synthetic masks
# (unions of boxes, blobs) by `benchmarks/mask_bits.py --fit`. Part of the format: never to be changed.
# Rows: first, second, third candidate; columns: N + 2 NW + 4 NE, each 1 where it equals the candidate.
# fmt: off
PRIORS: tuple[tuple[int, int], ...] = (
    (64, 128), (32, 256), (128, 64), (16, 128), (64, 512), (16, 512), (128, 64), (16, 512),
    (8, 8), (2, 16), (8, 8), (4, 32), (8, 128), (8, 256), (8, 128), (4, 256),
    (8, 8), (8, 8), (8, 8), (8, 8), (8, 64), (8, 8), (1, 2), (8, 8),
    (128, 64),  # is it a label that has not appeared yet?
    (4, 16),  # is it the lowest such label?
)
# fmt: on
_NEW, _FIRST = 24, 25
_FLAT = 7  # the first candidate, with which all neighbours agree

_ONE = 16  # what one occurrence adds to a count
_LIMIT = 1 << 14  # both counts are halved when they exceed this together
_STEPS = 1 << 12  # probabilities are multiples of 1/4096
_FAMILY = Categorical(perfect=False)  # models that get their tables with the symbols
_PROBE, _AHEAD = 8, 256  # decisions one by one before, and at most, many at once
_ONES = np.ones(_AHEAD, np.int32)


@cache
def _binary(yes: int) -> Any:
    """The model in which "yes" has probability `yes` / 4096, or the next that leaves both possible."""
    yes = min(max(yes, 1), _STEPS - 1)
    return integer_model(np.array([_STEPS - yes, yes]) * (TOTAL // _STEPS))


@cache
def _uniform(size: int) -> Any:
    frequencies = np.full(size, TOTAL // size)
    frequencies[: TOTAL % size] += 1
    return integer_model(frequencies)


@lru_cache(maxsize=64)
def _stretch(no: int, yes: int) -> NDArray[np.float64]:
    """The tables of the next decisions in a row if all are yes, as far as the halving of the counts, ``[n, 2]``, as
    constriction takes them: frequencies less one (see `integer_model`)."""
    counts = yes + _ONE * np.arange(min(_AHEAD, (_LIMIT - no - yes) // _ONE + 1))
    share = np.clip(counts * _STEPS // (no + counts), 1, _STEPS - 1)
    return np.stack([_STEPS - share, share], 1) * float(TOTAL // _STEPS) - 1


class _Writer:
    """Codes decisions, with the adaptive counts of their contexts. `value` is what to write; a reader ignores it.
    What is returned was coded."""

    def __init__(self) -> None:
        self.encoder = constriction.stream.queue.RangeEncoder()
        self._counts = [list(pair) for pair in PRIORS]
        self._ahead = (*PRIORS[_FLAT], _stretch(*PRIORS[_FLAT]))  # counts, and the tables from there on

    def bit(self, context: int, value: bool) -> bool:
        """A decision."""
        counts = self._counts[context]
        no, yes = counts
        value = self._bit(value, _binary(yes * _STEPS // (no + yes)))
        counts[value] += _ONE
        if no + yes + _ONE > _LIMIT:
            counts[:] = [(count + 1) >> 1 for count in counts]
        return value

    def run(self, most: int, value: int) -> int:
        """Decisions in context `_FLAT` until one is no, at most `most`; `value` and result: how many are yes. The same
        as `bit` one after the other, but much faster, and most of a mask is this."""
        done = 0
        while done < most:
            if done < _PROBE:  # tables ahead are not worth their making before it looks like a long run
                if not self.bit(_FLAT, done < value):
                    break
                done += 1
                continue
            counts = self._counts[_FLAT]
            # What a reader reads in vain is at most as much as it read with success.
            tables = self._tables(*counts)[: min(most - done, 2 * done)]
            found = self._bits(min(value - done, len(tables)), tables)
            ended = found < len(tables)
            done += found
            counts[1] += _ONE * found
            counts[0] += _ONE * ended
            if counts[0] + counts[1] > _LIMIT:  # at the last of them: there are no tables beyond
                counts[:] = [(count + 1) >> 1 for count in counts]
            if ended:
                break
        return done

    def _tables(self, no: int, yes: int) -> NDArray[np.float64]:
        then_no, then_yes, tables = self._ahead
        done, rest = divmod(yes - then_yes, _ONE)
        if no != then_no or rest or not 0 <= done < len(tables):
            done, tables = 0, _stretch(no, yes)
            self._ahead = no, yes, tables
        return tables[done:]

    def choice(self, size: int, value: int) -> int:
        """One of `size`, evenly."""
        if size > 1:
            self.encoder.encode(value, _uniform(size))
        return value

    def _bit(self, value: bool, model: Any) -> bool:
        self.encoder.encode(int(value), model)
        return value

    def _bits(self, value: int, tables: NDArray[np.float64]) -> int:
        """`run`, with the tables of all its decisions."""
        count = min(value + 1, len(tables))
        bits = _ONES[:count]
        if value < count:
            bits = np.ones(count, np.int32)
            bits[value] = 0
        self.encoder.encode(bits, _FAMILY, tables[:count])
        return value


class _Reader(_Writer):
    """Writes again what it reads: the bytes are right only if they are those that a writer makes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._decoder = decoder_from_bytes(data)

    def choice(self, size: int, value: int) -> int:
        return super().choice(size, int(self._decoder.decode(_uniform(size))) if size > 1 else 0)

    def _bit(self, value: bool, model: Any) -> bool:
        bit = self._decoder.decode(model)
        self.encoder.encode(bit, model)
        return bool(bit)

    def _bits(self, value: int, tables: NDArray[np.float64]) -> int:
        return super()._bits(self._read(tables), tables)

    def _read(self, tables: NDArray[np.float64]) -> int:
        # As if all were yes. Up to the first no that was right; what followed has other tables: back to there.
        start = self._decoder.clone()
        try:
            bits = self._decoder.decode(_FAMILY, tables)
        except AssertionError:  # perhaps behind a no only, where what is read means nothing
            self._decoder = start
            for found in range(len(tables)):
                if not start.decode(_FAMILY, tables[found : found + 1])[0]:
                    return found
            return len(tables)
        found = int(bits.argmin())
        if bits[found]:
            return len(tables)
        self._decoder = start
        start.decode(_FAMILY, tables[: found + 1])
        return found


def _walk(coder: _Writer, cells: list[list[int]], labels: int) -> None:
    """Codes `cells`, rows of labels ``0 .. labels - 1``, in raster order; a reader fills them in.

    A reader's `cells` must hold numbers that are no labels.
    """
    width = len(cells[0])
    seen: list[int] = []  # in order of first appearance
    place = [-1] * labels  # of each label in `seen`
    unseen = list(range(labels))
    above = [-1] * (width + 2)
    bends = [width + 2]  # where a cell of the row above differs from the one on its left, and the end
    for cell_row in cells:
        row = [-1] * (width + 2)
        bent: list[int] = []
        bend, x = 0, 1
        while x <= width:
            want = cell_row[x - 1]
            w, n, nw, ne = row[x - 1], above[x], above[x - 1], above[x + 1]
            label = -1
            rejected: list[int] = []
            if w >= 0 and (n < 0 or (w == n == nw and (w == ne or ne < 0))):
                # As far as the row above has this label, all are decisions in the same context.
                while bends[bend] <= x + 1:
                    bend += 1
                most = min(bends[bend] - 1, width + 1) - x
                same = next((i for i in range(most) if cell_row[x - 1 + i] != w), most) if want >= 0 else 0
                same = coder.run(most, same)
                row[x : x + same] = cell_row[x - 1 : x - 1 + same] = [w] * same
                x += same
                if same == most:
                    continue
                want = cell_row[x - 1]
                rejected.append(w)
            else:
                for candidate in (w, n, ne):
                    if candidate < 0 or candidate in rejected:
                        continue
                    if labels - len(rejected) == 1:
                        label = candidate  # nothing else is left
                        break
                    # A neighbour outside of the grid counts as equal.
                    context = 8 * len(rejected)
                    context += (n == candidate or n < 0) + 2 * (nw == candidate or nw < 0)
                    context += 4 * (ne == candidate or ne < 0)
                    if coder.bit(context, want == candidate):
                        label = candidate
                        break
                    rejected.append(candidate)
            if label < 0:
                label = _outright(coder, want, rejected, seen, place, unseen)
            row[x] = cell_row[x - 1] = label
            if label != row[x - 1] and x > 1:
                bent.append(x)
            x += 1
        above, bends = row, [*bent, width + 2]


def _outright(
    coder: _Writer, want: int, rejected: list[int], seen: list[int], place: list[int], unseen: list[int]
) -> int:
    """Codes a label that is none of those `rejected`; keeps the lists of labels seen and unseen."""
    others = len(seen) - len(rejected)
    new = coder.bit(_NEW, want >= 0 and place[want] < 0) if others and unseen else not others
    if new:
        index = 0
        if len(unseen) > 1 and not coder.bit(_FIRST, want == unseen[0]):
            index = 1 + coder.choice(len(unseen) - 1, unseen.index(want) - 1 if want >= 0 else 0)
        label = unseen.pop(index)
        place[label] = len(seen)
        seen.append(label)
        return label
    # Places are counted without the labels already ruled out.
    skipped = sorted(place[label] for label in rejected)
    index = coder.choice(others, place[want] - sum(p < place[want] for p in skipped) if want >= 0 else 0)
    for p in skipped:
        index += index >= p
    return seen[index]


def mask_step(mask: NDArray[np.uint8]) -> int:
    """The largest ``s <= 3`` for which `mask` ``[h, w]`` is constant on aligned ``2**s x 2**s`` blocks."""
    step = 0
    while step < MAX_STEP and np.array_equal(_expand(_shrink(mask, step + 1), step + 1, mask.shape), mask):
        step += 1
    return step


def _shrink(mask: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    return mask[:: 1 << step, :: 1 << step]


def _expand(cells: NDArray[np.uint8], step: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return cells.repeat(1 << step, axis=0).repeat(1 << step, axis=1)[: shape[0], : shape[1]]


def encode_mask(mask: NDArray[np.uint8], labels: int, step: int) -> bytes:
    """Codes labels.

    Args:
        mask: ``[h, w]``, values ``0 .. labels - 1``, constant on blocks of ``2**step`` (see `mask_step`).
        labels: size of the alphabet, ``1 .. 256``. One label needs no bytes.
    """
    cells = _shrink(mask, step)
    return _encoded(cells.tobytes(), cells.shape[1], labels) if labels > 1 else b""


# Whoever serves groups, or looks for a quality, meets the same few masks again and again.
@lru_cache(maxsize=64)
def _encoded(cells: bytes, width: int, labels: int) -> bytes:
    writer = _Writer()
    rows = [list(cells[start : start + width]) for start in range(0, len(cells), width)]
    _walk(writer, rows, labels)
    return encoder_bytes(writer.encoder)


def decode_mask(data: bytes, shape: tuple[int, int], labels: int, step: int) -> NDArray[np.uint8]:
    """The inverse of `encode_mask`: ``[h, w]`` of labels ``0 .. labels - 1``.

    Raises:
        ValueError: `data` is not what `encode_mask` writes for any mask.

    Time and memory are bounded by `shape`, which the caller checks against the limits.
    """
    if labels == 1:
        if data:
            raise ValueError("there are bytes of a mask where none are needed")
        return np.zeros(shape, np.uint8)
    height, width = (-(-size >> step) for size in shape)
    return _expand(_decoded(data, height, width, labels), step, shape)


@lru_cache(maxsize=64)
def _decoded(data: bytes, height: int, width: int, labels: int) -> NDArray[np.uint8]:
    reader = _Reader(data)
    cells = [[-1] * width for _ in range(height)]
    try:
        _walk(reader, cells, labels)
    except AssertionError as error:  # constriction's word for data that contradict the model
        raise ValueError("the mask's bytes are no coded mask") from error
    if encoder_bytes(reader.encoder) != data:
        raise ValueError("the mask's bytes are not the shortest form of that mask")
    found = np.array(cells, np.uint8)
    found.flags.writeable = False  # it is kept
    return found
