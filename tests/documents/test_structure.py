"""The command that counts circles and what is longest, on a package small enough to count by hand."""

from __future__ import annotations

import importlib
from pathlib import Path
from textwrap import dedent

import pytest

from helpers import ROOT

FILES = {
    "__init__.py": "from ssic.codec import Codec\n",
    "codec.py": """
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            from ssic.rate.search import search


        class Codec:
            @property
            def name(self):
                return "a codec"

            def save(self, path):
                import json
                from ssic.nowhere import anything

                def lines():
                    import csv

                return lines
    """,
    "rate/__init__.py": "",
    "rate/search.py": "import ssic.codec\n\n\ndef search():\n    return ssic.codec.Codec\n",
    "given.py": "from ssic.errors import SsicError\n",
    "errors.py": "import ssic.given\n\nclass SsicError(Exception):\n    pass\n",
    "nowhere.py": "anything = 1\n",
}


def test_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    structure = importlib.import_module("structure")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(dedent(text).lstrip("\n"))
    found = structure.measure(tmp_path)
    assert (found.modules, found.lines) == (7, 31)
    assert found.circles == [["codec", "rate.search"], ["errors", "given"]]
    # Of `given` the room of its successor counts.
    assert found.upwards == ["errors -> given", "rate.search -> codec"]
    assert found.homeless == ["codec -> nowhere"]
    assert (found.put_off, found.typing_only) == (3, 1)
    assert (found.function.name, found.function.lines) == ("codec.save", 8)
    assert (found.class_.name, found.class_.lines) == ("codec.Codec", 13)
    assert (found.module.name, found.module.lines) == ("codec.py", 19)
