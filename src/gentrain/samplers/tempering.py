"""Parallel tempering, or replica exchange.

- Swendsen & Wang, "Replica Monte Carlo Simulation of Spin-Glasses", 1986.
- Geyer, "Markov Chain Monte Carlo Maximum Likelihood", 1991.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.samplers.kernel import Kernel, LogDensity, State
from gentrain.streams import uniform


class Ladder(NamedTuple):
    """The chains of all temperatures."""

    x: Tensor  # (K, C, ...)
    swapped: (
        Tensor  # (K - 1, C) exchanges of neighbours k, k + 1 in the last step; nan if not tried
    )
    turn: int  # 0 if neighbours (0, 1), (2, 3) ... are next, 1 for (1, 2), (3, 4) ...


class ParallelTempering(Kernel):
    """K replicas of each chain, the k-th of p^beta_k. `kernel` moves all, then neighbours exchange
    states with probability

        min(1, exp((beta_k - beta_(k+1)) (log p(x_(k+1)) - log p(x_k)))),

    even and odd pairs in turn. Hot replicas cross between modes, and pass them on to cold ones.
    The `State` is that of the cold replica, beta_0 = 1.

    Args:
        kernel: moves the replicas.
        betas: inverse temperatures, falling from 1.
        moves: steps of `kernel` between exchanges. The target is computed `moves` + 2 times in a
            step of this kernel, where that of `kernel` computes it once.

    Raises:
        UserError: for betas that do not fall from 1.
    """

    def __init__(self, kernel: Kernel, betas: Sequence[float], moves: Count = 1) -> None:
        if (
            len(betas) < 2
            or betas[0] != 1
            or not all(0 <= hot < cold for cold, hot in pairwise(betas))
        ):
            raise UserError(
                f"temperatures must fall from 1, not {list(betas)} (model.sampler.betas); "
                "e.g. [1, 0.5, 0.25]"
            )
        self.kernel, self.betas, self.moves = kernel, betas, moves
        self.replicas, self.bounds = len(betas), kernel.bounds

    def start(self, target: LogDensity, x: Tensor) -> State:
        return self.resume(target, x[:, None].expand(-1, self.replicas, *x.shape[1:]))

    def resume(self, target: LogDensity, replicas: Tensor) -> State:
        x = replicas.transpose(0, 1)
        log_p = target(x[0])
        swapped = log_p.new_zeros(len(x) - 1, x.shape[1])
        accepted = torch.ones_like(log_p, dtype=torch.bool)
        return State(x[0], log_p, accepted, Ladder(x, swapped, 0))

    def replicas_of(self, state: State) -> Tensor:
        return state.carry.x.transpose(0, 1)

    def step(self, target: LogDensity, state: State) -> State:
        x = state.carry.x
        beta = torch.tensor(self.betas, device=state.log_p.device, dtype=state.log_p.dtype)
        k, c = x.shape[:2]
        each = beta.repeat_interleave(c)

        def tempered(x: Tensor) -> Tensor:
            return each * target(x)

        moved = self.kernel.start(tempered, x.flatten(0, 1))
        for _ in range(self.moves):
            moved = self.kernel.step(tempered, moved)
        x, accepted = moved.x.view_as(x), moved.accepted.view(k, c)
        x, log_p, swapped = self.exchange(x, target(moved.x).view(k, c), beta, state.carry.turn)
        return State(x[0], log_p[0], accepted[0], Ladder(x, swapped, 1 - state.carry.turn))

    def exchange(
        self, x: Tensor, log_p: Tensor, beta: Tensor, turn: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Exchange neighbours: the new x (K, C, ...) and log p (K, C), and `Ladder.swapped`."""
        swapped = torch.full_like(log_p[1:], torch.nan)
        cold = torch.arange(turn, len(beta) - 1, 2, device=x.device)
        log_ratio = swap_log_ratio(log_p[cold], log_p[cold + 1], beta[cold], beta[cold + 1])
        taken = uniform(log_p[cold].T).T.log() < log_ratio
        swapped[cold] = taken.to(swapped)
        order = torch.arange(len(beta), device=x.device)[:, None].repeat(1, x.shape[1])
        new_cold = torch.where(taken, order[cold + 1], order[cold])
        new_hot = torch.where(taken, order[cold], order[cold + 1])
        order[cold], order[cold + 1] = new_cold, new_hot
        chains = torch.arange(x.shape[1], device=x.device)
        return x[order, chains], log_p[order, chains], swapped


def swap_log_ratio(
    log_cold: Tensor, log_hot: Tensor, beta_cold: Tensor, beta_hot: Tensor
) -> Tensor:
    """The log-ratio of each exchange (pairs, C).

    Args:
        log_cold: log p, untempered, of the colder chains (pairs, C).
        log_hot: that of the hotter chains.
        beta_cold: (pairs,).
        beta_hot: (pairs,).
    """
    return (beta_cold - beta_hot)[:, None] * (log_hot - log_cold)
