"""What demonstrations train with: digits, batches, and a plain loop of Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from gentrain.data.arrays import to_float
from gentrain.data.mnist_5k import MNIST5k
from gentrain.models.base import Batch, SingleObjectiveModel
from gentrain.models.gan.base import AdversarialModel


@cache
def digits(side: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """Real digits (N, 1, side, side) in [-1, 1] in random order, and their labels (N,).

    They are read once; do not change them in place.
    """
    data = MNIST5k(name="mnist_5k", shape=(1, side, side), size=side, classes=10, validation=0.0)
    images, labels, _ = data.load(split)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert labels is not None
    return to_float(images[order]), labels[order]


def batches(size: int, *tensors: Tensor) -> Iterator[Batch]:
    """Endless random batches of rows that belong together, such as images and their labels."""
    while True:
        rows = torch.randint(len(tensors[0]), (size,))
        yield tuple(each[rows] for each in tensors)


def fit(
    model: SingleObjectiveModel,
    data: Iterator[Batch],
    steps: int,
    rate: float = 1e-3,
    look: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a model with Adam, whose rate falls along a cosine.

    Args:
        model: minimises `objective`.
        data: batches of images, and of what belongs to them.
        steps: updates.
        rate: learning rate at the start.
        look: called with the number of updates after each of them.
    """
    model.init_from_batch(next(data))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        descend(optimizer, model.objective(next(data)).losses)
        decay.step()
        model.after_step()
        look(step)


def play(
    model: AdversarialModel,
    data: Iterator[Batch],
    steps: int,
    rate: float = 2e-4,
    look: Callable[[int], None] = lambda step: None,
    critic_steps: int = 1,
) -> None:
    """Train a GAN with Adam, the critic and the generator in turn.

    Args:
        model: the generator and its critic.
        data: batches of images, and of what belongs to them.
        steps: updates of the generator.
        rate: learning rate of both.
        look: called with the number of updates after each of them.
        critic_steps: updates of the critic before each of the generator.
    """
    model.init_from_batch(next(data))
    critic, generator = (
        torch.optim.Adam(model.player(name).parameters(), lr=rate, betas=(0.5, 0.99))
        for name in ("critic", "generator")
    )
    for regularizer in model.each_regularizer():
        regularizer.check_optimizer("critic", critic)
        regularizer.check_optimizer("generator", generator)
    for step in range(1, steps + 1):
        for _ in range(critic_steps):
            terms = model.critic_loss(next(data))
            descend(critic, terms.losses)
            model.after_critic_step(terms.losses)
        descend(generator, model.generator_loss(next(data)).losses)
        model.after_generator_step()
        look(step)


def descend(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    """One update of a player by the sum of its losses."""
    optimizer.zero_grad()
    torch.stack([*losses.values()]).sum().backward()
    optimizer.step()
