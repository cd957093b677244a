"""Write the files that the tests of the JavaScript decoder read, with what must come of them.

python web/test/make_cases.py FOLDER [WEIGHTS]

WEIGHTS, by default those of the package, are copied for the decoder: they must have graphs. In FOLDER: files `*.ssic`,
keys, the weights, and `cases.json`. What it expects comes from the Python package alone.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import ssic
from ssic.format import read_segments
from ssic.format.container import whole_segments, write_like
from ssic.model.weights import find_by_id

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples")]

from lay_out import lay_out, photograph  # noqa: E402

from conftest import blob_mask, natural_picture  # noqa: E402

MUTATIONS = 1500


def describe(data: bytes) -> dict[str, Any]:
    """What a reader of the head must say of a file: an error's name, or what is in it."""
    try:
        head = ssic.SsicFile(data).head
    except ssic.SsicError as error:
        return {"error": type(error).__name__}
    _, broken = read_segments(data, head, head.order)
    return {
        "width": head.width,
        "height": head.height,
        "model": head.model_id.hex(),
        "mask": hashlib.sha256(head.mask.tobytes()).hexdigest(),
        "headBytes": head.head_bytes,
        "fileBytes": head.file_bytes,
        "order": list(head.order),
        "chunks": sorted(head.chunks),
        "broken": {str(i): type(error).__name__ for i, error in broken.items()},
        "groups": [
            {
                "id": g.id,
                "name": g.name,
                "className": g.class_name,
                "score": None if g.score is None else round(g.score * 255),
                "quality": g.quality,
                "blocks": g.blocks,
                "encrypted": g.encrypted,
                "hidden": g.hidden,
                "offset": g.offset,
                "length": g.length,
                "crc": g.crc,
            }
            for g in head.groups
        ],
    }


def latents(codec: ssic.Codec, data: bytes) -> dict[str, str]:
    """SHA-256 of each clear group's latents as little-endian int32, or "damaged"."""
    head = ssic.SsicFile(data).head
    clear = [g.id for g in head.groups if not g.encrypted]
    intact, _ = read_segments(data, head, clear)
    found: dict[str, str] = {}
    if not intact:
        return found
    wanted = np.where(np.isin(head.mask, list(intact)), head.mask, np.uint8(255))
    quality = {g.id: g.quality for g in head.groups if g.id in intact}
    plan, values, damaged = codec.decode_latents(wanted, quality, intact)
    for i in intact:
        digest = hashlib.sha256(values[plan.group == i].astype("<i4").tobytes()).hexdigest()
        found[str(i)] = "damaged" if i in damaged else digest
    return found


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file with a few bytes changed, inserted, removed or cut off; often with the head's checksum mended."""
    out = bytearray(data)
    head = ssic.SsicFile(data).head.head_bytes
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(min(head, len(out)) if rng.random() < 0.8 else len(out))
        kind = rng.random()
        if kind < 0.4:
            out[at] ^= 1 << rng.randrange(8)
        elif kind < 0.7:
            out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind < 0.8:
            del out[at : at + rng.randrange(1, 4)]
        elif kind < 0.9:
            out[at:at] = rng.randbytes(rng.randrange(1, 4))
        else:
            del out[at:]
        if not out:
            return b""
    if rng.random() < 0.85:
        end = head - 4
        if len(out) >= head:
            out[end:head] = zlib.crc32(out[:end]).to_bytes(4, "little")
    return bytes(out)


def portrait(codec: ssic.Codec, me: ssic.Identity, folder: Path) -> dict[str, bytes]:
    """The demo's file, and what may happen to it."""
    lay_out(folder / "portrait", photograph())
    jpg, labels, names = (folder / "portrait" / name for name in ("photo.jpg", "labels.png", "names.json"))
    mask = ssic.GroupMask.from_label_map(labels, (512, 600), names)
    photo = codec.encode(jpg, mask, quality=50, group_quality={"face": 80}).data
    damaged = bytearray(photo)
    damaged[ssic.SsicFile(photo)["face"].offset + 9] ^= 64
    (folder / "damaged-photo.ssic").write_bytes(damaged)
    return {
        "photo": photo,
        "sealed-photo": ssic.encrypt(photo, "face", me.recipient),
        "hidden-photo": ssic.encrypt(photo, ["face", "cap"], me.recipient, hide="outline"),
    }


