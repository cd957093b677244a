"""Lay out the demo's files in a folder: `python examples/lay_out.py FOLDER`.

The photograph comes from matplotlib, the rest from this folder. They are called `photo.jpg`, `labels.png`,
`names.json`, `boxes.json` and `annotations.json`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PREFIX = "grace_hopper_"


def photograph() -> Path:
    """Where matplotlib keeps the portrait."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def lay_out(folder: Path, photo: Path) -> None:
    """Copy the photograph and all that belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photo, folder / "photo.jpg")
    for file in Path(__file__).parent.glob(f"{PREFIX}*"):
        shutil.copyfile(file, folder / file.name.removeprefix(PREFIX))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lay_out(Path(sys.argv[1]), photograph())
