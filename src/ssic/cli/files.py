"""Files of the commands: whole files in, whole files out, stdin and stdout."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssic.cli.manner import manner
from ssic.cli.terminal import say, warn
from ssic.errors import FormatError, InvalidInput, NotAnSsicFile, TruncatedFile, UnknownGroup, UnknownModel
from ssic.file import SsicFile
from ssic.format import SIGNATURE, read_head
from ssic.storage.atomic import errors_about, replacing
from ssic.storage.places import open_source
from ssic.storage.source import Bytes, is_url, size_of
from ssic.storage.urls import without_secrets

_STREAMS = r"/dev/fd/{n}|/proc/(?:self|thread-self|{pid})/fd/{n}|/dev/{name}"


def is_stdin(path: str | Path) -> bool:
    """Whether the path stands for stdin: "-", or a name that the system has for it."""
    return _is_stream(path, 0, "stdin")


def is_stdout(path: str | Path) -> bool:
    """Whether the path stands for stdout: "-", or a name that the system has for it. What is written there is the file
    and nothing else."""
    return _is_stream(path, 1, "stdout")


def _is_stream(path: str | Path, number: int, name: str) -> bool:
    text = str(path)
    if text == "-":
        return True
    pattern = _STREAMS.format(n=number, name=name, pid=os.getpid())
    return re.fullmatch(pattern, os.path.normpath(text).replace("//", "/")) is not None


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
"""What a URL starts with, also one that went through a `Path`, which leaves one slash. (`C:/` is none.)"""


def read(path: Path) -> bytes:
    """All of a file, or of stdin."""
    if not is_stdin(path):
        return path.read_bytes()
    if sys.stdin is None:  # Python's way to say that it is closed
        raise _os_error(errno.EBADF, "stdin")
    return sys.stdin.buffer.read()


def open_ssic(
    place: str,
    model: str | None = None,
    prefix: int | None = None,
    protocols: Collection[str] = (),
    **options: Any,
) -> tuple[SsicFile, Bytes]:
    """An opened file, and its bytes, of which those of a file on disk or at a URL are read as they are needed; errors
    name the file.

    Args:
        place: a path, a URL, or "-".
        prefix: take no more than so many bytes.
        protocols: that a URL may name beside the usual ones.
        options: of `SsicFile`.
    """
    path = Path(place)
    seekable = not is_stdin(place) and (is_url(place) or stat.S_ISREG(path.stat().st_mode))
    data = open_source(place, prefix=prefix, protocols=protocols) if seekable else read(path)[:prefix]
    with naming(place):
        if size_of(data) == 0:
            raise TruncatedFile("the file is empty")
        try:
            opened = SsicFile(data, model=model, **options)
            # With the head that was read and checked, not one that is read later.
            return opened, opened.access.data
        except NotAnSsicFile as error:
            raise NotAnSsicFile(f"this is not an ssic file: {error}") from error


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Errors about the content of a file begin with its path."""
    try:
        yield
    except (FormatError, UnknownGroup, UnknownModel) as error:
        error.args = (f"{shown(place)}: {error}",)
        raise


def shown(place: str) -> str:
    """What a file is called in messages."""
    if is_url(place):
        return without_secrets(place)
    return "stdin" if is_stdin(place) else place


def write(path: Path, data: bytes) -> None:
    """Write a file, or to stdout."""
    if not is_stdout(path):
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        return
    if sys.stdout is None:
        raise _os_error(errno.EBADF, "stdout")
    with errors_about("stdout"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def check_output(output: Path, inputs: Iterable[str | Path | None], *, as_json: bool) -> None:
    """Refuses, before the work, an output that can't or shall not be written.

    Raises:
        InvalidInput: file and JSON would both go to stdout, or the output is one of the inputs.
        OSError: the folder of the output does not exist, or the output is a folder itself.
    """
    if (url := _as_url(output)) is not None:
        raise InvalidInput(f"{url}: files are written to this machine only, not to URLs")
    if is_stdout(output):
        if as_json:
            raise InvalidInput("--json and the output both want stdout: write the file to a path")
        return
    if output.is_dir():
        raise _os_error(errno.EISDIR, str(output))
    if not output.exists() and not (folder := Path(os.path.realpath(output)).parent).is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {folder}", str(output))
    check_clobber(output)
    for path in inputs:
        if path is not None and not is_stdin(path) and _is_same(output, Path(path)):
            raise InvalidInput(f"{output} is read and would be overwritten: write to another file")


def check_clobber(output: Path) -> None:
    """Refuses, with `--no-clobber`, to replace a file (`InvalidInput`). Devices and pipes are not replaced anyway."""
    if manner().no_clobber and output.is_file():
        raise InvalidInput(f"{output} exists, and --no-clobber (-n) leaves it as it is")


def _is_same(output: Path, path: Path) -> bool:
    # isfile: what was given for a path may be a key, and too long for one.
    return os.path.isfile(output) and os.path.isfile(path) and output.samefile(path)


def check_local(places: Iterable[str | Path | None]) -> None:
    """Refuses, before the work, URLs where only files of this machine are read (`InvalidInput`)."""
    for place in places:
        if place is not None and (url := _as_url(place)) is not None:
            raise InvalidInput(
                f"{url}: only ssic files are read from URLs; pictures, masks, keys and models are files of this "
                "machine: download it first"
            )


def _as_url(place: str | Path) -> str | None:
    """What was given for a path, if it is a URL: for messages, with both slashes, and without its secrets."""
    match = _URL.match(str(place))
    return (
        None
        if match is None or os.path.lexists(place)
        else shown(f"{match[1]}://{str(place)[match.end() :]}")
    )


def check_stdin(places: Iterable[str | Path | None]) -> None:
    """Refuses, before the work, that several inputs are to be read from stdin (`InvalidInput`)."""
    if sum(place is not None and is_stdin(place) for place in places) > 1:
        raise InvalidInput("stdin can be read once: name - once, and other files by their paths")


def say_file(output: Path, data: bytes, *before: SsicFile) -> None:
    """Tell what was written, and if it lost the signature that a file had `before`."""
    warn_unsigned(data, *before)
    if not is_stdout(output):
        names = ", ".join(g.name + (" (encrypted)" if g.encrypted else "") for g in SsicFile(data).groups)
        say(f"{output}: {len(data):,} bytes, {names}")


def warn_unsigned(data: bytes, *before: SsicFile) -> None:
    """Tell if what was written lost the signature that a file had `before`."""
    if any(SIGNATURE in one.head.chunks for one in before) and SIGNATURE not in read_head(data).chunks:
        warn("the signature does not cover what was written, and is left out: sign it again")


def _os_error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)


def named(option: str, lists: list[str]) -> list[str]:
    """What `split` gives, of an option that must name a group (else `InvalidInput`)."""
    items = split(lists)
    if items is None:
        raise InvalidInput(f"{option} is empty; name at least one group")
    return items


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
