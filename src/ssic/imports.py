"""Packages that are not always there, or not always needed: imported when they are used, in this one place."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any

from ssic.errors import InvalidInput, SsicError


def optional(module: str, extra: str, error: type[SsicError] = InvalidInput, purpose: str = "this") -> Any:
    """A module of a package that one of the extras brings.

    Args:
        module: its name, with dots.
        extra: what brings it: ``pip install "ssic[EXTRA]"``.
        error: kind of the error.
        purpose: what it is needed for: the message begins with it.

    Raises:
        SsicError: of the kind `error`, if it is not installed or can't be imported; it names the extra.
    """
    try:
        return import_module(module)
    except ImportError as problem:
        package = module.split(".")[0]
        raise error(
            f'{purpose} needs the package {package}: pip install "ssic[{extra}]" ({problem})'
        ) from problem


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def later(module: str) -> Any:
    """A module that is imported when the first of its attributes is asked for: for packages that take long to import,
    and that most processes never need. Modules of ssic itself are not imported so: that would hide who needs whom."""
    return _Later(module)


def onnx_runtime() -> Any:
    """The package onnxruntime, without what it would send to its maker; imported when it is first used (40 ms).

    From version 1.29 on, its builds for Linux and macOS report every process and session to Microsoft by default, from
    a thread that, besides, keeps forked children from ending. The variable counts when the package is first imported;
    whoever wants the reports can set it to 0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def session_options(threads: int | None = None) -> Any:
    """Options of an ONNX Runtime session on the processor, as all of ours have them.

    Args:
        threads: to share the work of one call; as many as the process has cores by default.
    """
    options = onnx_runtime().SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Threads that wait sleep: spinning ones gain a sixth alone, and cost a multiple beside other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors: it warns of each weight that is listed among the inputs
    return options
