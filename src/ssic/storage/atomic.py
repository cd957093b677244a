"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
            os.replace(temporary, target)
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
