"""Training on whole crops: held against the networks as they code, and against what a GPU can replay."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.reference_training import estimate, objective, plan_tensors
from ssic.blocks import to_blocks
from ssic.codec import Codec
from ssic.entropy.twin import context_kinds
from ssic.model.config import STEP_WORTH, ModelConfig
from ssic.model.weights import find_weights, load_weights
from ssic.nets.entropy_model import bits
from ssic.nets.network import Network
from ssic.plan import PHASES, make_plan
from ssic.train import crops, masks
from ssic.train import objective as trained
from ssic.train.crops import Pictures, cut_crops
from ssic.train.dense import PIECES, Dense
from ssic.train.freeze import freeze
from ssic.train.gathers import around, look_up, one_hot
from ssic.train.grids import EarlierCells, Layout, Sight
from ssic.train.launch import Launch, LeftOut
from ssic.train.ranks import Ranks
from ssic.train.step import Step, Updates, hold_all_but_synthesis

CPU = torch.device("cpu")

LOCAL = ModelConfig(
    name="t",
    widths=(32, 64),
    depths=(2, 3),
    slices=(8, 16, 24),
    hyper_channels=12,
    hyper_features=24,
    context_width=32,
    local=True,
)
PLAIN = replace(LOCAL, widths=(32, 32), depths=(1, 2), slices=(4, 12, 8, 20), local=False)
GATED = replace(LOCAL, gated=True)
SPARSE = replace(LOCAL, attention_every=2)
DICTIONARY = replace(LOCAL, dictionary=24, gated=True, attention_every=3)
TINY = replace(LOCAL, depths=(2, 1), slices=(4, 8, 12))
MIXED = replace(TINY, depths=(2, 3), gated=True, attention_every=2, dictionary=24)


def random_network(config: ModelConfig) -> Network:
    torch.manual_seed(0)
    network = Network(config)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
        network.entropy.spread.uniform_(0.02, 0.3)
    return network


def batch(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Crops without groups, with blobs, and with a group of its own for nearly each block."""
    rng = np.random.default_rng(0)
    ids = np.zeros((3, rows, columns), np.int64)
    ids[1] = blob_mask(3, rows, columns, 3)
    ids[2] = rng.integers(0, 5, (rows, columns))
    table = rng.integers(1, 101, (3, 8))
    quality = np.stack([table[i][ids[i]] for i in range(3)])
    torch.manual_seed(1)
    return ids, quality, torch.rand(3, rows, columns, 4, 192) - 0.5


def apart(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / (b.norm() + 1e-12)).detach())


def small_step(config: ModelConfig = TINY, side: int = 64, *, synthesis_only: bool = False) -> Step:
    network = random_network(config)
    if synthesis_only:
        hold_all_but_synthesis(network)
    pictures = Pictures([natural_picture(1, 128, 160), natural_picture(2, 96, 200)], side, CPU)
    updates = Updates(network, copy.deepcopy(network), 1e-3, 1e-3, torch.float32, Ranks(CPU))
    model = Dense(network, torch.float32, STEP_WORTH if synthesis_only else None)
    return Step(model, pictures, updates, 2)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LOCAL, (16, 16)),
        (LOCAL, (5, 7)),
        (PLAIN, (8, 24)),
        (PLAIN, (2, 2)),
        (GATED, (5, 7)),
        (SPARSE, (5, 7)),
        (DICTIONARY, (5, 7)),
    ],
)
def test_whole_crops_give_what_lists_of_blocks_give(config, shape):
    """Pixels, bits, objective and every gradient; also where windows and cells stick out."""
    network = random_network(config)
    ids, quality, x = batch(*shape)
    plan = plan_tensors(ids, quality, config.local)
    flat = x.view(-1, 4, 192)
    expected = estimate(network, flat, plan, noise=False)
    dense = Dense(network, torch.float32)
    qualities = torch.from_numpy(quality)
    found = dense(x, torch.from_numpy(ids), qualities, exact=True)
    # Now and then a latent lies so near to a half that it is rounded the other way.
    gap = (found.pixels.reshape(-1, 4, 192) - expected.pixels).abs().amax((1, 2))
    assert (gap > 1e-4).float().mean() <= 0.02
    assert apart(found.y_bits.reshape(-1), expected.y_bits) < 1e-4
    assert apart(found.z_bits.sum(), expected.z_bits.sum()) < 1e-5
    losses = (
        trained.objective(found, x, dense.trade_offs[qualities - 1]).loss,
        objective(network, expected, flat, plan),
    )
    assert apart(*losses) < 1e-5
    one, other = (torch.autograd.grad(loss, list(network.parameters())) for loss in losses)
    for (name, _), a, b in zip(network.named_parameters(), one, other, strict=True):
        assert apart(a, b) < 3e-3, name


