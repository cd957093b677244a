"""Arrays of other libraries, taken as NumPy's without importing those libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssic.errors import InvalidInput


def is_foreign(given: object) -> bool:
    """Whether this is an array of another library: of PyTorch, JAX, TensorFlow, CuPy, ..."""
    parts = all(hasattr(given, name) for name in ("__array__", "shape", "dtype"))
    return parts and not isinstance(given, (np.ndarray, np.generic))


def to_numpy(given: Any, error: type[InvalidInput], of_floats: str) -> Any:
    """An array of another library as NumPy's, with the same shape and integers; anything else as it is.

    Args:
        error: kind of the error.
        of_floats: the line that makes integers of a tensor of floats, for the message.

    Raises:
        InvalidInput: of the kind `error`: it holds floats, its channels come first, or it can't be had as an array.
    """
    if not is_foreign(given):
        return given
    kind = f"{type(given).__name__} of {str(given.dtype).rpartition('.')[2]} {list(given.shape)}"
    if "float" in str(given.dtype):
        raise error(f"expected integers, met a {kind}; {of_floats}")
    if len(given.shape) == 3 and given.shape[0] in (1, 3, 4) and given.shape[2] not in (1, 3, 4):
        turn = "permute" if hasattr(given, "permute") else "transpose"
        raise error(f"expected channels last, met a {kind}; tensor.{turn}(1, 2, 0)")
    try:
        if hasattr(given, "detach") and hasattr(
            given, "cpu"
        ):  # a tensor, perhaps with gradients, perhaps on a GPU
            given = given.detach().cpu()
        return np.asarray(given)
    except Exception as problem:  # whatever its library raises
        raise error(f"a {kind} can't be had as a NumPy array: {problem}") from problem
