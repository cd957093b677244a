"""Files of the commands: whole files in, whole files out, "-" for stdin and stdout."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ssic.errors import FormatError, InvalidInput

if TYPE_CHECKING:
    from ssic.codec import SsicFile


def is_pipe(path: Path) -> bool:
    """Whether the path stands for stdin or stdout."""
    return str(path) == "-"


def read(path: Path) -> bytes:
    """All of a file, or of stdin."""
    return sys.stdin.buffer.read() if is_pipe(path) else path.read_bytes()


def open_ssic(path: Path, model: str | None = None) -> tuple[SsicFile, bytes]:
    """An opened file, and its bytes; errors name the file."""
    from ssic.codec import SsicFile

    data = read(path)
    try:
        return SsicFile(data, model=model), data
    except FormatError as error:
        raise type(error)(f"{path}: {error}") from error


def write(path: Path, data: bytes) -> None:
    """Write a file, or to stdout."""
    if is_pipe(path):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to. Once that went well it takes the place of `target`; if not, it is
    removed, and what was there before is as it was."""
    target = Path(os.path.realpath(target))  # a link stays a link
    try:
        before = target.stat()
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        yield target  # a device or a named pipe: nothing to preserve, and nothing to be put in its place
        return
    # Not from `tempfile`: its files are private, and this one shall have the usual permissions.
    temporary = target.with_name(f".ssic-{secrets.token_hex(6)}{target.suffix}")
    try:
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            if before is not None:
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def check_json(output: Path, as_json: bool) -> None:
    """
    Raises:
        InvalidInput: file and JSON would both go to stdout.
    """
    if as_json and is_pipe(output):
        raise InvalidInput("--json and -o - both want stdout: write the file to a path")


def split(lists: list[str] | None) -> list[str] | None:
    """Items of a repeatable option whose values are comma-separated lists; None if it was not given.

    >>> split(["person, dog", "3"])
    ['person', 'dog', '3']
    """
    if lists is None or not lists:
        return None
    items = [item.strip() for value in lists for item in value.split(",") if item.strip()]
    if not items:
        raise InvalidInput("a list of groups is empty; name at least one")
    return items
