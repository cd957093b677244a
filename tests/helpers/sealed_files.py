"""Files to seal, keys, and what an attacker without keys can make of sealed files."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Collection

import ssic.format as fmt
from helpers.masks import blob_mask
from ssic import Identity, Passphrase, Recipient, SigningKey
from ssic.crypto import Keyring, files, sealed
from ssic.crypto.wrap import Wrapper
from ssic.names import default_name

ALICE, BOB, CAROL = Identity(b"alice" * 6 + b"!!"), Identity(b"bob and " * 4), Identity(b"carol th" * 4)
SIGNER = SigningKey(b"sign" * 8)
HIDING = ("nothing", "names", "outline")
MODEL = bytes(range(8))


def clear_file(
    seed: int = 0, groups: int = 4, rows: int = 4, columns: int = 5, size: int = 40, **changes
) -> bytes:
    """A file of a few groups whose payloads are random; `size` is that of the largest."""
    rng = random.Random(seed)
    mask = blob_mask(seed, rows, columns, groups)
    segments = [
        fmt.Segment(
            i,
            rng.choice([f"person {i}", default_name(i)]),
            rng.choice([60, 85]),
            rng.randbytes(rng.randint(size // 2, size)),
            rng.choice([None, "person"]),
            rng.choice([None, 0.5]),
        )
        for i in range(mask.max() + 1)
    ]
    arguments = {"width": columns * 16 - 3, "height": rows * 16, "model_id": MODEL, "mask": mask}
    return fmt.write_file(**{**arguments, "segments": segments, **changes})


def segment(data: bytes, group: int) -> bytes:
    return fmt.read_segment(data, fmt.read_head(data), group)


def changed(data: bytes, change: Callable[[dict[int, fmt.Segment]], None]) -> bytes:
    """The file with other segments, all checksums right: what an attacker without keys can do."""
    head = fmt.read_head(data)
    segments = {g.id: fmt.segment_of(g, segment(data, g.id)) for g in head.groups}
    change(segments)
    chunks = head.stored_chunks
    return fmt.write_like(
        head, list(segments.values()), order=head.order, stored_chunks=chunks, seal=head.seal
    )


def repaired(data: bytes, like: fmt.Head) -> bytes:
    """The checksums made right, where the head still has the length and layout of `like`."""
    out = bytearray(data)
    for entry in like.groups:  # each segment's checksum lies in the head, once
        old = entry.crc.to_bytes(4, "little")
        at = out.find(old, 0, like.head_bytes)
        payload = out[entry.offset : entry.offset + entry.length]
        if at >= 0:
            out[at : at + 4] = zlib.crc32(payload).to_bytes(4, "little")
    end = like.head_bytes - 4
    out[end : end + 4] = zlib.crc32(out[:end]).to_bytes(4, "little")
    return bytes(out)


def files_encrypt(data: bytes, ids: Collection[int], locks: list[Recipient | Passphrase], **options) -> bytes:
    """`ssic.encrypt` with passphrases that cost less."""
    return files.encrypt(data, lambda _: ids, Wrapper(locks, cost=4), **options)


def inside(head: fmt.Head, entry: fmt.GroupEntry, part: sealed.SealedGroup) -> int:
    """The id of the group in a part that ALICE opens."""
    seed = sealed.unwrap(head, part, Keyring(ALICE))
    assert seed is not None
    return sealed.open_with(head, entry, part, seed)[0]
