"""What refining expects of hyper-latents is what decoders expect of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.masks import blob_mask
from helpers.random_weights import KINDS, random_weights
from ssic.engine.annealing import hyper_prior
from ssic.entropy.fixedpoint import LATENT_BITS, SCALE_BITS
from ssic.entropy.twin import Twin, scale_class
from ssic.model.weights import Weights, unpack_weights
from ssic.nets.hyper_prior import HyperPrior
from ssic.nets.network import Network, PlanTensors
from ssic.plan import PHASES, Plan, make_plan

QUALITY = 40


@pytest.fixture(scope="module")
def weights() -> Weights:
    return unpack_weights(random_weights(5, KINDS["hyper-context"]))


def prior(weights: Weights, plan: Plan) -> HyperPrior:
    quality, pair_quality = (torch.full((n,), QUALITY) for n in (len(plan), len(plan.pair_count)))
    index = PlanTensors.of(plan, quality, pair_quality, torch.device("cpu"), local=True).index
    return hyper_prior(Network.of(weights).requires_grad_(False).entropy, weights.twin, plan, index)


@pytest.mark.parametrize("groups", [1, 3])
def test_it_agrees_with_the_twin(weights: Weights, groups: int) -> None:
    plan = make_plan(blob_mask(groups, 21, 30, groups))
    pairs = len(plan.pair_count)
    z = np.random.default_rng(groups).normal(0, 3, (pairs, weights.config.hyper_channels)).astype(np.float32)
    floats = prior(weights, plan)
    coded = floats.rounded(torch.from_numpy(z))

    twin, quality = Twin(weights.config, weights.twin), np.full(pairs, QUALITY)
    decoded = np.rint(coded.numpy() * 2**LATENT_BITS)
    mean, its_class = np.empty(z.shape), np.empty(z.shape, np.uint8)
    for phase in range(PHASES):
        of = np.flatnonzero(plan.pair_phase == phase)
        mean[of], its_class[of] = twin.hyper_prior(of, quality, plan, decoded)
    np.testing.assert_allclose(floats.mean(coded).numpy(), mean / 2**LATENT_BITS, atol=0.1)
    assert np.ptp(mean, 0).min() > 1  # the cells around do count
    ours = scale_class(np.rint(floats.log2_scale.numpy().astype(np.float64) * 2**SCALE_BITS))
    assert (abs(ours.astype(int) - its_class) <= 1).all()  # gains are rounded
    assert (ours == its_class).mean() > 0.95
    # A symbol is a whole number of steps away from what was expected, and the nearest one.
    steps = (coded - floats.mean(coded)).numpy()
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert abs(coded.numpy() - z).max() <= 0.5 + 1e-4


def test_gradients_reach_the_cells_that_are_seen(weights: Weights) -> None:
    plan = make_plan(np.zeros((16, 16), np.uint8))
    floats = prior(weights, plan)
    z = torch.zeros(16, weights.config.hyper_channels, requires_grad=True)
    floats.mean(z).sum().backward()
    assert z.grad is not None
    seen = z.grad.abs().sum(1).numpy() > 0
    used = np.zeros(17, bool)
    used[plan.earlier_pairs] = True
    np.testing.assert_array_equal(seen, used[:16])
    assert 0 < seen.sum() < 16
