"""What is done to each of many files: a job in, a record out, and what an earlier run did is kept."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ssic.batch.jobs import Job, mask_file
from ssic.batch.records import Record, Status
from ssic.errors import InvalidInput, SsicError
from ssic.storage.atomic import replacing


@dataclass(frozen=True)
class Made:
    """A file that was made, not yet written.

    Attributes:
        data: its bytes.
        size: (width, height) of the picture.
        groups: how many there are.
        matched: groups that options named, and that are there.
        damaged: groups that could not be decoded, or that were copied damaged as they are.
    """

    data: bytes
    size: tuple[int, int]
    groups: int
    matched: Sequence[str] = ()
    damaged: Sequence[str] = ()


@dataclass(frozen=True)
class Work(ABC):
    """Makes a file of another one, and says what became of it. Picklable; a model is loaded once per process.

    Attributes:
        identity: hash of all that decides the bytes of an output, but for its input and that one's own mask.
        folder: of the outputs.
        no_clobber: leave files as they are that exist and are not those of an earlier run with the same input and
            identity; they count as failed.
    """

    identity: str
    folder: Path
    no_clobber: bool = False

    DONE: ClassVar[Status] = "encoded"

    @abstractmethod
    def make(self, job: Job, data: bytes) -> Made:
        """The output for an input of these bytes."""

    def __call__(self, job: Job) -> Record:
        """Make the output, unless it is there and intact. What goes wrong with the input is in the record."""
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always", UserWarning)
                record = self._record(job)
        except OSError as error:
            about = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
            return self.failed(job, about or str(error) or type(error).__name__)
        except SsicError as error:
            return self.failed(job, str(error) or type(error).__name__)
        except Exception as error:  # a bug, but thousands of other files are waiting
            return self.failed(job, f"unexpected {type(error).__name__}: {error}")
        if record.status == "kept":
            return record
        notes = tuple(str(w.message) for w in raised if w.category.__module__.startswith("ssic."))
        return replace(record, notes=notes, seconds=round(time.perf_counter() - begun, 3))

    def failed(self, job: Job, error: str) -> Record:
        """What became of an input for which there is no output. A file of an earlier run is left where it is."""
        stale = (self.folder / job.output).exists()
        return Record(
            str(job.picture), job.output.as_posix(), "failed", self.identity, error=error, stale=stale
        )

    def _record(self, job: Job) -> Record:
        data = job.picture.read_bytes()
        path = self.folder / job.output
        now = Record(
            str(job.picture),
            job.output.as_posix(),
            "failed",
            self.identity,
            source=hashlib.sha256(data).hexdigest(),
            mask=_own_mask(job),
        )
        if job.before is not None:
            if _holds(job.before, now, path):
                return replace(job.before, picture=now.picture, status="kept")
            _check_same(job.before, now, path)
        if self.no_clobber and path.exists():
            raise InvalidInput(f"{path} exists, and --no-clobber (-n) leaves it as it is")
        made = self.make(job, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(made.data)
        return replace(
            now,
            status=self.DONE,
            sha256=hashlib.sha256(made.data).hexdigest(),
            bytes=len(made.data),
            width=made.size[0],
            height=made.size[1],
            groups=made.groups,
            matched=tuple(dict.fromkeys(made.matched)),
            damaged=tuple(made.damaged),
        )


def _holds(before: Record, now: Record, path: Path) -> bool:
    if (before.recipe, before.source, before.mask) != (now.recipe, now.source, now.mask):
        return False
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == before.sha256
    except FileNotFoundError:
        return False


def _own_mask(job: Job) -> str:
    """SHA-256 of the mask that belongs to this picture; "" if there is none, or a segmenter makes it."""
    if job.annotations is not None:
        return hashlib.sha256(job.annotations.encode()).hexdigest()
    path = job.boxes if job.mask is None else mask_file(job.mask)
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _check_same(before: Record, now: Record, path: Path) -> None:
    """Refuses to put the file of a picture in the place of that of another one (`InvalidInput`). A picture with the
    same content at another place is no other one: it was moved."""
    same = os.path.abspath(before.picture) == os.path.abspath(now.picture) or before.source == now.source
    if not same and path.exists():
        raise InvalidInput(
            f"{path} was made of another picture, {before.picture}, and would be lost: take another folder of outputs, "
            "--root DIR with a folder above both pictures, or delete the file"
        )
