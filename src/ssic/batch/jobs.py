"""Which pictures there are to encode, where their files go, and where their masks are."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssic.batch.records import RECORDS, Record
from ssic.errors import InvalidInput
from ssic.groups.coco import check_coco
from ssic.groups.objects import read_json
from ssic.groups.which import choose, path_parts, same_id

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
    ".jp2",
    ".ppm",
    ".bmp",
    ".tif",
    ".tiff",
)
"""What is taken for a picture in a folder; a glob takes what it names, but for files that batch itself writes."""


@dataclass(frozen=True)
class Job:
    """A picture to encode.

    Attributes:
        output: relative to the folder of the outputs.
        labels: its label map, if masks are label maps.
        boxes: JSON file of its boxes, if masks are boxes.
        annotations: COCO JSON with what is known of this picture, if masks come from COCO.
        before: what is recorded of the file that an earlier run made in the place of the output.
    """

    picture: Path
    output: Path
    labels: Path | None = None
    boxes: Path | None = None
    annotations: str | None = None
    before: Record | None = None


def find_pictures(
    given: Sequence[str], *, root: Path | None = None, earlier: Path | None = None, recursive: bool = False
) -> list[tuple[Path, Path]]:
    """(picture, its output relative to the folder of the outputs) of folders, globs and paths, sorted.

    Pictures of a folder are those with a suffix in `SUFFIXES`; ``**`` in a glob goes into subfolders. Outputs lie as
    the pictures lie below the root: `root`, else `earlier`, else what the folders have in common, a glob being in
    the folder before its first wildcard. Paths of pictures are absolute.

    Args:
        earlier: root of earlier runs into the same folder, from `earlier_root`.
        recursive: search the subfolders of folders, too.

    Raises:
        InvalidInput: nothing there, a picture is not below the root, or two pictures would have the same output.
    """
    found: set[Path] = set()
    folders: set[Path] = set()
    for item in given:
        here, folder = _pictures_of(item, recursive)
        found |= here
        if here:
            folders.add(folder)
        elif not _is_ours(Path(item)):  # which a shell that expands a glob itself names, too
            hint = "" if recursive else "; --recursive searches subfolders"
            raise InvalidInput(
                f"no pictures in {item}: a folder ({', '.join(SUFFIXES)}) or a glob was expected{hint}"
            )
    if not found:
        raise InvalidInput(f"no pictures, only ssic files, in {', '.join(given[:4])}")
    base = Path(os.path.abspath(root)) if root is not None else earlier or _common(folders)
    if outside := sorted(p for p in found if not p.is_relative_to(base)):
        whose = "" if root is not None else ", where the pictures of earlier runs into this folder lie"
        raise InvalidInput(
            f"{outside[0]} does not lie below {base}{whose}: files are laid out as pictures are below one folder. "
            "Give another one with --root DIR, or another folder of outputs"
        )
    targets = [(p, p.relative_to(base).with_suffix(".ssic")) for p in sorted(found)]
    count = Counter(target for _, target in targets)
    twice = [str(p) for p, target in targets if count[target] > 1]
    if twice:
        raise InvalidInput(
            f"{' and '.join(twice[:4])} would become the same file: encode them to different folders"
        )
    return targets


def _pictures_of(item: str, recursive: bool) -> tuple[set[Path], Path]:
    """Pictures, and the folder that they were looked for in."""
    path = Path(os.path.abspath(item))
    if path.is_dir():
        inside = path.rglob("*") if recursive else path.iterdir()
        return {p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()}, path
    if path.exists():
        return set() if _is_ours(path) else {path}, path.parent
    hits = (Path(os.path.abspath(hit)) for hit in glob.glob(item, recursive=True))
    folder = Path(item)
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return {p for p in hits if p.is_file() and not _is_ours(p)}, Path(os.path.abspath(folder))


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() == ".ssic" or path.name == RECORDS


def _common(folders: set[Path]) -> Path:
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:  # Windows: there is no folder above two drives
        raise InvalidInput("the pictures lie on different drives: encode those of each apart") from error


def earlier_root(folder: Path, records: Mapping[str, Record]) -> Path | None:
    """Below what the pictures lay whose files are in `folder`, going by the latest record of a file still there."""
    for output, record in reversed(list(records.items())):
        place, picture = Path(output), Path(os.path.abspath(record.picture))
        if len(picture.parents) >= len(place.parts) and (folder / place).exists():
            root = picture.parents[len(place.parts) - 1]
            if picture.relative_to(root).with_suffix(".ssic") == place:
                return root
    return None


def elsewhere(
    pictures: Sequence[tuple[Path, Path]], records: Mapping[str, Record], folder: Path
) -> list[tuple[Path, Path]]:
    """(picture, file) where an earlier run, with another root, made a file that is still there."""
    places = dict(pictures)
    recorded = ((Path(os.path.abspath(r.picture)), Path(output)) for output, r in records.items())
    return [
        (picture, folder / old)
        for picture, old in recorded
        if places.get(picture, old) != old and (folder / old).exists()
    ]


def find_jobs(
    pictures: Sequence[tuple[Path, Path]],
    records: Mapping[str, Record],
    *,
    masks: Path | None = None,
    boxes: Path | None = None,
    coco: Path | None = None,
) -> Iterator[Job]:
    """The jobs of `find_pictures`.

    Args:
        records: by output, of earlier runs.
        masks: folder of label maps, PNG, at the places of the outputs.
        boxes: folder of boxes, JSON, likewise.
        coco: file of COCO annotations; pictures are found by file name.

    Raises:
        MaskError: the COCO file is none.
    """
    annotated = _by_picture(coco) if coco is not None else None
    for picture, output in pictures:
        yield Job(
            picture,
            output,
            labels=None if masks is None else masks / output.with_suffix(".png"),
            boxes=None if boxes is None else boxes / output.with_suffix(".json"),
            annotations=None if annotated is None else annotated(os.path.abspath(picture)),
            before=records.get(output.as_posix()),
        )


def _by_picture(coco: Path) -> Callable[[str], str]:
    data = check_coco(read_json(coco, "COCO annotations"))
    images: dict[str, list[Any]] = {}
    for image in data["images"]:
        images.setdefault(next(iter(path_parts(image.get("file_name"))), ""), []).append(image)
    objects: dict[object, list[Any]] = {}
    for item in data["annotations"]:
        objects.setdefault(same_id(item.get("image_id")), []).append(item)

    def of(path: str) -> str:
        named = images.get(path_parts(path)[0], [])
        # Of several with its name those whose folders agree with it.
        here = choose(named, path, lambda image: image.get("file_name"))
        known = [item for image in here for item in objects.get(same_id(image.get("id")), [])]
        return json.dumps({"images": here, "annotations": known, "categories": data["categories"]})

    return of
