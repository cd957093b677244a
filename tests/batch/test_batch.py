"""Many pictures: what is encoded, kept and done again, failures, broken workers, Ctrl-C, and both engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.batch import (
    AHEAD,
    RECORDS,
    Encoder,
    Job,
    Recipe,
    Record,
    find_jobs,
    find_pictures,
    read_records,
    run_here,
    run_on_ray,
)
from ssic.errors import InvalidInput


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """a.png, b.jpg, deep/c.png, of different sizes, and label maps of the first two in masks/."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    for n, name in enumerate(("a.png", "b.jpg", "deep/c.png")):
        Image.fromarray(natural_picture(n, 40 + n, 64)).save(folder / name)
    for name in ("a", "b"):
        Image.fromarray(blob_mask(0, 3, 4, 2)).save(tmp_path / f"masks/{name}.png")
    return folder


def summary(run: Run, *args: object, code: int = 0) -> dict[str, Any]:
    found, out, err = run("batch", "encode", *args, "--json")
    assert found == code, err
    return json.loads(out)


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["encoded"], found["kept"], found["failed"]


def test_files_are_those_of_encode(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--masks", tmp_path / "masks", "--quality", 30, "--group-quality", "group 1=50")
    found = summary(run, pictures, "-o", out, *options)
    assert counts(found) == (2, 0, 0)
    assert found["bytes"] == sum((out / f"{n}.ssic").stat().st_size for n in "ab")
    assert run("encode", pictures / "b.jpg", "-o", tmp_path / "b.ssic", "--mask", tmp_path / "masks/b.png",
               "--quality", 30, "--group-quality", "group 1=50")[0] == 0  # fmt: skip
    assert (tmp_path / "b.ssic").read_bytes() == (out / "b.ssic").read_bytes()


def test_globs_keep_folders_apart(run: Run, pictures: Path, tmp_path: Path) -> None:
    assert counts(summary(run, f"{pictures}/**/*.png", "-o", tmp_path / "out")) == (2, 0, 0)
    assert ssic.open(tmp_path / "out/deep/c.ssic").size == (64, 42)
    with pytest.raises(InvalidInput, match="no pictures"):
        find_pictures([f"{pictures}/*.gif"])
    Image.fromarray(natural_picture(0, 20, 20)).save(pictures / "a.jpg")
    with pytest.raises(InvalidInput, match="same file"):
        find_pictures([str(pictures)])


def test_what_is_done_and_intact_is_kept(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = (f"{pictures}/**/*", "-o", out, "--quality", 20)
    assert counts(summary(run, *args)) == (3, 0, 0)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*.ssic")}
    assert counts(summary(run, *args)) == (0, 3, 0)
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*.ssic")}

    damaged = bytearray((out / "a.ssic").read_bytes())
    damaged[-1] ^= 1
    (out / "a.ssic").write_bytes(damaged)
    (out / "deep/c.ssic").unlink()
    assert counts(summary(run, *args)) == (2, 1, 0)
    assert {p: p.read_bytes() for p in before} == {p: data for p, (data, _) in before.items()}

    os.utime(pictures / "a.png")  # touched, not changed
    Image.fromarray(natural_picture(9, 40, 64)).save(pictures / "b.jpg")
    assert counts(summary(run, *args)) == (1, 2, 0)
    assert counts(summary(run, *args[:-1], 25)) == (3, 0, 0)  # another quality
    assert counts(summary(run, *args[:-1], 25)) == (0, 3, 0)


def test_a_mask_is_part_of_the_picture(run: Run, pictures: Path, tmp_path: Path) -> None:
    args = (pictures, "-o", tmp_path / "out", "--masks", tmp_path / "masks")
    assert counts(summary(run, *args)) == (2, 0, 0)
    Image.fromarray(blob_mask(5, 3, 4, 3)).save(tmp_path / "masks/a.png")
    assert counts(summary(run, *args)) == (1, 1, 0)
    assert len(ssic.open(tmp_path / "out/a.ssic").groups) == 3


def test_coco_masks_by_file_name(run: Run, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    square = [[0, 0, 20, 0, 20, 20, 0, 20]]
    data = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 64, "height": 40},
            {"id": 8, "file_name": "b.jpg", "width": 64, "height": 41},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "segmentation": square, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "segmentation": [[60, 0, 62, 0, 62, 2]], "iscrowd": 0},
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(data))
    args = (f"{pictures}/**/*", "-o", tmp_path / "out", "--coco", tmp_path / "coco.json")
    found = summary(run, *args, "--group-quality", "dog=20,cow=10", code=3)
    assert [g.name for g in ssic.open(tmp_path / "out/a.ssic").groups] == ["background", "dog 1"]
    assert [g.name for g in ssic.open(tmp_path / "out/b.ssic").groups] == ["background"]
    assert found["failures"][0]["picture"].endswith("c.png")  # the file knows nothing of it
    assert found["failures"][0]["error"] == "the COCO file has none with the file name c.png: one is needed"
    assert "dog 2" in found["warnings"][0]["warning"]
    assert found["unmatched"] == ["cow"]
    data["annotations"].pop()
    (tmp_path / "coco.json").write_text(json.dumps(data))  # concerns one picture only
    assert counts(summary(run, *args, "--group-quality", "dog=20,cow=10", code=3)) == (1, 1, 1)


