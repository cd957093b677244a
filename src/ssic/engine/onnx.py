"""The networks in ONNX Runtime, layer by layer, from the graphs that travel with the weights.

A layer is computed in pieces of a few windows, which stay in the processor's cache, by threads that take one piece
after another. The runtime's own threads are not used.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.engine.bands import BAND, Band, Piece, even_parts, filled, layers, through
from ssic.engine.threads import available_threads
from ssic.errors import EngineError, ModelError
from ssic.imports import onnx_runtime, session_options
from ssic.model.config import BLOCK_VALUES
from ssic.model.weights import GRAPH_LOCATION, Weights
from ssic.plan import CELL, WINDOW, Plan
from ssic.progress import nothing
from ssic.workers import Workers

MULTIPLE = 16
"""Lists of tokens, blocks and pairs are filled up to a multiple of this. Matrix products and vector loops may treat the
rest of a list in ways of their own, which round differently: so there is no rest, and a block gives the same bits in
any list."""

WINDOWS = 6
"""Windows of a piece."""

TOKENS = WINDOW**2 * WINDOWS
"""Tokens of a piece of a layer that mixes neighbours and has no windows: as many as windows hold."""

BLOCKS = TOKENS // 4
"""Blocks of a piece of a layer of single blocks: as many fine tokens."""

PAIRS = 256
"""(cell, group) pairs of a piece of hyper-analysis."""

Floats = NDArray[np.float32]

_engines: weakref.WeakSet[OnnxEngine] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked child has locks of the runtime that threads of the parent may have held, so it makes sessions of its
    own. Those of the parent can't be closed there: they are kept beyond the end of the interpreter."""
    for engine in _engines:
        for session in engine._sessions.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        engine._sessions, engine._lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class OnnxEngine:
    """Runs the graphs on the processor, in float32. Serves any number of threads; sessions are made when first used.

    Attributes:
        band: blocks that go into the first layer at a time, about.
    """

    name = "onnx"

    def __init__(self, weights: Weights, threads: int | None = None, band: int = BAND) -> None:
        """
        Args:
            weights: with graphs.
            threads: to share the work of one call; as many as the process has cores by default, also where an engine
                that was pickled is made anew.
            band: blocks that go into the first layer at a time, or the fewest that eight rows have.

        Raises:
            ModelError: the weights have no graphs.
        """
        if not weights.graphs:
            raise ModelError(
                f"the weights of model {weights.id.hex()} have no graphs for ONNX Runtime: write them with "
                "`ssic export-weights`, or use the engine torch"
            )
        self.weights = weights
        self.band = band
        self.floats_id = weights.floats_id
        self._asked = threads
        self._threads = available_threads() if threads is None else threads
        self._workers = Workers()
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        _engines.add(self)

    @property
    def threads(self) -> int:
        """Threads that share the work of one call."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self._asked = self._threads = threads

    def __reduce__(self) -> Any:
        return OnnxEngine, (self.weights, self._asked, self.band)

    def analyse(
        self,
        blocks: NDArray[np.uint8],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> tuple[Floats, Floats]:
        """blocks [N, 4, 192] of the plan -> latents y [N, M], gain applied, and hyper-latents z [P, Z]."""
        y = np.empty((len(plan), self.weights.config.latent_channels), np.float32)
        for part, found in self._through("analysis", "pixels", blocks, plan, quality, reached):
            y[part] = found
        return y, self._hyper(y, plan, quality)

    def synthesise(
        self,
        latents: NDArray[np.floating[Any]],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> blocks [N, 4, 192]."""
        pixels = np.empty((len(plan), 4, BLOCK_VALUES // 4), np.uint8)
        for part, found in self._through("synthesis", "latents", latents, plan, quality, reached):
            pixels[part] = found.reshape(-1, *pixels.shape[1:])
        return pixels

    def _through(
        self,
        side: str,
        name: str,
        values: NDArray[Any],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None],
    ) -> Iterator[tuple[slice, Floats]]:
        runner = _Runner(self, name, values, plan.of_blocks(quality).astype(np.int32))
        return through(plan, layers(self.weights.config, side), runner, self.band, reached)

    def _hyper(self, y: Floats, plan: Plan, quality: Mapping[int, int]) -> Floats:
        z = np.empty((len(plan.pair_count), self.weights.config.hyper_channels), np.float32)
        of_blocks = plan.of_blocks(quality).astype(np.int32)
        by_pair = np.argsort(plan.pair, kind="stable")
        start = np.concatenate([[0], np.cumsum(plan.pair_count)])

        def piece(part: slice) -> None:
            own = by_pair[start[part.start] : start[part.stop]]
            count = filled(plan.pair_count[part].astype(np.int32), MULTIPLE, 1)
            n = len(own) + -len(own) % MULTIPLE
            members = np.full((len(count), CELL**2), n, np.int32)
            members[plan.pair[own] - part.start, plan.cell_position[own]] = np.arange(len(own))
            inputs = {
                "latents": filled(y[own], MULTIPLE),
                "quality": filled(of_blocks[own], MULTIPLE, 1),
                "members": members,
                "count": count,
            }
            z[part] = self.run("analysis.hyper", inputs)[: part.stop - part.start]

        self.each(piece, slices(0, len(z), PAIRS, self.threads))
        return z

    def each(self, function: Callable[[Any], None], parts: Sequence[Any]) -> None:
        """Call with each of the parts, some at a time."""
        self._workers.map(function, parts, self._threads)

    def run(self, graph: str, inputs: dict[str, NDArray[Any]]) -> Floats:
        """What a graph makes of its inputs.

        Raises:
            EngineError: it fails.
        """
        try:
            (found,) = self._session(graph).run(None, inputs)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime has a class of errors of its own for each reason
            raise EngineError(f"ONNX Runtime failed in {graph}: {_first_line(error)}") from error
        result: Floats = found
        return result

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = self._make(graph)
            return self._sessions[graph]

    def _make(self, graph: str) -> Any:
        ort = onnx_runtime()
        options = session_options(1)
        options.inter_op_num_threads = 1
        # A pattern of memory is of use to lists of one length only; with it a second run takes half as much again.
        options.enable_mem_pattern = False
        data = self.weights.data
        options.add_external_initializers_from_files_in_memory([GRAPH_LOCATION], [data], [len(data)])
        try:
            return ort.InferenceSession(
                self.weights.graphs[graph].tobytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"the graph {graph} of model {self.weights.id.hex()} can't be used: {_first_line(error)}"
            ) from error


class _Runner:
    """One call, as `ssic.engine.bands.Runner`."""

    def __init__(
        self, engine: OnnxEngine, name: str, values: NDArray[Any], quality: NDArray[np.int32]
    ) -> None:
        """
        Args:
            name: of the input that is the picture: "pixels" or "latents".
            values: [N, ...] of all blocks.
            quality: [N] of all blocks.
        """
        self._engine, self._name, self._values, self._quality = engine, name, values, quality

    def begin(self, band: Band) -> Floats:
        return self._single(band, None)

    def layer(self, tokens: Floats, band: Band) -> Floats:
        if not band.layer.sees_others:
            return self._single(band, tokens)
        return self._near(tokens, band) if band.layer.shift is None else self._windows(tokens, band)

    def join(self, parts: Sequence[Floats]) -> Floats:
        return np.concatenate([np.zeros((1, parts[0].shape[1]), np.float32), *parts])

    def cut(self, tokens: Floats, part: slice) -> Floats:
        return tokens[part].copy()

    def _single(self, band: Band, tokens: Floats | None) -> Floats:
        """A layer of single blocks."""
        layer, start = band.layer, band.blocks.start
        takes, gives = layer.tokens**2, layer.gives
        out = np.empty((gives * (band.blocks.stop - start), layer.width), np.float32)

        def piece(part: slice) -> None:
            low, high = part.start - start, part.stop - start
            inputs: dict[str, NDArray[Any]] = {"quality": filled(self._quality[part], MULTIPLE, 1)}
            if tokens is not None:
                own = tokens[band.first + takes * low : band.first + takes * high]
                inputs["tokens"] = filled(own, takes * MULTIPLE)
            if layer.sees_input:
                inputs[self._name] = filled(self._values[part].astype(np.float32), MULTIPLE)
            found = self._engine.run(layer.name, inputs).reshape(-1, layer.width)
            out[gives * low : gives * high] = found[: gives * (high - low)]

        self._engine.each(piece, slices(start, band.blocks.stop, BLOCKS, self._engine.threads))
        return out

    def _near(self, tokens: Floats, band: Band) -> Floats:
        """A layer that mixes neighbours and has no windows."""
        out = np.empty((len(band), band.layer.width), np.float32)
        own = np.arange(band.first, band.first + len(band), dtype=np.int32)
        near = band.neighbours

        def piece(part: slice) -> None:
            inputs = {
                "tokens": tokens,
                "own": filled(own[part], MULTIPLE),
                "neighbours": filled(near[part], MULTIPLE),
            }
            out[part] = self._engine.run(band.layer.name, inputs)[: part.stop - part.start]

        self._engine.each(piece, slices(0, len(band), TOKENS, self._engine.threads))
        return out

    def _windows(self, tokens: Floats, band: Band) -> Floats:
        """A layer of windows."""
        name = band.layer.name
        out = np.empty((len(band), band.layer.width), np.float32)

        def piece(part: Piece) -> None:
            inputs: dict[str, NDArray[Any]] = {
                "tokens": tokens,
                "own": part.own,
                "gather": part.gather,
                "key": part.key,
                "scatter": part.scatter,
            }
            if part.neighbours is not None:
                inputs["neighbours"] = part.neighbours
            out[part.tokens] = self._engine.run(name, inputs)[: part.length]

        self._engine.each(piece, band.pieces(WINDOWS, MULTIPLE, self._engine.threads))
        return out


def slices(start: int, stop: int, size: int, threads: int) -> list[slice]:
    """Parts of start..stop, of so many each at most and as alike as can be, for threads to share."""
    count = even_parts(stop - start, -(-(stop - start) // size), threads)
    ends = [start + (stop - start) * i // count for i in range(count + 1)] if count else [start]
    return [slice(*ends[i : i + 2]) for i in range(count)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
