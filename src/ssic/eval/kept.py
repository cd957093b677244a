"""What was measured, in files, so that a long run goes on where it was stopped, and several share the work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssic.errors import InvalidInput
from ssic.storage.atomic import replacing

Result = dict[str, Any]


class Kept:
    """Results, each in a file named by a hash of all that decides it. Processes may share a folder.

    Attributes:
        folder: where they lie, made if need be; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if (
            folder is not None
        ):  # now, so that a path that can't be written is told before the hours of measuring
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, facts: Mapping[str, Any], measure: Callable[[], Result]) -> Result:
        """What was measured under these facts before, or else is measured now.

        Args:
            facts: JSON values.

        Raises:
            InvalidInput: the file of it holds something else.
        """
        if self.folder is None:
            return measure()
        text = json.dumps(facts, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        if path.exists():
            return _read(path)
        result = measure()
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"facts": facts, "result": result}) + "\n")
        return result


def _read(path: Path) -> Result:
    try:
        return dict(json.loads(path.read_text())["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is no result that was kept: remove it, to measure it anew") from error
