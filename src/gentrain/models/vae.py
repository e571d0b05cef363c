"""Variational autoencoders (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014): a decoder p(x | z) and an encoder q(z | x),
trained together on the bound  log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z)),  p(z) = N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..density import Batch, Density, judged
from ..likelihoods import Likelihood
from ..networks.coding import Decoder, Encoder
from ..objective import Objective
from ..schema import NonNegative, Whole
from .flow import Flow

CHUNK = 25  # importance samples at a time


class VAE(Density):
    """`encoder` and `decoder` make networks; with classes in them, everything is given the label (Sohn, Lee & Yan, 2015).

    beta weighs the KL divergence (Higgins et al., 2017), which grows to its weight linearly in the first `warm_up` steps (Bowman et al.,
    2016; Sonderby et al., 2016). `flow` makes the posterior more than a Gaussian (Rezende & Mohamed, 2015): z_0 ~ N(mean, sd^2),
    z = f(z_0), log q(z | x) = log q(z_0 | x) - log |det df/dz_0|; the encoder gives f's parameters, and the divergence is that of one z.
    """

    steps: Tensor

    def __init__(
        self,
        encoder: Callable[..., Encoder],
        decoder: Callable[..., Decoder],
        likelihood: Likelihood,
        beta: NonNegative = 1.0,
        warm_up: Whole = 0,
        flow: Flow | None = None,
    ) -> None:
        super().__init__(likelihood.pixels)
        self.likelihood, self.beta, self.warm_up, self.flow = likelihood, beta, warm_up, flow
        self.decoder = decoder(parameters=likelihood.parameters_per_value)
        self.encoder = encoder(latent=self.decoder.latent, context=flow.context if flow is not None else 0)
        self.labelled = bool(self.encoder.classes)  # type: ignore[misc]
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def objective(self, batch: Batch) -> Objective:
        v, _ = self.pixels(batch[0])
        y = batch[1] if self.labelled else None
        mean, log_variance, context = self.encoder(v, y)
        z, log_q = self.posterior(mean, log_variance, context)
        reconstruction = -self.likelihood.log_prob(v, self.decoder(z, y)).mean()
        divergence = (log_q - log_prior(z) if self.flow is not None else gaussian_divergence(mean, log_variance)).mean()
        weight = self.beta * (self.steps / self.warm_up).clamp(max=1) if self.warm_up else self.beta
        terms = {"reconstruction": reconstruction, "kl": weight * divergence}
        return Objective(terms, {"kl_nats": divergence, "negative_elbo": reconstruction + divergence})

    def after_step(self) -> None:
        self.steps += 1

    def posterior(self, mean: Tensor, log_variance: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """One code of each image, and log q of it."""
        noise = torch.randn_like(mean)
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_q = log_prior(noise) - 0.5 * log_variance.sum(1)
        if self.flow is not None:
            z, log_det = self.flow(z, context)
            log_q = log_q - log_det
        return z, log_q

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """log 1/S sum_s p(v | z_s) p(z_s) / q(z_s | v) (Burda, Grosse & Salakhutdinov, 2016); `samples=1` is the ELBO itself."""
        with judged(self):
            v, log_det = self.pixels(batch[0])
            y = batch[1] if self.labelled else None
            encoded = self.encoder(v, y)
            weights = [self.log_weights(v, y, encoded, min(CHUNK, samples - at)) for at in range(0, samples, CHUNK)]
            return torch.logsumexp(torch.cat(weights), 0) - math.log(samples) + log_det

    def log_weights(self, v: Tensor, y: Tensor | None, encoded: tuple[Tensor, Tensor, Tensor], samples: int) -> Tensor:
        """(samples, B): log p(v, z) - log q(z | v)."""
        many, labels = v.repeat(samples, *[1] * (v.ndim - 1)), y.repeat(samples) if y is not None else None
        z, log_q = self.posterior(*(part.repeat(samples, 1) for part in encoded))
        return (self.likelihood.log_prob(many, self.decoder(z, labels)) + log_prior(z) - log_q).view(samples, len(v))

    def protocol(self, samples: int) -> dict[str, Any]:
        bound = f"importance-weighted bound with {samples} samples" if samples > 1 else "ELBO, one sample"
        return {"likelihood": bound, "pixels": self.pixels.name}

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, self.decoder.latent, device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """The decoder's means, from the prior."""
        with judged(self):
            z = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.pixels.inverse(self.likelihood.mean(self.decoder(z, batch[1] if self.labelled else None)))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of the code of each image."""
        with judged(self):
            return self.encoder(self.pixels(x)[0], y)[0]


def log_prior(z: Tensor) -> Tensor:
    """log N(z; 0, I), (B,)"""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, I)) = 1/2 sum(mean^2 + sd^2 - 1 - log sd^2), (B,)"""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
