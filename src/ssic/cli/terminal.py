"""What all commands share towards the person: errors and exit codes, warnings, tables, progress."""

from __future__ import annotations

import errno
import io
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from ssic.errors import (
    EncryptedSegment,
    EngineError,
    FormatError,
    InvalidInput,
    ModelError,
    SignatureError,
    SsicError,
)

EXIT_CODES = {
    0: "all is well",
    1: "an unexpected error: a bug, please report it",
    2: "wrong usage, or an unusable picture, mask or value",
    3: "done as far as possible, but some groups are damaged or missing, or some pictures failed",
    4: "not an intact ssic file",
    5: "the model is unreadable, or not installed",
    6: "a file can't be read or written",
    7: "sealed, and no key given opens it; or not signed as asked for",
    130: "ended by Ctrl-C",
    141: "whoever read stdout, or a pipe, has gone, as head does",
}
DAMAGED = FAILED_SOME = 3
NO_READER = 141  # what a shell tells of programs that such a write ends (128 + SIGPIPE)


def exit_code(error: SsicError | OSError) -> int:
    """The number in `EXIT_CODES` for an error."""
    # The library wraps a missing file in what the file was wanted for; Pillow's own OSErrors have no errno.
    cause = error.__cause__
    if isinstance(error, OSError) or (isinstance(cause, OSError) and cause.errno is not None):
        return 6
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)


_CODES = (
    (InvalidInput, 2),
    (EngineError, 2),
    (EncryptedSegment, 7),
    (SignatureError, 7),
    (FormatError, 4),
    (ModelError, 5),
)


class Reporting(TyperGroup):
    """The group of all commands: an error on purpose becomes one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        # Names of files that are no text, or not in the terminal's alphabet, are shown in escapes, as on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.simplefilter("always", UserWarning)  # a group left out must not go unsaid
            try:
                result = super().invoke(ctx)
                with _about_stdout():
                    if sys.stdout is not None:
                        sys.stdout.flush()  # now, when an error can still be told
                return result
            except (SsicError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # typer ends quietly then, and `ending` tells how
                if isinstance(error, OSError):
                    _give_up_stdout()
                if ctx.params["debug"]:
                    traceback.print_exc()
                _print_line("error", _describe(error))
                raise typer.Exit(exit_code(error)) from None


@contextmanager
def ending() -> Iterator[None]:
    """Where a reader of stdout is gone, typer and rich end the process quietly, but with the code of a bug."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise SystemExit(NO_READER) from None
        raise


def warn(message: object) -> None:
    """Print a warning."""
    _print_line("warning", str(message))


def notice(message: str) -> None:
    """Say on stderr what is as it should be, and yet worth knowing."""
    _print_line("notice", message)


def say(text: str) -> None:
    """Print a line to stdout."""
    with _about_stdout():
        print(text)


@contextmanager
def _about_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdout") from error


def _give_up_stdout() -> None:
    """If stdout can't take what was printed, Python would try again at its end, and complain on its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        sys.stdout = io.StringIO()


def _print_line(kind: str, text: str) -> None:
    if sys.stderr is None:  # it is closed; print would take stdout instead
        return
    print(f"ssic: {kind}: {' '.join(text.splitlines())}", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if category.__module__.startswith("ssic."):  # what torch warns of is for whoever programs with torch
        warn(message)


def _describe(error: SsicError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


@contextmanager
def progress(first: str, *, log: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr, where that is a terminal.

    Args:
        first: the stage that it begins with.
        log: print a line per stage where stderr is no terminal, rather than nothing.

    Yields:
        what to call with each further stage.
    """
    shown = console(stderr=True)
    if shown.is_interactive:
        with shown.status(first) as status:
            yield lambda stage: status.update(stage)
    else:
        yield (lambda stage: print(stage, file=sys.stderr, flush=True)) if log else (lambda stage: None)


def show_file(title: str, info: Mapping[str, Any], *, stderr: bool = False) -> None:
    """Print the head of a file as a table of its groups.

    Args:
        info: a dictionary as `SsicFile.info` returns it; with "damaged", names of groups that will be marked.
    """
    from rich import box
    from rich.table import Table

    groups, damaged = info["groups"], info.get("damaged", ())
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("id", justify="right")
    table.add_column("group", overflow="fold")
    optional = [key for key in ("class", "score") if any(g[key] is not None for g in groups)]
    for key in optional:
        table.add_column(key, overflow="fold", justify="right" if key == "score" else "left")
    for heading in ("quality", "blocks", "bytes", "share"):
        table.add_column(heading, justify="right")
    for g in groups:
        about = ["" if g[key] is None else f"{g[key]:.2f}" if key == "score" else g[key] for key in optional]
        share = g["bytes"] / info["file_bytes"]
        sizes = (f"{g['quality']}", f"{g['blocks']:,}", f"{g['bytes']:,}", f"{share:.1%}")
        marks = (" (encrypted)" if g["encrypted"] else "") + (" (damaged)" if g["name"] in damaged else "")
        table.add_row(str(g["id"]), g["name"] + marks, *about, *sizes)
    table.add_row(
        "", "head", *[""] * len(optional), "", "", f"{info['head_bytes']:,}", _share(info), style="dim"
    )
    bits = 8 * info["file_bytes"] / (info["width"] * info["height"])
    out = console(stderr)
    with nullcontext() if stderr else _about_stdout():
        out.print(
            f"{title}: {info['width']}x{info['height']}, {info['file_bytes']:,} bytes, {bits:.3f} bits per pixel, "
            f"model {info['model']}",
            soft_wrap=True,
        )
        out.print(table)


def _share(info: Mapping[str, Any]) -> str:
    return f"{info['head_bytes'] / info['file_bytes']:.1%}"


def console(stderr: bool = False) -> Any:
    """rich's console, for text that is shown as it is."""
    from rich.console import Console

    # Names come out of files: they are shown as they are, not as markup.
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