def test_symbols_are_chosen_as_the_coder_chooses_them():
    had = load_weights(find_weights("small"))
    network = Network.of(had)
    # With Gaussian tables, as are assumed.
    codec = Codec(replace(had, twin=freeze(had.config, had.floats)), engine="torch:cpu:float32")
    picture, ids = natural_picture(5, 16 * 9, 16 * 14), blob_mask(4, 9, 14, 3)
    x = crops.to_blocks(torch.from_numpy(picture.copy())[None].float() / 255 - 0.5)
    group, quality = torch.from_numpy(ids.astype(np.int64))[None], torch.full((1, 9, 14), 50)

    def bits_of(step_worth: float | None) -> float:
        found = Dense(network, torch.float32, step_worth)(x, group, quality, exact=True)
        return float((found.y_bits.sum() + found.z_bits.sum()).detach())

    coded = codec.encode(picture, ids, quality=50).ideal_bits
    assert coded is not None
    assert abs(bits_of(STEP_WORTH) / coded - 1) < 0.02
    assert bits_of(None) / coded > 1.05


def test_hyper_latents_are_chosen_in_the_context_that_the_coder_has():
    had = load_weights(find_weights("small"))
    # With Gaussian tables, as are assumed.
    tables = {
        name: value for name, value in freeze(had.config, had.floats).items() if name.startswith("tables")
    }
    had = replace(had, twin={**had.twin, **tables})
    network = Network.of(had)
    twin = {name: torch.from_numpy(value.copy()) for name, value in had.twin.items()}
    ids = np.random.default_rng(0).choice(3, (27, 22), p=(0.9, 0.06, 0.04)).astype(np.uint8)
    picture = natural_picture(5, 16 * 27, 16 * 22)
    x = crops.to_blocks(torch.from_numpy(picture.copy())[None].float() / 255 - 0.5)
    group, quality = torch.from_numpy(ids.astype(np.int64))[None], torch.full((1, 27, 22), 50)

    def bits_of(twin: dict[str, Tensor] | None) -> float:
        found = Dense(network, torch.float32, STEP_WORTH, twin)(x, group, quality, exact=True)
        return float((found.y_bits.sum() + found.z_bits.sum()).detach())

    coded = Codec(had, engine="torch:cpu:float32").encode(picture, ids, quality=50).ideal_bits
    assert coded is not None
    assert abs(bits_of(twin) / coded - 1) < 0.01
    assert bits_of(None) / coded > 1.03


@pytest.mark.parametrize("shape", [(16, 16), (5, 7), (22, 19), (2, 2)])
def test_cells_before_are_those_of_the_plan(shape):
    ids = np.stack([blob_mask(3, *shape, 3), np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)])
    cells = EarlierCells.of(torch.from_numpy(ids.astype(np.int64)))
    plan = make_plan(ids)
    kind, earlier = context_kinds(plan, np.arange(len(plan.pair_count)))
    np.testing.assert_array_equal(cells.kind.numpy().ravel(), kind[plan.pair])
    there = cells.there.numpy().reshape(-1, 8) > 0
    wanted = earlier[plan.pair]
    np.testing.assert_array_equal(there, wanted < len(kind))
    # Any block of the neighbouring pair will do.
    block = cells.block.numpy().reshape(2, -1, 8) + shape[0] * shape[1] * np.arange(2)[:, None, None]
    np.testing.assert_array_equal(plan.pair[block.reshape(-1, 8)][there], wanted[there])


