"""Refining latents: the laws hold for it, it never loses, and it can be stopped."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic import progress as progress_module
from ssic.batch.encoder import Recipe
from ssic.cli.effort import best_so_far
from ssic.codec import Codec
from ssic.engine import annealing
from ssic.engine.effort import SCHEDULES
from ssic.engine.task import Schedule
from ssic.errors import EngineError, InvalidInput
from ssic.file import SsicFile
from ssic.progress import Clock

PIXELS = natural_picture(3, 60, 76)  # padded to 4x5 blocks
IDS = blob_mask(3, 4, 5, 2)
QUALITY = 40


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load("small")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effort 2 in a few iterations; 3 in enough of them to gain something."""
    monkeypatch.setitem(SCHEDULES, 2, Schedule(4, 0.02, 0.4))  # type: ignore[arg-type]
    monkeypatch.setitem(SCHEDULES, 3, Schedule(40, 0.01, 0.4))  # type: ignore[arg-type]


def segments(coded: object) -> dict[int, bytes]:
    data = bytes(coded)  # type: ignore[call-overload]
    file = SsicFile(data)
    return {g.id: data[g.offset : g.offset + g.length] for g in file}


def cost(codec: Codec, data: bytes, group: int, pixels: np.ndarray = PIXELS) -> float:
    """Bits + lambda * squared error of a group, from nothing but the file."""
    file = SsicFile(data)
    low, high = codec.config.lambda_range
    trade_off = low * (high / low) ** ((file[group].quality - 1) / 99)
    owner = file.mask.to_pixels(*file.size)
    wrong = (file.decode().astype(int) - pixels)[owner == group]
    return 8 * len(segments(data)[group]) + trade_off * float((wrong**2).sum()) / 3


def test_a_group_depends_on_itself_alone(codec: Codec) -> None:
    both = segments(codec.encode(PIXELS, IDS, quality=QUALITY, effort=2).data)
    owner = IDS.repeat(16, axis=0).repeat(16, axis=1)[:60, :76]
    changed = np.where((owner == 0)[..., None], PIXELS, 255 - PIXELS)
    others = codec.encode(changed, IDS, quality=QUALITY, group_quality={1: 77}, effort=2)
    assert segments(others.data)[0] == both[0]
    assert segments(others.data)[1] != both[1]


def test_a_group_alone_is_the_same_as_among_others(codec: Codec) -> None:
    plain = segments(codec.encode(PIXELS, IDS, quality=QUALITY).data)
    both = segments(codec.encode(PIXELS, IDS, quality=QUALITY, effort=3).data)
    assert both != plain, "nothing was refined: the test would show nothing"
    for group in (0, 1):
        _, alone = codec.encode_groups(PIXELS, IDS, {group: QUALITY}, effort=3)
        assert alone.by_group == {group: both[group]}


def test_the_same_bytes_every_time(codec: Codec) -> None:
    first, second = (codec.encode(PIXELS, IDS, quality=QUALITY, effort=2).data for _ in range(2))
    assert first == second


def test_any_number_of_threads(codec: Codec) -> None:
    several = Codec(codec._weights, engine="onnx")
    several.engine.threads = 3
    ids = np.arange(20, dtype=np.uint8).reshape(4, 5) // 4
    one, three = (c.encode(PIXELS, ids, quality=QUALITY, effort=2).data for c in (codec, several))
    assert one == three


def test_what_ends_the_search_ends_all_threads(codec: Codec) -> None:
    codec = Codec(codec._weights, engine="onnx")
    codec.engine.threads = 3
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        if asked > 4:
            raise ZeroDivisionError
        return False

    ids = np.arange(20, dtype=np.uint8).reshape(4, 5) // 4
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        codec.encode(PIXELS, ids, quality=QUALITY, effort=3, stopped=stopped)
    time.sleep(0.5)  # an iteration takes much less
    at_rest = asked
    time.sleep(0.5)
    assert asked == at_rest < 50, "of 200 iterations"
    assert torch.get_num_threads() == before


