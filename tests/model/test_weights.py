"""Weights files: what is in them, and that nothing else is loaded."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load

import ssic
from ssic.errors import ModelError
from ssic.model import gains
from ssic.model.config import PRESETS, ModelConfig
from ssic.model.tensors import float_shapes, graph_names, twin_integers
from ssic.model.weights import (
    Weights,
    find_weights,
    floats_id,
    load_weights,
    model_id,
    pack_weights,
    stored_floats,
    unpack_weights,
)

SMALL = "1d61559353c5ceac"
"""The id that files in the world name: it must never change."""

CONFIGS = (
    *PRESETS.values(),
    ModelConfig(
        name="local", widths=(32, 96), depths=(1, 3), slices=(8, 8, 16), local=True, anchors=3, mlp_ratio=2
    ),
    ModelConfig(name="gated", widths=(32, 96), depths=(1, 3), slices=(8, 8, 16), gated=True, mlp_ratio=1),
    ModelConfig(name="sparse", widths=(32, 96), depths=(1, 3), local=True, attention_every=2),
    ModelConfig(name="dictionary", widths=(32, 96), depths=(1, 3), dictionary=40),
)


@pytest.fixture(scope="module")
def data() -> bytes:
    return find_weights("small").read_bytes()


# -- what is in them ---------------------------------------------------------------------------------------------


def test_the_shipped_model_is_what_it_was(data):
    weights = unpack_weights(data)
    assert weights.id.hex() == SMALL
    assert weights.floats_id.hex() == "b81f6e9cf30bbfa9"
    assert set(weights.graphs) == set(graph_names(weights.config))


def test_other_readers_find_the_same_tensors(data):
    weights, theirs = unpack_weights(data), load(data)
    ours = {f"float.{k}": v for k, v in weights.floats.items()}
    ours |= {f"twin.{k}": v for k, v in weights.twin.items()} | {
        f"graph.{k}": v for k, v in weights.graphs.items()
    }
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
        span = weights.spans[name]
        assert weights.data[span.offset : span.offset + span.length].tobytes() == array.tobytes()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_configurations_come_back_from_their_text(config):
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("name", ["small", "base"])
def test_presets_of_shipped_models_are_what_their_files_state(name):
    """To the letter: ids hash it, so fields that came later must not show."""
    stated = header(find_weights(name).read_bytes())["__metadata__"]["config"]
    assert PRESETS[name].to_json() == stated


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_shapes_are_those_of_the_network_and_of_its_twin(config):
    pytest.importorskip("torch")
    from ssic.nets.network import Network
    from ssic.train.freeze import freeze

    state = Network(config).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == float_shapes(config)
    frozen = freeze(config, {name: value.numpy() for name, value in state.items()})
    expected = twin_integers(config)
    assert frozen.keys() == expected.keys()
    for name, array in frozen.items():
        assert array.dtype.name == expected[name].dtype
        assert array.shape == expected[name].shape or expected[name].shape is None
        assert expected[name].low <= array.min()
        assert array.max() <= expected[name].high


def test_weights_survive_the_file_and_say_who_they_are(tmp_path):
    weights = load_weights(find_weights("small"))
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack_weights(weights.config, weights.floats, weights.twin, {"step": 3}))
    again = load_weights(path)
    identity = model_id(weights.config.to_json(), weights.twin)
    assert (again.config, again.id, again.card, again.graphs) == (weights.config, identity, {"step": 3}, {})
    assert again.id == weights.id
    assert again.floats_id == weights.floats_id == floats_id(again.floats)
    changed = {k: v.copy() for k, v in weights.twin.items()}
    changed["reference"][0, 0] += 1
    assert model_id(weights.text, changed) != identity
    other = {k: v.copy() for k, v in weights.floats.items()}
    other["entropy.spread"][0] += 1
    assert floats_id(other) != weights.floats_id


def test_weights_outlive_fields_that_later_versions_add(monkeypatch):
    """Files name their model by its id: that must not change when the configuration learns something new."""
    extended = dataclasses.make_dataclass("Extended", [("novel", int, 3)], bases=(ModelConfig,), frozen=True)
    monkeypatch.setattr("ssic.model.weights.ModelConfig", extended)
    after = load_weights(find_weights("small"))
    assert after.config.novel == 3
    assert after.id.hex() == SMALL


def test_writing_anew_keeps_the_model(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from ssic.train.export import export

    before = load_weights(find_weights("small"))
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(pack_weights(before.config, before.floats, before.twin, before.card, text=before.text))
    assert not load_weights(bare).graphs
    after = export(bare, tmp_path / "whole.safetensors")
    assert (after.id, after.floats_id, after.card) == (before.id, before.floats_id, before.card)
    assert set(after.graphs) == set(graph_names(after.config))
    for name, value in before.floats.items():
        np.testing.assert_array_equal(after.floats[name], value)
    with pytest.raises(ModelError, match="another model"):
        export(bare, tmp_path / "other.safetensors", pictures=[tmp_path])


def test_weights_without_graphs_of_layers_are_told_to_be_written_anew(tmp_path):
    """Earlier versions wrote graphs of whole networks only."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from ssic.train.export import export

    before = load_weights(find_weights("small"))
    whole = {name: before.graphs[name].tobytes() for name in ("analysis", "synthesis")}
    old = tmp_path / "old.safetensors"
    facts = (before.config, before.floats, before.twin, before.card)
    old.write_bytes(pack_weights(*facts, whole, text=before.text))
    with pytest.raises(ModelError, match="earlier version of ssic: write it anew with `ssic export-weights"):
        load_weights(old)
    after = export(old, tmp_path / "new.safetensors")
    assert (after.id, after.floats_id) == (before.id, before.floats_id)
    assert load_weights(tmp_path / "new.safetensors").graphs.keys() == before.graphs.keys()


