"""A small writer of files, byte by byte after docs/format.md and docs/encryption.md, for vectors/.

It is not the writer of the package, and does what it is told: so it can write what nobody should.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ssic
from helpers import reference_sealing as sealing
from ssic.engine.threads import one_blas_thread
from ssic.format.mask_coder import encode_mask, mask_step
from ssic.format.mask_reader import read_cells
from ssic.format.mask_tables import NUMBER, ONE, OVER, SHARE_BITS, START, decisions, digits, even
from ssic.model.weights import find_by_id
from ssic.plan import make_plan
from ssic.rangecoder import RangeEncoder, encoder_bytes

ROOT = Path(__file__).resolve().parent.parent

MODEL = bytes.fromhex("1d61559353c5ceac")
"""Preset `small`."""
SOURCE = ROOT / "tests/golden" / f"{MODEL.hex()}-groups.ssic"
SOURCE_QUALITY = 55
ABSENT = 255
MAGIC = b"\xf3sic"
IMPLIED = "implied"
"""A class that is told by group flag 4: the name without its number."""


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def padded_varint(value: int) -> bytes:
    """The same value in a byte too many."""
    short = varint(value)
    return short[:-1] + bytes([short[-1] | 0x80, 0])


def flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    out = bytearray(data)
    out[at] ^= bit
    return bytes(out)


def len_of_varint(data: bytes) -> int:
    return next(i for i, byte in enumerate(data) if byte < 0x80) + 1


def text(value: str | bytes) -> bytes:
    encoded = value if isinstance(value, bytes) else value.encode()
    return bytes([len(encoded)]) + encoded


def crc(data: bytes) -> int:
    return zlib.crc32(data)


# -- the small writer --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A group's entry. What has "raw" in its name is written instead of what would be right."""

    id: int
    payload: bytes = b""
    quality: int = 60
    name: str | None = None
    """None: the implied one."""
    class_name: str | None = None
    score: int | None = None
    encrypted: bool = False
    hidden: bool = False
    raw_name: bytes | None = None
    raw_class: bytes | None = None
    raw_flags: int | None = None
    raw_length: bytes | None = None
    crc_xor: int = 0
    repeat_quality: bool = False

    @property
    def shown(self) -> str:
        if self.name is not None:
            return self.name
        return "background" if self.id == 0 else f"group {self.id}"

    @property
    def shown_class(self) -> str | None:
        if self.class_name != IMPLIED:
            return self.class_name
        head, space, number = self.shown.rpartition(" ")
        return head if space and number.isdigit() else self.shown

    def row(self, previous: Entry | None) -> bytes:
        """Group flags, and the rest of the entry."""
        same = previous is not None and previous.quality == self.quality and not self.repeat_quality
        flags = 16 * self.encrypted | 64 * self.hidden | 32 * same
        out = b""
        if self.name is not None or self.raw_name is not None:
            flags |= 1
            out += self.raw_name if self.raw_name is not None else text(self.name or "")
        if self.raw_class is not None or self.class_name not in (None, IMPLIED):
            flags |= 2
            out += self.raw_class if self.raw_class is not None else text(self.class_name or "")
        elif self.class_name == IMPLIED:
            flags |= 4
        if self.score is not None:
            flags |= 8
            out += bytes([self.score])
        out += b"" if same else bytes([self.quality])
        out += varint(len(self.payload)) if self.raw_length is None else self.raw_length
        out += (crc(self.payload) ^ self.crc_xor).to_bytes(4, "little")
        return bytes([flags if self.raw_flags is None else self.raw_flags]) + out


