"""Commands whose modules are loaded when they are run, so that `ssic --help` takes no time.

This is the one place of the command line where an import is put off. A table says of each command where it is and what
it does in a line; its module imports what it needs at its top.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from ssic.cli.options import OUTPUT, expanded
from ssic.errors import InvalidInput

WIDTH = 100
"""Of help, where the terminal is wider."""


@dataclass(frozen=True)
class Entry:
    """A command.

    Attributes:
        place: "module:function".
        help: what it does, in a line.
        extra: what brings the packages that its module needs, where a plain installation lacks some.
    """

    place: str
    help: str
    extra: str | None = None


@dataclass(frozen=True)
class Family:
    """Commands with a word before them, like `ssic batch encode`."""

    help: str
    commands: Mapping[str, Entry]


Table = Mapping[str, Entry | Family]


class Command(TyperCommand):
    """A command whose help has a section for each group of options, in plain text: it is as readable in a narrow
    terminal, a file or a pager as it is in a wide window."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, rows in sections(self, ctx).items():
            formatter.write_paragraph()
            formatter.write_text(f"{title}:")
            with formatter.indentation():
                formatter.write_dl(rows, col_max=max(10, formatter.width // 3))


def sections(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Option and help of each parameter, by the title of their section."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        if (record := parameter.get_help_record(ctx)) is None:
            continue
        if parameter.param_type_name == "argument":
            found["Arguments"].append((parameter.metavar, parameter.help))
        else:
            title = getattr(parameter, "rich_help_panel", None) or "Options"
            found.setdefault(title, []).append(record)
    # Last what all commands have; --help comes without a title, and after all others.
    found[OUTPUT] = [*found.pop(OUTPUT, []), found["Options"].pop()]
    return {title: rows for title, rows in found.items() if rows}


class LazyGroup(TyperGroup):
    """A group whose commands stand in a table. Until one is run, only its name and its line of help are there."""

    table: ClassVar[Table] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=entry.help, rich_markup_mode=None)
            for name, entry in self.table.items()
        }

    def resolve_command(self, ctx: Any, args: Any) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None or name is None else self.load(name), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, entry.help) for name, entry in self.table.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows, col_max=max(16, formatter.width // 3))

    def load(self, name: str) -> Any:
        """The command itself.

        Raises:
            InvalidInput: a package is missing that an extra brings.
        """
        entry = self.table[name]
        if isinstance(entry, Family):
            return group(entry.commands, entry.help, name)
        module, _, function = entry.place.partition(":")
        try:
            command = getattr(import_module(module), function)
        except ModuleNotFoundError as error:
            if entry.extra is None or (error.name or "").split(".")[0] == "ssic":
                raise
            raise InvalidInput(
                f'ssic {name} needs the package {error.name}: pip install "ssic[{entry.extra}]"'
            ) from error
        single = _typer()
        single.command(name, cls=Command)(expanded(command))
        return typer.main.get_command(single)


def group(table: Table, help: str, name: str | None = None, **options: Any) -> Any:
    """A group of the commands in a table.

    Args:
        options: of `typer.Typer`, and `callback`: a function whose parameters are the options of the group itself.
    """
    callback = options.pop("callback", _nothing)
    kind = type("Commands", (LazyGroup,), {"table": table})
    made = _typer(cls=kind, name=name, no_args_is_help=True, **options)
    made.callback(help=help)(callback)
    return typer.main.get_command(made)


def _typer(**options: Any) -> typer.Typer:
    # Given, because by itself it would be 50 at least: in a narrower terminal every line would be broken once more.
    width = max(20, min(shutil.get_terminal_size().columns, WIDTH) - 2)
    settings = {"help_option_names": ["-h", "--help"], "terminal_width": width}
    options = {"add_completion": False} | options
    return typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=settings, **options
    )


def _nothing() -> None:
    """A group without options of its own."""
