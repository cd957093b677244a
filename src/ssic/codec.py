"""Encode, decode, open: pixels and a group mask to one file, and back, group by group."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssic import format as container
from ssic.entropy.coder import LatentCoder
from ssic.entropy.fixedpoint import LATENT_BITS, Fixed
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.errors import (
    DamagedSegment,
    EncryptedSegment,
    FormatError,
    ImageError,
    InvalidInput,
    MaskError,
    ModelError,
    TruncatedFile,
)
from ssic.format import Bytes, DecodeLimits, FileBytes, GroupEntry, Head, Segment
from ssic.format.layout import default_order
from ssic.image import Picture, compose, crop_box, from_blocks, load_picture, pad_to_blocks, to_blocks
from ssic.mask import BLOCK, GroupMask, block_grid
from ssic.model.config import QUALITIES
from ssic.model.weights import Weights, find_by_id, find_weights, load_weights
from ssic.plan import Plan, make_plan

if TYPE_CHECKING:
    from ssic.model.runtime import Precision

Source = Picture | str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
MaskSource = GroupMask | str | os.PathLike[str] | Image.Image | NDArray[Any]
GroupNames = Iterable[str | int] | str | int
Progress = Callable[[str], None]
"""Called with the name of each stage as it begins: "analysis", "entropy", "synthesis"."""


class DamagedGroups(UserWarning):
    """Some groups could not be decoded and were left out; the others are whole."""


def _silent(stage: str) -> None:
    pass


@dataclass(frozen=True)
class Encoding:
    """A file, and what is known about how it came to be.

    Attributes:
        data: the file.
        hyper_bytes: by group, the bytes of its substream that serve the hyper-latent (to a byte).
        ideal_bits: code length of all symbols under the integer tables.
        latents: [N, M] as every decoder will have them, 6 fractional bits.
        hyper_latents: [P, Z], likewise.
    """

    data: bytes
    hyper_bytes: Mapping[int, int]
    ideal_bits: float
    latents: Fixed
    hyper_latents: Fixed


class Codec:
    """A model, ready to encode and decode. Make it once; it has no state and serves any number of pictures."""

    def __init__(self, weights: Weights, *, device: str = "cpu", precision: Precision = "auto") -> None:
        """
        Args:
            weights: from `ssic.model.weights.load_weights`.
            device: of the float networks, as torch names it.
            precision: of the float networks; moves some pixels by one level, and changes no byte's meaning.
        """
        # Here, because it imports torch, which takes seconds: heads, extract and merge do without.
        from ssic.model.runtime import Transforms

        self.model_id = weights.id
        self.config = weights.config
        self.transforms = Transforms(weights, device, precision)
        try:
            tables = Tables(weights.twin["tables.support"], weights.twin["tables.frequencies"])
            self.coder = LatentCoder(Twin(weights.config, weights.twin), tables)
        except (KeyError, ValueError, IndexError) as e:
            raise ModelError(f"the integer twin of model {weights.id.hex()} is incomplete: {e!r}") from e

    @classmethod
    def load(
        cls, model: str | Path = "small", *, device: str = "cpu", precision: Precision = "auto"
    ) -> Codec:
        """The codec of an installed model or of a weights file; the last few are kept in memory."""
        return _load_current(find_weights(model), device, precision)

    def encode(
        self,
        image: Source,
        mask: MaskSource | None = None,
        *,
        quality: int = 60,
        group_quality: Mapping[str | int, int] | None = None,
        order: Sequence[str | int] | None = None,
        progress: Progress = _silent,
    ) -> Encoding:
        """Encode a picture; arguments as in `ssic.encode`."""
        picture = image if isinstance(image, Picture) else load_picture(image)
        _check_limits(picture)
        groups = _as_mask(mask, picture.size)
        qualities = _qualities(groups, quality, group_quality)
        plan = make_plan(groups.ids)
        progress("analysis")
        blocks = to_blocks(pad_to_blocks(picture.pixels))[plan.block]
        y, z = self.transforms.analyse(blocks, plan, qualities)
        progress("entropy")
        coded = self.coder.encode(plan, qualities, y, z)
        segments = [
            Segment(
                id=g,
                name=groups.names[g],
                quality=qualities[g],
                payload=coded.substreams[g],
                class_name=groups.classes.get(g),
                score=groups.scores.get(g),
            )
            for g in groups.groups
        ]
        data = container.write_file(
            width=picture.size[0],
            height=picture.size[1],
            model_id=self.model_id,
            mask=groups.ids,
            segments=segments,
            chunks={container.ICC: picture.icc} if picture.icc else None,
            order=_whole_order(groups, order),
        )
        return Encoding(data, coded.hyper_bytes, coded.ideal_bits, coded.latents, coded.hyper_latents)

    def decode_latents(
        self, mask: NDArray[np.uint8], qualities: Mapping[int, int], segments: Mapping[int, bytes]
    ) -> tuple[Plan, Fixed, list[int]]:
        """Substreams -> latents of their groups' blocks, and the ids of groups that turned out damaged."""
        plan = make_plan(mask, np.isin(mask, list(segments)))
        latents, damaged = self.coder.decode(plan, qualities, segments)
        return plan, latents, damaged

    def decode_blocks(
        self,
        mask: NDArray[np.uint8],
        qualities: Mapping[int, int],
        segments: Mapping[int, bytes],
        progress: Progress = _silent,
    ) -> tuple[Plan, NDArray[np.uint8], list[int]]:
        """Substreams -> pixels [N, 4, 192] of their groups' blocks, and the ids of damaged groups."""
        progress("entropy")
        plan, latents, damaged = self.decode_latents(mask, qualities, segments)
        progress("synthesis")
        return plan, self.transforms.synthesise(latents / 2**LATENT_BITS, plan, qualities), damaged


