"""The best critic of smoothed labels, on one side and on both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gentrain.adversarial import tricks
from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, generator, seeded
from gentrain.config.types import Count, Share
from gentrain.demos.best_critic import density, draw, scores
from gentrain.networks.mlp import Critic

P = ((-2.0, 0.7), (-1.0, 0.5))  # data
Q = ((-1.5, 0.8), (4.0, 0.7))  # the generator, of which half is far from all data
FAR = (3.0, 5.0)  # where only the generator has mass

CriticLoss = Callable[[Tensor, Tensor], Tensor]


class LabelSmoothing(Demo):
    """Critics with hard, one-sided and two-sided targets, against what is best for each.

    Args:
        steps: updates of each critic.
        batch_size: points of each side in an update.
        real_target: of the smoothed critics for data.
        fake_target: of the two-sided critic for generated points.
        seed: of weights and batches.
    """

    title = "Smooth the labels on one side only"
    claim = (
        "With targets alpha for data and beta for generated points the best critic is "
        "(alpha p + beta q) / (p + q). With beta = 0 that is the old one times alpha, and the "
        "generator's slope of log D stays. With beta > 0 the critic is flat where p is zero, and "
        "points there have no reason to move to the data."
    )
    formula = (
        r"D^*(x) = \frac{\alpha \, p(x) + \beta \, q(x)}{p(x) + q(x)}, \qquad "
        r"p(x) \to 0: \; D^* \to \beta, \; \frac{d}{dx} \log D^* \to "
        r"\begin{cases} \frac{d}{dx} \log \frac{p}{q} & \beta = 0 \\ 0 & \beta > 0 \end{cases}"
    )
    papers = ("Salimans et al., Improved Techniques for Training GANs, 2016, section 3.4",)
    code: ClassVar = (tricks.LabelSmoothing, js)
    notes = (
        "The two-sided loss is made of two one-sided ones; this project offers no such option. "
        "Slopes are means of |d log D / dx| over generated points from 3 to 5. Trained critics "
        "are less steep than the best ones, since data hardly ever lie there."
    )
    exercise = "What does one-sided smoothing do to the largest score that a real image can have?"
    tiny: ClassVar = {"steps": 5, "batch_size": 16}

    def __init__(
        self,
        steps: Count = 1500,
        batch_size: Count = 256,
        real_target: Share = 0.9,
        fake_target: Share = 0.1,
        seed: int = 0,
    ) -> None:
        self.steps, self.batch_size, self.seed = steps, batch_size, seed
        self.targets: Mapping[str, tuple[float, float]] = {
            "hard": (1.0, 0.0),
            "one-sided": (real_target, 0.0),
            "two-sided": (real_target, fake_target),
        }

    def show(self, place: Path) -> Shown:
        x = torch.linspace(-5, 7, 1201)
        p, q = density(P, x), density(Q, x)
        far = draw(Q[1:], 2000, generator(self.seed))
        far = far[(far > FAR[0]) & (far < FAR[1])]
        made, axes = figure(self.title, columns=3)
        for y, label in ((p, "p, data"), (q, "q, generator")):
            axes[0, 0].plot(x, y, label=label)
        axes[0, 0].set(xlabel="x", ylabel="density", title="half of q is far from p")
        rows: list[Row] = []
        for number, (name, targets) in enumerate(self.targets.items()):
            critic = self.trained(*targets)
            best, found = best_log(*targets), trained_log(critic)
            ink = colour(number)
            axes[0, 1].plot(x, best(x).exp(), color=ink, label=name)
            axes[0, 1].plot(x, found(x).exp().detach(), "--", color=ink)
            axes[0, 2].plot(x, slope(best, x), color=ink, label=name)
            axes[0, 2].plot(x, slope(found, x), "--", color=ink)
            off = (best(x).exp() - found(x).exp()).abs().detach()
            rows.append(
                {
                    "targets": name,
                    "slope of the best": slope(best, far).mean().item(),
                    "slope of the trained": slope(found, far).mean().item(),
                    "mean error of D": (off * (p + q)).sum().item() / (p + q).sum().item(),
                }
            )
        axes[0, 1].set(xlabel="x", ylabel="D(x)", title="best critics; dashed: trained")
        axes[0, 2].set(xlabel="x", ylabel="|d log D / dx|", title="what moves the generator")
        axes[0, 2].set(yscale="symlog", ylim=(0, 40))
        for each in axes.flat:
            each.legend(fontsize="small")
        return Shown(made, rows, findings(rows))

    def trained(self, alpha: float, beta: float) -> Critic:
        """A critic with targets alpha and beta."""
        loss, numbers = smoothed(alpha, beta), generator(self.seed)
        with seeded(self.seed):
            critic = Critic([1], width=64, depth=2)
        optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            real, fake = (draw(parts, self.batch_size, numbers) for parts in (P, Q))
            optimizer.zero_grad()
            loss(scores(critic, real), scores(critic, fake)).backward()
            optimizer.step()
            decay.step()
        return critic


def smoothed(alpha: float, beta: float) -> CriticLoss:
    """The critic's loss with targets alpha and beta.

    A score of -inf costs nothing as a fake, so a one-sided loss becomes that of one batch alone.
    """

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        nothing = torch.full_like(real, -torch.inf)
        on_real = js(real_target=alpha).critic(real, nothing)
        return on_real + js(real_target=beta).critic(fake, nothing)

    return loss


def best_log(alpha: float, beta: float) -> Callable[[Tensor], Tensor]:
    """log D* of points (N,)."""

    def log_d(x: Tensor) -> Tensor:
        p, q = density(P, x.double()), density(Q, x.double())
        return ((alpha * p + beta * q).log() - (p + q).log()).to(x)

    return log_d


def trained_log(critic: Critic) -> Callable[[Tensor], Tensor]:
    """log D of points (N,)."""
    return lambda x: logsigmoid(scores(critic, x))


def slope(log_d: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """|d log D / dx| at points (N,)."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_d(x).sum(), x)
    return gradient.abs()


def findings(rows: list[Row]) -> list[Finding]:
    """Whether critics are near the formula, and what is left of their slopes."""
    hard, one, two = rows
    worst = max(row["mean error of D"] for row in rows)
    return [
        Finding(
            f"trained critics are at most {worst:.3f} from the formula, in the mean", worst < 0.03
        ),
        Finding(
            f"far from the data the best one-sided critic is as steep as the best hard one, "
            f"{one['slope of the best']:.2f} and {hard['slope of the best']:.2f}",
            abs(one["slope of the best"] / hard["slope of the best"] - 1) < 1e-3,
        ),
        Finding(
            f"the best two-sided one is flat there, {two['slope of the best']:.1e}; trained ones "
            f"have {two['slope of the trained']:.2f} against {one['slope of the trained']:.2f} of "
            "one-sided ones",
            two["slope of the best"] < 0.01
            and two["slope of the trained"] < 0.2 * one["slope of the trained"],
        ),
    ]
