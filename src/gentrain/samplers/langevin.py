"""Langevin dynamics (Roberts & Tweedie, "Exponential Convergence of Langevin Distributions and
Their Discrete Approximations", 1996).

The diffusion dx = grad log p dt + sqrt(2) dW, whose distribution tends to p, in steps of length e.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gentrain.config.types import NonNegative, Positive
from gentrain.samplers.kernel import Kernel, LogDensity, State, metropolis, slope, total
from gentrain.streams import normal


class Langevin(Kernel):
    """The unadjusted Langevin algorithm (ULA), with noise u ~ N(0, I):

        x <- x + e grad log p(x) + sqrt(2 e T) u

    Its distribution is p^(1/T), with an error of order e that no number of steps removes: for
    N(0, s^2) at T = 1 the variance is s^2 / (1 - e / (2 s^2)).

    Args:
        step: e.
        temperature: T; 0 for gradient ascent.
        clip: bounds each component of the gradient, as deep energies need. The distribution is then
            not p. None leaves gradients unchanged.
        bounds: [low, high], a box in which every step ends (projected Langevin; Bubeck, Eldan &
            Lehec, 2018), or None.
    """

    def __init__(
        self,
        step: Positive,
        temperature: NonNegative = 1.0,
        clip: Positive | None = None,
        bounds: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None,
    ) -> None:
        self.length, self.temperature, self.clip, self.bounds = step, temperature, clip, bounds

    def start(self, target: LogDensity, x: Tensor) -> State:
        log_p, gradient = slope(target, x)
        return State(x, log_p, torch.ones_like(log_p, dtype=torch.bool), gradient)

    def step(self, target: LogDensity, state: State) -> State:
        return self.start(target, self.propose(state.x, state.carry))

    def propose(self, x: Tensor, gradient: Tensor) -> Tensor:
        """One step from x (C, ...), given the gradient of log p there."""
        if self.clip is not None:
            gradient = gradient.clamp(-self.clip, self.clip)
        noise = math.sqrt(2 * self.length * self.temperature) * normal(x)
        y = x + self.length * gradient + noise
        return y if self.bounds is None else y.clamp(*self.bounds)


class MALA(Kernel):
    """The Metropolis-adjusted Langevin algorithm: a Langevin step is a proposal, with

        log q(y | x) = -|y - x - e grad log p(x)|^2 / (4 e)

    The distribution is p for every e.

    Args:
        step: e. An acceptance of about 0.57 is best in many dimensions (Roberts & Rosenthal, 1998).
    """

    def __init__(self, step: Positive) -> None:
        self.langevin = Langevin(step)

    def start(self, target: LogDensity, x: Tensor) -> State:
        return self.langevin.start(target, x)

    def step(self, target: LogDensity, state: State) -> State:
        new = self.start(target, self.langevin.propose(state.x, state.carry))
        return metropolis(state, new, self.log_ratio(state, new))

    def log_ratio(self, old: State, new: State) -> Tensor:
        """The log of p(y) q(x | y) / (p(x) q(y | x)), (C,)."""
        return new.log_p - old.log_p + self.log_q(old.x, new) - self.log_q(new.x, old)

    def log_q(self, y: Tensor, given: State) -> Tensor:
        """log q(y | x) up to a constant, (C,)."""
        e = self.langevin.length
        return -total((y - given.x - e * given.carry).square()) / (4 * e)
