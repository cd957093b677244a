"""What runs the float networks. They decide pixels only, so any engine may: bytes written with one are read with the
other, latents are identical, and pixels differ by one level at most in float32 (in bfloat16 two were met).

An engine gives the same bits for a group whether it is computed alone or among others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import type_name
from ssic.errors import EngineError, InvalidInput
from ssic.imports import later
from ssic.model.weights import Weights
from ssic.plan import Plan

metadata = later("importlib.metadata")


@runtime_checkable
class Engine(Protocol):
    """Networks with given weights.

    Attributes:
        name: what it is and where it runs, for people and records.
        floats_id: hash of the float weights, `Weights.floats_id`.
        threads: that share the work of one call; may be set.
    """

    name: str
    floats_id: bytes
    threads: int

    def analyse(
        self,
        blocks: NDArray[np.uint8],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = ...,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Pixels to latents.

        Args:
            blocks: [N, 4, 192] pixels of the plan's blocks.
            plan: who sees whom.
            quality: 1 to 100 of each group of the plan.
            reached: called now and then, perhaps in another thread, with the share of the work that is done. What it
                raises ends the work.

        Returns:
            y [N, M] latents, gain applied, and z [P, Z] hyper-latents, both before rounding.
        """
        ...

    def synthesise(
        self,
        latents: NDArray[np.floating[Any]],
        plan: Plan,
        quality: Mapping[int, int],
        reached: Callable[[float], None] = ...,
    ) -> NDArray[np.uint8]:
        """Decoded latents [N, M] of the plan -> pixels of its blocks, [N, 4, 192]. `reached` as for `analyse`."""
        ...


def find_engine(name: str | Engine, weights: Weights) -> Engine:
    """The engine of that name, with these weights.

    Args:
        name: "onnx"; "torch", with a device and a precision if need be ("torch:cuda", "torch:cpu:float32"); "auto",
            which is "torch:cuda" where torch is installed for CUDA and a GPU is there, else "onnx", or "torch" for
            weights without graphs; or an engine, which is taken as it is.

    Raises:
        EngineError: unknown, or its package or device is not there, or an engine of other weights.
    """
    if not isinstance(name, str):
        if not isinstance(name, Engine):
            raise InvalidInput(f"engine is a name or an Engine, not {type_name(name)}")
        if name.floats_id != weights.floats_id:
            raise EngineError(
                f"the engine {name.name} has other weights (floats {name.floats_id.hex()}) than model "
                f"{weights.id.hex()} (floats {weights.floats_id.hex()})"
            )
        return name
    kind, rest = _spelled(_chosen(weights) if name == "auto" else name)
    engine: Engine
    if kind == "onnx":
        check_installed("onnxruntime", "pip install onnxruntime")
        engine = import_module("ssic.engine.onnx").OnnxEngine(weights)
    else:
        check_installed("torch", 'pip install "ssic[torch]"')
        engine = import_module("ssic.engine.torch").TorchEngine(weights, *_parsed(rest))
    return engine


def check_engine(name: str, weights: Weights | None = None, *, here: bool = True) -> None:
    """Refuses the name of an engine that `find_engine` would refuse, before work of which each piece would fail.

    Args:
        name: as for `find_engine`.
        weights: that the engine shall run; None where each file names its own.
        here: it shall run in this machine. Of other machines only the spelling can be told.

    Raises:
        EngineError: unknown, or its package or device is not there.
        ModelError: these weights have no graphs, and the engine needs them.
    """
    if name == "auto" and weights is None:
        return
    kind, rest = _spelled(_chosen(weights) if name == "auto" and weights is not None else name)
    if not here:
        return
    if kind == "onnx":
        check_installed("onnxruntime", "pip install onnxruntime")
        if weights is not None:
            import_module("ssic.engine.onnx").OnnxEngine(weights)  # makes its sessions when they are used
    else:
        check_installed("torch", 'pip install "ssic[torch]"')
        import_module("ssic.engine.torch").usable_device(_parsed(rest)[0])


def most_processes(name: str, weights: Weights | None = None) -> int | None:
    """How many processes can run an engine on the device that they share, by its memory; None for no such limit.

    Args:
        name, weights: as for `check_engine`, which has passed.
    """
    kind, rest = _spelled(_chosen(weights) if name == "auto" else name)
    if kind == "onnx":
        return None
    engine = import_module("ssic.engine.torch")
    found: int | None = engine.most_processes(engine.usable_device(_parsed(rest)[0]))
    return found


def _spelled(name: str) -> tuple[str, str]:
    """Kind of engine, and what follows its colon."""
    kind, _, rest = name.partition(":")
    if name == "onnx" or kind == "torch":
        return kind, rest
    raise EngineError(
        f"no engine {name!r}: there are auto, onnx, torch, torch:cuda, torch:cpu:float32 and the like"
    )


def _parsed(rest: str) -> tuple[str, str]:
    """What follows "torch:" -> device and precision."""
    parts = rest.split(":") if rest else []
    precision = parts.pop() if parts and parts[-1] in ("float32", "bfloat16") else "auto"
    return ":".join(parts) or ("cuda" if _has_cuda() else "cpu"), precision


def check_installed(package: str, advice: str) -> None:
    """
    Raises:
        EngineError: the package is not installed; the message gives the advice.
    """
    if sys.modules.get(package) is None and (package in sys.modules or find_spec(package) is None):
        raise EngineError(f"the package {package} is not installed: {advice}")


def _chosen(weights: Weights | None) -> str:
    """What "auto" stands for. None: of weights with graphs."""
    if _has_cuda():
        return "torch:cuda"
    return "onnx" if weights is None or weights.graphs else "torch"


def _has_cuda() -> bool:
    """Whether torch is installed for CUDA and an NVIDIA GPU can be seen, found out without importing torch, which takes
    seconds."""
    if (
        os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        or not Path("/proc/driver/nvidia/version").exists()
    ):
        return False
    try:
        files = metadata.files("torch") or []
    except metadata.PackageNotFoundError:
        return False
    return any(file.name.startswith("libtorch_cuda") for file in files)
