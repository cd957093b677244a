"""Objects that were painted into a label map, and the JSON files that they are read from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import text_of
from ssic.errors import MaskError


@dataclass(frozen=True, eq=False)
class Objects:
    """Painted objects: `labels` [H, W] int32 (0 is the background), and what is known of each label > 0."""

    labels: NDArray[np.int32]
    names: dict[int, str]
    classes: dict[int, str]
    scores: dict[int, float]


def read_json(source: object, what: str) -> Any:
    """Parsed content of the JSON file at `source` (str or path); anything but a path is returned as it is.

    Raises:
        MaskError: the file is missing, unreadable or not JSON; `what` says what it was wanted for.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    try:
        return parse_json(Path(source).read_bytes(), what, source)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, MaskError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise MaskError(f"can't read the {what} in {source}: {reason}") from error


def parse_json(data: bytes, what: str, source: object) -> Any:
    """Content of JSON in UTF-8; errors as of `read_json`."""
    if not data:
        raise MaskError(f"the file of the {what}, {source}, is empty")
    try:
        return json.loads(text_of(data, str(source), MaskError))
    except (ValueError, RecursionError) as error:
        raise MaskError(f"the {what} in {source} is not valid JSON: {error}") from error
