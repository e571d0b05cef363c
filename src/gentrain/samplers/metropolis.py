"""The Metropolis-Hastings algorithm.

- Metropolis et al., "Equation of State Calculations by Fast Computing Machines", 1953.
- Hastings, "Monte Carlo Sampling Methods Using Markov Chains and Their Applications", 1970.

A proposal y ~ q(. | x) is accepted with probability

    a(x, y) = min(1, p(y) q(x | y) / (p(x) q(y | x))),

and where it is rejected, x counts once more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from gentrain.config.types import Positive
from gentrain.errors import UserError
from gentrain.samplers.kernel import Kernel, LogDensity, State, metropolis
from gentrain.streams import normal, uniform


class Proposal(ABC):
    """A distribution q(y | x) of proposals."""

    @abstractmethod
    def draw(self, x: Tensor) -> Tensor:
        """y ~ q(. | x), of the shape of x (C, ...)."""

    @abstractmethod
    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        """log q(y | x) up to a constant, (C,); zeros for a symmetric proposal."""


class MetropolisHastings(Kernel):
    """Metropolis-Hastings with any proposal."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal

    def step(self, target: LogDensity, state: State) -> State:
        y = self.proposal.draw(state.x)
        new = self.start(target, y)
        return metropolis(state, new, self.log_ratio(state.x, state.log_p, y, new.log_p))

    def log_ratio(self, x: Tensor, log_p: Tensor, y: Tensor, log_p_y: Tensor) -> Tensor:
        """The log of the fraction in a(x, y), (C,)."""
        return log_p_y - log_p + self.proposal.log_q(x, y) - self.proposal.log_q(y, x)


class Gaussian(Proposal):
    """y = x + s u, u ~ N(0, I); symmetric.

    Args:
        sd: s.
        least: where given, s is log-uniform from `least` to `sd`, drawn for each chain and step.
    """

    def __init__(self, sd: float, least: float | None = None) -> None:
        self.sd, self.least = sd, sd if least is None else least

    def draw(self, x: Tensor) -> Tensor:
        if self.least == self.sd:
            return x + self.sd * normal(x)
        u = uniform(x.new_empty(len(x), *[1] * (x.ndim - 1)))
        s = self.sd * (self.least / self.sd) ** u
        return x + s * normal(x)

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))


class RandomWalk(MetropolisHastings):
    """Random walk Metropolis: Gaussian steps.

    Args:
        sd: their standard deviation. An acceptance of about 0.25 is best in many dimensions.
        least: where given, steps have all sizes from `least` to `sd`: short ones for narrow modes,
            long ones to cross between modes.

    Raises:
        UserError: for `least` above `sd`.
    """

    def __init__(self, sd: Positive, least: Positive | None = None) -> None:
        if least is not None and least > sd:
            raise UserError(
                f"a least step of {least:g} is above sd = {sd:g} (model.sampler.least); "
                "give a smaller one"
            )
        super().__init__(Gaussian(sd, least))


class Flip(Proposal):
    """One binary variable, chosen at random, takes its other value; symmetric.

    Args:
        low: one of its values.
        high: the other.
    """

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
    """y ~ q, independent of x.

    Args:
        distribution: q, a torch.distributions.Distribution with one event per chain.
    """

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def draw(self, x: Tensor) -> Tensor:
        return self.distribution.sample((len(x),))

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return self.distribution.log_prob(y)
