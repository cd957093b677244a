"""The commands: what they write, what they say, and that their documentation holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import (
    GROUP_KEYS,
    INFO_KEYS,
    PROFILE,
    Run,
    damaged,
    picture,
)
from helpers.engines import needs_torch
from helpers.pages import arguments

# -- encode ------------------------------------------------------------------------------------------------


def test_encode_writes_what_the_library_writes(run: Run, inputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.ssic"
    options = [
        "--mask",
        inputs / "labels.png",
        "--names",
        inputs / "names.json",
        "--group-quality",
        "person=85",
    ]
    code, out, err = run("encode", inputs / "photo.png", "-o", target, *options)
    assert (code, err) == (0, "")
    assert target.read_bytes() == (inputs / "photo.ssic").read_bytes()
    assert re.search(r"96x64, [\d,]+ bytes", out)
    assert re.search(r"2 +person +85 +6 +\d+ +\d+\.\d%", out)
    assert ssic.open(target).icc == PROFILE


def test_encode_names_its_output_after_the_picture(run: Run, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.b.png")
    assert run("encode", tmp_path / "a.b.png").code == 0
    assert [g.name for g in ssic.open(tmp_path / "a.b.ssic").groups] == ["image"]


def test_encode_json_is_that_of_info_and_seconds(run: Run, inputs: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "encode", inputs / "photo.jpg", "-o", tmp_path / "p", "--grid", "2x3", "--engine", "onnx", "--json"
    )
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert list(facts) == [*INFO_KEYS, "engine", "seconds"]
    assert facts.pop("seconds") > 0
    assert facts.pop("engine") == "onnx"
    assert facts == json.loads(run("info", tmp_path / "p", "--json").out)
    assert len(facts["groups"]) == 6


def test_group_qualities_repeat_and_take_lists(run: Run, inputs: Path, tmp_path: Path) -> None:
    options = ["--mask", inputs / "labels.png", "--names", inputs / "names.json", "--quality", "30"]
    options += ["--group-quality", "person=85, dog=70", "--group-quality", "0=5", "--json"]
    facts = json.loads(run("encode", inputs / "photo.jpg", "-o", tmp_path / "p", *options).out)
    assert [g["quality"] for g in facts["groups"]] == [5, 70, 85]


def test_order_puts_groups_first(run: Run, inputs: Path, tmp_path: Path) -> None:
    options = ["--mask", inputs / "labels.png", "--names", inputs / "names.json", "--order", "person"]
    run("encode", inputs / "photo.jpg", "-o", tmp_path / "p", *options)
    assert ssic.open(tmp_path / "p").head.order == (2, 1, 0)
    assert ssic.open(inputs / "photo.ssic").head.order == (1, 2, 0)


def test_coco_selects_by_file_name_and_says_what_it_drops(run: Run, inputs: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "encode", inputs / "photo.jpg", "-o", tmp_path / "p", "--coco", inputs / "annotations.json"
    )
    assert code == 0
    assert [g.name for g in ssic.open(tmp_path / "p").groups] == ["background", "dog", "person 1"]
    assert err.startswith("ssic: warning: ")
    assert "person 2" in err
    assert err.count("\n") == 1
    assert "class" in out


def test_coco_by_class(run: Run, inputs: Path, tmp_path: Path) -> None:
    options = ["--coco", inputs / "annotations.json", "--image-id", "139", "--group-by", "class"]
    assert run("encode", inputs / "photo.png", "-o", tmp_path / "p", *options).code == 0
    assert [g.name for g in ssic.open(tmp_path / "p").groups] == ["background", "dog", "person"]


def test_boxes_that_own_nothing_are_refused_or_dropped(run: Run, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("[[0, 0, 32, 32], [50, 50, 52, 52]]")
    command = ["encode", inputs / "photo.jpg", "-o", tmp_path / "p", "--boxes", tmp_path / "b.json"]
    assert run(*command).code == 2
    assert run(*command, "--drop-empty").code == 0
    assert len(ssic.open(tmp_path / "p").groups) == 2
    assert run(*command, "--block-rule", "any").code == 0
    assert len(ssic.open(tmp_path / "p").groups) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mask a --grid 2x2", "--mask and --grid exclude each other"),
        ("--coco a --boxes b --mask c", "--mask and --coco and --boxes exclude each other"),
        ("--names n.json", "--names is of use with --mask only"),
        ("--image-id 3 --grid 2x2", "--image-id is of use with --mask or --coco only"),
        ("--group-by class --boxes a", "--group-by is of use with --mask or --coco or --segment only"),
        (
            "--block-rule any --grid 2x2",
            "--block-rule is of use with --mask or --coco or --boxes or --segment only",
        ),
        ("--drop-empty", "--drop-empty is of use with --mask or --boxes only"),
        ("--grid 4", "--grid 4: rows and columns"),
        ("--grid 99x1", "a grid of 99 rows"),
        ("--group-quality person", "--group-quality person: a group and its quality"),
        ("--group-quality image=good", "--group-quality image=good: a group and its quality"),
        ("--group-quality cat=50", 'there is no group "cat"'),
        ("--quality 0", "quality is an integer from 1 to 100"),
        ("--order cat", 'there is no group "cat"'),
        ("--order ,", "a list of groups is empty"),
        ("--engine nonsense", "no engine 'nonsense'"),
        ("-o - --json", "both want stdout"),
    ],
)
def test_encode_refuses(run: Run, inputs: Path, tmp_path: Path, options: str, said: str) -> None:
    code, out, err = run("encode", inputs / "photo.jpg", "-o", tmp_path / "p", *options.split())
    assert (code, out) == (2, "")
    assert err.startswith("ssic: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- decode ------------------------------------------------------------------------------------------------


def test_decode_writes_the_picture_and_its_profile(run: Run, inputs: Path, tmp_path: Path) -> None:
    assert run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.png").code == 0
    with Image.open(tmp_path / "p.png") as image:
        assert image.info["icc_profile"] == PROFILE
        assert np.array_equal(image, ssic.decode((inputs / "photo.ssic").read_bytes()))


def test_decode_some_groups(run: Run, inputs: Path, tmp_path: Path) -> None:
    options = ["--groups", "dog", "--groups", "2", "--fill", "transparent", "--crop", "--json"]
    code, out, err = run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.png", *options)
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts.pop("seconds") > 0
    assert facts.pop("engine") == ssic.Codec.load().engine.name
    assert facts.pop("scale") == 1
    box = {"output": str(tmp_path / "p.png"), "width": 80, "height": 48}
    assert facts == box | {"groups": ["dog", "person"], "damaged": [], "sealed": []}
    with Image.open(tmp_path / "p.png") as image:
        expected = ssic.decode(
            (inputs / "photo.ssic").read_bytes(), ["dog", "person"], fill="transparent", crop=True
        )
        assert np.array_equal(image, expected)


def test_decode_at_a_lower_resolution(run: Run, inputs: Path, tmp_path: Path) -> None:
    options = ["--groups", "dog", "--crop", "--scale", "4", "--json"]
    code, out, err = run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.png", *options)
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "p.png") as image:
        expected = ssic.decode((inputs / "photo.ssic").read_bytes(), "dog", crop=True, scale=4)
        assert np.array_equal(image, expected)
    facts = json.loads(out)
    assert (facts["width"], facts["height"]) == expected.shape[1::-1]
    assert (facts["scale"], facts["engine"]) == (4, None)  # no network was run


def test_damaged_groups_cost_themselves_only(run: Run, inputs: Path, tmp_path: Path) -> None:
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog")
    code, out, err = run("decode", broken, "-o", tmp_path / "p.png", "--json")
    assert (code, err) == (3, "ssic: warning: damaged and left out: dog\n")
    assert (json.loads(out)["groups"], json.loads(out)["damaged"]) == (["background", "person"], ["dog"])
    with Image.open(tmp_path / "p.png") as image:
        expected = ssic.decode((inputs / "photo.ssic").read_bytes(), ["background", "person"])
        assert np.array_equal(image, expected)


def test_nothing_is_written_if_no_group_is_intact(run: Run, inputs: Path, tmp_path: Path) -> None:
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog")
    (tmp_path / "p.png").write_text("before")
    code, _, err = run("decode", broken, "-o", tmp_path / "p.png", "--groups", "dog")
    assert code == 4
    assert 'the segment of "dog"' in err
    assert (tmp_path / "p.png").read_text() == "before"


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("p.jpg", "--fill transparent", "p.jpg: JPEG can't hold transparency: use .png"),
        ("p.xyz", "", 'p.xyz: pictures can\'t be written as ".xyz"'),
        ("p.png", "--fill blew", '"blew" is no colour'),
        ("p.png", "--scale 2", "scale is 1, 4, 8 or 16, for 1/scale of the resolution, not 2"),
        ("p.png", "--groups cat", 'there is no group "cat"'),
    ],
)
def test_decode_refuses(run: Run, inputs: Path, tmp_path: Path, target: str, options: str, said: str) -> None:
    code, out, err = run("decode", inputs / "photo.ssic", "-o", tmp_path / target, *options.split())
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


# -- info, extract, merge ----------------------------------------------------------------------------------


def test_info(run: Run, inputs: Path) -> None:
    code, out, err = run("info", inputs / "photo.ssic", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert list(facts) == INFO_KEYS
    assert all(list(group) == GROUP_KEYS for group in facts["groups"])
    assert facts == ssic.open(inputs / "photo.ssic").info()
    code, out, err = run("info", inputs / "photo.ssic")
    assert (code, err) == (0, "")
    assert "All segments are intact" in out
    assert all(group["name"] in out for group in facts["groups"])


def test_names_are_shown_as_they_are(run: Run, tmp_path: Path) -> None:
    mask = ssic.GroupMask(np.zeros((1, 1), np.uint8), {0: "[red]dog[/] :dog:"})
    (tmp_path / "p").write_bytes(ssic.encode(np.zeros((16, 16, 3), np.uint8), mask))
    assert "[red]dog[/] :dog:" in run("info", tmp_path / "p").out


def test_info_finds_damage(run: Run, inputs: Path, tmp_path: Path) -> None:
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog", "person")
    code, out, err = run("info", broken)
    assert (code, err) == (3, "ssic: warning: damaged: dog, person\n")
    assert "intact" not in out
    assert re.search(r"dog \(damaged\)", out)
    assert "background (damaged)" not in out
    facts = json.loads(run("info", broken, "--json").out)
    assert list(facts) == [*INFO_KEYS, "damaged"]
    assert facts["damaged"] == ["dog", "person"]


def test_extracts_merge_into_the_file(run: Run, inputs: Path, tmp_path: Path) -> None:
    assert run("extract", inputs / "photo.ssic", "--groups", "person", "-o", tmp_path / "a").code == 0
    assert [g.name for g in ssic.open(tmp_path / "a").groups] == ["person"]
    assert run("extract", inputs / "photo.ssic", "--groups", "background,dog", "-o", tmp_path / "b").code == 0
    code, out, _ = run("merge", tmp_path / "b", tmp_path / "a", "-o", tmp_path / "c")
    assert code == 0
    assert "background, dog, person" in out
    assert (tmp_path / "c").read_bytes() == (inputs / "photo.ssic").read_bytes()


def test_merge_names_the_bad_file(run: Run, inputs: Path, tmp_path: Path) -> None:
    code, _, err = run("merge", inputs / "photo.ssic", inputs / "labels.png", "-o", tmp_path / "c")
    assert code == 4
    assert "labels.png: this is not an ssic file" in err
    assert list(tmp_path.iterdir()) == []
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog")
    code, _, err = run("merge", inputs / "photo.ssic", broken, "-o", tmp_path / "c")
    assert code == 4
    assert 'broken.ssic: the segment of "dog"' in err
    code, _, err = run("merge", inputs / "photo.ssic", inputs / "photo.ssic", "-o", tmp_path / "c")
    assert code == 2
    assert f"(file 1 is {inputs / 'photo.ssic'}, file 2 is {inputs / 'photo.ssic'})" in err
    code, _, err = run("merge", "-", "-", "-o", tmp_path / "c")
    assert code == 2
    assert "stdin can be read once" in err


def test_errors_name_the_file(run: Run, inputs: Path, tmp_path: Path) -> None:
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog")
    cut, empty = tmp_path / "cut.ssic", tmp_path / "empty.ssic"
    cut.write_bytes(broken.read_bytes()[:30])
    empty.touch()
    for file, code, said in (
        (broken, 4, 'the segment of "dog"'),
        (cut, 4, "the file ends"),
        (empty, 4, "the file is empty"),
        (inputs / "photo.png", 4, "this is not an ssic file"),
        (inputs / "boxes.json", 4, "this is not an ssic file"),
    ):
        for verb in ("decode", "extract"):
            result = run(verb, file, "--groups", "dog", "-o", tmp_path / "new")
            assert (result.code, result.out) == (code, "")
            assert result.err.startswith(f"ssic: error: {file}: {said}")
    for verb in ("decode", "extract"):
        result = run(verb, inputs / "photo.ssic", "--groups", "cat", "-o", tmp_path / "new")
        assert result.code == 2
        assert result.err.startswith(f"ssic: error: {inputs / 'photo.ssic'}: there is no group")
    (tmp_path / "empty.png").touch()
    code, _, err = run("encode", tmp_path / "empty.png")
    assert (code, err) == (2, f"ssic: error: {tmp_path / 'empty.png'} is empty\n")


def test_only_what_is_asked_for_is_read(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise AssertionError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for line in (["info"], ["extract", "--groups", "dog"], ["decode", "--groups", "dog"], ["merge"]):
        output = [] if line == ["info"] else ["-o", tmp_path / "new"]
        assert run(*line, inputs / "photo.ssic", *output).code == 0


# -- training ----------------------------------------------------------------------------------------------


@needs_torch
def test_train_and_export(run: Run, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for n in range(2):
        picture().rotate(180 * n).save(tmp_path / f"pictures/{n}.png")
    options = ["--batch", "1", "--crop", "32", "--seed", "3", "--steps"]
    train = ["train", "--data", tmp_path / "pictures", "--run", tmp_path / "run", *options]
    code, out, err = run(*train, "20")
    assert code == 0
    assert "checkpoint.pt: step 20" in out
    assert re.search(r"step 20: [\d.]+ bpp \(estimated\), [\d.]+ dB, [\d.]+ samples/s, 0.0 minutes left", err)
    code, out, err = run(*train, "21")
    assert "step 21" in out
    assert "training from step 20" in err

    weights = tmp_path / "mine.safetensors"
    code, out, err = run("export-weights", tmp_path / "run/checkpoint.pt", "-o", weights)
    assert (code, err) == (0, "")
    said = re.fullmatch(r".*: floats [0-9a-f]{16}, model ([0-9a-f]{16})\n", out)
    assert said is not None
    identity = said[1]
    encode = ["encode", inputs / "photo.jpg", "-o", tmp_path / "p.ssic", "--model", weights, "--json"]
    assert json.loads(run(*encode).out)["model"] == identity
    decode = ["decode", tmp_path / "p.ssic", "-o", tmp_path / "p.png"]
    assert run(*decode).code == 5
    assert run(*decode, "--model", weights).code == 0


# -- documentation -----------------------------------------------------------------------------------------


def test_documentation_runs(run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in inputs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "photo.ssic").unlink()
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/cli.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(lines) >= 13
    for line, words in arguments(lines):
        result = run(*words)
        assert result.code == 0, (line, result.err)


def test_a_group_is_given_one_quality_and_one_target(run: Run, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.ssic"
    start = ("encode", inputs / "photo.png", "--mask", inputs / "labels.png", "-o", out)
    code, _, err = run(*start, "--group-quality", "group 1=20,group 1=80")
    assert (code, "group 1 is given two qualities, 20 and 80" in err) == (2, True)
    code, _, err = run(*start, "--group-target", "group 1=psnr:30", "--group-target", "group 1=psnr:31")
    assert (code, "group 1 is given two targets, psnr:30 and psnr:31" in err) == (2, True)
    assert not out.exists()
