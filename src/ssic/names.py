"""What a group may be called, and what it is called where nobody says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

BACKGROUND = "background"

MAX_TEXT_BYTES = 255


# Text that a terminal or a page would obey instead of showing, and what makes two names look alike; and the
# comma, which separates groups on the command line.
_UNSAFE_TEXT = re.compile("[\x00-\x1f,\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


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


def numbered(names: Sequence[str], reserved: Iterable[str] = (BACKGROUND,)) -> list[str]:
    """Unique names: one that occurs once stays ("dog"), one that occurs more often is numbered ("person 1").

    >>> numbered(["person", "dog", "person"])
    ['person 1', 'dog', 'person 2']
    """
    reserved = set(reserved)
    count = Counter(names)
    alone = {name for name in names if count[name] == 1 and name not in reserved}
    taken, last, unique = reserved | alone, Counter[str](), []
    for name in names:
        chosen = name
        while name not in alone and chosen in taken | {name}:
            last[name] += 1
            chosen = f"{name} {last[name]}"
        taken.add(chosen)
        unique.append(chosen)
    return unique
