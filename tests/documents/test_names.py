"""What a group may be called: one rule, in the code and in the document, under every version of Python."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import ROOT
from ssic.names import REFUSED, as_text, text_fault

DOCUMENT = ROOT / "docs" / "names.md"


def refused() -> set[int]:
    ranges = [word.split("-") for word in REFUSED.split()]
    return {c for r in ranges for c in range(int(r[0], 16), int(r[-1], 16) + 1)}


def test_the_document_has_the_same_table() -> None:
    table = DOCUMENT.read_text("utf-8").split("```")[1]
    assert table.split() == REFUSED.split()
    assert all(re.fullmatch("[0-9A-F]+(-[0-9A-F]+)?", word) for word in table.split())


def test_the_table_is_what_it_is_said_to_be() -> None:
    """What later versions of Unicode assigned stays refused; nothing that 14.0 refuses gets through."""
    found = refused()
    for c in range(0x110000):
        category = unicodedata.category(chr(c))
        if category in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} or (category == "Zs" and c != 0x20):
            assert c in found, hex(c)
    for c in (
        0xAD,
        0x34F,
        0x61C,
        0x115F,
        0x180E,
        0x200B,
        0x202E,
        0x2065,
        0x2800,
        0x3164,
        0xFE0F,
        0xFFA0,
        0xE0041,
        0x2C,
    ):
        assert c in found, hex(c)
    if unicodedata.unidata_version == "14.0.0":
        others = {
            c
            for c in found
            if unicodedata.category(chr(c)) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
        }
        assert len(others) < 300  # fillers, variation selectors, and four more


@pytest.mark.parametrize(
    "text",
    ["person", "Hündin 2", "人 3", "шлем", "कुत्ता", "a-b_c.d", "🐕", "e\u0301\u0323"],
)
def test_names_of_all_languages_pass(text: str) -> None:
    assert text_fault(unicodedata.normalize("NFC", text)) is None


INVISIBLE = (
    """0 1B 7F 85 A0 AD 200B 200E 202E 2028 2066 3000 3164 D800 E000 FE0F FEFF FFFE 2F9FF E0041 10FFFF"""
)


@pytest.mark.parametrize("c", [int(word, 16) for word in INVISIBLE.split()])
def test_what_is_not_seen_is_refused_wherever_it_stands(c: int) -> None:
    for text in (f"per{chr(c)}son", f"person{chr(c)}", f"{chr(c)}person", chr(c)):
        assert text_fault(text) is not None


def test_names_that_only_look_the_same_are_refused() -> None:
    for text in ("Zu\u0308rich", "\u212bngstrom", "a  b", " a", "a ", "", "a,b", "x" * 256):
        assert text_fault(text) is not None


@given(st.text())
def test_any_text_becomes_a_name_or_nothing(text: str) -> None:
    name = as_text(text)
    assert name == "" or len(name.encode()) > 255 or text_fault(name) is None
    assert as_text(name) == name
