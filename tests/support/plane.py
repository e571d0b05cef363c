"""Labelled toys in the plane, on which a model is trained in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gentrain.models.gan.base import AdversarialModel

SHAPE, MODES = [2], 4
CENTRES = (
    torch.tensor(
        [
            [math.cos(2 * math.pi * k / MODES), math.sin(2 * math.pi * k / MODES)]
            for k in range(MODES)
        ]
    )
    * 0.7
)


def drawn(n: int) -> tuple[Tensor, Tensor]:
    """Points around four centres, and which."""
    y = torch.randint(MODES, (n,))
    return CENTRES[y] + 0.05 * torch.randn(n, 2), y


def train(
    model: AdversarialModel,
    steps: int,
    batch: int = 64,
    lr: float = 1e-3,
    drawn: Callable[[int], tuple[Tensor, ...]] = drawn,
) -> None:
    """Adversarial steps as the training module makes them, 1:1."""
    critic, generator = (
        torch.optim.Adam(player.parameters(), lr, betas=(0.5, 0.999))
        for player in (model.critic, model.generator)
    )
    for _ in range(steps):
        data = drawn(batch)
        for optimizer, objective in (
            (critic, model.critic_loss),
            (generator, model.generator_loss),
        ):
            model.zero_grad()
            objective(data).loss.backward()
            optimizer.step()


def mode(points: Tensor) -> Tensor:
    return torch.cdist(points, CENTRES).argmin(1)
