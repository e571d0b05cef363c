"""Parallel tempering, or replica exchange (Swendsen & Wang, 1986; Geyer, "Markov Chain Monte Carlo Maximum Likelihood", 1991)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gentrain.errors import UserError
from gentrain.samplers.kernel import Kernel, LogDensity, State


class Ladder(NamedTuple):
    x: Tensor  # (K, C, ...)
    swapped: Tensor  # (K - 1, C): taken exchanges of neighbours k, k + 1 in the last step; nan where none was tried
    turn: int  # which neighbours were last: (0, 1), (2, 3) ... or (1, 2), (3, 4) ...


class ParallelTempering(Kernel):
    """Each chain is K of them, the k-th of p^beta_k, moved by `kernel`; then neighbours exchange their places with probability

        min(1, exp((beta_k - beta_(k+1)) (log p(x_(k+1)) - log p(x_k)))),

    even and odd pairs in turn. Hot chains cross between modes, and hand them down. `State` is of the cold chain, beta_0 = 1.
    """

    def __init__(self, kernel: Kernel, betas: Sequence[float]) -> None:
        if (
            len(betas) < 2
            or betas[0] != 1
            or any(hot >= cold for cold, hot in pairwise(betas))
            or betas[-1] < 0
        ):
            raise UserError(
                f"temperatures must fall from 1, not {list(betas)} (betas); e.g. [1, 0.5, 0.25]"
            )
        self.kernel, self.betas = kernel, betas

    def start(self, target: LogDensity, x: Tensor) -> State:
        log_p = target(x)
        ladder = x.expand(len(self.betas), *x.shape)
        return State(
            x,
            log_p,
            torch.ones_like(log_p, dtype=torch.bool),
            Ladder(ladder, log_p.new_zeros(len(self.betas) - 1, len(x)), 0),
        )

    def step(self, target: LogDensity, state: State) -> State:
        x, beta = (
            state.carry.x,
            torch.tensor(self.betas, device=state.log_p.device, dtype=state.log_p.dtype),
        )
        k, c = x.shape[:2]
        each = beta.repeat_interleave(c)

        def tempered(x: Tensor) -> Tensor:
            return each * target(x)

        moved = self.kernel.step(tempered, self.kernel.start(tempered, x.flatten(0, 1)))
        x, accepted = moved.x.view_as(x), moved.accepted.view(k, c)
        x, log_p, swapped = self.exchanged(x, target(moved.x).view(k, c), beta, state.carry.turn)
        return State(x[0], log_p[0], accepted[0], Ladder(x, swapped, 1 - state.carry.turn))

    def exchanged(
        self, x: Tensor, log_p: Tensor, beta: Tensor, turn: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        swapped = torch.full_like(log_p[1:], torch.nan)
        cold = torch.arange(turn, len(beta) - 1, 2, device=x.device)
        taken = torch.rand_like(log_p[cold]).log() < swap_log_ratio(
            log_p[cold], log_p[cold + 1], beta[cold], beta[cold + 1]
        )
        swapped[cold] = taken.to(swapped)
        order = torch.arange(len(beta), device=x.device)[:, None].repeat(1, x.shape[1])
        order[cold], order[cold + 1] = (
            torch.where(taken, order[cold + 1], order[cold]),
            torch.where(taken, order[cold], order[cold + 1]),
        )
        chains = torch.arange(x.shape[1], device=x.device)
        return x[order, chains], log_p[order, chains], swapped


def swap_log_ratio(
    log_cold: Tensor, log_hot: Tensor, beta_cold: Tensor, beta_hot: Tensor
) -> Tensor:
    """log p is untempered, (pairs, C); betas are (pairs,)."""
    return (beta_cold - beta_hot)[:, None] * (log_hot - log_cold)
