"""Accuracy per bit: AP against pycocotools, resampling, rates at equal AP, methods to send, and the command."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.pictures import natural_picture
from helpers.weights import another_synthesis
from ssic.engine.onnx import OnnxEngine
from ssic.errors import InvalidInput
from ssic.eval import task_data
from ssic.eval.ap import Matches, Task, envelope, interval, match, saved
from ssic.eval.task import TaskOptions, folders
from ssic.eval.task_data import Layout, Scene, detect, grouped, read_dataset, widened
from ssic.eval.task_methods import METHODS, around, disjoint, find_methods, grown
from ssic.model.weights import find_weights, load_weights

pytest.importorskip("pycocotools")
DOCS = ROOT / "docs"
RED, BLUE = (220, 30, 30), (30, 30, 220)


# -- average precision -------------------------------------------------------------------------------------


def made_up(
    seed: int, task: Task, pictures: int = 6
) -> tuple[dict[str, Any], dict[int, list[dict[str, Any]]]]:
    """Ground truth with crowds and empty pictures, and detections near it, with wrong ones and doubles."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "info": {},
        "images": [{"id": 10 * n + 3, "width": 100, "height": 80} for n in range(pictures)],
        "annotations": [],
        "categories": [{"id": c, "name": f"c{c}"} for c in (1, 2, 5)],
    }
    found: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in truth["images"]}

    def shape(box: Sequence[float]) -> dict[str, Any]:
        x, y, w, h = (float(v) for v in box)
        points = np.stack([rng.uniform(x, x + w, 17), rng.uniform(y, y + h, 17), np.full(17, 2)], 1)
        if task == "keypoints":
            return {"keypoints": points.ravel().tolist(), "num_keypoints": 17, "bbox": [x, y, w, h]}
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        return {"bbox": [x, y, w, h], **({"segmentation": [polygon]} if task == "segm" else {})}

    for i in found:
        for _ in range(rng.integers(0, 6)):
            box = np.concatenate([rng.uniform(0, 50, 2), rng.uniform(8, 30, 2)])
            category = int(rng.choice([1, 2, 5])) if task != "keypoints" else 1
            known = shape(box)
            about = {"id": len(truth["annotations"]) + 1, "image_id": i, "category_id": category}
            crowd = int(rng.random() < 0.15)
            truth["annotations"].append(about | known | {"area": float(box[2] * box[3]), "iscrowd": crowd})
            for _ in range(rng.integers(0, 3)):
                moved = shape(box + rng.normal(0, 2, 4).clip(-4, 4))
                if task == "keypoints":
                    points = np.array(known["keypoints"]).reshape(17, 3)
                    points[:, :2] += rng.normal(0, rng.choice([0.5, 3]), (17, 2))
                    moved = {"keypoints": points.ravel().tolist()}
                if task == "segm":
                    moved = _as_rle(moved)
                wrong = rng.random() < 0.2 and task != "keypoints"
                kind = int(rng.choice([1, 2, 5])) if wrong else category
                found[i].append({"category_id": kind, "score": float(rng.random()), **moved})
    if task == "segm":
        for a in truth["annotations"]:
            if a["iscrowd"]:
                a.update(_as_rle(a))
    return truth, found


