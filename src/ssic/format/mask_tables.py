"""What reader and writer of coded masks share: contexts, counts, tables. `docs/format.md` ("Mask") is the norm."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ssic.rangecoder import PRECISION, TOTAL, integer_model

# Contexts of the yes/no decisions.
STRAIGHT = 0
STAYS = 1  # to 4
FOLLOWS = 5  # to 16
NEXT_LABEL = 17  # to 19
NEW = 20
LOWEST = 21
OVER = 22

# Counts (no, yes) that each context starts with, in sixteenths of an occurrence; tables of numbers and quotients:
# fitted to synthetic masks (unions of boxes, blobs) by `benchmarks/mask_bits.py --fit`, numbers then given a longer
# tail, as masks may be larger and finer than those. Part of the format.
# fmt: off
START: tuple[tuple[int, int], ...] = (
    (64, 64),  # do the edge above and the cell before it go on as they are?
    (128, 256), (32, 16), (32, 512), (32, 64),  # if not, does the cell before it?
    (32, 16), (256, 32), (64, 32), (32, 32),  # is a cell that differs from its left neighbour as the one above?
    (128, 256), (256, 32), (64, 32), (128, 64),
    (128, 32), (256, 8), (16, 1), (256, 32),
    (8, 64), (16, 64), (32, 32),  # is what begins here the label of the next edge?
    (32, 64),  # is it a label that has not appeared yet?
    (4, 16),  # is it the lowest such label?
    (8, 8),  # is a gap over (where gaps are short)?
)
_NUMBER = (8, 24, 48, 60, 48, 24, 8, 4, 4, 2, 2, 2, 2, 2) + (1,) * 18
_QUOTIENT = (105, 61, 34, 20, 11, 7, 5, 3, 2, 2, 1, 1, 1, 1, 1, 1)
# fmt: on
ESCAPE = len(_QUOTIENT) - 1  # a quotient of so much or more

ONE = 16  # what one occurrence adds to a count
LIMIT = 1 << 12  # both counts are halved when they exceed this together
SHARE_BITS = 8  # probabilities are multiples of 1/256
DIGIT_BITS = 8  # bits that are equally likely are coded so many at a time


def _table(shares: tuple[int, ...]) -> Any:
    return integer_model(np.array(shares) << PRECISION - SHARE_BITS)


NUMBER = _table(_NUMBER)
QUOTIENT = _table(_QUOTIENT)


@cache
def decisions() -> list[Any]:
    """For each p, 0 to 255, the model in which "yes" has probability p / 256; 1 / 256 for 0."""
    return [_table((256 - p, p)) for p in (1, *range(1, 256))]


@cache
def even(size: int) -> Any:
    """The model of a choice among `size`, 2 to 256, that are equally likely."""
    frequencies = np.full(size, TOTAL // size)
    frequencies[: TOTAL % size] += 1
    return integer_model(frequencies)


def digits(bits: int) -> list[int]:
    """How a number of so many bits is cut, most significant first."""
    return [min(DIGIT_BITS, bits - done) for done in range(0, bits, DIGIT_BITS)]


def gap_bits(cells: int, breaks: int) -> int:
    """How many low bits of each gap are coded as equally likely; 0 where gaps are short, and told one by one."""
    mean = cells // (breaks + 1)
    return mean.bit_length() - 2 if mean >= 8 else 0
