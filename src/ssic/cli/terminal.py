"""What all commands share towards the person: errors and exit codes, warnings, reports, progress."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from ssic.cli.manner import change_manner, manner, one_manner
from ssic.errors import (
    EncryptedSegment,
    EngineError,
    FormatError,
    InvalidInput,
    ModelError,
    SignatureError,
    SsicError,
)
from ssic.imports import later

EXIT_CODES = {
    0: "all is well",
    1: "an unexpected error: a bug, please report it",
    2: "wrong usage, or an unusable picture, mask, value or engine",
    3: "done as far as possible, but some groups are damaged or missing, or some files of a batch failed",
    4: "not an intact ssic file",
    5: "the model is unreadable, or not installed",
    6: "a file can't be read or written",
    7: "sealed, and no key given opens it; or not signed as asked for",
    130: "ended by Ctrl-C",
    141: "the reader of stdout, or of a pipe, has gone, as head does",
}
DAMAGED = FAILED_SOME = 3
INTERRUPTED = 130
NO_READER = 141  # what a shell tells of programs that such a write ends (128 + SIGPIPE)

# typer exports this one error of wrong usage; what it is made from is the kind of all of them.
UsageError: Any = typer.BadParameter.__mro__[1]

_rich_console, _rich_progress = later("rich.console"), later("rich.progress")


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


@contextmanager
def running(debug: bool) -> Iterator[None]:
    """A command line is run within: an error on purpose becomes one line on stderr and an exit code.

    Args:
        debug: print tracebacks, even where the options that may say so can't be read.

    Raises:
        SystemExit: with that code.
    """
    # Names of files that are no text, or not in the terminal's alphabet, are shown in escapes, as on stderr.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with one_manner(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", UserWarning)  # a group left out must not go unsaid
        change_manner(debug=debug)
        try:
            yield
        except SystemExit as end:
            # Where a reader of stdout is gone, typer ends the process quietly, but with the code of a bug.
            gone = isinstance(end.__context__, BrokenPipeError)
            raise SystemExit(NO_READER if gone else _flushed(end.code)) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except UsageError as error:
            raise SystemExit(_show_usage(error)) from None
        except (SsicError, OSError) as error:
            raise SystemExit(_show_error(error)) from None


@contextmanager
def noted() -> Iterator[list[str]]:
    """What ssic warns of within, as it is shown, for `--json`."""
    notes: list[str] = []
    show = warnings.showwarning

    def note(message: Any, category: Any, *rest: Any, **named: Any) -> None:
        if category.__module__.startswith("ssic."):
            notes.append(str(message))
        show(message, category, *rest, **named)

    warnings.showwarning = note
    try:
        yield notes
    finally:
        warnings.showwarning = show


def _show_usage(error: Any) -> int:
    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # it carries the help
        print(text, file=sys.stderr)
    else:
        where = f" ({error.ctx.command_path} --help)" if error.ctx is not None else ""
        _print_line("error", f"{' '.join(text.split()).rstrip('.')}{where}")
    return int(error.exit_code)


def _show_error(error: SsicError | OSError) -> int:
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        _give_up_stdout()
        return NO_READER
    if isinstance(error, OSError):
        _give_up_stdout()
    if manner().debug:
        print(printable(traceback.format_exc(), keep="\n"), file=sys.stderr, end="")
    _print_line("error", describe(error))
    return exit_code(error)


def _flushed(code: Any) -> Any:
    """The exit code, once stdout has taken all: now, when an error can still be told."""
    try:
        with _about_stdout():
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        return _show_error(error)
    return code


def printable(text: str, keep: str = "") -> str:
    r"""Text from outside, with characters in escapes that would change what a terminal shows: control characters, line
    separators, and those that turn the direction of writing.

    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    return "".join(c if c in keep or not _is_unsafe(c) else c.encode("unicode_escape").decode() for c in text)


def _is_unsafe(c: str) -> bool:
    return not c.isprintable() and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")


def warn(message: object) -> None:
    """Print a warning."""
    _print_line("warning", str(message))


def notice(message: str) -> None:
    """Say on stderr what is as it should be, and yet worth knowing."""
    if not manner().quiet:
        _print_line("notice", message)


def say(text: str, *, stderr: bool = False) -> None:
    """Print a line of a report; to stderr where stdout holds a file."""
    if manner().quiet:
        return
    text = printable(text, keep="\n")
    if stderr:
        if sys.stderr is not None:
            print(text, file=sys.stderr)
        return
    with _about_stdout():
        print(text)


def say_json(facts: Any) -> None:
    """Print what `--json` asks for."""
    with _about_stdout():
        print(json.dumps(facts))


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
    print(f"ssic: {kind}: {printable(text)}", file=sys.stderr)


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


def describe(error: BaseException) -> str:
    """An error in one line, without the number that Python puts before those of the system."""
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror if error.filename is None else f"{_text(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def _text(path: Any) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)


@contextmanager
def progress(first: str, *, log: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr, where that is a terminal; lines with the time, where `--verbose` asks for them.

    Args:
        first: the stage that it begins with.
        log: print a line per stage where stderr is no terminal, rather than nothing.

    Yields:
        what to call with each further stage.
    """
    begun = time.perf_counter()

    def line(stage: str) -> None:
        if sys.stderr is not None:
            timed = f"{time.perf_counter() - begun:8.3f} s  " if manner().verbose else ""
            print(f"{timed}{printable(stage)}", file=sys.stderr, flush=True)

    if manner().quiet:
        yield lambda stage: None
    elif manner().verbose:
        line(first)
        yield line
        line("done")
    elif is_terminal(sys.stderr):
        with console().status(printable(first)) as status:
            yield lambda stage: status.update(printable(stage))
    else:
        yield line if log else (lambda stage: None)


@contextmanager
def progress_bar(log: str = "") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where that is a terminal.

    Args:
        log: what is counted: print a line for each step where stderr is no terminal, rather than nothing.

    Yields:
        what to call with the parts done, and of how many.
    """

    def count(done: int, total: int) -> None:
        if log:
            say(f"{done} of {total} {log}", stderr=True)

    if manner().quiet or not is_terminal(sys.stderr):
        yield count  # without rich, which in some versions prints an empty line for a bar that is disabled
        return
    kinds = _rich_progress
    columns = (kinds.BarColumn(), kinds.MofNCompleteColumn(), kinds.TimeRemainingColumn())
    with kinds.Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone looks on, and can see things move."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def console() -> Any:
    """rich's console on stderr, for text that is shown as it is: names come out of files, and are no markup."""
    return _rich_console.Console(stderr=True, markup=False, emoji=False, highlight=False)
