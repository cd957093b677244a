"""A model at work: pixels and a group mask to one file, and substreams back to pixels. Knows no paths and no readers:
`ssic.opening` opens files, `ssic.file` decodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import as_mapping, is_whole, whole_from_one
from ssic.blocks import BLOCK, SCALES, Size, block_grid, cut_blocks, inside_blocks, sizes_inside
from ssic.engine.base import Engine, find_engine
from ssic.engine.effort import SCHEDULES, Stopped, as_stopped, check_effort, find_refiner, never
from ssic.engine.refine import refine_groups
from ssic.engine.task import Refiner, Task
from ssic.engine.threads import one_blas_thread
from ssic.entropy.coder import LatentCoder, Substreams
from ssic.entropy.fixedpoint import Latents, as_floats
from ssic.entropy.tables import Tables
from ssic.entropy.twin import Twin
from ssic.errors import ImageError, InvalidInput, MaskError
from ssic.format import default_limits
from ssic.format.layout import whole_order
from ssic.format.limits import encoding_memory, spoken_bytes
from ssic.groups.mask import GroupMask, MaskSource
from ssic.model.config import QUALITIES
from ssic.model.reduced import Reduction
from ssic.model.weights import DEFAULT_MODEL, Weights, find_weights, load_weights
from ssic.picture_coder import PictureCoder
from ssic.pictures.read import ImageSource, Picture, load_picture
from ssic.plan import Plan, make_plan
from ssic.progress import Progress, as_progress, shares, silent
from ssic.rate.targets import Target, meet_targets
from ssic.storage.atomic import write_whole

DEFAULT_QUALITY = 60


@dataclass(frozen=True, eq=False)
class Encoding:
    """A file, and what is known about how it came to be. `bytes(encoding)` is the file.

    Attributes:
        data: the file.
        qualities: of each group, by id: those given, or those that met the targets.
        names: of each group, by id.
        reached: what the target of the file came to, in its own unit (bytes, bits per pixel, dB); None without one.
        groups_reached: the same for the targets of groups, by id.
        passes: runs of the encoder, each over some or all groups; 1 without targets.
        encodes: the same in encodes of the whole picture, by the number of blocks coded.
        hyper_bytes: by group, the bytes of its substream that serve the hyper-latent (to a byte).
        ideal_bits: code length of all symbols under the integer tables; None where targets were met, as groups are
            then coded apart.
        latents: [N, M] int32 as every decoder will have them, 6 fractional bits; None if they were not asked for.
        hyper_latents: [P, Z], likewise.
    """

    data: bytes = field(repr=False)
    qualities: Mapping[int, int]
    names: Mapping[int, str]
    reached: float | None
    groups_reached: Mapping[int, float]
    passes: int
    encodes: float
    hyper_bytes: Mapping[int, int]
    ideal_bits: float | None = None
    latents: Latents | None = field(default=None, repr=False)
    hyper_latents: Latents | None = field(default=None, repr=False)

    @property
    def qualities_by_name(self) -> dict[str, int]:
        """`qualities`, by name."""
        return {self.names[g]: q for g, q in self.qualities.items()}

    def __bytes__(self) -> bytes:
        return self.data

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_whole(path, self.data)


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
            weights.step_worth,
        )
        self._weights = weights

    def __reduce__(self) -> Any:
        return _again, (self._weights, self.engine)

    def __repr__(self) -> str:
        return f"<Codec {self.config.name} {self.model_id.hex()} on {self.engine.name}>"

    @classmethod
    def load(cls, model: str | Path | None = None, *, engine: str | Engine = "auto") -> Codec:
        """The codec of an installed model ("base", "small") or of a weights file; the last few are kept in memory."""
        return load_current(find_weights(DEFAULT_MODEL if model is None else model), engine)

    def encode(
        self,
        image: ImageSource,
        mask: MaskSource | None = None,
        *,
        quality: int | None = None,
        group_quality: Mapping[str | int, int] | None = None,
        order: Sequence[str | int] | None = None,
        target: Target | str | None = None,
        group_targets: Mapping[str | int, Target | str] | None = None,
        effort: int = 1,
        progress: Progress | None = None,
        stopped: Stopped | None = None,
        latents: bool = False,
    ) -> Encoding:
        """Encode a picture; arguments as in `ssic.encode`, errors too.

        With targets the file is the one that the qualities found give as `group_quality`, to the byte.

        Args:
            latents: keep the latents in the result, which takes 5 bytes a pixel. Not together with targets, for which
                groups are coded apart.
        """
        if target is not None and quality is not None:
            raise InvalidInput("target and quality exclude each other: each settles the quality of the file")
        effort, stopped = check_effort(effort), as_stopped(stopped)
        progress, quality = as_progress(progress), DEFAULT_QUALITY if quality is None else quality
        group_quality = as_mapping(group_quality, "group_quality")
        target = None if target is None else Target.of(target)
        aims = {name: Target.of(t) for name, t in as_mapping(group_targets, "group_targets").items()}
        if latents and (target is not None or aims):
            raise InvalidInput("latents can't be kept where targets are met: groups are then coded apart")
        picture = load_picture(image)
        check_limits(picture)
        groups = _as_mask(mask, picture.size)
        fixed = _qualities(groups, quality, group_quality)
        if target is not None:  # `quality` is what is sought
            named = [g for name in group_quality for g in groups.resolve(name)]
            fixed = {g: q for g, q in fixed.items() if g in named}
        coder = PictureCoder(self, picture, groups, _whole_order(groups, order), progress, effort, stopped)
        if target is None and not aims:
            _, coded = coder.encode(fixed, latents=latents)
            return Encoding(
                data=coder.assemble(fixed, coded.by_group),
                qualities=fixed,
                names=dict(groups.names),
                reached=None,
                groups_reached={},
                passes=1,
                encodes=1.0,
                hyper_bytes=coded.hyper_bytes,
                ideal_bits=coded.ideal_bits,
                latents=coded.latents if latents else None,
                hyper_latents=coded.hyper_latents if latents else None,
            )
        met = meet_targets(coder, groups, picture.size, fixed, target, aims, coder.order, coder.quick())
        return Encoding(
            data=met.data,
            qualities=met.qualities,
            names=dict(groups.names),
            reached=met.reached,
            groups_reached=met.groups_reached,
            passes=met.passes,
            encodes=met.encodes,
            hyper_bytes={g: coder.hyper_bytes[g, q] for g, q in met.qualities.items()},
        )

    def encode_groups(
        self,
        pixels: NDArray[np.uint8],
        ids: NDArray[np.uint8],
        qualities: Mapping[int, int],
        progress: Progress = silent,
        effort: int = 1,
        stopped: Stopped = never,
        *,
        latents: bool = False,
    ) -> tuple[Plan, Substreams]:
        """Substreams of the groups that `qualities` names, and of no others.

        Args:
            pixels: [H, W, 3] of the whole picture; only those of these groups are looked at.
            ids: [h, w] group of each block.
            qualities: 1 to 100, by id.
            effort: 1 to 9; above 1 latents are refined.
            stopped: asked whether to leave it at what is reached.
            latents: whether to keep the latents that decoders will have.

        Raises:
            EngineError: an effort above 1 without torch.
        """
        plan = make_plan(ids, np.isin(ids, list(qualities)))
        refiner = self._refiner if effort > 1 else None  # first: it may be missing
        progress("analysis")
        y, z = self.engine.analyse(
            cut_blocks(pixels, plan.block), plan, qualities, shares(progress, "analysis")
        )
        if refiner is not None:

            def task_of(g: int) -> Task:
                # A plan of its own: what is found can't depend on other groups.
                alone = make_plan(ids, ids == g)
                blocks = cut_blocks(pixels, alone.block)
                inside = inside_blocks((pixels.shape[1], pixels.shape[0]), alone.block)
                return Task(alone, qualities[g], blocks, inside, y[plan.group == g], z[plan.pair_group == g])

            groups, counts = np.unique(plan.group, return_counts=True)
            found = refine_groups(
                refiner,
                dict(zip(groups.tolist(), counts.tolist(), strict=True)),
                task_of,
                SCHEDULES[effort],
                threads=self.engine.threads,
                progress=progress,
                stopped=stopped,
            )
            for g, refined in found.items():
                y[plan.group == g], z[plan.pair_group == g] = refined.y, refined.z
        progress("entropy")
        with one_blas_thread():
            return plan, self.coder.encode(
                plan,
                qualities,
                y,
                z,
                latents=latents,
                threads=self.engine.threads,
                reached=shares(progress, "entropy"),
            )

    @cached_property
    def _refiner(self) -> Refiner:
        return find_refiner(self._weights, self.coder, self.engine)

    def decode_latents(
        self,
        mask: NDArray[np.uint8],
        qualities: Mapping[int, int],
        segments: Mapping[int, bytes],
        slices: int | None = None,
        progress: Progress = silent,
    ) -> tuple[Plan, Latents, list[int]]:
        """Substreams -> latents of their groups' blocks, of the first slices or of all, and the ids of groups that
        turned out damaged."""
        plan = make_plan(mask, np.isin(mask, list(segments)))
        with one_blas_thread():
            latents, damaged = self.coder.decode(
                plan,
                qualities,
                segments,
                slices=slices,
                threads=self.engine.threads,
                reached=shares(progress, "entropy"),
            )
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
        plan, latents, damaged = self.decode_latents(mask, qualities, segments, progress=progress)
        progress("synthesis")
        reached = shares(progress, "synthesis")
        return plan, self.engine.synthesise(as_floats(latents), plan, qualities, reached), damaged

    def decode_reduced(
        self,
        size: Size,
        mask: NDArray[np.uint8],
        qualities: Mapping[int, int],
        segments: Mapping[int, bytes],
        scale: int,
        progress: Progress = silent,
    ) -> tuple[Plan, NDArray[np.uint8], list[int]]:
        """Substreams -> pixels [N, s, s, 3] of their groups' blocks at 1/scale of the resolution (4, 8 or 16; s = 16 /
        scale), and the ids of damaged groups. Runs no engine, and decodes the first slices only.

        Args:
            size: (width, height) of the picture in full.
        """
        progress("entropy")
        reduction = Reduction(self.config, self._weights.floats, scale)
        plan, latents, damaged = self.decode_latents(mask, qualities, segments, reduction.slices, progress)
        progress("synthesis")
        values, inside = as_floats(latents).astype(np.float64), sizes_inside(size, plan.block)
        with one_blas_thread():
            return plan, reduction.pixels(values, plan.of_blocks(qualities), inside), damaged


def _again(weights: Weights, engine: Engine) -> Codec:
    """A codec that was pickled."""
    return Codec(weights, engine=engine)


def load_current(path: Path, engine: str | Engine) -> Codec:
    if isinstance(engine, str):
        return _load(path.resolve(), engine, _version(path))
    return Codec(current_weights(path), engine=engine)


def current_weights(path: Path) -> Weights:
    """The weights in a file as it is now; the last few are kept in memory."""
    return _weights(path.resolve(), _version(path))


def _version(path: Path) -> tuple[int, int]:
    state = path.stat()  # weights that are trained anew at the same place are other weights
    return state.st_mtime_ns, state.st_size


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

    `ssic.open` and `ssic.decode` take the bytes as they are. `Codec.encode` tells what else there is to know of them.

    Args:
        image: path, encoded bytes, open binary file, Pillow image, `ssic.Picture`, or array [H, W, 3] or [H, W]
            uint8, of NumPy or of PyTorch, say.
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
        model: preset that comes with the package, "base" by default, or path of a weights file.
        engine: what runs the float networks: "auto", "onnx", "torch", "torch:cuda", or an engine.
        effort: 1 to 9: how long to look for fewer bytes at the same distortion (docs/effort.md). Above 1 it needs
            torch.
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
    return (
        Codec.load(model, engine=engine)
        .encode(
            image,
            mask,
            quality=quality,
            group_quality=group_quality,
            order=order,
            target=target,
            group_targets=group_targets,
            effort=effort,
            progress=progress,
            stopped=stopped,
        )
        .data
    )


def check_limits(picture: Picture) -> None:
    """Refuses what this process would not read again (`ImageError`): by default what readers refuse by default. So it
    does what would take more memory than it allows."""
    rows, columns = block_grid(picture.size)
    limits = default_limits()
    if rows * columns * BLOCK**2 > limits.max_pixels:
        raise ImageError(
            f"the picture has {picture.size[0]}x{picture.size[1]} pixels; at most {limits.max_pixels:,} are taken "
            "here, in whole blocks: cut it up, shrink it, or allow more, here and where the file is read "
            "(ssic.set_default_limits, --max-pixels)"
        )
    need = encoding_memory(*picture.size)
    if need > limits.max_memory:
        raise ImageError(
            f"encoding {picture.size[0]}x{picture.size[1]} pixels takes about {spoken_bytes(need)}; the limit is "
            f"{spoken_bytes(limits.max_memory)}: cut the picture up, shrink it, or allow more "
            "(ssic.set_default_limits, --memory)"
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
        return GroupMask.from_any(mask, size)
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


def check_scale(scale: int) -> int:
    """
    Raises:
        InvalidInput: it is none of `SCALES`.
    """
    if not is_whole(scale) or scale not in SCALES:
        raise InvalidInput(
            f"scale is {', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}, for 1/scale of the resolution, not "
            f"{scale!r:.80}"
        )
    return int(scale)


def check_quality(quality: int) -> int:
    """
    Raises:
        InvalidInput: it is not an integer from 1 to 100.
    """
    return whole_from_one(quality, QUALITIES, "quality")
