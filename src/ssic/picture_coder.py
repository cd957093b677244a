"""A picture at work: its groups coded one by one, at any quality, and put together as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssic.blocks import cut_blocks, inside_blocks
from ssic.engine.base import Engine
from ssic.engine.effort import Stopped, never
from ssic.entropy.coder import Substreams
from ssic.entropy.fixedpoint import as_floats
from ssic.format import ICC, Segment, write_file
from ssic.groups.mask import GroupMask
from ssic.pictures.read import Picture
from ssic.plan import Plan
from ssic.progress import Progress
from ssic.rate.targets import Trial

_AT_ONCE = 4096
"""Blocks whose error is computed at a time: it takes some 5 KB for each."""


class GroupsCodec(Protocol):
    """What codes groups of a picture: `ssic.Codec`."""

    engine: Engine

    @property
    def model_id(self) -> bytes:
        """Of the file."""
        ...

    def encode_groups(
        self,
        pixels: NDArray[np.uint8],
        ids: NDArray[np.uint8],
        qualities: Mapping[int, int],
        progress: Progress = ...,
        effort: int = ...,
        stopped: Stopped = ...,
        *,
        latents: bool = ...,
    ) -> tuple[Plan, Substreams]:
        """See `ssic.Codec.encode_groups`."""
        ...


class PictureCoder:
    """A picture cut into groups, which can be coded one by one at any quality: a `ssic.rate.targets.GroupCoder`.

    Attributes:
        order: ids of all groups, in the order of their segments.
        hyper_bytes: by (group, quality), of what was coded so far.
    """

    def __init__(
        self,
        codec: GroupsCodec,
        picture: Picture,
        groups: GroupMask,
        order: Sequence[int],
        progress: Progress,
        effort: int = 1,
        stopped: Stopped = never,
    ) -> None:
        self.order = order
        self.hyper_bytes: dict[tuple[int, int], int] = {}
        self._codec, self._picture, self._groups, self._progress = codec, picture, groups, progress
        self._effort, self._stopped = effort, stopped

    def quick(self) -> PictureCoder | None:
        """The same without refinement; None where this one is without it."""
        if self._effort == 1:
            return None
        return PictureCoder(self._codec, self._picture, self._groups, self.order, self._progress)

    def encode(self, qualities: Mapping[int, int], *, latents: bool = False) -> tuple[Plan, Substreams]:
        plan, coded = self._codec.encode_groups(
            self._picture.pixels,
            self._groups.ids,
            qualities,
            self._progress,
            self._effort,
            self._stopped,
            latents=latents,
        )
        self.hyper_bytes |= {(g, q): coded.hyper_bytes[g] for g, q in qualities.items()}
        return plan, coded

    def trials(self, qualities: Mapping[int, int], *, decode: bool) -> dict[int, Trial]:
        plan, coded = self.encode(qualities, latents=decode)
        if not decode:
            return {g: Trial(coded.by_group[g]) for g in qualities}
        self._progress("synthesis")
        blocks = self._codec.engine.synthesise(as_floats(coded.latents), plan, qualities)
        squared = self._squared_error(plan.block, blocks)
        return {g: Trial(coded.by_group[g], float(squared[plan.group == g].sum())) for g in qualities}

    def _squared_error(self, block: NDArray[np.int64], blocks: NDArray[np.uint8]) -> NDArray[np.int64]:
        """[N] sum of squared errors of some blocks of the picture, without padding."""
        squared = np.empty(len(block), np.int64)
        for start in range(0, len(block), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            wrong = blocks[part].astype(np.int32)
            wrong -= cut_blocks(self._picture.pixels, block[part])
            wrong *= inside_blocks(self._picture.size, block[part])
            squared[part] = np.square(wrong, out=wrong).sum((1, 2), dtype=np.int64)
        return squared

    def assemble(self, qualities: Mapping[int, int], substreams: Mapping[int, bytes]) -> bytes:
        groups = self._groups
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
        return write_file(
            width=self._picture.size[0],
            height=self._picture.size[1],
            model_id=self._codec.model_id,
            mask=groups.ids,
            segments=segments,
            chunks={ICC: self._picture.icc} if self._picture.icc else None,
            order=self.order,
        )
