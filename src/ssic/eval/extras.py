"""What only measuring needs: the extra `eval`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ssic.errors import InvalidInput


def optional(module: str) -> Any:
    """A module of the extra.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0].replace("_", "-")
        raise InvalidInput(f"this measurement needs {package}: {_ADVICE.get(package, _ALL)}") from error


_ALL = 'pip install "ssic[eval]"'
_ADVICE = {"pillow-heif": "pip install pillow-heif"}