def test_no_gradient_crosses_a_border():
    network = random_network(LOCAL)
    ids, _, x = batch(11, 13)
    x.requires_grad_()
    found = Dense(network, torch.float32)(x, torch.from_numpy(ids), torch.full(ids.shape, 60), exact=False)
    own = torch.from_numpy(ids == 1)
    own[[0, 2]] = False
    for output in (found.pixels[own].sum(), found.y_bits[own].sum(), found.z_bits[own].sum()):
        (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
        assert gradient[own].abs().max() > 0
        assert (gradient[~own] == 0).all()


def test_looking_up_and_its_gradient():
    torch.manual_seed(1)
    index = torch.randint(0, 10, (3, 4, 5))
    table, towards = torch.randn(10, 7, requires_grad=True), torch.randn(3, 4, 5, 7)
    found = look_up(table, index, one_hot(index, 10))
    assert torch.equal(found, table[index])
    expected, got = (torch.autograd.grad(y, table, towards)[0] for y in (table[index], found))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["same", "earlier"])
def test_neighbours_and_their_gradients(kind):
    torch.manual_seed(1)
    h, w = 5, 9
    layout = Layout(h, w, CPU)
    mask = getattr(Sight.of(torch.randint(0, 3, (2, h, w)), layout), kind).view(2, h * w, 8)
    values = torch.randn(2, h * w, 6, requires_grad=True)
    found = around(values, layout.index, layout.back, mask)
    expected = F.pad(values, (0, 0, 0, 1))[:, layout.index].view(2, h * w, 8, 6) * mask[..., None]
    assert torch.equal(found, expected)
    towards = torch.randn_like(expected)
    one, other = (torch.autograd.grad(y, values, towards)[0] for y in (found, expected))
    torch.testing.assert_close(one, other)


def test_crops_are_pieces_of_pictures():
    """As they are, mirrored, upside down, turned."""
    picture = natural_picture(1, 300, 340)
    before = natural_picture(0, 64, 64).reshape(-1)
    pixels = torch.from_numpy(np.concatenate([before, picture.reshape(-1)]))
    start, height, width = (torch.full((4,), n) for n in (len(before), 300, 340))
    uniform = torch.full((4, crops.NUMBERS), 0.9)
    uniform[:, :2] = torch.tensor([[0, 0], [0.5, 0.3], [0.9999999, 0.9999999], [0.7, 0.1]])
    uniform[1, 2] = uniform[2, 3] = uniform[3, 4] = 0.0
    found = cut_crops(pixels, start, height, width, uniform, 256)
    for i, (top, left) in enumerate([(0, 0), (22, 25), (44, 84), (31, 8)]):
        crop = picture[top : top + 256, left : left + 256]
        crop = [crop, crop[:, ::-1], crop[::-1], crop.swapaxes(0, 1)][i]
        expected = torch.from_numpy(to_blocks(np.ascontiguousarray(crop))).float() / 255 - 0.5
        assert torch.equal(found[i].reshape(-1, 4, 192), expected)


def test_a_quarter_of_the_crops_has_other_colours():
    grey = np.full((64, 64, 3), 100, np.uint8)
    torch.manual_seed(2)
    x = Pictures([grey], 64, CPU).batch(400)[0].flatten(1)
    other = (x[:, 0] * 255 + 127.5 - 100).abs() > 0.5
    assert 0.15 < other.float().mean() < 0.3
    values = (x + 0.5) * 255
    assert (values - values.round()).abs().max() < 1e-3
    assert len(values[other].mean(1).unique()) > 30


def test_pictures_are_met_by_their_area_and_a_part_is_shrunk():
    large, small = np.full((128, 128, 3), 200, np.uint8), np.full((64, 64, 3), 50, np.uint8)
    pictures = Pictures([large, small], 64, CPU)
    assert pictures.count == 2
    assert [tuple(p.shape) for p in pictures.whole()] == [(128, 128, 3), (64, 64, 3)]
    # The large one at two sizes, the small one, which can't be shrunk.
    assert pictures._height.tolist() == [128, 102, 64]
    expected = [0.7 * 0.8, 0.7 * 0.8 + 0.3, 1.0]
    np.testing.assert_allclose(pictures._up_to.numpy(), expected)


