"""Reading the head of a file once, and holding it, so that what was checked is what is used."""

from __future__ import annotations

from ssic.errors import FormatError
from ssic.format.head import PREFIX_BYTES, head_length, read_head
from ssic.format.limits import DecodeLimits, checked_limits
from ssic.format.types import Head
from ssic.storage.held import HeldStart
from ssic.storage.source import Bytes


def hold_head(data: Bytes, limits: DecodeLimits | None = None) -> tuple[Bytes, Head]:
    """The head of a file, and the file with that head held in memory: all that is done with it from now on sees
    the bytes that were parsed here.

    Raises:
        FormatError: as `ssic.format.read_head`; also if the file changes while its head is read.
    """
    if not isinstance(data, (bytes, HeldStart)):  # all others can change
        bounds = checked_limits(limits)
        length = head_length(bytes(data[:PREFIX_BYTES]), bounds)
        start = bytes(data[:length])
        if head_length(start, bounds) != length:
            raise FormatError("the file changed while its head was read: open it again")
        data = HeldStart(start, data)
    return data, read_head(data, limits)
