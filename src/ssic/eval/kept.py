"""What was measured, in files, so that a long run goes on where it was stopped, and several share the work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
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
        if folder is not None:
            # Now, so that a folder that can't be written is told before the hours of measuring.
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass

    def __call__(self, facts: Callable[[], Mapping[str, Any]], measure: Callable[[], Result]) -> Result:
        """What was measured under these facts before, or else is measured now.

        Args:
            facts: gives JSON values; asked again after measuring, as files of weights may be replaced meanwhile.

        Raises:
            InvalidInput: the file of it holds something else, or the facts changed while it was measured.
        """
        if self.folder is None:
            return measure()
        before = dict(facts())
        text = json.dumps(before, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        if path.exists():
            return _read(path, json.loads(text))
        result = measure()
        if dict(facts()) != before:
            raise InvalidInput("what is measured was replaced meanwhile (the weights?): measure it anew")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"facts": before, "result": result}) + "\n")
        return result


def _read(path: Path, facts: Mapping[str, Any]) -> Result:
    try:
        kept = json.loads(path.read_text())
        if kept["facts"] == facts:
            return dict(kept["result"])
        reason: Exception | None = None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error
    raise InvalidInput(
        f"{path} does not hold what was measured before: remove it, to measure it anew"
    ) from reason
