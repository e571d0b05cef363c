"""Densities against closed forms, enumeration and autograd's Jacobian."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from gentrain.layers.masked import MADE
from gentrain.models.flow.autoregressive import InverseAutoregressive, MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity
from gentrain.models.flow.planar import Planar, planar
from gentrain.models.pixels import Binary, Levels, Logit, Pixels, Real
from gentrain.models.vae import likelihoods
from gentrain.models.vae.vae import VAE, gaussian_kl, log_prior
from gentrain.networks.vae import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    MLPDecoder,
    MLPEncoder,
)

D = torch.float64
SHAPE = [1, 8, 8]


def levels(n: int = 5, shape: tuple[int, ...] = (1, 4, 4)) -> Tensor:
    return torch.randint(256, (n, *shape)).to(D) / 127.5 - 1


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixels", [Binary(), Binary(threshold=True), Levels(), Real(), Logit(), Logit(1e-6)]
)
def test_images_come_back(pixels: nn.Module) -> None:
    x = levels()
    v, log_det = pixels(x)
    assert v.shape == x.shape and log_det.shape == (5,)
    if isinstance(pixels, Binary):
        assert set(pixels.inverse(v).unique().tolist()) <= {-1.0, 1.0}
    else:
        torch.testing.assert_close(pixels.inverse(v), x)


@pytest.mark.parametrize(
    ("pixels", "ends"),
    [(Binary(), (0, 1)), (Levels(), (0, 1)), (Levels(4), (0, 1)), (Real(), (-1, 1))],
)
def test_networks_see_numbers_of_order_one(pixels: Pixels, ends: tuple[float, float]) -> None:
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    assert tuple(pixels.scaled(pixels(x)[0]).flatten().tolist()) == ends


def test_dynamic_binarisation_has_the_brightness_for_its_mean() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 0.8, 1.0]).expand(20_000, 5)
    drawn = Binary()(x)[0].mean(0)
    torch.testing.assert_close(drawn, (x[0] + 1) / 2, atol=0.02, rtol=0)
    assert drawn[0] == 0 and drawn[-1] == 1


def test_the_logits_jacobian(monkeypatch: pytest.MonkeyPatch) -> None:
    """dv/dk of each pixel, by autograd through the level and its noise."""
    monkeypatch.setattr(torch, "rand_like", lambda k: torch.full_like(k, 0.3))
    alpha, k = 0.05, torch.randint(256, (16,)).to(D).requires_grad_()
    s = alpha + (1 - 2 * alpha) * (k + 0.3) / 256
    (slope,) = torch.autograd.grad(torch.logit(s).sum(), k)
    _, log_det = Logit(alpha)((k.detach() / 127.5 - 1).view(1, 1, 4, 4))
    torch.testing.assert_close(log_det, slope.log().sum().view(1))


# --- likelihoods ----------------------------------------------------------------------------------


def test_bernoulli() -> None:
    logits, v = torch.randn(3, 1, 2, 4, 4, dtype=D) * 5, torch.randint(2, (3, 2, 4, 4)).to(D)
    want = TorchBernoulli(logits=logits.squeeze(1)).log_prob(v).flatten(1).sum(1)
    torch.testing.assert_close(likelihoods.Bernoulli().log_prob(v, logits), want)


def test_gaussian() -> None:
    mean, v = torch.randn(3, 1, 2, 4, 4, dtype=D), torch.randn(3, 2, 4, 4, dtype=D)
    want = Normal(mean.squeeze(1), 0.3).log_prob(v).flatten(1).sum(1)
    torch.testing.assert_close(likelihoods.Gaussian(0.3).to(D).log_prob(v, mean), want)


def test_the_discretised_logistic_sums_to_one_and_is_a_difference_of_cdfs() -> None:
    parameters = torch.stack(
        [torch.linspace(-1.2, 1.2, 7, dtype=D), torch.linspace(-7, 0, 7, dtype=D)], 1
    ).view(7, 2, 1, 1, 1)
    every = torch.arange(256, dtype=D).view(256, 1, 1, 1)
    log_p = torch.stack(
        [
            likelihoods.DiscretisedLogistic().log_prob(every, p.expand(256, -1, -1, -1, -1))
            for p in parameters[:, None]
        ]
    )
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(7, dtype=D))
    mean, scale = 0.2, 0.1
    edges = torch.sigmoid(((torch.arange(257, dtype=D) - 0.5) / 127.5 - 1 - mean) / scale)
    edges[0], edges[-1] = 0, 1
    given = (
        torch.tensor([mean, math.log(scale)], dtype=D)
        .view(1, 2, 1, 1, 1)
        .expand(256, -1, -1, -1, -1)
    )
    torch.testing.assert_close(
        likelihoods.DiscretisedLogistic().log_prob(every, given).exp(), edges.diff()
    )
    # in float32: a quarter of 2/255 e^-30 is the mass of a level near the mean
    wide = torch.tensor([mean, 30.0]).view(1, 2, 1, 1, 1)
    found = likelihoods.DiscretisedLogistic().log_prob(torch.full((1, 1, 1, 1), 128.0), wide)
    torch.testing.assert_close(found, torch.tensor([math.log(2 / 255 / 4) - 30]))


@pytest.mark.parametrize(
    "likelihood",
    [likelihoods.Bernoulli(), likelihoods.Gaussian(), likelihoods.DiscretisedLogistic()],
)
def test_draws_have_the_mean(likelihood: likelihoods.Likelihood) -> None:
    one = torch.tensor([0.3, -2.0])[: likelihood.parameters_per_value].view(1, -1, 1, 1, 1)
    drawn = likelihood.draw(one.expand(40_000, -1, -1, -1, -1))
    torch.testing.assert_close(drawn.mean(0), likelihood.mean(one)[0], rtol=0.02, atol=0.01)


# --- the bound ------------------------------------------------------------------------------------


def test_the_divergence() -> None:
    mean, log_variance = torch.randn(4, 6, dtype=D), torch.randn(4, 6, dtype=D)
    want = kl_divergence(
        Normal(mean, torch.exp(log_variance / 2)), Normal(torch.zeros_like(mean), 1.0)
    ).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), want)


class Exact(nn.Module):
    """The posterior of p(z) = N(0, I), p(v | z) = N(W z + b, sd^2 I), off by `shift`: N(S W^T (v -
    b) / sd^2, S), 1/S = I + W^T W / sd^2.

    W has orthogonal columns, so that S is diagonal.
    """

    def __init__(self, W: Tensor, b: Tensor, sd: float, shift: float) -> None:
        super().__init__()
        self.W, self.b, self.sd, self.shift, self.classes = W, b, sd, shift, 0

    def forward(self, v: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        variance = 1 / (1 + self.W.square().sum(0) / self.sd**2)
        mean = variance * ((v.flatten(1) - self.b) @ self.W) / self.sd**2 + self.shift
        return mean, variance.log().expand_as(mean), mean[:, :0]


def linear(shift: float) -> tuple[VAE, Tensor, Tensor]:
    """A linear-Gaussian model with its posterior (or one beside it), some points, and their exact
    log p = log N(v; b, W W^T + sd^2 I).
    """
    sd, W, b = (
        0.5,
        torch.linalg.qr(torch.randn(6, 2, dtype=D))[0] * 1.3,
        torch.randn(6, dtype=D) * 0.1,
    )
    body = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (1, 6))).to(D)
    with torch.no_grad():
        body[0].weight.copy_(W), body[0].bias.copy_(b)
    encoder = Exact(W, b, sd, shift)
    vae = VAE(
        lambda **_: encoder,
        lambda **_: Decoder(body, [6], 2, 0),
        likelihoods.Gaussian(sd, learned=False).to(D),
    )
    x = torch.randn(5, 6, dtype=D)
    return vae, x, MultivariateNormal(b, W @ W.T + sd**2 * torch.eye(6, dtype=D)).log_prob(x)


def test_with_the_true_posterior_the_bound_is_the_evidence() -> None:
    vae, x, exact = linear(0.0)
    torch.testing.assert_close(vae.log_likelihood((x,), 1), exact)
    torch.testing.assert_close(vae.log_likelihood((x,), 60), exact)


def test_with_another_the_bound_rises_to_the_evidence() -> None:
    vae, x, exact = linear(0.3)
    one = torch.stack([vae.log_likelihood((x,), 1) for _ in range(400)]).mean(0)
    objective = torch.stack([vae.objective((x,)).loss.detach() for _ in range(400)]).mean()
    torch.testing.assert_close(-objective, one.mean(), atol=0.15, rtol=0)
    ten = torch.stack([vae.log_likelihood((x,), 10) for _ in range(100)]).mean(0)
    assert one.mean() < ten.mean() < exact.mean()
    torch.testing.assert_close(vae.log_likelihood((x,), 20_000), exact, atol=0.06, rtol=0)


@pytest.mark.parametrize("samples", [1, 24, 25, 26, 60])
def test_as_many_importance_samples_as_asked(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, x, _ = linear(0.5)
    counted: list[int] = []
    weigh = vae.log_weights
    monkeypatch.setattr(
        vae, "log_weights", lambda v, y, e, n: counted.append(n) or weigh(v, y, e, n)
    )  # type: ignore[func-returns-value]
    vae.log_likelihood((x,), samples)
    assert sum(counted) == samples


def test_beta_and_the_warm_up_weigh_the_divergence_alone() -> None:
    shape = [1, 4, 4]
    vae = VAE(
        partial(MLPEncoder, shape),
        partial(MLPDecoder, shape, latent=3),
        likelihoods.Bernoulli(),
        beta=4,
        warm_up=10,
    )
    x = torch.rand(6, *shape) * 2 - 1
    for steps, weight in ((0, 0.0), (5, 2.0), (10, 4.0), (20, 4.0)):
        vae.steps.fill_(steps)
        found = vae.objective((x,))
        torch.testing.assert_close(found.losses["kl"], weight * found.metrics["kl_nats"])
        torch.testing.assert_close(
            found.metrics["negative_elbo"],
            found.losses["reconstruction"] + found.metrics["kl_nats"],
        )


# --- flows in the posterior -----------------------------------------------------------------------


def test_a_planar_maps_determinant_and_that_it_can_be_inverted() -> None:
    z, u, w, b = (torch.randn(50, 4, dtype=D) * 3 for _ in range(4))
    _, log_det = planar(z, u, w, b[:, :1])
    for i in range(50):
        given = [part[i : i + 1] for part in (u, w, b[:, :1])]
        determinant = torch.det(
            torch.autograd.functional.jacobian(
                lambda z, given=given: planar(z[None], *given)[0][0], z[i]
            )
        )
        assert determinant > 0  # w . u^ > -1: one to one
        torch.testing.assert_close(log_det[i], determinant.log(), atol=1e-6, rtol=1e-6)


def test_a_flows_density_integrates_to_one() -> None:
    """log q(z) of z = f(z_0) on a grid: q(f(z_0)) |det f'| = q_0(z_0), summed over a fine grid of
    z_0 pushed forward.
    """
    flow, steps = Planar(1, layers=6).to(D), 20_001
    context = torch.randn(1, flow.context, dtype=D).expand(steps, -1)
    z0 = torch.linspace(-12, 12, steps, dtype=D)[:, None]
    z, log_det = flow(z0, context)
    q = (log_prior(z0) - log_det).exp()
    assert (z.diff(dim=0) > 0).all()
    torch.testing.assert_close(
        torch.trapezoid(q, z[:, 0]), torch.ones((), dtype=D), atol=1e-4, rtol=0
    )


# --- autoregressive flows -------------------------------------------------------------------------


def stirred(module: nn.Module) -> nn.Module:
    """Double precision, and no weight zero."""
    for p in module.to(D).parameters():
        nn.init.normal_(p, 0, 0.3)
    return module


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_each_output_sees_all_values_before_it_and_no_other(depth: int) -> None:
    made = stirred(MADE(6, 2, 24, depth))
    points = (torch.randn(6, dtype=D) for _ in range(20))  # a rectifier may be shut at one of them
    seen = sum(
        torch.autograd.functional.jacobian(lambda x: made(x[None])[0].sum(0), x).abs()
        for x in points
    )
    assert torch.equal(seen != 0, torch.ones(6, 6).tril(-1).bool())


FLOWS = {
    "maf": lambda: MaskedAutoregressive([6], layers=3, width=20),
    "iaf": lambda: InverseAutoregressive(6, layers=3, width=20),
    "iaf-given": lambda: InverseAutoregressive(6, layers=2, width=20, context=4),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_there_and_back_with_the_jacobians_determinant(name: str) -> None:
    flow = stirred(FLOWS[name]())
    z, context = (
        torch.randn(4, 6, dtype=D),
        torch.randn(4, flow.context, dtype=D) if flow.context else None,
    )
    out, log_det = flow(z, context)
    torch.testing.assert_close(flow.inverse(out, context)[0], z)
    for i in range(4):
        given = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda z, given=given: flow(z[None], given)[0][0], z[i]
        )
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_values_made_one_by_one_are_those_of_whole_forwards(depth: int, context: int) -> None:
    made = stirred(MADE(7, 2, 30, depth, context))
    like, given = torch.zeros(5, 7, dtype=D), torch.randn(5, context, dtype=D) if context else None

    def fill(i: int, outputs: Tensor) -> Tensor:
        return outputs[:, 0] * (i + 1) + outputs[:, 1].cos()

    naive = like.clone()
    for i in range(7):
        naive[:, i] = fill(i, made(naive, given)[:, :, i])
    torch.testing.assert_close(made.fill_sequentially(fill, like, given), naive)


def test_a_masked_autoregressive_density_integrates_to_one() -> None:
    flow = stirred(
        FlowDensity(lambda shape: MaskedAutoregressive(shape, layers=2, width=8), Real(), [2])
    )
    line = torch.linspace(-40, 40, 1601, dtype=D)
    grid = torch.cartesian_prod(line, line)
    total = (
        sum(flow.log_prob(part).detach().exp().sum() for part in grid.split(100_000))
        * (line[1] - line[0]) ** 2
    )
    torch.testing.assert_close(total, torch.ones((), dtype=D), atol=5e-3, rtol=0)


def test_samples_have_the_moments_of_the_density() -> None:
    """Of one affine autoregressive map, whose values are Gaussian: x_0 = e^a0 u_0 + m0."""
    flow = MaskedAutoregressive([3], layers=1, width=4)
    with torch.no_grad():
        flow.maps[0].last.bias.copy_(torch.tensor([1.0, -1.0, 0.5, 0.3, -0.7, 0.0]))
    drawn = flow.inverse(torch.randn(50_000, 3).flip(1))[0]
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, -1.0, 0.5]), atol=0.03, rtol=0)
    torch.testing.assert_close(
        drawn.std(0), torch.tensor([0.3, -0.7, 0.0]).exp(), atol=0.03, rtol=0
    )


# --- networks -------------------------------------------------------------------------------------


def test_the_label_reaches_both_networks() -> None:
    labelled = (
        partial(MLPEncoder, SHAPE, width=16, classes=4),
        partial(MLPDecoder, SHAPE, latent=3, width=16, classes=4),
    )
    density = VAE(*labelled, likelihoods.Bernoulli())
    x, noise = torch.rand(4, 1, 8, 8) * 2 - 1, torch.zeros(4, 3)
    assert not torch.equal(
        density.sample((x, torch.zeros(4).long()), noise),
        density.sample((x, torch.ones(4).long()), noise),
    )
    one, other = (F.one_hot(torch.full((4,), k), 4).float() for k in (0, 1))
    v = x  # the same modelled values for both
    assert not torch.equal(density.encoder(v, one)[0], density.encoder(v, other)[0])


def test_encoders_are_what_they_say() -> None:
    conv = (
        partial(ConvEncoder, SHAPE, width=4, hidden=16),
        partial(ConvDecoder, SHAPE, latent=3, width=4, hidden=16),
    )
    assert isinstance(VAE(*conv, likelihoods.Gaussian()).encoder, Encoder)
    mlp = partial(MLPEncoder, SHAPE, width=16), partial(MLPDecoder, SHAPE, latent=3, width=16)
    assert VAE(*mlp, likelihoods.Bernoulli(), flow=Planar(3, layers=2)).encoder.context == 2 * (
        2 * 3 + 1
    )
