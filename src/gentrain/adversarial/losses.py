"""Adversarial losses: pairs of pure functions of critic scores (logits, never probabilities).

Every function takes the scores of a real and of a fake batch, shape (B,), and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import neg

import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import NonNegative, Positive

CODINGS = ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0))  # (a, b, c) of least squares, by the paper
ScoreLoss = Callable[[Tensor, Tensor], Tensor]  # (real scores, fake scores) -> scalar


class AdversarialLoss(nn.Module):
    """What each player minimises, as functions of scores.

    A loss with state of its own is a subclass: it keeps the state in buffers and changes it in
    `update`.

    Args:
        critic: (real scores, fake scores) -> the critic's loss.
        generator: (real scores, fake scores) -> the generator's loss.
        bounded: the critic's loss has a minimum. If not, the critic must be kept Lipschitz.
        relative: the generator's loss compares fake with real scores, so it needs both.
        smoothed: the same loss with another target for real images; None without targets.
        estimates: quantities that the scores estimate, by name; they are logged.
        swap_roles: maps a score to the one that it would be if real and fake changed roles: for
            hard targets critic(real, fake) = critic(swap_roles(fake), swap_roles(real)).
        of_energy: scores must be minus an energy, which is never negative.
        unhalved: the factor by which a paper without the 1/2 of this loss differs: 2 for a loss
            that is written with 1/2, else 1.
        real_target: an option and its value, which is a target for real images other than 1.
        of_generator: an option that was given for the generator's loss alone.
    """

    def __init__(
        self,
        critic: ScoreLoss,
        generator: ScoreLoss,
        bounded: bool = True,
        relative: bool = False,
        smoothed: Callable[[float], AdversarialLoss] | None = None,
        estimates: Mapping[str, ScoreLoss] | None = None,
        swap_roles: Callable[[Tensor], Tensor] = neg,
        of_energy: bool = False,
        unhalved: float = 1.0,
        real_target: str | None = None,
        of_generator: str | None = None,
    ) -> None:
        super().__init__()
        self.critic, self.generator = critic, generator
        self.bounded, self.relative, self.of_energy = bounded, relative, of_energy
        self.smoothed, self.swap_roles = smoothed, swap_roles
        self.estimates = dict(estimates or {})
        self.unhalved = unhalved
        self.real_target, self.of_generator = real_target, of_generator

    def update(self, scalars: dict[str, Tensor]) -> None:
        """Called after each critic update with the critic's named losses and metrics.

        In a run of several processes the scalars are those of this process alone.
        """


def js(saturating: bool = False, real_target: float = 1.0) -> AdversarialLoss:
    """The original loss (Goodfellow et al., "Generative adversarial nets", 2014).

    With s the sigmoid, x a real image and G a generated one:

        critic       -log s(D(x)) - log(1 - s(D(G)))
        generator    -log s(D(G)),  or log(1 - s(D(G))) when saturating

    At the optimal critic its negative is 2 JSD - 2 log 2. It is computed by
    -log s(t) = softplus(-t), which is exact for every logit; log(s + eps) would cap the gradient.

    Args:
        saturating: the generator's loss of the min-max form.
        real_target: the critic's target for real images; 1 without label smoothing.
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        on_real = real_target * F.softplus(-real) + (1 - real_target) * F.softplus(real)
        return on_real.mean() + F.softplus(fake).mean()

    def generator(real: Tensor, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()

    return AdversarialLoss(
        critic,
        generator,
        smoothed=lambda target: js(saturating, target),
        real_target=f"loss.real_target={real_target}" if real_target != 1 else None,
        of_generator="loss.saturating=true" if saturating else None,
    )


def ls(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
    """Least squares (Mao et al., "Least squares generative adversarial networks", 2017).

        critic       1/2 (D(x) - b)^2 + 1/2 (D(G) - a)^2
        generator    1/2 (D(G) - c)^2

    (a, b, c) = (0, 1, 1) is the 0-1 coding; (-1, 1, 0) minimises Pearson's chi-squared.

    Args:
        a: the critic's target for fakes.
        b: the critic's target for real images.
        c: the generator's target.
    """

    def swap_roles(score: Tensor) -> Tensor:
        return a + b - score

    return AdversarialLoss(
        critic=lambda real, fake: ((real - b).square().mean() + (fake - a).square().mean()) / 2,
        generator=lambda real, fake: (fake - c).square().mean() / 2,
        smoothed=lambda target: with_swap_roles(ls(a, target, c), swap_roles),
        swap_roles=swap_roles,
        unhalved=2.0,
        real_target=f"loss.b={b}" if b != 1 else None,
        of_generator=None if (a, b, c) in CODINGS else f"loss.c={c}",
    )


def with_swap_roles(
    loss: AdversarialLoss, swap_roles: Callable[[Tensor], Tensor]
) -> AdversarialLoss:
    """The loss with another `swap_roles`: smoothed targets keep that of the hard ones."""
    loss.swap_roles = swap_roles
    return loss


def wasserstein(drift: NonNegative = 0.0) -> AdversarialLoss:
    """The Kantorovich dual (Arjovsky, Chintala & Bottou, "Wasserstein GAN", 2017).

        critic       D(G) - D(x) + drift * D(x)^2
        generator    -D(G)

    The critic must be Lipschitz. The dual fixes scores up to a constant; the drift term keeps them
    near zero. The estimate of the distance, D(x) - D(G), is logged.

    Args:
        drift: weight of the drift term; 0.001 in progressive GANs (Karras et al., 2018).
    """

    def distance(real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() - fake.mean()

    def drift_term(real: Tensor, fake: Tensor) -> Tensor:
        return drift * real.square().mean()

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        if drift:
            return drift_term(real, fake) - distance(real, fake)
        return fake.mean() - real.mean()

    estimates: dict[str, ScoreLoss] = {"wasserstein_estimate": distance}
    return AdversarialLoss(
        critic=critic,
        generator=lambda real, fake: -fake.mean(),
        bounded=False,
        estimates=estimates | {"drift": drift_term} if drift else estimates,
    )


def hinge() -> AdversarialLoss:
    """The hinge loss (Lim & Ye, "Geometric GAN", 2017; Miyato et al., 2018).

    critic       max(0, 1 - D(x)) + max(0, 1 + D(G))
    generator    -D(G)
    """
    return AdversarialLoss(
        critic=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        generator=lambda real, fake: -fake.mean(),
    )


def relativistic(average: bool = False) -> AdversarialLoss:
    """Real against fake (Jolicoeur-Martineau, "The relativistic discriminator", 2019).

        critic       softplus(-(D(x) - D(G)))
        generator    softplus(-(D(G) - D(x)))

    Args:
        average: compare each score with the mean of the other batch (RaGAN), not with the score of
            one image (RpGAN, the loss of R3GAN).
    """

    def paired(higher: Tensor, lower: Tensor) -> Tensor:
        return F.softplus(lower - higher).mean()

    def averaged(higher: Tensor, lower: Tensor) -> Tensor:
        return F.softplus(lower.mean() - higher).mean() + F.softplus(lower - higher.mean()).mean()

    comparison = averaged if average else paired
    return AdversarialLoss(
        critic=comparison,
        generator=lambda real, fake: comparison(fake, real),
        relative=True,
    )


def margin(m: Positive = 10.0) -> AdversarialLoss:
    """The margin loss of EBGAN (Zhao, Mathieu & LeCun, 2017), of an energy E >= 0, D = -E.

        critic       E(x) + max(0, m - E(G))
        generator    E(G)

    The margin applies to each sample. Only an energy bounds the loss from below, so it is for
    critics whose scores are never positive.

    Args:
        m: the margin.
    """
    return AdversarialLoss(
        critic=lambda real, fake: F.relu(m + fake).mean() - real.mean(),
        generator=lambda real, fake: -fake.mean(),
        of_energy=True,
    )
