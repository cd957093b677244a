"""Threads that share an opened file and a codec get what one after another would get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import ssic
from helpers.engines import ENGINES
from helpers.loopback import serving
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.model.weights import find_weights, load_weights

THREADS = 6
SHAPE = (112, 176)
GROUPS = 5
MODEL = "small"


@pytest.fixture(scope="module")
def data() -> bytes:
    picture = natural_picture(3, *SHAPE)
    mask = blob_mask(3, SHAPE[0] // 16, SHAPE[1] // 16, GROUPS)
    coded = ssic.encode(picture, mask, model=MODEL)
    return bytes(ssic.encrypt(coded, [GROUPS - 1], [ssic.Identity(b"thread" * 5 + b"!!").recipient]))


@contextmanager
def place(form: str, data: bytes, folder: Path) -> Iterator[Any]:
    """What `ssic.open` takes for the same file in one of its forms."""
    if form == "bytes":
        yield data
    elif form == "path":
        (folder / "a.ssic").write_bytes(data)
        yield folder / "a.ssic"
    else:
        with serving({"a.ssic": data}) as server:
            yield server.url("a.ssic")


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls give, each made by a thread of its own, all begun at once."""
    barrier = Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        barrier.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


@pytest.mark.parametrize("form", ["bytes", "path", "url"])
@pytest.mark.parametrize("engine", ENGINES)
def test_many_threads_decode_from_one_opened_file(
    data: bytes, tmp_path: Path, engine: str, form: str
) -> None:
    me = ssic.Identity(b"thread" * 5 + b"!!")
    # Some ask for the same groups, some for others, one for all.
    asked = [[0], [0], [1, 2], [2, 3], [GROUPS - 1], None][:THREADS]
    alone = ssic.open(data, identity=me)
    expected = [alone.decode(groups, engine=engine) for groups in asked]
    if form == "url":
        pytest.importorskip("aiohttp")
    with place(form, data, tmp_path) as there:
        # Opened anew each time: what is read or opened once is shared from the start.
        calls = [partial(ssic.open(there, identity=me).decode, groups, engine=engine) for groups in asked]
        shared = ssic.open(there, identity=me)
        calls += [partial(shared.decode, groups, engine=engine) for groups in asked]
        for found, right in zip(together(calls), expected * 2, strict=True):
            assert np.array_equal(found, right)
        shared = ssic.open(there, identity=me)
        damaged, part, rest, pixels, facts = together(
            [
                shared.damaged,
                lambda: bytes(shared.extract([1])),
                lambda: bytes(shared.drop([0])),
                lambda: shared.decode([3], engine=engine),
                shared.info,
            ]
        )
        assert not damaged
        assert part == bytes(alone.extract([1]))
        assert rest == bytes(alone.drop([0]))
        assert np.array_equal(pixels, alone.decode([3], engine=engine))
        assert facts["groups"] == alone.info()["groups"]


@pytest.mark.parametrize("engine", ENGINES)
def test_many_threads_encode_and_decode_with_one_codec(engine: str) -> None:
    codec = ssic.Codec.load(find_weights(MODEL), engine=engine)
    pictures = [natural_picture(n, 80 + 16 * n, 96) for n in range(3)]
    masks = [blob_mask(n, 5 + n, 6, 3) for n in range(3)]
    work = [(pictures[n % 3], masks[n % 3], 30 + 10 * n) for n in range(THREADS)]

    def encode(picture: Any, mask: Any, quality: int) -> bytes:
        return codec.encode(picture, mask, quality=quality).data

    expected = [encode(*one) for one in work]
    shown = [ssic.decode(coded, engine=engine) for coded in expected]
    # A codec that nothing was computed with yet: its sessions and caches are made by all threads at once.
    codec = ssic.Codec(load_weights(find_weights(MODEL)), engine=engine)
    calls: list[Callable[[], Any]] = [lambda one=one: encode(*one) for one in work]
    calls += [lambda coded=coded: ssic.decode(coded, engine=engine) for coded in expected]
    found = together(calls)
    assert found[:THREADS] == expected
    for pixels, right in zip(found[THREADS:], shown, strict=True):
        assert np.array_equal(pixels, right)


def test_many_threads_meet_targets_with_one_codec() -> None:
    codec = ssic.Codec.load(find_weights(MODEL))
    picture, mask = natural_picture(5, 96, 96), blob_mask(5, 6, 6, 3)
    targets = ["bytes:900", "bytes:1500", "psnr:26", "bytes:900"]
    expected = [codec.encode(picture, mask, target=target).data for target in targets]
    calls = [lambda target=target: codec.encode(picture, mask, target=target).data for target in targets]
    assert together(calls) == expected
