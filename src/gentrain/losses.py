"""Adversarial losses: pairs of pure functions of critic scores (logits, never probabilities).

Every function takes the scores of a real and of a fake batch, shape (B,), and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import neg
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from .schema import NonNegative, Positive

Pair = Callable[[Tensor, Tensor], Tensor]  # (real scores, fake scores) -> scalar


class AdversarialLoss(NamedTuple):
    """What each player minimises.

    `bounded`: has a minimum for a free critic; without one the critic must be kept Lipschitz.
    `relative`: the generator's side compares fake with real scores, so it needs both.
    `smoothed`: the same loss with another target for real images; None when it has no targets.
    `estimates`: quantities to watch that the scores estimate, by name.
    `mirror`: a score with real and fake exchanged, critic(real, fake) = critic(mirror(fake), mirror(real)) for hard targets.
    `of_energy`: scores must be minus an energy, which is never negative.
    """

    critic: Pair
    generator: Pair | None  # None: a trick has taken its place
    bounded: bool = True
    relative: bool = False
    smoothed: Callable[[float], AdversarialLoss] | None = None
    estimates: Mapping[str, Pair] = {}
    mirror: Callable[[Tensor], Tensor] = neg
    of_energy: bool = False


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
        smoothed=lambda target: ls(a, target, c)._replace(mirror=mirror),
        mirror=mirror,
    )


def wasserstein(drift: NonNegative = 0.0) -> AdversarialLoss:
    """The Kantorovich dual (Arjovsky et al., 2017): D(G) - D(x) and -D(G), for a Lipschitz critic.

    The dual fixes scores up to a constant; `drift` * D(x)^2 in the critic's loss keeps them near zero (Karras et al., 2018: 0.001).
    """

    def distance(real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() - fake.mean()

    def pull(real: Tensor, fake: Tensor) -> Tensor:
        return drift * real.square().mean()

    estimates: dict[str, Pair] = {"wasserstein_estimate": distance, "drift": pull}
    return AdversarialLoss(
        critic=(lambda real, fake: pull(real, fake) - distance(real, fake)) if drift else lambda real, fake: fake.mean() - real.mean(),
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

    duel = averaged if average else paired
    return AdversarialLoss(critic=duel, generator=lambda real, fake: duel(fake, real), relative=True)


def margin(m: Positive = 10.0) -> AdversarialLoss:
    """EBGAN (Zhao, Mathieu & LeCun, 2017), of an energy E >= 0 whose negative is the score: E(x) + max(0, m - E(G)) and E(G).

    The margin is each sample's own. Only an energy bounds it from below: it is for critics whose scores are never positive.
    """
    return AdversarialLoss(
        critic=lambda real, fake: F.relu(m + fake).mean() - real.mean(),
        generator=lambda real, fake: -fake.mean(),
        of_energy=True,
    )
