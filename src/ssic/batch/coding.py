"""The one place of command line and batch that calls the codec to encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssic.codec import Codec
from ssic.groups.mask import GroupMask
from ssic.pictures.read import Picture


@dataclass(frozen=True)
class CodedPicture:
    """A file, and what its targets came to.

    Attributes:
        data: the file.
        engine: what ran the networks.
        reached: with targets, {"file", "groups", "passes", "encodes"} as `ssic encode --json` prints it; else {}.
    """

    data: bytes
    engine: str
    reached: Mapping[str, Any] = field(default_factory=dict)


def encode_picture(
    codec: Codec,
    picture: Picture,
    mask: GroupMask,
    *,
    quality: int | None = None,
    group_quality: Mapping[str | int, int] | None = None,
    target: str | None = None,
    group_targets: Mapping[str | int, str] | None = None,
    order: Sequence[str | int] | None = None,
    effort: int = 1,
    progress: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> CodedPicture:
    """Encode a picture; arguments and errors as of `ssic.encode`."""
    rate: dict[str, Any] = {
        "quality": quality,
        "group_quality": group_quality,
        "order": order,
        "effort": effort,
        "progress": progress,
        "stopped": stopped,
    }
    met = codec.encode(picture, mask, target=target, group_targets=group_targets, **rate)
    if target is None and not group_targets:
        return CodedPicture(met.data, codec.engine.name)
    return CodedPicture(
        met.data,
        codec.engine.name,
        {
            "file": met.reached,
            "groups": {mask.names[g]: value for g, value in sorted(met.groups_reached.items())},
            "passes": met.passes,
            "encodes": round(met.encodes, 3),
        },
    )
