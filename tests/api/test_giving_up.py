"""Ends between stages: what `progress` raises ends the work, and memory is asked about before it begins."""

from __future__ import annotations

import numpy as np
import pytest

import ssic
from helpers.pictures import natural_picture
from ssic.errors import ImageError, LimitExceeded

PICTURE = np.zeros((64, 64, 3), np.uint8)


class GivenUp(Exception):
    pass


def test_what_progress_raises_ends_encoding_and_decoding_at_each_stage() -> None:
    data = ssic.encode(PICTURE)
    for work in (
        lambda progress: ssic.encode(PICTURE, progress=progress),
        lambda progress: ssic.decode(data, progress=progress),
    ):
        stages: list[str] = []
        work(stages.append)
        assert stages
        for end in range(len(stages)):
            seen: list[str] = []

            def progress(stage: str, seen: list[str] = seen, end: int = end) -> None:
                seen.append(stage)
                if len(seen) > end:
                    raise GivenUp(stage)

            with pytest.raises(GivenUp):
                work(progress)
            assert seen == stages[: end + 1]
        work(None)  # and the next goes well


def test_long_stages_tell_how_much_is_done_and_can_be_ended_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 10**9, 5))
    monkeypatch.setattr("ssic.progress.time.monotonic", lambda: next(seconds))
    codec = ssic.Codec.load("small", engine="onnx")
    picture = natural_picture(1, 128, 256)
    data = codec.encode(picture).data
    for expected, work in (
        ("analysis", lambda progress: codec.encode(picture, progress=progress)),
        ("synthesis", lambda progress: ssic.decode(data, progress=progress, engine="onnx")),
    ):
        told: list[str] = []
        work(told.append)
        within = [stage for stage in told if "%" in stage]
        assert {stage.split(",")[0] for stage in within} >= {"entropy", expected}

        def progress(stage: str) -> None:
            if "%" in stage:
                raise GivenUp(stage)

        with pytest.raises(GivenUp, match=" %, about "):
            work(progress)


def test_memory_is_bounded_before_the_work() -> None:
    mask = np.zeros((8, 16), np.uint8)
    mask[1, :2], mask[::7, ::7] = 1, 2
    data = ssic.encode(natural_picture(1, 128, 256), mask)
    limits = ssic.DecodeLimits(max_memory=1_000_000)
    with pytest.raises(LimitExceeded, match="decode some groups only"):
        ssic.decode(data, limits=limits)
    with pytest.raises(
        LimitExceeded, match=r"decoding 30,\d+ pixels takes about [3-5]\.\d MB; the limit is 1\.0 MB"
    ):
        ssic.decode(data, 0, limits=limits)
    assert ssic.decode(data, 1, limits=limits).shape == (128, 256, 3)
    before = ssic.set_default_limits(limits)
    try:
        with pytest.raises(LimitExceeded):
            ssic.SsicFile(data).decode()
        with pytest.raises(ImageError, match=r"encoding 256x128 pixels takes about \d\.\d MB; .*--memory"):
            ssic.encode(natural_picture(1, 128, 256))
    finally:
        ssic.set_default_limits(before)
