"""Variational autoencoders (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014; Rezende,
Mohamed & Wierstra, 2014).

A decoder p(x | z) and an encoder q(z | x) are trained together on a lower bound of log p(x):

    log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z)),        p(z) = N(0, I)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.config.types import NonNegative, Whole
from gentrain.models.base import (
    Batch,
    DrawsPixels,
    Encodes,
    HasTemperature,
    MakesImagesOfNoise,
    Reconstructs,
    eval_mode,
)
from gentrain.models.density import DensityModel, temperature_protocol
from gentrain.models.flow.base import Flow
from gentrain.models.objective import Objective
from gentrain.models.vae.likelihoods import Likelihood
from gentrain.networks.vae import Decoder, Encoder
from gentrain.streams import normal

CHUNK = 25  # importance samples at a time


class Posterior(NamedTuple):
    """What an encoder says of q(z | x): a Gaussian, and a context for the flow behind it."""

    mean: Tensor  # (B, latent)
    log_variance: Tensor  # (B, latent)
    context: Tensor  # (B, context)

    def repeat(self, times: int) -> Posterior:
        """The whole batch, `times` times in turn."""
        return Posterior(*(part.repeat(times, 1) for part in self))


class VAE(DensityModel, MakesImagesOfNoise, Encodes, Reconstructs, DrawsPixels, HasTemperature):
    """A variational autoencoder.

    It is conditional if the encoder and the decoder have classes: both see the label (Sohn, Lee &
    Yan, 2015).

    With a `flow` f the posterior is more than a Gaussian (Rezende & Mohamed, 2015):

        z_0 ~ N(mean, sd^2),   z = f(z_0),   log q(z | x) = log q(z_0 | x) - log |det df/dz_0|.

    The encoder gives the parameters of f, and the divergence is estimated with one z.

    A sample is a draw of p(x | z) of a code z ~ N(0, T^2 I) with the temperature T. A
    reconstruction is the mean of p(x | z).

    Args:
        encoder: makes the encoder from its `latent` and `context`.
        decoder: makes the decoder from its `parameters`.
        likelihood: p(x | z).
        beta: the weight of the divergence (Higgins et al., 2017).
        warm_up: steps in which that weight grows linearly from 0 (Bowman et al., 2016; Sonderby et
            al., 2016); 0 for none.
        flow: a part of the posterior, or None.
        mean: samples are means of p(x | z), too.
    """

    takes: ClassVar = ("binary", "levels", "density")  # whatever the likelihood is of
    is_bound = True
    steps: Tensor

    def __init__(
        self,
        encoder: Callable[..., Encoder],
        decoder: Callable[..., Decoder],
        likelihood: Likelihood,
        beta: NonNegative = 1.0,
        warm_up: Whole = 0,
        flow: Flow | None = None,
        mean: bool = False,
    ) -> None:
        made = decoder(parameters=likelihood.parameters_per_value)
        super().__init__(likelihood.pixels(made.shape), made.shape, "add likelihood=gaussian")
        self.likelihood, self.beta, self.warm_up, self.flow = likelihood, beta, warm_up, flow
        self.decoder, self.mean = made, mean
        self.encoder = encoder(
            latent=self.decoder.latent, context=flow.context if flow is not None else 0
        )
        self.labelled = bool(self.encoder.classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    # --- training ---------------------------------------------------------------------------------

    def objective(self, batch: Batch) -> Objective:
        v, y = self.pixels(batch[0])[0], self.labels(batch)
        return self.elbo(*self.bound(v, y, self.posterior(v, y)))

    def elbo(self, reconstruction: Tensor, divergence: Tensor) -> Objective:
        """The terms of the bound from nats (B,) each.

        Metrics are the unweighted rate (`kl_nats`), and distortion + rate (`negative_elbo`).
        """
        distortion, rate = reconstruction.mean(), divergence.mean()
        return Objective(
            {"reconstruction": distortion, "kl": self.kl_weight() * rate},
            {"kl_nats": rate, "negative_elbo": distortion + rate},
        )

    def bound(
        self, v: Tensor, y: Tensor | None, posterior: Posterior, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """-log p(v | z) of one z ~ q, and KL(q || p(z)): (B,) nats each."""
        z, log_q = self.draw_code(posterior, noise)
        if self.flow is None:
            divergence = gaussian_kl(posterior.mean, posterior.log_variance)
        else:
            divergence = log_q - log_prior(z)
        return -self.likelihood.log_prob(v, self.decoder(z, y)), divergence

    def kl_weight(self) -> Tensor | float:
        """The weight of the divergence at this step."""
        if not self.warm_up:
            return self.beta
        return self.beta * (self.steps / self.warm_up).clamp(max=1)

    def after_step(self) -> None:
        self.steps += 1

    # --- codes ------------------------------------------------------------------------------------

    def posterior(self, v: Tensor, *condition: Tensor | None) -> Posterior:
        """q(z | v) of values (B, *shape), and of what else the encoder is given."""
        return Posterior(*self.encoder(self.pixels.scaled(v), *condition))

    def draw_code(self, posterior: Posterior, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One code z (B, latent) of each image, and log q(z | x) (B,)."""
        mean, log_variance, context = posterior
        noise = normal(mean) if noise is None else noise
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_q = log_prior(noise) - 0.5 * log_variance.sum(1)
        if self.flow is not None:
            z, log_det = self.flow(z, context)
            log_q = log_q - log_det
        return z, log_q

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Codes (B, latent) and labels -> the decoder's mean images in [-1, 1]."""
        return self.pixels.inverse(self.likelihood.mean(self.decoder(z, y)))

    def show(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Codes and labels -> images in [-1, 1], draws of p(x | z) or its means."""
        if self.mean:
            return self.decode(z, y)
        return self.pixels.inverse(self.likelihood.draw(self.decoder(z, y)))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The code of each image without noise: the mean of z_0, sent through the flow."""
        with eval_mode(self):
            posterior = self.posterior(self.pixels(x)[0], y)
            return self.draw_code(posterior, torch.zeros_like(posterior.mean))[0]

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images through the encoder and back, without noise: the decoder's means."""
        with eval_mode(self):
            return self.decode(self.encode(x, y), y)

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return normal(torch.empty(n, self.decoder.latent, device=device))

    def images_of(self, z: Tensor, batch: Batch) -> Tensor:
        return self.decode(z, self.labels(batch))

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            z = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.show(self.temperature * z, self.labels(batch))

    def sample_protocol(self) -> dict[str, Any]:
        return {
            "samples_are": self.shows,
            "reconstructions_are": f"means of {self.pixel_distribution}",
        } | temperature_protocol(self)

    # --- likelihood -------------------------------------------------------------------------------

    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        return self.importance_weighted(v, y, samples)

    def importance_weighted(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        """log 1/S sum_s p(v | z_s) p(z_s) / q(z_s | v) (Burda, Grosse & Salakhutdinov, 2016), (B,).

        With one sample it is the ELBO.
        """
        posterior = self.posterior(v, y)
        weights = [
            self.log_weights(v, y, posterior, min(CHUNK, samples - at))
            for at in range(0, samples, CHUNK)
        ]
        return torch.logsumexp(torch.cat(weights), 0) - math.log(samples)

    def log_weights(
        self, v: Tensor, y: Tensor | None, posterior: Posterior, samples: int
    ) -> Tensor:
        """log p(v, z) - log q(z | v) of several z for each image, (samples, B)."""
        many = v.repeat(samples, *[1] * (v.ndim - 1))
        labels = y.repeat(samples) if y is not None else None
        z, log_q = self.draw_code(posterior.repeat(samples))
        log_p = self.likelihood.log_prob(many, self.decoder(z, labels)) + log_prior(z)
        return (log_p - log_q).view(samples, len(v))

    def protocol(self, samples: int) -> dict[str, Any]:
        several = f"importance-weighted bound with {samples} samples"
        return {
            "likelihood": several if samples > 1 else "ELBO, one sample",
            "pixels": self.pixels.name,
        }


def log_prior(z: Tensor) -> Tensor:
    """log N(z; 0, I) of codes (B, latent), (B,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, I)) = 1/2 sum(mean^2 + sd^2 - 1 - log sd^2), (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