def test_masks_are_of_all_kinds():
    torch.manual_seed(3)
    n = 2000
    uniform, normal = torch.rand(n, masks.NUMBERS), torch.randn(n, masks.normals(16))
    ids = masks.random_masks(uniform, normal, 16)
    quality = masks.random_qualities(uniform, ids)
    assert 0 == ids.min() < ids.max() < masks.GROUPS
    assert (quality.min(), quality.max()) == (1, 100)
    plain = (ids.flatten(1) == ids.flatten(1)[:, :1]).all(1)
    assert 0.42 < plain.float().mean() < 0.52
    several = torch.tensor([len(mask.unique()) for mask in ids[~plain][:300]])
    assert several.max() >= 6
    alike = (quality.flatten(1) == quality.flatten(1)[:, :1]).all(1)
    assert 0.5 < alike[~plain].float().mean() < 0.7
    for mask, values in zip(ids[:50], quality[:50], strict=True):
        assert all(len(values[mask == group].unique()) == 1 for group in mask.unique())
    for side in (1, 3):  # crops of 16 and 48 pixels
        assert masks.random_masks(uniform, torch.randn(n, masks.normals(side)), side).shape == (n, side, side)


# -- steps -------------------------------------------------------------------------------------------------------


class Watch(TorchDispatchMode):
    """Counts operations, and those that wait for a device, copy to it or need a scatter."""

    BAD = (
        *("_local_scalar_dense", "nonzero", "item", "masked_select", "lift_fresh", "unique", "equal."),
        *("multinomial", "_pin_memory", "repeat_interleave.Tensor", "index_put"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.all: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        self.all[name] += 1
        moves = "_to_copy" in name and (kwargs or {}).get("device") is not None
        by_mask = "aten.index.Tensor" in name and any(
            t is not None and t.dtype == torch.bool for t in args[1]
        )
        if moves or by_mask or any(part in name for part in self.BAD):
            self.bad[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("config", "only", "products"),
    [(TINY, False, 50), (MIXED, False, 50), (TINY, True, 40)],
    ids=["tiny", "mixed", "synthesis"],
)
def test_a_step_holds_nothing_that_a_graph_can_not_hold(config, only, products):
    step = small_step(config, synthesis_only=only)
    step()  # what is kept is made by the first one
    with Watch() as watch:
        step()
    assert watch.all["aten.mm.default"] > products
    assert not watch.bad
    with Watch() as watch:  # and what it is to find would be found
        float(step.updates.factor)
        torch.zeros(5)[torch.zeros(5, dtype=torch.bool)]
    assert sum(watch.bad.values()) >= 2


def test_a_replay_that_does_something_else_is_found_out():
    launch = Launch(small_step(), "eager", 1.0)
    launch(1)
    before = [tensor.detach().clone() for tensor in launch.step.updates.tensors()]
    assert launch.compare(launch.step, 5)["alike"]
    assert not launch.compare(lambda: None, 5)["alike"]

    def twice() -> None:
        launch.step()
        launch.step()

    assert not launch.compare(twice, 5)["alike"]
    after = launch.step.updates.tensors()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("config", "step_worth"),
    [(TINY, None), (MIXED, None), (TINY, STEP_WORTH)],
    ids=["tiny", "mixed", "chosen"],
)
def test_pieces_compile_whole_and_give_the_same(config, step_worth):
    """Traced as for a GPU, forward and backward, but run operation by operation."""
    network = random_network(config)
    ids, quality, x = batch(8, 8)
    given = x, torch.from_numpy(ids), torch.from_numpy(quality)
    plain, compiled = (Dense(network, torch.float32, step_worth) for _ in range(2))
    for piece in PIECES:
        compiled.compile(piece, backend="aot_eager", fullgraph=True)
    for one, other in zip(
        vars(plain(*given, exact=True)).values(), vars(compiled(*given, exact=True)).values(), strict=True
    ):
        torch.testing.assert_close(one, other)
    losses = [model(*given, exact=True).pixels.square().sum() for model in (plain, compiled)]
    for a, b in zip(
        *(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True) for loss in losses),
        strict=True,
    ):
        assert (a is None) == (b is None)
        assert a is None or apart(a, b) < 1e-4
    pictures = small_step().pictures
    torch.manual_seed(1)
    expected = pictures.batch(2)
    pictures.compile(backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    for one, other in zip(expected, pictures.batch(2), strict=True):
        torch.testing.assert_close(one, other)


def broken(module: Any, inputs: Sequence[Any]) -> Any:
    raise RuntimeError("no compiler here")


def endless(module: Any, inputs: Sequence[Any]) -> Any:
    time.sleep(600)
    raise AssertionError("it was not stopped")


@pytest.mark.parametrize(
    ("backend", "seconds", "why"),
    [(broken, 600.0, "no compiler here"), (endless, 0.5, "too long|no time")],
)
def test_pieces_that_do_not_compile_are_left_out(backend, seconds, why):
    """With a warning each; the steps train as they would have."""
    said: list[dict[str, Any]] = []
    plain = Launch(small_step(), "eager", 1.0)
    launch = Launch(small_step(), "compiled", seconds, said.append, backend=backend)

    def steps() -> None:
        for seed in range(8):
            launch(seed)
            plain(seed)

    with pytest.warns(LeftOut, match=why):
        steps()
    assert launch.ready
    assert [facts.get("not_compiled") for facts in said] == [
        "block",
        "ends",
        "bits",
        "data",
        "context",
        "hyper",
    ]
    one, other = (la.step.model.network.parameters() for la in (launch, plain))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_gradient_that_is_no_number_moves_nothing_by_itself():
    step = small_step()
    before = [p.detach().clone() for p in step.model.network.parameters()]
    loss = step.gradients()
    step.model.network.analysis.embed.weight.grad[0, 0] = float("nan")
    step.updates.update(loss)
    after = list(step.model.network.parameters())
    # Only the decay of weights, a part of 1e-5.
    assert all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(before, after, strict=True))
    step()
    assert all(torch.isfinite(p).all() for p in after)


