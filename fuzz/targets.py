#!/usr/bin/env python
"""Coverage-guided fuzzing, a target per entry point. fuzz/README.md says how to run it.

    PYTHONPATH=src python fuzz/targets.py head new-inputs -max_total_time=600
    PYTHONPATH=src python fuzz/targets.py --seeds            # makes fuzz/corpus anew

Whatever bytes a target is given, it must end in a result or in an `SsicError`; atheris (libFuzzer) tells of all else,
of what takes too long (`-timeout`) and of too much memory (`-rss_limit_mb`). What a target asserts is said at it.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__" and "--seeds" not in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["ssic"]):  # what is imported here tells atheris where it goes
        for module in ("ssic.crypto.files", "ssic.crypto.signature", "ssic.entropy.coder"):
            import_module(module)

import ssic.format as fmt
from ssic.blocks import block_grid
from ssic.crypto import Identity, Keyring, SigningKey, files, sealed, signature
from ssic.crypto.wrap import Wrapper
from ssic.errors import SsicError
from ssic.format.head_writer import head_bytes
from ssic.format.mask_coder import decode_mask, encode_mask, mask_step
from ssic.format.varint import write_varint

CORPUS = Path(__file__).parent / "corpus"
LIMITS = fmt.DecodeLimits(max_pixels=2**20, max_memory=2**30, max_head_bytes=2**16, max_profile_bytes=2**20)
ME = Identity(b"fuzz" * 8)
SIGNER = SigningKey(b"sign" * 8)
SEED = b"content key of .."[:16]


def framed(body: bytes, segments: bytes = b"") -> bytes:
    """A file with this head body, its length and checksum right: else nothing would get past the checksum."""
    start = b"\xf3sic\x01" + write_varint(len(body)) + body
    return start + zlib.crc32(start).to_bytes(4, "little") + segments


def head(data: bytes) -> None:
    """A head body. One that is read is written again as the same bytes."""
    found = fmt.read_head(framed(data), LIMITS)
    ids = [g.id for g in found.groups]
    places = [ids.index(i) for i in found.order]
    for order in (None, places):
        again = head_bytes(found.width, found.height, found.model_id, found.mask, found.groups, found.stored_chunks,
                           order, found.seal, found.coded_mask)  # fmt: skip
        if again == framed(data):
            return
    raise AssertionError("read, and written otherwise")


def mask(data: bytes) -> None:
    """Width, height, labels, step, then a mask's bytes. A mask that is read is written again as the same bytes."""
    if len(data) < 4:
        return
    shape = (1 + data[0] % 64, 1 + data[1] % 64)
    labels, step = 1 + data[2], data[3] % 4
    try:
        cells = decode_mask(data[4:], shape, labels, step)
    except ValueError:
        return
    assert cells.max() < labels
    assert mask_step(cells) >= step
    assert encode_mask(cells, labels, step) == data[4:]


def index(data: bytes) -> None:
    """A whole file: head and segments; extracting, merging and reordering keep what they keep."""
    found = fmt.read_head(data, LIMITS)
    bad = {g.id for g in fmt.check(data, found)}
    good = [g.id for g in found.groups if g.id not in bad]
    if not good:
        return
    part = fmt.extract(data, good[:1], LIMITS)
    assert fmt.read_segment(part, fmt.read_head(part, LIMITS), good[0]) == fmt.read_segment(
        data, found, good[0]
    )
    if not bad:
        assert fmt.extract(data, good, LIMITS, metadata=True) == data
        fmt.merge([part, *([fmt.extract(data, good[1:])] if good[1:] else [])], LIMITS)
        fmt.reorder(data, good[-1:], LIMITS)


