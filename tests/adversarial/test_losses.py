"""SYSTEMS.md section 1: every loss against its closed form, and the facts about optimal critics."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from gentrain.adversarial import losses
from gentrain.certificates import adversarial as certificates
from gentrain.certificates.base import Call
from gentrain.errors import UserError

real, fake = (
    torch.linspace(-3, 3, 7, dtype=torch.float64),
    torch.linspace(-2, 5, 7, dtype=torch.float64),
)


def log_sigmoid(t: torch.Tensor) -> torch.Tensor:
    return (1 / (1 + (-t).exp())).log()


class NoSystem:
    """In the place of a composed system, whose options are the defaults."""

    def option(self, key: str, default: Any = None) -> Any:
        return default


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (certificates.JensenShannon, {}),
        (certificates.JensenShannon, {"saturating": True}),
        (certificates.LeastSquares, {}),
        (certificates.LeastSquares, {"a": -1, "b": 1, "c": 0}),
        (certificates.Wasserstein, {}),
        (certificates.Wasserstein, {"drift": 0.1}),
        (certificates.Hinge, {}),
        (certificates.Relativistic, {}),
        (certificates.Relativistic, {"average": True}),
        (certificates.Margin, {"m": 3.0}),
    ],
)
def test_equal_to_the_formula(kind: type[certificates.LossValue], options: dict[str, Any]) -> None:
    """The formulas are those of `gentrain verify`; here on scores that a system hardly gives."""
    loss, certificate = kind.of[0](**options), kind(NoSystem(), options)  # type: ignore[arg-type]
    one, other = (real + 0.1).requires_grad_(), (fake + 0.1).requires_grad_()  # off the kinks
    for function, formula in (
        (loss.critic, certificate.critic),
        (loss.generator, certificate.generator),
    ):
        call = Call((one, other), function(one, other))
        assert certificate.error(call, function, formula) < 1e-8


def test_js_at_the_optimal_critic_is_the_divergence() -> None:
    """D* = p / (p + q) has the logit log p - log q, and -loss = -2 log 2 + 2 JSD(p, q)."""
    p, q = Normal(torch.tensor(0.0).double(), 1.0), Normal(torch.tensor(1.5).double(), 0.7)
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    dx, P, Q = x[1] - x[0], p.log_prob(x).exp(), q.log_prob(x).exp()
    M = (P + Q) / 2
    jsd = (P * (p.log_prob(x) - M.log()) + Q * (q.log_prob(x) - M.log())).sum() * dx / 2
    logit = p.log_prob(x) - q.log_prob(x)
    softplus = torch.nn.functional.softplus
    value = -(P * softplus(-logit) + Q * softplus(logit)).sum() * dx
    torch.testing.assert_close(value, 2 * jsd - 2 * math.log(2), rtol=1e-6, atol=1e-8)
    # and our loss is that expectation: Monte Carlo agrees within four standard errors
    a, b = p.sample((200_000,)), q.sample((200_000,))
    D = lambda t: p.log_prob(t) - q.log_prob(t)  # noqa: E731
    error = 4 * (softplus(-D(a)).std() + softplus(D(b)).std()) / 200_000**0.5
    assert abs(-losses.js().critic(D(a), D(b)) - value) < error


def test_disjoint_supports_saturate() -> None:
    """JSD = log 2, and the saturating generator gets no gradient where the non-saturating one gets
    all of it.
    """
    logit = torch.tensor([-60.0], dtype=torch.float64, requires_grad=True)
    # V = 0 = -2 log 2 + 2 log 2
    assert losses.js().critic(-logit.detach(), logit.detach()).item() == pytest.approx(0, abs=1e-20)
    (saturating,) = torch.autograd.grad(losses.js(saturating=True).generator(logit, logit), logit)
    (plain,) = torch.autograd.grad(losses.js().generator(logit, logit), logit)
    assert abs(saturating.item()) < 1e-20
    assert plain.item() == pytest.approx(-1)


def test_js_is_exact_far_from_zero() -> None:
    """log(sigmoid + eps) would cap both; the logits are not capped."""
    far = torch.tensor([-1e4, 1e4])
    assert losses.js().generator(far, far[:1]).item() == pytest.approx(1e4)
    assert torch.isfinite(losses.js().critic(far, far))


def test_wasserstein_of_two_point_masses() -> None:
    """W1 of points at distance d is d, reached by the critic D(x) = x, with a gradient of 1
    wherever the generator is.
    """
    for d in (0.1, 3.0, 50.0):
        theta = torch.tensor([-d], dtype=torch.float64, requires_grad=True)
        loss, zero = losses.wasserstein(), torch.zeros(1, dtype=torch.float64)
        assert -loss.critic(zero, theta).item() == pytest.approx(d)
        assert loss.estimates["wasserstein_estimate"](zero, theta).item() == pytest.approx(d)
        assert torch.autograd.grad(loss.generator(zero, theta), theta)[0].item() == pytest.approx(
            -1
        )


def test_label_smoothing_is_one_sided_and_acts_on_the_built_loss() -> None:
    from gentrain.adversarial.tricks.terms import LabelSmoothing

    class Holder:
        loss = losses.js()

    LabelSmoothing(0.9).attach(Holder)
    expected = (
        -(0.9 * log_sigmoid(real) + 0.1 * log_sigmoid(-real)).mean() - log_sigmoid(-fake).mean()
    )
    torch.testing.assert_close(Holder.loss.critic(real, fake), expected)
    torch.testing.assert_close(Holder.loss.generator(real, fake), losses.js().generator(real, fake))
    # the optimal logit for a sample seen as often real as fake moves below zero, and no further:
    # the fake target stays 0
    assert losses.ls().smoothed(0.9).critic(real * 0 + 0.9, fake * 0).item() == pytest.approx(
        0, abs=1e-12
    )
    for loss in (losses.hinge(), losses.wasserstein(), losses.relativistic()):
        Holder.loss = loss
        with pytest.raises(UserError, match="label_smoothing"):
            LabelSmoothing().attach(Holder)
