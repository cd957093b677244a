"""What an error is worth to the encoder of a model: kept with the weights, of no matter to decoders."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import ssic
from ssic.errors import ModelError
from ssic.model.config import STEP_WORTH
from ssic.model.weights import Weights, find_weights, load_weights, pack_weights, unpack_weights


@pytest.fixture(scope="module")
def small() -> Weights:
    return load_weights(find_weights("small"))


def with_worth(small: Weights, worth: float) -> bytes:
    graphs = {name: bytes(graph) for name, graph in small.graphs.items()}
    return pack_weights(
        small.config, small.floats, small.twin, small.card, graphs, text=small.text, step_worth=worth
    )


def test_it_is_kept_and_changes_neither_model_nor_graphs(small):
    read = unpack_weights(with_worth(small, 17.25))
    assert read.step_worth == 17.25
    assert (read.id, read.floats_id) == (small.id, small.floats_id)
    assert set(read.graphs) == set(small.graphs)
    assert pickle.loads(pickle.dumps(read)).step_worth == 17.25


def test_the_usual_one_is_not_written(small):
    assert small.step_worth == STEP_WORTH
    assert b"step-worth" in with_worth(small, 17.25)
    assert b"step-worth" not in with_worth(small, STEP_WORTH)


def test_a_higher_one_spends_bytes_on_less_error_and_any_decoder_reads_both(small, tmp_path, picture):
    size, error = [], []
    for worth in (5.0, 200.0):
        path = tmp_path / f"{worth}.safetensors"
        path.write_bytes(with_worth(small, worth))
        file = bytes(ssic.encode(picture, quality=40, model=path))
        size.append(len(file))
        error.append(np.square(ssic.decode(file).astype(float) - picture).mean())
    assert size[0] < size[1]
    assert error[0] > error[1]


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "0", "-1", "2e6"])
def test_what_is_no_number_in_range_is_refused(small, text):
    data = with_worth(small, 17.25)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["step-worth"] = text
    changed = json.dumps(header).encode()
    with pytest.raises(ModelError, match="step-worth"):
        unpack_weights(len(changed).to_bytes(8, "little") + changed + data[8 + length :])