def _load_current(path: Path, device: str, precision: Precision) -> Codec:
    state = path.stat()  # weights that are trained anew at the same place are other weights
    return _load(path.resolve(), device, precision, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _load(path: Path, device: str, precision: Precision, version: tuple[int, int]) -> Codec:
    return Codec(load_weights(path), device=device, precision=precision)


@dataclass(frozen=True)
class Decoded:
    """Pixels of the groups asked for.

    Attributes:
        pixels: [H, W, 3] uint8 of the whole picture, or of the box around the groups if it was cropped;
            meaningless where `present` is false.
        present: [H, W] bool.
        box: (left, top, right, bottom) of these pixels in the picture.
        damaged: names of groups that were asked for and could not be decoded.
    """

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    damaged: tuple[str, ...]


def _all_of(broken: Mapping[int, FormatError]) -> FormatError:
    """One error for several groups."""
    errors = list(broken.values())
    if len(errors) == 1:
        return errors[0]
    names = [name for e in errors if isinstance(e, DamagedSegment) for name in e.groups]
    text = f"{len(errors)} groups can't be decoded: {'; '.join(map(str, errors))}"
    return DamagedSegment(text, names) if names else type(errors[0])(text)


class SsicFile:
    """An opened file. The head is read and checked at once, segments when they are needed; immutable.

    Attributes:
        head: everything that the head says (`ssic.format.Head`).
        mask: the groups and their blocks.
    """

    def __init__(
        self, data: Bytes, *, model: str | Path | None = None, limits: DecodeLimits | None = None
    ) -> None:
        """
        Args:
            data: the file's bytes, or a `FileBytes`, of which only what is needed is read.
            model: weights file to decode with; by default the installed model that the file names.
            limits: bounds on what the head may ask for.

        Raises:
            FormatError: not an intact ssic file; see `ssic.errors`.
        """
        if not isinstance(data, (bytes, bytearray, memoryview, FileBytes)):
            raise InvalidInput(f"an ssic file is bytes, not {type(data).__name__}; ssic.open takes a path")
        self.head: Head = container.read_head(data, limits)
        self._data = data
        self._model = model
        self._limits = limits

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.head.width, self.head.height

    @property
    def groups(self) -> tuple[GroupEntry, ...]:
        """The groups, in ascending order of id."""
        return self.head.groups

    @property
    def icc(self) -> bytes | None:
        """ICC profile of the pixels."""
        return self.head.chunks.get(container.ICC)

    @cached_property
    def mask(self) -> GroupMask:
        """Which group owns each block, with names, classes and scores."""
        return GroupMask(
            self.head.mask,
            {g.id: g.name for g in self.groups},
            {g.id: g.class_name for g in self.groups if g.class_name is not None},
            {g.id: g.score for g in self.groups if g.score is not None},
        )

    def codec(self, *, device: str = "cpu", precision: Precision = "auto") -> Codec:
        """The codec that decodes this file.

        Raises:
            UnknownModel: the model that the file names is not installed.
            ModelError: the model given when opening is not the one that the file was made with.
        """
        path = find_weights(self._model) if self._model else find_by_id(self.head.model_id)
        codec = _load_current(path, device, precision)
        if codec.model_id != self.head.model_id:
            raise ModelError(
                f"{path} is model {codec.model_id.hex()}; the file needs {self.head.model_id.hex()}"
            )
        return codec

    def _segments(self, ids: Iterable[int]) -> tuple[dict[int, bytes], dict[int, FormatError]]:
        intact: dict[int, bytes] = {}
        broken: dict[int, FormatError] = {}
        for g in ids:
            try:
                if next(entry for entry in self.groups if entry.id == g).encrypted:
                    raise EncryptedSegment(
                        f'"{self.mask.names[g]}" is encrypted; this version can not open it'
                    )
                intact[g] = container.read_segment(self._data, self.head, g)
            except (DamagedSegment, EncryptedSegment, TruncatedFile) as e:
                broken[g] = e
        return intact, broken

    def decode_pixels(
        self,
        groups: GroupNames | None = None,
        *,
        crop: bool = False,
        strict: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        progress: Progress = _silent,
    ) -> Decoded:
        """Decode some groups, all by default, and say where their pixels are; arguments as in `ssic.decode`.

        Raises:
            UnknownGroup: the file has no such group.
            DamagedSegment, EncryptedSegment, TruncatedFile: not one of the groups can be decoded; or not all, if
                `strict`.
            UnknownModel: see `codec`.
        """
        wanted = self.mask.groups if groups is None else self.mask.resolve(groups)
        if not wanted:
            raise InvalidInput("no group was asked for: name one, or leave `groups` out for all")
        segments, broken = self._segments(wanted)
        if not segments:
            raise _all_of(broken)
        quality = {g.id: g.quality for g in self.groups}
        codec = self.codec(device=device, precision=precision)
        plan, pixels, damaged = codec.decode_blocks(self.head.mask, quality, segments, progress)
        for g in damaged:
            name = self.mask.names[g]
            broken[g] = DamagedSegment(f'the substream of "{name}" contradicts itself', [name])
        if broken and (strict or len(broken) == len(wanted)):
            raise _all_of(broken)

        shown = np.isin(self.head.mask, [g for g in segments if g not in damaged])
        left, top, right, bottom = crop_box(shown) if crop else (0, 0, *shown.shape[::-1])
        rows, columns = bottom - top, right - left
        row, column = np.divmod(plan.block, shown.shape[1])
        inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
        blocks = np.zeros((rows * columns, *pixels.shape[1:]), np.uint8)
        blocks[((row - top) * columns + column - left)[inside]] = pixels[inside]
        width, height = (min(BLOCK * end, size) for end, size in zip((right, bottom), self.size, strict=True))
        cut = slice(height - BLOCK * top), slice(width - BLOCK * left)
        present = shown[top:bottom, left:right].repeat(BLOCK, 0).repeat(BLOCK, 1)
        return Decoded(
            pixels=from_blocks(blocks, rows, columns)[cut],
            present=present[cut],
            box=(BLOCK * left, BLOCK * top, width, height),
            damaged=tuple(self.mask.names[g] for g in sorted(broken)),
        )

    def decode(
        self,
        groups: GroupNames | None = None,
        *,
        fill: str = "black",
        crop: bool = False,
        strict: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        progress: Progress = _silent,
        _stacklevel: int = 2,
    ) -> NDArray[np.uint8]:
        """Decode some groups, all by default, into a picture; arguments and result as in `ssic.decode`."""
        # A fill that can't be used is refused before the work, not after it.
        compose(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.bool_), fill)
        decoded = self.decode_pixels(
            groups, crop=crop, strict=strict, device=device, precision=precision, progress=progress
        )
        if decoded.damaged:
            text = f"could not be decoded and is left out: {', '.join(decoded.damaged)}"
            warnings.warn(text, DamagedGroups, stacklevel=_stacklevel)
        return compose(decoded.pixels, decoded.present, fill)

    def extract(self, groups: GroupNames) -> bytes:
        """A file with these groups only, their bytes unchanged. Runs no model."""
        return container.extract(self._data, self.mask.resolve(groups), self._limits)

    def damaged(self) -> list[str]:
        """Names of the groups whose segments are damaged or missing. Runs no model."""
        return [g.name for g in container.check(self._data, self.head)]

    def info(self) -> dict[str, Any]:
        """What `ssic info --json` prints. Runs no model."""
        return {
            "format": self.head.version,
            "model": self.head.model_id.hex(),
            "width": self.head.width,
            "height": self.head.height,
            "file_bytes": self.head.file_bytes,
            "head_bytes": self.head.head_bytes,
            "mask_bytes": self.head.mask_bytes,
            "groups": [
                {
                    "id": g.id,
                    "name": g.name,
                    "class": g.class_name,
                    "score": g.score,
                    "quality": g.quality,
                    "blocks": g.blocks,
                    "offset": g.offset,
                    "bytes": g.length,
                    "encrypted": g.encrypted,
                }
                for g in self.groups
            ],
        }