def test_weights_stay_where_they_can_be_frozen():
    step = small_step()
    network = step.model.network
    with torch.no_grad():
        for p in network.entropy.parameters():
            p.mul_(1e4)
        network.entropy.gain.weight.zero_()
    step.updates.factor.fill_(0.0)
    step()
    floats = {name: value.numpy() for name, value in network.state_dict().items()}
    for name in list(floats):
        if name.endswith(".bias"):
            floats[name] = floats[name] * 0
    assert freeze(network.config, floats)


def test_validation_codes_with_the_context_that_decoders_have():
    """The bits are those of a walk in coding order, which knows nothing but what was coded before."""
    network = random_network(PLAIN)
    ids, quality, x = batch(8, 8)
    plan, e = plan_tensors(ids, quality, PLAIN.local), network.entropy
    with torch.no_grad():
        for net in e.slices:
            net.layer3.weight.mul_(6)  # so that much depends on the context
    order = make_plan(ids.astype(np.uint8))
    with torch.no_grad():
        reference = e.reference()[plan.quality - 1]
        y, z = network.analyse(
            x.view(-1, 4, 192),
            plan.quality,
            plan.index.members,
            plan.index.pair_count,
            plan.fine,
            plan.coarse,
        )
        z_mean, _ = e.hyper_prior(plan.index)
        features = e.hyper_synthesis((z - z_mean).round() + z_mean, plan.quality, plan.index)
        decoded, expected = (
            torch.full_like(y, 1e3),
            torch.zeros(len(y)),
        )  # what is not coded yet must not be looked at
        for net in e.slices:
            for phase in range(PHASES):
                now = torch.from_numpy(order.phase == phase)
                mean, scale = (
                    v[:, net.start : net.stop] for v in e.predict(features, decoded, reference, plan.index)
                )
                symbols = (y[:, net.start : net.stop] - mean).round()
                decoded[now, net.start : net.stop] = (symbols + mean)[now]
                expected[now] += bits(symbols, scale).sum(1)[now]
        qualities = torch.from_numpy(quality)
        found = Dense(network, torch.float32)(x, torch.from_numpy(ids), qualities, exact=True)
    wrong = (found.y_bits.reshape(-1) - expected).abs() > 1e-2 * expected
    assert wrong.float().mean() <= 0.02  # now and then a latent lies too near to a half
