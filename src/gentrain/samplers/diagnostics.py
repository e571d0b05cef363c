"""How much chains are worth (Gelman et al., "Bayesian Data Analysis", 2013; Geyer, "Practical Markov Chain Monte Carlo", 1992)."""

from __future__ import annotations

import torch
from torch import Tensor

from gentrain.samplers.kernel import Chains


def acceptance(chains: Chains) -> Tensor:
    """(C,) the share of each chain's proposals that were taken."""
    return chains.accepted.mean(0)


def split_r_hat(draws: Tensor) -> Tensor:
    """(T, C, ...) -> (...): sqrt(V / W), V the variance of all, W that within half chains; 1 where they agree, above 1.01 they do not yet.

    T must be 4 or more. Chains that stand still have no W: inf where they stand apart, nan where they do not.
    """
    within, whole, _ = variances(halves(draws))
    return (whole / within).sqrt()


def effective_sample_size(draws: Tensor) -> Tensor:
    """(T, C, ...) -> (...): how many independent draws have the error of this mean, C T / (1 + 2 sum_t rho_t).

    rho_t is the autocorrelation at lag t over all half chains; the sum ends where rho_2k + rho_(2k+1) is no longer positive, and these are
    made to fall (Geyer's initial monotone sequence).
    """
    x = halves(draws).double()
    t, c = x.shape[:2]
    within, whole, centred = variances(x)
    spectrum = torch.fft.rfft(centred, n=2 * t, dim=0).abs().square()
    covariance = (
        torch.fft.irfft(spectrum, n=2 * t, dim=0)[:t].mean(1) / t
    )  # biased, mean over the chains
    rho = 1 - (within * (t - 1) / t - covariance) / whole
    rho[0] = 1
    pairs = rho[: t - t % 2].unflatten(0, (-1, 2)).sum(1)
    kept = (pairs > 0).to(x).cumprod(0)
    tau = 2 * (pairs.cummin(0).values * kept).sum(0) - 1
    return (
        t * c / tau.clamp_min(1 / torch.tensor(float(t * c)).log10())
    )  # antithetic chains may beat independence; not without bound


def halves(draws: Tensor) -> Tensor:
    """Each chain's two halves as chains of their own: (T, C, ...) -> (T // 2, 2 C, ...)."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], 1)


def variances(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W = mean of the chains' variances, V = (T - 1) / T W + the variance of their means, and the draws less their chain's mean."""
    x = x.double()
    t = len(x)
    means = x.mean(0)
    within = x.var(0).mean(0)
    return within, (t - 1) / t * within + means.var(0), x - means
