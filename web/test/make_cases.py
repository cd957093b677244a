"""Write the files that the tests of the JavaScript decoder read, with what must come of them.

PYTHONPATH=tests:examples python web/test/make_cases.py FOLDER [WEIGHTS]

WEIGHTS, by default those of the package, are copied for the decoder: they must have graphs. In FOLDER: files `*.ssic`,
keys, the weights, and `cases.json`. What it expects comes from the Python package alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lay_out import lay_out, photograph

import ssic
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.random_weights import KINDS, random_weights
from ssic.crypto import Stanza, Suite
from ssic.crypto.access import Access
from ssic.crypto.files import open_parts
from ssic.crypto.sealed import pack_part, padded, seal_group
from ssic.crypto.wrap import Keyring, Wrapper
from ssic.format import read_segments
from ssic.format.container import segments_as_they_are, whole_segments, write_like
from ssic.format.types import GroupEntry, Head
from ssic.format.varint import write_varint
from ssic.model.weights import find_by_id, load_weights
from ssic.names import class_of, default_name, text_fault

ROOT = Path(__file__).resolve().parent.parent.parent

MUTATIONS = 1500
SEALED_MUTATIONS = 300
FAULTY_WRITERS = 200


class Token:
    """A key of another sort, which the decoder in JavaScript passes over."""

    def wrap(self, content_key: bytes, suite: Suite) -> Stanza:
        """The content key under a key that is thrown away."""
        nonce = os.urandom(12)
        cipher = AESGCM(AESGCM.generate_key(128))
        return Stanza.foreign("example.org/token", nonce + cipher.encrypt(nonce, content_key, suite.info))


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


def readable(data: bytes, keys: ssic.Identity) -> dict[str, str]:
    """What the holder of keys gets of each group that they show: the hash of its substream, or the error's name."""
    access = Access(data, identity=keys)
    names = {g.id: g.name for g in access.shown.groups}
    found, faults = access.substreams(names)
    answers = {names[i]: hashlib.sha256(substream).hexdigest() for i, substream in found.items()}
    return answers | {names[i]: type(fault).__name__ for i, fault in faults.items()}


def kinds(folder: Path) -> None:
    """Small models of each kind that there is, all parameters random, with a picture that each has coded."""
    picture = natural_picture(12, 330, 280)
    mask = blob_mask(13, 21, 18, 4)
    for name, config in KINDS.items():
        model = folder / f"kind-{name}.safetensors"
        model.write_bytes(random_weights(20, config))
        codec = ssic.Codec(load_weights(model))
        data = codec.encode(picture, mask, quality=60, group_quality={2: 30}).data
        (folder / f"kind-{name}.ssic").write_bytes(data)
        (folder / f"kind-{name}.rgb").write_bytes(ssic.decode(data, model=model).tobytes())
        if name == "local":  # a small one, for emulated graphics cards
            data = codec.encode(picture[:90, :140], mask[:6, :9] % 2, quality=60).data
            (folder / "few.ssic").write_bytes(data)
            (folder / "few.rgb").write_bytes(ssic.decode(data, model=model).tobytes())


