#!/usr/bin/env python
"""What encryption costs: bytes for each group, and time for each megabyte, in process, over many files.

    PYTHONPATH=src python benchmarks/encryption.py [--json]

The segments are random bytes of the lengths that real pictures have (their content makes no difference). Masks of full
resolution are the worst case: reading a head takes as long as its mask. Times are CPU times of one thread, so that they
mean the same on a busy machine.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

import ssic
import ssic.format as fmt
from _report import emit, table
from ssic.crypto import Keyring, sealed
from ssic.crypto.files import NamesTell
from ssic.crypto.stanza import SUITES, Suite
from ssic.crypto.wrap import Wrapper


@dataclass(frozen=True)
class Kind:
    """A kind of file: pixels, groups, bits per pixel, and how coarse its mask is (blocks on a side of a cell)."""

    name: str
    width: int
    height: int
    groups: int
    bpp: float
    cell: int
    count: int


KINDS = (
    Kind("768x512, 5 groups", 768, 512, 5, 0.8, 1, 60),
    Kind("768x512, 5 groups, mask in cells of 64x64", 768, 512, 5, 0.8, 4, 100),
    Kind("4000x3000, 5 groups", 4000, 3000, 5, 1.0, 1, 6),
    Kind("4000x3000, 5 groups, mask in cells of 128x128", 4000, 3000, 5, 1.0, 8, 30),
    Kind("4000x3000, 1 group", 4000, 3000, 1, 1.0, 1, 60),
)


def make(kind: Kind, rng: np.random.Generator) -> bytes:
    rows, columns = (-(-size // 16) for size in (kind.height, kind.width))
    y, x = np.mgrid[: -(-rows // kind.cell), : -(-columns // kind.cell)]
    at = rng.permutation(y.size)[: kind.groups]
    owner = np.hypot(y[..., None] - y.ravel()[at], x[..., None] - x.ravel()[at]).argmin(-1)
    mask = owner.repeat(kind.cell, 0).repeat(kind.cell, 1)[:rows, :columns].astype(np.uint8)
    total = int(kind.width * kind.height * kind.bpp / 8)
    segments = [
        fmt.Segment(i, f"person {i}", 60, rng.bytes(int(total * (mask == i).mean())))
        for i in range(kind.groups)
    ]
    size = {"width": kind.width, "height": kind.height, "model_id": bytes(8)}
    return fmt.write_file(**size, mask=mask, segments=segments)  # type: ignore[arg-type]


def seconds(work: Callable[[int], object], count: int) -> float:
    start = time.process_time()
    for i in range(count):
        work(i)
    return time.process_time() - start


def throughput(kind: Kind, rng: np.random.Generator) -> dict[str, float]:
    """MB/s of whole operations, from bytes to bytes, and of the parts of them that are about encryption."""
    me = ssic.Identity.generate()
    files = [make(kind, rng) for _ in range(kind.count)]
    heads = [fmt.read_head(data) for data in files]
    everything = list(range(kind.groups))
    first = [bytes(ssic.encrypt(data, everything, me.recipient)) for data in files]
    segments = [
        [fmt.segment_of(g, fmt.read_segment(data, head, g.id)) for g in head.groups]
        for data, head in zip(files, heads, strict=True)
    ]
    seal = bytes([1]) + bytes(12)
    wrapper = Wrapper([me.recipient])
    new_heads = [fmt.read_head(data) for data in first]
    payloads = [
        [fmt.read_segment(data, head, g.id) for g in head.groups]
        for data, head in zip(first, new_heads, strict=True)
    ]

    def seal_only(i: int) -> None:
        for segment in segments[i]:
            sealed.seal_group(heads[i], seal, segment, wrapper, 0)

    def open_only(i: int) -> None:
        keyring = Keyring(me)
        for group, payload in zip(new_heads[i].groups, payloads[i], strict=True):
            sealed.open_group(new_heads[i], group, payload, keyring)

    megabytes = sum(map(len, files)) / 1e6
    work: dict[str, Callable[[int], object]] = {
        "sealing": seal_only,
        "opening": open_only,
        "reading the head": lambda i: fmt.read_head(files[i]),
        "encrypt, all groups": lambda i: bytes(ssic.encrypt(files[i], everything, me.recipient)),
        "encrypt, one group": lambda i: bytes(ssic.encrypt(files[i], 0, me.recipient)),
        "decrypt": lambda i: bytes(ssic.decrypt(first[i], me)),
        "rewrap": lambda i: bytes(ssic.rewrap(first[i], me, me.recipient)),
    }
    found = {name: megabytes / seconds(do, kind.count) for name, do in work.items()}
    return {"files": kind.count, "KB per file": 1000 * megabytes / kind.count} | found


def sealed_once(suite: Suite, data: bytes, _: int) -> bytes:
    return suite.aead(bytes(32)).encrypt(bytes(12), data, b"")


def overhead(rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """(what, bytes for one group, bytes for all five) more than the clear file."""
    data = make(KINDS[0], rng)
    me, you = (ssic.Identity.generate().recipient for _ in range(2))
    phrase = ssic.Passphrase("correct horse battery staple")
    ways: list[tuple[str, list[Any], Literal["nothing", "names", "outline"]]] = [
        ("one recipient", [me], "nothing"),
        ("two recipients", [me, you], "nothing"),
        ("a passphrase", [phrase], "nothing"),
        ("one recipient, names hidden", [me], "names"),
        ("one recipient, outline hidden", [me], "outline"),
    ]
    rows = []
    for name, locks, hide in ways:
        one, all_five = (
            len(bytes(ssic.encrypt(data, ids, locks, hide=hide))) - len(data) for ids in ([1], range(5))
        )
        rows.append((name, one, all_five))
    signed = len(bytes(ssic.sign(data, ssic.SigningKey.generate()))) - len(data)
    return [*rows, ("signature of the file", signed, signed)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NamesTell)  # of names that are numbered here
    rng = np.random.default_rng(1)
    grown = overhead(rng)
    speed = {kind.name: throughput(kind, rng) for kind in KINDS}
    data = rng.bytes(2**20)
    ciphers = {s.name: 64 * 2**20 / 1e6 / seconds(partial(sealed_once, s, data), 64) for s in SUITES.values()}
    names = list(next(iter(speed.values())))
    tables = [
        "Bytes more than the clear file (five groups)\n\n"
        + table(["", "one group sealed", "all five sealed"], grown),
        "MB of clear files per second of CPU time\n\n"
        + table(["", *speed], [[name, *(f"{s[name]:,.0f}" for s in speed.values())] for name in names]),
        "The ciphers alone, on pieces of 1 MiB: "
        + ", ".join(f"{k} {v:,.0f} MB/s" for k, v in ciphers.items()),
    ]
    emit(
        "Encryption", {"overhead": grown, "throughput": speed, "ciphers": ciphers}, tables, options.json, None
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
