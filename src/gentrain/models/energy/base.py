"""Energy-based models: p(x) = exp(-E(x)) / Z, with a sum or integral Z that is intractable.

    d/dt -log p(x) = d/dt E(x) - E_p[d/dt E]

So a model descends E on data and climbs E on its own samples, which Markov chains draw.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.config.types import Count
from gentrain.layers.lazy_buffers import HasRankLocalBuffers
from gentrain.models.base import (
    Batch,
    Completes,
    Denoises,
    HasChains,
    HasEnergy,
    SingleObjectiveModel,
    eval_mode,
)
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels, Values, check_values
from gentrain.streams import image_numbers


class Clamped(NamedTuple):
    """Units that keep their values while a chain runs."""

    known: Tensor  # (n, units) bool
    values: Tensor  # (n, units)

    def apply(self, x: Tensor) -> Tensor:
        """States x (n, units) with the known units at their values."""
        return torch.where(self.known, self.values, x)

    def apply_to_unit(self, i: int, x: Tensor) -> Tensor:
        """Values x (n,) of unit i, at its known values where it has some."""
        return torch.where(self.known[:, i], self.values[:, i], x)


class EnergyModel(
    SingleObjectiveModel, HasRankLocalBuffers, HasEnergy, HasChains, Completes, Denoises
):
    """A model of the energy of states (n, units).

    The first D units of a state are the values of an image, and the others hidden units, if any.
    Where chains continue from update to update, they are the buffer `chains` (chains, units), and
    in every checkpoint. Each process of a distributed run has its own.

    Args:
        pixels: what is modelled of an image.
        shape: (C, H, W) of images, or (D,) of points.
        steps: transitions of the chain that draws a sample.
        remedy: what to choose for data of which `pixels` are not defined.

    Raises:
        UserError: for such data.
    """

    takes: ClassVar[Collection[Values]]  # what may be modelled; see `Pixels.gives`
    compilable = False  # chains run inside the objective
    init_images = 10_000
    rank_local_buffers = ("chains",)
    chains: Tensor | None

    def __init__(
        self, pixels: Pixels, shape: list[int], steps: Count, remedy: str | None = None
    ) -> None:
        super().__init__()
        check_values(pixels, shape, self.takes, remedy)
        self.pixels, self.shape, self.steps = pixels, list(shape), steps
        self.size = math.prod(shape)
        self.register_buffer("chains", None)

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """(n,) energies of states (n, units)."""

    @abstractmethod
    def objective(self, batch: Batch) -> Objective:
        """Losses with the gradient of -log p, or with that of the paper's approximation of it."""

    @abstractmethod
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """States (n, units) from which a chain may start."""

    @abstractmethod
    def run_chain(self, x: Tensor, steps: int, clamped: Clamped | None = None) -> Tensor:
        """States (n, units) after `steps` transitions from states x.

        The transitions leave p invariant, or p given the clamped units.
        """

    @property
    def units(self) -> int:
        """The number of units of a state: the D values of an image, and hidden units."""
        return self.size

    # --- states and images ------------------------------------------------------------------------

    def values(self, images: Tensor) -> Tensor:
        return self.pixels(images)[0].flatten(1)

    def images(self, v: Tensor) -> Tensor:
        return self.pixels.inverse(v).unflatten(1, self.shape)

    def show(self, x: Tensor) -> Tensor:
        """States (n, units) as images (n, *shape) in [-1, 1]."""
        return self.images(x[:, : self.size])

    # --- sampling ---------------------------------------------------------------------------------

    @property
    def starts(self) -> int | None:
        return None if self.chains is None else len(self.chains)

    def start(self, n: int, device: torch.device | str) -> Tensor:
        """States (n, units) to start from: image i from chain i, or from noise without chains.

        Of C chains, image C starts from the first again, with other random numbers.
        """
        if self.chains is None:
            return self.noise(n, device)
        rows = image_numbers(n) % len(self.chains)
        return self.chains[rows.to(self.chains.device)].to(device)

    def sample_protocol(self) -> dict[str, Any]:
        origin = "noise" if self.chains is None else f"the {len(self.chains)} chains of training"
        return {"chains": f"{self.steps} transitions from {origin}, in turn"}

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Draw as many images as the batch has, by `steps` transitions.

        Args:
            batch: only its size is read.
            noise: (B, units) where the chains start; None starts at the chains of training.
        """
        with eval_mode(self):
            x = self.start(len(batch[0]), batch[0].device) if noise is None else noise
            return self.show(self.run_chain(x, self.steps))

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            x = batch[0]
            known = known.expand_as(x)
            clamped = self.clamp(self.values(x), known.flatten(1))
            state = self.noise(len(x), x.device) if noise is None else noise
            state = self.run_chain(clamped.apply(state), self.steps, clamped)
            return torch.where(known, x, self.show(state))

    def denoise(self, images: Tensor, steps: int = 1, draws: int = 10) -> Tensor:
        """The mean of `draws` chains after `steps` transitions from noisy images."""
        with eval_mode(self):
            many = images.repeat(draws, *[1] * (images.ndim - 1))
            state = self.with_hidden(self.values(many))
            ends = self.denoised(state, steps)
            return ends.unflatten(0, (draws, len(images))).mean(0)

    def denoised(self, x: Tensor, steps: int) -> Tensor:
        """Images after `steps` transitions from states x, or their means given the last states."""
        return self.images(self.run_chain(x, steps)[:, : self.size])

    def with_hidden(self, v: Tensor) -> Tensor:
        """States (n, units) of visible values v (n, D), with hidden units drawn given them."""
        return v

    def clamp(self, v: Tensor, known: Tensor) -> Clamped:
        """Clamp the known ones (n, D) of the values v (n, D), and no hidden unit."""
        hidden = v.new_zeros(len(v), self.units - self.size)
        return Clamped(torch.cat([known, hidden.bool()], 1), torch.cat([v, hidden], 1))


def contrast(data: Tensor, model: Tensor) -> Objective:
    """The objective with gradient <dE>_data - <dE>_model.

    Args:
        data: energies (B,) of data.
        model: energies (C,) of the model's samples.
    """
    return Objective(
        {"contrast": data.mean() - model.mean()},
        {"energy_of_data": data.mean(), "energy_of_samples": model.mean()},
    )


def log_odds(v: Tensor) -> Tensor:
    """Biases (D,) with which independent units are 1 as often as in data v (n, D).

    One count of each value is added, so that they are finite.

    >>> log_odds(torch.ones(2, 1)).sigmoid()
    tensor([0.7500])
    """
    return torch.logit((v.sum(0) + 1) / (len(v) + 2))
