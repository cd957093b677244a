"""Which engines there are here."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed here")

ENGINES = ("onnx", *(("torch:cpu:float32", "torch:cpu:bfloat16") if find_spec("torch") else ()))
"""What the laws must hold for; those of torch where it is installed."""
