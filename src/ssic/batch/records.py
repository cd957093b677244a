"""What became of pictures and files: a line of JSON each, in a file in the folder of the outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ssic.storage.atomic import errors_about

RECORDS = "ssic-batch.jsonl"
"""Name of the file of records."""


Status = Literal["encoded", "decoded", "encrypted", "kept", "failed"]


@dataclass(frozen=True)
class Record:
    """What became of a picture or file.

    Attributes:
        picture: absolute path of what was read.
        output: path, relative to the folder of the outputs.
        status: "kept" is what an earlier run did and still holds.
        recipe: identity of the `Work`.
        source: SHA-256 of what was read.
        mask: SHA-256 of the mask that is this picture's own: its file, boxes or annotations.
        sha256, bytes: of the output.
        matched: groups that options named, and that the picture has.
        damaged: groups that are damaged: not in the decoded picture, or copied as they are.
        notes: warnings, such as of objects too small for a block.
        error: why it failed.
        stale: it failed, and there is a file in the place of its output, of an earlier run.
    """

    picture: str
    output: str
    status: Status
    recipe: str
    source: str = ""
    mask: str = ""
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    groups: int = 0
    seconds: float = 0.0
    matched: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    stale: bool = False


def read_records(folder: Path) -> dict[str, Record]:
    """Of each output the last record of its file being made, from the file in `folder`, the latest record last.

    A failure takes no file away, so that what was said of it before still holds. Lines cut short are passed over."""
    try:
        lines = (folder / RECORDS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, Record] = {}
    for line in lines:
        try:
            record = from_line(line)
        except (ValueError, TypeError, KeyError):
            continue  # what isn't known to be done is done again
        if record.status != "failed":
            found.pop(record.output, None)
            found[record.output] = record
    return found


@contextmanager
def appending(folder: Path) -> Iterator[Callable[[Record], None]]:
    """What to call with each record: it is in the file when the call returns.

    Raises:
        OSError: it can't be written, as on a full disk; the error names the file.
    """
    path = folder / RECORDS
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    # Without a buffer: what a full disk did not take must not be tried again when the file is closed.
    with path.open("ab", buffering=0) as file:

        def append(record: Record) -> None:
            nonlocal cut
            # A line cut short by whatever ended the last run must not swallow the next one.
            line = memoryview(b"\n" * cut + as_line(record).encode())
            cut = True
            with errors_about(str(path)):
                while line:
                    line = line[file.write(line) :]
            cut = False

        yield append


def as_line(record: Record) -> str:
    """A record as it lies in the file. In ASCII: paths that are no UTF-8 are kept in escapes only."""
    return json.dumps(asdict(record)) + "\n"


def from_line(line: str) -> Record:
    """Inverse of `as_line`; ValueError, TypeError or KeyError if the line is none."""
    entry = json.loads(line)
    lists = ("matched", "damaged", "notes")  # earlier versions had no "damaged"
    return Record(**entry | {key: tuple(entry.get(key, ())) for key in lists})
