"""Which pictures or files there are, where their outputs go, and where their masks are."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssic.batch.records import RECORDS, Record
from ssic.errors import InvalidInput, MaskError
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
MASKS = (
    ".png",
    ".tif",
    ".tiff",
    ".gif",
    ".webp",
    ".bmp",
    ".pgm",
    ".ppm",
    ".npy",
    ".json",
    ".xml",
    ".txt",
)
"""Suffixes of masks in a folder; what is in them, their content says."""
CODED = (".ssic",)

Naming = Literal["stem", "full"]
"""What the output of `a.jpg` is called: `a.ssic`, or `a.jpg.ssic`."""


@dataclass(frozen=True)
class Job:
    """A picture to encode, or a file to decode or seal.

    Attributes:
        picture: what is read.
        output: relative to the folder of the outputs.
        mask: where its mask lies, without the suffix, if masks lie in a folder: see `mask_file`.
        boxes: JSON file of its boxes, if masks are boxes.
        annotations: COCO JSON with what is known of this picture, if masks come from COCO.
        before: what is recorded of the file that an earlier run made in the place of the output.
    """

    picture: Path
    output: Path
    mask: Path | None = None
    boxes: Path | None = None
    annotations: str | None = None
    before: Record | None = None


@dataclass(frozen=True)
class Found:
    """What there is to do.

    Attributes:
        files: (absolute path, its output relative to the folder of the outputs), sorted.
        passed_over: how many files of folders were passed over, by suffix ("" for none); hidden ones are not counted.
    """

    files: Sequence[tuple[Path, Path]]
    passed_over: Mapping[str, int]


def find_files(
    inputs: Sequence[str],
    *,
    root: Path | None = None,
    earlier: Path | None = None,
    recursive: bool = False,
    suffixes: Sequence[str] = SUFFIXES,
    to: str = ".ssic",
    naming: Naming = "stem",
) -> Found:
    """The files of folders, globs and paths.

    Files of a folder are those with a suffix in `suffixes`; ``**`` in a glob goes into subfolders. Hidden files and
    folders, whose names begin with a dot, are passed over, unless a path names them. Outputs lie as the files lie below
    the root: `root`, else `earlier`, else what the folders have in common, a glob being in the folder before its first
    wildcard.

    Args:
        earlier: root of earlier runs into the same folder, from `earlier_root`.
        recursive: search the subfolders of folders, too.
        to: suffix of the outputs.

    Raises:
        InvalidInput: nothing there, a file is not below the root, or two files would have the same output.
    """
    found: set[Path] = set()
    folders: set[Path] = set()
    others: Counter[str] = Counter()
    for item in inputs:
        here, folder = _files_of(item, recursive, suffixes, others)
        found |= here
        if here:
            folders.add(folder)
        elif not _is_written_by_batch(
            Path(item), suffixes
        ):  # which a shell that expands a glob itself names, too
            hint = "" if recursive else "; --recursive searches subfolders"
            raise InvalidInput(
                f"no {_kind(suffixes)} in {item}: a folder ({', '.join(suffixes)}) or a glob was expected{hint}"
            )
    if not found:
        raise InvalidInput(f"no pictures, only ssic files, in {', '.join(inputs[:4])}")
    base = Path(os.path.abspath(root)) if root is not None else earlier or _common(folders)
    if outside := sorted(p for p in found if not p.is_relative_to(base)):
        whose = "" if root is not None else ", where the pictures of earlier runs into this folder lie"
        raise InvalidInput(
            f"{outside[0]} does not lie below {base}{whose}: files are laid out as pictures are below one folder. "
            "Give another one with --root DIR, or another folder of outputs"
        )
    targets = [(p, _output_of(p.relative_to(base), to, naming)) for p in sorted(found)]
    count = Counter(target for _, target in targets)
    if twice := [str(p) for p, target in targets if count[target] > 1]:
        hint = "; --naming full keeps their suffixes" if naming == "stem" else ""
        raise InvalidInput(f"{' and '.join(twice[:4])} would become the same file{hint}")
    return Found(targets, others)


def find_pictures(inputs: Sequence[str], **options: Any) -> Sequence[tuple[Path, Path]]:
    """`find_files`, only the files."""
    return find_files(inputs, **options).files


def _output_of(path: Path, suffix: str, naming: Naming) -> Path:
    return path.with_suffix(suffix) if naming == "stem" else path.with_name(path.name + suffix)


def _files_of(
    item: str, recursive: bool, suffixes: Sequence[str], others: Counter[str]
) -> tuple[set[Path], Path]:
    """Files, and the folder that they were looked for in; what is passed over there is counted in `others`."""
    path = Path(os.path.abspath(item))
    if path.is_dir():
        inside = path.rglob("*") if recursive else path.iterdir()
        shown = [p for p in inside if not _is_hidden(p.relative_to(path)) and p.is_file()]
        fitting = {p for p in shown if p.suffix.lower() in suffixes}
        others.update(
            p.suffix.lower() for p in shown if p not in fitting and not _is_written_by_batch(p, suffixes)
        )
        return fitting, path
    if path.exists():
        return set() if _is_written_by_batch(path, suffixes) else {path}, path.parent
    hits = (Path(os.path.abspath(hit)) for hit in glob.glob(item, recursive=True))
    folder = Path(item)
    while glob.has_magic(str(folder)):
        folder = folder.parent
    fitting = {p for p in hits if p.is_file() and not _is_written_by_batch(p, suffixes)}
    return fitting, Path(os.path.abspath(folder))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_written_by_batch(path: Path, suffixes: Sequence[str]) -> bool:
    return (path.suffix.lower() in CODED and suffixes != CODED) or path.name == RECORDS


def _kind(suffixes: Sequence[str]) -> str:
    return "ssic files" if suffixes == CODED else "pictures"


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
            below = picture.relative_to(root)
            if place.with_suffix("") in (below, below.with_suffix("")):  # either way of naming
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
    """The jobs of `find_pictures`. Annotations are read at once: what is wrong with them is told before the work.

    Args:
        records: by output, of earlier runs.
        masks: folder of masks at the places of the outputs.
        boxes: folder of boxes, JSON, likewise.
        coco: file of COCO annotations; pictures are found by file name.

    Raises:
        MaskError: the COCO file is none.
    """
    annotated = _by_picture(coco) if coco is not None else None
    return (
        Job(
            picture,
            output,
            mask=None if masks is None else masks / output.with_suffix(""),
            boxes=None if boxes is None else boxes / output.with_suffix(".json"),
            annotations=None if annotated is None else annotated(os.path.abspath(picture)),
            before=records.get(output.as_posix()),
        )
        for picture, output in pictures
    )


def mask_file(place: Path) -> Path:
    """The file of a mask.

    Args:
        place: its path without the suffix, which is one of `MASKS`.

    Raises:
        MaskError: there is none, or there are several.
    """
    found = [path for suffix in MASKS if (path := place.with_name(place.name + suffix)).is_file()]
    if not found:
        raise MaskError(f"there is no mask {place} with one of the suffixes {', '.join(MASKS)}")
    if len(found) > 1:
        raise MaskError(f"which is the mask, {' or '.join(map(str, found))}? Leave one of them in the folder")
    return found[0]


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
