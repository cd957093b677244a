"""Encoding to targets: the search on its own, and files that meet what was asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ssic
from helpers.commands import Result, Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.errors import InvalidInput, UnknownGroup, UnreachableTarget
from ssic.rate.search import PATIENCE, Search, accepted, usual_psnr, usual_rate
from ssic.rate.targets import CLOSE

SIZE = (112, 144)


# -- the search --------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1, 5), min_size=100, max_size=100),
    st.floats(-30, 300),
    st.booleans(),
    st.sampled_from([usual_rate, usual_psnr, lambda quality: 0.0]),
)
def test_the_search_ends_between_neighbours(steps, target, inclusive, usual) -> None:
    """Whatever the course, growing or not, and however far it is from the usual one."""
    course = np.cumsum(steps)
    search = Search(target, usual, inclusive=inclusive)
    while (quality := search.next()) is not None:
        assert 1 <= quality <= 100
        assert quality not in search.measured
        search.add(quality, float(course[quality - 1]))
    beyond = {q: v > target if inclusive else v >= target for q, v in search.measured.items()}
    if search.lower >= 1:
        assert not beyond[search.lower]
    if search.lower < 100:
        assert beyond[search.lower + 1]
    assert len(search.measured) <= PATIENCE + math.ceil(math.log2(100))


@given(st.floats(-0.5, 0.5), st.floats(0.9, 1.1), st.floats(0.11, 2.1))
def test_a_course_near_the_usual_one_takes_few_measurements(offset, stretch, rate) -> None:
    search = Search(math.log2(rate), usual_rate)
    while (quality := search.next()) is not None:
        search.add(quality, usual_rate(quality) * stretch + offset)
    assert len(search.measured) <= 5


def test_usual_courses_grow() -> None:
    for usual in (usual_rate, usual_psnr):
        values = [usual(q) for q in range(1, 101)]
        assert values == sorted(values)


def test_accepted_skips_what_does_not_fit() -> None:
    state = accepted("abc", {"a": 1, "b": 1, "c": 1}, 1, lambda s: s["b"] == 1)
    assert state == {"a": 2, "b": 1, "c": 2}


# -- files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return natural_picture(21, *SIZE), blob_mask(21, 7, 9, 5)


def met(scene: tuple[NDArray[np.uint8], NDArray[np.uint8]], **options: object) -> ssic.Encoding:
    """What encoding with targets gives; that it is what encoding with the qualities found gives."""
    picture, mask = scene
    result = ssic.Codec.load().encode(picture, mask, **options)  # type: ignore[arg-type]
    again = ssic.encode(picture, mask, group_quality=dict(result.qualities), order=options.get("order"))  # type: ignore[arg-type]
    assert result.data == again
    groups = ssic.open(result).groups
    assert {g.id: g.quality for g in groups} == result.qualities
    assert {g.name: g.quality for g in groups} == result.qualities_by_name
    return result


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a[where].astype(float) - b[where]) ** 2)))


@pytest.mark.parametrize("share", [0.12, 0.5, 0.8])
def test_bytes_are_met_within_a_percent(scene, share: float) -> None:
    target = int(share * len(ssic.encode(*scene, quality=100)))
    result = met(scene, target=f"bytes:{target}")
    assert target * (1 - CLOSE) <= len(result.data) <= target
    assert result.reached == len(result.data)
    assert result.encodes <= result.passes <= 9
    as_bpp = met(scene, target=f"bpp:{8 * (target + 0.01) / (SIZE[0] * SIZE[1]):.9f}")
    assert as_bpp.data == result.data


def test_one_group_gets_the_highest_quality_that_fits(scene) -> None:
    picture, _ = scene
    for target in (1500, 2500):
        result = met((picture, None), target=f"bytes:{target}")
        (quality,) = result.qualities.values()
        assert len(result.data) <= target < len(ssic.encode(picture, quality=quality + 1))
    # Exactly what a quality takes: that quality, and bytes do not depend on how it was chosen.
    data = ssic.encode(picture, quality=57)
    assert met((picture, None), target=f"bytes:{len(data)}").data == data


def test_more_than_enough_bytes_are_quality_100(scene) -> None:
    result = met(scene, target="bytes:1000000")
    assert set(result.qualities.values()) == {100}


@pytest.mark.parametrize("target", [26.5, 29.0, 31.5])
def test_psnr_is_met_with_the_lowest_quality(scene, target: float) -> None:
    picture, mask = scene
    everything = np.ones(SIZE, bool)
    result = met(scene, target=ssic.Target("psnr", target))
    found = psnr(ssic.decode(result.data), picture, everything)
    assert found >= target
    assert result.reached == pytest.approx(found, abs=1e-9)
    lower = {g: max(1, max(result.qualities.values()) - 1) for g in result.qualities}
    assert psnr(ssic.decode(ssic.encode(picture, mask, group_quality=lower)), picture, everything) < target


def test_groups_have_targets_of_their_own(scene) -> None:
    picture, mask = scene
    alone = {g.id: g.length for g in ssic.SsicFile(ssic.encode(picture, mask, quality=45)).groups}
    targets = {1: "psnr:30.5", "group 2": f"bytes:{alone[2]}", 3: "bpp:0.3"}
    result = met(scene, group_targets=targets, quality=30)
    groups = {g.id: g for g in ssic.SsicFile(result.data).groups}
    assert (groups[0].quality, groups[4].quality) == (30, 30)
    assert groups[2].length == alone[2]
    assert groups[2].quality >= 45
    next_up = {
        g.id: g for g in ssic.SsicFile(ssic.encode(picture, mask, quality=groups[2].quality + 1)).groups
    }
    assert next_up[2].length > alone[2]  # 45, or one more that takes no more bytes
    own = {g: (mask == g).repeat(16, 0).repeat(16, 1)[: SIZE[0], : SIZE[1]] for g in groups}
    decoded = ssic.decode(result.data)
    assert psnr(decoded, picture, own[1]) == pytest.approx(result.groups_reached[1], abs=1e-9)
    assert psnr(decoded, picture, own[1]) >= 30.5
    rate = 8 * groups[3].length / own[3].sum()
    assert rate == result.groups_reached[3] <= 0.3
    assert result.encodes < result.passes  # only the groups that are sought are coded again


def test_the_file_s_target_is_for_the_groups_that_have_none(scene) -> None:
    target = int(0.4 * len(ssic.encode(*scene, quality=100)))
    result = met(scene, target=f"bytes:{target}", group_quality={1: 90}, group_targets={2: "psnr:29"})
    assert result.qualities[1] == 90
    assert result.groups_reached[2] >= 29
    assert target * (1 - CLOSE) <= len(result.data) <= target
    first = met(scene, target=f"bytes:{target}", order=[0])
    assert ssic.SsicFile(first.data).head.order[0] == 0


def test_out_of_reach_says_what_is_in_reach(scene) -> None:
    picture, mask = scene
    least = len(ssic.encode(picture, mask, quality=1))
    with pytest.raises(UnreachableTarget, match=rf"to 100 bytes: at quality 1 it comes to {least} bytes$"):
        ssic.encode(picture, mask, target="bytes:100")
    with pytest.raises(UnreachableTarget, match=r"to 99 dB: at quality 100 it comes to \d+\.\d+ dB"):
        ssic.encode(picture, mask, target="psnr:99")
    with pytest.raises(UnreachableTarget, match=r'"group 2" .* at quality 1 it comes to'):
        ssic.encode(picture, mask, group_targets={2: "bytes:1"})
    with pytest.raises(UnreachableTarget, match="of their own included"):
        ssic.encode(picture, mask, target=f"bytes:{least}", group_quality={1: 100})
    with pytest.raises(InvalidInput, match="no group is left"):
        ssic.encode(picture, target="bytes:900", group_quality={0: 50})
    with pytest.raises(UnknownGroup):
        ssic.encode(picture, mask, group_targets={"cat": "psnr:30"})


@pytest.mark.parametrize(
    "target", ["", "psnr", "psnr:", "psnr:.", "psnr:-3", "psnr:0", "db:3", "bytes:1e3", "bytes:nan"]
)
def test_what_is_no_target(target: str) -> None:
    with pytest.raises(InvalidInput, match="target"):
        ssic.Target.of(target)


def test_the_command(scene, run: Run, tmp_path: Path) -> None:
    picture, mask = scene
    Image.fromarray(picture).save(tmp_path / "p.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    line = ["encode", tmp_path / "p.png", "-o", tmp_path / "p.ssic", "--mask", tmp_path / "m.png"]

    def encode(*options: object) -> Result:
        return run(*line, *options)

    code, out, err = encode("--target-bytes", "2500", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["file_bytes"] == facts["reached"]["file"] <= 2500
    assert (tmp_path / "p.ssic").read_bytes() == ssic.encode(picture, mask, target="bytes:2500")
    code, out, err = encode("--target-psnr", "28.5", "--group-target", "1=psnr:31,2=bytes:400")
    assert code == 0
    assert "psnr:28.5 met with 28.5" in out
    assert "group 1 comes to 31." in out
    for options, said in (
        (["--target-bytes", 2000, "--quality", 50], "--target-bytes and --quality exclude"),
        (["--target-bytes", 2000, "--target-psnr", 30], "--target-bytes and --target-psnr exclude"),
        (["--group-target", "person"], "--group-target person: a group and its target"),
        (["--target-bpp", 0], "target"),
        (["--target-bytes", 10], "can't be brought to 10 bytes"),
    ):
        code, _, err = encode(*options)
        assert code == 2
        assert said in err
