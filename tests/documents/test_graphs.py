"""docs/graphs.md: the code that it gives feeds the graphs with what the package feeds them with."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from helpers import ROOT
from helpers.masks import blob_mask
from ssic.engine.inputs import NEIGHBOUR_INPUTS, index_inputs, quality_input
from ssic.engine.onnx import MULTIPLE, OnnxEngine
from ssic.imports import onnx_runtime
from ssic.model.weights import find_weights, load_weights
from ssic.plan import make_plan

PAGE = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(CODE, names)
    return names


@pytest.mark.parametrize(
    ("rows", "columns", "groups", "wanted"), [(1, 1, 1, [0]), (9, 21, 5, [1, 3]), (16, 8, 3, [0, 1, 2])]
)
def test_its_arrays_are_those_of_the_package(page, rows, columns, groups, wanted):
    mask = blob_mask(3, rows, columns, groups)
    quality = {g: 20 + g for g in range(groups)}
    plan = make_plan(mask, np.isin(mask, wanted))
    latents = np.arange(len(plan) * 3.0).reshape(-1, 3)
    expected = index_inputs(plan, local=False, multiple=MULTIPLE)
    expected["quality"] = quality_input(plan, quality, multiple=MULTIPLE)
    found = page["feeds"](mask, wanted, latents, quality)
    assert (found.pop("latents")[: len(plan)] == latents).all()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.int32
        np.testing.assert_array_equal(found[name], array, name)


def test_graphs_lie_where_it_says_and_take_what_it_says(page):
    weights = load_weights(find_weights("small"))
    mask = blob_mask(4, 5, 7, 3)
    quality = {0: 30, 1: 60, 2: 90}
    plan = make_plan(mask, mask != 1)
    latents = np.random.default_rng(1).normal(size=(len(plan), weights.config.latent_channels))
    ort = onnx_runtime()
    options = ort.SessionOptions()
    data = weights.data
    options.add_external_initializers_from_files_in_memory(["weights"], [data], [len(data)])
    session = ort.InferenceSession(
        weights.graphs["synthesis"].tobytes(), options, providers=["CPUExecutionProvider"]
    )
    feeds = page["feeds"](mask, [0, 2], latents, quality)
    (pixels,) = session.run(["pixels"], {entry.name: feeds[entry.name] for entry in session.get_inputs()})
    assert pixels.shape == (len(plan) + -len(plan) % 16, 4, 192)
    found = pixels[: len(plan)]
    apart = np.abs(
        found - OnnxEngine(weights).synthesise(latents, plan, quality)
    )  # which takes it layer by layer
    assert apart.max() <= 1
    assert apart.mean() < 1e-3
    assert (found == found.round()).all()
    assert 0 <= found.min() < found.max() <= 255


def test_it_names_every_input():
    for name in ("pixels", "latents", "members", "count", "quality", *NEIGHBOUR_INPUTS):
        assert f"`{name}`" in PAGE
