"""Variational autoencoders (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014): a decoder p(x | z) and an encoder q(z | x),
trained together on the bound  log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z)),  p(z) = N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gentrain.config.types import NonNegative, Whole
from gentrain.models.base import Batch, Encodes, Reconstructs, eval_mode
from gentrain.models.density import Density
from gentrain.models.flow.base import Flow
from gentrain.models.objective import Objective
from gentrain.models.vae.likelihoods import Likelihood
from gentrain.networks.coding import Decoder, Encoder

CHUNK = 25  # importance samples at a time
Encoded = tuple[Tensor, Tensor, Tensor]  # an encoder's mean, log-variance and context


class VAE(Density, Encodes, Reconstructs):
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
        self.encoder = encoder(
            latent=self.decoder.latent, context=flow.context if flow is not None else 0
        )
        self.labelled = bool(self.encoder.classes)  # type: ignore[misc]
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def objective(self, batch: Batch) -> Objective:
        v, y = self.pixels(batch[0])[0], self.label(batch)
        return self.named(*self.bound(v, y, self.encoded(v, y)))

    def encoded(self, v: Tensor, *about: Tensor | None) -> Encoded:
        """What the encoder says of q(z | v): of values, and what else it is given."""
        return self.encoder(self.pixels.scaled(v), *about)

    def label(self, batch: Batch) -> Tensor | None:
        return batch[1] if self.labelled else None

    def named(self, reconstruction: Tensor, divergence: Tensor) -> Objective:
        """The terms, of nats (B,) each: distortion and rate (`kl_nats`), whose sum is `negative_elbo`."""
        distortion, rate = reconstruction.mean(), divergence.mean()
        return Objective(
            {"reconstruction": distortion, "kl": self.weight() * rate},
            {"kl_nats": rate, "negative_elbo": distortion + rate},
        )

    def bound(
        self, v: Tensor, y: Tensor | None, encoded: Encoded, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """-log p(v | z) of one z ~ q, and KL(q || p(z)): (B,) nats each."""
        z, log_q = self.posterior(encoded, noise)
        divergence = (
            log_q - log_prior(z) if self.flow is not None else gaussian_divergence(*encoded[:2])
        )
        return -self.likelihood.log_prob(v, self.decoder(z, y)), divergence

    def weight(self) -> Tensor | float:
        """Of the divergence, at this step."""
        return self.beta * (self.steps / self.warm_up).clamp(max=1) if self.warm_up else self.beta

    def after_step(self) -> None:
        self.steps += 1

    def posterior(self, encoded: Encoded, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One code of each image, and log q of it."""
        mean, log_variance, context = encoded
        noise = torch.randn_like(mean) if noise is None else noise
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_q = log_prior(noise) - 0.5 * log_variance.sum(1)
        if self.flow is not None:
            z, log_det = self.flow(z, context)
            log_q = log_q - log_det
        return z, log_q

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with eval_mode(self):
            v, log_det = self.pixels(batch[0])
            return self.importance(v, self.label(batch), samples) + log_det

    def importance(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        """log 1/S sum_s p(v | z_s) p(z_s) / q(z_s | v) (Burda, Grosse & Salakhutdinov, 2016), (B,); `samples=1` is the ELBO itself."""
        encoded = self.encoded(v, y)
        weights = [
            self.log_weights(v, y, encoded, min(CHUNK, samples - at))
            for at in range(0, samples, CHUNK)
        ]
        return torch.logsumexp(torch.cat(weights), 0) - math.log(samples)

    def log_weights(self, v: Tensor, y: Tensor | None, encoded: Encoded, samples: int) -> Tensor:
        """(samples, B): log p(v, z) - log q(z | v)."""
        many, labels = (
            v.repeat(samples, *[1] * (v.ndim - 1)),
            y.repeat(samples) if y is not None else None,
        )
        mean, log_variance, context = encoded
        z, log_q = self.posterior(
            (mean.repeat(samples, 1), log_variance.repeat(samples, 1), context.repeat(samples, 1))
        )
        return (
            self.likelihood.log_prob(many, self.decoder(z, labels)) + log_prior(z) - log_q
        ).view(samples, len(v))

    def protocol(self, samples: int) -> dict[str, Any]:
        bound = (
            f"importance-weighted bound with {samples} samples"
            if samples > 1
            else "ELBO, one sample"
        )
        return {"likelihood": bound, "pixels": self.pixels.name}

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, self.decoder.latent, device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """The decoder's means, from the prior."""
        with eval_mode(self):
            z = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.decoded(z, self.label(batch))

    def decoded(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.pixels.inverse(self.likelihood.mean(self.decoder(z, y)))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The code of each image without noise: the mean of z_0, sent through the flow where there is one."""
        with eval_mode(self):
            encoded = self.encoded(self.pixels(x)[0], y)
            return self.posterior(encoded, torch.zeros_like(encoded[0]))[0]

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Through the encoder and back, without noise."""
        with eval_mode(self):
            return self.decoded(self.encode(x, y), y)


def log_prior(z: Tensor) -> Tensor:
    """log N(z; 0, I), (B,)"""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, I)) = 1/2 sum(mean^2 + sd^2 - 1 - log sd^2), (B,)"""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