@pytest.fixture
def segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose segmenter finds a dog on the left, and a cat it is not sure of on the right. Where the
    environment says so, Ctrl-C strikes in it."""
    (tmp_path / "halves.py").write_text(
        "import os, signal\n"
        "import numpy as np\n"
        "from ssic.groups.segment import Instance\n"
        "def make(argument):\n"
        "    def find(rgb):\n"
        "        if 'CTRL_C' in os.environ:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        left = np.zeros(rgb.shape[:2], bool)\n"
        "        left[:, :14] = True\n"
        "        yield Instance('dog', 0.9, left)\n"
        "        yield Instance('cat', 0.4, left[:, ::-1].copy())\n"
        "    find.classes = ('dog', 'cat')\n"
        "    return find\n"
    )
    about = tmp_path / "halves-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: halves\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ssic.segmenters]\nhalves = halves:make\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("segmenter")
def test_masks_from_a_segmenter(run: Run, pictures: Path, tmp_path: Path) -> None:
    args = (pictures, "-o", tmp_path / "out", "--segment", "halves", "--group-quality", "background=15")
    assert counts(summary(run, *args)) == (2, 0, 0)
    opened = ssic.open(tmp_path / "out/a.ssic")
    assert {g.name: g.quality for g in opened.groups} == {"background": 15, "dog": 60, "cat": 60}
    assert opened.mask.ids[0].tolist() == [1, 0, 0, 2]
    assert counts(summary(run, *args)) == (0, 2, 0)
    assert counts(summary(run, *args, "--min-score", 0.5)) == (2, 0, 0)
    assert {g.name for g in ssic.open(tmp_path / "out/a.ssic").groups} == {"background", "dog"}
    assert counts(summary(run, *args, "--keep", "cat", "--group-by", "class")) == (2, 0, 0)
    assert {g.name for g in ssic.open(tmp_path / "out/a.ssic").groups} == {"background", "cat"}
    assert summary(run, *args, "--group-quality", "0=15,cow=3")["unmatched"] == ["cow"]


@pytest.mark.usefixtures("segmenter")
def test_another_segmenter_of_the_name_makes_all_anew(run: Run, pictures: Path, tmp_path: Path) -> None:
    args = (pictures, "-o", tmp_path / "out", "--segment")
    model = tmp_path / "model.bin"
    model.write_bytes(b"one")
    spec = f"halves:{model}"
    assert counts(summary(run, *args, spec)) == (2, 0, 0)
    moved = model.rename(tmp_path / "moved.bin")
    spec = f"halves:{moved}"
    assert counts(summary(run, *args, spec)) == (0, 2, 0)  # the same model, elsewhere
    moved.write_bytes(b"two")
    assert counts(summary(run, *args, spec)) == (2, 0, 0)
    assert counts(summary(run, *args, "halves")) == (2, 0, 0)  # no model
    assert counts(summary(run, *args, "halves:x")) == (2, 0, 0)  # another argument
    assert counts(summary(run, *args, "halves:x")) == (0, 2, 0)
    about = tmp_path / "halves-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: halves\nVersion: 1.1\n")
    assert counts(summary(run, *args, "halves:x")) == (2, 0, 0)  # another version of its package
    (about / "entry_points.txt").write_text("[ssic.segmenters]\nhalves = halves:make\nthirds = halves:make\n")
    assert counts(summary(run, *args, "thirds:x")) == (2, 0, 0)  # another name
    assert counts(summary(run, *args, "thirds:x", "--min-score", "0.3")) == (2, 0, 0)
    assert counts(summary(run, *args, "thirds:x", "--min-score", "0.3")) == (0, 2, 0)


def test_failures_are_listed_and_cost_nothing_else(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    (pictures / "empty.jpg").write_bytes(b"")
    code, out, err = run("batch", "encode", pictures, "-o", tmp_path / "out")
    assert code == 3
    assert f"failed: {pictures / 'broken.png'}: the picture can't be read" in out
    assert "2 of 4 pictures failed" in err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.ssic", "b.ssic", RECORDS}
    assert counts(summary(run, pictures, "-o", tmp_path / "out", code=3)) == (0, 2, 2)


@pytest.mark.parametrize(
    "options",
    [
        ("--quality", 0),
        ("--quality", 101),
        ("--runner", "horse"),
        ("--masks", ".", "--coco", "x.json"),
        ("--names", "x.json"),
        ("--keep", "dog"),
        ("--segment", "no-such-thing"),
        ("--segment", "halves", "--min-score", 3),
        ("--segment", "halves", "--max-groups", 0),
        ("--segment", "halves", "--keep", "dgo"),
        ("--masks", "no-such-folder"),
        ("--group-by", "class"),
        ("--block-rule", "any"),
        ("--group-quality", "dog=300"),
        ("--model", "nothing-like-it"),
    ],
)
@pytest.mark.usefixtures("segmenter")
def test_wrong_usage_is_told_before_the_work(run: Run, pictures: Path, tmp_path: Path, options: Any) -> None:
    code, _, err = run("batch", "encode", pictures, "-o", tmp_path / "out", *options)
    assert code in (2, 5)
    assert err.startswith("ssic: error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names there are text")
def test_names_that_are_no_text(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (b"a\xff.png", b"broken\xff.png"):
        (folder / os.fsdecode(name)).write_bytes(b"no picture")
    Image.fromarray(natural_picture(0, 32, 32)).save(folder / "a.png")
    os.replace(folder / "a.png", folder / os.fsdecode(b"a\xff.png"))
    args = (folder, "-o", tmp_path / "out")
    assert counts(summary(run, *args, code=3)) == (1, 0, 1)
    assert counts(summary(run, *args, code=3)) == (0, 1, 1)
    command = [sys.executable, "-m", "ssic", "batch", "encode", *map(str, args), "--workers", "1"]
    told = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"})
    assert told.returncode == 3, told.stderr
    assert b"1 of 2 pictures failed" in told.stderr


def test_records_cut_short_are_done_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    args = (pictures, "-o", tmp_path / "out")
    summary(run, *args)
    path = tmp_path / "out" / RECORDS
    path.write_bytes(path.read_bytes()[:-20])
    assert len(read_records(tmp_path / "out")) == 1
    assert counts(summary(run, *args)) == (1, 1, 0)
    assert counts(summary(run, *args)) == (0, 2, 0)


def encoder(folder: Path) -> Encoder:
    recipe = Recipe(quality=20)
    return Encoder(recipe.identity(), folder, recipe=recipe)


def test_processes_give_what_one_process_gives(pictures: Path, tmp_path: Path) -> None:
    found = find_pictures([f"{pictures}/**/*"])
    one = {r.output: r for r in run_here(find_jobs(found, {}), encoder(tmp_path / "one"), 1)}
    two = {r.output: r for r in run_here(find_jobs(found, {}), encoder(tmp_path / "two"), 2)}
    assert {k: (r.sha256, r.bytes) for k, r in one.items()} == {
        k: (r.sha256, r.bytes) for k, r in two.items()
    }
    again = list(run_here(find_jobs(found, two), encoder(tmp_path / "two"), 2))
    assert {r.status for r in again} == {"kept"}


class Deadly(Encoder):
    """An encoder whose process is gone at one picture, as the system ends those that take too much memory."""

    def __call__(self, job: Job) -> Record:
        if job.picture.name == "a.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return Record(str(job.picture), str(job.output), "encoded", self.identity)


class DeadlyOnce(Deadly):
    """And once at another one."""

    def __call__(self, job: Job) -> Record:
        if job.picture.name == "b.jpg" and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(job)


def test_a_worker_that_dies_costs_one_picture(pictures: Path, tmp_path: Path) -> None:
    found = find_pictures([f"{pictures}/**/*"])
    deadly = Deadly("x", tmp_path)
    records = {Path(r.picture).name: r for r in run_here(find_jobs(found, {}), deadly, 2)}
    assert {name: r.status for name, r in records.items()} == {
        "a.png": "failed",
        "b.jpg": "encoded",
        "c.png": "encoded",
    }
    assert "died twice" in (records["a.png"].error or "")


def test_jobs_are_handed_out_as_they_are_needed(tmp_path: Path) -> None:
    taken = 0

    def jobs() -> Any:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield Job(tmp_path / f"{n}.png", Path(f"{n}.ssic"))

    records = run_here(jobs(), encoder(tmp_path), 2)
    next(records)
    assert taken <= 8
    records.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("segmenter")
def test_ctrl_c_lets_the_picture_at_hand_be_finished(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    args = ("batch", "encode", f"{pictures}/**/*", "-o", out, "--segment", "halves", "--workers", 1)
    monkeypatch.setenv("CTRL_C", "")
    code, _, err = run(*args)
    assert code == 130
    assert "ssic: notice: Ctrl-C" in err
    assert "interrupted: 1 of 3 pictures are done" in err
    assert list(read_records(out)) == ["a.ssic"]
    assert not ssic.open(out / "a.ssic").damaged()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.delenv("CTRL_C")
    assert counts(summary(run, *args[2:])) == (2, 1, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_begins_no_others_and_loses_none(tmp_path: Path, workers: int) -> None:
    records: list[Record] = []
    jobs = (Job(tmp_path / f"{n}.png", Path(f"{n}.ssic")) for n in range(1000))
    for record in run_here(jobs, encoder(tmp_path), workers, lambda: bool(records)):
        records.append(record)
    assert 1 <= len(records) <= AHEAD * workers


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_leaves_whole_files_and_goes_on_later(run: Run, tmp_path: Path, workers: str) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for n in range(12):
        Image.fromarray(natural_picture(n, 256, 256)).save(folder / f"{n}.png")
    line = [
        sys.executable,
        "-m",
        "ssic",
        "batch",
        "encode",
        str(folder),
        "-o",
        str(out),
        "--workers",
        workers,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    for _ in range(600):
        if len(list(out.glob("*.ssic"))) >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert b"Traceback" not in err
    names = {p.name for p in out.iterdir()}
    assert not [name for name in names if name.startswith(".ssic-")]
    files = sorted(out.glob("*.ssic"))
    assert len(files) < 12
    for path in files:
        assert not ssic.open(path).damaged()
    assert len(read_records(out)) == len(files)
    assert counts(summary(run, folder, "-o", out)) == (12 - len(files), len(files), 0)


# -- on Ray ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of two workers in this machine."""
    module = pytest.importorskip("ray")
    tests = Path(__file__).parents[1]
    paths = [str(folder) for folder in (Path(ssic.__file__).parents[1], tests, tests.parent)]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    module.init(num_cpus=2, runtime_env=environment, log_to_driver=False, include_dashboard=False)
    yield module
    module.shutdown()


