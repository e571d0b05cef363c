"""The evidence lower bound of a model whose evidence and posterior are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, name_ticks, seeded
from gentrain.config.types import Count
from gentrain.models.vae.likelihoods import Gaussian
from gentrain.models.vae.vae import VAE, Posterior, gaussian_kl
from gentrain.networks.vae import MLPDecoder, MLPEncoder

LATENT, VALUES, SD = 2, 5, 0.5
SCALES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)  # of q's deviations to the posterior's
SAMPLES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Elbo(Demo):
    """A VAE with a linear decoder and a normal likelihood: p(x) and p(z | x) are normal.

    The approximate posterior q has the means of the true one, and deviations that are too small or
    too large by a factor.

    Args:
        draws: of z, for each bound with one sample.
        groups: bounds with many samples that are averaged.
        seed: of the decoder, the image and the draws.
    """

    title = "What the bound leaves out"
    claim = (
        "The evidence lower bound is log p(x) less KL(q(z | x) || p(z | x)), exactly. With more "
        "importance samples the bound climbs to log p(x), whatever q is."
    )
    formula = (
        r"\mathbb{E}_q \log \frac{p(x, z)}{q(z | x)} = \log p(x) - "
        r"\mathrm{KL}(q(z | x) \,\|\, p(z | x)), \qquad "
        r"L_k = \mathbb{E} \log \frac1k \sum_{i=1}^k \frac{p(x, z_i)}{q(z_i | x)} "
        r"\nearrow \log p(x)"
    )
    papers = (
        "Kingma & Welling, Auto-Encoding Variational Bayes, 2014",
        "Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016",
        "Tipping & Bishop, Probabilistic Principal Component Analysis, 1999",
    )
    code: ClassVar = (VAE, Gaussian, gaussian_kl)
    notes = (
        "With p(x | z) = N(W z + b, s^2 I) the evidence is N(b, W W^T + s^2 I). Bars are two "
        "standard errors. A q that is too wide costs more than one that is too narrow by the same "
        "factor, but importance samples mend it sooner: a narrow q hardly draws what it leaves out."
    )
    exercise = "Give q a wrong mean as well. By how much does the bound fall for one deviation?"
    tiny: ClassVar = {"draws": 100, "groups": 3}

    def __init__(self, draws: Count = 20_000, groups: Count = 500, seed: int = 0) -> None:
        self.draws, self.groups, self.seed = draws, groups, seed

    def show(self, place: Path) -> Shown:
        with seeded(self.seed), torch.no_grad():
            model, x = linear_vae(), torch.randn(1, VALUES)
            mean, deviation, evidence = known(model, x)
            rows: list[Row] = []
            for scale in SCALES:
                q = posterior(mean, scale * deviation)
                bound, error = self.bound(model, x, q)
                kl = divergence(scale)
                rows.append(
                    {
                        "deviation of q / true one": scale,
                        "log p(x)": evidence,
                        "KL(q || posterior)": kl,
                        "log p(x) - KL": evidence - kl,
                        "ELBO": bound,
                        "standard error": error,
                    }
                )
            climbs = {
                scale: self.climb(model, x, posterior(mean, scale * deviation))
                for scale in (0.5, 1.0, 2.0)
            }
        return self.shown(rows, climbs)

    def bound(self, model: VAE, x: Tensor, q: Posterior) -> tuple[float, float]:
        """The ELBO and its standard error."""
        weights = model.log_weights(x, None, q, self.draws)
        return weights.mean().item(), (weights.std() / math.sqrt(self.draws)).item()

    def climb(self, model: VAE, x: Tensor, q: Posterior) -> list[tuple[float, float]]:
        """The importance-weighted bound for each number of samples, and its standard error."""
        found = []
        for samples in SAMPLES:
            weights = model.log_weights(x, None, q, samples * self.groups)
            each = weights.view(samples, self.groups).logsumexp(0) - math.log(samples)
            found.append((each.mean().item(), (each.std() / math.sqrt(self.groups)).item()))
        return found

    def shown(self, rows: list[Row], climbs: dict[float, list[tuple[float, float]]]) -> Shown:
        """Both panels, and whether the identity and the climb are there."""
        evidence = rows[0]["log p(x)"]
        made, axes = figure(self.title, columns=2)
        axes[0, 0].axhline(evidence, color="grey", linestyle="--", label="log p(x)")
        axes[0, 0].plot(SCALES, [row["log p(x) - KL"] for row in rows], label="log p(x) - KL")
        axes[0, 0].errorbar(
            SCALES,
            [row["ELBO"] for row in rows],
            [2 * row["standard error"] for row in rows],
            fmt="o",
            label=f"ELBO, {self.draws:,} draws",
        )
        axes[0, 0].set(xlabel="deviation of q / that of the posterior", ylabel="nats")
        axes[0, 0].set_title("one sample")
        name_ticks(axes[0, 0], (0.25, 0.5, 1, 2))
        axes[0, 1].axhline(evidence, color="grey", linestyle="--", label="log p(x)")
        for scale, found in climbs.items():
            bounds, errors = zip(*found, strict=True)
            label = f"deviation of q x {scale:g}"
            axes[0, 1].errorbar(SAMPLES, bounds, [2 * e for e in errors], label=label, marker=".")
        axes[0, 1].set(xlabel="importance samples k", ylabel="nats")
        axes[0, 1].set_title("many samples")
        name_ticks(axes[0, 1], (1, 10, 100))
        for each in axes.flat:
            each.legend()
        return Shown(made, rows, findings(rows, climbs))


def linear_vae() -> VAE:
    """A VAE whose decoder is one linear map with orthogonal columns, so that posteriors of its
    codes are independent. Its encoder is not used.
    """
    decoder = partial(MLPDecoder, [VALUES], LATENT, LATENT, 0)
    model = VAE(partial(MLPEncoder, [VALUES], width=4), decoder, Gaussian(SD, learned=False))
    columns = torch.linalg.qr(torch.randn(VALUES, LATENT)).Q * torch.tensor([1.5, 0.7])
    model.decoder.get_parameter("body.0.weight").copy_(columns)
    return model


def known(model: VAE, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and deviation of p(z | x), (1, 2) each, and log p(x), of x (1, 5)."""
    bias, unit = model.decoder(torch.zeros(1, LATENT))[:, 0], torch.eye(LATENT)
    w = (model.decoder(unit)[:, 0] - bias).T
    precision = 1 + w.square().sum(0) / SD**2
    mean = (x - bias) @ w / SD**2 / precision
    covariance = w @ w.T + SD**2 * torch.eye(VALUES)
    evidence = MultivariateNormal(bias[0], covariance).log_prob(x[0]).item()
    return mean, precision.rsqrt()[None], evidence


