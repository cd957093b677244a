"""Settings and pictures that the tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from ssic.cli import main

# What takes more than `pip install ssic` brings is left out where that is all there is (`make test-core`).
NEEDS = {
    "torch": [
        *(
            "test_dense.py",
            "test_effort.py",
            "test_eval.py",
            "test_model.py",
            "test_segment.py",
            "test_task.py",
            "test_train.py",
        ),
    ],
    "onnx": ["test_yolo.py"],
}
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed here")
collect_ignore = [file for package, files in NEEDS.items() if find_spec(package) is None for file in files]

settings.register_profile("ssic", deadline=None)  # two cores, often busy: time is no property of the code
settings.load_profile("ssic")

# Shells ignore Ctrl-C for what they run in the background, and children inherit that: tests that send it need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


ENGINES = ("onnx", *(("torch:cpu:float32", "torch:cpu:bfloat16") if find_spec("torch") else ()))
"""What the laws must hold for; those of torch where it is installed."""


def natural_picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture with edges, gradients, texture and noise: enough to exercise every scale of the codec."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 64.0
    layers = [
        np.sin(2 * np.pi * (rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y) + rng.uniform(0, 7))
        for _ in range(9)
    ]
    field = np.stack([sum(layers[c::3]) for c in range(3)], axis=2)  # type: ignore[arg-type]
    field += 1.5 * ((x + y * rng.uniform(0.2, 2)) % 1 > 0.5)[..., None] * rng.uniform(-1, 1, 3)
    field += 0.15 * rng.standard_normal(field.shape)
    return (128 + 40 * field).clip(0, 255).astype(np.uint8)


def blob_mask(seed: int, rows: int, columns: int, groups: int) -> NDArray[np.uint8]:
    """Irregular groups, ids 0..groups-1, each with a block (given enough blocks)."""
    rng = np.random.default_rng(seed)
    groups = min(groups, rows * columns)
    seeds = rng.permutation(rows * columns)[:groups]
    y, x = np.divmod(np.arange(rows * columns), columns)
    distance = np.hypot(y[:, None] - y[seeds], x[:, None] - x[seeds]) + 0.7 * rng.random(
        (rows * columns, groups)
    )
    owner = distance.argmin(1)
    owner[seeds] = np.arange(len(seeds))
    return owner.reshape(rows, columns).astype(np.uint8)


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """[90, 130, 3]: no side a multiple of 16."""
    return natural_picture(1, 90, 130)


Refuse = Callable[..., None]


@pytest.fixture
def refuse() -> Refuse:
    """Takes the place of work that must not be begun, because what was asked for is refused before it."""

    def begun(*args: object, **options: object) -> None:
        raise AssertionError("the work was begun")

    return begun


class Result(NamedTuple):
    """What a command ended with, and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line of ssic in this process."""

    def run(*args: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        code = end.value.code
        return Result(int(code or 0), *capsys.readouterr())

    return run
