"""The float networks, with random weights: group independence must not hang on what training made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.random_weights import CONFIG, KINDS
from helpers.reference_training import estimate
from ssic.blocks import to_blocks
from ssic.model.config import PRESETS, ModelConfig
from ssic.nets.entropy_model import bits
from ssic.nets.layers import QualityTable, mixed_locally
from ssic.nets.network import Network, PlanTensors
from ssic.plan import make_plan

TINY = replace(CONFIG, depths=(2, 2))


def random_network(config: ModelConfig = TINY) -> Network:
    """Every parameter random: zeros would hide a leak."""
    torch.manual_seed(0)
    network = Network(config)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.ndim < 2 else 1.5 / p.shape[-1] ** 0.5))
    return network


def tensors(mask: np.ndarray, quality: int = 50) -> PlanTensors:
    plan = make_plan(mask)
    return PlanTensors.of(
        plan,
        torch.full((len(plan),), quality),
        torch.full((len(plan.pair_group),), quality),
        local=TINY.local,
    )


@pytest.mark.parametrize(("kind", "shape"), [("local", (16, 16)), *((kind, (11, 13)) for kind in KINDS)])
def test_no_gradient_crosses_a_border(kind, shape):
    mask = blob_mask(2, *shape, 4)
    network, plan = random_network(KINDS[kind]), tensors(mask)
    picture = natural_picture(2, 16 * shape[0], 16 * shape[1])
    x = (torch.from_numpy(to_blocks(picture)).float() / 255 - 0.5).requires_grad_()
    own = torch.from_numpy(mask.reshape(-1) == 1)
    pairs = torch.zeros(len(plan.index.pair_count), dtype=torch.bool)
    pairs[plan.index.pair[own]] = True
    found = estimate(network, x, plan)  # with noise: the rate of rounded values has no gradient
    for output in (found.pixels[own].sum(), found.y_bits[own].sum(), found.z_bits[pairs].sum()):
        (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
        assert gradient[own].abs().max() > 0
        assert (gradient[~own] == 0).all()


def test_values_behind_a_border_change_nothing_in_front_of_it():
    """Also where gradients are cut off on purpose."""
    mask = blob_mask(2, 11, 13, 4)
    network, plan = random_network().eval(), tensors(mask)
    own = torch.from_numpy(mask.reshape(-1) == 1)
    x = torch.from_numpy(to_blocks(natural_picture(2, 176, 208))).float() / 255 - 0.5
    other = torch.where(own[:, None, None], x, -x)
    with torch.no_grad():
        one, two = estimate(network, x, plan, noise=False), estimate(network, other, plan, noise=False)
    assert torch.equal(one.pixels[own], two.pixels[own])
    assert torch.equal(one.y_bits[own], two.y_bits[own])
    assert not torch.equal(one.pixels, two.pixels)


def test_block_gradients_are_those_of_the_plain_formula():
    """The hand-written backward of gathering and scattering, on windows with empty slots."""
    network, plan = random_network().double(), tensors(blob_mask(4, 5, 7, 3))
    block = network.analysis.blocks_coarse[1]
    n = len(plan.quality)
    x = torch.randn(n, TINY.widths[1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: block(t, plan.coarse)[:: max(1, n // 5), ::16], (x,))


def test_local_mixing_and_its_gradients_are_those_of_a_masked_convolution():
    """On a whole picture; with two groups, of each group with the other one as zeros."""
    mask = blob_mask(5, 6, 7, 2)
    neighbours = torch.from_numpy(make_plan(mask).neighbours)
    x = torch.randn(42, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    kernel = weight.T.reshape(3, 1, 3, 3)
    grid = x.T.reshape(1, 3, 6, 7)
    expected = torch.zeros_like(x)
    for group in (0, 1):
        own = torch.from_numpy(mask == group)
        mixed = torch.nn.functional.conv2d(grid * own, kernel, padding=1, groups=3) * own
        expected = expected + mixed.reshape(3, 42).T
    got = mixed_locally(x, weight, neighbours)
    torch.testing.assert_close(got, expected)
    towards = torch.randn_like(x)
    for mine, theirs in zip(
        torch.autograd.grad(got, (x, weight), towards),
        torch.autograd.grad(expected, (x, weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_quality_tables_are_linear_between_their_knots():
    table = QualityTable(4, 1)
    with torch.no_grad():
        table.weight[:, 0] = torch.tensor([0.0, 3.0, 3.0, -6.0])
    got = table(torch.tensor([1, 12, 34, 50, 67, 100])).flatten()
    torch.testing.assert_close(got, torch.tensor([0.0, 1.0, 3.0, 3.0, 3.0, -6.0]).detach(), atol=1e-5, rtol=0)


def test_code_lengths_are_those_of_a_gaussian_and_keep_a_gradient_far_out():
    deviation = torch.tensor([0.0, 1.0, -3.0], dtype=torch.float64)
    log2_scale = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, torch.exp2(log2_scale))
    exact = -torch.log2(normal.cdf(deviation + 0.5) - normal.cdf(deviation - 0.5))
    torch.testing.assert_close(bits(deviation, log2_scale), exact)
    for scale in (0.25, 1.0, 4.0, 64.0, 256.0):  # and in the tail, where it is approximated
        x = torch.linspace(4.3, 7, 40, dtype=torch.float64) * scale + 0.5
        mass = [
            math.erfc((v - 0.5) / scale / 2**0.5) - math.erfc((v + 0.5) / scale / 2**0.5) for v in x.tolist()
        ]
        got = bits(x, torch.full_like(x, math.log2(scale)))
        torch.testing.assert_close(
            got, -torch.log2(torch.tensor(mass, dtype=torch.float64) / 2), rtol=0, atol=0.12
        )
    far = torch.tensor([-1.0, 2.0], requires_grad=True)
    length = bits(torch.tensor([40.0, -300.0]), far)
    assert torch.isfinite(length).all()
    length.sum().backward()
    assert (far.grad < -1).all()


def test_all_presets_have_about_the_cost_they_claim():
    """MACs per pixel and side of `small`, attention included: about 15 k."""
    config = PRESETS["small"]
    network = Network(config)
    macs = 0.0
    for name, module in network.analysis.named_modules():
        if isinstance(module, torch.nn.Linear):
            tokens = 64 if "fine" in name or name == "embed" else 256
            macs += module.weight.numel() / tokens
    for width, depth, area in zip(config.widths, config.depths, (64, 256), strict=True):
        macs += depth * 2 * 64 * width / area
    assert 13e3 < macs < 17e3
