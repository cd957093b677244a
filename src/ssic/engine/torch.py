"""The networks in PyTorch: bfloat16 where the processor multiplies it natively, or a GPU.

A matrix product picks its kernel by its size, and kernels round differently. So lists are cut into pieces of one size,
the last one filled up: a block gives the same bits in any list. Pieces also bound memory, and are what threads share:
PyTorch's own threads spin while they wait for each other, which beside other processes costs a multiple.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssic.engine.bands import BAND, Band, layers, through
from ssic.engine.threads import ProcessWide, apart, available_threads
from ssic.errors import EngineError
from ssic.model.config import BLOCK_VALUES, BlockShape
from ssic.model.weights import Weights
from ssic.nets.layers import GISwinBlock, Layers, WindowIndex
from ssic.nets.network import Network
from ssic.plan import WINDOW, Plan
from ssic.progress import nothing
from ssic.workers import Workers

TOKENS = 512
"""Tokens of a piece on a processor: what it computes stays in the cache."""

TOKENS_CUDA = 1 << 14
"""Tokens of a piece on a GPU."""

PROCESS_BYTES = 3 * 2**29
"""Memory of a GPU that a process takes, by an estimate: its context, the weights, and what a band passes through."""

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


def cast_products(network: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of matrix products in the precision in which they are computed; bypasses stay in float32."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and "bypass" not in name:
            module.to(dtype)


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


def most_processes(device: torch.device) -> int | None:
    """How many processes can share a device, by its free memory; None where that is no matter of the device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, free // PROCESS_BYTES)


# -- threads -----------------------------------------------------------------------------------------------------


def _limit_torch() -> Callable[[], None]:
    before = torch.get_num_threads()  # of a thread that is new, so that of the process
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


_one_thread = ProcessWide(apart(_limit_torch))
"""Context in which PyTorch uses one thread of its own, so that none waits for another."""


def _begin_worker() -> None:
    torch.get_num_threads()  # takes over the process's setting, once
    torch.set_num_threads(1)


class Calls:
    """Whole calls, each in a thread whose settings of PyTorch are its own, and workers that share their pieces."""

    def __init__(self, threads: int | None, context: Callable[[], Any]) -> None:
        """
        Args:
            threads: that share pieces; None runs all in the calling thread: for a GPU.
            context: for every thread that computes: it makes settings that are a thread's own.
        """
        self.threads = threads
        self._context = context
        self._workers = Workers(_begin_worker)
        self._callers = Workers(_begin_worker, 64)

    def _run(self, function: Callable[..., T], *args: Any) -> T:
        with self._context():
            return function(*args)

    def whole(self, function: Callable[..., T], *args: Any) -> T:
        """Run a whole call, whose pieces go through `each`."""
        if self.threads is None:
            return self._run(function, *args)
        with _one_thread():
            result: T = self._callers.submit(self._run, function, *args).result()
            return result

    def each(self, function: Callable[[slice], None], count: int, size: int) -> None:
        """Call with slices of `size` that make up 0..count."""
        parts = [slice(start, min(count, start + size)) for start in range(0, count, size)]
        if self.threads in (None, 1):
            for part in parts:
                function(part)
        else:
            self._workers.map(partial(self._run, function), parts, self.threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread.forget)


# -- layers that run in pieces -----------------------------------------------------------------------------------


def _filled(x: Tensor, size: int) -> Tensor:
    """Rows of zeros up to `size`."""
    return x if len(x) == size else F.pad(x, (0, 0, 0, size - len(x)))