def _sealed_file(hide: files.Hide) -> bytes:
    ids = np.array([[0, 1, 2]], np.uint8)
    segments = [fmt.Segment(i, f"g{i}", 50, bytes([65 + i]) * 9) for i in range(3)]
    clear = fmt.write_file(width=48, height=16, model_id=bytes(8), mask=ids, segments=segments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return files.encrypt(clear, lambda _: [1, 2], Wrapper([ME.recipient]), hide=hide)


_SEALED = {"nothing": _sealed_file("nothing"), "outline": _sealed_file("outline")}


def seals(data: bytes) -> None:
    """What stands in sealed segments. The first byte says how: as the segment; or as the plaintext behind a right seal,
    which a sealer with bad intent may write."""
    if not data:
        return
    hidden, behind = data[0] & 1, data[0] & 2
    whole = _SEALED["outline" if hidden else "nothing"]
    found = fmt.read_head(whole)
    entry = next(g for g in found.groups if g.encrypted)
    payload = data[1:]
    if behind:
        assert found.seal is not None
        new = fmt.Segment(entry.id, entry.name, entry.quality, payload, None, None, True, entry.hidden)
        part = sealed.seal_group(found, found.seal, new, Wrapper([ME.recipient]), 0, seed=SEED)
        payload = sealed.pack_part(part) if hidden else part.pack()
    segments = [fmt.segment_of(g, fmt.read_segment(whole, found, g.id)) for g in found.groups]
    segments = [s if s.id != entry.id else fmt.Segment(s.id, s.name, s.quality, payload, None, None, True, s.hidden)
                for s in segments]  # fmt: skip
    changed = fmt.write_like(found, segments, order=found.order, seal=found.seal)
    keyring = Keyring(ME, LIMITS)
    if hidden:
        fmt.read_head(changed)
        files.reveal(found, {entry.id: files.open_parts(found, entry, payload, keyring)})
    files.decrypt(changed, keyring, limits=LIMITS)


def signatures(data: bytes) -> None:
    """The content of a SIGN chunk: none but the right one is taken."""
    ids = np.array([[0, 1]], np.uint8)
    segments = [fmt.Segment(i, f"g{i}", 50, b"abc") for i in range(2)]
    plain = fmt.write_file(width=32, height=16, model_id=bytes(8), mask=ids, segments=segments)
    signed = signature.sign(plain, SIGNER)
    found = fmt.read_head(signed)
    forged = fmt.write_like(found, segments, order=found.order, stored_chunks={"SIGN": data})
    try:
        signature.verify(forged, [SIGNER.verify_key])
    except SsicError:
        return
    assert forged == signed


_codec: Any = None


def substreams(data: bytes) -> None:
    """A quality and a substream of a group of 2x2 blocks, down to latents. (The model is the one that is shipped.)"""
    global _codec
    if _codec is None:
        import ssic
        from ssic.model.weights import find_weights

        _codec = ssic.Codec.load(find_weights("small"))
    if not data:
        return
    grid = np.zeros(block_grid((32, 32)), np.uint8)
    plan, latents, damaged = _codec.decode_latents(grid, {0: 1 + data[0] % 100}, {0: data[1:]})
    assert damaged in ([], [0])
    assert len(latents) == len(plan)
    assert np.isfinite(latents).all()


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (head, mask, index, seals, signatures, substreams)
}


def run(target: Callable[[bytes], None], data: bytes) -> None:
    """One input: ends in nothing, or in what atheris tells of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with contextlib.suppress(SsicError):
            target(data)


def make_seeds() -> None:
    """Writes fuzz/corpus: a few small inputs for each target, always the same."""
    import random

    import mutations

    rng = random.Random(1)
    whole = sorted(mutations.seed_files(rng), key=len)[:8]
    seeds: dict[str, list[bytes]] = {"head": [mutations.split(data)[0] for data in whole], "index": whole}
    coded = [(fmt.read_head(data), mutations.split(data)[0]) for data in whole]
    seeds["mask"] = [
        bytes([h.mask.shape[0] - 1, h.mask.shape[1] - 1, len(h.groups) - 1, h.coded_mask[0]])
        + h.coded_mask[1]
        for h, _ in coded
        if h.coded_mask and h.coded_mask[1]
    ]
    inner = sealed.Inner(
        fmt.Segment(1, "person", 60, b"abc", "x", 0.5), np.array([[False, True, False]]), 255
    )
    stanza = ME.recipient.wrap(SEED, sealed.suite_of(b"\1"))
    outer = b"\0\x01" + stanza.body + bytes(32) + bytes(20)
    seeds["seals"] = [
        b"\0" + outer,
        b"\1" + write_varint(len(outer)) + outer,
        b"\2\0abc",
        b"\3\0" + inner.pack(),
    ]
    seeds["signatures"] = [b"\1" + SIGNER.verify_key.raw + bytes(64 + 64)]
    real = [fmt.read_segment(d, fmt.read_head(d), 0) for d in mutations.picture_files()]
    seeds["substreams"] = [b"\x31" + data for data in real if data]
    for name, inputs in seeds.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(inputs):
            (folder / f"seed-{i}").write_bytes(data)


def main(args: list[str]) -> int:
    if args[1:] == ["--seeds"]:
        make_seeds()
        return 0
    if len(args) < 2 or args[1] not in TARGETS:
        print(f"which target? {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    target = TARGETS[args[1]]
    atheris.Setup(
        [args[0], "-timeout=20", "-rss_limit_mb=3000", "-max_len=4096", *args[2:], str(CORPUS / args[1])],
        lambda data: run(target, data),
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
