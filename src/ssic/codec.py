"""A model at work: pixels and a group mask to one file, and substreams back to pixels. Knows no paths and no readers:
`ssic.file` opens files and decodes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssic import format as container
from ssic.arguments import as_mapping, type_name
from ssic.blocks import BLOCK, block_grid, inside_blocks, pad_to_blocks, to_blocks
from ssic.engine.base import Engine, find_engine
from ssic.engine.effort import SCHEDULES, Clock, Stopped, as_stopped, check_effort, find_refiner, never
from ssic.engine.task import Refiner, Task
from ssic.engine.threads import one_blas_thread
from ssic.entropy.coder import Encoded, LatentCoder
from ssic.entropy.fixedpoint import LATENT_BITS, Fixed
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.errors import (
    ImageError,
    InvalidInput,
    MaskError,
)
from ssic.format import DecodeLimits, Segment
from ssic.format.layout import whole_order
from ssic.groups.mask import GroupMask, MaskSource
from ssic.model.config import QUALITIES
from ssic.model.weights import Weights, find_weights, load_weights
from ssic.pictures.read import ImageSource, Picture, load_picture
from ssic.plan import Plan, make_plan

if TYPE_CHECKING:
    from ssic.rate.targets import Target, Targeted

DEFAULT_MODEL = "small"
DEFAULT_QUALITY = 60

Progress = Callable[[str], None]
"""Called with the name of each stage as it begins: "analysis", "entropy", "synthesis"; while latents are refined,
once a second with how much is done and how long the rest takes."""


def silent(stage: str) -> None:
    pass


def as_progress(given: Progress | None) -> Progress:
    """What to call; nothing for None (`InvalidInput` if it can't be called)."""
    if given is not None and not callable(given):
        raise InvalidInput(f"progress is a function of a stage's name, not {type_name(given)}")
    return given or silent


@dataclass(frozen=True, eq=False)
class Encoding:
    """A file, and what is known about how it came to be.

    Attributes:
        data: the file.
        hyper_bytes: by group, the bytes of its substream that serve the hyper-latent (to a byte).
        ideal_bits: code length of all symbols under the integer tables.
        latents: [N, M] as every decoder will have them, 6 fractional bits.
        hyper_latents: [P, Z], likewise.
    """

    data: bytes = field(repr=False)
    hyper_bytes: Mapping[int, int]
    ideal_bits: float
    latents: Fixed = field(repr=False)
    hyper_latents: Fixed = field(repr=False)


class Codec:
    """A model, ready to encode and decode. Make it once; it has no state and serves any number of pictures.

    Attributes:
        model_id: what files name the model by.
        config: shape of its networks.
        engine: what runs them.
    """

    def __init__(self, weights: Weights, *, engine: str | Engine = "auto") -> None:
        """
        Args:
            weights: from `ssic.model.weights.load_weights`.
            engine: what runs the float networks: "auto", "onnx", "torch", "torch:cuda", or an engine with these
                weights. It moves some pixels by one level, and changes no byte's meaning.

        Raises:
            EngineError: the engine is not installed, or its device is not there.
        """
        self.model_id = weights.id
        self.config = weights.config
        self.engine = find_engine(engine, weights)
        self.coder = LatentCoder(
            Twin(weights.config, weights.twin),
            Tables(weights.twin["tables.support"], weights.twin["tables.frequencies"]),
        )
        self._weights = weights

    def __reduce__(self) -> Any:
        return _again, (self._weights, self.engine)

    def __repr__(self) -> str:
        return f"<Codec {self.config.name} {self.model_id.hex()} on {self.engine.name}>"

    @classmethod
    def load(cls, model: str | Path | None = None, *, engine: str | Engine = "auto") -> Codec:
        """The codec of an installed model ("small") or of a weights file; the last few are kept in memory."""
        return load_current(find_weights(DEFAULT_MODEL if model is None else model), engine)

    def encode(
        self,
        image: ImageSource,
        mask: MaskSource | None = None,
        *,
        quality: int | None = None,
        group_quality: Mapping[str | int, int] | None = None,
        order: Sequence[str | int] | None = None,
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
    ) -> Encoding:
        """Encode a picture; arguments as in `ssic.encode`."""
        effort, stopped = check_effort(effort), as_stopped(stopped)
        progress, quality = as_progress(progress), DEFAULT_QUALITY if quality is None else quality
        group_quality = as_mapping(group_quality, "group_quality")
        picture, groups = _prepared(image, mask)
        qualities = _qualities(groups, quality, group_quality)
        blocks = to_blocks(pad_to_blocks(picture.pixels))
        inside = inside_blocks(picture.size)
        _, coded = self.code(blocks, groups.ids, qualities, progress, inside, effort, stopped)
        data = self.assemble(picture, groups, qualities, coded.substreams, _whole_order(groups, order))
        return Encoding(data, coded.hyper_bytes, coded.ideal_bits, coded.latents, coded.hyper_latents)

    def encode_to(
        self,
        image: ImageSource,
        mask: MaskSource | None = None,
        *,
        target: Target | str | None = None,
        group_targets: Mapping[str | int, Target | str] | None = None,
        quality: int | None = None,
        group_quality: Mapping[str | int, int] | None = None,
        order: Sequence[str | int] | None = None,
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
    ) -> Targeted:
        """Encode a picture at the qualities that meet targets, and tell which they are; arguments as in
        `ssic.encode`. The file is the one that `encode` makes with these as `group_quality`."""
        from ssic.rate.targets import Target, encode_to

        if target is not None and quality is not None:
            raise InvalidInput("target and quality exclude each other: each settles the quality of the file")
        effort, stopped = check_effort(effort), as_stopped(stopped)
        progress, quality = as_progress(progress), DEFAULT_QUALITY if quality is None else quality
        group_quality = as_mapping(group_quality, "group_quality")
        target = None if target is None else Target.of(target)
        group_targets = {
            name: Target.of(value) for name, value in as_mapping(group_targets, "group_targets").items()
        }
        picture, groups = _prepared(image, mask)
        fixed = _qualities(groups, quality, group_quality)
        if target is not None:  # `quality` is what is sought
            named = [g for name in (group_quality or {}) for g in groups.resolve(name)]
            fixed = {g: q for g, q in fixed.items() if g in named}
        whole_order = _whole_order(groups, order)
        return encode_to(
            self, picture, groups, fixed, target, group_targets, whole_order, progress, effort, stopped
        )

    def code(
        self,
        blocks: NDArray[np.uint8],
        ids: NDArray[np.uint8],
        qualities: Mapping[int, int],
        progress: Progress = silent,
        inside: NDArray[np.bool_] | None = None,
        effort: int = 1,
        stopped: Stopped = never,
    ) -> tuple[Plan, Encoded]:
        """Substreams of the groups that `qualities` names, and of no others.

        Args:
            blocks: [h w, 4, 192] of the whole picture, as `ssic.pictures.read.to_blocks` gives them.
            ids: [h, w] group of each block.
            inside: [h w, 4, 192] which values are the picture's own, as `inside_blocks` tells; all by default.
            effort: 1 to 9; above 1 latents are refined.
            stopped: ask whether to leave it at what is reached.

        Raises:
            EngineError: an effort above 1 without torch.
        """
        plan = make_plan(ids, np.isin(ids, list(qualities)))
        refiner = self._refiner if effort > 1 else None  # first: it may be missing
        progress("analysis")
        y, z = self.engine.analyse(blocks[plan.block], plan, qualities)
        if refiner is not None:
            clock = Clock(SCHEDULES[effort].iterations * len(plan), progress)

            def step(done: int) -> bool:
                clock.advance(done)
                return not stopped()

            for g in np.unique(plan.group).tolist():
                if stopped():
                    break
                # A plan of its own: what is found can't depend on other groups.
                alone, own, pairs = make_plan(ids, ids == g), plan.group == g, plan.pair_group == g
                there = np.ones((len(alone), 1, 1), np.bool_) if inside is None else inside[alone.block]
                task = Task(alone, qualities[g], blocks[alone.block], there, y[own], z[pairs])
                refined = refiner.refine(task, SCHEDULES[effort], step=step)
                y[own], z[pairs] = refined.y, refined.z
        progress("entropy")
        with one_blas_thread():
            return plan, self.coder.encode(plan, qualities, y, z)

    @cached_property
    def _refiner(self) -> Refiner:
        return find_refiner(self._weights, self.coder, self.engine)

    def assemble(
        self,
        picture: Picture,
        groups: GroupMask,
        qualities: Mapping[int, int],
        substreams: Mapping[int, bytes],
        order: Sequence[int],
    ) -> bytes:
        """The file that holds these substreams, one for each group."""
        segments = [
            Segment(
                id=g,
                name=groups.names[g],
                quality=qualities[g],
                payload=substreams[g],
                class_name=groups.classes.get(g),
                score=groups.scores.get(g),
            )
            for g in groups.groups
        ]
        return container.write_file(
            width=picture.size[0],
            height=picture.size[1],
            model_id=self.model_id,
            mask=groups.ids,
            segments=segments,
            chunks={container.ICC: picture.icc} if picture.icc else None,
            order=order,
        )

    def decode_latents(
        self, mask: NDArray[np.uint8], qualities: Mapping[int, int], segments: Mapping[int, bytes]
    ) -> tuple[Plan, Fixed, list[int]]:
        """Substreams -> latents of their groups' blocks, and the ids of groups that turned out damaged."""
        plan = make_plan(mask, np.isin(mask, list(segments)))
        with one_blas_thread():
            latents, damaged = self.coder.decode(plan, qualities, segments)
        return plan, latents, damaged

    def decode_blocks(
        self,
        mask: NDArray[np.uint8],
        qualities: Mapping[int, int],
        segments: Mapping[int, bytes],
        progress: Progress = silent,
    ) -> tuple[Plan, NDArray[np.uint8], list[int]]:
        """Substreams -> pixels [N, 4, 192] of their groups' blocks, and the ids of damaged groups."""
        progress("entropy")
        plan, latents, damaged = self.decode_latents(mask, qualities, segments)
        progress("synthesis")
        return plan, self.engine.synthesise(latents / 2**LATENT_BITS, plan, qualities), damaged


def _again(weights: Weights, engine: Engine) -> Codec:
    """A codec that was pickled."""
    return Codec(weights, engine=engine)


def load_current(path: Path, engine: str | Engine) -> Codec:
    state = path.stat()  # weights that are trained anew at the same place are other weights
    version = (state.st_mtime_ns, state.st_size)
    if isinstance(engine, str):
        return _load(path.resolve(), engine, version)
    return Codec(_weights(path.resolve(), version), engine=engine)


@lru_cache(maxsize=4)
def _load(path: Path, engine: str, version: tuple[int, int]) -> Codec:
    return Codec(_weights(path, version), engine=engine)


@lru_cache(maxsize=4)
def _weights(path: Path, version: tuple[int, int]) -> Weights:
    return load_weights(path)


def encode(
    image: ImageSource,
    mask: MaskSource | None = None,
    *,
    quality: int | None = None,
    group_quality: Mapping[str | int, int] | None = None,
    order: Sequence[str | int] | None = None,
    target: Target | str | None = None,
    group_targets: Mapping[str | int, Target | str] | None = None,
    model: str | Path | None = None,
    engine: str | Engine = "auto",
    effort: int = 1,
    progress: Progress | None = None,
    stopped: Stopped | None = None,
) -> bytes:
    """Encode a picture as a file of independent groups.

    Args:
        image: path, encoded bytes, open binary file, Pillow image, `ssic.pictures.read.Picture`, or array
            [H, W, 3] or [H, W] uint8.
        mask: a `GroupMask`; or a label map (path, Pillow image, integer array), one label per pixel or per
            16x16 block; None makes one group of the whole picture.
        quality: 1 to 100, higher is better; 60 by default. Not together with `target`.
        group_quality: exceptions, by group name, class or id, in any order: a name or id goes before a class.
        order: groups whose segments shall lie first, in this order; the others follow as by default, smallest
            first, background last.
        target: what the file shall come to, instead of `quality`: "bytes:20000" or "bpp:0.5" at most, or "psnr:35"
            at least (`ssic.Target`). Groups in `group_quality` or `group_targets` are left as those say.
        group_targets: the same for single groups, named as in `group_quality`: bytes and bits of the segment, PSNR
            of the group's pixels.
        model: preset that comes with the package, "small" by default, or path of a weights file.
        engine: what runs the float networks: "auto", "onnx", "torch", "torch:cuda", or an engine.
        effort: 1 to 9: how long to look for fewer bytes at the same distortion (docs/effort.md). Needs torch above 1.
        progress: called with the name of each stage as it begins, and while latents are refined with the time left.
        stopped: asked often while latents are refined: once it returns True, the best so far is taken.

    Returns:
        the file.

    Raises:
        ImageError: the picture can't be coded as it is.
        MaskError: the mask is unusable; among others, groups without a block.
        UnknownGroup: `group_quality` or `order` names a group that the mask doesn't have.
        InvalidInput: a quality is not an integer from 1 to 100, a target is none, both are given for the file, or a
            group is given two different ones, by name and by id, say.
        UnreachableTarget: no quality meets a target; the message says what is reachable.
        ModelError: there is no such model.
        EngineError: the engine is not installed, or its device is not there.
    """
    codec = Codec.load(model, engine=engine)
    group_targets = as_mapping(group_targets, "group_targets")
    if target is not None or group_targets:
        return codec.encode_to(
            image,
            mask,
            target=target,
            group_targets=group_targets,
            quality=quality,
            group_quality=group_quality,
            order=order,
            effort=effort,
            progress=progress,
            stopped=stopped,
        ).data
    return codec.encode(
        image,
        mask,
        quality=quality,
        group_quality=group_quality,
        order=order,
        effort=effort,
        progress=progress,
        stopped=stopped,
    ).data


def _prepared(image: ImageSource, mask: MaskSource | None) -> tuple[Picture, GroupMask]:
    picture = load_picture(image)
    _check_limits(picture)
    return picture, _as_mask(mask, picture.size)


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
    result = {g: check_quality(quality) for g in mask.groups}
    for g, value in mask.assign(exceptions or {}, "group_quality").items():
        result[g] = check_quality(value)
    return result


def _whole_order(mask: GroupMask, first: Sequence[str | int] | None) -> list[int]:
    """All ids: those asked for, then the others as they would lie anyway."""
    return whole_order({g: mask.blocks(g) for g in mask.groups}, mask.resolve(() if first is None else first))


def check_quality(quality: int) -> int:
    """
    Raises:
        InvalidInput: it is not an integer from 1 to 100.
    """
    if (
        isinstance(quality, bool)
        or not isinstance(quality, (int, np.integer))
        or not 1 <= quality <= QUALITIES
    ):
        raise InvalidInput(f"quality is an integer from 1 to {QUALITIES}, not {quality!r}")
    return int(quality)
