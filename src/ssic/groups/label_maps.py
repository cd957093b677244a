"""Label maps: a number per pixel or per block, read from pictures and arrays, and what the labels are called."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssic.arguments import listing, type_name
from ssic.blocks import BLOCK, block_grid
from ssic.errors import MaskError
from ssic.foreign_arrays import to_numpy
from ssic.groups.objects import read_file, read_json

Names = Mapping[Any, str] | Sequence[str] | str | os.PathLike[str]


_INEXACT = ("JPEG", "MPO", "AVIF", "HEIF")


class UnusedNames(UserWarning):
    """Names were given for labels that do not occur."""


def read_labels(source: str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]) -> NDArray[Any]:
    """The labels in a file (path or bytes) or Pillow image; anything else as an array, still to be checked. A TIFF of
    several pages, each of which shows one object, gives a stack [pages, rows, columns].

    Raises:
        MaskError: unreadable, of a format that changes numbers, or in a mode that does not hold labels.
    """
    if isinstance(source, Image.Image):
        return _labels(source, "the label map", b"")
    if isinstance(source, (bytes, bytearray)):
        return parse_labels(bytes(source), "in the bytes given")
    if not isinstance(source, (str, os.PathLike)):
        try:
            return np.asarray(to_numpy(source, MaskError, "labels are whole numbers: labels.round().long()"))
        except ValueError as error:  # rows of different lengths
            raise MaskError(f"the label map is no array [rows, columns]: {error}") from error
    return parse_labels(read_file(source, "label map"), source)


def parse_labels(data: bytes, source: object) -> NDArray[Any]:
    """The labels in the bytes of a picture's file; errors as of `read_labels`."""
    if not data:
        raise MaskError(f"the label map {source} is empty")
    shown = f"the label map {source}"
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise MaskError(f"can't read {shown}: it is no picture that Pillow knows") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise MaskError(f"can't read {shown}: {error}") from error
    with image:
        return _labels(image, shown, data)


def _labels(image: Image.Image, shown: str, data: bytes) -> NDArray[Any]:
    try:
        if image.format in _INEXACT or _is_lossy(image, data):
            raise MaskError(f"{shown} is a {image.format}, which does not keep labels exact: use PNG")
        count = int(getattr(image, "n_frames", 1)) if data else 1
        if count == 1:
            return _numbers(image, shown)
        pages = []
        for n in range(count):
            image.seek(n)
            pages.append(_numbers(image, shown))
        if (
            image.format == "TIFF"
            and len({page.shape for page in pages}) == 1
            and all(map(_is_binary, pages))
        ):
            return np.stack(pages)
        raise MaskError(
            f"{shown} has {count} pages; a label map is one. Save the one that is meant, or pages that show one object "
            "each: 0, and one other number"
        )
    except MaskError:
        raise
    except Exception as error:
        raise MaskError(f"can't read {shown}: {error}") from error


def _is_binary(page: NDArray[Any]) -> bool:
    return len(set(np.unique(page).tolist()) - {0}) <= 1


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    """Whether a WebP or JPEG 2000 was made with losses."""
    if image.format == "WEBP":
        return b"VP8 " in (data[12:16], data[30:34]) or (data[12:16] == b"VP8X" and b"VP8L" not in data)
    at = data.find(b"\xff\x52") if image.format == "JPEG2000" else -1
    return at >= 0 and data[at + 13 : at + 14] == b"\0"  # the wavelet of the coding style is the inexact one


