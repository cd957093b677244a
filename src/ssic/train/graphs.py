"""The networks as two ONNX graphs: analysis with hyper-analysis, and synthesis.

The graphs hold no weights. Their initializers refer to the float tensors of the weights file that they are stored in
(`ssic.model.weights`): external data, with offset and length within the data section of that file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssic.engine.inputs import NEIGHBOUR_INPUTS, WINDOW_INPUTS, index_inputs, pair_inputs, quality_input
from ssic.errors import EngineError, ModelError
from ssic.imports import optional
from ssic.model.config import ModelConfig
from ssic.model.weights import GRAPH_LOCATION, Weights
from ssic.nets.layers import LevelIndex, WindowIndex
from ssic.nets.network import Network
from ssic.plan import make_plan

OPSET = 17


def export_graphs(weights: Weights) -> dict[str, bytes]:
    """ONNX models "analysis" and "synthesis", whose initializers refer to the spans of `weights`.

    Raises:
        EngineError: the package onnx is not installed.
    """
    network = Network(weights.config)
    network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.floats.items()})
    network.eval().requires_grad_(False)
    config = weights.config
    # Any plan does: all sizes are dynamic. Several groups, windows with empty slots, blocks without neighbours.
    ids = (np.arange(9 * 11).reshape(9, 11) // 7 % 3).astype(np.uint8)
    plan = make_plan(ids)
    index = index_inputs(plan, local=config.local)
    quality = {0: 10, 1: 50, 2: 90}
    n, m = len(plan), config.latent_channels
    first = {"pixels": np.zeros((n, 4, 192), np.float32), "quality": quality_input(plan, quality)}
    second = {"latents": np.zeros((n, m), np.float32), "quality": quality_input(plan, quality)}
    return {
        "analysis": _export(_Analysis(network), first | pair_inputs(plan) | index, ("y", "z"), weights),
        "synthesis": _export(_Synthesis(network), second | index, ("pixels",), weights),
    }


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
        pixels = self.network.synthesise(latents, quality, fine, coarse)
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
    return "tokens" if name.startswith("fine_") else "blocks"


def _export(
    module: nn.Module, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str], weights: Weights
) -> bytes:
    onnx = optional("onnx", "train", EngineError, "writing graphs")
    numpy_helper = optional("onnx.numpy_helper", "train", EngineError)

    order = [*(name for name in inputs if "_" not in name)]
    order += [name for name in (*WINDOW_INPUTS, *NEIGHBOUR_INPUTS) if name in inputs]
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
    nodes = list(graph.node)
    del graph.node[:], graph.initializer[:], graph.value_info[:], model.metadata_props[:]
    graph.node.extend(casts + nodes)
    graph.initializer.extend(kept)
    for node in graph.node:  # traces of the machine that exported
        node.ClearField("doc_string")
        del node.metadata_props[:]
    graph.name = f"ssic {outputs[0]}"
    return model.SerializeToString(deterministic=True)


def _rename_input(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
