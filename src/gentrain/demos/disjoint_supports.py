"""JSD and the Wasserstein distance between two parallel lines that do not meet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.adversarial import lipschitz
from gentrain.adversarial.losses import AdversarialLoss, js, wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, generator
from gentrain.config.types import Count
from gentrain.networks.mlp import Critic


class DisjointSupports(Demo):
    """Critics that are trained to the end on (0, U) and (distance, U), U uniform in [0, 1].

    Args:
        steps: updates of each critic.
        batch_size: points of each line in an update.
        points: distances that are tried.
        seed: of the weights and the batches.
    """

    title = "Supports that do not meet"
    claim = (
        "Between distributions whose supports do not meet JSD is log 2 at any distance, so its "
        "slope is zero and a generator learns nothing from it. The Wasserstein distance is the "
        "distance itself."
    )
    formula = (
        r"\mathrm{JSD}(P_0, P_\theta) = \begin{cases} 0 & \theta = 0 \\ "
        r"\log 2 & \theta \ne 0 \end{cases}, \qquad W(P_0, P_\theta) = |\theta|"
    )
    papers = ("Arjovsky, Chintala & Bottou, Wasserstein GAN, 2017, example 1",)
    code: ClassVar = (js, wasserstein, lipschitz.GradientPenalty)
    notes = (
        "Both critics have the same network and as many steps. The estimate of the first is "
        "half of log 4 minus its loss; that of the second is the difference of its mean scores."
    )
    exercise = "Add noise to both lines, N(0, s^2) in both directions. Where has JSD a slope now?"
    tiny: ClassVar = {"steps": 3, "batch_size": 16, "points": 2}

    def __init__(
        self, steps: Count = 300, batch_size: Count = 64, points: Count = 5, seed: int = 0
    ) -> None:
        self.steps, self.batch_size, self.points, self.seed = steps, batch_size, points, seed

    def show(self, place: Path) -> Shown:
        penalty = lipschitz.GradientPenalty()
        rows: list[Row] = []
        distances = torch.linspace(-1, 1, self.points)
        for distance in distances.tolist():
            free = self.trained(distance, js(), None)
            bounded = self.trained(distance, wasserstein(), penalty)
            same = distance == 0
            rows.append(
                {
                    "distance": distance,
                    "JSD": 0.0 if same else math.log(2),
                    "JSD by a critic": (2 * math.log(2) - free) / 2,
                    "W": abs(distance),
                    "W by a critic": -bounded,
                }
            )
        return self.shown(rows)

    def trained(
        self, distance: float, loss: AdversarialLoss, penalty: lipschitz.GradientPenalty | None
    ) -> float:
        """The loss of a critic after its training, without the penalty."""
        numbers = generator(self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            critic = Critic([2], width=32, depth=2)
            optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
            for _ in range(self.steps):
                real = line(0.0, self.batch_size, numbers)
                fake = line(distance, self.batch_size, numbers)
                value = loss.critic(critic(real), critic(fake))
                term = penalty.critic_term(critic, real, fake) if penalty else None
                optimizer.zero_grad()
                (value if term is None else value + term).backward()
                optimizer.step()
        with torch.no_grad():
            real, fake = line(0.0, 5000, numbers), line(distance, 5000, numbers)
            return float(loss.critic(critic(real), critic(fake)))

    def shown(self, rows: list[Row]) -> Shown:
        """The figure of the table, and whether both critics find what is true."""
        made, axes = figure(self.title, columns=2)
        x = [row["distance"] for row in rows]
        for each, name in zip(axes.flat, ("JSD", "W"), strict=True):
            each.plot(x, [row[name] for row in rows], label="true", marker="o")
            found = [row[f"{name} by a critic"] for row in rows]
            each.plot(x, found, "--", label="estimated by a critic", marker="x")
            each.set(xlabel="distance between the lines", ylabel=name)
            each.legend()
        apart = [row for row in rows if row["distance"] != 0]
        jsd = min(row["JSD by a critic"] for row in apart)
        worst = max(abs(row["W by a critic"] - row["W"]) for row in rows)
        findings = [
            Finding(
                f"at every distance but 0 a critic finds a JSD of at least {jsd:.3f}, near log 2 "
                f"= {math.log(2):.3f}",
                jsd > 0.95 * math.log(2),
            ),
            Finding(f"its estimate of W is never more than {worst:.3f} wrong", worst < 0.15),
        ]
        return Shown(made, rows, findings)


def line(offset: float, n: int, generator: torch.Generator) -> Tensor:
    """Points (n, 2) of (offset, U), U uniform in [0, 1]."""
    across = torch.full((n,), offset)
    return torch.stack([across, torch.rand(n, generator=generator)], 1)
