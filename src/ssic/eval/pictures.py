"""Pictures and masks that are measured on, and files that are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssic.errors import InvalidInput
from ssic.groups.mask import GroupMask
from ssic.groups.recipe import MaskRecipe
from ssic.pictures.read import Picture, load_picture
from ssic.storage.atomic import errors_about

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp", ".tif", ".tiff")

LABELS = MaskRecipe("labels", drop_empty=True)
"""How pictures get their masks."""

Report = Callable[[str], None]
"""Called with what is being measured."""


@dataclass(frozen=True, eq=False)
class Case:
    """A picture, and its mask where there is one."""

    name: str
    picture: Picture
    mask: GroupMask | None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[H, W, 3]."""
        return self.picture.pixels

    @cached_property
    def identity(self) -> str:
        """Hash of picture and mask."""
        mask = None
        if self.mask is not None:
            mask = _hash(self.mask.ids.tobytes()), sorted(self.mask.names.items())
        icc = None if self.picture.icc is None else _hash(self.picture.icc)
        return _hash(repr((self.pixels.shape, _hash(self.pixels.tobytes()), icc, mask)).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Cases:
    """Files of pictures with their masks; each is read when its turn comes."""

    files: Sequence[tuple[Path, Path | None]]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Case]:
        for path, mask in self.files:
            picture = load_picture(path)
            groups = None
            if mask is not None:
                groups = LABELS.mask(picture.pixels, mask)
            yield Case(path.stem, picture, groups)


def find_cases(images: Path, masks: Path | None) -> Cases:
    """The pictures of a folder, sorted, each with the label map of the same stem in the other folder.

    Raises:
        InvalidInput: no pictures, two of one name, or a picture without a mask.
        OSError: a folder can't be read.
    """
    pictures = _pictures(images)
    if not pictures:
        raise InvalidInput(f"no pictures ({', '.join(SUFFIXES)}) in {images}")
    maps = _pictures(masks) if masks is not None else {}
    missing = sorted(set(pictures) - set(maps)) if masks is not None else []
    if missing:
        raise InvalidInput(f"{masks} has no mask for {', '.join(missing[:10])}")
    return Cases([(path, maps.get(stem)) for stem, path in sorted(pictures.items())])


def _pictures(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and found.setdefault(path.stem, path) != path:
            raise InvalidInput(
                f"{found[path.stem]} and {path} have the same name: results are told apart by it"
            )
    return found


def stored(path: Path, data: bytes) -> bytes:
    """What a file holds after it was written: the bytes whose number is the rate, and that are decoded."""
    with errors_about(str(path)):
        path.write_bytes(data)
    read = path.read_bytes()
    if len(read) != path.stat().st_size:
        raise OSError(f"{path} changed while it was read")
    return read