def test_ray_runs_the_same_function(ray: Any, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    found = find_pictures([f"{pictures}/**/*"])
    here = {r.output: r for r in run_here(find_jobs(found, {}), encoder(tmp_path / "here"), 1)}
    records = {r.output: r for r in run_on_ray(find_jobs(found, {}), encoder(tmp_path / "ray"), 2)}
    assert {k: (r.status, r.sha256) for k, r in records.items()} == {
        k: (r.status, r.sha256) for k, r in here.items()
    }
    assert records["broken.ssic"].status == "failed"
    for output, record in records.items():
        if record.status != "failed":
            there = (tmp_path / "ray" / output).read_bytes()
            assert there == (tmp_path / "here" / output).read_bytes()


def test_work_on_ray_that_is_stopped_is_resumed(ray: Any, pictures: Path, tmp_path: Path) -> None:
    found = find_pictures([f"{pictures}/**/*"])
    first: dict[str, Record] = {}
    for record in run_on_ray(find_jobs(found, {}), encoder(tmp_path), 2, lambda: len(first) >= 1):
        first[record.output] = record
    assert 1 <= len(first) < len(found)
    stamps = {output: (tmp_path / output).stat().st_mtime_ns for output in first}
    again = {r.output: r for r in run_on_ray(find_jobs(found, first), encoder(tmp_path), 2)}
    assert {
        output for output, record in again.items() if record.status == "encoded"
    } >= again.keys() - first.keys()
    assert len(again.keys() | first.keys()) == len(found)
    for output in again.keys() | first.keys():
        assert not ssic.open(tmp_path / output).damaged()
    assert {output: (tmp_path / output).stat().st_mtime_ns for output in first} == stamps, (
        "kept, not made again"
    )


def test_workers_of_ray_that_die_are_told_of(ray: Any, pictures: Path, tmp_path: Path) -> None:
    found = find_pictures([f"{pictures}/**/*"])
    deadly = DeadlyOnce("x", tmp_path)
    records = {Path(r.picture).name: r for r in run_on_ray(find_jobs(found, {}), deadly, 2)}
    assert {name: r.status for name, r in records.items()} == {
        "a.png": "failed",
        "b.jpg": "encoded",
        "c.png": "encoded",
    }
    assert (records["a.png"].error or "").startswith("Ray lost it twice: ")
    assert (tmp_path / "died").exists()
