"""What a reader is ready to spend on bytes that it does not trust."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeLimits:
    """Upper bounds on what a file may ask for; beyond them reading fails with `LimitExceeded`.

    They are checked against numbers in the head before anything of that size is allocated or computed.
    """

    max_pixels: int = 2**26
    """Pixels of the picture, in whole 16x16 blocks. Bounds the time that a hostile mask can take (about a second
    at the default of 67 megapixels). A file of a few bytes may claim so many pixels and be valid: decoding it then
    takes what a picture of that size takes, a minute or two on two cores and several GB. Services that decode what
    strangers send want a lower limit."""

    max_groups: int = 255
    """Groups in the table; the format itself allows 255."""

    max_head_bytes: int = 2**20
    """Bytes of the head body: table, mask and chunks (profiles and metadata)."""

    max_segment_bytes: int = 2**28
    """Bytes of one group's segment."""

    max_profile_bytes: int = 2**22
    """Bytes of the ICC profile after decompression."""

    max_scrypt_cost: int = 17
    """log2 of scrypt's N: what trying a passphrase may cost. The default takes 128 MiB and some tenths of a second."""

    max_scrypt_salts: int = 8
    """How often one file may make a reader pay that cost."""
