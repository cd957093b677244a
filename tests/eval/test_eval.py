"""Measuring: metrics against values made by hand, curves, and the two commands from end to end."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

import ssic
from helpers import ROOT
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.engine.effort import SCHEDULES
from ssic.engine.task import Schedule
from ssic.errors import InvalidInput
from ssic.eval.kept import Kept
from ssic.eval.metrics import bd_rate, decibels, ms_ssim, psnr
from ssic.eval.peers import PEERS, find_peers, read_curves
from ssic.eval.pictures import find_cases, stored
from ssic.eval.report import to_json
from ssic.eval.selective import Found, Trial, regions_by_method, search, search_from

DOCS = ROOT / "docs"
POINT = {
    *("quality", "bytes", "bpp", "psnr", "msssim", "msssim_db", "encode_s", "decode_s", "pictures"),
    *("head_bytes", "mask_bytes", "z_bytes", "y_bytes"),
}
PEER_POINT = POINT - {"head_bytes", "mask_bytes", "z_bytes", "y_bytes"}
CURVE = [(0.1, 28.0), (0.25, 31.0), (0.5, 34.0), (0.9, 37.0), (1.6, 40.0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of 96x64 with masks of three groups, one per block and one per pixel."""
    path = tmp_path_factory.mktemp("eval")
    (path / "images").mkdir()
    (path / "masks").mkdir()
    for n in range(2):
        Image.fromarray(natural_picture(n, 64, 96)).save(path / f"images/p{n}.png")
        ids = blob_mask(n, 4, 6, 3)
        Image.fromarray(ids if n else ids.repeat(16, 0).repeat(16, 1)).save(path / f"masks/p{n}.png")
    return path


# -- metrics -----------------------------------------------------------------------------------------------


def test_psnr_is_of_one_error_over_all_channels() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0] = (6, 0, 0)
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 3))  # 36 / 12 values
    assert psnr(b, a) == psnr(a, b)
    assert psnr(a, a) == math.inf
    where = np.zeros((2, 2), bool)
    where[0] = True
    assert psnr(a, b, where) == pytest.approx(10 * math.log10(255**2 / 6))


def test_ms_ssim_of_flat_pictures() -> None:
    pytest.importorskip("pytorch_msssim")
    a, b = np.full((176, 176, 3), 100, np.uint8), np.full((176, 176, 3), 120, np.uint8)
    assert ms_ssim(a, a) == pytest.approx(1)
    # Contrast and structure are 1 at all scales; luminance counts at the last, with exponent 0.1333.
    c = (0.01 * 255) ** 2
    luminance = (2 * 100 * 120 + c) / (100**2 + 120**2 + c)
    assert ms_ssim(a, b) == pytest.approx(luminance**0.1333, abs=1e-5)
    assert ms_ssim(a[:160], b[:160]) is None
    assert decibels(0.99) == pytest.approx(20)
    assert decibels(1.0) == math.inf


def test_bd_rate() -> None:
    pytest.importorskip("bjontegaard")
    same = bd_rate(CURVE, CURVE)
    assert same is not None
    assert same.percent == pytest.approx(0, abs=1e-9)
    assert (same.low, same.high, same.overlap) == (28, 40, 1)
    more = bd_rate(CURVE, [(1.1 * rate, db) for rate, db in CURVE])
    assert more is not None
    assert more.percent == pytest.approx(10)
    # The order of points does not matter, nor one that costs more than another and is no better.
    mixed = bd_rate(CURVE, [*reversed(CURVE), (1.7, 39.0), (math.nan, 50.0), (2.0, math.inf)])
    assert mixed is not None
    assert mixed.percent == pytest.approx(0, abs=1e-9)


def test_bd_rate_of_what_can_not_be_compared() -> None:
    pytest.importorskip("bjontegaard")
    assert bd_rate(CURVE, CURVE[:3]) is None
    assert bd_rate(CURVE, [(rate, db + 20) for rate, db in CURVE]) is None
    half = bd_rate(CURVE, [(rate, db + 6) for rate, db in CURVE])
    assert half is not None
    assert (half.low, half.high, half.overlap) == (34, 40, 0.5)


