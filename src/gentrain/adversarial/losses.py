"""Adversarial losses: pairs of pure functions of critic scores (logits, never probabilities).

Every function takes the scores of a real and of a fake batch, shape (B,), and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import neg

import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import NonNegative, Positive

ScoreLoss = Callable[[Tensor, Tensor], Tensor]  # (real scores, fake scores) -> scalar


class AdversarialLoss(nn.Module):
    """What each player minimises, as functions of scores.

    A loss with state of its own is a subclass: it keeps the state in buffers and moves it in
    `update`.

    Args:
        critic: (real scores, fake scores) -> the critic's loss.
        generator: (real scores, fake scores) -> the generator's loss.
        bounded: the critic's loss has a minimum for a free critic. Without one the critic must be
            kept Lipschitz.
        relative: the generator's loss compares fake with real scores, so it needs both.
        smoothed: the same loss with another target for real images; None without targets.
        estimates: quantities that the scores estimate, by name; they are logged.
        mirror: a score with real and fake exchanged: for hard targets
            critic(real, fake) = critic(mirror(fake), mirror(real)).
        of_energy: scores must be minus an energy, which is never negative.
    """

    def __init__(
        self,
        critic: ScoreLoss,
        generator: ScoreLoss,
        bounded: bool = True,
        relative: bool = False,
        smoothed: Callable[[float], AdversarialLoss] | None = None,
        estimates: Mapping[str, ScoreLoss] | None = None,
        mirror: Callable[[Tensor], Tensor] = neg,
        of_energy: bool = False,
    ) -> None:
        super().__init__()
        self.critic, self.generator, self.bounded, self.relative = (
            critic,
            generator,
            bounded,
            relative,
        )
        self.smoothed, self.estimates, self.mirror = smoothed, dict(estimates or {}), mirror
        self.of_energy = of_energy

    def update(self, scalars: dict[str, Tensor]) -> None:
        """Called after each critic update with the critic's named losses and metrics."""


def js(saturating: bool = False, real_target: float = 1.0) -> AdversarialLoss:
    """The original game (Goodfellow et al., 2014), whose value at the optimal critic is 2 JSD - 2 log 2.

    critic: -log s(D(x)) - log(1 - s(D(G)));  generator: -log s(D(G)), or log(1 - s(D(G))) when saturating.
    -log s(t) = softplus(-t): exact for every logit, where log(s + eps) caps the gradient.
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        on_real = real_target * F.softplus(-real) + (1 - real_target) * F.softplus(real)
        return on_real.mean() + F.softplus(fake).mean()

    def generator(real: Tensor, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()

    return AdversarialLoss(critic, generator, smoothed=lambda target: js(saturating, target))


def ls(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
    """Least squares (Mao et al., 2017): 1/2 (D(x) - b)^2 + 1/2 (D(G) - a)^2 and 1/2 (D(G) - c)^2.

    (a, b, c) = (0, 1, 1) is the 0-1 coding, (-1, 1, 0) the one that minimises Pearson's chi-squared.
    """

    def mirror(score: Tensor) -> Tensor:
        return a + b - score

    return AdversarialLoss(
        critic=lambda real, fake: ((real - b).square().mean() + (fake - a).square().mean()) / 2,
        generator=lambda real, fake: (fake - c).square().mean() / 2,
        smoothed=lambda target: with_mirror(ls(a, target, c), mirror),
        mirror=mirror,
    )


def with_mirror(loss: AdversarialLoss, mirror: Callable[[Tensor], Tensor]) -> AdversarialLoss:
    """Smoothed targets keep the mirror of the hard ones."""
    loss.mirror = mirror
    return loss


def wasserstein(drift: NonNegative = 0.0) -> AdversarialLoss:
    """The Kantorovich dual (Arjovsky et al., 2017): D(G) - D(x) and -D(G), for a Lipschitz critic.

    The dual fixes scores up to a constant; `drift` * D(x)^2 in the critic's loss keeps them near zero (Karras et al., 2018: 0.001).
    """

    def distance(real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() - fake.mean()

    def pull(real: Tensor, fake: Tensor) -> Tensor:
        return drift * real.square().mean()

    estimates: dict[str, ScoreLoss] = {"wasserstein_estimate": distance, "drift": pull}
    return AdversarialLoss(
        critic=(lambda real, fake: pull(real, fake) - distance(real, fake))
        if drift
        else lambda real, fake: fake.mean() - real.mean(),
        generator=lambda real, fake: -fake.mean(),
        bounded=False,
        estimates=estimates if drift else {"wasserstein_estimate": distance},
    )


def hinge() -> AdversarialLoss:
    """The geometric game (Lim & Ye, 2017; Miyato et al., 2018): margins for the critic, -D(G) for the generator."""
    return AdversarialLoss(
        critic=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        generator=lambda real, fake: -fake.mean(),
    )


def relativistic(average: bool = False) -> AdversarialLoss:
    """Real against fake (Jolicoeur-Martineau, 2019): softplus(-(D(x) - D(G))) and softplus(-(D(G) - D(x))).

    Paired by default (RpGAN, the loss of R3GAN); `average` compares with the other batch's mean (RaGAN).
    """

    def paired(winner: Tensor, loser: Tensor) -> Tensor:
        return F.softplus(loser - winner).mean()

    def averaged(winner: Tensor, loser: Tensor) -> Tensor:
        return F.softplus(loser.mean() - winner).mean() + F.softplus(loser - winner.mean()).mean()

    comparison = averaged if average else paired
    return AdversarialLoss(
        critic=comparison,
        generator=lambda real, fake: comparison(fake, real),
        relative=True,
    )


def margin(m: Positive = 10.0) -> AdversarialLoss:
    """EBGAN (Zhao, Mathieu & LeCun, 2017), of an energy E >= 0 whose negative is the score: E(x) + max(0, m - E(G)) and E(G).

    The margin is each sample's own. Only an energy bounds it from below: it is for critics whose scores are never positive.
    """
    return AdversarialLoss(
        critic=lambda real, fake: F.relu(m + fake).mean() - real.mean(),
        generator=lambda real, fake: -fake.mean(),
        of_energy=True,
    )
