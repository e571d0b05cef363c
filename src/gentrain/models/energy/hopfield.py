"""The Hopfield network (Hopfield, "Neural Networks and Physical Systems with Emergent Collective
Computational Abilities", 1982): an associative memory, whose contents are minima of

    E(x) = -1/2 x^T W x,    x in {-1, 1}^N,    W symmetric with zero diagonal.

Recall goes downhill to a nearby minimum: x_i <- sign(sum_j W_ij x_j), one unit after the other,
never raises E.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Share
from gentrain.errors import UserError
from gentrain.models.base import Batch, Memorises
from gentrain.models.energy.base import Clamped, EnergyModel
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels
from gentrain.streams import permutation, uniform


class Signs(Pixels):
    """Dark pixels are -1, and bright ones 1."""

    gives: ClassVar = "signs"
    name = "signs, cut at 1/2"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x > 0, 1.0, -1.0).to(x), x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return v


class Hopfield(EnergyModel, Memorises):
    """Stores the first training images that it sees; later batches are ignored.

    A step of SGD down the stored images' mean energy is Hebb's rule, since -dE/dW_ij = x_i x_j:
    W = lr * mean of x x^T, and the scale changes no minimum. Up to 0.138 N random patterns are
    recalled with few errors (Amit, Gutfreund & Sompolinsky, 1985). Of patterns that look alike, as
    digits do, only two or three are.

    Args:
        shape: (C, H, W) of images.
        memories: how many images to store.
        unlearning: the share of units that are flipped in a stored pattern, before its recall is
            unlearned: each update also climbs the energy of the states in which these recalls end
            (after Hopfield, Feinstein & Palmer, "'Unlearning' Has a Stabilizing Effect in
            Collective Memories", 1983, who start at random states). A pattern that is recalled
            already changes nothing. Over many steps, similar patterns are stored, each with a basin
            of attraction. 0 for none.
        order: order of updates in a sweep. "asynchronous" takes units one after the other, in a new
            random order, and E never rises; "synchronous" takes all at once, and may end in a cycle
            of two states.
        steps: the most sweeps of a recall, which ends when nothing changes.
    """

    takes: ClassVar = ("signs",)
    deterministic = True  # all chains of a batch visit the units in one order
    memories: Tensor

    def __init__(
        self,
        shape: list[int],
        memories: Count = 2,
        unlearning: Share = 0.0,
        order: Literal["asynchronous", "synchronous"] = "asynchronous",
        steps: Count = 20,
    ) -> None:
        super().__init__(Signs(), shape, steps)
        self.unlearning, self.order = unlearning, order
        self.ignores_batches = not unlearning  # it stores the images that it has chosen
        self.weight = nn.Parameter(torch.zeros(self.size, self.size))
        self.register_buffer("memories", torch.ones(memories, self.size))

    @torch.no_grad()
    def init_from_data(self, batch: Batch) -> None:
        """Choose the images to store."""
        if len(batch[0]) < len(self.memories):
            raise UserError(
                f"{len(self.memories)} memories of {len(batch[0])} images (model.memories); "
                "give at most as many"
            )
        self.memories.copy_(self.values(batch[0][: len(self.memories)]))

    @property
    def W(self) -> Tensor:
        """The weights, symmetric with zero diagonal whatever the parameter is."""
        w = (self.weight + self.weight.T) / 2
        return w - torch.diag(w.diagonal())

    def energy(self, x: Tensor) -> Tensor:
        return -0.5 * ((x @ self.W) * x).sum(1)

    def objective(self, batch: Batch) -> Objective:
        x = self.memories
        # twice, since each of the two parameters of W_ij is half of it
        losses = {"stored": 2 * self.energy(x).mean()}
        if not self.unlearning:
            return Objective(losses)
        end = self.run_chain(torch.where(torch.rand_like(x) < self.unlearning, -x, x), self.steps)
        losses["unlearned"] = -2 * self.energy(end).mean()
        return Objective(losses, {"bits_lost": (end != x).float().mean()})

    # --- recall -----------------------------------------------------------------------------------

    @torch.no_grad()
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Random signs."""
        return torch.where(uniform(torch.empty(n, self.size, device=device)) < 0.5, -1.0, 1.0)

    @torch.no_grad()
    def run_chain(self, x: Tensor, steps: int, clamped: Clamped | None = None) -> Tensor:
        """Recall from states x: at most `steps` sweeps. A unit with sum 0 keeps its sign."""
        W = self.W
        sweep = self.sweep_units if self.order == "asynchronous" else self.sweep_at_once
        for _ in range(steps):
            new = sweep(W, x, clamped)
            if torch.equal(new, x):
                break
            x = new
        return x

    def sweep_at_once(self, W: Tensor, x: Tensor, clamped: Clamped | None) -> Tensor:
        """Update all units at once."""
        new = sign(x @ W, x)
        return new if clamped is None else clamped.apply(new)

    def sweep_units(self, W: Tensor, x: Tensor, clamped: Clamped | None) -> Tensor:
        """Update one unit after the other, in random order."""
        x = x.T.clone()  # transposed: a unit's values in all chains are contiguous
        for i in permutation(len(x)):
            new = sign(W[i] @ x, x[i])
            x[i] = new if clamped is None else clamped.apply_to_unit(i, new)
        return x.T.contiguous()


def sign(field: Tensor, x: Tensor) -> Tensor:
    """The sign of each number in `field`, or x where that is 0.

    >>> sign(torch.tensor([0.5, -0.5, 0.0]), torch.tensor([-1.0, -1.0, -1.0]))
    tensor([ 1., -1., -1.])
    """
    return torch.where(field > 0, 1.0, torch.where(field < 0, -1.0, x)).to(x)