class PiecewiseLinear(nn.Linear):
    """A linear map of each token that gives, to the last bit, the same whatever other tokens are in the list."""

    def __init__(self, calls: Calls, tokens: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.calls, self.tokens = calls, tokens

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        dtype = self.weight.dtype
        out = x.new_empty(len(x), self.out_features, dtype=dtype)

        def piece(part: slice) -> None:
            with torch.autocast(x.device.type, enabled=False):
                rows = F.linear(_filled(x[part].to(dtype), self.tokens), self.weight, self.bias)
            out[part] = rows[: part.stop - part.start]

        self.calls.each(piece, len(x), self.tokens)
        return out


class PiecewiseBlock(GISwinBlock):
    """A GI Swin block that runs in pieces: of tokens, and of windows as many as hold a piece's tokens twice."""

    def __init__(
        self, calls: Calls, tokens: int, shape: BlockShape, linear: Callable[[int, int], nn.Linear]
    ) -> None:
        super().__init__(shape)  # its linear maps are plain: pieces are what they are given
        self.calls, self.tokens = calls, tokens

    def band(self, x: Tensor, part: slice, windows: WindowIndex | None, neighbours: Tensor | None) -> Tensor:
        """Some of a list's tokens that follow each other.

        Args:
            x: [T, width], the first of them zero.
            part: positions of the tokens.
            windows: over the tokens, counted from 0; None for a block without attention.
            neighbours: [n, 8] positions of their neighbours, 0 for none.

        Returns:
            [n, width]
        """
        own = x[part]
        n, tokens = len(own), self.tokens
        if self.local is not None:
            assert neighbours is not None, "the plan was made for a network without local mixing"
            own = self._mixed(own, x, neighbours)
        attended = None if windows is None else self._attended(own, windows)
        out = torch.empty_like(own)

        def finish(part: slice) -> None:
            rows = _filled(own[part], tokens)
            if windows is not None and attended is not None:
                found = attended.index_select(0, windows.scatter[part])
                rows = rows + self.proj(_filled(found, tokens))
            out[part] = self.alone(rows)[: part.stop - part.start]

        self.calls.each(finish, n, tokens)
        return out

    def _attended(self, own: Tensor, windows: WindowIndex) -> Tensor:
        """Tokens [n, width] -> what each slot of the windows sees, [W * 64, width]."""
        n, tokens, slots = len(own), self.tokens, WINDOW**2
        qkv = own.new_empty(n, 3 * self.width, dtype=self.qkv.weight.dtype)

        def project(part: slice) -> None:
            qkv[part] = self.project(_filled(own[part], tokens))[: part.stop - part.start]

        self.calls.each(project, n, tokens)
        attended = qkv.new_empty(windows.key.numel(), self.width)

        def attend(part: slice) -> None:
            found = qkv.index_select(0, windows.gather[part].reshape(-1))
            attended[slots * part.start : slots * part.stop] = self.attend(found, windows.key[part])

        self.calls.each(attend, len(windows.key), max(1, 2 * tokens // slots))
        return attended

    def _mixed(self, tokens: Tensor, x: Tensor, neighbours: Tensor) -> Tensor:
        assert self.local is not None
        weight, out = self.local.to(x.dtype), torch.empty_like(tokens)

        def piece(part: slice) -> None:
            own = tokens[part] * (1 + weight[4])
            for i in range(8):
                near = x.index_select(0, neighbours[part, i])
                own.addcmul_(near, weight[i if i < 4 else i + 1])
            out[part] = own

        self.calls.each(piece, len(tokens), self.tokens)
        return out


# -- the engine --------------------------------------------------------------------------------------------------


class TorchEngine:
    """Runs the networks with PyTorch. Serves any number of threads."""

    def __init__(
        self,
        weights: Weights,
        device: str = "cpu",
        precision: Precision = "auto",
        threads: int | None = None,
        band: int = BAND,
    ) -> None:
        """
        Args:
            weights: of the networks.
            device: as torch names it.
            precision: of the matrix products; moves some pixels by one level, and changes no byte's meaning.
            threads: to share the work of one call, on a GPU that of the coder of latents only; as many as the process
                has cores by default, also where an engine that was pickled is made anew.
            band: blocks that go into the first layer at a time, or the fewest that eight rows have.

        Raises:
            EngineError: the device is not there.
        """
        self.weights = weights
        self.band = band
        self.floats_id = weights.floats_id
        self.device = usable_device(device)
        self._process = os.getpid()
        self.dtype = find_precision(precision, self.device)
        self.name = f"torch:{self.device}:{str(self.dtype).removeprefix('torch.')}"
        self._asked = threads
        self._threads = threads or available_threads()
        on_processor = self.device.type == "cpu"
        self._calls = Calls(self._threads if on_processor else None, self._context)
        tokens = TOKENS if on_processor else TOKENS_CUDA
        layers = Layers(
            partial(PiecewiseLinear, self._calls, tokens), partial(PiecewiseBlock, self._calls, tokens)
        )
        network = Network.of(weights, layers)
        cast_products(network, self.dtype)
        self.network = network.to(self.device)

    @property
    def threads(self) -> int:
        """Threads that share the work of one call."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self._asked = self._threads = threads
        if self._calls.threads is not None:
            self._calls.threads = threads

    def __reduce__(self) -> Any:
        # The precision that was found, not "auto": an engine made anew elsewhere shall give the same pixels.
        _, precision = self.name.rsplit(":", 1)
        return TorchEngine, (self.weights, str(self.device), precision, self._asked, self.band)

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

    def analyse(
        self,
        blocks: NDArray[np.uint8],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """blocks [N, 4, 192] of the plan -> latents y [N, M], gain applied, and hyper-latents z [P, Z]."""
        self._check_process()
        return self._calls.whole(self._analyse, blocks, plan, quality, reached)

    def _analyse(
        self,
        blocks: NDArray[np.uint8],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        y = np.empty((len(plan), self.network.config.latent_channels), np.float32)
        for part, found in self._through("analysis", blocks, plan, quality, reached):
            y[part] = found.cpu().numpy()
        of_blocks = torch.from_numpy(plan.of_blocks(quality)).to(self.device)
        members, count = (torch.from_numpy(a).to(self.device) for a in (plan.members, plan.pair_count))
        z = self.network.hyper(torch.from_numpy(y).to(self.device), of_blocks, members, count)
        return y, z.cpu().numpy()

    def synthesise(
        self,
        latents: NDArray[np.floating[Any]],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = nothing,
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> blocks [N, 4, 192]."""
        self._check_process()
        return self._calls.whole(self._synthesise, latents, plan, quality, reached)

    def _synthesise(
        self,
        latents: NDArray[np.floating[Any]],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None],
    ) -> NDArray[np.uint8]:
        pixels = np.empty((len(plan), 4, BLOCK_VALUES // 4), np.uint8)
        for part, found in self._through("synthesis", latents, plan, quality, reached):
            pixels[part] = found.add_(0.5).mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
        return pixels

    def _through(
        self,
        side: str,
        values: NDArray[Any],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None],
    ) -> Iterator[tuple[slice, Tensor]]:
        runner = _Runner(self.network, self.device, values, torch.from_numpy(plan.of_blocks(quality)))
        return through(plan, layers(self.network.config, side), runner, self.band, reached)


class _Runner:
    """One call, as `ssic.engine.bands.Runner`."""

    def __init__(self, network: Network, device: torch.device, values: NDArray[Any], quality: Tensor) -> None:
        """
        Args:
            values: [N, ...] pixels or latents of all blocks.
            quality: [N] of all blocks.
        """
        self._network, self._device, self._values, self._quality = network, device, values, quality

    def begin(self, band: Band) -> Tensor:
        quality, given = self._given(band)
        if band.layer.name == "analysis.begin":
            return self._network.analysis.begin(_signed(given), quality)
        return self._network.synthesis.begin(self._network.normalised(given, quality), quality)

    def layer(self, tokens: Tensor, band: Band) -> Tensor:
        network, layer = self._network, band.layer
        side, part, *index = layer.name.split(".")
        positions = slice(band.first, band.first + len(band))
        if index:
            windows = None
            if layer.shift is not None:
                cut = band.windows
                windows = WindowIndex(*(self._put(a) for a in (cut.gather, cut.key, cut.scatter)))
            neighbours = self._put(band.neighbours) if layer.local else None
            block = getattr(getattr(network, side), f"blocks_{part}")[int(index[0])]
            found: Tensor = block.band(tokens, positions, windows, neighbours)
            return found
        own = tokens[positions]
        quality, given = self._given(band)
        if layer.name == "analysis.end":
            y = network.analysis.end(own, _signed(given), network.entropy.spread)
            return network.gained(y, quality)
        if layer.name == "synthesis.end":
            return network.synthesis.end(own, network.dequantised(given, quality))
        return getattr(network, side).between(own, quality)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([parts[0].new_zeros(1, parts[0].shape[1]), *parts])

    def cut(self, tokens: Tensor, part: slice) -> Tensor:
        return tokens[part].clone()

    def _given(self, band: Band) -> tuple[Tensor, Tensor]:
        """Quality of the band's blocks, and what the network is given for them."""
        values = self._values[band.blocks].astype(np.float32)
        return self._put(self._quality[band.blocks]), self._put(values)

    def _put(self, array: NDArray[Any] | Tensor) -> Tensor:
        return torch.as_tensor(array).to(self._device)


def _signed(samples: Tensor) -> Tensor:
    """0 to 255 -> -0.5 to 0.5."""
    return samples / 255 - 0.5
