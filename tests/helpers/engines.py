"""Which engines there are here, and work for another process."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import ssic

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed here")

ENGINES = ("onnx", *(("torch:cpu:float32", "torch:cpu:bfloat16") if find_spec("torch") else ()))
"""What the laws must hold for; those of torch where it is installed."""


def decoded_bytes(data: bytes, engine: str) -> bytes:
    """The pixels of a file; here, where a process that is started afresh finds it by its name."""
    return ssic.decode(data, engine=engine).tobytes()
