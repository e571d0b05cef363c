"""Hamiltonian Monte Carlo.

- Duane, Kennedy, Pendleton & Roweth, "Hybrid Monte Carlo", 1987.
- Neal, "MCMC Using Hamiltonian Dynamics", 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gentrain.config.types import Count, Positive
from gentrain.samplers.kernel import Kernel, LogDensity, State, metropolis, slope, total
from gentrain.streams import normal


class HMC(Kernel):
    """Hamiltonian Monte Carlo with H(x, r) = -log p(x) + |r|^2 / 2.

    A step draws a momentum r ~ N(0, I), follows the dynamics through leapfrog steps of length e,

        r <- r + e/2 grad log p(x),   x <- x + e r,   r <- r + e/2 grad log p(x),

    which preserve volume and are reversible, and accepts the end with probability
    min(1, exp(H before - H after)).

    Args:
        step: e. An acceptance of about 0.65 is best in many dimensions.
        leaps: leapfrog steps. A trajectory of length e * leaps near a period of the target returns
            to where it started.
    """

    def __init__(self, step: Positive, leaps: Count = 10) -> None:
        self.length: float | Tensor = step  # or (C, 1), for each chain
        self.leaps = leaps

    def start(self, target: LogDensity, x: Tensor) -> State:
        log_p, gradient = slope(target, x)
        return State(x, log_p, torch.ones_like(log_p, dtype=torch.bool), gradient)

    def step(self, target: LogDensity, state: State) -> State:
        r = normal(state.x)
        new, r_new = self.leapfrog(target, state, r)
        kinetic = (total(r.square()) - total(r_new.square())) / 2
        return metropolis(state, new, new.log_p - state.log_p + kinetic)

    def leapfrog(self, target: LogDensity, state: State, r: Tensor) -> tuple[State, Tensor]:
        """The state and the momentum at the end of a trajectory."""
        for _ in range(self.leaps):
            r = r + self.length / 2 * state.carry
            state = self.start(target, state.x + self.length * r)
            r = r + self.length / 2 * state.carry
        return state, r
