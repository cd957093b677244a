"""Write the golden files of the installed models into tests/golden; see the README there.

PYTHONPATH=tests python scripts/make_golden.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

import ssic
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.model.weights import installed

ROOT = Path(__file__).parent.parent


def latent_hash(codec: ssic.Codec, data: bytes) -> str:
    """SHA-256 of the latents as little-endian int64, [N, M] in raster order of blocks."""
    opened = ssic.SsicFile(data)
    segments = {g.id: ssic.format.read_segment(data, opened.head, g.id) for g in opened.groups}
    _, latents, _ = codec.decode_latents(opened.head.mask, {g.id: g.quality for g in opened.groups}, segments)
    return hashlib.sha256(np.ascontiguousarray(latents.astype("<i8")).tobytes()).hexdigest()


def main() -> None:
    """Four files of each installed model: groups, one group, one pixel, escapes."""
    for name in installed():
        write(ssic.Codec.load(name))


def write(codec: ssic.Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    named = ssic.GroupMask(blob_mask(1, 6, 9, 4), {0: "background", 1: "dog", 2: "person 1", 3: "person 2"},
                           {1: "dog", 2: "person", 3: "person"}, {1: 0.5})  # fmt: skip
    files = {
        "groups": codec.encode(natural_picture(1, 90, 130), named, quality=55, group_quality={"dog": 85}),
        "one": codec.encode(natural_picture(2, 64, 64), quality=20),
        "pixel": codec.encode(np.full((1, 1, 3), 77, np.uint8)),
        "noise": codec.encode(noise, blob_mask(3, 2, 3, 2), quality=100),
    }
    golden = {}
    for name, encoding in files.items():
        stem = f"{codec.model_id.hex()}-{name}"
        (ROOT / "tests/golden" / f"{stem}.ssic").write_bytes(encoding.data)
        Image.fromarray(ssic.decode(encoding.data)).save(ROOT / "tests/golden" / f"{stem}.png")
        golden[stem] = latent_hash(codec, encoding.data)
    index = ROOT / "tests/golden/latents.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    index.write_text(json.dumps(known | golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
