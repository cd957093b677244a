"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssic.arguments import type_name
from ssic.errors import InvalidInput

_TEMPORARY = ".ssic-"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to. Once that went well it takes the place of `target`; if not, it is
    removed, and what was there before is as it was."""
    with errors_about(str(target)):
        try:
            before = target.stat()
        except FileNotFoundError:
            before = None
        if before is not None and not stat.S_ISREG(before.st_mode):
            # A device or a pipe: nothing to preserve, and nothing to be put in its place. (Its path must stay as
            # it is: what /dev/stdout and /dev/fd/63 link to is no path, where it is a pipe.)
            yield target
            return
        target = Path(os.path.realpath(target))  # a link stays a link
        # Not from `tempfile`: its files are private, and this one shall have the usual permissions.
        temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}{target.suffix}")
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            if before is not None:
                shutil.copymode(target, temporary)
                _to_disk(
                    temporary
                )  # what takes the place of the only copy must be there when the power fails
            os.replace(temporary, target)
            if before is not None:
                _to_disk(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Errors that name no file, or a temporary one, name this one."""
    try:
        yield
    except OSError as error:
        other = error.filename is not None and not Path(str(error.filename)).name.startswith(_TEMPORARY)
        if error.errno is None or other:
            raise
        raise OSError(error.errno, error.strerror, name) from error


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is whole or not there: what was at `path` before stays until all is written.

    Raises:
        InvalidInput: `path` is no path.
        OSError: it can't be written.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise InvalidInput(f"files are written to a path, not to {type_name(path)}")
    if "\0" in os.fspath(path):
        raise InvalidInput(f"{os.fspath(path)!r} is no path: it holds a NUL")
    if not os.fspath(path):  # which pathlib takes for the current folder
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


def create_private(target: Path, data: bytes) -> None:
    """A new file that only its owner can read, whole or not there, also on a full disk. It replaces no other.

    Raises:
        OSError: there is a file of that name (`FileExistsError`), or it can't be written.
    """
    with errors_about(str(target)):
        temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}")
        try:
            _write_private(temporary, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise
            except OSError:  # a file system without links, as on many memory sticks
                _move_to_new(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _to_disk(target.parent)


def _move_to_new(source: Path, target: Path) -> None:
    """Move a file to a name that no other has. A process that is killed in between leaves an empty file there."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        os.replace(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _to_disk(path: Path) -> None:
    """What was written to a file, or changed in a folder, to the disk itself; where the system can do that."""
    with suppress(OSError):  # folders can't be opened everywhere, nor every file system synchronised
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
