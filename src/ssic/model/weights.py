"""Weights files: one safetensors file holds configuration, float weights, integer twin, tables and graphs.

::

    metadata   ssic-model  "1"
               config      canonical JSON of ModelConfig
               id          16 hex digits, see `model_id`: what files of pictures name
               floats      16 hex digits, see `floats_id`
               graphs      16 hex digits, see `graphs_id`; only in files with graphs
               step-worth  decimal number, see `STEP_WORTH`; only where it is another one
               card        JSON object: how it was trained
    tensors    float.*     state of `ssic.nets.network.Network`; float16 where precision allows
               twin.*      integers of `ssic.entropy.twin.Twin`, tables of the scale classes
               graph.*     ONNX models as bytes, see `ssic.model.tensors.graph_names`

Files of pictures name the model by its id. It covers all that decoding of symbols depends on, and nothing else.

The graphs hold no weights: their initializers are external data at the location "weights", which is this file's
data section (all that follows the safetensors header), named like the tensors here. Graphs lie after all else, so
that no offset depends on them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ssic.arguments import type_name
from ssic.errors import ModelError, UnknownModel
from ssic.model.config import STEP_WORTH, ModelConfig
from ssic.model.tensors import check_values, float_shapes, graph_names, twin_integers

DEFAULT_MODEL = "base"
"""The installed model that codes where nobody names one."""

LARGE = 1 << 14
"""Float tensors with fewer elements stay in float32: they are gains, biases and norms."""

GRAPH_LOCATION = "weights"
"""What graphs call the data section of the file that they are stored in."""

LARGEST_HEADER = 1 << 20
"""Bytes of a safetensors header that are read."""

_DTYPES = {"F16": "<f2", "F32": "<f4", "I16": "<i2", "I32": "<i4", "U8": "|u1"}
_FIRST_GRAPHS = {"graph.analysis", "graph.synthesis"}
_REQUIRED = ("ssic-model", "config", "id", "floats", "card")
_OPTIONAL = ("graphs", "step-worth")

LARGEST_STEP_WORTH = 1e6
"""From some hundreds on, symbols are only rounded."""


class Span(NamedTuple):
    """Where a tensor lies in the data section."""

    offset: int
    length: int


def _digest(first: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """First 8 bytes of SHA-256 over a text and, sorted by name, the name, dtype, shape and bytes of each tensor."""
    digest = hashlib.sha256(first.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(little.data if little.size else b"")
    return digest.digest()[:8]


def model_id(config: str, twin: Mapping[str, NDArray[Any]]) -> bytes:
    """Hash of the configuration's text as it is stored (so that fields which later versions add don't change it) and
    of the twin's integers."""
    return _digest(config, twin)


def floats_id(floats: Mapping[str, NDArray[Any]]) -> bytes:
    """Hash of the float tensors as they are stored. They decide pixels, and which symbols an encoder chooses."""
    return _digest("floats", floats)


def graphs_id(
    config: str, floats: bytes, spans: Mapping[str, Span], graphs: Mapping[str, NDArray[np.uint8]]
) -> bytes:
    """Hash that ties graphs to the weights whose offsets they name."""
    facts = {name: list(span) for name, span in spans.items() if name.startswith("float.")}
    return _digest(f"{config}\0{floats.hex()}\0{json.dumps(facts, sort_keys=True)}", graphs)


@dataclass(frozen=True, eq=False)
class Weights:
    """Everything in a weights file.

    Attributes:
        config: of the networks.
        id: the model's.
        card: how it was trained.
        floats: float tensors by name, as they are stored.
        twin: integer tensors by name.
        floats_id: hash of the floats.
        graphs: ONNX models by name (`ssic.model.tensors.graph_names`); empty for weights without graphs.
        spans: where each tensor of the file lies in `data`, by its name in the file.
        data: the file's data section, to which the graphs refer.
        text: the configuration as the file states it: what the id is a hash of.
        path: the file they were read from.
        step_worth: bits that an error of one step, squared, is worth to the encoder.
    """

    config: ModelConfig
    id: bytes
    card: Mapping[str, Any]
    floats: Mapping[str, NDArray[Any]] = field(repr=False)
    twin: Mapping[str, NDArray[Any]] = field(repr=False)
    floats_id: bytes = b""
    graphs: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    spans: Mapping[str, Span] = field(default_factory=dict, repr=False)
    data: memoryview = field(default=memoryview(b""), repr=False)
    text: str = ""
    path: Path | None = None
    step_worth: float = STEP_WORTH

    @property
    def identity(self) -> str:
        """All of them that decides bytes of files and pixels: models of one id may differ in the other two."""
        return f"{self.id.hex()} floats {self.floats_id.hex()} step-worth {self.step_worth!r}"

    def __reduce__(self) -> Any:
        if self.path is not None:
            return _again, (self.path, self.id, self.floats_id, self.step_worth)
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return _of_fields, (kept | {"data": bytes(self.data)},)  # views of memory can't be pickled


