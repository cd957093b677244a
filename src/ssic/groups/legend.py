"""Label maps in colour: what each colour means, and the labels that come of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import counted, listing
from ssic.errors import MaskError
from ssic.groups.colours import Colour, parse_colour
from ssic.groups.objects import is_path, parse_json, read_file

MOST_BYTES = 2**22
_LINE = re.compile(r"\s*([^:#][^:]*):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?::.*)?")
_TRIPLE = re.compile(r"\s*\(?\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)?\s*")


def read_legend(source: Any) -> dict[Colour, str] | None:
    """Colour -> name; None if `source` is something else (such as names of labels).

    Args:
        source: a mapping of colours to names ({"#ff0000": "car", "0,0,255": "road", (1, 2, 3): "sky"}) or of names to
            colours ({"car": [255, 0, 0]}), the path of a JSON file with one, or of a text file with lines
            "name:255,0,0" (CVAT's labelmap.txt); or the bytes of such a file.

    Raises:
        MaskError: a file can't be read, or one colour has two names.
    """
    if is_path(source) or isinstance(source, bytes):
        data = read_file(source, "names", MOST_BYTES)
        if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
            return _from_lines(data, source)
        source = parse_json(data, "names", source if is_path(source) else "the bytes")
    if not isinstance(source, Mapping) or not source:
        return None
    by_colour = [(_colour(key), str(value)) for key, value in source.items() if isinstance(value, str)]
    if len(by_colour) == len(source) and all(colour is not None for colour, _ in by_colour):
        return _unique(by_colour)
    by_name = [(_colour(value), str(key)) for key, value in source.items() if not isinstance(value, int)]
    if len(by_name) == len(source) and all(colour is not None for colour, _ in by_name):
        return _unique(by_name)
    return None


def _from_lines(data: bytes, source: Any) -> dict[Colour, str] | None:
    found: list[tuple[Colour | None, str]] = []
    for line in data.decode("utf-8", "replace").lstrip("\ufeff").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line)):
            return None
        found.append((_colour([int(n) for n in match.groups()[1:]]), match[1].strip()))
    return _unique(found) if found else None


def _colour(given: Any) -> Colour | None:
    if isinstance(given, str) and (match := _TRIPLE.fullmatch(given)):
        given = [int(n) for n in match.groups()]
    if isinstance(given, str) and re.fullmatch(r"\s*\d+\s*", given):  # a label, no colour
        return None
    if not isinstance(given, (str, list, tuple)):
        return None
    try:
        return parse_colour(given, MaskError)
    except MaskError:
        return None


def _unique(pairs: list[tuple[Colour | None, str]]) -> dict[Colour, str]:
    found: dict[Colour, str] = {}
    for colour, name in pairs:
        if colour is None:
            raise MaskError(f'the legend gives "{name:.40}" no colour: red, green and blue are 0 to 255')
        if found.setdefault(colour, name) != name:
            raise MaskError(f'the legend calls one colour, {colour}, "{found[colour]}" and "{name}"')
    return found


def labels_of_colours(
    pixels: NDArray[Any], legend: Mapping[Colour, str]
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """[H, W, 3] uint8 -> labels [H, W], and the name of each. Black, if the legend lacks it, and what is called
    "background" are label 0; several colours may have one name.

    Raises:
        MaskError: colours that the legend does not have.
    """
    flat = pixels.astype(np.int64) @ np.array([65536, 256, 1])
    found, inverse, count = np.unique(flat, return_inverse=True, return_counts=True)
    names = list(dict.fromkeys(name for name in legend.values() if name != "background"))
    number = {name: n for n, name in enumerate(names, 1)} | {"background": 0}
    known = {(r * 256 + g) * 256 + b: number[name] for (r, g, b), name in legend.items()}
    known.setdefault(0, 0)
    missing = [n for n in np.argsort(-count) if int(found[n]) not in known]
    if missing:
        shown = listing([f"#{int(found[n]):06x} ({counted(int(count[n]), 'pixel')})" for n in missing], 5)
        hint = (
            "; edges that were smoothed make such: save the map without smoothing"
            if len(missing) > 20
            else ""
        )
        raise MaskError(
            f"the legend does not name {counted(len(missing), 'colour')} of the label map: {shown}{hint}"
        )
    table = np.array([known[int(n)] for n in found], np.int32)
    return table[inverse].reshape(pixels.shape[:2]), {0: "background"} | {
        n: name for name, n in number.items() if n
    }