def test_graphs_hold_no_weights(data):
    """Every float tensor that a graph uses is the file's own, where the file has it."""
    onnx = pytest.importorskip("onnx")
    weights = unpack_weights(data)
    for graph in weights.graphs.values():
        model = onnx.load_model_from_string(graph.tobytes())
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
        assert not {"GatherND", "ScatterND", "ScatterElements", "Loop", "If", "Scan"} & {
            node.op_type for node in model.graph.node
        }
        assert {i.type.tensor_type.elem_type for i in model.graph.input} <= {
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.INT32,
        }
        for initializer in model.graph.initializer:
            facts = {entry.key: entry.value for entry in initializer.external_data}
            span = weights.spans[initializer.name]
            assert facts == {"location": "weights", "offset": str(span.offset), "length": str(span.length)}
        assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
        assert graph.nbytes < 300_000


# -- gains: one source for arrays and tensors ---------------------------------------------------------------------


def test_gains_of_arrays_and_of_tensors_are_the_same():
    torch = pytest.importorskip("torch")
    from ssic.nets.network import Network

    weights = load_weights(find_weights("small"))
    network = Network(weights.config)
    network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.floats.items()})
    entropy = network.entropy
    basis = gains.quality_basis(weights.config.anchors)
    step = gains.log2_step(weights.config.lambda_range)
    log2_gain = gains.log2_gain(gains.quality_table(basis, weights.floats["entropy.gain.weight"]), step)
    gain = gains.gain(log2_gain)
    reference = gains.reference(gain, weights.floats["entropy.spread"])
    inverse = gains.quality_table(basis, weights.floats["entropy.inverse_gain.weight"])
    for array, tensor in (
        (gain, entropy.gains()),
        (reference, entropy.reference()),
        (gains.dequantiser(inverse, log2_gain), entropy.dequantiser()),
    ):
        assert array.shape == (100, 320)
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-5)
    entropy.reference().sum().backward()
    assert entropy.gain.weight.grad.abs().min() > 0
    # What the coder has frozen is the same, in integers.
    np.testing.assert_allclose(weights.twin["reference"], reference * 256, rtol=1e-3, atol=0.51)


# -- what is refused ----------------------------------------------------------------------------------------------


