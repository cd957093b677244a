"""Where the bytes of a file come from."""

from __future__ import annotations

import os
from pathlib import Path


class FileBytes:
    """A file on disk that is sliced like `bytes`, and of which only the slices are read.

    Args:
        path: the file; opened anew for each slice, so that nothing is held open.

    Raises:
        OSError: it can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        with self._path.open("rb") as file:
            self._length = file.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, step = part.indices(self._length)
        assert step == 1, "a file is read forwards and without gaps"
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))


Bytes = bytes | memoryview | FileBytes
"""What every reader of files takes."""
