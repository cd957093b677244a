"""What opening files through Pillow may cost."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import ssic
import ssic.pillow
from ssic.errors import InvalidInput


@pytest.fixture(scope="module")
def data() -> bytes:
    return ssic.encode(np.full((48, 64, 3), 99, np.uint8), model="small")


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def set_limits(**changes: int) -> None:
        monkeypatch.setattr(ssic.pillow, "limits", replace(ssic.DecodeLimits(), **changes))

    return set_limits


def test_by_default_the_limits_of_the_process_hold(data: bytes) -> None:
    assert ssic.pillow.limits is None
    before = ssic.set_default_limits(replace(ssic.DecodeLimits(), max_pixels=48 * 64 - 1))
    try:
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data))
    finally:
        ssic.set_default_limits(before)
    assert Image.open(io.BytesIO(data)).size == (64, 48)


@pytest.mark.parametrize("form", ["path", "stream"])
def test_pixels_are_limited_when_a_file_is_opened(data: bytes, tmp_path: Path, limit, form: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.ssic").write_bytes(data)
    place = tmp_path / "a.ssic" if form == "path" else io.BytesIO(data)
    limit(max_pixels=48 * 64 - 1)
    with pytest.raises(UnidentifiedImageError):
        Image.open(place)
    assert ssic.open(data).size == (64, 48)  # others are not concerned
    limit(max_pixels=48 * 64)
    with Image.open(place) as image:
        assert image.ssic.limits is ssic.pillow.limits  # type: ignore[attr-defined]
        image.load()


def test_memory_is_limited_when_pixels_are_decoded(data: bytes, limit) -> None:  # type: ignore[no-untyped-def]
    limit(max_memory=1000)
    image = Image.open(io.BytesIO(data))
    with pytest.raises(OSError, match="the limit is"):
        image.load()


def test_what_is_no_limit_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssic.pillow, "limits", 10)
    with pytest.raises(InvalidInput, match="limits are a DecodeLimits, not"):
        Image.open(io.BytesIO(data))