@dataclass(frozen=True)
class File:
    """A file. What has "raw" in its name is written instead of what would be right."""

    width: int
    height: int
    mask: NDArray[np.uint8]
    groups: tuple[Entry, ...]
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    order: tuple[int, ...] | None = None
    """Positions in the table."""
    seal: bytes = b""
    model: bytes = MODEL
    magic: bytes = MAGIC
    version: int = 1
    tail: bytes = b""
    plain: bool | None = None
    crc_xor: int = 0
    flags_xor: int = 0
    raw_ids: tuple[int, ...] | None = None
    raw_order: bytes | None = None
    raw_count: int | None = None
    raw_width: bytes | None = None
    raw_height: bytes | None = None
    raw_chunks: bytes | None = None
    raw_mask: bytes | None = None
    raw_step: int | None = None
    raw_body_length: bytes | None = None

    @property
    def labels(self) -> list[int]:
        """Ids by label."""
        return [ABSENT] * bool((self.mask == ABSENT).any()) + [g.id for g in self.groups]

    def coded_mask(self) -> tuple[int, bytes]:
        labels = self.labels
        lookup = np.zeros(256, np.uint8)
        lookup[labels] = np.arange(len(labels))
        cells = lookup[self.mask]
        step = mask_step(cells) if self.raw_step is None else self.raw_step
        return step, encode_mask(cells, len(labels), step) if self.raw_mask is None else self.raw_mask

    def _before_mask(self) -> bytes:
        """The head body without the mask."""
        ids = [g.id for g in self.groups] if self.raw_ids is None else list(self.raw_ids)
        rows = [g.row(self.groups[i - 1] if i else None) for i, g in enumerate(self.groups)]
        plain = all(row[0] == (32 if i else 0) for i, row in enumerate(rows))
        plain = plain if self.plain is None else self.plain
        explicit = ids != list(range(len(ids)))
        flags = explicit | 2 * (self.order is not None or self.raw_order is not None)
        flags |= 4 * (bool(self.chunks) or self.raw_chunks is not None) | 8 * (ABSENT in self.labels)
        flags |= self.coded_mask()[0] << 4 | 64 * plain | 128 * bool(self.seal)
        flags ^= self.flags_xor
        out = bytes([flags])
        out += varint(self.width) if self.raw_width is None else self.raw_width
        out += varint(self.height) if self.raw_height is None else self.raw_height
        out += self.model + self.seal
        out += bytes([len(self.groups) if self.raw_count is None else self.raw_count])
        for group_id, row in zip(ids, rows, strict=True):
            out += bytes([group_id]) * (flags & 1) + (row[1:] if flags & 64 else row)
        out += bytes(self.order or ()) if self.raw_order is None else self.raw_order
        if self.raw_chunks is not None:
            return out + self.raw_chunks
        if self.chunks:
            out += bytes([len(self.chunks)])
            out += b"".join(tag + varint(len(body)) + body for tag, body in self.chunks)
        return out

    def head(self) -> bytes:
        body = self._before_mask() + self.coded_mask()[1]
        length = varint(len(body)) if self.raw_body_length is None else self.raw_body_length
        start = self.magic + bytes([self.version]) + length + body
        return start + (crc(start) ^ self.crc_xor).to_bytes(4, "little")

    def in_order(self) -> list[Entry]:
        if self.order is not None:
            return [self.groups[i] for i in self.order]
        blocks = {g.id: int((self.mask == g.id).sum()) for g in self.groups}
        return sorted(self.groups, key=lambda g: (g.id == 0, blocks[g.id], g.id))

    def __bytes__(self) -> bytes:
        return self.head() + b"".join(g.payload for g in self.in_order()) + self.tail

    def with_group(self, group_id: int, **changes: Any) -> File:
        groups = tuple(replace(g, **changes) if g.id == group_id else g for g in self.groups)
        return replace(self, groups=groups)

    def group(self, group_id: int) -> Entry:
        return next(g for g in self.groups if g.id == group_id)

    def offset(self, group_id: int) -> int:
        """Where the segment of a group starts."""
        before = self.in_order()
        at = [g.id for g in before].index(group_id)
        return len(self.head()) + sum(len(g.payload) for g in before[:at])


# -- pictures ----------------------------------------------------------------------------------------------


@functools.cache
def codec() -> ssic.Codec:
    return ssic.Codec.load(find_by_id(MODEL))


@functools.cache
def source() -> NDArray[np.float64]:
    """[rows, columns, M] latents of a golden file, as integers over 64."""
    opened = ssic.open(SOURCE)
    segments, broken = opened.access.substreams(g.id for g in opened.groups)
    assert not broken
    quality = {g.id: g.quality for g in opened.groups}
    plan, latents, damaged = codec().decode_latents(opened.head.mask, quality, segments)
    assert not damaged
    # What is coded at another quality is scaled by powers of two only, as that is exact.
    scaled = latents / 64 * 2.0 ** -np.round((plan.of_blocks(quality) - SOURCE_QUALITY) / 25)[:, None]
    return scaled.reshape(*opened.head.mask.shape, -1)


def substreams(
    mask: NDArray[np.uint8],
    qualities: Mapping[int, int],
    at: tuple[int, int] = (0, 0),
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda y: y,
) -> dict[int, bytes]:
    """Substreams of all groups of a mask, which show what the golden picture shows from block `at` on."""
    plan = make_plan(mask, np.isin(mask, list(qualities)))
    row, column = np.divmod(plan.block, mask.shape[1])
    have = source()
    y = have[(row + at[0]) % have.shape[0], (column + at[1]) % have.shape[1]]
    y = y * 2.0 ** np.round((plan.of_blocks(qualities) - SOURCE_QUALITY) / 25)[:, None]
    z = np.zeros((len(plan.pair_group), codec().config.hyper_channels))
    with one_blas_thread():  # of matrices so small, threads only make them slow
        return codec().coder.encode(plan, qualities, change(y), z).by_group