def main(folder: Path, weights: Path | None = None) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = ssic.Codec.load()
    shutil.copy(weights or find_by_id(codec.model_id), folder / "model.safetensors")
    named = ssic.GroupMask(
        blob_mask(7, 32, 48, 5),
        {0: "background", 1: "dog", 2: "person 1", 3: "person 2", 4: "cup"},
        {1: "dog", 2: "person", 3: "person"},
        {1: 0.5},
    )
    picture = natural_picture(5, 512, 768)
    files = {path.stem: path.read_bytes() for path in sorted((ROOT / "tests/golden").glob("*.ssic"))}
    files["large"] = codec.encode(picture, named, quality=60, group_quality={"dog": 85}).data
    files["small"] = codec.encode(natural_picture(6, 150, 201), blob_mask(8, 10, 13, 4), quality=40).data
    files["sparse"] = ssic.SsicFile(files["large"]).extract(["dog", "person 2"])
    plain = codec.encode(natural_picture(6, 40, 50), quality=30).data
    head = ssic.SsicFile(plain).head
    chunks = {"ICCP": zlib.compress(bytes(range(256)) * 20, 9), "XMPP": b"<x/>"}
    segments = list(whole_segments(plain, head, head.order).values())
    files["profile"] = write_like(head, segments, stored_chunks=chunks)
    me, other = ssic.Identity.generate(), ssic.Identity.generate()
    word = ssic.Passphrase("korrekt Pferd B\u00fcroklammer")
    small = files["small"]
    names = [g.name for g in ssic.SsicFile(small).groups]
    files["sealed"] = ssic.encrypt(small, names[1], [other.recipient, me.recipient], version=7)
    files["passphrase"] = ssic.encrypt(small, names[2], word)
    files["chacha"] = ssic.encrypt(small, names[1], me.recipient, cipher="chacha20-poly1305")
    files["names"] = ssic.encrypt(small, names[2:], me.recipient, hide="names")
    outline = ssic.encrypt(small, names[1:3], me.recipient, hide="outline")
    files["outline"] = outline
    files |= portrait(codec, me, folder)
    markup = ssic.GroupMask(
        blob_mask(2, 4, 5, 2), {0: "background", 1: "<img src=x onerror=document.title=1>"}
    )
    files["markup"] = codec.encode(natural_picture(9, 64, 80), markup, quality=30).data
    (folder / "me.key").write_text(f"# a key\n{me.secret()}\n")
    (folder / "stranger.key").write_text(ssic.Identity.generate().secret() + "\n")

    cases: dict[str, Any] = {"passphrase": "korrekt Pferd B\u00fcroklammer", "files": {}, "mutations": []}
    for name, data in files.items():
        (folder / f"{name}.ssic").write_bytes(data)
        keys = word if name == "passphrase" else me
        sealed = any(g.encrypted for g in ssic.SsicFile(data).groups)
        pixels = ssic.decode(data, identity=keys) if sealed else ssic.decode(data)
        (folder / f"{name}.rgb").write_bytes(pixels.tobytes())
        opened = ssic.SsicFile(data, identity=keys) if sealed else ssic.SsicFile(data)
        cases["files"][name] = {
            "head": describe(data),
            "latents": latents(codec, data),
            "shown": sorted(opened.names),
        }
    rng = random.Random(20)
    sources = [files[n] for n in ("small", "sealed", "outline", "profile", "sparse")]
    blob = bytearray()
    for _ in range(MUTATIONS):
        data = mutated(rng.choice(sources), rng)
        expected = describe(data)
        if "error" not in expected and expected["width"] * expected["height"] < 2**17:
            expected["latents"] = latents(codec, data)
        cases["mutations"].append({"offset": len(blob), "length": len(data), "expected": expected})
        blob += data
    (folder / "mutations.bin").write_bytes(blob)
    (folder / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
