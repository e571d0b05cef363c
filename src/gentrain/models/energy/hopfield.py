"""Hopfield, "Neural Networks and Physical Systems with Emergent Collective Computational Abilities", 1982: a memory whose contents are
the minima of

    E(x) = -1/2 x^T W x,    x in {-1, 1}^N,    W symmetric with zero diagonal,

and which finds the nearest by going downhill: x_i <- sign(sum_j W_ij x_j), one unit after the other, never raises E.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Share
from gentrain.errors import UserError
from gentrain.models.base import Batch
from gentrain.models.energy.base import Clamped, EnergyModel
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels


class Signs(Pixels):
    """-1 or 1: dark or bright."""

    name = "signs, cut at 1/2"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x > 0, 1.0, -1.0).to(x), x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return v


class Hopfield(EnergyModel):
    """Stores the images `memories`, the first that it is shown; later batches count for nothing.

    A step down their mean energy by SGD is Hebb's rule, as -dE/dW_ij = x_i x_j: W = lr * mean of x x^T, whose scale changes no minimum. Up
    to 0.138 N random patterns are recalled with few errors (Amit, Gutfreund & Sompolinsky, 1985); patterns that look alike, as digits do,
    far fewer: two or three.

    memories: how many images it stores.
    unlearning: where above 0, each update also climbs the energy of the states that a recall makes of the patterns with this share of
        their units flipped (after Hopfield, Feinstein & Palmer, "'Unlearning' has a stabilizing effect in collective memories", 1983, who
        start at random states). What is recalled already changes nothing, so in many steps patterns are stored that look alike, with
        room around them.
    order: units one after the other in a new random order each sweep (asynchronous, E never rises), or all at once (synchronous, which
        may end in a cycle of two states).
    steps: the most sweeps of a recall, which ends where nothing changes.
    """

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
        self.weight = nn.Parameter(torch.zeros(self.size, self.size))
        self.register_buffer("memories", torch.ones(memories, self.size))

    @torch.no_grad()
    def init_from_data(self, batch: Batch) -> None:
        if len(batch[0]) < len(self.memories):
            raise UserError(
                f"{len(self.memories)} memories of {len(batch[0])} images (model.memories); give at most as many"
            )
        self.memories.copy_(self.values(batch[0][: len(self.memories)]))

    @property
    def W(self) -> Tensor:
        """Symmetric, its diagonal zero, whatever the parameter's are."""
        w = (self.weight + self.weight.T) / 2
        return w - torch.diag(w.diagonal())

    def energy(self, x: Tensor) -> Tensor:
        return -0.5 * ((x @ self.W) * x).sum(1)

    def objective(self, batch: Batch) -> Objective:
        x = self.memories
        terms = {
            "stored": 2 * self.energy(x).mean()
        }  # twice, since each parameter has half of W_ij and half of W_ji
        if not self.unlearning:
            return Objective(terms)
        end = self.run_chain(torch.where(torch.rand_like(x) < self.unlearning, -x, x), self.steps)
        return Objective(
            terms | {"unlearned": -2 * self.energy(end).mean()},
            {"bits_lost": (end != x).float().mean()},
        )

    @torch.no_grad()
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return 2.0 * torch.randint(2, (n, self.size), device=device) - 1

    @torch.no_grad()
    def run_chain(self, x: Tensor, steps: int, held: Clamped | None = None) -> Tensor:
        """At most `steps` sweeps; a unit in balance (sum 0) stays as it is."""
        W = self.W
        sweep = self.one_by_one if self.order == "asynchronous" else self.all_at_once
        for _ in range(steps):
            new = sweep(W, x, held)
            if torch.equal(new, x):
                break
            x = new
        return x

    def all_at_once(self, W: Tensor, x: Tensor, held: Clamped | None) -> Tensor:
        new = sign(x @ W, x)
        return new if held is None else held.put(new)

    def one_by_one(self, W: Tensor, x: Tensor, held: Clamped | None) -> Tensor:
        x = x.T.clone()  # a unit's values in all chains lie together
        for i in torch.randperm(len(x)).tolist():
            new = sign(W[i] @ x, x[i])
            x[i] = new if held is None else torch.where(held.known[:, i], held.values[:, i], new)
        return x.T.contiguous()


def sign(field: Tensor, x: Tensor) -> Tensor:
    return torch.where(field > 0, 1.0, torch.where(field < 0, -1.0, x)).to(x)
