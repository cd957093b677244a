"""What the corpus holds for the target that loads a model: latents, or a typed error."""

from __future__ import annotations

import importlib.util
import random

import pytest

from helpers import ROOT


def test_substreams_of_the_corpus_and_mutations_of_them() -> None:
    place = importlib.util.spec_from_file_location("fuzz_targets", ROOT / "fuzz" / "targets.py")
    assert place is not None
    assert place.loader is not None
    targets = importlib.util.module_from_spec(place)
    place.loader.exec_module(targets)
    rng = random.Random(1)
    inputs = [path.read_bytes() for path in sorted((ROOT / "fuzz" / "corpus" / "substreams").iterdir())]
    assert inputs
    for data in inputs:
        targets.run(targets.substreams, data)
        for _ in range(20):
            changed = bytearray(data)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            targets.run(targets.substreams, bytes(changed[: rng.randint(1, len(changed))]))
    with pytest.raises(TypeError):
        targets.run(targets.substreams, "no bytes")