def open(
    path: str | os.PathLike[str], *, model: str | Path | None = None, limits: DecodeLimits | None = None
) -> SsicFile:
    """Open a file: reads its head, and later the segments that are asked for.

    Raises:
        OSError: the file can't be read.
        FormatError: it is not an intact ssic file.
    """
    return SsicFile(FileBytes(path), model=model, limits=limits)


def encode(
    image: Source,
    mask: MaskSource | None = None,
    *,
    quality: int = 60,
    group_quality: Mapping[str | int, int] | None = None,
    order: Sequence[str | int] | None = None,
    model: str | Path = "small",
    device: str = "cpu",
    progress: Progress = _silent,
) -> bytes:
    """Encode a picture as a file of independent groups.

    Args:
        image: path, encoded bytes, Pillow image, `ssic.image.Picture`, or array [H, W, 3] or [H, W] uint8.
        mask: a `GroupMask`; or a label map (path, Pillow image, integer array), one label per pixel or per
            16x16 block; None makes one group of the whole picture.
        quality: 1 to 100, higher is better.
        group_quality: exceptions, by group name, class or id.
        order: groups whose segments shall lie first, in this order; the others follow as by default, smallest
            first, background last.
        model: preset that comes with the package, or path of a weights file.
        device: of the float networks, as torch names it ("cpu", "cuda").
        progress: called with the name of each stage as it begins.

    Returns:
        the file.

    Raises:
        ImageError: the picture can't be coded as it is.
        MaskError: the mask is unusable; among others, groups without a block.
        UnknownGroup: `group_quality` or `order` names a group that the mask doesn't have.
        InvalidInput: a quality is not an integer from 1 to 100.
        ModelError: there is no such model.
    """
    codec = Codec.load(model, device=device)
    return codec.encode(
        image, mask, quality=quality, group_quality=group_quality, order=order, progress=progress
    ).data


