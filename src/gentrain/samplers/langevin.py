"""Langevin's diffusion dx = grad log p dt + sqrt(2) dW, whose law tends to p, in steps of a finite length e (Roberts & Tweedie,
"Exponential Convergence of Langevin Distributions and Their Discrete Approximations", 1996)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gentrain.config.types import NonNegative, Positive
from gentrain.samplers.kernel import Kernel, LogDensity, State, metropolis, slope, total


class Langevin(Kernel):
    """ULA, the unadjusted algorithm: x <- x + e grad log p(x) + sqrt(2 e T) u, u ~ N(0, I).

    Its law is p^(1/T), but for an error of the order of e that no number of steps mends: for N(0, s^2) at T = 1 the variance is
    s^2 / (1 - e / (2 s^2)). With T = 0 it climbs. `clip` bounds each component of the gradient, as deep energies need (then the law is
    no longer p's); None leaves it. With `bounds` every step ends in that box (projected Langevin; Bubeck, Eldan & Lehec, 2018).
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
        return self.start(target, self.moved(state.x, state.carry))

    def moved(self, x: Tensor, gradient: Tensor) -> Tensor:
        if self.clip is not None:
            gradient = gradient.clamp(-self.clip, self.clip)
        y = (
            x
            + self.length * gradient
            + math.sqrt(2 * self.length * self.temperature) * torch.randn_like(x)
        )
        return y if self.bounds is None else y.clamp(*self.bounds)


class MALA(Kernel):
    """The Metropolis-adjusted Langevin algorithm: Langevin's step is a proposal, log q(y | x) = -|y - x - e grad log p(x)|^2 / (4 e).

    The law is p's, whatever e; about 0.57 accepted is best in many dimensions (Roberts & Rosenthal, 1998).
    """

    def __init__(self, step: Positive) -> None:
        self.langevin = Langevin(step)

    def start(self, target: LogDensity, x: Tensor) -> State:
        return self.langevin.start(target, x)

    def step(self, target: LogDensity, state: State) -> State:
        new = self.start(target, self.langevin.moved(state.x, state.carry))
        return metropolis(state, new, self.log_ratio(state, new))

    def log_ratio(self, old: State, new: State) -> Tensor:
        return new.log_p - old.log_p + self.log_q(old.x, new) - self.log_q(new.x, old)

    def log_q(self, y: Tensor, given: State) -> Tensor:
        e = self.langevin.length
        return -total((y - given.x - e * given.carry).square()) / (4 * e)
