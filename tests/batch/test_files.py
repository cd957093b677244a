"""Many files: decoding and sealing them, names of outputs, and what is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.batch import RECORDS, DecodeRecipe, SealRecipe, find_files, read_records


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.ssic with two groups, deep/b.ssic with one."""
    folder = tmp_path_factory.mktemp("coded")
    (folder / "deep").mkdir()
    for n, name in enumerate(("a", "deep/b")):
        mask = ssic.GroupMask.from_label_map(blob_mask(n, 3, 4, 2 - n), (64, 40))
        (folder / f"{name}.ssic").write_bytes(
            bytes(ssic.encode(natural_picture(n, 40, 64), mask, quality=20))
        )
    return folder


def batch(run: Run, *args: object, code: int = 0) -> dict[str, Any]:
    found, out, err = run("batch", *args, "--workers", 1, "--json")
    assert found == code, err
    return json.loads(out) | {"said": err}


def test_pictures_are_those_of_decode(run: Run, coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = batch(run, "decode", coded, "-r", "-o", out, "--fill", "#102030")
    assert (found["decoded"], found["kept"], found["failed"]) == (2, 0, 0)
    with Image.open(out / "deep/b.png") as image:
        assert np.array_equal(image, ssic.decode((coded / "deep/b.ssic").read_bytes()))
    again = batch(run, "decode", coded, "-r", "-o", out, "--fill", "#102030")
    assert (again["decoded"], again["kept"]) == (0, 2)
    (out / "a.png").write_bytes(b"")
    assert batch(run, "decode", coded, "-r", "-o", out, "--fill", "#102030")["decoded"] == 1
    some = batch(run, "decode", coded, "-r", "-o", out, "--groups", "group 1", "--crop", code=3)
    assert (some["decoded"], some["failed"]) == (1, 1)  # b has one group
    assert 'there is no group "group 1"' in some["failures"][0]["error"]


def test_thumbnails(run: Run, coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(run, "decode", coded, "-o", out, "--scale", "8")["decoded"] == 1
    with Image.open(out / "a.png") as image:
        assert np.array_equal(image, ssic.decode((coded / "a.ssic").read_bytes(), scale=8))
    assert batch(run, "decode", coded, "-o", out, "--scale", "8")["kept"] == 1
    assert batch(run, "decode", coded, "-o", out, "--scale", "1")["decoded"] == 1
    assert batch(run, "decode", coded, "-o", out)["kept"] == 1
    code, _, err = run("batch", "decode", coded, "-o", out, "--scale", "3")
    assert (code, "scale is 1, 4, 8 or 16" in err) == (2, True)


def test_formats_of_pictures(run: Run, coded: Path, tmp_path: Path) -> None:
    assert batch(run, "decode", coded, "-o", tmp_path / "out", "--to", "jpg")["decoded"] == 1
    with Image.open(tmp_path / "out/a.jpg") as image:
        assert image.format == "JPEG"
    code, _, err = run("batch", "decode", coded, "-o", tmp_path / "x", "--to", "jpg", "--fill", "transparent")
    assert (code, "JPEG can't hold transparency" in err) == (2, True)
    assert run("batch", "decode", coded, "-o", tmp_path / "x", "--to", "gif").code == 2
    assert not (tmp_path / "x").exists()


def test_damaged_groups_are_told_of(run: Run, coded: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = bytearray((coded / "a.ssic").read_bytes())
    data[ssic.open(coded / "a.ssic")["group 1"].offset] ^= 1
    (tmp_path / "in/a.ssic").write_bytes(data)
    (tmp_path / "in/b.ssic").write_bytes(b"no file")
    found = batch(run, "decode", tmp_path / "in", "-o", tmp_path / "out", code=3)
    assert [d["groups"] for d in found["damaged"]] == [["group 1"]]
    assert (found["decoded"], found["failed"]) == (1, 1)
    assert read_records(tmp_path / "out")["a.png"].damaged == ("group 1",)


def test_sealing_many_files(run: Run, coded: Path, tmp_path: Path) -> None:
    me, sealed = tmp_path / "me.key", tmp_path / "sealed"
    key = run("keygen", "-o", me).out.strip()
    line = ("encrypt", coded, "-r", "-o", sealed, "--groups", "group 1", "--recipient", key)
    found = batch(run, *line, code=3)
    assert (found["encrypted"], found["failed"]) == (1, 1)
    assert "Nothing is written, as it would be in clear" in found["failures"][0]["error"]
    assert not (sealed / "deep/b.ssic").exists()
    assert [g.encrypted for g in ssic.open(sealed / "a.ssic").groups] == [False, True]
    assert batch(run, *line, code=3)["kept"] == 1
    filled = batch(run, "decode", sealed, "-o", tmp_path / "filled")
    assert "sealed and left out: group 1" in filled["warnings"][0]["warning"]
    opened = batch(run, "decode", sealed, "-o", tmp_path / "opened", "--identity", me)
    assert opened["warnings"] == []
    with Image.open(tmp_path / "opened/a.png") as image:
        assert np.array_equal(image, ssic.decode((coded / "a.ssic").read_bytes()))
    secret = me.read_text().splitlines()[-1]
    assert secret not in (tmp_path / "opened" / RECORDS).read_text()
    code, _, err = run("batch", "encrypt", coded, "-o", coded, "--groups", "group 1", "--recipient", key)
    assert (code, "would be overwritten" in err) == (2, True)
    assert run("batch", "encrypt", coded, "-o", tmp_path / "x", "--groups", "group 1").code == 2


def test_identities_tell_settings_apart() -> None:
    recipes = [
        DecodeRecipe(),
        DecodeRecipe(suffix=".jpg"),
        DecodeRecipe(groups=["a"]),
        DecodeRecipe(crop=True),
    ]
    assert len({recipe.identity() for recipe in recipes}) == len(recipes)
    assert DecodeRecipe(engine="torch:cuda", max_pixels=9).identity() == DecodeRecipe().identity()
    assert SealRecipe(["a"], ["x", "y"]).identity() == SealRecipe(["a"], ["y", "x"]).identity()
    assert SealRecipe(["a"], ["x"]).identity() != SealRecipe(["a"], ["x"], hide="names").identity()


def test_what_is_passed_over_and_what_outputs_are_called(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / ".thumbnails").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "._a.jpg", ".thumbnails/a.jpg"):
        Image.fromarray(natural_picture(1, 16, 32)).save(folder / name)
    for name in ("notes.txt", "more.TXT", "raw.dng", "LICENCE", ".hidden"):
        (folder / name).touch()
    code, _, err = run("batch", "encode", folder, "-o", tmp_path / "out")
    assert (code, err.endswith("would become the same file; --naming full keeps their suffixes\n")) == (
        2,
        True,
    )
    line = ("encode", folder, "-r", "-o", tmp_path / "out", "--naming", "full")
    found = batch(run, *line)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.jpg.ssic", "a.png.ssic", RECORDS}
    assert found["passed_over"] == {".txt": 2, ".dng": 1, "": 1}
    notice = "files of other kinds that were passed over: 4 (2 .txt, 1 without a suffix, 1 .dng)"
    assert notice in found["said"]
    assert batch(run, *line)["kept"] == 2
    named = find_files([str(folder / "._a.jpg")])
    assert [place.name for _, place in named.files] == ["._a.ssic"]


def test_files_of_others_are_not_replaced_if_so_asked(run: Run, coded: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("before")
    found = batch(run, "decode", coded, "-o", tmp_path, "-n", code=3)
    assert "exists, and --no-clobber (-n) leaves it as it is" in found["failures"][0]["error"]
    assert (tmp_path / "a.png").read_text() == "before"
    (tmp_path / "a.png").unlink()
    assert batch(run, "decode", coded, "-o", tmp_path, "-n")["decoded"] == 1
    assert batch(run, "decode", coded, "-o", tmp_path, "-n")["kept"] == 1
