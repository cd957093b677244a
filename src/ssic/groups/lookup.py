"""Which groups are meant: by name, class or id.

`names` and `classes` are those of a mask, by id; every id has a name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ssic.arguments import is_whole, listing
from ssic.errors import InvalidInput, UnknownGroup

T = TypeVar("T")


def resolve(
    names: Mapping[int, str], classes: Mapping[int, str], wanted: Iterable[str | int] | str | int
) -> list[int]:
    """What `GroupMask.resolve` gives; errors as there."""
    found: dict[int, None] = {}
    for item in _items(wanted):
        if not isinstance(item, str) and not is_whole(item):
            raise UnknownGroup(f"a group is asked for by its name, class or id, not by {item!r:.80}")
        fitting = [n for n in names if isinstance(item, str) and _is_called(names[n], classes.get(n), item)]
        fitting = fitting or [n for n in names if str(item).strip() == str(n)]
        if not fitting:
            raise _unknown(names, classes, str(item))
        found |= dict.fromkeys(fitting)
    return list(found)


def assign(
    names: Mapping[int, str], classes: Mapping[int, str], wanted: Mapping[str | int, T], what: str
) -> dict[int, T]:
    """What `GroupMask.assign` gives; errors as there."""
    given: dict[int, list[tuple[bool, str | int, T]]] = {}
    for item, value in wanted.items():
        for group in resolve(names, classes, item):
            exact = _is_meant(names[group], classes.get(group), item)
            given.setdefault(group, []).append((exact, item, value))
    found: dict[int, T] = {}
    for group, entries in given.items():
        exact = max(entry[0] for entry in entries)
        (_, first, found[group]), *others = (entry for entry in entries if entry[0] == exact)
        for _, item, value in others:
            if value != found[group]:
                raise InvalidInput(
                    f'{what} gives group {group} "{names[group]}" both {found[group]} (as {first!r}) and '
                    f"{value} (as {item!r}): leave one of them out"
                )
    return found


def _is_meant(name: str, kind: str | None, item: str | int) -> bool:
    """Whether it is the group of this name, rather than its class, that `item` names."""
    if not isinstance(item, str):
        return True
    spellings = (item, item.strip())
    return name in spellings or kind not in spellings


def _is_called(name: str, kind: str | None, text: str) -> bool:
    spellings = (text, text.strip())
    return name in spellings or kind in spellings


def _unknown(names: Mapping[int, str], classes: Mapping[int, str], item: str) -> UnknownGroup:
    close = difflib.get_close_matches(item, [*names.values(), *classes.values()], n=1)
    hint = f'; did you mean "{close[0]}"?' if close else "."
    listed = [f'{n} "{name}"' for n, name in names.items()]
    return UnknownGroup(f'there is no group "{item}"{hint} There are: {listing(listed)}')


def _items(wanted: Any) -> Iterable[Any]:
    try:
        return [wanted] if isinstance(wanted, (str, bytes)) else iter(wanted)
    except TypeError:  # a bare number, also NumPy's
        return [wanted]
