"""Many pictures: where their files lie, and that no picture takes the place of another one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.commands import Run
from helpers.pictures import natural_picture
from ssic.batch import RECORDS, find_pictures, read_records
from ssic.errors import InvalidInput


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """x/1.png and y/1.png, two pictures of one name."""
    folder = tmp_path / "two"
    for n, name in enumerate("xy"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(natural_picture(n, 32, 48)).save(folder / name / "1.png")
    return folder


def batch(run: Run, *args: object, code: int = 0) -> dict[str, Any]:
    found, out, err = run("batch", "encode", *args, "--json")
    assert found == code, err
    return json.loads(out) if code in (0, 3) else {"error": err}


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["encoded"], found["kept"], found["failed"]


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.ssic")}


def test_a_picture_does_not_take_the_place_of_another(run: Run, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert counts(batch(run, two / "x", "-o", out)) == (1, 0, 0)
    before = files(out)
    for given in ([two / "y"], [two / "x", two / "y"]):
        said = batch(run, *given, "-o", out, code=2)["error"]
        assert f"{two / 'y/1.png'} does not lie below {two / 'x'}, where the pictures of earlier runs" in said
    found = batch(run, two / "y", "-o", out, "--root", two / "y", code=3)
    assert f"was made of another picture, {two / 'x/1.png'}" in found["failures"][0]["error"]
    assert found["failures"][0]["stale"] == "1.ssic"
    assert files(out) == before
    assert counts(batch(run, two / "x", "-o", out, "--root", two / "x")) == (0, 1, 0)
    (out / "1.ssic").unlink()  # as the message says
    assert counts(batch(run, two / "y", "-o", out)) == (1, 0, 0)


def test_one_root_lays_out_all_in_any_order(run: Run, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert counts(batch(run, two / "x", "-o", out, "--root", two)) == (1, 0, 0)
    assert counts(batch(run, two / "y", "-o", out)) == (1, 0, 0)  # the folder knows its root
    assert counts(batch(run, two / "x", two / "y", "-o", out)) == (0, 2, 0)
    assert counts(batch(run, two / "x/1.png", "-o", out)) == (0, 1, 0)
    assert sorted(files(out)) == ["x/1.ssic", "y/1.ssic"]


def test_another_root_leaves_what_was_there_and_says_so(run: Run, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(run, two / "x", "-o", out)
    code, _, err = run("batch", "encode", two / "x", two / "y", "-o", out, "--root", two)
    assert code == 0
    assert f"{out / '1.ssic'} is of {two / 'x/1.png'}" in err
    assert sorted(files(out)) == ["1.ssic", "x/1.ssic", "y/1.ssic"]
    assert counts(batch(run, two, "-o", out, "-r")) == (0, 2, 0)  # the later root is the one that is known


def test_pictures_that_moved_are_known_by_their_content(run: Run, two: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    batch(run, two, "-o", out, "--recursive")
    shutil.move(two, other)
    assert "does not lie below" in batch(run, other, "-o", out, "--recursive", code=2)["error"]
    assert counts(batch(run, other, "-o", out, "--recursive", "--root", other)) == (0, 2, 0)
    assert {r.picture for r in read_records(out).values()} == {str(other / "x/1.png"), str(other / "y/1.png")}
    assert counts(batch(run, other, "-o", out, "--recursive")) == (0, 2, 0)
    Image.fromarray(natural_picture(5, 32, 48)).save(other / "x/1.png")
    assert counts(batch(run, other, "-o", out, "--recursive")) == (1, 1, 0)


def test_the_root_is_what_the_arguments_have_in_common(two: Path) -> None:
    deep = two / "x/deep"
    deep.mkdir()
    Image.fromarray(natural_picture(3, 16, 16)).save(deep / "2.png")

    def places(*given: object, **options: Any) -> list[str]:
        return [output.as_posix() for _, output in find_pictures([str(g) for g in given], **options)]

    assert places(f"{two}/**/2.png") == ["x/deep/2.ssic"]  # and not 2.ssic, until others are there
    assert places(f"{two}/x/d*/*") == ["deep/2.ssic"]
    assert places(two / "x", recursive=True) == ["1.ssic", "deep/2.ssic"]
    assert places(two / "x/1.png", deep) == ["1.ssic", "deep/2.ssic"]
    assert places(deep, root=two) == ["x/deep/2.ssic"]
    with pytest.raises(InvalidInput, match="does not lie below"):
        find_pictures([str(deep)], root=two / "y")
    with pytest.raises(InvalidInput, match="--recursive searches subfolders"):
        find_pictures([str(two)])


def test_the_same_folder_by_two_paths_is_one(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two)
    found = find_pictures(["x", str(two / "x"), "./y/../x/*.png", "x/1.png"])
    assert found == [(two / "x/1.png", Path("1.ssic"))]


def test_what_batch_wrote_is_no_picture(run: Run, two: Path) -> None:
    folder = two / "x"
    pattern = f"{folder}/*"
    assert counts(batch(run, pattern, "-o", folder)) == (1, 0, 0)
    assert {p.name for p in folder.iterdir()} == {"1.png", "1.ssic", RECORDS}
    assert counts(batch(run, pattern, "-o", folder)) == (0, 1, 0)
    expanded = sorted(str(p) for p in folder.iterdir())  # as a shell gives it
    assert counts(batch(run, *expanded, "-o", folder)) == (0, 1, 0)
    with pytest.raises(InvalidInput, match="only ssic files"):
        find_pictures([str(folder / "1.ssic")])


def test_a_failure_says_that_an_older_file_is_left(run: Run, two: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "out", two / "x/1.png"
    batch(run, two / "x", "-o", out)
    before, content = files(out), picture.read_bytes()
    picture.write_bytes(b"no picture")
    (two / "x/2.png").write_bytes(b"none either")
    found = batch(run, two / "x", "-o", out, code=3)
    assert [f["stale"] for f in found["failures"]] == ["1.ssic", None]
    assert files(out) == before
    lines = [json.loads(line) for line in (out / RECORDS).read_text().splitlines()]
    # In the order in which workers ended.
    assert sorted((r["output"], r["status"], r["stale"]) for r in lines) == [
        ("1.ssic", "encoded", False),
        ("1.ssic", "failed", True),
        ("2.ssic", "failed", False),
    ]
    assert f"({out / '1.ssic'} is of an earlier run)" in run("batch", "encode", two / "x", "-o", out).out
    picture.write_bytes(content)  # the file's own record still holds
    os.unlink(two / "x/2.png")
    assert counts(batch(run, two / "x", "-o", out)) == (0, 1, 0)
