"""The networks in ONNX Runtime, from the graphs that travel with the weights."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.engine.inputs import index_inputs, pair_inputs, quality_input
from ssic.engine.strips import strips
from ssic.engine.threads import available_threads
from ssic.errors import EngineError, ModelError
from ssic.imports import onnx_runtime, session_options
from ssic.model.config import BLOCK_VALUES
from ssic.model.weights import GRAPH_LOCATION, Weights
from ssic.plan import Plan

MULTIPLE = 16
"""Lists of blocks and of pairs are filled up to a multiple of this. Matrix products and vector loops may treat the rest
of a list in ways of their own, which round differently: so there is no rest, and a block gives the same bits in any
list."""

LARGEST = 16_000
"""Blocks that are computed at a time (4 megapixels): a gigabyte with the model `small`."""

SHRINK = 8_000
"""Blocks from which on the runtime gives its memory back after a call; below, it keeps it for the next."""

_engines: weakref.WeakSet[OnnxEngine] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child the threads of the parent's sessions are not there. So these can be neither used nor closed:
    closing waits for the threads for ever. They are kept beyond the end of the interpreter, and new ones made."""
    for engine in _engines:
        for session in engine._sessions.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        engine._sessions, engine._lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class OnnxEngine:
    """Runs the graphs on the processor, in float32. Serves any number of threads; sessions are made when first used.

    Attributes:
        largest: blocks that are computed at a time; larger pictures are cut into strips.
    """

    name = "onnx"

    def __init__(self, weights: Weights, threads: int | None = None, largest: int = LARGEST) -> None:
        """
        Args:
            weights: with graphs.
            threads: to share the work of one call; as many as the process has cores by default, also where an engine
                that was pickled is made anew.
            largest: blocks that are computed at a time.

        Raises:
            ModelError: the weights have no graphs.
        """
        if not weights.graphs:
            raise ModelError(
                f"the weights of model {weights.id.hex()} have no graphs for ONNX Runtime: write them with "
                "`ssic export-weights`, or use the engine torch"
            )
        self.weights = weights
        self.largest = largest
        self.floats_id = weights.floats_id
        self._asked = threads
        self._threads = available_threads() if threads is None else threads
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        _engines.add(self)

    @property
    def threads(self) -> int:
        """Threads that share the work of one call."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        with self._lock:
            self._asked = self._threads = threads
            self._sessions = {}

    def __reduce__(self) -> Any:
        return OnnxEngine, (self.weights, self._asked, self.largest)

    def analyse(
        self, blocks: NDArray[np.uint8], plan: Plan, quality: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """blocks [N, 4, 192] of the plan -> latents y [N, M], gain applied, and hyper-latents z [P, Z]."""
        if len(plan) > self.largest:
            config = self.weights.config
            y = np.empty((len(plan), config.latent_channels), np.float32)
            z = np.empty((len(plan.pair_count), config.hyper_channels), np.float32)
            for part in strips(plan, config, self.largest, analysis=True):
                some_y, some_z = self._analyse(blocks[part.blocks], part.plan, quality)
                y[part.own], z[part.pairs] = some_y[part.own_here], some_z[part.pairs_here]
            return y, z
        return self._analyse(blocks, plan, quality)

    def _analyse(
        self, blocks: NDArray[np.uint8], plan: Plan, quality: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pixels = np.zeros((len(plan) + -len(plan) % MULTIPLE, *blocks.shape[1:]), np.float32)
        pixels[: len(plan)] = blocks
        inputs = {"pixels": pixels} | pair_inputs(plan, multiple=MULTIPLE)
        y, z = self._run("analysis", inputs, plan, quality)
        return y[: len(plan)], z[: len(plan.pair_count)]

    def synthesise(
        self, latents: NDArray[np.floating[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> blocks [N, 4, 192]."""
        if len(plan) > self.largest:
            pixels = np.empty((len(plan), 4, BLOCK_VALUES // 4), np.uint8)
            for part in strips(plan, self.weights.config, self.largest, analysis=False):
                some = self._synthesise(latents[part.blocks], part.plan, quality)
                pixels[part.own] = some[part.own_here]
            return pixels
        return self._synthesise(latents, plan, quality)

    def _synthesise(
        self, latents: NDArray[np.floating[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> NDArray[np.uint8]:
        filled = np.zeros((len(plan) + -len(plan) % MULTIPLE, latents.shape[1]), np.float32)
        filled[: len(plan)] = latents
        (found,) = self._run("synthesis", {"latents": filled}, plan, quality)
        return found[: len(plan)].astype(np.uint8)

    def _run(
        self, graph: str, inputs: dict[str, NDArray[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> list[NDArray[np.float32]]:
        session = self._session(graph)
        inputs |= index_inputs(plan, local=self.weights.config.local, multiple=MULTIPLE)
        inputs["quality"] = quality_input(plan, quality, multiple=MULTIPLE)
        asked = {entry.name for entry in session.get_inputs()}
        try:
            options = onnx_runtime().RunOptions()
            if len(plan) > SHRINK:
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            return session.run(None, {name: inputs[name] for name in asked}, options)
        except Exception as error:  # ONNX Runtime has a class of errors of its own for each reason
            raise EngineError(f"ONNX Runtime failed in {graph}: {_first_line(error)}") from error

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = self._make(graph)
            return self._sessions[graph]

    def _make(self, graph: str) -> Any:
        ort = onnx_runtime()
        options = session_options(self._threads)
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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
