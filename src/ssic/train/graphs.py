"""The networks as ONNX graphs: analysis with hyper-analysis, and synthesis, as a whole and layer by layer.

The graphs hold no weights. Their initializers refer to the float tensors of the weights file that they are stored in
(`ssic.model.weights`): external data, with offset and length within the data section of that file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssic.engine.inputs import NEIGHBOUR_INPUTS, WINDOW_INPUTS, index_inputs, pair_inputs, quality_input
from ssic.errors import EngineError, ModelError
from ssic.imports import optional
from ssic.model.config import ModelConfig
from ssic.model.weights import GRAPH_LOCATION, Weights
from ssic.nets.layers import GISwinBlock, LevelIndex, WindowIndex
from ssic.nets.network import Network
from ssic.plan import make_plan

OPSET = 17


def export_graphs(weights: Weights) -> dict[str, bytes]:
    """ONNX models by name (`ssic.model.tensors.graph_names`), whose initializers refer to the spans of `weights`.

    Raises:
        EngineError: the package onnx is not installed.
    """
    network = Network.of(weights)
    return {name: _export(*graph, weights) for name, graph in (_wholes(network) | _parts(network)).items()}


Arrays = Mapping[str, NDArray[Any]]
Graph = tuple[nn.Module, Arrays, Sequence[str]]
"""A module, inputs by name in the order of its arguments, and the names of its outputs."""


def _wholes(network: Network) -> dict[str, Graph]:
    config = network.config
    # Any plan does: all sizes are dynamic. Several groups, windows with empty slots, blocks without neighbours.
    ids = (np.arange(9 * 11).reshape(9, 11) // 7 % 3).astype(np.uint8)
    plan = make_plan(ids)
    named = index_inputs(plan, local=config.local)
    index = {name: named[name] for name in (*WINDOW_INPUTS, *NEIGHBOUR_INPUTS) if name in named}
    quality = {"quality": quality_input(plan, {0: 10, 1: 50, 2: 90})}
    pixels = {"pixels": np.zeros((len(plan), 4, 192), np.float32)}
    latents = {"latents": np.zeros((len(plan), config.latent_channels), np.float32)}
    return {
        "analysis": (_Analysis(network), pixels | quality | pair_inputs(plan) | index, ("y", "z")),
        "synthesis": (_Synthesis(network), latents | quality | index, ("pixels",)),
    }


def _parts(network: Network) -> dict[str, Graph]:
    """One graph for each layer, which is fed with what `ssic.engine.bands` gives it."""
    config = network.config
    n = 32
    quality = {"quality": np.full(n, 50, np.int32)}
    pixels = {"pixels": np.zeros((n, 4, 192), np.float32)}
    latents = {"latents": np.zeros((n, config.latent_channels), np.float32)}
    pairs = {"members": np.full((3, 16), n, np.int32), "count": np.ones(3, np.int32)}
    fine, coarse = (
        {"tokens": np.zeros((count, width), np.float32)}
        for count, width in zip((4 * n, n), config.widths, strict=True)
    )
    analysis, synthesis = network.analysis, network.synthesis
    entropy = network.entropy
    graphs: dict[str, Graph] = {
        "analysis.begin": (
            _Part(network, lambda x, q: analysis.begin(x / 255 - 0.5, q)),
            pixels | quality,
            ("found",),
        ),
        "analysis.between": (_Part(network, analysis.between), fine | quality, ("found",)),
        "analysis.end": (
            _Part(network, lambda t, x, q: network.gained(analysis.end(t, x / 255 - 0.5, entropy.spread), q)),
            coarse | pixels | quality,
            ("y",),
        ),
        "analysis.hyper": (_Part(network, network.hyper), latents | quality | pairs, ("z",)),
        "synthesis.begin": (
            _Part(network, lambda y, q: synthesis.begin(network.normalised(y, q), q)),
            latents | quality,
            ("found",),
        ),
        "synthesis.between": (_Part(network, synthesis.between), coarse | quality, ("found",)),
        "synthesis.end": (
            _Part(network, lambda t, y, q: samples(synthesis.end(t, network.dequantised(y, q)))),
            fine | latents | quality,
            ("pixels",),
        ),
    }
    for side in ("analysis", "synthesis"):
        for level, tokens in (("fine", fine), ("coarse", coarse)):
            for i, block in enumerate(getattr(getattr(network, side), f"blocks_{level}")):
                inputs: dict[str, NDArray[Any]] = {**tokens, "own": np.arange(n, dtype=np.int32)}
                if block.shape.shift is not None:
                    inputs |= {
                        "gather": np.zeros((2, 64), np.int32),
                        "key": np.zeros((2, 64), np.int32),
                        "scatter": np.arange(n, dtype=np.int32),
                    }
                if block.shape.local:
                    inputs["neighbours"] = np.zeros((n, 8), np.int32)
                graphs[f"{side}.{level}.{i}"] = _Part(network, _piece_of(block)), inputs, ("found",)
    return graphs


def _piece_of(block: GISwinBlock) -> Callable[..., Tensor]:
    """`GISwinBlock.piece` as a function of the inputs of its graph, in order."""

    def piece(x: Tensor, own: Tensor, *index: Tensor) -> Tensor:
        windows = None if block.shape.shift is None else WindowIndex(*index[:3])
        return block.piece(x, own, windows, index[-1] if block.shape.local else None)

    return piece


class _Part(nn.Module):
    """A function of the network's own, with the network, so that the exporter finds its parameters."""

    def __init__(self, network: Network, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class _Analysis(nn.Module):
    """Pixels from 0 to 255 -> y, z."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, quality: Tensor, members: Tensor, count: Tensor, *index: Tensor) -> Any:
        fine, coarse = _levels(self.network.config, index)
        return self.network.analyse(pixels / 255 - 0.5, quality, members, count, fine, coarse)


class _Synthesis(nn.Module):
    """Latents -> pixels, whole numbers from 0 to 255."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor, quality: Tensor, *index: Tensor) -> Tensor:
        fine, coarse = _levels(self.network.config, index)
        return samples(self.network.synthesise(latents, quality, fine, coarse))


def samples(pixels: Tensor) -> Tensor:
    """Pixels about -0.5 to 0.5 -> whole numbers from 0 to 255."""
    return ((pixels + 0.5) * 255).round().clamp(0, 255)


def _levels(config: ModelConfig, index: Sequence[Tensor]) -> tuple[LevelIndex, LevelIndex]:
    """The arrays of `index_inputs`, in the order of their names -> fine and coarse level."""
    names = [*WINDOW_INPUTS, *(NEIGHBOUR_INPUTS if config.local else ())]
    by_name = dict(zip(names, index, strict=True))

    def level(name: str) -> LevelIndex:
        windows = [
            WindowIndex(*(by_name[f"{name}{shift}_{part}"] for part in ("gather", "key", "scatter")))
            for shift in ("", "_shifted")
        ]
        return LevelIndex(windows, by_name.get(f"{name}_neighbours"))

    return level("fine"), level("coarse")


def _dynamic(name: str) -> str:
    """What the first dimension of an input or output is called."""
    if name in ("members", "count", "z"):
        return "pairs"
    if name.endswith(("_gather", "_key")):
        return f"{name.rsplit('_', 1)[0]}_windows"
    if name in ("gather", "key"):
        return "windows"
    if name in ("own", "scatter", "neighbours"):
        return "own"
    if name == "found":
        return "found"
    return "tokens" if name.startswith(("fine_", "tokens")) else "blocks"


def _export(module: nn.Module, inputs: Arrays, outputs: Sequence[str], weights: Weights) -> bytes:
    onnx = optional("onnx", "train", EngineError, "writing graphs")
    numpy_helper = optional("onnx.numpy_helper", "train", EngineError)

    order = list(inputs)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter(
            "ignore"
        )  # of the exporter's age; newer ones write GatherND, which WebGPU lacks
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in order),
            buffer,  # type: ignore[arg-type]  # takes binary files, says the manual
            input_names=order,
            output_names=list(outputs),
            dynamic_axes={name: {0: _dynamic(name)} for name in (*order, *outputs)},
            opset_version=OPSET,
            do_constant_folding=False,  # or weights come out transposed, as copies of their own
            dynamo=False,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    graph = model.graph
    casts, kept = [], []
    for initializer in graph.initializer:
        name = initializer.name.removeprefix("network.")
        value = numpy_helper.to_array(initializer)
        stored = weights.floats.get(name)
        if stored is None:
            kept.append(initializer)
            continue
        if stored.shape != value.shape or not np.array_equal(stored.astype(np.float32), value):
            raise ModelError(f"{name} came out of the export changed")
        half = stored.dtype == np.float16
        span = weights.spans[f"float.{name}"]
        external = onnx.TensorProto(
            name=f"float.{name}",
            dims=stored.shape,
            data_type=onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, text in (("location", GRAPH_LOCATION), ("offset", span.offset), ("length", span.length)):
            external.external_data.add(key=key, value=str(text))
        kept.append(external)
        if half:
            casts.append(
                onnx.helper.make_node(
                    "Cast", [external.name], [initializer.name], f"cast {name}", to=onnx.TensorProto.FLOAT
                )
            )
        else:
            _rename_input(graph, initializer.name, external.name)
    nodes = _folded(graph.node, onnx.helper, numpy_helper)
    del graph.node[:], graph.initializer[:], graph.value_info[:], model.metadata_props[:]
    graph.node.extend(casts + nodes)
    graph.initializer.extend(kept)
    for node in graph.node:  # traces of the machine that exported
        node.ClearField("doc_string")
        del node.metadata_props[:]
    graph.name = f"ssic {outputs[0]}"
    return model.SerializeToString(deterministic=True)


def _folded(nodes: Sequence[Any], helper: Any, numpy_helper: Any) -> list[Any]:
    """Nodes of a graph, with what it makes of constant scalars computed: the exporter takes roots of the scale of
    attention in float64, for which builds of ONNX Runtime with WebGPU have no kernel."""
    scalars: dict[str, NDArray[Any]] = {}
    found = []
    for node in nodes:
        source = scalars.get(node.input[0]) if len(node.input) == 1 else None
        if node.op_type == "Constant" and not node.attribute[0].t.dims:
            scalars[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Sqrt" and source is not None:
            scalars[node.output[0]] = np.sqrt(source)
        elif node.op_type == "Cast" and source is not None:
            kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            scalars[node.output[0]] = np.asarray(source.astype(kind))
        else:
            found.append(node)
    used = {name for node in found for name in node.input}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in scalars.items()
        if name in used
    ]
    return constants + found


def _rename_input(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
