"""The file format: heads, masks, segments. No model, no torch. `docs/format.md` is the norm.

>>> import numpy as np
>>> mask = np.zeros((2, 3), np.uint8)
>>> mask[0, 1] = 1
>>> parts = [Segment(0, "background", 60, b"sky"), Segment(1, "dog", 85, b"woof", class_name="dog")]
>>> data = write_file(width=40, height=20, model_id=b"12345678", mask=mask, segments=parts)
>>> head = read_head(data)
>>> [(group.name, group.blocks, group.length) for group in head.groups]
[('background', 5, 3), ('dog', 1, 4)]
>>> read_segment(data, head, 1)
b'woof'
>>> merge([extract(data, [1]), extract(data, [0])]) == data
True
"""

from __future__ import annotations

from ssic.format.container import (
    check,
    extract,
    merge,
    read_segment,
    read_segments,
    segment_of,
    write_file,
    write_like,
)
from ssic.format.edit import Replacement, check_clear, drop, renumber, reorder, replace
from ssic.format.head import PREFIX_BYTES, head_length, read_head
from ssic.format.layout import EXIF, ICC, SIGNATURE, XMP
from ssic.format.limits import DecodeLimits, LargePicture, allowing, default_limits, set_default_limits
from ssic.format.types import GroupEntry, Head, Segment

__all__ = [
    "EXIF",
    "ICC",
    "PREFIX_BYTES",
    "SIGNATURE",
    "XMP",
    "DecodeLimits",
    "GroupEntry",
    "Head",
    "LargePicture",
    "Replacement",
    "Segment",
    "allowing",
    "check",
    "check_clear",
    "default_limits",
    "drop",
    "extract",
    "head_length",
    "merge",
    "read_head",
    "read_segment",
    "read_segments",
    "renumber",
    "reorder",
    "replace",
    "segment_of",
    "set_default_limits",
    "write_file",
    "write_like",
]