def decode(
    data: bytes,
    groups: GroupNames | None = None,
    *,
    fill: str = "black",
    crop: bool = False,
    strict: bool = False,
    model: str | Path | None = None,
    device: str = "cpu",
    limits: DecodeLimits | None = None,
    progress: Progress = _silent,
) -> NDArray[np.uint8]:
    """Decode a file, or only some of its groups.

    The work grows with the area of the groups, not with the picture, and with `crop` so does the result.

    Args:
        data: the file's bytes.
        groups: names, classes or ids; all by default.
        fill: what stands where no decoded group is: "black", "mean", "transparent" or "#rrggbb".
        crop: cut the result to the box around the decoded groups.
        strict: raise if any of the groups can't be decoded, rather than warn and leave it out.
        model: weights file; by default the installed model that the file names.
        device: of the float networks, as torch names it.
        limits: bounds on what a hostile head may ask for.
        progress: called with the name of each stage as it begins.

    Returns:
        [H, W, 3] uint8, or [H, W, 4] if the fill is transparent.

    Raises:
        FormatError: not an intact ssic file; `DamagedSegment`, `EncryptedSegment` or `TruncatedFile` if no group
            could be decoded. If some could, the others are filled, and a `DamagedGroups` warning names them
            (programs ask `SsicFile.decode_pixels` or `SsicFile.damaged`).
        ImageError: there is no such fill.
        UnknownGroup: the file has no such group.
        UnknownModel: the file was made with a model that is not installed.
        ModelError: `model` is not the one that the file was made with.
    """
    opened = SsicFile(data, model=model, limits=limits)
    return opened.decode(
        groups, fill=fill, crop=crop, strict=strict, device=device, progress=progress, _stacklevel=3
    )


