"""Models of an energy: p(x) = exp(-E(x)) / Z with a sum (or integral) Z that nobody knows.

Since d/dt -log p(x) = d/dt E(x) - E_p[d/dt E], one descends E on data and climbs it on the model's own samples, which Markov chains draw.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from gentrain.config.types import Count
from gentrain.layers.lazy_buffers import HasRankLocalBuffers
from gentrain.models.base import Batch, SingleObjectiveModel, eval_mode
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels


class Clamped(NamedTuple):
    """Units that keep their value."""

    known: Tensor  # (n, units) bool
    values: Tensor  # (n, units)

    def put(self, x: Tensor) -> Tensor:
        return torch.where(self.known, self.values, x)


class EnergyModel(SingleObjectiveModel, HasRankLocalBuffers):
    """Energies of states (n, units), of which the first D are the values of an image (see `pixels`), and the rest hidden units, if any.

    Args:
        pixels: what of an image the values are.
        shape: of an image.
        steps: transitions of the chain that makes a sample.
    `chains` (chains, units) go on from update to update where a model has them; they are a buffer, so in every checkpoint.
    """

    compilable = False  # Markov chains have loops that a graph cannot hold
    init_images = 10_000
    rank_local_buffers = ("chains",)
    chains: Tensor | None

    def __init__(self, pixels: Pixels, shape: list[int], steps: Count) -> None:
        super().__init__()
        self.pixels, self.shape, self.size, self.steps = (
            pixels,
            list(shape),
            math.prod(shape),
            steps,
        )
        self.register_buffer("chains", None)

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """(n, units) -> (n,)"""

    @abstractmethod
    def objective(self, batch: Batch) -> Objective:
        """Terms whose gradient is that of -log p, or the paper's stand-in for it."""

    @abstractmethod
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, units) where a chain may start."""

    @abstractmethod
    def run_chain(self, x: Tensor, steps: int, held: Clamped | None = None) -> Tensor:
        """States after some transitions of chains that leave p invariant (given what is held)."""

    def mean_images(self, x: Tensor) -> Tensor:
        """(n, units) -> (n, *shape) in [-1, 1]: the values, or their means given what else is known."""
        return self.images(x[:, : self.size])

    def init_from_data(self, batch: Batch) -> None:
        """Many training images, once, before the first update."""

    # what all of them draw

    def values(self, images: Tensor) -> Tensor:
        """(n, D)"""
        return self.pixels(images)[0].flatten(1)

    def images(self, v: Tensor) -> Tensor:
        return self.pixels.inverse(v).unflatten(1, self.shape)

    def start(self, n: int, device: torch.device | str) -> Tensor:
        """(n, units): random ones of the chains of training, where there are some; else noise."""
        if self.chains is None:
            return self.noise(n, device)
        return self.chains[torch.randint(len(self.chains), (n,), device=self.chains.device)].to(
            device
        )

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """As many images as the batch has, `steps` transitions from where chains of training are; from `noise`, where it is given."""
        with eval_mode(self):
            x = self.start(len(batch[0]), batch[0].device) if noise is None else noise
            return self.mean_images(self.run_chain(x, self.steps))

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images whose `known` pixels (bool, broadcast over (B, C, H, W)) are kept as they are; the others are drawn given these."""
        with eval_mode(self):
            x = batch[0]
            known = known.expand_as(x)
            held = self.held(self.values(x), known.flatten(1))
            state = self.noise(len(x), x.device) if noise is None else noise
            return torch.where(
                known, x, self.mean_images(self.run_chain(held.put(state), self.steps, held))
            )

    def denoise(self, images: Tensor, steps: int = 1, draws: int = 10) -> Tensor:
        """The mean of `draws` chains after `steps` transitions from noisy images."""
        with eval_mode(self):
            many = images.repeat(draws, *[1] * (images.ndim - 1))
            everything = torch.ones_like(many, dtype=torch.bool).flatten(1)
            state = self.held(self.values(many), everything).put(
                self.noise(len(many), images.device)
            )
            return (
                self.mean_images(self.run_chain(state, steps - 1))
                .unflatten(0, (draws, len(images)))
                .mean(0)
            )

    def held(self, v: Tensor, known: Tensor) -> Clamped:
        """The known ones of the values v (n, D), and no hidden unit."""
        hidden = v.new_zeros(len(v), self.units - self.size)
        return Clamped(torch.cat([known, hidden.bool()], 1), torch.cat([v, hidden], 1))

    @property
    def units(self) -> int:
        return self.size


def contrast(data: Tensor, model: Tensor) -> Objective:
    """E of data (B,) against E of the model's samples (C,): its gradient is <dE>_data - <dE>_model."""
    return Objective(
        {"contrast": data.mean() - model.mean()},
        {"energy_of_data": data.mean(), "energy_of_samples": model.mean()},
    )


def log_odds(v: Tensor) -> Tensor:
    """Biases with which independent units are 1 as often as these are, (n, D) -> (D,); one of each is added to what was counted."""
    return torch.logit((v.sum(0) + 1) / (len(v) + 2))
