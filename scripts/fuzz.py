#!/usr/bin/env python
"""Feeds mutated files to the reader: a result or a typed error must come out, quickly, in little memory.

    PYTHONPATH=src python scripts/fuzz.py -n 20000 --seed 1
    PYTHONPATH=src python scripts/fuzz.py -n 500 --decode photo.ssic

Prints one JSON object and returns 1 if anything else happened. Files that did harm go to `--keep`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

import ssic.format as fmt
from ssic.errors import SsicError
from ssic.format.varint import read_varint, write_varint

CRC = 4


def seed_files(rng: random.Random) -> list[bytes]:
    """Valid files of many kinds; their payloads are no substreams."""
    numpy_rng = np.random.default_rng(rng.randrange(2**32))
    files = []
    for i in range(24):
        rows, columns, count = rng.randint(1, 40), rng.randint(1, 40), rng.choice([1, 2, 5, 9, 60, 255])
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
            ids[-1] = fmt.ABSENT
        segments = [
            fmt.Segment(
                group,
                rng.choice([fmt.default_name(group), f"person {group}"]),
                rng.choice([60, 85]),
                rng.randbytes(rng.choice([0, 3, 200])),
                rng.choice([None, "person"]),
                rng.choice([None, 0.5]),
            )
            for group in ids
            if group != fmt.ABSENT
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


def with_fixed_head(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Changes the head body and makes its length and checksum right again."""
    body, segments = split(data)
    body = mutate(body, split(other)[0], rng)
    start = data[:5] + write_varint(len(body)) + body
    return start + zlib.crc32(start).to_bytes(CRC, "little") + segments


def with_fixed_segment(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Changes the content of one segment and makes all lengths and checksums right again."""
    head = fmt.read_head(data)
    victim = rng.choice(head.groups).id
    segments = []
    for group in head.groups:
        payload = fmt.read_segment(data, head, group.id)
        if group.id == victim:
            payload = mutate(payload, split(other)[1], rng)
        segments.append(
            fmt.Segment(
                group.id, group.name, group.quality, payload, group.class_name, group.score, group.encrypted
            )
        )
    return fmt.write_file(
        width=head.width,
        height=head.height,
        model_id=head.model_id,
        mask=head.mask,
        segments=segments,
        chunks=head.chunks,
        order=head.order,
    )


MUTATIONS: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "anywhere": mutate,
    "head, checksum right": with_fixed_head,
    "segment, checksum right": with_fixed_segment,
}


def read_everything(data: bytes) -> None:
    """Head, segments, extract and merge. A damaged group must not keep the others from being read."""
    head = fmt.read_head(data)
    intact, first_error = [], None
    for group in head.groups:
        try:
            fmt.read_segment(data, head, group.id)
            intact.append(group.id)
        except SsicError as error:
            first_error = error
    if intact:
        fmt.merge([fmt.extract(data, intact[:1]), *([fmt.extract(data, intact[1:])] if intact[1:] else [])])
    if first_error is not None:
        raise first_error


def decode_everything(data: bytes) -> None:
    """Down to pixels. Limited to a megapixel: a changed size with the checksum put right may make a valid file of
    a large picture, whose decoding takes the time that it takes."""
    import warnings

    import ssic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ssic.DamagedGroups)
        ssic.decode(data, limits=fmt.DecodeLimits(max_pixels=2**20))


def timed(target: Callable[[bytes], None], data: bytes) -> tuple[str, float]:
    """What came out ("ok", a typed error's name, "UNTYPED ..."), and the seconds that it took."""
    start = time.perf_counter()
    try:
        target(data)
        outcome = "ok"
    except SsicError as error:
        outcome = type(error).__name__
    except Exception as error:  # that nothing else gets out is what is tested
        outcome = f"UNTYPED {type(error).__name__}: {error}"[:200]
    return outcome, time.perf_counter() - start


def give_up(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError("hang")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="seeds; without them, made up on the spot")
    parser.add_argument("-n", type=int, default=2000, help="mutated files to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--decode", action="store_true", help="decode pixels, too (needs a model, and seed files)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="most that one file may take")
    parser.add_argument(
        "--megabytes", type=float, default=64, help="most that one file may allocate in Python"
    )
    parser.add_argument("--rss-megabytes", type=float, default=256, help="most that the process may grow by")
    parser.add_argument(
        "--memory-every", type=int, default=10, help="trace the memory of every so many-th file"
    )
    parser.add_argument("--keep", type=Path, help="folder for files that did harm")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    seeds = [path.read_bytes() for path in options.files] or seed_files(rng)
    target = decode_everything if options.decode else read_everything
    signal.signal(signal.SIGALRM, give_up)
    for seed in seeds:
        target(seed)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in MUTATIONS}
    faults: list[str] = []
    slowest = peak = 0.0
    for i in range(options.n):
        kind = rng.choice(list(MUTATIONS))
        data = MUTATIONS[kind](rng.choice(seeds), rng.choice(seeds), rng)
        signal.alarm(max(5, int(20 * options.seconds)))
        outcome, seconds = timed(target, data)
        if seconds > options.seconds:  # perhaps the machine was busy: once more
            outcome, again = timed(target, data)
            seconds = min(seconds, again)
        allocated = 0.0
        if i % options.memory_every == 0:
            tracemalloc.start()
            timed(target, data)
            allocated = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
        signal.alarm(0)
        slowest, peak = max(slowest, seconds), max(peak, allocated)
        outcomes[kind][outcome.split(":")[0]] += 1
        if outcome.startswith("UNTYPED") or seconds > options.seconds or allocated > options.megabytes:
            faults.append(f"{i} ({kind}): {outcome}, {seconds:.2f} s, {allocated:.1f} MiB")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"seed{options.seed}-{i}.ssic").write_bytes(data)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss) / 1024
    if growth > options.rss_megabytes:
        faults.append(f"the process grew by {growth:.0f} MiB")
    print(
        json.dumps(
            {
                "files": options.n,
                "seed": options.seed,
                "outcomes": {kind: dict(counts.most_common()) for kind, counts in outcomes.items()},
                "slowest_s": round(slowest, 4),
                "peak_python_mib": round(peak, 2),
                "rss_growth_mib": round(growth, 1),
                "faults": faults[:20],
                "ok": not faults,
            },
            indent=2,
        )
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
