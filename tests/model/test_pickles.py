"""Weights, engines and codecs that were pickled are what they were."""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssic
from helpers.engines import needs_torch
from helpers.pictures import natural_picture
from ssic.engine.bands import BAND
from ssic.engine.base import Engine, find_engine
from ssic.engine.onnx import OnnxEngine
from ssic.errors import ModelError
from ssic.model.weights import Weights, find_weights, load_weights, pack_weights, unpack_weights
from ssic.plan import make_plan

PICTURE = natural_picture(3, 40, 50)


def again(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture(scope="module")
def loose() -> Weights:
    """Weights of no file."""
    return unpack_weights(find_weights("small").read_bytes())


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def test_weights_of_no_file_keep_every_field(loose: Weights) -> None:
    found = again(loose)
    for field in fields(Weights):
        assert same(getattr(found, field.name), getattr(loose, field.name)), field.name
    assert found.graphs
    assert found.data.nbytes > 1_000_000


def test_weights_of_an_earlier_version_are_read_again(tmp_path: Path) -> None:
    """Which were read with `earlier`, as they don't say the hash of their floats."""
    data = find_weights("small").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]["floats"]
    text = json.dumps(header).encode()
    path = tmp_path / "earlier.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(ModelError, match="earlier version"):
        load_weights(path)
    weights = load_weights(path, earlier=True)
    assert (again(weights).id, again(weights).floats_id) == (weights.id, weights.floats_id)


def test_what_an_error_is_worth_is_kept(loose: Weights, tmp_path: Path) -> None:
    def packed(step_worth: float) -> bytes:
        return pack_weights(loose.config, loose.floats, loose.twin, {}, step_worth=step_worth)

    path = tmp_path / "a.safetensors"
    path.write_bytes(packed(7.5))
    for weights in (unpack_weights(packed(7.5)), load_weights(path)):
        assert again(weights).step_worth == 7.5
    pickled = pickle.dumps(load_weights(path))
    path.write_bytes(packed(8.5))
    with pytest.raises(ModelError, match=r"step-worth 7\.5"):
        pickle.loads(pickled)


def test_a_codec_of_weights_of_no_file_encodes_as_before(loose: Weights) -> None:
    codec = ssic.Codec(loose, engine="onnx")
    found = again(codec)
    assert found.engine.weights is found._weights  # once in memory, and once in the pickle
    assert found.encode(PICTURE).data == codec.encode(PICTURE).data


def test_the_onnx_engine_keeps_what_it_was_made_with(loose: Weights) -> None:
    found = again(OnnxEngine(loose, 3, 150))
    assert (found.threads, found.band) == (3, 150)
    engine = OnnxEngine(loose)
    engine.band, engine.threads = 40, 2
    assert (again(engine).threads, again(engine).band) == (2, 40)


@needs_torch
def test_the_torch_engine_keeps_what_it_was_made_with(loose: Weights) -> None:
    from ssic.engine.torch import TorchEngine

    for precision in ("float32", "bfloat16"):
        engine = TorchEngine(loose, "cpu", precision, 3)
        found = again(engine)
        assert (found.threads, found.name) == (3, f"torch:cpu:{precision}")
        engine.threads = 2
        assert again(engine).threads == 2


@pytest.mark.parametrize("name", ["onnx", pytest.param("torch:cpu:float32", marks=needs_torch)])
def test_no_number_of_threads_stays_none(name: str, loose: Weights) -> None:
    """An engine without a number of its own takes as many as the process has in which it is made anew."""
    engine: Any = find_engine(name, loose)
    assert engine.threads >= 1
    for met in (engine, again(engine)):
        made_of = met.__reduce__()[1]
        assert None in made_of
        assert engine.threads not in made_of
    engine.threads = 5
    assert 5 in again(engine).__reduce__()[1]


def test_a_small_band_survives_and_changes_no_pixel(loose: Weights) -> None:
    ids = np.zeros((6, 7), np.uint8)
    plan = make_plan(ids)
    blocks = np.random.default_rng(0).integers(0, 256, (ids.size, 4, 192), dtype=np.uint8)
    engines: list[Engine] = [OnnxEngine(loose, 1), again(OnnxEngine(loose, 1, 12))]
    (y, z), (y2, z2) = (engine.analyse(blocks, plan, {0: 50}) for engine in engines)
    assert np.array_equal(y, y2)
    assert np.array_equal(z, z2)
    assert BAND > len(plan) > 12
