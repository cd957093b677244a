"""What only measuring needs: the extra `eval`."""

from __future__ import annotations

from typing import Any

from ssic import imports


def optional(module: str) -> Any:
    """A module that measuring needs.

    Raises:
        InvalidInput: it is not installed; the message names the extra.
    """
    extra = "heic" if module == "pillow_heif" else "eval"
    return imports.optional(module, extra, purpose="this measurement")