def _numbers(image: Image.Image, shown: str) -> NDArray[Any]:
    """The numbers of one page as they are in the file: what Pillow scales or turns round on the way is undone."""
    tiles: list[Any] = getattr(image, "tile", None) or []
    args = tiles[0][3] if tiles else ""
    parts = (args,) if isinstance(args, str) else tuple(args or ())
    rawmode = str(parts[0]) if parts else ""
    tags: Any = getattr(image, "tag_v2", None) or {}
    if image.mode in ("RGB", "RGBA", "LA", "RGBX") and ";16" in rawmode:
        raise MaskError(f"{shown} has 16 bits a channel and several channels: save it as 16-bit gray")
    values = np.asarray(ImageOps.exif_transpose(image))
    if image.mode in ("1", "P"):
        return values
    if image.mode == "L":
        if rawmode.endswith("I") and ";" in rawmode:  # white is zero
            values = 255 - values
        bits = tags.get(258, (8,))[0] if tags else int(rawmode[2:3]) if rawmode[2:3] in ("1", "2", "4") else 8
        if bits < 8:
            return values // (255 // (2**bits - 1))
        if tags.get(339, (1,))[0] == 2:  # signed
            return values.view(np.int8)
        return _unscaled(image, values, parts, 255)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _unscaled(image, values, parts, 65535)
    if image.mode == "F":
        if np.isfinite(values).all() and (values == np.floor(values)).all() and np.abs(values).max() < 2**24:
            return values.astype(np.int32)
        raise MaskError(f"{shown} holds broken numbers, as soft masks do{_THRESHOLD}")
    if image.mode in ("LA", "RGBA") and (values[..., -1] == 255).all():
        values = values[..., :-1]
    if (
        image.mode in ("RGB", "RGBA", "LA")
        and values.shape[2] in (1, 3)
        and (values == values[:, :, :1]).all()
    ):
        return values[:, :, 0]  # gray, saved as colour
    raise MaskError(
        f"{shown} is in colour or has alpha (mode {image.mode}); labels are palette indices or "
        "8- or 16-bit gray. Save it as an indexed or gray PNG with one number per group, or say what its colours mean: "
        'names (--names) like {"#ff0000": "car"}'
    )


