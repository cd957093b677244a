"""Many pictures: what all of them would fail with is refused once, before the work, with nothing made."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.engines import needs_torch
from ssic.engine.base import check_engine
from ssic.errors import EngineError, ModelError
from ssic.model.weights import find_weights, load_weights, pack_weights


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: pictures/a.png and b.png, files/a.ssic and b.ssic, me.pub, broken.json."""
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "files"):
        (tmp_path / name).mkdir()
    pixels = np.full((32, 32, 3), 99, np.uint8)
    data = ssic.encode(pixels, model="small")
    for name in "ab":
        Image.fromarray(pixels).save(f"pictures/{name}.png")
        Path(f"files/{name}.ssic").write_bytes(data)
    Path("me.pub").write_text(str(ssic.Identity.generate().recipient))
    Path("broken.json").write_text("{")
    return tmp_path


ENCODE = ("batch", "encode", "pictures", "-o", "out", "--model", "small")
DECODE = ("batch", "decode", "files", "-o", "out")
ENCRYPT = ("batch", "encrypt", "files", "-o", "out", "--groups", "image", "--recipient", "me.pub")


def refused(run: Run, command: tuple[object, ...], *options: object) -> tuple[int, str]:
    """Exit code and error of a command that has one line to say, and makes nothing."""
    found = run(*command, *options)
    assert not found.out
    assert not Path("out").exists()
    (line,) = found.err.splitlines()
    assert line.startswith("ssic: error: ")
    return found.code, line


@pytest.mark.parametrize("command", [ENCODE, DECODE])
@pytest.mark.parametrize("engine", ["horse", "onnx:horse", "", "torch-cpu"])
def test_unknown_engines(run: Run, inputs: Path, command: tuple[str, ...], engine: str) -> None:
    code, said = refused(run, command, "--engine", engine)
    assert code == 2
    assert f"no engine {engine!r}" in said


@needs_torch
@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_devices_that_are_not_there(run: Run, inputs: Path, command: tuple[str, ...]) -> None:
    code, said = refused(run, command, "--engine", "torch:horse")
    assert code == 2
    assert "device horse can't be used" in said


@pytest.mark.parametrize("command", [ENCODE, DECODE])
@pytest.mark.parametrize(("engine", "package"), [("onnx", "onnxruntime"), ("torch", "torch")])
def test_engines_that_are_not_installed(
    run: Run,
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    engine: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, said = refused(run, command, "--engine", engine)
    assert code == 2
    assert f"{package} is not installed" in said


def test_efforts_need_torch(run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, said = refused(run, ENCODE, "--engine", "onnx", "--effort", 2)
    assert code == 2
    assert "an effort above 1 needs gradients" in said


def test_weights_that_an_engine_can_not_run(run: Run, inputs: Path) -> None:
    weights = load_weights(find_weights("small"))
    Path("bare.safetensors").write_bytes(pack_weights(weights.config, weights.floats, weights.twin, {}))
    for command in (ENCODE, DECODE):
        code, said = refused(run, command, "--model", "bare.safetensors", "--engine", "onnx")
        assert code == 5
        assert "no graphs for ONNX Runtime" in said


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_unknown_models(run: Run, inputs: Path, command: tuple[str, ...]) -> None:
    code, said = refused(run, command, "--model", "horse")
    assert code == 5
    assert "no model 'horse'" in said


@pytest.mark.parametrize(
    ("command", "options", "code", "expected"),
    [
        (ENCODE, ("--coco", "broken.json"), 2, "broken.json"),
        (ENCODE, ("--coco", "none.json"), 6, "none.json"),
        (ENCODE, ("--grid", "0x3"), 2, "--grid 0x3"),
        (ENCODE, ("--grid", "16x16"), 2, "256 cells; at most 255"),
        (ENCODE, ("--segment", "horse"), 2, 'no segmenter "horse"'),
        (ENCODE, ("--segment", "onnx:none.onnx"), 6, "none.onnx"),
        (ENCODE, ("--encrypt", "image", "--recipient", "none.pub"), 6, "none.pub"),
        (DECODE, ("--identity", "none.key"), 6, "none.key"),
        (DECODE, ("--identity", "me.pub"), 2, "me.pub"),
        (DECODE, ("--trust", "none.pub"), 6, "none.pub"),
        (DECODE, ("--to", "jpg", "--fill", "transparent"), 2, "JPEG can't hold transparency"),
        (ENCRYPT, ("--recipient", "none.pub"), 6, "none.pub"),
        (ENCRYPT, ("--cipher", "horse"), 2, "no cipher 'horse'"),
        (ENCRYPT, ("--renumber",), 2, "--renumber"),
    ],
)
def test_what_no_picture_could_be_coded_with(
    run: Run, inputs: Path, command: tuple[object, ...], options: tuple[object, ...], code: int, expected: str
) -> None:
    found, said = refused(run, command, *options)
    assert (found, expected in said) == (code, True), said


@pytest.mark.parametrize("command", [(*ENCODE, "--encrypt", "image"), ENCRYPT])
def test_more_recipients_than_a_group_may_have(run: Run, inputs: Path, command: tuple[str, ...]) -> None:
    keys = [ssic.Identity.generate().recipient for _ in range(33)]
    Path("all.pub").write_text("".join(f"{key}\n" for key in keys))
    code, said = refused(run, command, "--recipient", "all.pub")
    assert code == 2
    assert "recipients are more than the 32" in said


@pytest.mark.parametrize("command", [ENCODE, DECODE, ENCRYPT])
def test_a_cluster_without_ray(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, said = refused(run, command, "--runner", "ray")
    assert code == 2
    assert "needs the package ray" in said


def test_of_other_machines_only_the_spelling_is_told() -> None:
    check_engine("torch:horse", here=False)
    check_engine("auto")
    with pytest.raises(EngineError, match="no engine 'horse'"):
        check_engine("horse", here=False)


def test_an_engine_that_will_do_passes(run: Run, inputs: Path) -> None:
    weights = load_weights(find_weights("small"))
    for name in ("auto", "onnx"):
        check_engine(name, weights)
    assert run(*ENCODE, "--engine", "onnx", "--workers", 1).code == 0
    assert Path("out/a.ssic").exists()
    bare = load_weights(find_weights("small"))
    object.__setattr__(bare, "graphs", {})
    with pytest.raises(ModelError, match="no graphs"):
        check_engine("onnx", bare)
