"""Constants of the file, and the rules that its writer and its reader share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

MAGIC = b"\xf3sic"
VERSION = 1

MODEL_ID_BYTES = 8
CRC_BYTES = 4
MAX_SIZE = 2**32 - 1
ICC, EXIF, XMP = "ICCP", "EXIF", "XMPP"
SIGNATURE = "SIGN"
"""Tags of the chunks that this version defines."""

SEAL_BYTES = 13
"""The seal of a file with encrypted groups: its suite (one byte, not 0) and its file id."""

# Flags of the head; bits 4 and 5 hold the mask's step.
EXPLICIT_IDS, EXPLICIT_ORDER, HAS_CHUNKS, HAS_ABSENT, PLAIN, SEALED = 1, 2, 4, 8, 64, 128
STEP_SHIFT = 4
# Flags of a group; bit 7 is zero.
NAME, CLASS, CLASS_OF_NAME, SCORE, ENCRYPTED, SAME_QUALITY, HIDDEN = 1, 2, 4, 8, 16, 32, 64
GROUP_FLAGS = 0x7F

HIDDEN_NAME = "sealed"

_HIDDEN_NUMBERED = re.compile(HIDDEN_NAME + " ([2-9]|[1-9][0-9]{1,2})")
_TAG = re.compile("[A-Za-z]{4}")


def is_tag(tag: str) -> bool:
    """Whether `tag` is a chunk's tag: four ASCII letters."""
    return _TAG.fullmatch(tag) is not None


def is_hidden_name(name: str) -> bool:
    """Whether a hidden entry may be called so: "sealed", "sealed 2", ..., "sealed 999"."""
    return name == HIDDEN_NAME or _HIDDEN_NUMBERED.fullmatch(name) is not None


def default_order(blocks: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Table indices in the order of the segments that needs no bytes.

    The smallest groups come first, so that a prefix of the file holds as many whole objects as it can; ties
    go by id, and id 0, by convention the background, is last.
    """
    return sorted(range(len(ids)), key=lambda i: (ids[i] == 0, blocks[i], ids[i]))


def whole_order(blocks: Mapping[int, int], first: Iterable[int] = ()) -> list[int]:
    """All ids in the order of their segments: `first`, then the others in the default order.

    Args:
        blocks: how many each group has, by id.
    """
    chosen = list(dict.fromkeys(first))
    others = [i for i in blocks if i not in chosen]
    return chosen + [others[place] for place in default_order([blocks[i] for i in others], others)]