def test_it_pays(codec: Codec) -> None:
    plain = codec.encode(PIXELS, quality=QUALITY).data
    refined = codec.encode(PIXELS, quality=QUALITY, effort=3).data
    assert cost(codec, refined, 0) < 0.995 * cost(codec, plain, 0)


@pytest.mark.parametrize("rate", [0.02, 3.0])
def test_it_never_loses(codec: Codec, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.setitem(SCHEDULES, 2, Schedule(3, rate, 0.4))  # type: ignore[arg-type]
    plain = codec.encode(PIXELS, IDS, quality=QUALITY).data
    refined = codec.encode(PIXELS, IDS, quality=QUALITY, effort=2).data
    for group in (0, 1):
        assert cost(codec, refined, group) <= cost(codec, plain, group)
    if rate == 3.0:  # such steps destroy the latents: what was there stays
        assert refined == plain


def test_large_groups_are_refined_in_squares(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssic.plan import make_plan

    ids = blob_mask(4, 11, 9, 2)
    plan = make_plan(ids, ids == 1)
    monkeypatch.setattr(annealing, "WHOLE", 8)
    monkeypatch.setattr(annealing, "TILE", 4)
    parts = list(annealing._parts(plan))
    assert len(parts) > 2
    assert sorted(np.concatenate([p.blocks[p.own] for p in parts])) == list(range(len(plan)))
    assert sorted(np.concatenate([p.pairs[p.own_pairs] for p in parts])) == list(range(len(plan.pair_count)))
    for part in parts:  # a part's indices say of its blocks what the group's own say
        assert (part.plan.block == plan.block[part.blocks]).all()
        assert (part.plan.pair_count == plan.pair_count[part.pairs]).all()
        assert (plan.pair[part.blocks] == part.pairs[part.plan.pair]).all()
    plain = codec.encode(PIXELS, quality=QUALITY).data
    refined = codec.encode(PIXELS, quality=QUALITY, effort=3).data
    assert cost(codec, refined, 0) < cost(codec, plain, 0)


@pytest.mark.parametrize("after", [0, 5])
def test_stopping_gives_the_best_so_far(codec: Codec, after: int) -> None:
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    plain = codec.encode(PIXELS, IDS, quality=QUALITY).data
    cut = codec.encode(PIXELS, IDS, quality=QUALITY, effort=3, stopped=stopped).data
    assert asked == after + 1, "what said stop is not asked again"
    for group in (0, 1):
        assert cost(codec, cut, group) <= cost(codec, plain, group)
    if after == 0:  # nothing was begun, nothing changed
        assert cut == plain


def test_targets_are_met_with_refined_groups(codec: Codec) -> None:
    met = codec.encode(PIXELS, IDS, target="bytes:900", effort=2)
    assert len(met.data) <= 900
    assert met.reached == len(met.data)
    again = codec.encode(PIXELS, IDS, group_quality=dict(met.qualities), effort=2)
    assert again.data == met.data
    lowest = min(met.qualities.values())
    assert len(codec.encode(PIXELS, IDS, quality=lowest + 1, effort=2).data) > 900
    clear = codec.encode(PIXELS, IDS, quality=30, group_targets={1: "psnr:31"}, effort=2)
    assert clear.groups_reached[1] >= 31


def test_groups_coded_anew(codec: Codec) -> None:
    data = codec.encode(PIXELS, IDS, quality=QUALITY).data
    whole = segments(codec.encode(PIXELS, IDS, quality=QUALITY, group_quality={1: 55}, effort=2).data)
    for changed in (
        SsicFile(data).set_quality({1: 55}, PIXELS, effort=2),
        SsicFile(data).replace(1, PIXELS, quality=55, effort=2),
    ):
        assert segments(changed) == {0: segments(data)[0], 1: whole[1]}


@pytest.mark.parametrize("effort", [0, 10, True, "3", 2.5, None, math.nan])
def test_efforts_that_there_are_not(effort: object) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 9"):
        ssic.encode(PIXELS, effort=effort)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="stopped"):
        ssic.encode(PIXELS, stopped=3)  # type: ignore[arg-type]


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssic.model.weights import find_weights, load_weights

    codec = Codec(load_weights(find_weights("small")), engine="onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert codec.encode(PIXELS).data
    with pytest.raises(EngineError, match=r'pip install "ssic\[torch\]"'):
        codec.encode(PIXELS, effort=2)


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    said: list[str] = []
    clock = Clock(1000, said.append)
    for _ in range(10):
        clock.advance(10)
        now += 0.5
    assert said == [
        "refining, 3 %, about 48 s left",
        "refining, 5 %, about 48 s left",
        "refining, 7 %, about 46 s left",
        "refining, 9 %, about 46 s left",
    ]


def test_ctrl_c_on_the_command_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    target = tmp_path / "a.ssic"
    begun = 0

    def advance(self: Clock, blocks: int) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            os.kill(os.getpid(), signal.SIGINT)  # which wakes the main thread, as a terminal's does

    monkeypatch.setattr(Clock, "advance", advance)
    monkeypatch.setitem(SCHEDULES, 3, Schedule(4000, 0.01, 0.4))  # type: ignore[arg-type]
    result = run("encode", tmp_path / "a.png", "-o", target, "--effort", "3")
    assert result.code == 130
    assert 1 <= begun < 4000  # the thread that hears it is another one, and needs a moment
    assert "best so far" in result.err
    assert SsicFile(target.read_bytes()).decode().shape == PIXELS.shape


def test_a_second_ctrl_c_ends_all() -> None:
    with best_so_far(2) as ending:
        signal.raise_signal(signal.SIGINT)
        assert ending()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), best_so_far(1):
        signal.raise_signal(signal.SIGINT)


def test_commands_take_an_effort(run: Run, tmp_path: Path, codec: Codec) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    file, changed = tmp_path / "a.ssic", tmp_path / "b.ssic"
    rate = ("--effort", 2, "--quality", QUALITY, "--model", "small")
    assert run("encode", tmp_path / "a.png", "-o", file, *rate).code == 0
    refined = codec.encode(PIXELS, quality=QUALITY, effort=2).data
    assert file.read_bytes() == refined
    exception = f"{SsicFile(refined).names[0]}=30"
    options = ("--group-quality", exception, "--with", tmp_path / "a.png", "--effort", 2)
    assert run("set-quality", file, *options, "-o", changed).code == 0
    assert segments(changed.read_bytes()) == segments(codec.encode(PIXELS, quality=30, effort=2).data)
    out = tmp_path / "out"
    assert run("batch", "encode", tmp_path / "*.png", "-o", out, *rate, "--workers", 1).code == 0
    assert (out / "a.ssic").read_bytes() == refined
    assert run("encode", tmp_path / "a.png", "-o", file, "--effort", 10).code == 2


def test_the_effort_is_part_of_a_recipe() -> None:
    assert Recipe(effort=5).identity() != Recipe().identity() == Recipe(effort=None).identity()


def test_blocks_with_gradients_are_the_networks_own() -> None:
    torch = pytest.importorskip("torch")
    from ssic.model.config import BlockShape
    from ssic.nets.layers import GISwinBlock
    from ssic.nets.network import PlanTensors
    from ssic.plan import make_plan

    torch.manual_seed(0)
    shape = BlockShape(width=32, head_width=16, hidden=64, gated=False, local=True, shift=4, entries=0)
    plain, lean = GISwinBlock(shape), annealing._GradientBlock(shape)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    lean.load_state_dict(plain.state_dict())
    lean.requires_grad_(False)
    plan = make_plan(blob_mask(5, 12, 11, 3))
    quality = torch.full((len(plan),), 50)
    level = PlanTensors.of(plan, quality, torch.full((len(plan.pair_count),), 50), local=True).coarse
    results = []
    for block in (plain, lean):
        x = torch.linspace(-2, 2, len(plan) * 32).reshape(len(plan), 32).sin().requires_grad_(True)
        with annealing._same_windows():
            out = block(x, level)
        out.square().sum().backward()
        assert x.grad is not None
        results.append((out.detach(), x.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
