"""What a reader is ready to spend on bytes that it does not trust."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ssic.arguments import type_name
from ssic.blocks import BLOCK
from ssic.errors import InvalidInput, LimitExceeded

BYTES_PER_PIXEL = 200
"""Memory that decoding takes at its peak per pixel, for the budget below: measured with `benchmarks/memory.py`. `small`
takes less, and large pictures too, as they are computed in strips; a larger model takes more up to some 8 megapixels,
at 2 almost twice as much (docs/access.md)."""

BYTES_PER_REDUCED_BLOCK = 16_000
"""Memory that decoding a block at a lower resolution takes at its peak: measured likewise, 13,300 at 1/4."""

PIXELS_PER_WINDOW = 64 * 64
"""Of a window of 8x8 tokens at 1/8 of the picture. One at 1/16 shows four times as many, and takes the same memory."""


class LargePicture(UserWarning):
    """A file claims so many pixels that decoding it takes long, and much memory."""


@dataclass(frozen=True)
class DecodeLimits:
    """Upper bounds on what a file may ask for; beyond them reading fails with `LimitExceeded`.

    They are checked against numbers in the head before anything of that size is allocated or computed. Functions that
    are given none take those of the process (`set_default_limits`).
    """

    max_pixels: int = 178_956_970
    """Pixels of the picture, in whole 16x16 blocks: where Pillow, too, refuses. Bounds the time that a hostile mask
    can take. A file of a few bytes may claim so many and be valid: what decoding it may take is up to `max_memory`."""

    warn_pixels: int = 89_478_485
    """A `LargePicture` warning is given above so many, as Pillow warns."""

    max_memory: int = 2**33
    """Bytes that decoding may take, by an estimate of 200 a pixel of the 64x64 squares in which groups asked for lie
    (thinly scattered ones count as one square in each 128x128); at a lower resolution of 63 a pixel of their blocks.
    Services that decode what strangers send want less: time goes with it, about a second for 200 MB."""

    max_groups: int = 255
    """Groups in the table; the format itself allows 255."""

    max_head_bytes: int = 2**20
    """Bytes of the head body: table, mask and chunks (profiles and metadata)."""

    max_segment_bytes: int = 2**28
    """Bytes of one group's segment."""

    max_profile_bytes: int = 2**22
    """Bytes of the ICC profile after decompression."""

    min_scrypt_cost: int = 14
    """log2 of scrypt's N below which a passphrase guards nothing: such files are refused."""

    max_scrypt_cost: int = 17
    """log2 of scrypt's N: what trying a passphrase may cost. The default takes 128 MiB and some tenths of a second."""

    max_scrypt_salts: int = 8
    """How often one file may make a reader pay that cost."""

    def check_pixels(self, width: int, height: int, pixels: int) -> None:
        """
        Args:
            pixels: of the picture in whole blocks.

        Raises:
            LimitExceeded: there are too many. (If there are only very many, a `LargePicture` warning is given.)
        """
        if pixels > self.max_pixels:
            raise LimitExceeded(
                f"{width}x{height} takes {pixels} pixels in blocks; limit {self.max_pixels} (DecodeLimits.max_pixels, "
                "--max-pixels)"
            )
        if pixels > self.warn_pixels:
            warnings.warn(
                f"{width}x{height} takes {pixels:,} pixels: decoding it takes long, and much memory",
                LargePicture,
                4,
            )

    def check_work(self, blocks: int, windows: int) -> None:
        """
        Args:
            blocks: that are to be decoded.
            windows: that these lie in (`ssic.plan.most_windows`).

        Raises:
            LimitExceeded: that would take more memory than is allowed.
        """
        self._check_memory(blocks, windows * PIXELS_PER_WINDOW * BYTES_PER_PIXEL)

    def check_reduced_work(self, blocks: int) -> None:
        """The same where blocks are decoded at a lower resolution."""
        self._check_memory(blocks, blocks * BYTES_PER_REDUCED_BLOCK)

    def _check_memory(self, blocks: int, need: int) -> None:
        if need > self.max_memory:
            raise LimitExceeded(
                f"decoding {blocks * BLOCK * BLOCK:,} pixels takes about {need / 1e9:.1f} GB; the limit is "
                f"{self.max_memory / 1e9:.1f} GB (DecodeLimits.max_memory): decode some groups only, or allow more "
                "(--max-pixels N: so many pixels)"
            )


_default = DecodeLimits()


def default_limits() -> DecodeLimits:
    """The limits of this process, for all functions that are given none."""
    return _default


def set_default_limits(limits: DecodeLimits | None) -> DecodeLimits:
    """Set the limits of this process, also for what opens files unasked, as Pillow's plugin does.

    >>> from dataclasses import replace
    >>> before = set_default_limits(replace(default_limits(), max_pixels=1_000_000))
    >>> default_limits().max_pixels, set_default_limits(before).max_pixels
    (1000000, 1000000)

    Args:
        limits: None for those that the process began with.

    Returns:
        what held until now.

    Raises:
        InvalidInput: these are no limits.
    """
    global _default
    before, _default = _default, checked_limits(DecodeLimits() if limits is None else limits)
    return before


def _memory_for(pixels: int) -> int:
    """Bytes that are enough to decode any picture of so many pixels as a whole, but for very narrow ones: windows reach
    beyond its edges."""
    return BYTES_PER_PIXEL * (2 * pixels + 16 * PIXELS_PER_WINDOW)


@contextmanager
def allowing(pixels: int | None) -> Iterator[None]:
    """Within, files and pictures of up to so many pixels are taken, and no larger ones, by all functions of this
    process that are given no limits; then what held before holds again.

    Whoever names a size wants it decoded: the memory that this takes is allowed, and there is no warning up to it.

    >>> with allowing(200_000_000):
    ...     default_limits().max_pixels, default_limits().max_memory
    (200000000, 80013107200)

    Args:
        pixels: in whole blocks; None changes nothing.
    """
    if pixels is None:
        yield
        return
    now = default_limits()
    before = set_default_limits(
        replace(
            now,
            max_pixels=pixels,
            warn_pixels=max(now.warn_pixels, pixels),
            max_memory=max(now.max_memory, _memory_for(pixels)),
        )
    )
    try:
        yield
    finally:
        set_default_limits(before)


def checked_limits(limits: DecodeLimits | None) -> DecodeLimits:
    """`limits`, or those of the process (`InvalidInput` if they are none)."""
    if limits is None:
        return _default
    if not isinstance(limits, DecodeLimits):
        raise InvalidInput(f"limits are a DecodeLimits, not {type_name(limits)}")
    return limits
