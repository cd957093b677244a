"""A signed file that is exchanged while it is read: what is used is what was signed, or there is an error."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import ssic
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.crypto.files import DamageKept
from ssic.format import read_head
from ssic.format.layout import CRC_BYTES, SIGNATURE
from ssic.storage.source import ByteSource

SIGNER = ssic.SigningKey.generate()
TRUST = SIGNER.verify_key
ME = ssic.Identity.generate()
Refused = (ssic.SsicError, OSError)


class Pair(NamedTuple):
    genuine: bytes
    forged: bytes


def forgery(genuine: bytes, other: bytes) -> bytes:
    """Another picture's file, with the key and the signature of the genuine one, and digests of its own segments."""
    forged = bytearray(bytes(ssic.sign(other, ssic.SigningKey.generate())))
    real, head = read_head(genuine), read_head(bytes(forged))
    chunk, own = real.stored_chunks[SIGNATURE], head.stored_chunks[SIGNATURE]
    at = forged.index(own)
    forged[at : at + 33], forged[at + len(own) - 64 : at + len(own)] = chunk[:33], chunk[-64:]
    end = head.head_bytes - CRC_BYTES
    forged[end : end + CRC_BYTES] = zlib.crc32(forged[:end]).to_bytes(CRC_BYTES, "little")
    assert head.head_bytes == real.head_bytes  # so that what is signed starts and ends at the same places
    return bytes(forged)


@pytest.fixture(scope="module")
def pair() -> Pair:
    mask = blob_mask(4, 4, 6, 3)
    clear = [ssic.encode(natural_picture(seed, 60, 90), mask, quality=70, model="small") for seed in (1, 2)]
    genuine = bytes(ssic.sign(clear[0], SIGNER))
    forged = forgery(genuine, clear[1])
    with pytest.raises(ssic.SignatureError):
        ssic.SsicFile(forged, trust=TRUST)
    ssic.decode(forged)  # without trust it is a file like any other
    return Pair(genuine, forged)


@pytest.fixture(scope="module")
def sealed_pair() -> Pair:
    """The same with a group whose outline is hidden, which is read when the file is opened."""
    mask = blob_mask(4, 4, 6, 3)
    files = [
        bytes(
            ssic.encrypt(
                ssic.encode(natural_picture(seed, 60, 90), mask, model="small"),
                [1],
                ME.recipient,
                hide="outline",
            )
        )
        for seed in (1, 2)
    ]
    genuine = bytes(ssic.sign(files[0], SIGNER))
    return Pair(genuine, forgery(genuine, files[1]))


class Changing(ByteSource):
    """A file that is another one at some of the reads."""

    def __init__(self, pair: Pair, forged: Callable[[int], bool]) -> None:
        self._pair, self._forged = pair, forged
        self.reads = 0

    @property
    def size(self) -> int | None:
        return None

    def __getitem__(self, part: slice) -> bytes:
        data = self._pair.forged if self._forged(self.reads) else self._pair.genuine
        self.reads += 1
        return data[part]


def uses() -> dict[str, Callable[[ssic.SsicFile], object]]:
    """What can be done with an opened file, and what comes of it."""
    pixels = natural_picture(5, 60, 90)
    others = [0, 2]
    return {
        "decode": lambda f: f.decode(strict=True).tobytes(),
        "bytes": bytes,
        "extract": lambda f: bytes(f.extract(others)),
        "drop": lambda f: bytes(f.drop([2])),
        "reorder": lambda f: bytes(f.reorder([0])),
        "replace": lambda f: bytes(f.replace([2], pixels)),
        "set_quality": lambda f: bytes(f.set_quality({2: 20})),
        "merge": lambda f: bytes(ssic.merge([f])),
        "sign": lambda f: bytes(ssic.sign(f, SIGNER)),
        "encrypt": lambda f: bytes(ssic.decrypt(bytes(ssic.encrypt(f, [2], ME.recipient)), ME)),
        "verify": lambda f: ssic.verify(f, TRUST),
        "damaged": lambda f: f.damaged() or "all are as signed",
        "decode again": lambda f: ssic.decode(f, strict=True).tobytes(),
        "open again": lambda f: ssic.open(f, model="small").decode(strict=True).tobytes(),
    }