def header(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The file with another header over the same data."""
    facts = header(data)
    result = change(facts)
    return with_text(data, json.dumps(facts if result is None else result))


def with_text(data: bytes, text: str) -> bytes:
    encoded = text.encode()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    return len(encoded).to_bytes(8, "little") + encoded + body


def metadata(**changes: Any) -> Callable[[bytes], bytes]:
    def change(facts: dict[str, Any]) -> None:
        for key, value in changes.items():
            key = key.replace("ssic_model", "ssic-model")
            if value is None:
                del facts["__metadata__"][key]
            else:
                facts["__metadata__"][key] = value

    return lambda data: with_header(data, change)


def config(**changes: Any) -> Callable[[bytes], bytes]:
    def change(facts: dict[str, Any]) -> None:
        fields = json.loads(facts["__metadata__"]["config"])
        for key, value in changes.items():
            if value is None:
                del fields[key]
            else:
                fields[key] = value
        facts["__metadata__"]["config"] = json.dumps(fields)

    return lambda data: with_header(data, change)


def entry(name: str, **changes: Any) -> Callable[[bytes], bytes]:
    def change(facts: dict[str, Any]) -> None:
        facts[name] |= changes

    return lambda data: with_header(data, change)


def renamed(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(facts: dict[str, Any]) -> None:
        facts[new] = facts.pop(old)

    return lambda data: with_header(data, change)


def repacked(**changes: Callable[[np.ndarray], Any]) -> Callable[[bytes], bytes]:
    """The file written anew with changed tensors, so that its hashes are right: only the tensors are wrong.
    In names, __ stands for a dot."""

    def build(data: bytes) -> bytes:
        weights = unpack_weights(data)
        kinds = {"float": dict(weights.floats), "twin": dict(weights.twin)}
        for key, change in changes.items():
            kind, name = key.replace("__", ".").split(".", 1)
            value = change(kinds[kind][name].copy())
            if value is None:
                del kinds[kind][name]
            else:
                kinds[kind][name] = value
        return pack_weights(weights.config, kinds["float"], kinds["twin"], {}, text=weights.text)

    return build


def put(index: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return change


def flipped(name: str, at: int = 0) -> Callable[[bytes], bytes]:
    """One bit of a tensor changed."""

    def change(data: bytes) -> bytes:
        start = 8 + int.from_bytes(data[:8], "little") + header(data)[name]["data_offsets"][0] + at
        return data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :]

    return change


def graphs(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Other bytes as the synthesis graph, with hashes that are right: what the runtime itself must refuse."""

    def build(data: bytes) -> bytes:
        weights = unpack_weights(data)
        made = {name: change(graph.tobytes()) for name, graph in weights.graphs.items()}
        return pack_weights(weights.config, weights.floats, weights.twin, {}, made, text=weights.text)

    return build


def other_graphs(data: bytes) -> bytes:
    """Graphs of the model whose floats have since been trained further, hash and all."""
    weights = unpack_weights(data)
    floats = {k: v.copy() for k, v in weights.floats.items()}
    floats["entropy.spread"][3] *= 2
    new = pack_weights(
        weights.config, floats, weights.twin, {}, {k: v.tobytes() for k, v in weights.graphs.items()}
    )
    old = header(data)["__metadata__"]["graphs"]
    return with_header(new, lambda facts: facts["__metadata__"].update(graphs=old))


GAIN = "float.entropy.gain.weight"
MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    # -- no safetensors file
    "empty": lambda data: b"",
    "text": lambda data: b"no weights at all",
    "length only": lambda data: data[:8],
    "cut in the header": lambda data: data[:2000],
    "cut in the data": lambda data: data[:-1],
    "bytes behind": lambda data: data + b"\0",
    "header longer than the file": lambda data: (1 << 40).to_bytes(8, "little") + data[8:],
    "header of no length": lambda data: (0).to_bytes(8, "little") + data[8:],
    "header of a megabyte": lambda data: with_text(data, json.dumps(header(data)) + " " * (1 << 20)),
    "header no JSON": lambda data: with_text(data, "{" * 9),
    "header nested": lambda data: with_text(data, "[" * 100_000),
    "header a list": lambda data: with_header(data, lambda facts: [facts]),
    "header no UTF-8": lambda data: data[:20] + b"\xff" + data[21:],
    "header with NaN": lambda data: with_text(data, json.dumps(header(data) | {GAIN: float("nan")})),
    # -- its metadata
    "no metadata": lambda data: with_header(
        data, lambda facts: {k: v for k, v in facts.items() if k[0] != "_"}
    ),
    "metadata no object": lambda data: with_header(data, lambda facts: facts | {"__metadata__": "ssic"}),
    "metadata of numbers": metadata(id=3),
    "no version": metadata(ssic_model=None),
    "version 2": metadata(ssic_model="2"),
    "no id": metadata(id=None),
    "another id": metadata(id="0" * 16),
    "id in capitals": lambda data: metadata(id=SMALL.upper())(data),
    "no floats": metadata(floats=None),
    "other floats": metadata(floats="0" * 16),
    "no graphs hash": metadata(graphs=None),
    "other graphs hash": metadata(graphs="0" * 16),
    "no card": metadata(card=None),
    "card no JSON": metadata(card="x"),
    "card a list": metadata(card="[]"),
    "card nested": metadata(card="[" * 100_000),
    "card with a field twice": metadata(card='{"a": 1, "a": 2}'),
    "unknown metadata": metadata(novel="1"),
    "metadata twice": lambda data: with_text(
        data, json.dumps(header(data)).replace('"id":', '"id": "x", "id":', 1)
    ),
    # -- its configuration
    "no configuration": metadata(config=None),
    "configuration no JSON": metadata(config="x"),
    "configuration a list": metadata(config="[]"),
    "configuration nested": metadata(config="[" * 100_000),
    "configuration with other spaces": config(),
    "unknown field": config(unheard=1),
    "one width": config(widths=[128]),
    "widths as text": config(widths="ab"),
    "width of a fraction": config(widths=[128.0, 256]),
    "width of zero": config(widths=[0, 256]),
    "width that heads don't divide": config(widths=[100, 256]),
    "huge width": config(widths=[1 << 20, 256]),
    "negative depth": config(depths=[-1, 2]),
    "other depths": config(depths=[2, 3]),
    "depths true": config(depths=[True, True]),
    "head of zero": config(head_width=0),
    "head of a list": config(head_width=[32]),
    "no slices": config(slices=[]),
    "slices a number": config(slices=320),
    "too many inputs": config(slices=[900, 900, 900, 900]),
    "other slices": config(slices=[32, 16, 48, 80, 144]),
    "anchors of one": config(anchors=1),
    "falling lambda": config(lambda_range=[0.256, 0.001]),
    "lambda of infinity": config(lambda_range=[0.001, float("inf")]),
    "lambda of three": config(lambda_range=[0.001, 0.1, 0.2]),
    "local a number": config(local=1),
    "gated a number": config(gated=1),
    "gated": config(gated=True),
    "dictionary of less than nothing": config(dictionary=-1),
    "dictionary": config(dictionary=64),
    "attention true": config(attention_every=True),
    "attention in none": config(attention_every=0),
    "sparse without mixing": config(attention_every=2),
    "sparse": config(attention_every=2, local=True),
    "local": config(local=True),
    "name a number": config(name=7),
    "name of nothing": config(name=""),
    "name with a line break": config(name="a\nb"),
    # -- what the header says of tensors
    "entry no object": lambda data: with_header(data, lambda facts: facts | {GAIN: 3}),
    "entry without a shape": lambda data: with_header(data, lambda facts: facts[GAIN].pop("shape") and None),
    "entry with more": entry(GAIN, strides=[1]),
    "unknown type": entry(GAIN, dtype="F8"),
    "type a list": entry(GAIN, dtype=["F32"]),
    "bf16": entry("float.analysis.head.weight", dtype="BF16"),
    "integers for floats": entry(GAIN, dtype="I32"),
    "floats for integers": entry("twin.reference", dtype="F32"),
    "shape turned around": entry(GAIN, shape=[320, 12]),
    "shape flat": entry(GAIN, shape=[3840]),
    "shape with a fraction": entry(GAIN, shape=[12, 320.0]),
    "shape negative": entry(GAIN, shape=[-12, -320]),
    "shape of nine": entry(GAIN, shape=[1] * 7 + [12, 320]),
    "shape huge": entry(GAIN, shape=[1 << 47, 1 << 47]),
    "offsets beyond": entry(GAIN, data_offsets=[1 << 40, (1 << 40) + 15360]),
    "offsets backwards": entry(GAIN, data_offsets=[15360, 0]),
    "offsets of one": entry(GAIN, data_offsets=[0]),
    "tensors over each other": lambda data: with_header(
        data, lambda facts: facts[GAIN].update(facts["float.entropy.inverse_gain.weight"])
    ),
    "a tensor twice": lambda data: with_text(
        data, json.dumps(header(data)).replace(f'"{GAIN}":', f'"{GAIN}": {{}}, "{GAIN}":', 1)
    ),
    "a tensor missing": lambda data: with_header(data, lambda facts: facts.pop(GAIN) and None),
    "a hole": lambda data: with_header(
        data, lambda facts: {k: v for k, v in facts.items() if "graph" not in k}
    ),
    "a tensor renamed": renamed(GAIN, "float.entropy.gain.weights"),
    "a tensor of another kind": renamed(GAIN, "double.entropy.gain.weight"),
    "a tensor without a kind": renamed(GAIN, "gain"),
    "one graph": lambda data: renamed("graph.analysis", "graph.analyses")(data),
    # -- values
    "a float's bit": flipped(GAIN),
    "an integer's bit": flipped("twin.reference"),
    "a table's bit": flipped("twin.tables.frequencies", 2),
    "a graph's bit": flipped("graph.synthesis", 500),
    "NaN": repacked(float__entropy__gain__weight=put((0, 0), np.nan)),
    "infinity": repacked(float__analysis__head__weight=put((0, 0), np.inf)),
    "negative spread": repacked(float__entropy__spread=put(0, -1)),
    "float64": repacked(float__entropy__spread=lambda a: a.astype(np.float64)),
    "int64": repacked(twin__reference=lambda a: a.astype(np.int64)),
    "a row fewer": repacked(twin__reference=lambda a: a[1:]),
    "no position": repacked(twin__position=lambda a: None),
    "reference of zero": repacked(twin__reference=put((0, 0), 0)),
    "negative reciprocal": repacked(twin__reference_reciprocal=put((0, 0), -1)),
    "huge reciprocal": repacked(twin__reference_reciprocal=put((0, 0), 1 << 20)),
    "huge precision": repacked(twin__precision_reciprocal=put(0, 1 << 30)),
    "frequency of zero": repacked(twin__tables__frequencies=put(0, 0)),
    "negative frequency": repacked(twin__tables__frequencies=put(0, -5)),
    "frequencies that sum up to more": repacked(
        twin__tables__frequencies=lambda a: a + (np.arange(len(a)) == 3)
    ),
    "a frequency fewer": repacked(twin__tables__frequencies=lambda a: a[:-1]),
    "negative support": repacked(twin__tables__support=put(0, -1)),
    "a larger support": repacked(twin__tables__support=lambda a: a + (np.arange(len(a)) == 3)),
    "frequencies in two dimensions": repacked(twin__tables__frequencies=lambda a: a[None]),
    "graphs of other floats": other_graphs,
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_files_are_refused(kind, data, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(MALFORMED[kind](data))
    with pytest.raises(ModelError, match=r"bad\.safetensors") as error:
        load_weights(path)
    assert len(str(error.value)) < 1000
    with pytest.raises(ModelError):
        ssic.Codec.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: b"no graph",
        lambda graph: graph[:-1000],
        lambda graph: graph.replace(b"Softmax", b"Softmix"),
    ],
)
def test_graphs_that_the_runtime_refuses_are_a_model_error(change, data, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(graphs(change)(data))
    codec = ssic.Codec.load(path, engine="onnx")
    with pytest.raises(ModelError, match=r"graph analysis\.\S+ of model .* can't be used"):
        codec.encode(np.zeros((16, 16, 3), np.uint8))


@settings(max_examples=60)
@given(draw_from=st.data())
def test_no_change_of_a_byte_loads_silently(data, draw_from):
    """Of the header, and of what follows it: every byte counts for something."""
    at = draw_from.draw(st.integers(0, len(data) - 1) | st.integers(0, 30_000))
    bit = draw_from.draw(st.integers(0, 7))
    changed = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
    card = header(data)["__metadata__"]["card"]
    try:
        weights = unpack_weights(changed)
    except ModelError:
        return
    # Only what is for people may have changed, and how the header is spaced.
    assert weights.card != json.loads(card) or header(changed) == header(data)


def test_a_directory_and_a_missing_file_are_model_errors(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.safetensors"):
        with pytest.raises(ModelError, match="no readable weights file"):
            load_weights(path)
    with pytest.raises(ModelError, match="small"):
        find_weights("nonesuch")


def test_floats_that_half_precision_cannot_hold_are_not_written():
    with pytest.raises(ModelError, match="not finite"):
        stored_floats({"a": np.full(1 << 15, 1e6, np.float32)})


def test_pickled_weights_that_have_changed_are_refused(tmp_path):
    import pickle

    path = tmp_path / "a.safetensors"
    shutil.copy(find_weights("small"), path)
    pickled = pickle.dumps(load_weights(path))
    assert pickle.loads(pickled).id.hex() == SMALL
    weights: Weights = load_weights(path)
    floats = {k: v.copy() for k, v in weights.floats.items()}
    floats["entropy.spread"][0] += 1
    path.write_bytes(pack_weights(weights.config, floats, weights.twin, {}))
    with pytest.raises(ModelError, match="other weights when they were pickled"):
        pickle.loads(pickled)


def test_info_of_a_model(run, tmp_path):
    path: Path = find_weights("small")
    shown = run("info", path)
    assert shown.code == 0
    assert SMALL in shown.out
    assert "b81f6e9cf30bbfa9" in shown.out
    facts = json.loads(run("info", path, "--json").out)
    assert (facts["id"], facts["config"]["name"], set(facts["graphs"])) == (
        SMALL,
        "small",
        set(load_weights(path).graphs),
    )
    with safe_open(path, "numpy") as file:
        assert facts["config"] == json.loads(file.metadata()["config"])
    assert facts["bytes"]["file"] == path.stat().st_size
    refused = run("info", path, "--check")
    assert refused.code != 0
    assert "--json alone" in refused.err
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(path.read_bytes()[:-1])
    assert "broken.safetensors" in run("info", broken).err
