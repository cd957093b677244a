"""Constants of the file, and the rules that its writer and its reader share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

MAGIC = b"\xf3sic"
VERSION = 1
BLOCK = 16
ABSENT = 255
"""The block id of blocks that no group of the file owns."""

MODEL_ID_BYTES = 8
CRC_BYTES = 4
MAX_TEXT_BYTES = 255
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

# Text that a terminal or a page would obey instead of showing, and what makes two names look alike; and the
# comma, which separates groups on the command line.
_UNSAFE_TEXT = re.compile("[\x00-\x1f,\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TAG = re.compile("[A-Za-z]{4}")
_NUMBERED = re.compile("(.*[^ ]) [0-9]+")


def default_name(group_id: int) -> str:
    """The name of a group that was given none.

    >>> default_name(0), default_name(7)
    ('background', 'group 7')
    """
    return "background" if group_id == 0 else f"group {group_id}"


def class_of(name: str) -> str:
    """A name without its number.

    >>> class_of("person 2"), class_of("person")
    ('person', 'person')
    """
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else name


def grid(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the block grid.

    >>> grid(768, 500)
    (32, 48)
    """
    return -(-height // BLOCK), -(-width // BLOCK)


def text_fault(text: str) -> str | None:
    """Why `text` can't be a name or class, or None if it can."""
    if found := _UNSAFE_TEXT.search(text):
        return "has a comma" if found[0] == "," else "has control or invisible characters"
    if not text or text != text.strip(" "):
        return "is empty, or starts or ends with a space"
    if len(text.encode()) > MAX_TEXT_BYTES:
        return f"has more than {MAX_TEXT_BYTES} bytes"
    return None


def as_text(text: str) -> str:
    """`text` with what can't be in a name or class replaced by single spaces; may be empty, or too long.

    >>> as_text("dog,\\twild ")
    'dog wild'
    """
    return " ".join(_UNSAFE_TEXT.sub(" ", text).split())


def is_tag(tag: str) -> bool:
    """Whether `tag` is a chunk's tag: four ASCII letters."""
    return _TAG.fullmatch(tag) is not None


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