@pytest.mark.parametrize("use", uses())
def test_no_change_between_two_reads_gives_what_was_not_signed(pair: Pair, use: str) -> None:
    call = uses()[use]
    steady = Changing(pair, lambda read: False)
    expected = call(ssic.SsicFile(steady, trust=TRUST))
    patterns: list[Callable[[int], bool]] = []
    for k in range(steady.reads + 1):
        patterns += [
            lambda read, k=k: read < k,  # type: ignore[misc]
            lambda read, k=k: read >= k,  # type: ignore[misc]
            lambda read, k=k: read == k,  # type: ignore[misc]
            lambda read, k=k: read != k,  # type: ignore[misc]
        ]
    patterns += [lambda read, n=n: bool(n >> read % 4 & 1) for n in range(16)]  # type: ignore[misc]
    refused = 0
    for forged in patterns:
        try:
            found = call(ssic.SsicFile(Changing(pair, forged), trust=TRUST))
        except Refused:
            refused += 1
        else:
            assert found == expected or (use == "damaged" and found != "all are as signed")
    assert refused or use == "damaged"


def test_hidden_groups_that_are_opened_at_once_are_those_that_were_signed(sealed_pair: Pair) -> None:
    expected = ssic.decode(sealed_pair.genuine, identity=ME, trust=TRUST).tobytes()
    for n in range(16):
        source = Changing(sealed_pair, lambda read, n=n: bool(n >> read % 4 & 1))  # type: ignore[misc]
        try:
            found = ssic.SsicFile(source, identity=ME, trust=TRUST).decode(strict=True)
        except Refused:
            continue
        assert found.tobytes() == expected


@pytest.mark.filterwarnings("error::ssic.crypto.files.DamageKept")
@pytest.mark.parametrize("function", ["verify", "sign", "encrypt", "extract"])
def test_without_trust_no_file_is_made_of_two(pair: Pair, function: str) -> None:
    """Nor is a head taken from one and checked by another: what `verify` says is about one file. A segment of the other
    file is damage to what is sealed with it: kept, as damage is, and told of."""
    calls: dict[str, Callable[[ssic.SsicFile], object]] = {
        "verify": lambda f: (f.head.groups[1].crc, ssic.verify(f)),
        "sign": lambda f: bytes(ssic.sign(f, SIGNER)),
        "encrypt": lambda f: bytes(ssic.decrypt(bytes(ssic.encrypt(f, [1], ME.recipient)), ME)),
        "extract": lambda f: bytes(f.extract([1])),
    }
    allowed = []
    for data in pair if function != "verify" else pair[:1]:
        allowed.append(calls[function](ssic.SsicFile(data)))
    for n in range(16):
        try:
            found = calls[function](ssic.SsicFile(Changing(pair, lambda read, n=n: bool(n >> read % 4 & 1))))  # type: ignore[misc]
        except (*Refused, DamageKept):
            continue
        assert found in allowed


SWAPPING = """
import os, sys
place, one, other, ready = sys.argv[1:]
files = [open(name, "rb").read() for name in (one, other)]
k = 0
while os.getppid() == PARENT:
    with open(place + ".new", "wb") as file:
        file.write(files[k % 2])
    os.replace(place + ".new", place)
    if k == 0:
        open(ready, "w").close()
    k += 1
"""


def test_a_process_that_swaps_files_meanwhile_gets_no_forgery_through(pair: Pair, tmp_path: Path) -> None:
    for name, data in zip(("one", "other", "place"), (*pair, pair.genuine), strict=True):
        (tmp_path / name).write_bytes(data)
    expected: NDArray[np.uint8] = ssic.decode(pair.genuine, trust=TRUST)
    code = SWAPPING.replace("PARENT", str(os.getpid()))
    names = [str(tmp_path / name) for name in ("place", "one", "other", "ready")]
    swapper = subprocess.Popen([sys.executable, "-c", code, *names])
    refused = given = 0
    try:
        while not (tmp_path / "ready").exists():
            assert swapper.poll() is None
        for k in range(2000):
            try:
                opened = ssic.open(tmp_path / "place", trust=TRUST)
                assert opened.head.groups == read_head(pair.genuine).groups
                if k % 100:
                    assert bytes(opened) == pair.genuine
                else:
                    np.testing.assert_array_equal(opened.decode(strict=True), expected)
                given += 1
            except Refused:
                refused += 1
    finally:
        swapper.kill()
        swapper.wait()
    assert given
    assert refused
