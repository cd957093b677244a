"""What `ssic info --json` prints of an opened file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ssic.format import ICC, GroupEntry, Head


def describe(
    head: Head, groups: Sequence[GroupEntry], opening_bytes: int, transfer: Callable[[list[int]], int]
) -> dict[str, Any]:
    """Size, model, groups and bytes, as docs/cli.md lists them.

    Args:
        head: as it lies in the file.
        groups: as the keys show them.
        opening_bytes: what opening the file from a URL takes.
        transfer: what reading groups, by id, takes after that.
    """
    outside = {g.id for g in head.groups}  # others are hidden, and only keys show them
    return {
        "format": head.version,
        "model": head.model_id.hex(),
        "width": head.width,
        "height": head.height,
        "file_bytes": head.file_bytes,
        "head_bytes": head.head_bytes,
        "mask_bytes": head.mask_bytes,
        "profile": ICC in head.chunks,
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
                "encrypted": g.encrypted or g.id not in outside,
            }
            for g in groups
        ],
        "transfer": {
            "head": opening_bytes,
            "groups": {g.name: transfer([g.id]) for g in groups},
            "all": transfer([g.id for g in groups]),
        },
    }