def merge(files: Sequence[Bytes], limits: DecodeLimits | None = None) -> bytes:
    """One file with the groups of several, of the same picture size and model. Runs no model; see
    `ssic.format.merge`."""
    return container.merge(files, limits)


def _check_limits(picture: Picture) -> None:
    """What readers refuse by default shall not be written."""
    rows, columns = block_grid(picture.size)
    limits = DecodeLimits()
    if rows * columns * BLOCK**2 > limits.max_pixels:
        raise ImageError(
            f"the picture has {picture.size[0]}x{picture.size[1]} pixels; readers take at most "
            f"{limits.max_pixels:,} by default: cut it up, or shrink it"
        )
    if picture.icc and len(picture.icc) > limits.max_head_bytes // 2:
        raise ImageError(
            f"the ICC profile has {len(picture.icc):,} bytes, more than the {limits.max_head_bytes // 2:,} that a "
            "file may carry: convert the picture to sRGB, or strip the profile"
        )


def _as_mask(mask: MaskSource | None, size: tuple[int, int]) -> GroupMask:
    if mask is None:
        return GroupMask.single(size)
    if not isinstance(mask, GroupMask):
        return GroupMask.from_label_map(mask, size)
    if mask.ids.shape != block_grid(size):
        rows, columns = block_grid(size)
        raise MaskError(
            f"the mask has {mask.ids.shape[1]}x{mask.ids.shape[0]} blocks; a picture of {size[0]}x{size[1]} "
            f"pixels has {columns}x{rows}"
        )
    return mask


def _qualities(mask: GroupMask, quality: int, exceptions: Mapping[str | int, int] | None) -> dict[int, int]:
    result = {g: _check_quality(quality) for g in mask.groups}
    for name, value in (exceptions or {}).items():
        for g in mask.resolve(name):
            result[g] = _check_quality(value)
    return result


def _whole_order(mask: GroupMask, first: Sequence[str | int] | None) -> list[int] | None:
    """All ids: those asked for, then the others as they would lie anyway. None if nothing was asked for."""
    if first is None:
        return None
    chosen = mask.resolve(first)
    others = [g for g in mask.groups if g not in chosen]
    return chosen + [others[i] for i in default_order([mask.blocks(g) for g in others], others)]


def _check_quality(quality: int) -> int:
    if (
        isinstance(quality, bool)
        or not isinstance(quality, (int, np.integer))
        or not 1 <= quality <= QUALITIES
    ):
        raise InvalidInput(f"quality is an integer from 1 to {QUALITIES}, not {quality!r}")
    return int(quality)
