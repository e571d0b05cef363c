"""Importance sampling, and annealed importance sampling (Neal, "Annealed Importance Sampling",
2001), whose proposal is a Markov chain through distributions between an easy one and the target.

Both give weighted draws, and estimate the normalising constant Z, the integral of p*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gentrain.patience import counted
from gentrain.samplers.kernel import Kernel, LogDensity


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: Tensor
    error: Tensor


class Weighted(NamedTuple):
    """Draws x (N, ...) with log-weights log w (N,), where E[w] = Z."""

    x: Tensor
    log_w: Tensor

    @property
    def shares(self) -> Tensor:
        """w / sum w (N,), in float64."""
        return self.log_w.double().softmax(0)

    def ess(self) -> Tensor:
        """Kong's effective sample size (sum w)^2 / sum w^2, from 1 to N.

        It does not see mass that no draw has found.
        """
        return 1 / self.shares.square().sum()

    def mean(self, values: Tensor) -> Estimate:
        """E[f(x)] from values f(x_i) (N, ...): sum w f / sum w, with the delta method's error."""
        w = self.shares.view(-1, *[1] * (values.ndim - 1))
        value = (w * values).sum(0)
        return Estimate(value, (w * (values - value)).square().sum(0).sqrt())

    def log_z(self) -> Estimate:
        """The log of the mean weight, in float64.

        The error is sd(w) / (mean(w) sqrt(N)), which is that of the logarithm while it is small. By
        Jensen's inequality the estimate is too small on average.
        """
        n = len(self.log_w)
        return Estimate(
            torch.logsumexp(self.log_w.double(), 0) - math.log(n),
            (self.shares * n).std() / math.sqrt(n),
        )


def importance_sampling(target: LogDensity, proposal: Any, n: int) -> Weighted:
    """Draw from a proposal q, with weights w = p*(x) / q(x).

    Args:
        target: log p*.
        proposal: q, a torch.distributions.Distribution with one event per draw; it must be positive
            wherever p is.
        n: the number of draws.
    """
    x = proposal.sample((n,))
    return Weighted(x, target(x) - proposal.log_prob(x))


def annealed(
    transition: Callable[[Tensor, float, float], tuple[Tensor, Tensor]],
    x: Tensor,
    betas: Sequence[float],
    what: str = "annealing, temperatures",
) -> Weighted:
    """Lead draws of p_0 through p_beta, beta from 0 to 1, so that E[w] = Z_1 / Z_0.

        log w = sum_k log p*_(beta_k)(x) - log p*_(beta_(k-1))(x)

    Args:
        transition: (x, beta_(k-1), beta_k) -> that difference (N,), and x after a transition that
            leaves p_(beta_k) invariant.
        x: (N, ...) draws of p_0.
        betas: rising from 0 to 1.
        what: what the lines of a long annealing count.
    """
    log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for lower, upper in counted(pairwise(betas), len(betas) - 1, what):
        gain, x = transition(x, lower, upper)
        log_w += gain
    return Weighted(x, log_w)


@torch.no_grad()
def ais(target: LogDensity, base: Any, kernel: Kernel, betas: Sequence[float], n: int) -> Weighted:
    """Annealed importance sampling along p_beta = q^(1 - beta) p*^beta, with E[w] = Z.

    Args:
        target: log p*.
        base: q, a normalised torch.distributions.Distribution with one event per draw.
        kernel: takes one step at each beta.
        betas: rising from 0 to 1.
        n: the number of draws.
    """

    def transition(x: Tensor, lower: float, upper: float) -> tuple[Tensor, Tensor]:
        def between(x: Tensor) -> Tensor:
            return (1 - upper) * base.log_prob(x) + upper * target(x)

        gain = (upper - lower) * (target(x) - base.log_prob(x))
        return gain, kernel.step(between, kernel.start(between, x)).x

    return annealed(transition, base.sample((n,)), betas)