def changed(data: bytes, rng: random.Random) -> bytes:
    """Some bytes with a few of them changed, inserted or removed; most often near the beginning."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) if rng.random() < 0.4 else min(len(out), 150))
        kind = rng.random()
        if kind < 0.6:
            out[at] = rng.choice((0, 1, 2, 3, 129, 255, rng.randrange(256), out[at] ^ 1 << rng.randrange(8)))
        elif kind < 0.8:
            del out[at : at + rng.randrange(1, 40)]
        else:
            out[at:at] = rng.randbytes(rng.randrange(1, 4))
        if not out:
            break
    return bytes(out)


def sealed_and_changed(files: Sequence[bytes], rng: random.Random) -> Iterator[bytes]:
    """Files whose sealed segments were changed, with and without a checksum that says so."""
    for _ in range(SEALED_MUTATIONS):
        data = rng.choice(files)
        head = ssic.SsicFile(data).head
        segments = segments_as_they_are(data, head)
        entry = rng.choice([g for g in head.groups if g.encrypted])
        payload = changed(segments[entry.id].payload, rng)
        segments[entry.id] = replace(segments[entry.id], payload=payload, damage=int(rng.random() < 0.3))
        chunks = head.stored_chunks
        yield write_like(
            head, list(segments.values()), order=head.order, stored_chunks=chunks, seal=head.seal
        )


def sealed_by_faulty_writers(data: bytes, me: ssic.Identity, rng: random.Random) -> Iterator[bytes]:
    """Files with a hidden entry whose parts are sealed well, but hold what no part may hold."""
    head = ssic.SsicFile(data).head
    assert head.seal is not None
    segments = segments_as_they_are(data, head)
    (entry,) = (g for g in head.groups if g.hidden)
    parts = open_parts(head, entry, segments[entry.id].payload, Keyring(me))
    inners = [part.inner.pack() for part in parts if part.inner is not None]
    for i in range(FAULTY_WRITERS):
        contents = [
            changed(inner[:60], rng) + inner[60:] if rng.random() < 0.7 else inner for inner in inners
        ]
        if i % 7 == 0:
            contents[0] = contents[1]  # the same blocks, id and name twice
        plains = [padded(content, i % 3 == 0) for content in contents]
        if i % 5 == 0:
            plains = [
                changed(plain[:2], rng) + plain[2:-1] + rng.choice((b"", b"\0", b"\1")) for plain in plains
            ]
        packed = b""
        for plain in plains:
            with mock.patch("ssic.crypto.sealed.padded", lambda *_, plain=plain: plain):
                group = segments[entry.id]
                packed += pack_part(seal_group(head, head.seal, group, Wrapper([me.recipient]), 0))
        segments[entry.id] = replace(segments[entry.id], payload=packed)
        yield write_like(head, list(segments.values()), order=head.order, seal=head.seal)


def other_forms(data: bytes) -> dict[str, bytes]:
    """The same content in forms that it may not have, and one that it has."""
    head = ssic.SsicFile(data).head
    flags = data[5 + _varint_bytes(data[5:])]
    chunks = list(head.stored_chunks.items())
    forms = {
        "right": _head(head, flags, chunks),
        "all ids": _head(head, flags | 1, chunks),
        "default order": _head(head, flags | 2, chunks),
        "all flags": _head(head, flags & ~64, chunks),
        "all names": _head(head, flags & ~64, chunks, names=True),
        "all classes": _head(head, flags & ~64, chunks, classes=True),
        "all qualities": _head(head, flags & ~64, chunks, qualities=True),
        "chunks in another order": _head(head, flags, chunks[::-1]),
        "a smaller step": _head(head, flags & ~48, chunks),
    }
    return {name: form + data[head.head_bytes :] for name, form in forms.items()}


def _varint_bytes(data: bytes) -> int:
    return next(i for i, byte in enumerate(data) if byte < 128) + 1


def _head(
    head: Head,
    flags: int,
    chunks: Sequence[tuple[str, bytes]],
    *,
    names: bool = False,
    classes: bool = False,
    qualities: bool = False,
) -> bytes:
    """A head, without any regard for the one form."""
    body = bytes([flags]) + write_varint(head.width) + write_varint(head.height) + head.model_id
    body += (head.seal or b"") + bytes([len(head.groups)])
    before: GroupEntry | None = None

    def text(value: str) -> bytes:
        return bytes([len(value.encode())]) + value.encode()

    for g in head.groups:
        bits, row = 16 * g.encrypted | 64 * g.hidden, b""
        if names or g.name != default_name(g.id):
            bits, row = bits | 1, text(g.name)
        if g.class_name is not None and (classes or g.class_name != class_of(g.name)):
            bits, row = bits | 2, row + text(g.class_name)
        elif g.class_name is not None:
            bits |= 4
        if g.score is not None:
            bits, row = bits | 8, row + bytes([round(g.score * 255)])
        if before is not None and before.quality == g.quality and not qualities:
            bits |= 32
        else:
            row += bytes([g.quality])
        row = bytes([g.id] if flags & 1 else []) + bytes([] if flags & 64 else [bits]) + row
        body += row + write_varint(g.length) + g.crc.to_bytes(4, "little")
        before = g
    if flags & 2:
        body += bytes([g.id for g in head.groups].index(i) for i in head.order)
    if flags & 4:
        body += bytes([len(chunks)])
        for tag, chunk in chunks:
            body += tag.encode() + write_varint(len(chunk)) + chunk
    assert head.coded_mask is not None
    start = b"\xf3sic\1" + write_varint(len(body + head.coded_mask[1])) + body + head.coded_mask[1]
    return start + zlib.crc32(start).to_bytes(4, "little")


def what_names_are(rng: random.Random) -> dict[str, Any]:
    """Which code points no name holds, as the hash of a bitmap, and which texts are names."""
    bits = np.array([text_fault(f"!{chr(c)}!") is not None for c in range(0x110000)])
    letters = [
        c
        for c in map(chr, range(0x20, 0x2FFFF))
        if text_fault(f"!{unicodedata.normalize('NFC', c)}!") is None
    ]
    texts = ["", " a", "a ", "a  b", "a b", "a,b", "a" * 255, "a" * 256, "\u00e9" * 128, "e\u0301", "\u00e9"]
    for _ in range(2000):
        text = "".join(rng.choices(letters, k=rng.randrange(1, 6)))
        texts.append(unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC")), text))
    return {
        "refused": hashlib.sha256(np.packbits(bits).tobytes()).hexdigest(),
        "texts": [[text, text_fault(text) is None] for text in texts],
    }


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
        "sealed-photo": bytes(ssic.encrypt(photo, "face", me.recipient)),
        "hidden-photo": bytes(ssic.encrypt(photo, ["face", "cap"], me.recipient, hide="outline")),
    }


def main(folder: Path, weights: Path | None = None) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = ssic.Codec.load("small")
    shutil.copy(weights or find_by_id(codec.model_id), folder / "model.safetensors")
    named = ssic.GroupMask(
        blob_mask(7, 32, 48, 5),
        {0: "background", 1: "dog", 2: "person 1", 3: "person 2", 4: "cup"},
        {1: "dog", 2: "person", 3: "person"},
        {1: 0.5},
    )
    picture = natural_picture(5, 512, 768)
    golden = sorted((ROOT / "tests/golden").glob(f"{codec.model_id.hex()}-*.ssic"))
    files = {path.stem: path.read_bytes() for path in golden}
    files["large"] = codec.encode(picture, named, quality=60, group_quality={"dog": 85}).data
    files["small"] = codec.encode(natural_picture(6, 150, 201), blob_mask(8, 10, 13, 4), quality=40).data
    files["sparse"] = bytes(ssic.SsicFile(files["large"]).extract(["dog", "person 2"]))
    plain = codec.encode(natural_picture(6, 40, 50), quality=30).data
    head = ssic.SsicFile(plain).head
    chunks = {"ICCP": zlib.compress(bytes(range(256)) * 20, 9), "XMPP": b"<x/>"}
    segments = list(whole_segments(plain, head, head.order).values())
    files["profile"] = write_like(head, segments, stored_chunks=chunks)
    me, other = ssic.Identity.generate(), ssic.Identity.generate()
    word = ssic.Passphrase("korrekt Pferd B\u00fcroklammer")
    small = files["small"]
    called = [g.name for g in ssic.SsicFile(small).groups]
    files["sealed"] = bytes(ssic.encrypt(small, called[1], [other.recipient, me.recipient], version=7))
    files["passphrase"] = bytes(ssic.encrypt(small, called[2], word))
    files["chacha"] = bytes(ssic.encrypt(small, called[1], me.recipient, cipher="chacha20-poly1305"))
    files["padded"] = bytes(ssic.encrypt(small, called[1], me.recipient, pad=True))
    files["foreign"] = bytes(ssic.encrypt(small, called[1], [Token(), me.recipient]))
    files["names"] = bytes(ssic.encrypt(small, called[2:], me.recipient, hide="names"))
    outline = bytes(ssic.encrypt(small, called[1:3], me.recipient, hide="outline"))
    files["outline"] = outline
    files |= portrait(codec, me, folder)
    markup = ssic.GroupMask(
        blob_mask(2, 4, 5, 2), {0: "background", 1: "<img src=x onerror=document.title=1>"}
    )
    files["markup"] = codec.encode(natural_picture(9, 64, 80), markup, quality=30).data
    kinds(folder)
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
    sealed = [files[n] for n in ("sealed", "names", "outline", "padded", "foreign")]
    cases["sealed"] = []
    for data in (*sealed_and_changed(sealed, rng), *sealed_by_faulty_writers(outline, me, rng)):
        cases["sealed"].append({"offset": len(blob), "length": len(data), "expected": readable(data, me)})
        blob += data
    cases["forms"] = []
    for source in ("small", "large", "profile", "sparse", "sealed", "1d61559353c5ceac-one"):
        for name, data in other_forms(files[source]).items():
            assert name != "right" or data == files[source]
            expected = describe(data)
            if data != files[source]:
                cases["forms"].append(
                    {
                        "name": f"{source}, {name}",
                        "offset": len(blob),
                        "length": len(data),
                        "expected": expected,
                    }
                )
                blob += data
    cases["names"] = what_names_are(rng)
    (folder / "mutations.bin").write_bytes(blob)
    (folder / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
