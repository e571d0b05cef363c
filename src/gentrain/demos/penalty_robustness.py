"""Six architectures by two losses on a ring of Gaussians: which of them still finds the modes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import GradientPenalty, Unconstrained
from gentrain.adversarial.losses import js, wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, play
from gentrain.config.types import Count, Positive
from gentrain.data.gaussians import GaussianRing
from gentrain.models.gan.gan import GAN
from gentrain.networks import base, mlp
from gentrain.networks.base import Backbone
from gentrain.networks.vae import hidden_layers
from gentrain.quality.coverage import Coverage, coverage

LATENT = 8
POINTS = 2000  # that are drawn at the end


class Architecture(NamedTuple):
    """Options of the perceptrons of both players."""

    generator: Mapping[str, Any] = {}
    critic: Mapping[str, Any] = {}
    tanh: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "batch norm in the generator": Architecture({"norm": "batch"}),
    "no batch norm": Architecture(),
    "one hidden layer": Architecture({"depth": 1}, {"depth": 1}),
    "six hidden layers": Architecture({"depth": 6}, {"depth": 6}),
    "tanh everywhere": Architecture(tanh=True),
    "16 units in the generator": Architecture({"width": 16}),
}


class Recipe(NamedTuple):
    """A loss, and how often its critic learns."""

    criterion: Callable[[float], AdversarialCriterion]  # of the penalty's weight
    critic_steps: int


RECIPES: Mapping[str, Recipe] = {
    "first GAN": Recipe(lambda weight: AdversarialCriterion(js(), Unconstrained()), 1),
    "Wasserstein with a penalty": Recipe(
        lambda weight: AdversarialCriterion(wasserstein(), GradientPenalty(weight)), 5
    ),
}


class PenaltyRobustness(Demo):
    def __init__(
        self,
        steps: Count = 1000,
        width: Count = 64,
        batch_size: Count = 128,
        rate: Positive = 1e-3,
        weight: Positive = 1.0,
        seeds: Count = 2,
        seed: int = 0,
        std=0.1,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.weight, self.seeds, self.seed = weight, seeds, seed
        self.ring = GaussianRing(
            name="gaussian_ring", shape=(2,), std=std, n=50_000, validation=0.0
        )

    def show(self, place): ...

    def run(self, architecture: Architecture, recipe, seed: int):
        with seeded(seed):
            model = GAN(*self.networks(architecture), recipe.criterion(self.weight))
            points = self.ring.load("train").images
            play(
                model,
                batches(points, self.batch_size),
                self.steps,
                self.rate,
                critic_steps=recipe.critic_steps,
            )
            drawn = model.sample((points[:POINTS],))
        return drawn.detach(), coverage(drawn, self.ring.modes(), self.ring.sd)

    def networks(self, architecture: Architecture) -> tuple[Backbone[Any], Backbone[Any]]:
        """Both players, to be built."""
        if architecture.tanh:
            ends = nn.Linear(self.width, 2), nn.Tanh()
            return (
                Backbone(
                    base.Generator,
                    body=nn.Sequential(*hidden_layers(LATENT, self.width, 2), *ends),
                    latent=LATENT,
                ),
                Backbone(
                    base.Critic,
                    body=nn.Sequential(*hidden_layers(2, self.width, 2)),
                    features=self.width,
                    points=True,
                ),
            )
        both = {"shape": [2], "width": self.width, "depth": 2}
        return (
            Backbone(mlp.Generator, **{**both, "latent": LATENT, **architecture.generator}),
            Backbone(mlp.Critic, **{**both, **architecture.critic}),
        )
