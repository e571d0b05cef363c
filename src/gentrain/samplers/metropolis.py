"""Metropolis et al., "Equation of State Calculations by Fast Computing Machines", 1953; Hastings, "Monte Carlo Sampling Methods Using
Markov Chains and Their Applications", 1970: a proposal y ~ q(. | x) is taken with probability

    a(x, y) = min(1, p(y) q(x | y) / (p(x) q(y | x))),

and where it is not, x counts once more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from gentrain.config.types import Positive
from gentrain.errors import UserError
from gentrain.samplers.kernel import Kernel, LogDensity, State, metropolis


class Proposal(ABC):
    @abstractmethod
    def draw(self, x: Tensor) -> Tensor:
        """y ~ q(. | x), of the shape of x (C, ...)."""

    @abstractmethod
    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        """log q(y | x), (C,), up to a number that is the same both ways: zeros for a symmetric proposal."""


class MetropolisHastings(Kernel):
    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal

    def step(self, target: LogDensity, state: State) -> State:
        y = self.proposal.draw(state.x)
        new = self.start(target, y)
        return metropolis(state, new, self.log_ratio(state.x, state.log_p, y, new.log_p))

    def log_ratio(self, x: Tensor, log_p: Tensor, y: Tensor, log_p_y: Tensor) -> Tensor:
        """The logarithm of the fraction in a(x, y), (C,)."""
        return log_p_y - log_p + self.proposal.log_q(x, y) - self.proposal.log_q(y, x)


class Gaussian(Proposal):
    """y = x + s u, u ~ N(0, I), s = sd, or log-uniform from `least` to sd, drawn anew for each chain and step, so symmetric too."""

    def __init__(self, sd: float, least: float | None = None) -> None:
        self.sd, self.least = sd, sd if least is None else least

    def draw(self, x: Tensor) -> Tensor:
        if self.least == self.sd:
            return x + self.sd * torch.randn_like(x)
        s = self.sd * (self.least / self.sd) ** torch.rand(
            len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype
        )
        return x + s * torch.randn_like(x)

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))


class RandomWalk(MetropolisHastings):
    """The first of all: Gaussian steps of standard deviation `sd`; about a quarter accepted is best in many dimensions.

    With `least` they are of all lengths from there to `sd`: short ones for what is narrow, long ones between parts that lie apart.
    """

    def __init__(self, sd: Positive, least: Positive | None = None) -> None:
        if least is not None and least > sd:
            raise UserError(
                f"a least step of {least:g} is above sd = {sd:g} (model.sampler.least); write a smaller one"
            )
        super().__init__(Gaussian(sd, least))


class Flip(Proposal):
    """One variable of {low, high}, drawn at random, takes its other value."""

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.both = low + high

    def draw(self, x: Tensor) -> Tensor:
        y, rows = x.flatten(1).clone(), torch.arange(len(x), device=x.device)
        place = torch.randint(y.shape[1], (len(x),), device=x.device)
        y[rows, place] = self.both - y[rows, place]
        return y.view_as(x)

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))


class Independent(Proposal):
    """y ~ q, wherever x is; `distribution` as torch.distributions has them, one event a chain."""

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def draw(self, x: Tensor) -> Tensor:
        return self.distribution.sample((len(x),))

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return self.distribution.log_prob(y)
