"""The closed forms that demonstrations compare with, against other ways to find them."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from gentrain.commands.demo.base import seeded
from gentrain.commands.demo.page import link
from gentrain.demos import (
    attention_reach,
    elbo,
    importance_weights,
    label_smoothing,
    markov_chains,
    planar_flow,
)
from gentrain.samplers import run


def test_smoothed_targets_are_those_of_cross_entropy() -> None:
    real, fake = torch.randn(2, 50)
    given = label_smoothing.smoothed(0.9, 0.1)(real, fake)
    wanted = binary_cross_entropy_with_logits(real, torch.full_like(real, 0.9))
    wanted = wanted + binary_cross_entropy_with_logits(fake, torch.full_like(fake, 0.1))
    assert given.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_best_smoothed_critic_minimises_the_loss_at_a_point() -> None:
    x = torch.tensor([0.3])
    p, q = (
        label_smoothing.density(parts, x).item() for parts in (label_smoothing.P, label_smoothing.Q)
    )
    logits = torch.linspace(-4, 4, 8001)
    d = logits.sigmoid()
    value = p * (0.9 * d.log() + 0.1 * (1 - d).log()) + q * (0.1 * d.log() + 0.9 * (1 - d).log())
    best = label_smoothing.best_log(0.9, 0.1)(x).exp().item()
    assert d[value.argmax()].item() == pytest.approx(best, abs=1e-3)


def test_the_divergence_of_a_scaled_posterior() -> None:
    one = kl_divergence(Normal(0.0, 0.35), Normal(0.0, 1.0)).item()
    assert elbo.divergence(0.35) == pytest.approx(elbo.LATENT * one, rel=1e-5)


def test_the_error_of_importance_sampling_by_quadrature() -> None:
    x = torch.linspace(-12, 14, 20_001, dtype=torch.float64)
    p, q = (Normal(mean, 1.0).log_prob(x) for mean in (0.0, 1.75))
    square = torch.trapezoid((2 * (p + x) - q).exp(), x)
    wanted = (square - importance_weights.TRUE**2).sqrt().item()
    assert importance_weights.theory(1.75) == pytest.approx(wanted, rel=1e-6)


def test_the_wave_is_a_density() -> None:
    x, y = torch.linspace(-12, 12, 601), torch.linspace(-4, 4, 401)
    mass = planar_flow.log_target(torch.cartesian_prod(x, y)).exp().sum() * 0.04 * 0.02
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_no_sum_over_two_corners_tells_all_equal_colours() -> None:
    scores = torch.randn(100_000, 4, generator=torch.Generator().manual_seed(0))
    accepts = {(a, b): scores[:, a] + scores[:, 2 + b] > 0 for a, b in product(range(2), repeat=2)}
    right = sum((accepts[a, b] == (a == b)).float() for a, b in accepts) / 4
    assert right.max().item() == attention_reach.CEILING


def test_moves_of_a_kernel_in_balance_are_told_from_a_cycle() -> None:
    counts = torch.tensor([[0, 500, 480], [510, 0, 495], [490, 505, 0]])
    assert markov_chains.balance(counts) > 0.05
    assert (
        markov_chains.balance(counts + torch.tensor([[0, 200, 0], [0, 0, 200], [200, 0, 0]])) < 1e-6
    )


def test_seeded_leaves_the_callers_numbers_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    with seeded(0):
        first = torch.rand(1)
    with seeded(0):
        assert torch.equal(first, torch.rand(1))
    assert torch.equal(torch.rand(1), wanted)


def test_a_decorated_function_is_linked_to_its_own_file() -> None:
    assert link(run).endswith("/samplers/kernel.py)")
