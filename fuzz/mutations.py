#!/usr/bin/env python
"""Feeds mutated files to the reader: a result or a typed error must come out, quickly, in little memory.

    PYTHONPATH=src python fuzz/mutations.py -n 100000 --seed 1 --jobs 2 --decode 0.02
    PYTHONPATH=src python fuzz/mutations.py -n 500 --decode 1 small.ssic

Heads, indexes, masks, segments, sealed segments and signatures; with keys at hand, so that damage behind a seal that is
right is tried, too.

Prints one JSON object and returns 1 if anything else happened. Files that did harm go to `--keep`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import random
import resource
import signal
import sys
import time
import tracemalloc
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import ssic.format as fmt
from ssic.blocks import ABSENT
from ssic.crypto import Identity, Keyring, Passphrase, SigningKey, files, sealed, signature
from ssic.crypto.wrap import Wrapper
from ssic.errors import SsicError
from ssic.format.varint import read_varint, write_varint
from ssic.names import default_name

CRC = 4
IDENTITY, PASSPHRASE = Identity(b"fuzz" * 8), Passphrase("fuzz")
KEYS = [IDENTITY, PASSPHRASE]
RECIPIENT, STRANGER = IDENTITY.recipient, Identity(b"gone" * 8).recipient
SIGNER = SigningKey(b"sign" * 8)
HIDING: tuple[files.Hide, ...] = ("nothing", "names", "outline")
LIMITS = fmt.DecodeLimits(min_scrypt_cost=1, max_scrypt_cost=8)
"""What scrypt costs is asked for on purpose; here it would only take time from the search."""


def seed_files(rng: random.Random) -> list[bytes]:
    """Valid files of many kinds; their payloads are no substreams."""
    numpy_rng = np.random.default_rng(rng.randrange(2**32))
    files = []
    for i in range(24):
        most = 40 if i % 6 == 0 else 14
        rows, columns, count = rng.randint(1, most), rng.randint(1, most), rng.choice([1, 2, 5, 9, 60, 255])
        y, x = np.mgrid[:rows, :columns]
        if i % 3:
            labels = (y * rng.random() + x * rng.random() + numpy_rng.random((rows, columns))).astype(
                int
            ) % count
        else:
            labels = numpy_rng.integers(0, count, (rows, columns))
        labels = np.unique(labels, return_inverse=True)[1].reshape(rows, columns)
        ids = (
            sorted(rng.sample(range(255), int(labels.max()) + 1)) if i % 2 else list(range(labels.max() + 1))
        )
        if i % 5 == 0 and len(ids) > 1:
            ids[-1] = ABSENT
        segments = [
            fmt.Segment(
                group,
                rng.choice([default_name(group), f"person {group}"]),
                rng.choice([60, 85]),
                rng.randbytes(rng.choice([0, 3, 200])),
                rng.choice([None, "person"]),
                rng.choice([None, 0.5]),
            )
            for group in ids
            if group != ABSENT
        ]
        order = [segment.id for segment in segments]
        rng.shuffle(order)
        files.append(
            fmt.write_file(
                width=columns * 16,
                height=rows * 16,
                model_id=bytes(8),
                mask=np.array(ids, np.uint8)[labels],
                segments=segments,
                chunks={"ICCP": bytes(500), "EXIF": b"II*\0"} if i % 4 == 0 else None,
                order=order if i % 3 == 0 else None,
            )
        )
    return files


def protected_files(clear: list[bytes], rng: random.Random) -> list[bytes]:
    """The same with some groups sealed in all ways that there are, and some of them signed."""
    out = []
    for i, data in enumerate(clear):
        ids = [g.id for g in fmt.read_head(data).groups][:120]
        locks: list[Any] = [[RECIPIENT], [STRANGER, RECIPIENT], [PASSPHRASE]][i % 3]
        hide = (*HIDING, HIDING[2])[i % 4]
        some = rng.sample(ids, rng.randint(1, min(len(ids), 4)))
        data = files.encrypt(
            data, lambda _, some=some: some, Wrapper(locks, cost=4), hide=hide, version=i % 3
        )
        rest = [g.id for g in fmt.read_head(data).groups if not g.encrypted]
        if i % 5 == 0 and rest:
            data = files.encrypt(data, lambda _, rest=rest: rest[:1], Wrapper([RECIPIENT]))
        out.append(signature.sign(data, SIGNER) if i % 2 else data)
    return out


def picture_files() -> list[bytes]:
    """Small files with real substreams."""
    import ssic

    rng = np.random.default_rng(1)
    out = []
    for groups, rows, columns in ((1, 1, 1), (2, 2, 3), (4, 4, 5)):
        y, x = np.mgrid[: 16 * rows, : 16 * columns]
        picture = (
            128 + 60 * np.sin(y / 9)[..., None] * np.cos(x / 7)[..., None] + rng.normal(0, 9, (*y.shape, 3))
        ).clip(0, 255)
        mask = np.arange(rows * columns).reshape(rows, columns) % groups
        out.append(ssic.encode(picture.astype(np.uint8), mask.astype(np.uint8), quality=50))
    return out


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A few random changes of `data`; pieces of `other` may be mixed in."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + rng.choice([1, 2, 8, 64]))
        kind = rng.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:to] = rng.randbytes(to - at)
        elif kind == 2:
            del out[at:to]
        elif kind == 3:
            out[at:at] = rng.randbytes(to - at)
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            out[at:to] = rng.choice([b"\0", b"\x7f", b"\x80", b"\xff"]) * (to - at)
        elif other:
            start = rng.randrange(len(other))
            out[at:to] = other[start : start + rng.choice([1, 8, 64])]
    return bytes(out)


def split(data: bytes) -> tuple[bytes, bytes]:
    """The head body and the segments of a valid file."""
    length, start = read_varint(data, 5)
    return data[start : start + length], data[start + length + CRC :]


def with_body(data: bytes, body: bytes, segments: bytes) -> bytes:
    """A file with another head body, its length and checksum right."""
    start = data[:5] + write_varint(len(body)) + body
    return start + zlib.crc32(start).to_bytes(CRC, "little") + segments


def with_fixed_head(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Changes the head body and makes its length and checksum right again."""
    body, segments = split(data)
    return with_body(data, mutate(body, split(other)[0], rng), segments)


