"""The networks in PyTorch: bfloat16 where the processor multiplies it natively, or a GPU.

A matrix product picks its kernel by its size, and kernels round differently. So lists are cut into pieces of one size,
the last one filled up: a block gives the same bits in any list. Pieces also bound memory, and are what threads share:
PyTorch's own threads spin while they wait for each other, which beside other processes costs a multiple.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssic.engine.threads import ProcessWide, available_threads
from ssic.errors import EngineError
from ssic.model.weights import Weights
from ssic.nets.layers import GISwinBlock, Layers, WindowIndex, padded_with_zeros
from ssic.nets.network import Network, PlanTensors
from ssic.plan import WINDOW, Plan

TOKENS = 512
"""Tokens of a piece on a processor: what it computes stays in the cache."""

TOKENS_CUDA = 1 << 14
"""Tokens of a piece on a GPU."""

Precision = Literal["auto", "float32", "bfloat16"]
T = TypeVar("T")


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if native() else torch.float32


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """
    Raises:
        EngineError: there is no such precision.
    """
    if name == "auto":
        return fast_precision(device)
    if name not in ("float32", "bfloat16"):
        raise EngineError(f"precision is auto, float32 or bfloat16, not {name!r}")
    return torch.float32 if name == "float32" else torch.bfloat16


def usable_device(name: str) -> torch.device:
    """
    Raises:
        EngineError: torch knows no such device, or it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        raise EngineError(f"device {name} can't be used: {str(e).splitlines()[0][:120]}") from e
    return device


# -- threads -----------------------------------------------------------------------------------------------------


def _limit_torch() -> Callable[[], None]:
    before = torch.get_num_threads()  # of a thread that is new, so that of the process
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


_one_thread = ProcessWide(_limit_torch)
"""Context in which PyTorch uses one thread of its own, so that none waits for another."""


def _begin_worker() -> None:
    torch.get_num_threads()  # takes over the process's setting, once
    torch.set_num_threads(1)


