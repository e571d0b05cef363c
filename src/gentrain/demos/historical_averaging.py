"""Historical averaging in a game of two numbers that circles."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial import tricks
from gentrain.adversarial.losses import wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count, Positive

WEIGHTS = (0.1, 0.5, 2.0)


class HistoricalAveraging(Demo):
    """min over theta, max over psi of psi * theta, as `bilinear_game`, with the trick's own terms.

    Args:
        steps: updates of both players.
        rate: length of a step.
    """

    title = "Stay near your past"
    claim = (
        "A term that pulls each player to the mean of its past weights finds the equilibrium of "
        "games in which gradient steps go around it for ever."
    )
    formula = (
        r"\Big\| \theta - \frac1t \sum_{i=1}^t \theta_i \Big\|^2 \text{ is added to both losses}"
    )
    papers = ("Salimans et al., Improved Techniques for Training GANs, 2016, section 3.3",)
    code: ClassVar = (tricks.HistoricalAveraging, wasserstein)
    notes = (
        "Every path begins at (1, 1). The mean of the past is near the equilibrium, since paths go "
        "around it, so the term damps the circles. What is left then falls no faster than the "
        "mean itself: too strong a term holds the players at their past, and they creep."
    )
    exercise = (
        "With which weight does averaging no longer save simultaneous steps? The circles grow by "
        "sqrt(1 + eta^2), and the term shrinks them by about 1 - 2 eta w."
    )
    tiny: ClassVar = {"steps": 20}

    def __init__(self, steps: Count = 3000, rate: Positive = 0.1) -> None:
        self.steps, self.rate = steps, rate

    def show(self, place: Path) -> Shown:
        paths = {
            (at_once, weight): self.path(weight, at_once)
            for at_once in (False, True)
            for weight in (0.0, *WEIGHTS)
        }
        rows: list[Row] = [
            {
                "steps": "simultaneous" if at_once else "alternating",
                "weight": weight,
                "distance at the end": path[-1].norm().item(),
            }
            for (at_once, weight), path in paths.items()
        ]
        made, axes = figure(self.title, columns=3)
        for weight in (0.0, *WEIGHTS):
            path, label = paths[False, weight], f"weight {weight:g}" if weight else "no term"
            axes[0, 0].plot(*path[:400].T, label=label, linewidth=1)
            for panel, at_once in ((axes[0, 1], False), (axes[0, 2], True)):
                distance = paths[at_once, weight].norm(dim=1)
                panel.plot(distance[distance < 1e3], label=label)
        axes[0, 0].set(xlabel="theta, the generator", ylabel="psi, the critic", aspect="equal")
        axes[0, 0].set(title="alternating, 400 steps")
        for panel, title in ((axes[0, 1], "alternating"), (axes[0, 2], "simultaneous")):
            panel.set(xlabel="step", ylabel="distance from the equilibrium", yscale="log")
            panel.set(title=title)
        axes[0, 2].legend(fontsize="small", loc="upper right")
        return Shown(made, rows, self.findings(rows))

    def path(self, weight: float, at_once: bool) -> Tensor:
        """Both players' numbers after each step, (steps + 1, 2).

        Args:
            weight: of the term; 0 for none.
            at_once: both players move at once.
        """
        model, loss = players(), wasserstein()
        term = tricks.HistoricalAveraging(weight) if weight else None
        if term is not None:
            term.attach(model)
        theta, psi = model.generator.weight, model.critic.weight
        both = {"critic": (loss.critic, psi), "generator": (loss.generator, theta)}
        turns = [["critic", "generator"]] if at_once else [["critic"], ["generator"]]
        found = [numbers(theta, psi)]
        for _ in range(self.steps):
            for turn in turns:
                slopes = {}
                for player in turn:
                    loss_of, own = both[player]
                    value = loss_of(psi * torch.zeros_like(psi), psi * theta)
                    if term is not None:
                        value = value + term.distance(player)
                    (slopes[player],) = torch.autograd.grad(value, own)
                with torch.no_grad():
                    for player, slope in slopes.items():
                        both[player][1].sub_(self.rate * slope)
                        if term is not None:
                            term.update_means(player)
            found.append(numbers(theta, psi))
        return torch.stack(found)

    def findings(self, rows: list[Row]) -> list[Finding]:
        """Which paths end near the equilibrium."""
        start = math.sqrt(2)
        end = {(row["steps"], row["weight"]): row["distance at the end"] for row in rows}
        plain = end["alternating", 0.0]
        gentle = [end[steps, w] for steps in ("alternating", "simultaneous") for w in WEIGHTS[:2]]
        strong = [end[steps, WEIGHTS[2]] for steps in ("alternating", "simultaneous")]
        return [
            Finding(
                f"without the term alternating steps end {plain:.2f} away, where they began "
                f"{start:.2f} away, and simultaneous ones {end['simultaneous', 0.0]:.1e}",
                0.8 * start < plain < 1.25 * start,
            ),
            Finding(
                f"with weights of {WEIGHTS[0]:g} and {WEIGHTS[1]:g} both kinds of steps end at "
                f"most {max(gentle):.3f} away",
                max(gentle) < 0.1 * start,
            ),
            Finding(
                f"with a weight of {WEIGHTS[2]:g} they end at most {max(strong):.2f} away",
                max(strong) < 0.1 * start,
            ),
        ]


def players() -> Any:
    """A generator and a critic of one number each, 1 at the start."""
    both = {}
    for name in ("generator", "critic"):
        both[name] = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.ones_(both[name].weight)
    return SimpleNamespace(**both)


def numbers(theta: Tensor, psi: Tensor) -> Tensor:
    """Both numbers, (2,)."""
    return torch.cat([theta.detach().flatten(), psi.detach().flatten()])
