"""Convergence and efficiency of chains.

- Geyer, "Practical Markov Chain Monte Carlo", 1992.
- Gelman et al., "Bayesian Data Analysis", 2013.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gentrain.samplers.kernel import Chains


def acceptance(chains: Chains) -> Tensor:
    """The share of each chain's proposals that were accepted, (C,)."""
    return chains.accepted.mean(0)


def mixing(energies: Tensor, accepted: Tensor | None) -> dict[str, Tensor]:
    """`r_hat` and `ess` of the energy along chains, and the `acceptance` of kernels that reject.

    The energy is one number of each state, known anyway, which all variables move.

    Args:
        energies: (T, C) with T >= 4.
        accepted: (T, C) in [0, 1], or None for a kernel that never rejects.
    """
    found = {"ess": effective_sample_size(energies), "r_hat": split_r_hat(energies)}
    return found if accepted is None else {"acceptance": accepted.double().mean()} | found


def split_r_hat(draws: Tensor) -> Tensor:
    """R-hat = sqrt(V / W), for the variance V of all draws and W within half chains.

    It is 1 where chains agree; above 1.01 they do not yet. Chains that stand still have W = 0: the
    result is inf where they differ, and nan where they do not.

    Args:
        draws: (T, C, ...) with T >= 4.

    Returns:
        (...), one number for each variable.
    """
    within, whole, _ = variances(halves(draws))
    return (whole / within).sqrt()


def effective_sample_size(draws: Tensor) -> Tensor:
    """The number of independent draws whose mean has the same error: C T / (1 + 2 sum_t rho_t).

    rho_t is the autocorrelation at lag t over all half chains. The sum ends where the pair
    rho_2k + rho_(2k+1) is no longer positive, and pairs are made monotone (Geyer's initial monotone
    sequence).

    Args:
        draws: (T, C, ...) with T >= 4.

    Returns:
        (...), one number for each variable.
    """
    x = halves(draws).double()
    t, c = x.shape[:2]
    within, whole, centred = variances(x)
    spectrum = torch.fft.rfft(centred, n=2 * t, dim=0).abs().square()
    # biased, as usual, and averaged over the chains
    covariance = torch.fft.irfft(spectrum, n=2 * t, dim=0)[:t].mean(1) / t
    rho = 1 - (within * (t - 1) / t - covariance) / whole
    rho[0] = 1
    pairs = rho[: t - t % 2].unflatten(0, (-1, 2)).sum(1)
    kept = (pairs > 0).to(x).cumprod(0)
    tau = 2 * (pairs.cummin(0).values * kept).sum(0) - 1
    # antithetic chains may beat independent draws, but not without limit
    return t * c / tau.clamp_min(1 / math.log10(t * c))


def halves(draws: Tensor) -> Tensor:
    """Split each chain into two: (T, C, ...) -> (T // 2, 2 C, ...)."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], 1)


def variances(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W, V and the centred draws.

    W is the mean of the chains' variances, and V = (T - 1) / T W + the variance of their means.
    """
    x = x.double()
    t = len(x)
    means = x.mean(0)
    within = x.var(0).mean(0)
    return within, (t - 1) / t * within + means.var(0), x - means
