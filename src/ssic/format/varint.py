"""Unsigned LEB128 integers: seven bits a byte, least significant first, the high bit on all but the last."""

from __future__ import annotations

MAX_BYTES = 9  # 63 bits: every value fits a signed 64-bit integer


def write_varint(value: int) -> bytes:
    """The shortest encoding of `value`, which must be in ``0 .. 2**63 - 1`` (else `ValueError`)."""
    if not 0 <= value < 1 << 7 * MAX_BYTES:
        raise ValueError(f"{value} does not fit a varint")
    if value <= 0x7F:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """The value at `offset`, and the offset behind it.

    Raises:
        IndexError: `data` ends inside of the varint.
        ValueError: the varint is longer than nine bytes or than it need be. One value has one form, so that
            a head has one form.
    """
    value = 0
    for i in range(MAX_BYTES):
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise ValueError("a varint has needless bytes")
            return value, offset + i + 1
    raise ValueError("a varint is longer than nine bytes")