class Workers:
    """Threads that share pieces. `threads` None runs them one after another in the calling thread: for a GPU."""

    def __init__(self, threads: int | None, context: Callable[[], Any]) -> None:
        self.threads = threads
        self._context = context
        self._pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()
        _all_workers.add(self)

    def resize(self, threads: int) -> None:
        """Other threads for the calls to come; the old ones end when their last piece is done."""
        with self._lock:
            self.threads, self._pools = threads, None

    def _executors(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Of those who wait for pieces, and of those who compute them."""
        with self._lock:
            if self._pools is None:
                self._pools = (
                    ThreadPoolExecutor(64, "ssic-call", _begin_worker),
                    ThreadPoolExecutor(self.threads, "ssic-piece", _begin_worker),
                )
            return self._pools

    def _run(self, function: Callable[..., T], *args: Any) -> T:
        with self._context():
            return function(*args)

    def whole(self, function: Callable[..., T], *args: Any) -> T:
        """Run a whole call, whose pieces go through `each`."""
        if self.threads is None:
            return self._run(function, *args)
        with _one_thread():
            return self._executors()[0].submit(self._run, function, *args).result()

    def each(self, function: Callable[[slice], None], count: int, size: int) -> None:
        """Call with slices of `size` that make up 0..count."""
        parts = [slice(start, min(count, start + size)) for start in range(0, count, size)]
        if self.threads in (None, 1) or len(parts) == 1:
            for part in parts:
                function(part)
            return
        list(self._executors()[1].map(partial(self._run, function), parts))


def _after_fork() -> None:
    """A forked child has none of the parent's threads, and perhaps locks that one of them held."""
    _one_thread.forget()
    for workers in _all_workers:
        workers._pools, workers._lock = None, threading.Lock()


_all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# -- layers that run in pieces -----------------------------------------------------------------------------------


def _filled(x: Tensor, size: int) -> Tensor:
    """Rows of zeros up to `size`."""
    return x if len(x) == size else F.pad(x, (0, 0, 0, size - len(x)))


class PiecewiseLinear(nn.Linear):
    """A linear map of each token that gives, to the last bit, the same whatever other tokens are in the list."""

    def __init__(self, workers: Workers, tokens: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.workers, self.tokens = workers, tokens

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        dtype = self.weight.dtype
        out = x.new_empty(len(x), self.out_features, dtype=dtype)

        def piece(part: slice) -> None:
            with torch.autocast(x.device.type, enabled=False):
                rows = F.linear(_filled(x[part].to(dtype), self.tokens), self.weight, self.bias)
            out[part] = rows[: part.stop - part.start]

        self.workers.each(piece, len(x), self.tokens)
        return out


class PiecewiseBlock(GISwinBlock):
    """A GI Swin block that runs in pieces: of tokens, and of windows as many as hold a piece's tokens twice."""

    def __init__(self, workers: Workers, tokens: int, *args: Any) -> None:
        width, head_width, mlp_ratio, local, _ = args
        super().__init__(width, head_width, mlp_ratio, local)
        self.workers, self.tokens = workers, tokens

    def forward(self, x: Tensor, windows: WindowIndex, neighbours: Tensor | None) -> Tensor:
        """[N, width] -> [N, width]."""
        n, tokens, slots = len(x), self.tokens, WINDOW**2
        if self.local is not None:
            assert neighbours is not None, "the plan was made for a network without local mixing"
            x = self._mixed(x, neighbours)
        qkv = x.new_empty(n, 3 * self.width, dtype=self.qkv.weight.dtype)

        def project(part: slice) -> None:
            qkv[part] = self.project(_filled(x[part], tokens))[: part.stop - part.start]

        self.workers.each(project, n, tokens)
        attended = qkv.new_empty(windows.key.numel(), self.width)

        def attend(part: slice) -> None:
            found = qkv.index_select(0, windows.gather[part].reshape(-1))
            attended[slots * part.start : slots * part.stop] = self.attend(found, windows.key[part])

        self.workers.each(attend, len(windows.key), max(1, 2 * tokens // slots))
        out = torch.empty_like(x)

        def finish(part: slice) -> None:
            own = _filled(x[part], tokens)
            own = own + self.proj(_filled(attended.index_select(0, windows.scatter[part]), tokens))
            out[part] = (own + self.mlp(own))[: part.stop - part.start]

        self.workers.each(finish, n, tokens)
        return out

    def _mixed(self, x: Tensor, neighbours: Tensor) -> Tensor:
        assert self.local is not None
        padded, weight, out = padded_with_zeros(x), self.local.to(x.dtype), torch.empty_like(x)

        def piece(part: slice) -> None:
            own = x[part] * (1 + weight[4])
            for i in range(8):
                near = padded.index_select(0, neighbours[part, i])
                own.addcmul_(near, weight[i if i < 4 else i + 1])
            out[part] = own

        self.workers.each(piece, len(x), self.tokens)
        return out


# -- the engine --------------------------------------------------------------------------------------------------


class TorchEngine:
    """Runs the networks with PyTorch. Serves any number of threads."""

    def __init__(
        self, weights: Weights, device: str = "cpu", precision: Precision = "auto", threads: int | None = None
    ) -> None:
        """
        Args:
            weights: of the networks.
            device: as torch names it.
            precision: of the matrix products; moves some pixels by one level, and changes no byte's meaning.
            threads: on a processor, to share the work of one call; as many as the process has cores by default, also
                where an engine that was pickled is made anew.

        Raises:
            EngineError: the device is not there.
        """
        self.weights = weights
        self.floats_id = weights.floats_id
        self.device = usable_device(device)
        self._process = os.getpid()
        self.dtype = find_precision(precision, self.device)
        self.name = f"torch:{self.device}:{str(self.dtype).removeprefix('torch.')}"
        self._asked = threads
        on_processor = self.device.type == "cpu"
        self._workers = Workers((threads or available_threads()) if on_processor else None, self._context)
        tokens = TOKENS if on_processor else TOKENS_CUDA
        layers = Layers(
            partial(PiecewiseLinear, self._workers, tokens), partial(PiecewiseBlock, self._workers, tokens)
        )
        network = Network(weights.config, layers)
        # Types and shapes were checked when the weights were read.
        network.load_state_dict(
            {k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.floats.items()}
        )
        network.eval().requires_grad_(False)
        if self.dtype != torch.float32:
            for name, module in network.named_modules():
                if isinstance(module, nn.Linear) and "bypass" not in name:
                    module.to(self.dtype)
        self.network = network.to(self.device)

    @property
    def threads(self) -> int:
        """Threads that share the work of one call."""
        return self._workers.threads or 1

    @threads.setter
    def threads(self, threads: int) -> None:
        self._asked = threads
        if self._workers.threads is not None:
            self._workers.resize(threads)

    def __reduce__(self) -> Any:
        # The precision that was found, not "auto": an engine made anew elsewhere shall give the same pixels.
        _, precision = self.name.rsplit(":", 1)
        return TorchEngine, (self.weights, str(self.device), precision, self._asked)

    def _check_process(self) -> None:
        """CUDA does not outlive a fork, and says so in words that depend on what is called first."""
        if self.device.type != "cpu" and os.getpid() != self._process:
            raise EngineError(
                f"the engine {self.name} was made before this process was forked, and {self.device.type} can't be "
                'used after a fork: start processes by multiprocessing.get_context("spawn"), or use engine="onnx"'
            )

    @contextmanager
    def _context(self) -> Iterator[None]:
        """Both settings are those of a thread, so every worker needs them."""
        half = self.dtype == torch.bfloat16
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            yield

    def _plan(self, plan: Plan, quality: Mapping[int, int]) -> PlanTensors:
        return PlanTensors.of(
            plan,
            torch.from_numpy(plan.of_blocks(quality)),
            torch.from_numpy(plan.of_pairs(quality)),
            self.device,
            local=self.network.config.local,
        )

    def analyse(
        self, blocks: NDArray[np.uint8], plan: Plan, quality: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """blocks [N, 4, 192] of the plan -> latents y [N, M], gain applied, and hyper-latents z [P, Z]."""
        self._check_process()
        return self._workers.whole(self._analyse, blocks, plan, quality)

    def _analyse(
        self, blocks: NDArray[np.uint8], plan: Plan, quality: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        tensors = self._plan(plan, quality)
        x = torch.from_numpy(blocks).to(self.device).float().div_(255).sub_(0.5)
        index = tensors.index
        y, z = self.network.analyse(
            x, tensors.quality, index.members, index.pair_count, tensors.fine, tensors.coarse
        )
        return y.cpu().numpy(), z.cpu().numpy()

    def synthesise(
        self, latents: NDArray[np.floating[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> blocks [N, 4, 192]."""
        self._check_process()
        return self._workers.whole(self._synthesise, latents, plan, quality)

    def _synthesise(
        self, latents: NDArray[np.floating[Any]], plan: Plan, quality: Mapping[int, int]
    ) -> NDArray[np.uint8]:
        tensors = self._plan(plan, quality)
        y = torch.from_numpy(latents.astype(np.float32)).to(self.device)
        pixels = self.network.synthesise(y, tensors.quality, tensors.fine, tensors.coarse)
        return pixels.add_(0.5).mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
