"""The best critic, and the value of the game there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, generator
from gentrain.config.types import Count
from gentrain.networks.mlp import Critic


class BestCritic(Demo):
    """A critic that is trained to the end, on two mixtures of normals in one dimension.

    Args:
        steps: updates of the critic.
        batch_size: points of each mixture in an update.
        width: units of its hidden layers.
        seed: of its weights and batches.
    """

    title = "The best critic is p / (p + q)"
    claim = (
        "Against a fixed generator the best critic answers p(x) / (p(x) + q(x)), and the value of "
        "the game there is 2 JSD(p, q) - 2 log 2."
    )
    formula = (
        r"D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad "
        r"V(D^*) = \mathbb{E}_p \log D^* + \mathbb{E}_q \log(1 - D^*) "
        r"= 2\,\mathrm{JSD}(p, q) - 2 \log 2"
    )
    papers = ("Goodfellow et al., Generative Adversarial Nets, 2014, proposition 1, theorem 1",)
    code: ClassVar = (js, Critic)
    exercise = (
        "Move q away from p, until they hardly meet. What becomes of the best critic's slope "
        "between them, and what does the generator learn from it?"
    )
    tiny: ClassVar = {"steps": 20, "batch_size": 64, "width": 8}

    # (mean, standard deviation) of the parts, which are equally probable
    p: ClassVar = ((-2.0, 0.6), (1.5, 0.8))
    q: ClassVar = ((-0.5, 1.0), (2.5, 0.7))

    def __init__(
        self, steps: Count = 2000, batch_size: Count = 256, width: Count = 64, seed: int = 0
    ) -> None:
        self.steps, self.batch_size, self.width, self.seed = steps, batch_size, width, seed

    def show(self, place: Path) -> Shown:
        numbers = generator(self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            critic = Critic([1], width=self.width, depth=2)
        loss, optimizer = js(), torch.optim.Adam(critic.parameters(), lr=2e-3)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            real, fake = (draw(parts, self.batch_size, numbers) for parts in (self.p, self.q))
            optimizer.zero_grad()
            loss.critic(scores(critic, real), scores(critic, fake)).backward()
            optimizer.step()
            decay.step()
        x = torch.linspace(-6, 6, 4801, dtype=torch.float64)
        with torch.no_grad():
            found = scores(critic, x.float()).double()
        return self.shown(x, found)

    def shown(self, x: Tensor, found: Tensor) -> Shown:
        """The figure and the table, of the critic's logits along a fine line."""
        p, q = density(self.p, x), density(self.q, x)
        best, weight = p.log() - q.log(), (p + q) / 2
        value = torch.trapezoid(p * logsigmoid(found) + q * logsigmoid(-found), x).item()
        bound = torch.trapezoid(p * logsigmoid(best) + q * logsigmoid(-best), x).item()
        jsd = (bound + 2 * math.log(2)) / 2
        apart = torch.trapezoid(weight * (found.sigmoid() - best.sigmoid()).abs(), x).item()
        made, axes = figure(self.title, columns=2)
        for y, label in ((p, "p, data"), (q, "q, generator")):
            axes[0, 0].plot(x, y, label=label)
        axes[0, 0].set(xlabel="x", ylabel="density", title="two mixtures")
        axes[0, 1].plot(x, best.sigmoid(), label="p / (p + q)")
        axes[0, 1].plot(x, found.sigmoid(), "--", label=f"critic after {self.steps:,} steps")
        axes[0, 1].set(xlabel="x", ylabel="D(x)", title="the critic")
        for each in axes.flat:
            each.legend()
        rows: list[Row] = [
            {"quantity": "value of the game, trained critic", "nats": value},
            {"quantity": "2 JSD - 2 log 2, by quadrature", "nats": bound},
            {"quantity": "JSD", "nats": jsd},
        ]
        findings = [
            Finding(f"the critic is {apart:.3f} from p / (p + q), in the mean", apart < 0.02),
            Finding(
                f"its value is {value:.4f}, and 2 JSD - 2 log 2 is {bound:.4f}",
                bound - 0.01 < value <= bound,
            ),
        ]
        return Shown(made, rows, findings)


def scores(critic: Critic, x: Tensor) -> Tensor:
    """Scores (N,) of points (N,)."""
    return critic(x.view(-1, 1)).flatten()


def draw(parts: tuple[tuple[float, float], ...], n: int, generator: torch.Generator) -> Tensor:
    """Points (n,) of a mixture with equal weights."""
    which = torch.randint(len(parts), (n,), generator=generator)
    mean, deviation = torch.tensor(parts).T
    return mean[which] + deviation[which] * torch.randn(n, generator=generator)


def density(parts: tuple[tuple[float, float], ...], x: Tensor) -> Tensor:
    """The density of a mixture with equal weights at points (N,)."""
    each = [torch.distributions.Normal(*part).log_prob(x).exp() for part in parts]
    return torch.stack(each).mean(0)
