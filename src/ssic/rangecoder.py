"""The range coder with integer tables: a thin layer over constriction.

`docs/format.md` ("Range coder") is the norm, `tests/helpers/reference_range_decoder.py` an independent reading of it.
Three things are settled here, for every entropy-coded stream of a file:

* tables are integers that sum to ``2**24`` and reach the coder unchanged (`integer_model`);
* 32-bit words are stored with the most significant byte first, so that the stream reads as one long binary
  fraction, of which a decoder takes missing bytes as zero (`decoder_from_bytes`);
* of all fractions that decode to the same symbols, the one with the fewest bytes is stored (`encoder_bytes`).
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

# constriction is one extension module: its parts are attributes, not packages to import from.
RangeEncoder = constriction.stream.queue.RangeEncoder
RangeDecoder = constriction.stream.queue.RangeDecoder
Categorical = constriction.stream.model.Categorical

PRECISION = 24
TOTAL = 1 << PRECISION

_WORD_BYTES = 4
_STATE_BITS = 64


def integer_model(frequencies: NDArray[Any]) -> Any:
    """A constriction model whose cumulative frequencies are exactly those given.

    Args:
        frequencies: integers, shape ``[n]`` with ``2 <= n < 2**24 - 1``, each at least 1, together ``2**24``.

    Returns:
        A model of the symbols ``0..n-1`` for `RangeEncoder.encode` and `RangeDecoder.decode`.

    Raises:
        ValueError: the frequencies are not such a table.

    Why it is exact: with ``perfect=False``, constriction gives every symbol 1 and shares the remaining
    ``2**24 - n`` out as ``floor(cumulative weight * (2**24 - n) / total weight)``. The weights ``f - 1`` are
    integers whose total *is* ``2**24 - n``, so that the factor is 1.0, every partial sum is an integer below
    ``2**53``, and floor has nothing to do.
    """
    table = np.asarray(frequencies)
    if table.ndim != 1 or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"frequencies must be a row of integers, not {table.dtype} of shape {table.shape}")
    if table.size < 2:
        raise ValueError("a table needs two symbols: one symbol alone carries nothing and is not coded")
    # The maximum first: it keeps the sum of a 64-bit table from wrapping around.
    if int(table.min()) < 1 or int(table.max()) >= TOTAL or int(table.sum(dtype=np.int64)) != TOTAL:
        raise ValueError(f"frequencies must be at least 1 each and {TOTAL} together")
    return Categorical(table.astype(np.float64) - 1.0, perfect=False)


def encoder_bytes(encoder: Any) -> bytes:
    """The shortest bytes from which `decoder_from_bytes` decodes everything that was encoded.

    The encoder holds an interval of fractions, any of which will do. Its own last words single one out to
    within 32 bits; this takes the one with the fewest bytes (the smallest of those), about 2 bytes less for
    each stream. The encoder is left as it is.
    """
    words: int
    words, (lower, width) = encoder.pos()
    sealed: bytes = encoder.get_compressed().astype(">u4").tobytes()
    size = _WORD_BYTES * words + _STATE_BITS // 8
    point = int.from_bytes(sealed.ljust(size, b"\0"), "big")
    # `lower` is known modulo 2**64 only; carries into earlier words are settled by the sealed stream.
    low = point - (point - lower) % (1 << _STATE_BITS)
    high = low + width - 1
    dropped = next(bits for bits in range(_STATE_BITS, -1, -8) if high >> bits << bits >= low)
    fraction: int = -(-low >> dropped)
    return fraction.to_bytes(size - dropped // 8, "big").rstrip(b"\0")


def decoder_from_bytes(data: bytes) -> Any:
    """A decoder of what `encoder_bytes` wrote; bytes beyond the end count as zeros.

    Decoding bytes that no encoder wrote either gives wrong symbols or raises `AssertionError` (constriction's
    way of saying that the data contradict the model); callers turn the latter into a `FormatError`.
    """
    padded = data + bytes(-len(data) % _WORD_BYTES)
    return RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))
