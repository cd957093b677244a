"""Files of the format, their payloads random."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import ssic.format as fmt
from helpers.masks import blobs
from ssic.blocks import ABSENT
from ssic.format import Segment
from ssic.names import default_name

MODEL = bytes(range(8))
SEAL = b"\1" + bytes(range(12))


def simple_file(mask: NDArray[np.uint8], seed: int = 0, /, **changes: object) -> bytes:
    """A file with default names and one quality, its payloads random."""
    rng = random.Random(seed)
    ids = [int(i) for i in np.unique(mask) if i != ABSENT]
    segments = [Segment(i, default_name(i), 60, rng.randbytes(rng.randrange(200, 9000))) for i in ids]
    h, w = mask.shape
    arguments: dict[str, object] = {"width": w * 16, "height": h * 16, "model_id": MODEL, "mask": mask}
    return fmt.write_file(**{**arguments, "segments": segments, **changes})  # type: ignore[arg-type]


@st.composite
def files(draw: st.DrawFn, metadata: bool = True, order: bool = True) -> bytes:
    rng = random.Random(draw(st.integers(0, 2**32)))
    numpy_rng = np.random.default_rng(rng.randrange(2**32))
    mask = blobs(numpy_rng, rng.randint(1, 14), rng.randint(1, 14), rng.randint(0, 6))
    ids = sorted(rng.sample(range(255), int(mask.max()) + 1)) if rng.random() < 0.5 else range(mask.max() + 1)
    if rng.random() < 0.3 and mask.max() > 0:
        ids = [*list(ids)[:-1], ABSENT]
    mask = np.array(ids, np.uint8)[mask]
    segments = []
    for i in ids:
        if i == ABSENT:
            continue
        name = rng.choice([default_name(i), f"Hündin {i}", f"dog {i}", "x" * 240 + str(i)])
        class_name = rng.choice([None, "dog", "group", name])
        score = rng.choice([None, 0.0, 1.0, rng.random()])
        payload = rng.randbytes(rng.choice([0, 1, 100, 300]))
        encrypted, hidden = rng.choice([(False, False)] * 4 + [(True, False), (True, True)])
        quality = rng.choice([60, 85])
        if hidden:
            count = sum(s.hidden for s in segments)
            name, quality, class_name, score = "sealed" if not count else f"sealed {count + 1}", 1, None, None
        segments.append(Segment(i, name, quality, payload, class_name, score, encrypted, hidden))
    chunks = {}
    if rng.random() < 0.5:
        chunks["ICCP"] = b"profile" * rng.randrange(100)
        if metadata:
            chunks |= {"EXIF": rng.randbytes(9), "teST": b""}
    sequence = [s.id for s in segments]
    rng.shuffle(sequence)
    return fmt.write_file(
        width=mask.shape[1] * 16 - rng.randrange(16),
        height=mask.shape[0] * 16 - rng.randrange(16),
        model_id=rng.randbytes(8),
        mask=mask,
        segments=rng.sample(segments, len(segments)),
        chunks=chunks,
        order=sequence if order and rng.random() < 0.5 else None,
        seal=SEAL,
    )
