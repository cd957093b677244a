"""Files for servers: layouts whose ranges can be told from one another."""

from __future__ import annotations

import numpy as np

from ssic.format import Segment, write_file

LENGTHS = {"near": 300, "a": 6000, "b": 5000, "small": 200, "far": 9000, "background": 20000}


def laid_out(lengths: dict[str, int] = LENGTHS, chunks: dict[str, bytes] | None = None) -> bytes:
    """A file whose groups lie in this order; their segments are no substreams."""
    rng = np.random.default_rng(1)
    mask = np.arange(len(lengths) * 4, dtype=np.uint8).reshape(-1, 4) // 4
    segments = [Segment(i, name, 50, rng.bytes(length)) for i, (name, length) in enumerate(lengths.items())]
    return write_file(
        width=64,
        height=16 * len(lengths),
        model_id=b"12345678",
        mask=mask,
        segments=segments,
        chunks=chunks,
        order=range(len(lengths)),
    )
