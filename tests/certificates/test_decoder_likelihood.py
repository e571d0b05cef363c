"""Likelihoods of decoders by annealed importance sampling, against closed forms and both ways."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gentrain.data.mnist_5k import MNIST5k
from gentrain.errors import UserError
from gentrain.quality.decoder_ais import (
    Annealing,
    DecoderLikelihood,
    Observation,
    bounds,
    to_noise,
    tuned,
)
from tests.support.compose import build_model

HOW = Annealing(chains=12, temperatures=150, leaps=5)
LATENT, SIZE, DEVIATION = 3, 10, 0.3
DIGITS = {
    "name": "mnist_5k", "shape": (1, 8, 8), "batch_size": 8, "classes": 10, "validation": 0,
    "size": 8,
}  # fmt: skip


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


def test_an_exact_likelihood_is_not_estimated_along_gradients_that_are_zero() -> None:
    """Pixels of a flow are rounded, so that chains of noise would follow no image at all."""
    narrow = ("model.flow.layers=1", "model.flow.width=64")
    model = build_model("model=maf", *narrow, "data=mnist_5k", "data.size=8")
    z = model.noise(2, "cpu").requires_grad_()
    (slope,) = torch.autograd.grad(model.images_of(z, (torch.zeros(2, 1, 8, 8),)).sum(), z)
    assert slope.abs().max() == 0
    with pytest.raises(UserError, match=r"exact.*quality=nats, or leave ais=true out"):
        DecoderLikelihood().check(MNIST5k(**DIGITS), model)


def test_a_decoder_of_noise_has_gradients_and_is_accepted() -> None:
    model = build_model("model=vae", "data=mnist_5k", "data.size=8")
    z = model.noise(2, "cpu").requires_grad_()
    image = model.images_of(z, (torch.zeros(2, 1, 8, 8),))
    assert torch.autograd.grad(image.sum(), z)[0].abs().max() > 0
    DecoderLikelihood().check(MNIST5k(**DIGITS), model)
