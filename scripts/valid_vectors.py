"""The vectors that decode; and sheets, which say what must come of a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vector_writer import (
    AES,
    CHACHA,
    EXIF,
    GRID,
    IMPLIED,
    PASSPHRASE,
    PEOPLE,
    PHRASES,
    PUBLIC,
    SIGNERS,
    XMP,
    Entry,
    File,
    blobs,
    codec,
    contradicting,
    damaged,
    filled,
    fixed,
    flat,
    flipped,
    for_passphrase,
    for_people,
    for_stranger,
    hide,
    inner,
    one,
    profile,
    runs,
    seal,
    signed,
    stored_zlib,
    substreams,
    three,
    two,
    without,
)

import ssic
from ssic.format.mask_tables import ESCAPE
from ssic.format.mask_writer import walk

# -- sheets ------------------------------------------------------------------------------------------------


@dataclass
class Vector:
    """A file and its sheet."""

    name: str
    about: str
    data: bytes
    sheet: dict[str, Any] = field(default_factory=dict)


def opened(vector: Vector) -> ssic.SsicFile:
    options: dict[str, Any] = {}
    sheet = vector.sheet
    keys: list[Any] = [PEOPLE[Path(path).stem] for path in sheet.get("identities", [])]
    keys += [ssic.Passphrase(PHRASES[Path(path).stem]) for path in sheet.get("passphrases", [])]
    if keys:
        options["identity"] = keys
    if "trust" in sheet:
        options["trust"] = [SIGNERS[Path(path).stem].verify_key for path in sheet["trust"]]
    return ssic.open(vector.data, min_version=sheet.get("min_version"), **options)


def key(*names: str) -> list[str]:
    return [f"../keys/{name}.key" for name in names]


def latents(file: ssic.SsicFile) -> dict[str, str]:
    """By id of each group that can be decoded, the SHA-256 of its latents."""
    segments, _ = file.access.substreams(g.id for g in file.groups)
    if not segments:
        return {}
    quality = {g.id: g.quality for g in file.groups}
    plan, values, damaged = codec().decode_latents(file.access.shown.mask, quality, segments)
    whole = values.astype("<i4")
    assert (whole == values).all()
    return {
        str(i): hashlib.sha256(whole[plan.group == i].tobytes()).hexdigest()
        for i in sorted(segments)
        if i not in damaged
    }


def head_of(file: ssic.SsicFile) -> dict[str, Any]:
    return {name: value for name, value in file.info().items() if name != "transfer"}


Made = tuple[Vector, NDArray[np.uint8] | None]
"""A vector, and its pixels [H, W, 3]."""


def valid(name: str, about: str, file: File | bytes, **sheet: Any) -> Made:
    """A vector that decodes; what must come of it is asked of the package."""
    vector = Vector(name, about, bytes(file), sheet)
    found = opened(vector)
    decoded = found.decode_pixels(partial=sheet.get("partial", False), engine="onnx")
    assert list(decoded.damaged) == sheet.get("damaged", []), f"{name}: damaged {decoded.damaged}"
    assert list(decoded.sealed) == sheet.get("sealed", []), f"{name}: sealed {decoded.sealed}"
    assert list(decoded.missing) == sheet.get("missing", []), f"{name}: missing {decoded.missing}"
    vector.sheet = {
        "expect": "decoded",
        **sheet,
        "head": head_of(found),
        "mask": hashlib.sha256(found.access.shown.mask.tobytes()).hexdigest(),
        "chunks": {t: hashlib.sha256(c).hexdigest() for t, c in found.head.chunks.items() if t != "SIGN"},
        "latents": latents(found),
    }
    return vector, np.where(decoded.present[..., None], decoded.pixels, 0).astype(np.uint8)


def invalid(name: str, about: str, file: File | bytes, error: str, at: str = "open", **sheet: Any) -> Made:
    """A vector that gives an error; which one is said here, not asked of the package."""
    return Vector(name, about, bytes(file), {"expect": "error", "at": at, "error": error, **sheet}), None


def masks() -> dict[str, tuple[str, NDArray[np.uint8]]]:
    """Masks that take each part of the mask's code, by name, with what they are."""
    y, x = np.mgrid[:6, :9]
    checks = ((y + x) % 2).astype(np.uint8)
    rows = np.zeros((10, 20), np.uint8)
    rows[8:, ::2] = 1
    gaps, _ = walk(rows.tobytes(), 20, 2)
    m = rows.size // (len(gaps) + 1)
    assert m >= 8, "long gaps"
    assert max(gaps) >> m.bit_length() - 2 >= ESCAPE, "a quotient that is escaped"
    return {
        "mask-step-0": ("Two labels, exact on no coarser grid.", (y * 9 + x >= 20).astype(np.uint8)),
        "mask-step-1": ("A step of 1: cells of 2x2 blocks.", (y // 2 + x // 2 >= 3).astype(np.uint8)),
        "mask-step-2": ("A step of 2: cells of 4x4 blocks.", (x // 4 == 1).astype(np.uint8)),
        "mask-step-3": ("A step of 3: cells of 8x8 blocks.", (x // 8).astype(np.uint8)),
        "mask-checkered": ("Every block differs from its neighbours; gaps are short.", checks),
        "mask-stripes": ("Seven labels in stripes down the picture.", np.minimum(x, 6).astype(np.uint8)),
        "mask-many-labels": ("54 labels on 54 blocks.", (y * 9 + x).astype(np.uint8)),
        "mask-long-gap": ("Gaps that are cut into quotient and rest, one quotient escaped.", rows),
        "mask-three-corners": (
            "Three labels that meet in corners, and edges that wander both ways.",
            np.where(y > 3 + (x % 4 == 1), 2, (x + (y % 3) > 4).astype(int)).astype(np.uint8),
        ),
    }


# -- what there is: valid ----------------------------------------------------------------------------------


def pictures() -> list[Made]:
    """Groups, names, sizes, orders, masks."""
    groups = blobs()
    names = (
        Entry(0, quality=40),
        Entry(1, name="dog", class_name=IMPLIED, score=128, quality=85),
        Entry(2, name="person 2", class_name=IMPLIED, score=255, quality=85),
        Entry(3, name="Straße", class_name="road", score=0, quality=60),
    )
    large = filled((130, 90), groups, names)
    plain = filled((64, 48), GRID, [Entry(i, quality=55) for i in range(3)])
    explicit = filled((48, 32), [[3, 3, 7], [254, 3, 7]], [Entry(3), Entry(7, quality=61), Entry(254)])
    spelled = ("\u4eba", "\u00e9clair", "\N{DOG FACE}", "x" * 255, "Sealed", "a b 07")
    many = np.arange(255, dtype=np.uint8).reshape(15, 17)
    out = [
        valid("one-group", "One group, no mask, a plain table of one entry.", one()),
        valid("groups", "Four groups with names, classes, scores and qualities, 130x90.", large),
        valid("three-groups", "Three groups, 62x45; most of the others are made from it.", three()),
        valid("plain-table", "Three groups with implied names and one quality: entries without flags.", plain),
        valid("one-pixel", "One pixel.", filled((1, 1), [[0]], [Entry(0)], (3, 3))),
        valid("odd-size", "17x33 pixels: most blocks reach beyond the picture.",
              filled((17, 33), [[0, 1], [0, 1], [0, 0]], [Entry(0), Entry(1)], (2, 2))),
        valid("one-row", "130x1 pixels.", filled((130, 1), [[0] * 4 + [1] * 5], [Entry(0), Entry(1)])),
        valid("one-column", "1x90 pixels.", filled((1, 90), [[0]] * 2 + [[1]] * 4, [Entry(0), Entry(1)])),
        valid("absent-blocks", "What extracting groups 1 and 2 of three-groups gives: the others' blocks are absent.",
              without(three(), [0])),
        valid("absent-but-one", "One group on two blocks, all others absent.",
              without(three(), [0, 1])),
        valid("explicit-order", "The background's segment is first: the order is told.",
              replace(three(), order=(0, 2, 1))),
        valid("explicit-ids", "Groups 3, 7 and 254; no background.", explicit),
        valid("names", "Names in several scripts, of 255 bytes, an emoji, and such as look special but are not.",
              filled((96, 16), [[0, 1, 2, 3, 4, 5]], [Entry(i, name=n) for i, n in enumerate(spelled)])),
        valid("class-of-class", "Classes that the name does not imply, and numbers that are no numbers of a series.",
              filled((64, 16), [[0, 1, 2, 3]], [
                  Entry(0, class_name="sky"), Entry(1, name="7 7", class_name=IMPLIED),
                  Entry(2, name="a1", class_name=IMPLIED), Entry(3, class_name=IMPLIED)])),
        valid("quality-1-and-100", "The lowest and the highest quality.",
              filled((48, 32), [[0, 0, 1], [0, 1, 1]], [Entry(0, quality=1), Entry(1, quality=100)], (2, 4))),
        valid("groups-255", "255 groups, one for each of 17x15 blocks: as many as a file can have.",
              flat((272, 240), many, range(255))),
        valid("empty-substreams", "Segments of no bytes: an empty stream decodes like endless zeros.", two()),
    ]  # fmt: skip
    for name, (about, mask) in masks().items():
        ids = range(int(mask.max()) + 1)
        out.append(valid(name, about, flat((mask.shape[1] * 16 - 3, mask.shape[0] * 16 - 5), mask, ids)))
    return out


def contents() -> list[Made]:
    """Chunks, and substreams that are hard to code, partly there or damaged."""
    base = one()
    icc = (b"ICCP", stored_zlib(profile()))
    unknown = (b"teST", b"\0\1\2 anything")
    noise = np.frombuffer(fixed("noise", 4 * 320), np.uint8).reshape(4, 320) % 81 - 40.0
    hard = np.where(np.arange(320) % 40 == 3, noise * 97, noise)
    loud = substreams(base.mask, {0: 100}, change=lambda y: hard)
    data = bytes(three())
    cut = three().offset(1) + 20
    contradiction = three().with_group(2, payload=contradicting(three(), 2))
    zero = three().with_group(1, payload=three().group(1).payload + b"\0")
    foreign = File(
        62, 45, GRID,
        tuple(replace(g, name=n) for g, n in zip(three().groups, ("sky", "dog 1", "group 9"), strict=True)),
        chunks=((b"EXIF", EXIF), (b"ICCP", stored_zlib(profile(), 3)), (b"zzZz", b"")),
        order=(1, 2, 0),
    )  # fmt: skip
    foreign = seal(foreign, [2], stanzas=lambda seed: [for_stranger(), *for_people("bob", "alice", seed=seed)],
                   version=300, zeros=37)  # fmt: skip
    return [
        valid("chunk-icc", "An ICC profile, deflated without compression.", replace(base, chunks=(icc,))),
        valid("chunk-exif", "Exif data.", replace(base, chunks=((b"EXIF", EXIF),))),
        valid("chunk-xmp", "An XMP packet.", replace(base, chunks=((b"XMPP", XMP),))),
        valid("chunk-unknown", "A chunk of a tag that nobody knows: it is passed over.",
              replace(base, chunks=(unknown,))),
        valid("chunks", "All kinds of chunks, tags ascending as bytes.",
              replace(base, chunks=((b"EXIF", EXIF), icc, (b"XMPP", XMP), unknown))),
        valid("noise", "Noise at quality 100, with latents so far off that they are escaped.",
              File(32, 32, base.mask, (Entry(0, loud[0], 100),))),
        valid("partial", "The first bytes of three-groups: group 2 whole, group 1 cut off, group 0 not there.",
              data[:cut], partial=True, missing=["background", "dog"]),
        valid("damaged-group", "One bit of a segment is flipped; its checksum fails, and the others decode.",
              damaged(three(), 1, 7), damaged=["dog"]),
        valid("damaged-substream", "A segment whose checksum is right, and whose substream contradicts itself.",
              contradiction, damaged=["person 2"]),
        valid("damaged-ending", "A segment that ends in a zero byte, which no shortest stream does.",
              zero, damaged=["dog"]),
        valid("cut-off", "three-groups without its last byte, not announced as partial: group 0 is damaged.",
              data[:-1], damaged=["background"]),
        valid("foreign-writer", "As another writer may do it: deflate in three blocks, padding of any length, "
              "a stanza of another kind of key, an order of its own, an empty chunk.",
              foreign, identities=key("alice")),
    ]  # fmt: skip


def seals() -> list[Made]:
    """Sealed groups, hidden ones, signatures."""
    base = three()
    apart = {1: ("alice",), 2: ("bob",)}
    public = PUBLIC
    outline = hide(base, apart, public)
    names = hide(hide(base, {1: ("alice",)}, public), {2: ("alice",)}, Entry(4, name="sealed 2", quality=1))
    pair = {1: ("alice",), 2: ("alice",)}
    both = hide(base, pair, public)
    ordered = hide(
        replace(base, order=(0, 2, 1)),
        pair,
        public,
        contents={1: inner(base, base.group(1), place=2), 2: inner(base, base.group(2), place=1)},
        order=(0, 1),
    )
    damaged_part = bytearray(bytes(both))
    damaged_part[both.offset(3) + len(both.group(3).payload) - 3] ^= 1
    split = seal(seal(base, [1], ("alice",)), [2], ("bob",))
    whole = {"decrypted": "three-groups.ssic"}
    sign = signed(base)
    return [
        valid("sealed-recipient", "A group sealed to an X25519 key, AES-256-GCM.",
              seal(base, [1]), identities=key("alice"), **whole),
        valid("sealed-chacha", "The same with ChaCha20-Poly1305.",
              seal(base, [1], suite=CHACHA), identities=key("alice"), **whole),
        valid("sealed-passphrase", "Two groups sealed to a passphrase, with one salt; the passphrase is not ASCII.",
              seal(base, [1, 2], stanzas=lambda s: for_passphrase(PASSPHRASE, seed=s)),
              passphrases=["../keys/passphrase.txt"], **whole),
        valid("sealed-passphrase-chacha", "A passphrase with ChaCha20-Poly1305.",
              seal(base, [2], suite=CHACHA, stanzas=lambda s: for_passphrase(PASSPHRASE, suite=2, seed=s)),
              passphrases=["../keys/passphrase.txt"], **whole),
        valid("sealed-several", "Sealed to three keys; the third opens it.",
              seal(base, [0, 1, 2], ("bob", "carol", "alice")), identities=key("mallory", "alice"), **whole),
        valid("sealed-foreign-stanza", "Sealed to a key of another sort, which is passed over, and to an X25519 key.",
              seal(base, [2], stanzas=lambda s: [for_stranger(), *for_people("alice", seed=s)]),
              identities=key("alice"), **whole),
        valid("sealed-no-key", "A sealed group among others, and no key: the others decode.",
              seal(base, [1]), sealed=["dog"]),
        valid("sealed-wrong-key", "A sealed group among others, and a key that does not fit.",
              seal(base, [1]), identities=key("mallory"), sealed=["dog"]),
        valid("sealed-for-two", "One group sealed to alice, one to bob, opened by bob.",
              split, identities=key("bob"), sealed=["dog"]),
        valid("sealed-padded", "Padding as Padm\u00e9 has it.",
              seal(base, [1], zeros=padme(len(base.group(1).payload))), identities=key("alice"), **whole),
        valid("sealed-version", "Version 3 of a group, where at least 3 is asked for.",
              seal(base, [1], version=3), identities=key("alice"), min_version=3, **whole),
        valid("sealed-suite-unknown", "A suite that version 1 does not name: like a group that no key opens.",
              replace(seal(base, [1]), seal=b"\x09" + AES[1:]), identities=key("alice"), sealed=["dog"]),
        valid("sealed-damaged", "A sealed group whose checksum fails, among others.",
              damaged(seal(base, [1]), 1, 90), identities=key("alice"), damaged=["dog"]),
        valid("sealed-tampered", "A bit of the ciphertext is flipped, the checksums are right; the others decode.",
              seal(base, [1]).with_group(1, payload=flipped(seal(base, [1]).group(1).payload, -20)),
              identities=key("alice"), damaged=["dog"]),
        valid("sealed-exchanged", "Two sealed groups have changed places: neither opens, the others decode.",
              exchanged(seal(base, [1, 2])), identities=key("alice"), damaged=["dog", "person 2"]),
        valid("hidden-names", "Two groups hidden behind an entry each: names, ids and qualities are sealed.",
              names, identities=key("alice"), **whole),
        valid("hidden-outline", "Two groups hidden behind one entry: their outlines are sealed, too.",
              both, identities=key("alice"), **whole),
        valid("hidden-order", "Hidden groups of a file whose segments lay in an order of their own.",
              ordered, identities=key("alice"), decrypted="explicit-order.ssic"),
        valid("hidden-no-key", "A hidden entry, and no key.", outline, sealed=["sealed"]),
        valid("hidden-partly", "A hidden entry of two groups, a key to one: the other's blocks stay the entry's.",
              outline, identities=key("bob"), sealed=["sealed"]),
        valid("hidden-damaged-part", "One part of a hidden entry is damaged, and the segment's checksum fails: the "
              "other part opens.", bytes(damaged_part), identities=key("alice"), damaged=["sealed"]),
        valid("hidden-overlap", "A part claims a block of the part before it: it is refused, and the other shown.",
              hide(base, pair, public, contents={2: inner(base, base.group(2), raw_runs=runs(GRID > 0))}),
              identities=key("alice"), damaged=["sealed"]),
        valid("hidden-id-of-other", "A part has the id of the background: it is refused, and the other shown.",
              hide(base, pair, public, contents={2: inner(base, base.group(2), id=0)}),
              identities=key("alice"), damaged=["sealed"]),
        valid("hidden-name-of-other", "A part has the name of the part before it: it is refused.",
              hide(base, pair, public, contents={2: inner(base, base.group(2), name="dog")}),
              identities=key("alice"), damaged=["sealed"]),
        valid("hidden-and-sealed", "One group sealed, one hidden, in a file without the background.",
              hide(seal(without(base, [0]), [1]), {2: ("alice",)}, public), identities=key("alice"),
              decrypted="absent-blocks.ssic"),
        valid("signed", "Signed; nobody in particular is trusted.", sign, signer="../keys/signer.pub"),
        valid("signed-trusted", "Signed, and opened with trust in the signer and another.",
              sign, trust=["../keys/impostor.pub", "../keys/signer.pub"], signer="../keys/signer.pub"),
        valid("signed-sealed", "Signed with a sealed group, a hidden one and a profile.",
              signed(replace(hide(seal(base, [1]), {2: ("alice",)}, public),
                             chunks=((b"ICCP", stored_zlib(profile())),))),
              identities=key("alice"), trust=["../keys/signer.pub"], signer="../keys/signer.pub"),
    ]  # fmt: skip


def exchanged(file: File) -> File:
    """The file with the segments of groups 1 and 2 in each other's place."""
    first, second = (file.group(i).payload for i in (1, 2))
    return file.with_group(1, payload=second).with_group(2, payload=first)


def padme(length: int) -> int:
    """Zeros that bring a content, behind a varint of one byte for them, to a length of the scheme Padm\u00e9."""
    whole = length + 1
    magnitude = whole.bit_length() - 1
    unit = 1 << max(0, magnitude - magnitude.bit_length())
    zeros = -whole % unit
    assert 0 < zeros < 128
    return zeros


VALID = (pictures, contents, seals)
