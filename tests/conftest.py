"""Settings and fixtures that all tests share."""

from __future__ import annotations

import signal
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from helpers.commands import Refuse, Result, Run
from helpers.pictures import natural_picture
from ssic.cli import main

# What takes more than `pip install ssic` brings is left out where that is all there is (`make test-core`).
NEEDS = {
    "torch": [
        *(
            "eval/test_eval.py",
            "eval/test_task.py",
            "groups/test_segment.py",
            "model/test_effort.py",
            "model/test_hyper_prior.py",
            "model/test_nets.py",
            "train/test_dense.py",
            "train/test_hyper_context.py",
            "train/test_train.py",
        ),
    ],
    "onnx": ["groups/test_yolo.py"],
}
collect_ignore = [file for package, files in NEEDS.items() if find_spec(package) is None for file in files]

settings.register_profile("ssic", deadline=None)  # two cores, often busy: time is no property of the code
settings.load_profile("ssic")

# Shells ignore Ctrl-C for what they run in the background, and children inherit that: tests that send it need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """[90, 130, 3]: no side a multiple of 16."""
    return natural_picture(1, 90, 130)


@pytest.fixture
def refuse() -> Refuse:
    """Takes the place of work that must not be begun, because what was asked for is refused before it."""

    def begun(*args: object, **options: object) -> None:
        raise AssertionError("the work was begun")

    return begun


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
