"""The mask coder: a picture of labels to a few dozen bytes and back, exactly.

`docs/format.md` ("Mask") is the norm. In short: every cell is predicted from its left (W), upper (N) and
upper right (NE) neighbour by yes/no decisions with adaptive integer counts; labels that none of them has are
coded outright. One function, `_walk`, makes the decisions for both directions, so that they can't drift
apart.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from ssic.rangecoder import TOTAL, decoder_from_bytes, encoder_bytes, integer_model

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
_FLAT = 7  # the first candidate, and all neighbours are it

_ONE = 16  # what one occurrence adds to a count
_LIMIT = 1 << 14  # both counts are halved when they exceed this together
_STEPS = 1 << 12  # probabilities are multiples of 1/4096


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


class _Coder(Protocol):
    """Codes one decision. `value` is what to write; a reader ignores it. Returns what was coded."""

    def bit(self, context: int, value: bool) -> bool: ...
    def choice(self, size: int, value: int) -> int: ...


class _Writer:
    def __init__(self) -> None:
        self.encoder = constriction.stream.queue.RangeEncoder()
        self._counts = [list(pair) for pair in PRIORS]

    def bit(self, context: int, value: bool) -> bool:
        counts = self._counts[context]
        no, yes = counts
        self.encoder.encode(int(value), _binary(yes * _STEPS // (no + yes)))
        counts[value] += _ONE
        if no + yes + _ONE > _LIMIT:
            _halve(counts)
        return value

    def choice(self, size: int, value: int) -> int:
        if size > 1:
            self.encoder.encode(value, _uniform(size))
        return value


class _Reader(_Writer):
    """Writes again what it reads: the bytes are right only if they are those that a writer makes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._decoder = decoder_from_bytes(data)

    def bit(self, context: int, value: bool) -> bool:
        counts = self._counts[context]
        no, yes = counts
        model = _binary(yes * _STEPS // (no + yes))
        bit: int = self._decoder.decode(model)
        self.encoder.encode(bit, model)
        counts[bit] += _ONE
        if no + yes + _ONE > _LIMIT:
            _halve(counts)
        return bit == 1

    def choice(self, size: int, value: int) -> int:
        return super().choice(size, int(self._decoder.decode(_uniform(size))) if size > 1 else 0)


def _halve(counts: list[int]) -> None:
    counts[:] = [(count + 1) >> 1 for count in counts]


def _walk(coder: _Coder, cells: list[list[int]], labels: int) -> None:
    """Codes `cells`, rows of labels ``0 .. labels - 1``, in raster order; a reader fills them in.

    A reader's `cells` must hold numbers that are no labels.
    """
    width = len(cells[0])
    seen: list[int] = []  # in order of first appearance
    place = [-1] * labels  # of each label in `seen`
    unseen = list(range(labels))
    above = [-1] * (width + 2)
    for cell_row in cells:
        row = [-1] * (width + 2)
        for x in range(1, width + 1):
            want = cell_row[x - 1]
            w, n, nw, ne = row[x - 1], above[x], above[x - 1], above[x + 1]
            if w == n == nw == ne and w >= 0:
                # Most cells of most masks: what the loop below does, without its bookkeeping.
                if coder.bit(_FLAT, want == w):
                    row[x] = cell_row[x - 1] = w
                    continue
                row[x] = cell_row[x - 1] = _outright(coder, want, [w], seen, place, unseen)
                continue
            label = -1
            rejected: list[int] = []
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
        above = row


def _outright(
    coder: _Coder, want: int, rejected: list[int], seen: list[int], place: list[int], unseen: list[int]
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