def filled(
    size: tuple[int, int],
    mask: Any,
    groups: Iterable[Entry],
    at: tuple[int, int] = (0, 0),
    **options: Any,
) -> File:
    """A file whose groups have substreams."""
    mask = np.array(mask, np.uint8)
    groups = tuple(groups)
    made = substreams(mask, {g.id: g.quality for g in groups}, at)
    return File(*size, mask, tuple(replace(g, payload=made[g.id]) for g in groups), **options)


def flat(size: tuple[int, int], mask: NDArray[np.uint8], ids: Iterable[int], **options: Any) -> File:
    """A file of groups whose symbols are all zero, but the first latent of each: cheap, whatever the mask."""

    def nearly_nothing(y: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros_like(y)
        out[:, 0] = np.round(y[:, 0] / 8) * 8
        return out

    ids = tuple(ids)
    made = substreams(mask, dict.fromkeys(ids, 30), change=nearly_nothing)
    return File(*size, mask, tuple(Entry(i, made[i], 30) for i in ids), **options)


# -- sealing -----------------------------------------------------------------------------------------------


def fixed(what: str, length: int = 32) -> bytes:
    """Bytes that are the same each time, for what must be random anywhere else."""
    return hashlib.shake_256(f"ssic vectors: {what}".encode()).digest(length)


PEOPLE = {name: ssic.Identity(fixed(name)) for name in ("alice", "bob", "carol", "mallory")}
SIGNERS = {name: ssic.SigningKey(fixed(name)) for name in ("signer", "impostor")}
PASSPHRASE = "korrekt Pferd B\u00fcroklammer"
WRONG_PASSPHRASE = "korrekt Pferd Heftklammer"
PHRASES = {"passphrase": PASSPHRASE, "wrong-passphrase": WRONG_PASSPHRASE}
AES, CHACHA = b"\1" + fixed("file id", 12), b"\2" + fixed("file id", 12)
OTHER_FILE = b"\1" + fixed("other file id", 12)
SCRYPT_COST = 14
"""The least that readers take: quick to test."""

Stanzas = Sequence[tuple[int, bytes]]


def for_people(*names: str, suite: int = 1, seed: bytes) -> list[tuple[int, bytes]]:
    return [
        (1, sealing.wrap_x25519(suite, seed, PEOPLE[n].recipient.raw, fixed(f"ephemeral {n}" + seed.hex())))
        for n in names
    ]


def for_passphrase(phrase: str, *, suite: int = 1, seed: bytes, cost: int = SCRYPT_COST) -> Stanzas:
    word = unicodedata.normalize("NFC", phrase).encode()
    body = sealing.wrap_passphrase(
        suite, seed, word, fixed("salt", 16), cost, fixed("nonce" + seed.hex(), 12)
    )
    return [(2, body)]


def for_stranger(
    label: str = "example.org/token", body: bytes = b"what only a token knows"
) -> tuple[int, bytes]:
    return 3, text(label) + varint(len(body)) + body


def packed_stanzas(stanzas: Stanzas) -> bytes:
    return b"".join(
        bytes([kind | (128 if i + 1 < len(stanzas) else 0)]) + body for i, (kind, body) in enumerate(stanzas)
    )


def sealed(
    file: File,
    group: Entry,
    content: bytes,
    stanzas: Stanzas,
    seed: bytes,
    *,
    version: int = 0,
    zeros: int = 0,
    plain: bytes | None = None,
) -> bytes:
    """A sealed group; `plain` instead of content and padding."""
    plain = varint(zeros) + content + bytes(zeros) if plain is None else plain
    data = sealing.associated(
        file.seal, (file.width, file.height), file.model, group.id, group.hidden, group.quality, group.score,
        group.shown, group.shown_class, version, len(plain), file.mask.tolist(),
    )  # fmt: skip
    cipher, nonce = sealing.content(file.seal[0], file.seal, seed)
    keys = packed_stanzas(stanzas)
    return (
        varint(version) + keys + sealing.keys_mac(file.seal, seed, keys) + cipher.encrypt(nonce, plain, data)
    )


def seed_of(what: object) -> bytes:
    return fixed(f"content key {what}", 16)


def seal(
    file: File,
    ids: Iterable[int],
    people: Sequence[str] = ("alice",),
    *,
    suite: bytes = AES,
    stanzas: Callable[[bytes], Stanzas] | None = None,
    **options: Any,
) -> File:
    """The same file with groups sealed."""
    file = replace(file, seal=suite)
    for i in ids:
        seed = seed_of(f"{i}")
        wrapped = for_people(*people, suite=suite[0], seed=seed) if stanzas is None else stanzas(seed)
        group = replace(file.group(i), encrypted=True)
        body = sealed(file, group, group.payload, wrapped, seed, **options)
        file = file.with_group(i, encrypted=True, payload=body)
    return file


def runs(blocks: NDArray[np.bool_]) -> bytes:
    """Lengths of runs over the grid: not of the group, of the group, ..."""
    whole = blocks.ravel()
    edges = [0, *(np.flatnonzero(np.diff(whole)) + 1).tolist(), whole.size]
    lengths = [b - a for a, b in pairwise(edges)]
    return b"".join(map(varint, [0, *lengths] if whole[0] else lengths))


def inner(
    file: File, group: Entry, *, place: int = 255, raw_runs: bytes | None = None, **changes: Any
) -> bytes:
    """What a part of a hidden entry holds."""
    name, flags = group.shown, 2 * (group.score is not None) | (group.shown_class is not None)
    flags = changes.get("flags", flags)
    out = bytes([changes.get("id", group.id), changes.get("quality", group.quality), place, flags])
    out += text(changes.get("name", name))
    out += text(group.shown_class) if group.shown_class is not None else b""
    out += bytes([group.score]) if group.score is not None else b""
    return out + (runs(file.mask == group.id) if raw_runs is None else raw_runs) + group.payload


PUBLIC = Entry(3, name="sealed", quality=1)
"""What the head says of hidden groups."""


def hide(
    file: File,
    parts: Mapping[int, Sequence[str]],
    public: Entry,
    *,
    contents: Mapping[int, bytes] | None = None,
    order: tuple[int, ...] | None = None,
) -> File:
    """The same file with groups hidden behind one entry.

    Args:
        parts: who may open each group, by id, in the order of the parts.
        contents: what is sealed of a group, where it is not as it should be.
        order: of the segments, as positions in the new table.
    """
    file = replace(file, seal=file.seal or AES)
    public = replace(public, encrypted=True, hidden=True)
    body = b""
    for i, people in parts.items():
        seed = seed_of(f"part {i}")
        content = (contents or {}).get(i) or inner(file, file.group(i))
        one = sealed(file, public, content, for_people(*people, suite=file.seal[0], seed=seed), seed)
        body += varint(len(one)) + one
    mask = np.where(np.isin(file.mask, list(parts)), np.uint8(public.id), file.mask)
    groups = [g for g in file.groups if g.id not in parts] + [replace(public, payload=body)]
    groups.sort(key=lambda g: g.id)
    return replace(file, mask=mask, groups=tuple(groups), order=order)


def signed(file: File, who: str = "signer", *, algorithm: int = 1, hashes: int | None = None) -> File:
    """The same file with a signature."""
    key = SIGNERS[who]
    digests = [hashlib.sha256(g.payload).digest() for g in file.groups]
    front = bytes([algorithm]) + key.verify_key.raw + b"".join(digests[:hashes])
    chunks = tuple(c for c in file.chunks if c[0] != b"SIGN")
    unsigned = replace(file, chunks=(*chunks, (b"SIGN", front + bytes(64))))
    signature = key.key.sign(b"ssic signature 1\0" + unsigned.head()[:-4])
    return replace(file, chunks=(*chunks, (b"SIGN", front + signature)))


def with_crc(data: bytes, wanted: int) -> bytes:
    """`data` with its last four bytes so that its CRC-32 is the wanted one."""
    front = data[:-4]
    base = crc(front + bytes(4))
    rows = [(crc(front + (1 << i).to_bytes(4, "little")) ^ base, 1 << i) for i in range(32)]
    left, tail = base ^ wanted, 0
    for bit in reversed(range(32)):  # elimination, over bits
        pivot = next((row for row in rows if row[0] >> bit & 1), None)
        if pivot is None:
            continue
        rows = [(a ^ pivot[0], b ^ pivot[1]) if a >> bit & 1 else (a, b) for a, b in rows if (a, b) != pivot]
        if left >> bit & 1:
            left, tail = left ^ pivot[0], tail ^ pivot[1]
    assert left == 0
    return front + tail.to_bytes(4, "little")


# -- odd pieces --------------------------------------------------------------------------------------------


def stored_zlib(data: bytes, blocks: int = 1) -> bytes:
    """A zlib stream without compression: the same bytes, whichever zlib is at hand."""
    cuts = [len(data) * i // blocks for i in range(blocks + 1)]
    out = b"\x78\x01"
    for i, (a, b) in enumerate(pairwise(cuts)):
        out += bytes([i + 1 == blocks]) + struct.pack("<HH", b - a, b - a ^ 0xFFFF) + data[a:b]
    return out + zlib.adler32(data).to_bytes(4, "big")


def profile() -> bytes:
    """An ICC profile, version 2: the primaries of sRGB, adapted to D50, and a gamma of 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + bytes(2)
    name = b"ssic vectors\0"
    white = xyz(0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78 + 1),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": white,
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7139),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, data, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, body in tags.items():
        body += bytes(-len(body) % 4)
        table += tag + struct.pack(">II", at + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:]
    return head.ljust(128, b"\0") + table + data


EXIF = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, 1, 1) + bytes(4)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def announced(breaks: int, overs: Sequence[bool] = ()) -> bytes:
    """The start of a mask's stream: the number of breaks, and decisions whether short gaps are over."""
    encoder = RangeEncoder()
    bits = (breaks + 1).bit_length() - 1
    encoder.encode(bits, NUMBER)
    for size in digits(bits):
        bits -= size
        encoder.encode((breaks + 1) >> bits & (1 << size) - 1, even(1 << size))
    counts = list(START[OVER])
    for over in overs:
        encoder.encode(int(over), decisions()[(counts[1] << SHARE_BITS) // sum(counts)])
        counts[over] += ONE
    return encoder_bytes(encoder)


def other_fraction(file: File) -> bytes:
    """The coded mask of a file with other bytes, as many, that decode to the same labels."""
    step, coded = file.coded_mask()
    height, width = (-(-n // (1 << step)) for n in file.mask.shape)
    want = None
    for last in range(256):
        changed = coded[:-1] + bytes([last])
        try:
            read_cells(changed, height, width, len(file.labels))
        except ValueError as error:
            if "shortest" in str(error) and last > coded[-1]:
                want = changed
                break
    assert want is not None, "no other last byte lies in the interval"
    return want


# -- the files that most vectors are made from --------------------------------------------------------------

GRID = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 0, 2, 1]], np.uint8)


@functools.cache
def three() -> File:
    """Three groups on 62x45 pixels: what most vectors are made from."""
    groups = (
        Entry(0),
        Entry(1, name="dog", class_name=IMPLIED, score=204, quality=85),
        Entry(2, name="person 2", class_name=IMPLIED, quality=85),
    )
    return filled((62, 45), GRID, groups, (1, 2))


@functools.cache
def two() -> File:
    """Two groups without segments on 33x20 pixels: for faults of the head."""
    return File(33, 20, np.array([[0, 0, 1], [0, 1, 1]], np.uint8), (Entry(0), Entry(1)))


@functools.cache
def one() -> File:
    """A group on 32x32 pixels."""
    return filled((32, 32), np.zeros((2, 2)), [Entry(0)], (2, 3))


def without(file: File, ids: Iterable[int]) -> File:
    """What extracting the other groups leaves."""
    gone = list(ids)
    mask = np.where(np.isin(file.mask, gone), np.uint8(ABSENT), file.mask)
    return replace(file, mask=mask, groups=tuple(g for g in file.groups if g.id not in gone))


def damaged(file: File, group_id: int, at: int = 0, bit: int = 8) -> bytes:
    """The file with a bit of a segment changed, its checksum left."""
    data = bytearray(bytes(file))
    data[file.offset(group_id) + at] ^= bit
    return bytes(data)


def contradicting(file: File, group_id: int) -> bytes:
    """A substream in which an escape has no end, or the range coder's state is invalid; it does not end in zero."""
    mask = np.where(file.mask == group_id, np.uint8(group_id), np.uint8(ABSENT))
    for i in range(1000):
        tried = b"\xff" * 8 + fixed(f"contradiction {i}", 40) + b"\1"
        _, _, bad = codec().decode_latents(mask, {group_id: file.group(group_id).quality}, {group_id: tried})
        if bad:
            return tried
    raise AssertionError("all of them decode")


def blobs() -> NDArray[np.uint8]:
    """Four groups on 6x9 blocks."""
    rows = ("000000110", "022001110", "022201133", "022200333", "002000333", "000000030")
    return np.array([[int(c) for c in row] for row in rows], np.uint8)
