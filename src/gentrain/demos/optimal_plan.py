"""The optimal plan between four corners of a square, and the critic that finds its cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.adversarial import lipschitz
from gentrain.adversarial.losses import wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.config.types import Count
from gentrain.networks.mlp import Critic

DATA = torch.tensor([[0.0, 0.0], [1.0, 0.0]])  # a mass of 1 on each
GENERATED = torch.tensor([[0.0, 1.0], [1.0, 1.0]])


class OptimalPlan(Demo):
    """Two masses at the bottom of a unit square are moved to its top, by every plan there is.

    Args:
        steps: updates of each critic.
        batch_size: corners of each side in an update.
        seeds: critics that are trained.
        seed: of the first.
    """

    title = "The cheapest plan"
    claim = (
        "The Wasserstein distance is the cost of the cheapest plan. To move one unit of mass from "
        "each lower corner of a unit square to the upper corners costs 2 straight up, and "
        "2 sqrt 2 along the diagonals. A 1-Lipschitz critic finds the 2 without any plan."
    )
    formula = (
        r"W(p, q) = \min_{\gamma \in \Pi(p, q)} \sum_{x, y} \gamma(x, y) \, |x - y| "
        r"= \max_{|f|_L \le 1} \sum_x p(x) f(x) - \sum_y q(y) f(y)"
    )
    papers = (
        "Arjovsky, Chintala & Bottou, Wasserstein GAN, 2017, section 2",
        "Gulrajani et al., Improved Training of Wasserstein GANs, 2017",
    )
    code: ClassVar = (wasserstein, lipschitz.GradientPenalty, Critic)
    notes = (
        "A plan says how much goes from each corner to each. Here all plans are mixtures of the "
        "two, so one number describes them: the share s that goes along the diagonals. The third "
        "panel shows their costs, and what the critics estimate. A slope k earns k and pays "
        "lambda (k - 1)^2, so the penalised critic is best with k = 1 + 1 / (2 lambda) = 1.05, and "
        "estimates 5 % too much."
    )
    exercise = (
        "Put the data on (0, 0) and (1, 1), and the generator on the other two corners. Why do all "
        "plans cost the same now?"
    )
    tiny: ClassVar = {"steps": 3, "batch_size": 8, "seeds": 2}

    def __init__(
        self, steps: Count = 400, batch_size: Count = 64, seeds: Count = 3, seed: int = 0
    ) -> None:
        self.steps, self.batch_size, self.seeds, self.seed = steps, batch_size, seeds, seed

    def show(self, place: Path) -> Shown:
        apart = torch.cdist(DATA, GENERATED)
        shares = torch.linspace(0, 1, 11)
        straight = torch.eye(2)
        plans = (1 - shares[:, None, None]) * straight + shares[:, None, None] * (1 - straight)
        costs = (plans * apart).sum((1, 2))
        found = [self.estimate(self.seed + k) for k in range(self.seeds)]
        rows: list[Row] = [
            {"what": "plan straight up", "cost": costs[0].item()},
            {"what": "plan along the diagonals", "cost": costs[-1].item()},
            {"what": "f(x) = -height of x, 1-Lipschitz", "cost": dual()},
            *[{"what": f"critic {k + 1}", "cost": cost} for k, cost in enumerate(found)],
        ]
        made, axes = figure(self.title, columns=3)
        draw_plan(axes[0, 0], straight, f"straight up: {costs[0]:.3g}")
        draw_plan(axes[0, 1], 1 - straight, f"along the diagonals: {costs[-1]:.4g}")
        axes[0, 0].legend(loc="center", fontsize="small")
        axes[0, 2].plot(shares, costs, marker="o", label="cost of the plan")
        for k, cost in enumerate(found):
            label = "critics, without a plan" if not k else None
            axes[0, 2].axhline(cost, color=colour(1), linestyle="--", linewidth=1, label=label)
        axes[0, 2].set(xlabel="share s along the diagonals", ylabel="cost", title="every plan")
        axes[0, 2].legend()
        return Shown(made, rows, findings(costs, found))

    def estimate(self, seed: int) -> float:
        """What a critic with a gradient penalty finds for both units of mass."""
        loss, penalty = wasserstein(), lipschitz.GradientPenalty()
        with seeded(seed):
            critic = Critic([2], width=32, depth=2)
            optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
            for _ in range(self.steps):
                real, fake = (x[torch.randint(2, (self.batch_size,))] for x in (DATA, GENERATED))
                value = loss.critic(critic(real), critic(fake))
                term = penalty.critic_term(critic, real, fake)
                optimizer.zero_grad()
                (value if term is None else value + term).backward()
                optimizer.step()
        with torch.no_grad():
            return -2 * float(loss.critic(critic(DATA), critic(GENERATED)))


def dual() -> float:
    """What f = -height gives: no plan can be cheaper."""
    return -2 * float(wasserstein().critic(-DATA[:, 1], -GENERATED[:, 1]))


def draw_plan(axes: Any, plan: Tensor, title: str) -> None:
    """An arrow for each pair of corners between which mass is moved."""
    for corners, label, marker in ((DATA, "data", "o"), (GENERATED, "generator", "s")):
        axes.plot(*corners.T, marker, markersize=12, label=label)
    for i, j in plan.nonzero().tolist():
        axes.annotate(
            "",
            GENERATED[j].tolist(),
            DATA[i].tolist(),
            arrowprops={"arrowstyle": "->", "shrinkA": 10, "shrinkB": 10, "linewidth": 1.5},
        )
    axes.set(xlabel="x", ylabel="height", title=title, xlim=(-0.3, 1.3), ylim=(-0.3, 1.3))
    axes.set_aspect("equal")


def findings(costs: Tensor, found: list[float]) -> list[Finding]:
    """What the plans cost, and how near the critics come."""
    best, other = costs[0].item(), costs[-1].item()
    expected = best * (1 + 1 / (2 * lipschitz.GradientPenalty().weight))
    return [
        Finding(
            f"straight up costs {best:.4g}, and the diagonals cost {other:.4f} = 2 sqrt 2",
            abs(best - 2) < 1e-6 and abs(other - 2 * math.sqrt(2)) < 1e-6,
        ),
        Finding(
            f"the critic f(x) = -height gives {dual():.4g} too, so no plan is cheaper",
            abs(dual() - best) < 1e-6,
        ),
        Finding(
            f"{len(found)} trained critics find {min(found):.3f} to {max(found):.3f}; their "
            f"penalty lets them find {expected:.1f}",
            all(abs(cost - expected) < 0.05 for cost in found),
        ),
    ]
