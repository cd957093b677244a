"""Command lines: what runs them, in this process or in one of its own, and what they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

import ssic

Refuse = Callable[..., None]


class Result(NamedTuple):
    """What a command ended with, and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


INFO_KEYS = [
    "format",
    "model",
    "width",
    "height",
    "file_bytes",
    "head_bytes",
    "mask_bytes",
    "profile",
    "groups",
    "transfer",
]
GROUP_KEYS = ["id", "name", "class", "score", "quality", "blocks", "offset", "bytes", "encrypted"]
SIZE = (96, 64)
SOURCE = str(Path(ssic.__file__).parents[1])
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def command(*args: object, code: str = "from ssic.cli import main; main()", **options: Any) -> Any:
    """A process of its own, for what depends on one."""
    line = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(line, capture_output=True, env=os.environ | {"PYTHONPATH": SOURCE}, **options)


def picture() -> Image.Image:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = [128 + 100 * np.sin(columns / 9 + k) * np.cos(rows / (7 + k)) for k in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def damaged(file: Path, target: Path, *groups: str) -> Path:
    """A copy in which the segments of some groups are damaged."""
    data = bytearray(file.read_bytes())
    for group in ssic.open(file).groups:
        if group.name in groups:
            data[group.offset] ^= 1
    target.write_bytes(data)
    return target


REPORT = """
import sys
from ssic.cli import main
try:
    main()
finally:
    print(*(m for m in ("torch", "numpy") if m in sys.modules), file=sys.stderr)
"""