def _unscaled(image: Image.Image, values: NDArray[Any], parts: tuple[Any, ...], top: int) -> NDArray[Any]:
    """PGM states its largest value, and Pillow stretches others to it."""
    largest = parts[-1] if image.format == "PPM" and len(parts) == 2 and isinstance(parts[-1], int) else 0
    if largest <= 1 or largest == top:
        return values
    return (values.astype(np.int64) * largest + top // 2) // top


_THRESHOLD = ": choose a threshold first, such as mask > 0.5 (of 8 bits mask > 127)"


def read_names(names: Names | None) -> dict[int, str]:
    """label -> name, from a mapping, a list, the path of a JSON file with either, or None (nothing).

    Raises:
        MaskError: none of these, or keys that aren't integers.
    """
    given = read_json(names, "names") if names is not None else {}
    if isinstance(given, Mapping):
        found: dict[int, str] = {}
        for key, name in given.items():
            try:
                found[int(key)] = name
            except (TypeError, ValueError) as error:
                raise MaskError(
                    f'the keys of names must be labels, as in {{"1": "dog"}}, not {key!r:.80}'
                ) from error
        return found
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return dict(enumerate(given))
    raise MaskError("names must be an object, label -> name, or a list of names by label")


def tell_unused(names: Mapping[int, str], labels: Iterable[int], *, listed: bool = False) -> None:
    """Warn of names whose labels do not occur; 0, the background, may be missing. Of a list by label, such as one of
    all classes of a data set, only if labels that do occur have no name."""
    there = set(labels)
    unused = [f'{n} "{name}"' for n, name in names.items() if n and n not in there]
    if unused and not (listed and there - {0} <= set(names)):
        shown = listing([*map(str, sorted(there))], 8)
        text = f"names of labels that do not occur: {listing(unused, 8)}; the labels are {shown}"
        warnings.warn(text, UnusedNames, stacklevel=3)


def looks_soft(labels: NDArray[Any]) -> bool:
    """Whether labels are rather shades between 0 and 255."""
    return bool(labels.max() == 255 and labels.min() == 0 and len(np.unique(labels)) > 16)


def read_colours(source: Any) -> NDArray[np.uint8]:
    """[H, W, 3] of a map in colour: a file (path or bytes), an image of Pillow or an array.

    Raises:
        MaskError: unreadable, of a format that changes colours, transparent, or no such array.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise MaskError(f"a map in colour is uint8 [H, W, 3], not {source.dtype} {list(source.shape)}")
        return source
    data, shown = b"", "the label map"
    try:
        if not isinstance(source, Image.Image):
            data = read_file(source, "label map")
            shown = f"the label map {source}" if isinstance(source, (str, os.PathLike)) else shown
            source = Image.open(io.BytesIO(data))
        if source.format in _INEXACT or _is_lossy(source, data):
            raise MaskError(f"{shown} is a {source.format}, which does not keep colours exact: use PNG")
        rgba = np.asarray(ImageOps.exif_transpose(source).convert("RGBA"))
    except MaskError:
        raise
    except Exception as error:
        raise MaskError(f"can't read {shown}: {error}") from error
    if (rgba[:, :, 3] != 255).any():
        raise MaskError(f"{shown} is transparent in places: give these a colour of their own")
    return rgba[:, :, :3]


def check_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels that can be used: integers [rows, columns], 0 to 2^31-1; `MaskError` if they are not."""
    if not isinstance(labels, np.ndarray):
        raise MaskError(f"labels are an array [rows, columns], not {type_name(labels)}")
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "bui":
        hint = "; a map in colour must become indices first" if labels.ndim == 3 else ""
        if labels.dtype.kind == "f" and labels.size:
            whole = bool((labels == np.floor(labels)).all())
            hint = "; whole numbers: .astype(numpy.int32)" if whole and labels.max() > 1 else _THRESHOLD
        raise MaskError(
            f"a label map must be integers [rows, columns], not {labels.dtype} of shape {labels.shape}{hint}"
        )
    if labels.min() < 0 or labels.max() >= 2**31:
        raise MaskError(f"labels must be 0 to 2^31-1; these go from {labels.min()} to {labels.max()}")
    return labels if labels.dtype.itemsize <= 2 else labels.astype(np.int32)


def blocks_from_pixels(labels: NDArray[Any], rule: Rule = "most") -> NDArray[np.int64]:
    """The label that owns each block: [H, W] integers 0..2^31-1 -> [ceil(H/16), ceil(W/16)] int64.

    "most": the label with most pixels in the block; of equals an object rather than the background (0), then
    the smaller label. "any": the same, but the background owns only blocks without any pixel of an object.
    Blocks at the edge count the pixels that are there.
    """
    return _owners(check_labels(labels), rule)


def blocks_without(labels: NDArray[Any], rule: Rule, void: int, per_block: bool) -> NDArray[np.int64]:
    """The same where one label, `void`, means that nobody knows: its pixels do not count, and a block in which nothing
    else lies goes to the owner of the nearest block that has one, counted in steps up, left, right and down; where
    several are equally near, in this order.

    Args:
        per_block: `labels` are one per block already.

    Raises:
        MaskError: nothing else than `void` occurs.
    """
    known = np.where(check_labels(labels) == void, -1, labels.astype(np.int64))
    owners = known if per_block else _owners(known.astype(np.int32), rule)
    if (owners < 0).all():
        raise MaskError(f"the label map holds nothing but label {void}, which is to be ignored")
    while (open_ := owners < 0).any():
        padded = np.pad(owners, 1, constant_values=-1)
        for around in (padded[:-2, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:], padded[2:, 1:-1]):
            owners = np.where(open_ & (owners < 0), around, owners)
    return owners


def _owners(labels: NDArray[Any], rule: Rule) -> NDArray[np.int64]:
    """Integers [H, W], of which -1 counts as no pixel."""
    if not isinstance(rule, str) or rule not in ("most", "any"):
        raise MaskError(f'the block rule is {rule!r}; it can be "most" or "any"')
    rows, columns = block_grid((labels.shape[1], labels.shape[0]))
    owners = np.empty((rows, columns), np.int64)
    area = BLOCK * BLOCK
    step = max(1, 2**20 // (area * columns))  # strips of about a megapixel bound the memory
    for top in range(0, rows, step):
        strip = labels[top * BLOCK : (top + step) * BLOCK].astype(np.int32)
        edges = ((0, -strip.shape[0] % BLOCK), (0, -strip.shape[1] % BLOCK))
        strip = np.pad(strip, edges, constant_values=-1)  # -1: no pixel
        tiles = strip.reshape(-1, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, area)
        winner = tiles.max(1)
        mixed = np.flatnonzero(tiles.min(1) != winner)
        ordered = np.sort(tiles[mixed], axis=1)
        start = np.ones(ordered.shape, bool)
        start[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        at = np.flatnonzero(start)
        label, count = ordered.ravel()[at], np.diff(at, append=ordered.size)
        # Runs are in ascending order of label, so argmax settles what is still equal for the smaller label.
        score = np.full(ordered.shape, -1, np.int32)
        background = 2 * count if rule == "most" else np.zeros_like(count)
        score.ravel()[at] = np.where(label > 0, 2 * count + 1, np.where(label == 0, background, -1))
        winner[mixed] = np.take_along_axis(ordered, score.argmax(1)[:, None], 1)[:, 0]
        owners[top : top + step] = winner.reshape(-1, columns)
    return owners


Rule = Literal["most", "any"]
