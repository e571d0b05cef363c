"""Six architectures by two losses on a ring of Gaussians: which pairs still find the modes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import GradientPenalty, Unconstrained
from gentrain.adversarial.losses import js, wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import batches, play
from gentrain.config.types import Count, Positive
from gentrain.data.gaussians import GaussianRing
from gentrain.models.gan.gan import GAN
from gentrain.networks import base, mlp
from gentrain.networks.base import Backbone
from gentrain.networks.vae import hidden_layers
from gentrain.quality.coverage import Coverage, coverage

LATENT = 8
POINTS = 1000  # that are drawn at the end


class Architecture(NamedTuple):
    """Options of the perceptrons of both players."""

    generator: Mapping[str, Any] = {}
    critic: Mapping[str, Any] = {}
    tanh: bool = False  # in place of every ReLU


class Recipe(NamedTuple):
    """A loss, and how often its critic learns."""

    criterion: Callable[[float], AdversarialCriterion]  # of the penalty's weight
    critic_steps: int


ARCHITECTURES: Mapping[str, Architecture] = {
    "batch norm": Architecture({"norm": "batch"}),
    "no norm": Architecture(),
    "one layer": Architecture({"depth": 1}, {"depth": 1}),
    "six layers": Architecture({"depth": 6}, {"depth": 6}),
    "tanh everywhere": Architecture(tanh=True),
    "narrow generator": Architecture({"width": 16}),
}
RECIPES: Mapping[str, Recipe] = {
    "first GAN": Recipe(lambda weight: AdversarialCriterion(js(), Unconstrained()), 1),
    "with a penalty": Recipe(
        lambda weight: AdversarialCriterion(wasserstein(), GradientPenalty(weight)), 5
    ),
}


class PenaltyRobustness(Demo):
    """Perceptrons of six kinds learn a ring of eight Gaussians by two losses.

    Args:
        steps: updates of the generator.
        width: units of a hidden layer.
        batch_size: points of an update.
        rate: learning rate of both players.
        weight: of the penalty.
        deviation: of a mode, where the ring has the radius 2.
        seeds: runs of each pair.
        seed: of the first.
    """

    title = "Architectures that break the first GAN"
    claim = (
        "The first GAN needs networks that were chosen with care: without batch norm, with few or "
        "many layers, or with tanh everywhere it fails. The Wasserstein loss with a gradient "
        "penalty trains all of them, with the same settings."
    )
    formula = (
        r"L_D = \mathbb{E} D(G(z)) - \mathbb{E} D(x) + \lambda \, \mathbb{E} \big( "
        r"\|\nabla D(\tilde x)\|_2 - 1 \big)^2, \qquad \tilde x = \epsilon x + (1 - \epsilon) G(z)"
    )
    papers = (
        "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, figure 2",
        "Goodfellow et al., Generative Adversarial Nets, 2014",
    )
    code: ClassVar = (GradientPenalty, wasserstein, js, mlp.Generator, coverage)
    notes = (
        "Both players have two hidden layers of ReLU (the critic's are leaky) and no norm, but "
        "for what the name of an architecture says; batch norm is the generator's alone, and the "
        "narrow one has 16 units. The critic learns once for each step of the first GAN, and five "
        "times with a penalty, as both papers have it, so the latter takes longer. A mode is "
        "found if one of 1000 samples is within 3 deviations of it; good samples are those near "
        "any mode. Points are those of the first seed, with the modes of every seed above."
    )
    exercise = "Let the first GAN's critic learn five times, too. Does that help it or harm it?"
    tiny: ClassVar = {"steps": 1, "width": 4, "batch_size": 8, "seeds": 1}

    def __init__(
        self,
        steps: Count = 400,
        width: Count = 64,
        batch_size: Count = 64,
        rate: Positive = 1e-3,
        weight: Positive = 0.1,
        deviation: Positive = 0.1,
        seeds: Count = 2,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.weight, self.seeds, self.seed = weight, seeds, seed
        self.ring = GaussianRing(
            name="gaussian_ring", shape=(2,), std=deviation, n=20_000, validation=0.0
        )

    def show(self, place: Path) -> Shown:
        made, axes = figure(self.title, len(RECIPES), len(ARCHITECTURES), size=2.1)
        data, rows = self.ring.load("train").images, list[Row]()
        for column, (name, architecture) in enumerate(ARCHITECTURES.items()):
            for number, (loss, recipe) in enumerate(RECIPES.items()):
                runs = [
                    self.run(architecture, recipe, data, self.seed + k) for k in range(self.seeds)
                ]
                points, scores = runs[0][0], [score for _, score in runs]
                modes = [score.modes_found for score in scores]
                good = sum(score.high_quality for score in scores) / len(scores)
                axis = axes[number, column]
                draw_cloud(axis, points, data[:200], colour(number))
                found = ", ".join(map(str, modes))
                axis.set_title(f"{name}\nmodes: {found}" if not number else f"modes: {found}")
                axis.set(xlabel="x", ylabel="y" if column else f"{loss}\ny")
                rows.append(
                    {
                        "architecture": name,
                        "loss": loss,
                        "modes": sum(modes) / len(modes),
                        "fewest": min(modes),
                        "good samples": good,
                    }
                )
        return Shown(made, rows, findings(rows, self.seeds))

    def run(
        self, architecture: Architecture, recipe: Recipe, data: Tensor, seed: int
    ) -> tuple[Tensor, Coverage]:
        """Train once: points of the generator, and which modes they find."""
        with seeded(seed):
            players = self.tanh() if architecture.tanh else self.perceptrons(architecture)
            model = GAN(*players, recipe.criterion(self.weight))
            drawn_from = batches(self.batch_size, data)
            play(model, drawn_from, self.steps, self.rate, critic_steps=recipe.critic_steps)
            with torch.no_grad():
                points = model.sample((data[:POINTS],))
        return points, coverage(points, self.ring.modes(), self.ring.sd)

    def perceptrons(self, architecture: Architecture) -> tuple[Backbone[Any], Backbone[Any]]:
        """Both players, to be built."""
        both = {"shape": [2], "width": self.width, "depth": 2}
        return (
            Backbone(mlp.Generator, **both | {"latent": LATENT} | dict(architecture.generator)),
            Backbone(mlp.Critic, **both | dict(architecture.critic)),
        )

    def tanh(self) -> tuple[Backbone[Any], Backbone[Any]]:
        """Both players with tanh, to be built."""
        hidden = hidden_layers(LATENT, self.width, 2)
        ends = nn.Sequential(*hidden, nn.Linear(self.width, 2), nn.Tanh())
        body = nn.Sequential(*hidden_layers(2, self.width, 2))
        return (
            Backbone(base.Generator, body=ends, latent=LATENT),
            Backbone(base.Critic, body=body, features=self.width, points=True),
        )


def draw_cloud(axes: Any, points: Tensor, data: Tensor, ink: str) -> None:
    """Points in the plane, above those of the data in grey."""
    axes.scatter(*data.T, s=2, color="lightgrey")
    axes.scatter(*points.T, s=1, alpha=0.5, color=ink)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")


def findings(rows: list[Row], seeds: int) -> list[Finding]:
    """Which architectures break which loss."""
    first, penalty = rows[::2], rows[1::2]
    broken = [row for row in first if row["fewest"] < 8]
    spared = [row["architecture"] for row in first if row["fewest"] == 8]
    worse = [
        new["architecture"]
        for old, new in zip(first, penalty, strict=True)
        if new["good samples"] <= 1.2 * old["good samples"]
    ]
    lost = ", ".join(f"{row['architecture']} ({row['fewest']})" for row in broken)
    return [
        Finding(
            f"the first GAN misses modes with {len(broken)} of {len(first)} architectures, the "
            f"fewest modes of {seeds} seeds in brackets: {lost or 'none'}; all 8 it finds with "
            f"{', '.join(spared) or 'none'}",
            len(broken) >= 3,
        ),
        Finding(
            f"with a penalty the fewest modes of any architecture and seed are "
            f"{min(row['fewest'] for row in penalty)}",
            all(row["fewest"] == 8 for row in penalty),
        ),
        Finding(
            "with a penalty every architecture has at least 1.2 times as many good samples"
            + (f"; not {', '.join(worse)}" if worse else ""),
            not worse,
        ),
    ]