def with_fixed_index(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The same for what stands before the mask: sizes, seal, group table, order, chunks."""
    body, segments = split(data)
    at = len(body) - fmt.read_head(data).mask_bytes
    return with_body(data, mutate(body[:at], split(other)[0], rng) + body[at:], segments)


def with_fixed_mask(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The same for the mask."""
    body, segments = split(data)
    at = len(body) - fmt.read_head(data).mask_bytes
    foreign = split(other)[0][-fmt.read_head(other).mask_bytes or len(split(other)[0]) :]
    return with_body(data, body[:at] + mutate(body[at:], foreign, rng), segments)


def with_segment(data: bytes, rng: random.Random, change: Callable[[fmt.Segment], bytes]) -> bytes:
    """Changes the content of one segment, sealed ones first, and makes all lengths and checksums right again."""
    head = fmt.read_head(data)
    segments = [fmt.segment_of(g, fmt.read_segment(data, head, g.id)) for g in head.groups]
    victim = rng.choice([s for s in segments if s.encrypted] or segments)
    segments[segments.index(victim)] = dataclasses.replace(victim, payload=change(victim))
    chunks = head.stored_chunks
    return fmt.write_like(head, segments, order=head.order, stored_chunks=chunks, seal=head.seal)


def with_fixed_segment(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A segment that is not what an encoder, or a sealer, wrote; its checksum is right."""
    return with_segment(data, rng, lambda victim: mutate(victim.payload, split(other)[1], rng))


def with_faulty_seal(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """What a sealer with the right keys and bad intent may write: wrapped keys and content are right, what they
    hold is not."""
    head = fmt.read_head(data)

    def change(victim: fmt.Segment) -> bytes:
        if not victim.encrypted:
            return mutate(victim.payload, b"", rng)
        entry = next(g for g in head.groups if g.id == victim.id)
        if victim.hidden:
            parts = [sealed.unpack_part(part, "") for part in sealed.split_parts(victim.payload, "")[0]]
        else:
            parts = [sealed.unpack(victim.payload, "")]
        at = rng.randrange(len(parts))
        seed = sealed.unwrap(head, parts[at], Keyring(KEYS, LIMITS))
        assert seed is not None, "seeds are sealed to KEYS"
        plain = mutate(sealed.open_with(head, entry, parts[at], seed), split(other)[1], rng)
        assert head.seal is not None
        new = dataclasses.replace(victim, payload=plain)
        body = sealed.seal_group(
            head, head.seal, new, Wrapper([RECIPIENT]), parts[at].version, seed=seed
        ).body
        parts[at] = dataclasses.replace(parts[at], body=body)
        return b"".join(map(sealed.pack_part, parts)) if victim.hidden else parts[at].pack()

    return with_segment(data, rng, change)


MUTATIONS: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "anywhere": mutate,
    "head, checksum right": with_fixed_head,
    "index, checksum right": with_fixed_index,
    "mask, checksum right": with_fixed_mask,
    "segment, checksum right": with_fixed_segment,
    "sealed by a faulty writer": with_faulty_seal,
}


def read_everything(data: bytes) -> None:
    """Head, segments, extract, merge, seals and signature. A damaged group must not keep the others from being read."""
    head = fmt.read_head(data)
    intact, first_error = [], None
    keyring = Keyring(KEYS, LIMITS)
    parts = {}
    for group in head.groups:
        try:
            segment = fmt.read_segment(data, head, group.id)
            intact.append(group.id)
            if group.hidden:
                parts[group.id] = files.open_parts(head, group, segment, keyring)
            elif group.encrypted:
                sealed.open_group(head, group, segment, keyring)
        except SsicError as error:
            first_error = error
    if intact:
        fmt.merge([fmt.extract(data, intact[:1]), *([fmt.extract(data, intact[1:])] if intact[1:] else [])])
    files.reveal(head, parts)
    if fmt.SIGNATURE in head.stored_chunks:
        signature.verify(data, limits=LIMITS)
    if head.seal is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            files.decrypt(data, keyring, limits=LIMITS)
    if first_error is not None:
        raise first_error


def decode_everything(data: bytes) -> None:
    """Down to pixels, with keys. Limited to 256x256 pixels: a changed size with the checksum put right may make a
    valid file of a large picture, whose decoding takes the time that it takes."""
    import ssic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        limits = dataclasses.replace(LIMITS, max_pixels=2**16)
        ssic.decode(data, limits=limits, identity=KEYS)


def timed(target: Callable[[bytes], None], data: bytes) -> tuple[str, float]:
    """What came out ("ok", a typed error's name, "UNTYPED ..."), and the seconds of CPU time that it took: on a busy
    machine the clock on the wall says more about the others."""
    start = time.process_time()
    try:
        target(data)
        outcome = "ok"
    except SsicError as error:
        outcome = type(error).__name__
    except Exception as error:  # that nothing else gets out is what is tested
        outcome = f"UNTYPED {type(error).__name__}: {error}"[:200]
    return outcome, time.process_time() - start


def give_up(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError("hang")


def fuzz(options: argparse.Namespace, seed: int, count: int) -> dict[str, Any]:
    """Try `count` mutated files; the findings as they are printed."""
    rng = random.Random(seed)
    seeds = [path.read_bytes() for path in options.files] or seed_files(rng)
    seeds += protected_files(seeds, rng)
    pictures: list[bytes] = []
    if options.decode > 0:
        pictures = [path.read_bytes() for path in options.files] or picture_files()
        pictures += protected_files(pictures * 3, rng)
    signal.signal(signal.SIGALRM, give_up)
    for data in seeds:
        read_everything(data)
    for data in pictures:
        decode_everything(data)  # loads the model
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: dict[str, Counter[str]] = {}
    faults: list[str] = []
    slowest, peak, decoded = (0.0, ""), 0.0, 0
    for i in range(count):
        kind = rng.choice(list(MUTATIONS))
        decode = rng.random() < options.decode
        target, pool = (decode_everything, pictures) if decode else (read_everything, seeds)
        decoded += decode
        data = MUTATIONS[kind](rng.choice(pool), rng.choice(pool), rng)
        signal.alarm(max(5, int(20 * options.seconds)))
        outcome, seconds = timed(target, data)
        if seconds > options.seconds:  # perhaps the caches were cold: once more
            outcome, again = timed(target, data)
            seconds = min(seconds, again)
        allocated = 0.0
        if i % options.memory_every == 0:
            tracemalloc.start()
            timed(target, data)
            allocated = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
        signal.alarm(0)
        slowest, peak = max(slowest, (seconds, f"{kind}: {outcome}")), max(peak, allocated)
        outcomes.setdefault(kind, Counter())[outcome.split(":")[0]] += 1
        if outcome.startswith("UNTYPED") or seconds > options.seconds or allocated > options.megabytes:
            faults.append(f"{i} ({kind}): {outcome}, {seconds:.2f} s, {allocated:.1f} MiB")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"seed{seed}-{i}.ssic").write_bytes(data)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss) / 1024
    if growth > options.megabytes:
        faults.append(f"the process grew by {growth:.0f} MiB")
    return {
        "files": count,
        "decoded_to_pixels": decoded,
        "outcomes": {kind: dict(counts.most_common()) for kind, counts in sorted(outcomes.items())},
        "slowest_s": round(slowest[0], 4),
        "slowest": slowest[1],
        "peak_python_mib": round(peak, 2),
        "rss_growth_mib": round(growth, 1),
        "faults": faults[:20],
    }


def merged(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The findings of several processes as those of one."""
    outcomes: dict[str, Counter[str]] = {}
    for one in found:
        for kind, counts in one["outcomes"].items():
            outcomes.setdefault(kind, Counter()).update(counts)
    worst = max(found, key=lambda one: one["slowest_s"])
    return {
        "files": sum(one["files"] for one in found),
        "decoded_to_pixels": sum(one["decoded_to_pixels"] for one in found),
        "outcomes": {kind: dict(counts.most_common()) for kind, counts in sorted(outcomes.items())},
        "slowest_s": worst["slowest_s"],
        "slowest": worst["slowest"],
        "peak_python_mib": max(one["peak_python_mib"] for one in found),
        "rss_growth_mib": max(one["rss_growth_mib"] for one in found),
        "faults": [fault for one in found for fault in one["faults"]],
    }


def arguments(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "files", nargs="*", type=Path, help="seeds, besides them sealed ones; else made on the spot"
    )
    parser.add_argument("-n", type=int, default=2000, help="mutated files to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes; each has a seed of its own")
    parser.add_argument(
        "--decode",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="decode this share to pixels (needs the model)",
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="most CPU time that one file may take")
    parser.add_argument(
        "--megabytes",
        type=float,
        default=300,
        help="most that one file may allocate, or the process may grow by",
    )
    parser.add_argument(
        "--memory-every", type=int, default=10, help="trace the memory of every so many-th file"
    )
    parser.add_argument("--keep", type=Path, help="folder for files that did harm")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> int:
    options = arguments(args)
    shares = [options.n // options.jobs + (i < options.n % options.jobs) for i in range(options.jobs)]
    seeds = [options.seed + 1000 * i for i in range(options.jobs)]
    if options.jobs == 1:
        found = [fuzz(options, options.seed, options.n)]
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.jobs) as pool:
            found = pool.starmap(fuzz, [(options, s, n) for s, n in zip(seeds, shares, strict=True)])
    result = {"seeds": seeds, **merged(found)}
    print(json.dumps(result | {"ok": not result["faults"]}, indent=2))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
