"""What other kernels of synthesis would cost: levels of graph optimisation, no arena of memory, int8, bfloat16.

Crops of pictures are encoded in nine groups with the engine as it is, and the same files are decoded with ONNX Runtime
set otherwise, with its dynamic quantisation to int8 (of matrix products with weights), and with PyTorch. Bytes don't
depend on any of it, so decibels against the original tell what it costs. Seconds are of synthesis alone, the least of
some runs in turn, mean of the files: by the clock, and of the processor in all threads. "Alone" says whether each group
has the same pixels decoded alone as among the others, which is a law of ssic, and no engine may break it.

It needs PyTorch and onnx: pip install "ssic[train]".

    PYTHONPATH=src python benchmarks/kernels.py validation/*.webp --qualities 30 70
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from PIL import Image

import ssic
from _pictures import nine_groups
from _report import emit, table
from ssic.engine.base import Engine, find_engine
from ssic.engine.onnx import OnnxEngine
from ssic.imports import onnx_runtime, session_options
from ssic.model.weights import DEFAULT_MODEL, GRAPH_LOCATION, Weights, find_weights, load_weights
from ssic.plan import Plan
from ssic.progress import nothing

PROVIDERS = ["CPUExecutionProvider"]
SYNTHESIS = "synthesis"
AS_IT_IS = "onnx, as it is"


def levels() -> dict[str, Any]:
    """ONNX Runtime's levels of graph optimisation."""
    level = onnx_runtime().GraphOptimizationLevel
    return {
        "disabled": level.ORT_DISABLE_ALL,
        "basic": level.ORT_ENABLE_BASIC,
        "extended": level.ORT_ENABLE_EXTENDED,
        "all": level.ORT_ENABLE_ALL,
    }


def options_for(weights: Weights, level: str, arena: bool = True) -> Any:
    """Options of a session for a graph of the weights file, whose initializers lie outside of it."""
    options = session_options(1)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.graph_optimization_level = levels()[level]
    options.enable_cpu_mem_arena = arena
    options.add_external_initializers_from_files_in_memory(
        [GRAPH_LOCATION], [weights.data], [len(weights.data)]
    )
    return options


class OtherSession(OnnxEngine):
    """The engine as it is, but for the sessions that the parts of synthesis run in.

    Attributes:
        options: makes those of a session.
        model: the graph that runs instead of that of a name.
        made: how many of these sessions were made.
    """

    def __init__(
        self, weights: Weights, threads: int, options: Callable[[], Any], model: Callable[[str], bytes]
    ) -> None:
        super().__init__(weights, threads)
        self.options, self.model = options, model
        self.made = 0

    def _make(self, graph: str) -> Any:
        if not graph.startswith(SYNTHESIS):
            return super()._make(graph)
        self.made += 1
        return onnx_runtime().InferenceSession(self.model(graph), self.options(), providers=PROVIDERS)


def as_stored(weights: Weights, graph: str) -> bytes:
    """The graph of that name."""
    return weights.graphs[graph].tobytes()


