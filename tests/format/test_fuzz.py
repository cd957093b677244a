"""The corpus that fuzzing keeps, without the fuzzer: each input once, and mutations of it."""

from __future__ import annotations

import random

import pytest
from mutations import mutate

import targets
from helpers import ROOT

FUZZ = ROOT / "fuzz"


@pytest.mark.parametrize("name", [name for name in targets.TARGETS if name != "substreams"])
def test_what_the_corpus_holds_ends_in_a_result_or_a_typed_error(name: str) -> None:
    rng = random.Random(name)
    inputs = [path.read_bytes() for path in sorted((FUZZ / "corpus" / name).iterdir())]
    assert inputs
    for data in inputs:
        targets.run(targets.TARGETS[name], data)
        for _ in range(10):
            targets.run(targets.TARGETS[name], mutate(data, rng.choice(inputs), rng))


def test_the_targets_tell_of_what_they_are_for() -> None:
    """A target that swallowed everything would find nothing."""

    def broken(data: bytes) -> None:
        raise IndexError

    with pytest.raises(IndexError):
        targets.run(broken, b"")
