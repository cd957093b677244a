"""What a reader is ready to spend on bytes that it does not trust."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ssic.arguments import type_name
from ssic.blocks import BLOCK
from ssic.errors import InvalidInput, LimitExceeded

BAND_PIXELS = 2**21
"""Pixels that pass through the networks' layers at a time, see `ssic.engine.bands`; or as many as 128 rows have."""

BAND_BYTES = 100
"""Memory that each of these takes, measured with `benchmarks/memory.py` and the model `base`, as all that follow."""

DECODED_BYTES = 16
"""Memory that each pixel takes that is decoded."""

SHOWN_BYTES = 6
"""Memory that each pixel takes of the picture in which the decoded ones are shown."""

ENCODED_BYTES = 20
"""Memory that each pixel takes that is encoded, beyond the pixels that are given."""


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
    """Bytes that encoding or decoding may take beyond the loaded model, by an estimate that errs on the safe side
    (`decoding_memory`, `encoding_memory`): 22 a pixel, and 0.2 GB. Services that decode what strangers send want less:
    time goes with it, some two seconds of a core for 22 MB."""

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

    def check_decoding(self, pixels: int, width: int, height: int, scale: int = 1) -> None:
        """
        Args:
            pixels: that are to be decoded, in whole blocks.
            width, height: of the picture.
            scale: at 1/scale of the resolution.

        Raises:
            LimitExceeded: that would take more memory than is allowed.
        """
        need = decoding_memory(pixels, width, height, scale)
        if need > self.max_memory:
            raise LimitExceeded(
                f"decoding {pixels:,} pixels takes about {spoken_bytes(need)}; the limit is "
                f"{spoken_bytes(self.max_memory)} (DecodeLimits.max_memory, --memory): decode some groups only, or "
                "allow more"
            )


def spoken_bytes(count: int) -> str:
    """
    >>> spoken_bytes(8_590_000_000), spoken_bytes(512_345), spoken_bytes(999)
    ('8.6 GB', '512 kB', '999 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.{1 if count < 10 * unit else 0}f} {name}"
    return f"{count} bytes"


def decoding_memory(pixels: int, width: int, height: int, scale: int = 1) -> int:
    """Bytes that decoding takes at most, about.

    >>> f"{decoding_memory(12_000_000, 4000, 3000) / 1e9:.1f} GB"
    '0.5 GB'

    Args:
        pixels: that are decoded, of a picture of this width and height.
        scale: at 1/scale of the resolution; the networks don't run then.
    """
    need = DECODED_BYTES * pixels + SHOWN_BYTES * width * height // scale**2
    return need + _band_memory(pixels, width) if scale == 1 else need


def encoding_memory(width: int, height: int) -> int:
    """Bytes that encoding a picture takes at most, about, beyond its pixels."""
    pixels = width * height
    return ENCODED_BYTES * pixels + _band_memory(pixels, width)


def _band_memory(pixels: int, width: int) -> int:
    return BAND_BYTES * min(pixels, max(BAND_PIXELS, 8 * BLOCK * width))


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


@contextmanager
def allowing(pixels: int | None, memory: int | None = None) -> Iterator[None]:
    """Within, files and pictures of up to so many pixels are taken, and no larger ones, by all functions of this
    process that are given no limits; then what held before holds again.

    Whoever names a size wants it coded: unless `memory` says otherwise, what this takes is allowed, and there is no
    warning up to it.

    >>> with allowing(400_000_000):
    ...     default_limits().max_pixels, default_limits().max_memory > 2**33
    (400000000, True)

    Args:
        pixels: in whole blocks; None changes nothing.
        memory: bytes that coding may take; None changes nothing.
    """
    now = default_limits()
    if pixels is not None:
        # Of one row, which no picture takes more for.
        enough = max(decoding_memory(pixels, pixels, 1), encoding_memory(pixels, 1))
        now = replace(
            now,
            max_pixels=pixels,
            warn_pixels=max(now.warn_pixels, pixels),
            max_memory=max(now.max_memory, enough),
        )
    if memory is not None:
        now = replace(now, max_memory=memory)
    before = set_default_limits(now)
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
