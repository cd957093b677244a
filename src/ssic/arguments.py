"""Checks of what callers give, for all modules: a wrong type ends in an error of ssic that says what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ssic.errors import InvalidInput


def as_mapping(given: Any, what: str, error: type[InvalidInput] = InvalidInput) -> Mapping[Any, Any]:
    """`given` itself; nothing if it is None.

    Raises:
        InvalidInput: it is no mapping; or `error`, a kind of it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise error(f"{what} is a mapping like {{...: ...}}, not {type(given).__name__}")
    return given


def is_whole(value: object) -> bool:
    """Whether it is an integer, also one of NumPy's; bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a real number, also one of NumPy's; bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def whole_from_one(value: object, most: int, what: str) -> int:
    """`value` as an int.

    Raises:
        InvalidInput: it is not an integer from 1 to `most`; `what` is what messages call it.
    """
    if not is_whole(value) or not 1 <= value <= most:  # type: ignore[operator]
        raise InvalidInput(f"{what} is an integer from 1 to {most}, not {value!r:.80}")
    return int(value)  # type: ignore[call-overload]


def type_name(value: object) -> str:
    """What messages call a value of the wrong type: its type's name, and None for None."""
    return "None" if value is None else type(value).__name__


def counted(number: int, thing: str) -> str:
    """
    >>> counted(1, "group"), counted(2, "group")
    ('1 group', '2 groups')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listing(listed: Sequence[str], most: int = 20) -> str:
    """The first of a list, for messages, and how many more there are."""
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def text_of(data: bytes, where: str, error: type[InvalidInput] = InvalidInput) -> str:
    """The text in a text file: UTF-8, with or without a byte order mark, or UTF-16 with one, as some editors and shells
    write it.

    Args:
        where: what messages call the file.

    Raises:
        InvalidInput: it is neither; or `error`, a kind of it. The message repeats nothing of the content.
    """
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if marked else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        raise error(
            f"{where} is no text in UTF-8, nor in UTF-16 with a byte order mark (byte {problem.start}): save it as "
            "UTF-8"
        ) from None
    if "\0" in text:
        raise error(
            f"{where} holds zero characters, as UTF-16 without a byte order mark does: save it as UTF-8"
        )
    return text