def quantised(weights: Weights, per_channel: bool, graph: str) -> bytes:
    """A graph with its matrix products in int8: weights once for all, what they are multiplied with in each run.

    Args:
        per_channel: a scale for each column of a matrix of weights, rather than one for all of it.
    """
    with tempfile.TemporaryDirectory() as name:
        whole, small = Path(name) / "whole.onnx", Path(name) / "int8.onnx"
        # The runtime writes one file with all weights, and casts those in float16 while it is at it.
        options = options_for(weights, "basic")
        options.optimized_model_filepath = str(whole)
        onnx_runtime().InferenceSession(as_stored(weights, graph), options, providers=PROVIDERS)
        quantization.quantize_dynamic(
            whole,
            small,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=per_channel,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(small)
    if not any(node.op_type == "MatMulInteger" for node in model.graph.node):
        raise SystemExit(f"nothing was quantised: {graph} has no matrix product with weights")
    return model.SerializeToString()


def candidates(weights: Weights, threads: int) -> dict[str, Engine]:
    """What is compared; the first is the engine as it is."""
    found: dict[str, Engine] = {AS_IT_IS: find_engine("onnx", weights)}

    def other(model: Callable[[str], bytes], level: str, arena: bool = True) -> Engine:
        return OtherSession(weights, threads, partial(options_for, weights, level, arena), model)

    stored = partial(as_stored, weights)
    for level in levels():
        found[f"optimisation: {level}"] = other(stored, level)
    found["without the arena"] = other(stored, "all", arena=False)
    for name, per_channel in (("int8", False), ("int8, a scale per channel", True)):
        found[name] = other(partial(quantised, weights, per_channel), "all")
    for precision in ("float32", "bfloat16"):
        found[f"torch {precision}"] = find_engine(f"torch:cpu:{precision}", weights)
    for engine in found.values():
        if engine.threads != threads:
            engine.threads = threads
    return found


class Timed:
    """An engine whose synthesis is timed: `wall` and `cpu` seconds of the last one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name, self.floats_id, self.threads = engine.name, engine.floats_id, engine.threads
        self.wall = self.cpu = 0.0

    def analyse(
        self,
        blocks: NDArray[np.uint8],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.engine.analyse(blocks, plan, quality, reached)

    def synthesise(
        self,
        latents: NDArray[np.floating[Any]],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> NDArray[np.uint8]:
        wall, cpu = time.perf_counter(), time.process_time()
        pixels = self.engine.synthesise(latents, plan, quality, reached)
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu
        return pixels


def centre(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3] at most: the middle of a picture, which is not scaled."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = max(0, pixels.shape[0] - height) // 2, max(0, pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def psnr(pixels: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    error = float(np.mean((pixels.astype(float) - original) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


def groups_alone(data: bytes, engine: Engine, model: str, whole: NDArray[np.uint8]) -> bool:
    """Whether each group of a file has the same pixels decoded alone as among all."""
    file = ssic.open(data)
    ids = file.mask.to_pixels(whole.shape[1], whole.shape[0])
    return all(
        np.array_equal(
            ssic.decode(data, [group.id], model=model, engine=engine)[ids == group.id], whole[ids == group.id]
        )
        for group in file.groups
    )


def measure(
    engines: Mapping[str, Engine], data: bytes, original: NDArray[np.uint8], model: str, runs: int
) -> dict[str, dict[str, Any]]:
    """What each engine makes of a file, against the picture that it was made from and the first engine."""
    timed = {name: Timed(engine) for name, engine in engines.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    pixels: dict[str, NDArray[np.uint8]] = {}
    for _ in range(runs + 1):  # the first finds its memory, and doesn't count
        for name, engine in timed.items():
            pixels[name] = ssic.decode(data, model=model, engine=engine)
            seconds[name].append((engine.wall, engine.cpu))
    first = next(iter(pixels.values())).astype(int)
    return {
        name: {
            "psnr": psnr(pixels[name], original),
            "difference": int(np.abs(pixels[name] - first).max()),
            "alone": groups_alone(data, engines[name], model, pixels[name]),
            "wall": min(wall for wall, _ in seconds[name][1:]),
            "cpu": min(cpu for _, cpu in seconds[name][1:]),
        }
        for name in engines
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--qualities", type=int, nargs="+", default=[30, 70])
    parser.add_argument(
        "--crop", type=int, nargs=2, default=[768, 512], metavar=("WIDTH", "HEIGHT"), help="of the middle"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    weights = load_weights(find_weights(options.model))
    engines = candidates(weights, options.threads)
    before = os.getloadavg()[0]
    files = []
    for path in options.pictures:
        crop = centre(path, *options.crop)
        mask = nine_groups(crop.shape[1], crop.shape[0])
        for quality in options.qualities:
            data = ssic.encode(crop, mask, quality=quality, model=options.model, engine=engines[AS_IT_IS])
            measured = measure(engines, data, crop, options.model, options.runs)
            files.append({"picture": path.name, "quality": quality, "measured": measured})
            print(f"{path.name} at {quality}", file=sys.stderr, flush=True)
    for name, engine in engines.items():
        if isinstance(engine, OtherSession) and not engine.made:
            raise SystemExit(f"{name}: the engine made no session of ours, so something else was measured")
    rows = []
    for name in engines:
        of = [(file["quality"], file["measured"][name]) for file in files]
        decibels = [np.mean([one["psnr"] for quality, one in of if quality == q]) for q in options.qualities]
        rows.append(
            (
                name,
                *(f"{value:.3f}" for value in decibels),
                max(one["difference"] for _, one in of),
                "same" if all(one["alone"] for _, one in of) else "other",
                *(f"{np.mean([one[key] for _, one in of]):.3f}" for key in ("wall", "cpu")),
            )
        )
    columns = ("", *(f"dB at {q}" for q in options.qualities), "levels off", "alone", "s", "s of processor")
    load = f"{options.threads} thread(s); load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    results = {"threads": options.threads, "load": before, "files": files}
    emit("Kernels of synthesis", results, [load, table(columns, rows)], options.json, options.model)


if __name__ == "__main__":
    main()