def _as_rle(item: dict[str, Any]) -> dict[str, Any]:
    from pycocotools import mask

    rle = mask.merge(mask.frPyObjects(item["segmentation"], 80, 100))
    return item | {"segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}}


def official(
    truth: dict[str, Any], found: dict[int, list[dict[str, Any]]], task: Task
) -> tuple[float, float]:
    """AP as pycocotools prints it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = json.loads(json.dumps(truth))
    coco.createIndex()
    results = [json.loads(json.dumps(d)) | {"image_id": i} for i, here in found.items() for d in here]
    run = COCOeval(coco, coco.loadRes(results), task)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[0]), float(run.stats[1])


TASKS: tuple[Task, ...] = ("bbox", "segm", "keypoints")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(4))
def test_ap_is_that_of_pycocotools(task: Task, seed: int) -> None:
    truth, found = made_up(seed, task)
    pictures = [i["id"] for i in truth["images"]]
    assert match(truth, pictures, found, task).ap() == pytest.approx(official(truth, found, task), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_weights_are_pictures_that_are_there_several_times(task: Task) -> None:
    truth, found = made_up(11, task)
    pictures = [i["id"] for i in truth["images"]]
    weights = [2, 0, 1, 3, 1, 0]
    copied: dict[str, Any] = truth | {"images": [], "annotations": []}
    detected: dict[int, list[dict[str, Any]]] = {}
    for n, (picture, times) in enumerate(zip(pictures, weights, strict=True)):
        for copy in range(times):
            new = 100 * (n + 1) + copy
            copied["images"].append(truth["images"][n] | {"id": new})
            for a in truth["annotations"]:
                if a["image_id"] == picture:
                    number = len(copied["annotations"]) + 1
                    copied["annotations"].append(a | {"id": number, "image_id": new})
            detected[new] = found[picture]
    matches = match(truth, pictures, found, task)
    assert matches.ap(np.array(weights)) == pytest.approx(official(copied, detected, task), abs=1e-9)
    assert matches.ap(np.array(weights) * 3)[0] >= matches.ap(np.array(weights))[0] - 0.02


def test_ap_at_its_ends() -> None:
    truth, found = made_up(0, "bbox")
    pictures = [i["id"] for i in truth["images"]]
    assert match(truth, pictures, {}, "bbox").ap() == (0, 0)
    perfect: dict[int, list[dict[str, Any]]] = {i: [] for i in pictures}
    for a in truth["annotations"]:
        if not a["iscrowd"]:
            perfect[a["image_id"]].append({k: a[k] for k in ("category_id", "bbox")} | {"score": 0.5})
    assert match(truth, pictures, perfect, "bbox").ap() == pytest.approx((1, 1))
    assert all(map(math.isnan, match(truth | {"annotations": []}, pictures, found, "bbox").ap()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ap_against_its_definition(data: st.DataObject) -> None:
    """One category, one threshold: the loop over detections that everyone would write."""
    hits = data.draw(st.lists(st.sampled_from("tfi"), min_size=1, max_size=12))
    pictures = data.draw(st.lists(st.integers(0, 2), min_size=len(hits), max_size=len(hits)))
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3)))
    objects = np.array(
        [[sum(h == "t" and p == n for h, p in zip(hits, pictures, strict=True)) + 1 for n in range(3)]]
    )
    true, false = (np.array([[h == kind for h in hits]]) for kind in "tf")
    matches = Matches(np.array(pictures), np.zeros(len(hits), np.int64), true, false, objects)
    total = int(objects[0] @ weights)
    if total == 0:
        assert math.isnan(matches.ap(weights)[0])
        return
    curve, right, wrong = [], 0, 0
    for hit, picture in zip(hits, pictures, strict=True):
        for _ in range(weights[picture]):
            right, wrong = right + (hit == "t"), wrong + (hit == "f")
            curve.append((right / total, right / max(1, right + wrong)))
    best = [max([p for r, p in curve if r >= want], default=0) for want in np.linspace(0, 1, 101)]
    assert matches.ap(weights)[0] == pytest.approx(np.mean(best), abs=1e-9)


# -- rates at equal AP -------------------------------------------------------------------------------------


def test_bits_saved_at_equal_ap() -> None:
    anchor = [(0.1, 0.1), (0.2, 0.2), (0.4, 0.3), (0.8, 0.35)]
    half = [(rate / 2, ap) for rate, ap in anchor]
    found = saved(half, anchor, [0.15, 0.3, 0.9])
    assert found is not None
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == (0.1, 0.35)
    assert found.at[:2] == pytest.approx([0.5, 0.5])
    assert found.at[2] is None
    other = saved(anchor, half)
    assert other is not None
    assert other.mean == pytest.approx(-1)  # twice the bits
    assert saved(anchor, [(0.1, 0.5), (0.2, 0.6)]) is None
    assert saved(anchor, []) is None
    # Log-linear between points: halfway in AP is the geometric mean of the rates.
    between = saved([(0.1, 0.0), (0.4, 1.0)], [(0.2, 0.0), (0.8, 1.0)], [0.5])
    assert between is not None
    assert between.at[0] == pytest.approx(0.5)


def test_points_that_cost_more_and_are_no_better_do_not_count() -> None:
    assert envelope([(0.3, 0.2), (0.1, 0.1), (0.2, 0.25), (0.4, 0.25), (0.5, 0.3), (0, 0.1)]) == [
        (0.1, 0.1),
        (0.2, 0.25),
        (0.5, 0.3),
    ]


def test_interval_needs_enough_samples() -> None:
    assert interval([0.5] * 19) is None
    assert interval([n / 1000 for n in range(1001)]) == pytest.approx((0.025, 0.975))


# -- groups and boxes --------------------------------------------------------------------------------------


def test_objects_grow_into_the_background_only() -> None:
    owners = np.zeros((5, 7), np.int64)
    owners[2, 1], owners[2, 4] = 1, 2
    grown = widened(owners, 1)
    assert (grown[1:4, 0:3] == 1).all()
    assert (grown[1:4, 3:6] == 2).all()
    assert np.count_nonzero(grown) == 18
    assert (widened(owners, 0) == owners).all()


def test_groups_by_object_class_or_all() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[:16, :16], labels[16:32, :16], labels[48:, 48:] = 1, 2, 3
    classes = {1: "dog", 2: "cat", 3: "dog"}
    names = {
        by: set(grouped(labels, classes, Layout(group_by=by)).names.values())  # type: ignore[arg-type]
        for by in ("all", "class", "instance")
    }
    assert names == {
        "all": {"background", "objects"},
        "class": {"background", "dog", "cat"},
        "instance": {"background", "dog 1", "cat", "dog 2"},
    }
    empty = grouped(np.zeros((20, 20), np.int32), {}, Layout())
    assert dict(empty.names) == {0: "background"}
    one = grouped(np.ones((1, 1), np.int32), {1: "dog"}, Layout())
    assert dict(one.names) == {1: "objects"}


box = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(max_examples=80, deadline=None)
@given(st.lists(box, max_size=12))
def test_boxes_do_not_overlap_and_cover_all(boxes: list[tuple[int, int, int, int]]) -> None:
    result = disjoint(boxes)
    count = np.zeros((80, 80), int)
    for x0, y0, x1, y1 in result:
        count[y0:y1, x0:x1] += 1
    assert count.max(initial=0) <= 1
    for x0, y0, x1, y1 in boxes:
        assert (count[y0:y1, x0:x1] == 1).all()
    if boxes:
        assert around(result) == around(boxes)


def test_boxes_grow_within_the_picture() -> None:
    assert grown([(10, 10, 20, 20), (0, 0, 5, 5)], 16, 30, 100) == [(0, 0, 30, 36), (0, 0, 21, 21)]


# -- methods to send ------------------------------------------------------------------------------------------


def scene(wanted: bool = True) -> Scene:
    pixels = natural_picture(3, 70, 100)
    labels = np.zeros((70, 100), np.int32)
    if wanted:
        labels[10:40, 20:60] = 1
    mask = grouped(labels, {1: "dog"}, Layout())
    return Scene(pixels, 1234, mask, [1] if wanted else [], [(20, 10, 60, 40)] if wanted else [])


@pytest.mark.parametrize("name", METHODS)
def test_what_is_not_sent_is_filled_and_the_rest_is_near(name: str) -> None:
    [method] = find_methods([name], model="small", fill="#102030", qualities=[60])
    quality = max(method.qualities)
    full = scene()
    sent = method.send(full, quality)
    assert sent.pixels.shape == full.pixels.shape
    assert sent.bytes > 0
    error = np.abs(sent.pixels.astype(int) - full.pixels).mean(2)
    assert error[10:40, 20:60].mean() < 16
    partial = name.endswith((" selective", " boxes", " flat"))
    assert (sent.pixels[68, 98] == (0x10, 0x20, 0x30)).all() == partial
    nothing = method.send(scene(wanted=False), quality)
    assert (nothing.bytes == 0) == partial


@pytest.mark.parametrize("name", METHODS)
def test_ways_travel_to_other_processes(name: str) -> None:
    [method] = find_methods([name], model="small", fill="mean", peer_qualities={"avif": [5, 9]})
    again = pickle.loads(pickle.dumps(method))
    assert again == method
    assert again.identity({}) == method.identity({})
    assert (tuple(method.qualities) == (5, 9)) == name.startswith("avif")


def test_selective_is_the_size_of_the_extract() -> None:
    selective, whole = find_methods(["ssic selective", "ssic whole"], model="small", fill="black")
    here = scene()
    data = ssic.encode(here.pixels, here.mask, quality=30, model="small")
    assert whole.send(here, 30).bytes == len(data)
    sent = selective.send(here, 30)
    extract = bytes(ssic.SsicFile(data).extract("objects"))
    assert sent.bytes == len(extract) < len(data)
    assert np.array_equal(sent.pixels, ssic.decode(extract))
    assert len(here.files) == 1  # encoded once for both


def test_a_graded_file_is_whole_with_a_cheap_background() -> None:
    graded, whole = find_methods(["ssic graded", "ssic whole"], model="small", fill="black")
    here = scene()
    assert graded.send(here, 60).bytes < whole.send(here, 60).bytes


def test_identities_tell_settings_apart() -> None:
    def identity(**changes: Any) -> list[str]:
        options: dict[str, Any] = {"model": "small", "fill": "black"} | changes
        methods = find_methods(["ssic selective", "avif whole", "avif boxes"], **options)
        return [w.identity({"task": "segm"}) for w in methods]

    base = identity()
    assert len(set(base)) == 3
    assert identity(qualities=[3]) == base  # a quality has a folder of its own
    assert [a == b for a, b in zip(base, identity(fill="mean"), strict=True)] == [False, True, False]
    assert [a == b for a, b in zip(base, identity(margin=1), strict=True)] == [True, True, False]
    with pytest.raises(InvalidInput, match="no method"):
        find_methods(["pigeon post"], model="small", fill="black")


# -- the whole ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spot:
    """What `Spots` finds."""

    class_name: str
    score: float
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]
    keypoints: NDArray[np.float32]


class Spots:
    """A detector that works: it finds a red and a blue spot, and is the surer the purer their colour is."""

    def predict(
        self, rgb: NDArray[np.uint8], *, min_score: float, iou: float, max_detections: int
    ) -> list[Spot]:
        result = []
        for name, colour in (("red", RED), ("blue", BLUE), ("unheard of", (0, 255, 0))):
            near = np.abs(rgb.astype(int) - colour).sum(2) < 120
            if near.sum() > 30:
                y, x = np.nonzero(near)
                box = float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)
                points = np.zeros((17, 3), np.float32)
                points[:, 0], points[:, 1] = np.linspace(box[0], box[2], 17), np.linspace(box[1], box[3], 17)
                score = float(near[y.min() : y.max() + 1, x.min() : x.max() + 1].mean())
                result.append(Spot(name, score, box, near, points))
        return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with spots: one gray as a file, one without spots, odd sizes; and their annotations."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "images").mkdir()
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 4, "name": "red"}, {"id": 9, "name": "blue"}],
    }
    for n in range(5):
        width, height = 97 + 20 * n, 81 + 7 * n
        pixels = natural_picture(n, height, width) // 2 + 60
        coco["images"].append(
            {"id": n + 1, "file_name": f"{n}.png", "width": width, "height": height, "set": "ab"[n % 2]}
        )
        for k, (category, colour) in enumerate(((4, RED), (9, BLUE))):
            if n == 4:
                continue
            x, y, size = 8 + 45 * k, 12 + 5 * n, 30
            pixels[y : y + size, x : x + size] = colour
            polygon = [x, y, x + size, y, x + size, y + size, x, y + size]
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": n + 1,
                    "category_id": category,
                    "bbox": [x, y, size, size],
                    "area": size * size,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
        Image.fromarray(pixels).convert("L" if n == 4 else "RGB").save(folder / f"images/{n}.png")
    (folder / "coco.json").write_text(json.dumps(coco))
    (folder / "detector.onnx").write_bytes(b"stands for the file of the detector")
    return folder


@pytest.fixture
def spots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector that any "onnx:..." names."""
    import ssic.eval.task as module

    for place in (module, task_data):
        monkeypatch.setattr(place, "load_detector", lambda name, threads: Spots())


@pytest.fixture
def run(run: Run) -> Run:
    return lambda *args: run("eval", "task", *args)


def arguments(data: Path, out: Path, task: str = "segm") -> list[object]:
    detector = ("--model", f"onnx:{data / 'detector.onnx'}", "--samples", 25, "--quality", "5,40")
    return ["--coco", data / "images", data / "coco.json", "--task", task, *detector, "--out", out]


def test_data_is_chosen(data: Path) -> None:
    def ids(**options: Any) -> list[int]:
        return [e.id for e in read_dataset(data / "images", data / "coco.json", **options).entries]

    assert ids() == [1, 2, 3, 4]
    assert ids(empty=True) == [1, 2, 3, 4, 5]
    assert ids(where={"set": "b"}) == [2, 4]
    assert ids(limit=2) == [1, 3]
    with pytest.raises(InvalidInput, match="no picture"):
        ids(where={"set": "c"})
    with pytest.raises(InvalidInput, match=r"lacks 0\.png"):
        read_dataset(data, data / "coco.json")


def test_points_of_changed_pictures_are_measured_anew(data: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(data / "images", images)

    def identity(**options: Any) -> str:
        return read_dataset(images, data / "coco.json", **options).identity

    before, of_others = identity(), identity(where={"set": "a"})
    assert identity() == before
    shutil.copy(images / "0.png", images / "3.png")
    assert identity() != before
    assert identity(where={"set": "a"}) == of_others  # 3.png is none of these


def test_points_of_another_version_or_engine_are_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def identities() -> list[str]:
        methods = find_methods(["ssic whole", "avif whole"], model="small", fill="mean")
        return [m.identity({}) for m in methods]

    before = identities()
    monkeypatch.setattr("ssic.eval.task_methods.__version__", "another")
    assert [a == b for a, b in zip(before, identities(), strict=True)] == [False, True]
    monkeypatch.undo()
    assert identities() == before
    monkeypatch.setattr(OnnxEngine, "name", "another")
    assert [a == b for a, b in zip(before, identities(), strict=True)] == [False, True]


def test_points_of_other_libraries_are_measured_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run the detector, too: so what it finds in the original files, as well."""
    options = TaskOptions(
        read_dataset(data / "images", data / "coco.json"),
        "segm",
        f"onnx:{data / 'detector.onnx'}",
        find_methods(["ssic whole", "jpeg whole"], model="small", fill="mean"),
        Layout(),
        tmp_path,
    )
    before = [folder for _, folder in folders(options)]
    assert [folder for _, folder in folders(options)] == before
    monkeypatch.setattr("ssic.eval.task.computing", lambda: {"numpy": "another"})
    assert not set(before) & {folder for _, folder in folders(options)}


def test_results_are_in_coco_format() -> None:
    pixels = np.full((40, 50, 3), 120, np.uint8)
    pixels[5:25, 10:40] = RED
    [found] = detect(Spots(), pixels, "segm", {"red": 4})
    assert found["category_id"] == 4
    assert found["bbox"] == [10, 5, 30, 20]
    from pycocotools import mask

    assert mask.area(found["segmentation"]) == 600
    [pose] = detect(Spots(), pixels, "keypoints", {"red": 4})
    assert len(pose["keypoints"]) == 51
    assert detect(Spots(), pixels, "bbox", {"blue": 9}) == []


def test_points_are_told_apart_by_the_floats(tmp_path: Path) -> None:
    """Training the synthesis only changes pixels, and not the model's id."""
    other = another_synthesis(tmp_path / "other.safetensors")
    assert load_weights(other).id == load_weights(find_weights("small")).id
    (had,), (new,) = (find_methods(["ssic whole"], model=m, fill="mean") for m in ("small", str(other)))
    assert had.identity({}) != new.identity({})


@pytest.mark.usefixtures("spots")
def test_from_pictures_to_tables(run: Run, data: Path, tmp_path: Path) -> None:
    methods = "ssic selective,ssic whole,jpeg whole,jpeg boxes"
    more = ("--method", methods, "--peer-quality", "jpeg=10,50", "--json")
    code, out, err = run(*arguments(data, tmp_path), *more)
    assert code == 0, err
    results = json.loads(out)
    assert results == json.loads((tmp_path / "task.json").read_text())
    assert set(results["curves"]) == set(methods.split(","))
    assert results["original"]["ap"] == pytest.approx(1)
    assert results["curves"]["ssic whole"][-1]["ap"] > 0.8
    selective, whole = (results["curves"][f"ssic {method}"] for method in ("selective", "whole"))
    for few, all_ in zip(selective, whole, strict=True):
        assert few["bytes"] < all_["bytes"]
        assert few["bpp"] == pytest.approx(
            8 * few["bytes"] / sum((97 + 20 * n) * (81 + 7 * n) for n in range(4))
        )
    page = (tmp_path / "task.md").read_text()
    assert "made of the annotations" in page
    assert "ssic selective" in page
    with Image.open(tmp_path / "task.png") as plot:
        assert plot.size[0] > 500

    # What was measured is found again, unless the file is gone; other settings have places of their own.
    points = {p: p.stat().st_mtime_ns for p in (tmp_path / "points").rglob("*.gz")}
    assert len(points) == 4 * (1 + 2 + 2 + 2 + 2)
    lost = next(iter(points))
    lost.unlink()
    assert json.loads(run(*arguments(data, tmp_path), *more)[1]) == results
    assert [p for p, at in points.items() if p.stat().st_mtime_ns != at] == [lost]
    assert run(*arguments(data, tmp_path), *more, "--margin", 1, "--fill", "black")[0] == 0
    assert len(list((tmp_path / "points").rglob("*.gz"))) == len(points) + 4 * (2 + 2 + 2)


@pytest.mark.usefixtures("spots")
def test_groups_from_a_segmenter(run: Run, data: Path, tmp_path: Path) -> None:
    options = (
        "--groups-from",
        f"onnx:{data / 'detector.onnx'}",
        "--method",
        "ssic selective",
        "--with-empty",
        "--json",
    )
    code, out, err = run(*arguments(data, tmp_path, "bbox"), *options)
    assert code == 0, err
    results = json.loads(out)
    assert len(results["settings"]["pictures"]) == 5
    assert results["curves"]["ssic selective"][-1]["ap"] > 0.8
    # Named with its hash, and without the folder it lay in.
    label = results["settings"]["detector"]
    assert re.fullmatch(r"onnx:detector\.onnx [0-9a-f]{16}", label)
    assert results["settings"]["layout"]["segmenter"] == label
    page = (tmp_path / "task.md").read_text()
    assert f"what {label} finds in the original pictures" in page
    assert str(data) not in out + page


@pytest.mark.parametrize(
    "options",
    [
        ("--task", "taste"),
        ("--method", "pigeon"),
        ("--fill", "transparent"),
        ("--fill", "plaid"),
        ("--where", "set"),
        ("--where", "set=nothing"),
        ("--model", "magic"),
        ("--group-by", "mood"),
        ("--min-score", "3"),
        ("--quality", "0"),
        ("--peer-quality", "avif"),
        ("--peer-quality", "avif=500"),
        ("--peer-quality", "gif=5"),
    ],
)
def test_wrong_usage(run: Run, data: Path, tmp_path: Path, options: Any) -> None:
    code, _, err = run(*arguments(data, tmp_path), *options)
    assert code == 2
    assert err.startswith("ssic: error: ")
    assert not list(tmp_path.rglob("*.gz"))


def test_what_the_plot_needs_is_told_before_the_work(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(*arguments(data, tmp_path))
    assert (code, 'matplotlib: pip install "ssic[eval]"' in err) == (2, True)
    assert not list(tmp_path.rglob("*.gz"))


def test_a_judge_that_is_not_there(run: Run, data: Path, tmp_path: Path) -> None:
    code, _, err = run(*arguments(data, tmp_path), "--model", "onnx:/nowhere.onnx")
    assert (code, err) == (6, "ssic: error: can't read the model /nowhere.onnx: No such file or directory\n")


def test_documentation_has_the_ways() -> None:
    page = (DOCS / "eval.md").read_text()
    missing = [method for method in METHODS if not re.search(rf"`[a-z, ]*{method.split()[1]}", page)]
    assert not missing
