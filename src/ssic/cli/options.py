"""Options that several commands share, each declared once, and dataclasses of options as parameters of commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ssic.cli.manner import change_manner
from ssic.errors import InvalidInput

OUTPUT = "Output"
"""Title of the options of every command."""

Input = Annotated[str, typer.Argument(metavar="FILE", help="ssic file: a path, a URL, or - for stdin.")]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="ssic file to write; - is stdout.")
]
PictureOutput = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Picture to write, in the format of its suffix; - is a PNG to stdout.",
    ),
]
Groups = Annotated[
    list[str],
    typer.Option("--groups", metavar="NAME,...", help="Names, classes or ids of groups; repeatable."),
]
Model = Annotated[
    str, typer.Option("--model", metavar="NAME|FILE", help="Installed model, or path of a weights file.")
]
ModelOfFile = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="Installed model, or path of a weights file. Default: the installed model that the file names.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="auto|onnx|torch|torch:DEVICE",
        help="What runs the networks. auto: torch where it finds a GPU, else ONNX Runtime.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]


@dataclass(frozen=True)
class Talk:
    """Options of every command."""

    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Print errors, warnings and --json only.", rich_help_panel=OUTPUT),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="Print each stage with its time on stderr.", rich_help_panel=OUTPUT
        ),
    ] = False


@dataclass(frozen=True)
class Clobber:
    """Options of every command that writes a file."""

    no_clobber: Annotated[
        bool,
        typer.Option(
            "-n",
            "--no-clobber",
            help="Don't replace an existing file: end with an error.",
            rich_help_panel=OUTPUT,
        ),
    ] = False


class Held:
    """A dataclass of options that changes something while the command runs, and no longer."""

    def held(self) -> AbstractContextManager[None]:
        """What the command runs within."""
        raise NotImplementedError


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer: each parameter that is a dataclass of options is replaced by these options, and the options
    that every command has are added.

    typer reads options from the signature of a function, and has no other way to share them.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _options_of(kind)
        else:
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
    manners = [Talk, Clobber] if any(p.name == "output" for p in parameters) else [Talk]
    for kind in manners:
        parameters += _options_of(kind)

    def run(**values: Any) -> None:
        change_manner(**{f.name: values.pop(f.name) for kind in manners for f in fields(kind)})
        built = {
            name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()
        }
        with ExitStack() as stack:
            for options in built.values():
                if isinstance(options, Held):
                    stack.enter_context(options.held())
            command(**values, **built)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _options_of(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(kind)
    ]


def one_of(option: str, value: str | None, allowed: Sequence[str]) -> None:
    """Refuses a value that is not one of those allowed (`InvalidInput`); None, for not given, passes."""
    if value is not None and value not in allowed:
        raise InvalidInput(f"{option} {value}: {', '.join(allowed[:-1])} or {allowed[-1]} was expected")
