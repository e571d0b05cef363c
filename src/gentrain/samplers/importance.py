"""Draws with weights: importance sampling, and annealed importance sampling (Neal, 2001), which makes its proposal by a Markov chain
through distributions between an easy one and the target. Both estimate the constant, Z = integral of p*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gentrain.samplers.kernel import Kernel, LogDensity


class Estimate(NamedTuple):
    value: Tensor
    error: Tensor  # its standard error


class Weighted(NamedTuple):
    """Draws x (N, ...) with log w (N,), E[w] = Z."""

    x: Tensor
    log_w: Tensor

    @property
    def shares(self) -> Tensor:
        """(N,) w / sum w, in float64."""
        return self.log_w.double().softmax(0)

    def ess(self) -> Tensor:
        """Kong's effective sample size, (sum w)^2 / sum w^2: 1 to N. It cannot see mass that no draw has found."""
        return 1 / self.shares.square().sum()

    def mean(self, values: Tensor) -> Estimate:
        """E[f(x)] from the values f(x_i), (N, ...): sum w f / sum w, self-normalised, error by the delta method."""
        w = self.shares.view(-1, *[1] * (values.ndim - 1))
        value = (w * values).sum(0)
        return Estimate(value, (w * (values - value)).square().sum(0).sqrt())

    def log_z(self) -> Estimate:
        """log of the mean weight, by logsumexp in float64; the error sd(w) / (mean(w) sqrt(N)) is that of the logarithm while it is small.

        By Jensen's inequality the estimate is too small on the average.
        """
        n = len(self.log_w)
        return Estimate(
            torch.logsumexp(self.log_w.double(), 0) - math.log(n),
            (self.shares * n).std() / math.sqrt(n),
        )


def importance(target: LogDensity, proposal: Any, n: int) -> Weighted:
    """n draws of `proposal` (torch.distributions, one event a draw) with w = p*(x) / q(x); q must reach wherever p does."""
    x = proposal.sample((n,))
    return Weighted(x, target(x) - proposal.log_prob(x))


def annealed(
    rise: Callable[[Tensor, float, float], tuple[Tensor, Tensor]], x: Tensor, betas: Sequence[float]
) -> Weighted:
    """x ~ p_0 is led through p_beta, beta from 0 to 1; log w = sum_k log p*_(beta_k)(x) - log p*_(beta_(k-1))(x), so E[w] = Z_1 / Z_0.

    rise(x, beta_(k-1), beta_k) returns that difference (N,), and x after a transition that leaves p_(beta_k) invariant.
    """
    log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for lower, upper in pairwise(betas):
        gain, x = rise(x, lower, upper)
        log_w += gain
    return Weighted(x, log_w)


@torch.no_grad()
def ais(target: LogDensity, base: Any, kernel: Kernel, betas: Sequence[float], n: int) -> Weighted:
    """Along the geometric path p_beta = q^(1 - beta) p*^beta from the normalised `base` q (torch.distributions); E[w] = Z."""

    def rise(x: Tensor, lower: float, upper: float) -> tuple[Tensor, Tensor]:
        def between(x: Tensor) -> Tensor:
            return (1 - upper) * base.log_prob(x) + upper * target(x)

        gain = (upper - lower) * (target(x) - base.log_prob(x))
        return gain, kernel.step(between, kernel.start(between, x)).x

    return annealed(rise, base.sample((n,)), betas)