# -- peers and pictures ------------------------------------------------------------------------------------


def test_curves_of_all_three_shapes(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {
        "published": {"a": {"bpp": [0.5, 0.1], "psnr": [30, 20], "source": "x"}},
        "measured": {"a": [{"quality": 1, "bpp": 0.1, "psnr": 20, "msssim_db": 9}]},
        "ours": {"schema": "ssic-eval-rd/1", "curves": {"a": [{"bpp": 0.1, "psnr": None}]}},
    }
    for name, content in shapes.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (a,) = read_curves(tmp_path / "published.json")
    assert (a.name, a.source) == ("a", "published")
    assert [(p.bpp, p.psnr, p.msssim_db) for p in a.points] == [(0.1, 20, None), (0.5, 30, None)]
    (b,) = read_curves(tmp_path / "measured.json")
    assert [(p.bpp, p.psnr, p.msssim_db) for p in b.points] == [(0.1, 20, 9)]
    assert read_curves(tmp_path / "ours.json")[0].points == ()
    for wrong in ("[]", "{", '{"a": 3}', '{"a": {"bpp": [1]}}', '{"a": {"bpp": [1], "psnr": [1, 2]}}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(InvalidInput, match="no file of curves"):
            read_curves(tmp_path / "wrong.json")


@pytest.mark.parametrize("name", PEERS)
def test_peers_encode_and_decode(name: str) -> None:
    needed = {"avif": "avif", "jpeg2000": "jpg_2000", "webp": "webp"}.get(name)
    if needed and not features.check(needed):
        pytest.skip(f"this Pillow has no {name}")
    if name == "heic":
        pytest.importorskip("pillow_heif")
    pixels = natural_picture(3, 64, 96)
    for peer in find_peers([name]):
        low, high = (peer.encode(pixels, peer.qualities[n]) for n in (0, -1))
        assert len(low) < len(high)
        assert psnr(pixels, peer.decode(low)) < psnr(pixels, peer.decode(high))


def test_unknown_peers_are_refused() -> None:
    with pytest.raises(InvalidInput, match="there are: jpeg, webp"):
        find_peers(["gif"])


def test_pictures_and_masks_are_paired_by_name(folder: Path, tmp_path: Path) -> None:
    cases = find_cases(folder / "images", folder / "masks")
    assert [case.name for case in cases] == ["p0", "p1"]
    assert all(case.mask is not None and case.mask.groups == [0, 1, 2] for case in cases)
    assert all(case.mask is None for case in find_cases(folder / "images", None))
    with pytest.raises(InvalidInput, match="no pictures"):
        find_cases(tmp_path, None)
    Image.new("RGB", (16, 16)).save(tmp_path / "q.png")
    with pytest.raises(InvalidInput, match="no mask for q"):
        find_cases(tmp_path, folder / "masks")
    Image.new("RGB", (16, 16)).save(tmp_path / "q.jpg")
    with pytest.raises(InvalidInput, match="same name"):
        find_cases(tmp_path, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_file_without_room_is_named() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        stored(Path("/dev/full"), b"bytes")
    assert caught.value.filename == "/dev/full"


def test_json_has_null_for_what_is_infinite() -> None:
    assert json.loads(to_json({"a": [math.inf, (1, math.nan)], "b": 0.5})) == {
        "a": [None, [1, None]],
        "b": 0.5,
    }


# -- selective ---------------------------------------------------------------------------------------------


def test_search_finds_the_lowest_quality_and_its_neighbour() -> None:
    tried: list[int] = []

    def measure(quality: int) -> tuple[int, float]:
        tried.append(quality)
        return 100 * 2 ** (quality // 10), 20 + quality / 4

    found = search(measure, 33.1, 1)
    assert found is not None
    assert (found.at.quality, found.below and found.below.quality) == (53, 52)
    assert len(tried) <= 9
    assert search(measure, 45.1, 1) is None
    lowest = search(measure, 10, 1)
    assert lowest == Found(Trial(1, 100, 20.25), None)
    assert lowest.bytes_at(10) == 100


@pytest.mark.parametrize("start", [1, 20, 52, 53, 60, 100])
def test_search_from_about_where_it_is(start: int) -> None:
    tried: list[int] = []

    def measure(quality: int) -> tuple[int, float]:
        tried.append(quality)
        return 100 * 2 ** (quality // 10), 20 + quality / 4

    for target in (10, 20.3, 33.1, 45):
        assert search_from(start, measure, target, 1) == search(measure, target, 1)
    assert search_from(start, measure, 45.1, 1) is None
    tried.clear()
    assert search_from(start, measure, 33.1, 1)
    assert len(tried) == len(set(tried))
    assert len(tried) == 2 or start not in (52, 53)


def test_bytes_between_two_files() -> None:
    found = Found(Trial(6, 400, 34), Trial(5, 100, 32))
    assert found.bytes_at(33) == pytest.approx(200)
    assert found.bytes_at(34) == pytest.approx(400)


def test_ways_of_a_codec_without_groups() -> None:
    pixels = natural_picture(5, 64, 96)
    ids = np.zeros((64, 96), np.uint8)
    ids[16:32, 16:48], ids[32:64, 32:48] = 1, 2
    found = regions_by_method(pixels, ids, [1, 2])
    assert list(found) == ["whole", "box", "per group", "painted flat"]
    assert {name: [r.pixels.shape[:2] for r in regions] for name, regions in found.items()} == {
        "whole": [(64, 96)],
        "box": [(48, 32)],
        "per group": [(16, 32), (32, 16)],
        "painted flat": [(64, 96)],
    }
    for regions in found.values():
        received = np.zeros_like(pixels)
        for r in regions:
            height, width = r.used.shape
            received[r.top : r.top + height, r.left : r.left + width][r.used] = r.pixels[r.used]
        np.testing.assert_array_equal(received, np.where(ids[..., None] > 0, pixels, 0))
    flat = found["painted flat"][0].pixels[ids == 0]
    assert len(np.unique(flat, axis=0)) == 1
    np.testing.assert_allclose(flat[0], pixels[ids > 0].mean(0), atol=0.5)


# -- the commands ------------------------------------------------------------------------------------------


def need_extra() -> None:
    for module in ("bjontegaard", "pytorch_msssim", "matplotlib"):
        pytest.importorskip(module)


def test_rd(run: Run, folder: Path, tmp_path: Path) -> None:
    need_extra()
    peers = tmp_path / "peers.json"
    peers.write_text(json.dumps({"old": {"bpp": [0.1, 0.5, 1.5, 6], "psnr": [20, 25, 30, 40]}}))
    options = ["--masks", folder / "masks", "--quality", "10,40,70,95", "--run-peer", "jpeg,webp"]
    options += ["--peers", peers, "--ablate-structure", "--out", tmp_path / "out", "--json"]
    code, out, err = run("eval", "rd", "--images", folder / "images", *options)
    assert code == 0
    assert "p1, 2 of 2" in err
    results = json.loads(out)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["rd.json", "rd.md", "rd.png"]
    assert json.loads((tmp_path / "out/rd.json").read_text()) == results

    assert list(results) == ["schema", "environment", "settings", "curves", "bd_rate", "structure"]
    assert set(results["environment"]) == {
        *("engine", "machine", "system", "versions", "model", "floats", "commit")
    }
    assert results["settings"]["pictures"] == ["p0", "p1"]
    assert list(results["curves"]) == ["ssic", "ssic, one group", "jpeg_444", "jpeg_420", "webp"]
    for name, points in results["curves"].items():
        for point in points:
            assert set(point) == (POINT if name.startswith("ssic") else PEER_POINT)
            assert point["msssim"] is None  # so small a picture has none
            pictures = point["pictures"]
            assert [p["picture"] for p in pictures] == ["p0", "p1"]
            for key in ("bytes", "bpp", "psnr"):
                assert point[key] == pytest.approx(np.mean([p[key] for p in pictures]))
            assert all(p["bpp"] == pytest.approx(8 * p["bytes"] / (64 * 96)) for p in pictures)
    for p in (p for point in results["curves"]["ssic"] for p in point["pictures"]):
        assert p["bytes"] == sum(p[part] for part in ("head_bytes", "mask_bytes", "z_bytes", "y_bytes"))
        assert p["groups"] == 3

    assert {(f["anchor"], f["source"]) for f in results["bd_rate"]["ssic"]} == {
        *((name, "this run") for name in ("jpeg_444", "jpeg_420", "webp")),
        ("old", "peers"),
    }
    structure = results["structure"]
    assert [row["quality"] for row in structure["added"]] == [10, 40, 70, 95]
    for row in structure["added"]:
        parts = ("mask_bytes", "head_bytes", "z_bytes", "y_bytes")
        assert row["bytes"] == pytest.approx(sum(row[part] for part in parts))
    total = structure["bd_rate"]["psnr"]["percent"]
    assert sum(structure["parts_percent"].values()) == pytest.approx(total)
    page = (tmp_path / "out/rd.md").read_text()
    assert "BD-rate of ssic (negative: fewer bytes)" in page
    assert "| all |" in page

    # Results are curves to compare with, too: of the same model the difference is none.
    options = ["--masks", folder / "masks", "--quality", "10,40,70,95", "--peers", tmp_path / "out/rd.json"]
    code, out, _ = run("eval", "rd", "--images", folder / "images", *options, "--bpp-range", "0.01-24")
    assert code == 0
    assert re.search(r"ssic +rd +[+-]0\.00 %", out)


def test_rates_are_sizes_of_files(run: Run, folder: Path) -> None:
    need_extra()
    code, out, _ = run("eval", "rd", "--images", folder / "images", "--quality", "60", "--json")
    assert code == 0
    (point,) = json.loads(out)["curves"]["ssic"]
    for picture in point["pictures"]:
        data = ssic.encode(folder / f"images/{picture['picture']}.png", quality=60)
        assert picture["bytes"] == len(data)
        original = np.asarray(Image.open(folder / f"images/{picture['picture']}.png"))
        assert picture["psnr"] == pytest.approx(psnr(original, ssic.decode(data)))


def test_effort(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_extra()
    pytest.importorskip("torch")
    monkeypatch.setitem(SCHEDULES, 2, Schedule(6, 0.02, 0.4))  # type: ignore[arg-type]
    files = ["--images", folder / "images", "--masks", folder / "masks", "--json", "--model", "small"]

    def measured(*options: object) -> list[dict[str, Any]]:
        code, out, err = run("eval", *options, *files)
        assert code == 0, err
        return json.loads(out)  # type: ignore[no-any-return]

    plain, refined = (
        measured("rd", "--quality", "20,40", "--effort", effort, "--out", tmp_path) for effort in (1, 2)
    )
    assert (plain["settings"]["effort"], refined["settings"]["effort"]) == (1, 2)
    assert "effort 2" in (tmp_path / "rd.md").read_text()
    for before, after in zip(plain["curves"]["ssic"], refined["curves"]["ssic"], strict=True):
        assert before["bytes"] != after["bytes"]
        picture = after["pictures"][0]
        data = ssic.encode(
            folder / "images/p0.png",
            folder / "masks/p0.png",
            model="small",
            quality=after["quality"],
            effort=2,
        )
        assert picture["bytes"] == len(data)

    part = measured("selective", "--psnr", "29", "--run-peer", "jpeg", "--effort", "2")
    for effort, name in ((1, "ssic"), (2, "ssic, effort 2")):
        found = part["pictures"][0]["methods"][name]
        assert found["psnr"] >= 29 > found["below"]["psnr"]
        whole = ssic.encode(
            folder / "images/p0.png",
            folder / "masks/p0.png",
            model="small",
            quality=found["quality"],
            effort=effort,
        )
        (tmp_path / "p0.ssic").write_bytes(whole)
        assert found["bytes"] == len(bytes(ssic.open(tmp_path / "p0.ssic").extract([1, 2])))
    counts = {name: method["fewest"] for name, method in part["methods"].items()}
    assert counts["ssic"] == sum(
        p["methods"]["ssic"]["bytes_at_psnr"]
        < min(m["bytes_at_psnr"] for name, m in p["methods"].items() if name.startswith("jpeg"))
        for p in part["pictures"]
    )


def test_selective(run: Run, folder: Path, tmp_path: Path) -> None:
    options = ["--masks", folder / "masks", "--psnr", "29", "--run-peer", "jpeg,webp", "--out", tmp_path]
    code, out, _ = run("eval", "selective", "--images", folder / "images", *options, "--json")
    assert code == 0
    results = json.loads(out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["selective.json", "selective.md"]
    assert list(results) == [
        *("schema", "environment", "settings", "compared", "foreground", "methods", "pictures")
    ]
    assert results["compared"] == 2
    peers = [f"{p} {w}" for p in ("jpeg_444", "jpeg_420", "webp") for w in ("whole", "box", "per group")]
    assert {"ssic", "webp painted flat", *peers} < set(results["methods"])
    assert results["methods"]["jpeg_444 whole"]["relative"] == 1
    for picture in results["pictures"]:
        for found in picture["methods"].values():
            assert found["psnr"] >= 29
            assert found["below"]["psnr"] < 29
            assert found["below"]["quality"] == found["quality"] - 1
            sizes = sorted([found["below"]["bytes"], found["bytes"]])
            assert sizes[0] - 1e-6 <= found["bytes_at_psnr"] <= sizes[1] + 1e-6

    picture = results["pictures"][0]
    whole = ssic.encode(
        folder / "images/p0.png", folder / "masks/p0.png", quality=picture["methods"]["ssic"]["quality"]
    )
    (tmp_path / "p0.ssic").write_bytes(whole)
    part = bytes(ssic.open(tmp_path / "p0.ssic").extract([1, 2]))
    assert picture["methods"]["ssic"]["bytes"] == len(part)

    code, out, _ = run("eval", "selective", "--images", folder / "images", *options)
    assert code == 0
    assert "webp painted flat" in out


def test_what_is_kept_is_found_again(run: Run, folder: Path, tmp_path: Path) -> None:
    need_extra()
    work = tmp_path / "w"
    common = ("--images", folder / "images", "--masks", folder / "masks", "--work", work)

    def rd(*more: object) -> tuple[dict[str, Any], dict[Path, bytes]]:
        code, out, err = run("eval", "rd", *common, "--json", *more)
        assert code == 0, err
        return json.loads(out)["curves"], {path: path.read_bytes() for path in work.iterdir()}

    first, kept = rd("--quality", "20,60", "--run-peer", "webp")
    assert len(kept) == 2 * (2 + 7)
    # To the second that encoding took.
    assert rd("--quality", "20,60", "--run-peer", "webp") == (first, kept)
    more, now = rd("--quality", "20,40,60")
    assert [more["ssic"][0], more["ssic"][2]] == first["ssic"]
    assert len(now) == len(kept) + 2
    # What decides a point gives it a place of its own.
    for other in (
        ("--effort", 2),
        ("--engine", "torch:cpu:float32"),
        ("--model", "small"),
        ("--ablate-structure",),
    ):
        before = len(now)
        _, now = rd("--quality", "20", *other)
        assert len(now) == before + 2, other
    lost = next(iter(kept))
    lost.unlink()
    again, now = rd("--quality", "20,60", "--run-peer", "webp")
    assert lost in now
    assert [p["bytes"] for p in again["ssic"]] == [p["bytes"] for p in first["ssic"]]
    whole = json.loads(lost.read_text())
    for instead in (
        "nothing of the kind",
        json.dumps({"result": whole["result"]}),
        json.dumps(whole | {"facts": whole["facts"] | {"case": "another"}}),
        "[" * 100_000,
    ):
        lost.write_text(instead)
        code, _, err = run("eval", "rd", *common, "--quality", "20,60", "--run-peer", "webp")
        assert code == 2
        assert f"{lost} does not hold what was measured before" in err


def test_what_was_replaced_while_it_was_measured_is_not_kept(tmp_path: Path) -> None:
    kept, facts = Kept(tmp_path / "w"), {"model": 1}

    def measure() -> dict[str, int]:
        facts["model"] = 2
        return {"bytes": 3}

    with pytest.raises(InvalidInput, match="replaced meanwhile"):
        kept(lambda: facts, measure)
    assert not list((tmp_path / "w").iterdir())
    assert kept(lambda: facts, measure) == {"bytes": 3}
    assert kept(lambda: facts, lambda: pytest.fail("measured again")) == {"bytes": 3}


def test_a_selective_run_that_was_kept_is_found_again(run: Run, folder: Path, tmp_path: Path) -> None:
    common = ("--images", folder / "images", "--masks", folder / "masks", "--run-peer", "webp")

    def selective(*more: object) -> tuple[list[Any], int]:
        code, out, err = run("eval", "selective", *common, "--work", tmp_path, "--json", *more)
        assert code == 0, err
        return json.loads(out)["pictures"], len(list(tmp_path.iterdir()))

    first, count = selective("--psnr", "29")
    assert selective("--psnr", "29") == (first, count)
    other, more = selective("--psnr", "29.1")
    assert count <= more < 2 * count  # what both bisections try is there
    assert other != first
    _, most = selective("--psnr", "29", "--background", "1")  # another group is sent
    assert most > more


def test_a_target_out_of_reach_is_left_out_of_the_means(run: Run, folder: Path) -> None:
    options = [
        "--images",
        folder / "images",
        "--masks",
        folder / "masks",
        "--psnr",
        "90",
        "--run-peer",
        "webp",
    ]
    code, out, _ = run("eval", "selective", *options, "--json")
    assert code == 0
    results = json.loads(out)
    assert (results["compared"], results["methods"]) == (0, {})
    assert results["pictures"][0]["methods"]["ssic"] is None
    code, out, _ = run("eval", "selective", *options)
    assert code == 0
    assert "means of 0 of 2 pictures" in out
    assert "webp painted flat" in out  # what was measured shows, though nothing could be compared


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rd --images {images} --quality 0", "1 to 100"),
        ("rd --images {images} --quality x", "1 to 100"),
        ("rd --images {images} --bpp-range 2-1", "two rates"),
        ("rd --images {images} --run-peer gif", "no peer"),
        ("rd --images {images} --ablate-structure", "--masks"),
        ("rd --images {images} --draw nothing", "no curve"),
        ("rd --images {masks} --masks {images}", "label map|colour|integers"),
        ("selective --images {images} --masks {masks} --run-peer jpeg2000", "no scale"),
        ("selective --images {images} --masks {masks} --psnr nan", "positive number of dB, not nan"),
        ("selective --images {images} --masks {masks} --psnr inf", "positive number of dB, not inf"),
        ("selective --images {images} --masks {masks} --psnr -3", "positive number of dB, not -3"),
        ("selective --images {images} --masks {masks} --background 255", "255 is none"),
    ],
)
def test_wrong_usage(run: Run, folder: Path, line: str, said: str) -> None:
    need_extra()
    args = line.format(images=folder / "images", masks=folder / "masks").split()
    code, out, err = run("eval", *args)
    assert (code, out) == (2, "")
    assert re.search(f"ssic: error: .*({said})", err)
