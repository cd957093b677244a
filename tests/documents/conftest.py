"""What tests of documents share."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.pages import lay_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `demo-out`."""
    folder = tmp_path_factory.mktemp("demo-out")
    lay_out(folder)
    return folder