def posterior(mean: Tensor, deviation: Tensor) -> Posterior:
    """q(z | x) of one image, as an encoder would give it."""
    return Posterior(mean, 2 * deviation.log(), mean[:, :0])


def divergence(scale: float) -> float:
    """KL(q || p(z | x)) for the same means, in units of the posterior."""
    like = torch.zeros(1, LATENT)
    return gaussian_kl(like, like + 2 * math.log(scale)).item()


def findings(rows: Sequence[Row], climbs: dict[float, list[tuple[float, float]]]) -> list[Finding]:
    """How far the identity holds, and where the importance bound ends."""
    evidence = rows[0]["log p(x)"]
    off = [
        abs(row["ELBO"] - row["log p(x) - KL"]) / max(row["standard error"], 1e-6) for row in rows
    ]
    exact = next(row for row in rows if row["deviation of q / true one"] == 1)
    gaps = {
        scale: (evidence - found[0][0], evidence - found[-1][0], found[-1][1])
        for scale, found in climbs.items()
        if scale != 1
    }
    return [
        Finding(
            f"the ELBO is never more than {max(off):.1f} standard errors from log p - KL, over "
            f"{len(rows)} posteriors",
            max(off) < 3.5,
        ),
        Finding(
            f"with the true posterior it is log p(x) = {evidence:.4f}, up to "
            f"{abs(exact['ELBO'] - evidence):.1e}, and no draw differs",
            abs(exact["ELBO"] - evidence) < 1e-3 and exact["standard error"] < 1e-4,
        ),
        *[
            Finding(
                f"with deviations x {scale:g} the gap falls from {first:.3f} to {last:.4f} +- "
                f"{error:.4f} nats with {SAMPLES[-1]} samples",
                last < 0.1 * first,
            )
            for scale, (first, last, error) in gaps.items()
        ],
    ]