def _of_fields(kept: dict[str, Any]) -> Weights:
    """Weights that were pickled and lie in no file."""
    return Weights(**kept | {"data": memoryview(kept["data"])})


def _again(path: Path, identity: bytes, floats: bytes, step_worth: float) -> Weights:
    """Weights that were pickled: read anew from where they lay."""
    weights = load_weights(path, earlier=True)  # as they may have been read; the hash is compared here
    if (weights.id, weights.floats_id, weights.step_worth) != (identity, floats, step_worth):
        raise ModelError(
            f"{path} held other weights when they were pickled: model {identity.hex()}, floats {floats.hex()}, "
            f"step-worth {step_worth:g}"
        )
    return weights


def stored_floats(floats: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Float tensors as a weights file keeps them.

    Raises:
        ModelError: a value is not finite, or too large for half precision.
    """
    stored = {}
    for name, value in floats.items():
        # The bypass carries mean colours: half precision would show in them.
        half = value.size >= LARGE and "bypass" not in name
        with np.errstate(over="ignore"):
            stored[name] = np.ascontiguousarray(value, np.float16 if half else np.float32)
        if not np.isfinite(stored[name]).all():
            raise ModelError(f"{name} has values that are not finite, or too large for {stored[name].dtype}")
    return stored


def pack_weights(
    config: ModelConfig,
    floats: Mapping[str, NDArray[Any]],
    twin: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any],
    graphs: Mapping[str, bytes] | None = None,
    *,
    text: str | None = None,
    step_worth: float = STEP_WORTH,
) -> bytes:
    """The bytes of a weights file.

    Args:
        floats: as `stored_floats` gives them.
        graphs: ONNX models whose offsets are those of the same file without graphs (`unpack_weights` tells them).
        text: the configuration as an existing file states it, to keep its model's id; `config.to_json()` by default.
        step_worth: see `Weights`.
    """
    text = config.to_json() if text is None else text
    tensors: dict[str, NDArray[Any]] = {f"twin.{k}": np.ascontiguousarray(v) for k, v in twin.items()}
    tensors |= {f"float.{k}": v for k, v in floats.items()}
    metadata = {
        "ssic-model": "1",
        "config": text,
        "id": model_id(text, twin).hex(),
        "floats": floats_id(floats).hex(),
        "card": json.dumps(card, sort_keys=True),
    }
    if step_worth != STEP_WORTH:
        metadata["step-worth"] = repr(step_worth)
    if not graphs:
        return save(tensors, metadata)
    arrays = {name: np.frombuffer(graph, np.uint8) for name, graph in graphs.items()}
    tensors |= {f"graph.{name}": array for name, array in arrays.items()}
    # safetensors lays tensors of larger elements first, so bytes last: the offsets of all others stay.
    spans = _layout(save(tensors, metadata), "the new file").spans
    metadata["graphs"] = graphs_id(text, floats_id(floats), spans, arrays).hex()
    return save(tensors, metadata)


# -- reading -----------------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """What a safetensors header says."""

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    spans: dict[str, Span]
    start: int


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return result


def _layout(data: bytes, where: object) -> _Layout:
    """Read a safetensors header: strictly, so that a file has one meaning."""

    def no(what: str) -> ModelError:
        return ModelError(f"{where} is no readable weights file: {what}")

    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(LARGEST_HEADER, len(data) - 8):
        raise no(f"it has no safetensors header of at most {LARGEST_HEADER} bytes")
    try:
        header: Any = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise no(f"its header: {e}") from e
    if not isinstance(header, dict):
        raise no("its header is no JSON object")
    metadata: Any = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise no("its metadata are not texts by name")
    if metadata.get("ssic-model") != "1":
        raise ModelError(f"{where} is a safetensors file, but no ssic model (version 1)")
    tensors, spans = {}, {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise no(f"{name} has not exactly a dtype, a shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise no(f"{name} is of type {dtype!r}, not one of {', '.join(_DTYPES)}")
        if not _are_sizes(shape) or len(shape) > 8:
            raise no(f"{name} has the shape {shape!r}")
        if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise no(f"{name} has the offsets {offsets!r}")
        tensors[name] = (dtype, tuple(shape))
        spans[name] = Span(offsets[0], offsets[1] - offsets[0])
        size = np.dtype(_DTYPES[dtype]).itemsize
        for side in shape:
            size *= side
        if size != spans[name].length:
            raise no(f"{name} has {spans[name].length} bytes; {dtype} of shape {shape} has {size}")
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: (item[1].offset, item[1].length)):
        if span.offset != end:
            raise no(f"{name} begins at byte {span.offset} of the data, where byte {end} comes next")
        end += span.length
    if end != len(data) - 8 - length:
        raise no(f"its tensors have {end} bytes, its data {len(data) - 8 - length}")
    return _Layout(metadata, tensors, spans, 8 + length)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 48 for v in value)


def unpack_weights(data: bytes, where: object = "the file", *, earlier: bool = False) -> Weights:
    """Read the bytes of a weights file.

    Args:
        where: what to call it in errors.
        earlier: take files that don't say the hash of their floats, or lack graphs of single layers, as the first
            versions wrote them.

    Raises:
        ModelError: unreadable, no ssic model, or not what it claims: every tensor's name, type, shape and range is
            checked against the configuration, and the three hashes against what is there.
    """
    layout = _layout(data, where)
    metadata = layout.metadata
    missing = [name for name in _REQUIRED if name not in metadata and not (earlier and name == "floats")]
    unknown = metadata.keys() - {*_REQUIRED, *_OPTIONAL}
    old = (
        f"{where} was written by an earlier version of ssic: write it anew with "
        f"`ssic export-weights {where} -o FILE`"
    )
    if "floats" in missing:
        raise ModelError(old)
    if missing or unknown:
        wrong = f"lack {', '.join(missing)}" if missing else f"have {', '.join(sorted(unknown))} besides"
        raise ModelError(f"{where} is no ssic model that this version can read: its metadata {wrong}")
    try:
        config = ModelConfig.from_json(metadata["config"])
    except (ValueError, TypeError, RecursionError) as e:
        raise ModelError(f"{where} has a configuration that this version can't use: {e}") from e
    try:
        card: Any = json.loads(metadata["card"], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"{where} has a model card that is no JSON: {e}") from e
    if not isinstance(card, dict):
        raise ModelError(f"{where} has a model card that is no JSON object")
    found = {name for name in layout.tensors if name.startswith("graph.")}
    if found == _FIRST_GRAPHS and not earlier:
        raise ModelError(old)
    try:
        _check_tensors(config, layout, earlier=earlier)
        arrays = _arrays(data, layout)
        floats, twin, graphs = arrays["float"], arrays["twin"], arrays["graph"]
        check_values(config, floats, twin)
    except ModelError as e:
        raise ModelError(f"{where}: {e}") from e
    identity, floats_hash = model_id(metadata["config"], twin), floats_id(floats)
    _check_claim(where, "model", metadata["id"], identity)
    if "floats" in metadata:
        _check_claim(where, "floats", metadata["floats"], floats_hash)
    if graphs:
        tied = graphs_id(metadata["config"], floats_hash, layout.spans, graphs)
        _check_claim(where, "graphs", metadata.get("graphs", "without a hash"), tied)
    elif "graphs" in metadata:
        raise ModelError(f"{where} claims graphs {metadata['graphs']}, but has none")
    return Weights(
        config=config,
        id=identity,
        card=card,
        floats=floats,
        twin=twin,
        floats_id=floats_hash,
        graphs=graphs,
        spans=layout.spans,
        data=memoryview(data)[layout.start :],
        text=metadata["config"],
        step_worth=_step_worth(where, metadata.get("step-worth")),
    )


def _step_worth(where: object, text: str | None) -> float:
    if text is None:
        return STEP_WORTH
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= LARGEST_STEP_WORTH:
        raise ModelError(
            f"{where} has a step-worth of {text!r}, no number above 0 and up to {LARGEST_STEP_WORTH:g}"
        )
    return value


def _check_claim(where: object, what: str, claimed: str, found: bytes) -> None:
    if found.hex() != claimed:
        raise ModelError(f"{where} claims to be {what} {claimed}, but its content is {found.hex()}")


def _check_tensors(config: ModelConfig, layout: _Layout, *, earlier: bool) -> None:
    """Names, types and shapes."""
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...] | None]] = {
        f"float.{name}": (("F16", "F32"), shape) for name, shape in float_shapes(config).items()
    }
    for name, integers in twin_integers(config).items():
        expected[f"twin.{name}"] = (({"int16": "I16", "int32": "I32"}[integers.dtype],), integers.shape)
    graphs = {f"graph.{name}" for name in graph_names(config)}
    if earlier and layout.tensors.keys() & graphs == _FIRST_GRAPHS:
        graphs = _FIRST_GRAPHS
    if graphs & layout.tensors.keys():
        expected |= dict.fromkeys(graphs, (("U8",), None))
    if missing := sorted(expected.keys() - layout.tensors.keys()):
        raise ModelError(f"{missing[0]} is missing{_and_more(missing)}; the configuration asks for it")
    if unknown := sorted(layout.tensors.keys() - expected.keys()):
        raise ModelError(f"{unknown[0]} is nothing that the configuration knows{_and_more(unknown)}")
    for name, (dtypes, shape) in expected.items():
        dtype, found = layout.tensors[name]
        if dtype not in dtypes:
            raise ModelError(f"{name} is of type {dtype}, not {' or '.join(dtypes)}")
        if found != shape and not (shape is None and len(found) == 1):
            asked = "one dimension" if shape is None else list(shape)
            raise ModelError(f"{name} has the shape {list(found)}; the configuration asks for {asked}")
    first = min((layout.spans[name].offset for name in graphs & layout.tensors.keys()), default=0)
    last = max(layout.spans[name].offset for name in expected.keys() - graphs)
    if graphs & layout.tensors.keys() and first < last:
        raise ModelError("the graphs do not lie after the other tensors")


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _arrays(data: bytes, layout: _Layout) -> dict[str, dict[str, NDArray[Any]]]:
    """Views into the file's bytes, by kind and name."""
    arrays: dict[str, dict[str, NDArray[Any]]] = {"float": {}, "twin": {}, "graph": {}}
    for key, (dtype, shape) in layout.tensors.items():
        kind, name = key.split(".", 1)
        span = layout.spans[key]
        flat = np.frombuffer(data, np.uint8, span.length, layout.start + span.offset)
        arrays[kind][name] = flat.view(_DTYPES[dtype]).reshape(shape)
    return arrays


def load_weights(path: Path, *, earlier: bool = False) -> Weights:
    """Read a weights file; arguments and errors as in `unpack_weights`."""
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise ModelError(f"{path} is no readable weights file: {e}") from e
    weights = unpack_weights(data, path, earlier=earlier)
    object.__setattr__(weights, "path", Path(path).resolve())
    return weights


# -- finding -----------------------------------------------------------------------------------------------------


def installed() -> dict[str, Path]:
    """Preset -> weights file, of the models that come with the package."""
    folder = Path(str(resources.files("ssic"))) / "weights"
    return {p.stem: p for p in sorted(folder.glob("*.safetensors"))}


@lru_cache(maxsize=64)
def _id_of(path: Path) -> str:
    """The id that an installed model claims; those don't change, and are checked when they are loaded."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, LARGEST_HEADER)))
    return header["__metadata__"]["id"]


def find_weights(model: str | Path) -> Path:
    """A preset that comes with the package, or a path -> path of the weights file (`ModelError` if it is neither)."""
    if not isinstance(model, (str, os.PathLike)):
        raise ModelError(f"a model is named, or is the path of a weights file, not {type_name(model)}")
    known = installed()
    if str(model) in known:
        return known[str(model)]
    if Path(model).is_file():
        return Path(model)
    raise ModelError(
        f"no model {str(model)!r}: neither a weights file nor one of {', '.join(known) or 'none'}"
    )


def find_by_id(identity: bytes) -> Path:
    """The installed weights that a file was made with.

    Raises:
        UnknownModel: not installed.
    """
    for path in installed().values():
        if _id_of(path) == identity.hex():
            return path
    have = ", ".join(f"{name} ({_id_of(path)})" for name, path in installed().items()) or "none"
    raise UnknownModel(
        f"the file was made with model {identity.hex()}, which is not installed here (installed: {have}); "
        "pass its weights file as `model` (--model)"
    )
