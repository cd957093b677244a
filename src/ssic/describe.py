"""What `ssic info --json` prints of an opened file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssic.file import SsicFile


def describe(opened: SsicFile) -> dict[str, Any]:
    """Size, model, groups and bytes, as docs/cli.md lists them."""
    head = opened.head
    outside = {g.id for g in head.groups}  # others are hidden, and only keys show them
    return {
        "format": head.version,
        "model": head.model_id.hex(),
        "width": head.width,
        "height": head.height,
        "file_bytes": head.file_bytes,
        "head_bytes": head.head_bytes,
        "mask_bytes": head.mask_bytes,
        "profile": opened.icc is not None,
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
            for g in opened.groups
        ],
        "transfer": {
            "head": opened.opening_bytes,
            "groups": {g.name: opened.transfer([g.id]) for g in opened.groups},
            "all": opened.transfer([g.id for g in opened.groups]),
        },
    }
