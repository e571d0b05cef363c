"""Likelihoods of decoders by annealed importance sampling, against closed forms and both ways."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gentrain.quality.decoder_ais import Annealing, Observation, bounds, to_noise, tuned

HOW = Annealing(chains=12, temperatures=150, leaps=5)
LATENT, SIZE, DEVIATION = 3, 10, 0.3


def linear() -> tuple[Tensor, Tensor]:
    """The weights (D, L) and the offset (D,) of a linear decoder."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(SIZE, LATENT, generator=draw), torch.randn(SIZE, generator=draw)


def test_a_linear_decoder_against_its_closed_form() -> None:
    """x = W u + b + noise is normal, N(b, W W^T + deviation^2 I) (probabilistic PCA)."""
    w, b = linear()
    torch.manual_seed(1)
    x = torch.randn(6, LATENT) @ w.T + b + DEVIATION * torch.randn(6, SIZE)
    many = HOW._replace(chains=100, temperatures=300)
    found = Observation(lambda u: u @ w.T + b, x, DEVIATION).anneal(
        torch.randn(6 * many.chains, LATENT), many
    )
    covariance = w @ w.T + DEVIATION**2 * torch.eye(SIZE)
    exact = torch.distributions.MultivariateNormal(b, covariance).log_prob(x).double()
    assert torch.allclose(found.log_mean(), exact, atol=0.4)
    assert 0.5 < found.acceptance < 0.85
    # a wrong deviation is not the same density
    other = Observation(lambda u: u @ w.T + b, x, 2 * DEVIATION).anneal(
        torch.randn(6 * HOW.chains, LATENT), HOW
    )
    assert (other.log_mean() - exact).abs().max() > 1


def test_annealing_there_and_back_holds_the_truth_between() -> None:
    w, b = linear()
    torch.manual_seed(2)
    u = torch.randn(8, LATENT)
    forward, back = bounds(lambda u: torch.tanh(u @ w.T + b), u, DEVIATION, HOW)
    lower, upper = forward.log_mean().mean(), -back.log_mean().mean()
    assert 0 < upper - lower + 0.05 < 0.5
    few = HOW._replace(temperatures=4, chains=2)
    forward, back = bounds(lambda u: torch.tanh(u @ w.T + b), u, DEVIATION, few)
    rough = -back.log_mean().mean() - forward.log_mean().mean()
    assert rough > upper - lower + 0.5  # few temperatures are seen


def test_the_deviation_is_that_of_the_images() -> None:
    w, b = linear()
    torch.manual_seed(3)
    x = torch.randn(60, LATENT) @ w.T + b + DEVIATION * torch.randn(60, SIZE)
    found = tuned(lambda u: u @ w.T + b, x, LATENT, HOW._replace(chains=4, temperatures=60))
    assert found == pytest.approx(DEVIATION, rel=0.1)


def test_temperatures_and_noise() -> None:
    betas = HOW.betas()
    assert betas[0] == 0 and betas[-1] == 1 and betas == sorted(betas)
    assert betas[1] < 1 / len(betas) / 2  # close to each other at the ends
    u = torch.linspace(-3, 3, 13)
    assert torch.equal(to_noise(u, "normal"), u)
    cdf = torch.distributions.Normal(0, 1).cdf(u)
    assert torch.allclose(to_noise(u, "uniform"), 2 * cdf - 1, atol=1e-6)
    assert math.isclose(to_noise(torch.tensor(0.0), "uniform").item(), 0.0)
