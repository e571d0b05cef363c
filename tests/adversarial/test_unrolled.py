"""Unrolled critics: closed forms on a bilinear and a quadratic game, and what stays as it is."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks.unrolled import unrolled
from gentrain.errors import UserError
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan, mlp, patchgan
from tests.support.backbones import criterion

SHAPE = [1, 8, 8]
RATE, REAL = 0.3, 0.8


class Slope(nn.Module):
    """D(x) = w x of numbers (B, 1)."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x[:, 0]


def gradient(loss: losses.AdversarialLoss, w: float, g: float, steps: int) -> tuple[float, float]:
    """The generator's loss of a fake g after some steps of the critic's w, and dloss/dg."""
    critic, fake = Slope(w), torch.tensor([[g]], dtype=torch.float64, requires_grad=True)
    real = torch.full_like(fake, REAL, requires_grad=False)

    def objective(D: Any, x: Tensor, y: Tensor) -> Tensor:
        return loss.critic(D(x), D(y))

    later = unrolled(critic, critic, objective, real, fake, steps, RATE)
    value = loss.generator(later(real), later(fake))
    assert float(critic.w.detach()) == w and critic.w.grad is None
    return float(value), float(torch.autograd.grad(value, fake)[0])


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_the_bilinear_game_in_closed_form(steps: int) -> None:
    """w_K = w - K rate (g - r), so L = -w_K g and dL/dg = -w + K rate (2 g - r)."""
    for w, g in ((0.5, -0.2), (-1.0, 0.9)):
        value, slope = gradient(losses.wasserstein(), w, g, steps)
        assert value == pytest.approx(-(w - steps * RATE * (g - REAL)) * g, abs=1e-12)
        assert slope == pytest.approx(-w + steps * RATE * (2 * g - REAL), abs=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 3, 80])
def test_the_quadratic_game_in_closed_form(steps: int) -> None:
    """Of least squares w_{k+1} = a w_k + rate r with a = 1 - rate (r^2 + g^2), whose limit is the
    best critic r / (r^2 + g^2); the slope is that of the closed form by differences.
    """

    def closed(w: float, g: float) -> float:
        a, best = 1 - RATE * (REAL**2 + g**2), REAL / (REAL**2 + g**2)
        later = best + a**steps * (w - best)
        return (later * g - 1) ** 2 / 2

    w, g, e = 0.5, -0.4, 1e-6
    value, slope = gradient(losses.ls(), w, g, steps)
    assert value == pytest.approx(closed(w, g), abs=1e-12)
    assert slope == pytest.approx((closed(w, g + e) - closed(w, g - e)) / (2 * e), abs=1e-8)


def test_descent_and_ascent_spiral_out_and_unrolled_settle() -> None:
    """The bilinear game around g = r and w = K rate r: plain updates leave it, and foreseeing the
    critic damps.
    """

    def distance(steps: int, updates: int) -> float:
        w, g = 0.3, 0.3
        for _ in range(updates):
            slope = gradient(losses.wasserstein(), w, g, steps)[1]
            w, g = w - 0.1 * (g - REAL), g - 0.1 * slope
        return ((g - REAL) ** 2 + (w - steps * RATE * REAL) ** 2) ** 0.5

    assert distance(0, 60) > distance(0, 0)
    assert distance(3, 60) < distance(3, 0) / 10


def images(n: int = 6) -> Tensor:
    return torch.rand(n, *SHAPE) * 2 - 1


def make(
    *chosen: Regularizer, lipschitz: Regularizer | None = None, norm: str = "none", **options: Any
) -> GAN:
    return GAN(
        partial(dcgan.Generator, shape=SHAPE, latent=6, width=2),
        partial(dcgan.Critic, shape=SHAPE, width=2, norm=norm),
        criterion(*chosen, lipschitz=lipschitz, **options),
    )


def test_the_term_is_the_loss_of_a_critic_that_was_really_updated() -> None:
    """Two steps of torch's own SGD on the same batch, with the penalty; the value is the same."""
    model = make(tricks.Unrolled(2, 0.05), lipschitz=GradientPenalty(points="real", center=0.0))
    model = model.double()
    real, fake = images().double(), images().double().requires_grad_()
    found = model.generator_terms(model.critic, real, fake).losses
    assert set(found) == {"Unrolled"}
    (slope,) = torch.autograd.grad(found["Unrolled"], fake, retain_graph=True)
    assert slope.any() and all(p.grad is None for p in model.critic.parameters())
    optimizer = torch.optim.SGD(model.critic.parameters(), 0.05)
    for _ in range(2):
        optimizer.zero_grad()
        model.critic_terms(model.critic, real, fake.detach()).loss.backward()
        optimizer.step()
    on_fake = model.critic(fake)
    torch.testing.assert_close(found["Unrolled"], torch.nn.functional.softplus(-on_fake).mean())
    (short,) = torch.autograd.grad(torch.nn.functional.softplus(-on_fake).mean(), fake)
    assert not torch.allclose(slope, short)  # which leaves out how the critic answers


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_critic_stays_as_it_is(norm: str) -> None:
    """Its weights, statistics of batch norm and vectors of spectral norm, in the frozen state of a
    generator's update.
    """
    lipschitz = SpectralNorm() if norm == "none" else None
    model = make(tricks.Unrolled(2, 0.1), lipschitz=lipschitz, norm=norm)
    for p in model.critic.parameters():
        p.requires_grad = False
    fake = model.generate(model.generator, (images(),))  # which moves the generator's own
    before = {name: t.clone() for name, t in model.state_dict().items() if "critic" in name}
    model.generator_terms(model.critic, images(), fake).loss.backward()
    after = model.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert all(p.grad is not None for p in model.generator.parameters())


def test_models_of_labels_and_refusals() -> None:
    model = ConditionalGAN(
        partial(mlp.Generator, shape=SHAPE, latent=6, width=8),
        partial(mlp.Critic, shape=SHAPE, width=8),
        criterion(tricks.Unrolled(2), tricks.TopK()),
        classes=3,
        embedding=2,
    )
    found = model.generator_loss((images(), torch.arange(6) % 3))
    assert set(found.losses) == {"Unrolled"} and found.loss.isfinite()
    with pytest.raises(UserError, match="unrolled"):
        make(tricks.FeatureMatching(), tricks.Unrolled())
    with pytest.raises(UserError, match="third derivative"):
        GAN(
            partial(dcgan.Generator, shape=SHAPE, latent=6, width=2),
            partial(patchgan.Critic, shape=SHAPE, width=2, depth=1, norm="instance"),
            criterion(tricks.Unrolled(), lipschitz=GradientPenalty()),
        )
    with pytest.raises(UserError, match="unrolled"):
        BiGAN(
            partial(mlp.Generator, shape=SHAPE, latent=6, width=8),
            partial(mlp.Critic, shape=SHAPE, width=8),
            criterion(tricks.Unrolled()),
            encoder_norm=None,
        )
