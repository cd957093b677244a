"""XML of strangers: no document types, so no entities that grow or fetch files; bounded in size and depth."""

from __future__ import annotations

import math
from typing import Any

from ssic.errors import MaskError
from ssic.imports import later

etree, expat = later("xml.etree.ElementTree"), later("xml.parsers.expat")

MOST_BYTES = 2**26
_MOST_ELEMENTS = 2_000_000
_DEEPEST = 50


def parse_xml(data: bytes, what: str) -> Any:
    """The root element.

    Raises:
        MaskError: not well formed, with a document type, or too large.
    """
    if len(data) > MOST_BYTES:
        raise MaskError(f"{what} has {len(data):,} bytes; at most {MOST_BYTES:,} are read")
    builder = etree.TreeBuilder()
    depth = elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _DEEPEST or elements > _MOST_ELEMENTS:
            raise MaskError(
                f"{what} is nested deeper than {_DEEPEST} or has more than {_MOST_ELEMENTS:,} elements"
            )
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> None:
        raise MaskError(
            f"{what} declares a document type or entities, which annotations have no use for: remove it"
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"{what} is not well-formed XML: {error}") from error


def is_element(source: Any) -> bool:
    """Whether it is what `parse_xml` returns."""
    return isinstance(source, etree.Element)


def number(text: str | None, where: str) -> float:
    """A finite number; `MaskError` if the text is none."""
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MaskError(f"{where}: a number was expected, not {text!r:.40}")
    return value


def points(text: str | None, where: str) -> list[list[float]]:
    """[N, 2] of "x,y;x,y;..."."""
    pairs = [pair.split(",") for pair in (text or "").split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise MaskError(f"{where}: points x,y;x,y;... were expected, not {text!r:.40}")
    return [[number(v, where) for v in pair] for pair in pairs]
