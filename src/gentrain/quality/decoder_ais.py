"""How probable a decoder of noise finds images, by annealed importance sampling over the noise.

Wu, Burda, Salakhutdinov & Grosse, "On the Quantitative Analysis of Decoder-Based Generative
Models", 2017. Grosse, Ghahramani & Adams, "Sandwiching the marginal likelihood using bidirectional
Monte Carlo", 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Positive, Whole
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import Batch, Encodes, MakesImagesOfNoise, eval_mode
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score
from gentrain.quality.likelihood import held_out_protocol, mean_and_error
from gentrain.samplers.hamiltonian import HMC
from gentrain.samplers.importance import annealed
from gentrain.samplers.kernel import total

Decoder = Callable[[Tensor], Tensor]  # standard normal noise (B, L) -> means (B, D)

TARGET = 0.65  # acceptance that is best for HMC in many dimensions
SLOPE = 4.0  # of the sigmoid along which the temperatures are spaced, as in the paper
FIRST = 0.2  # standard deviation of a pixel in [0, 1] at which its tuning begins
ROUNDS, SIMULATED = 4, 8  # of the tuning; images of each round, and of the bound's check


class Annealing(NamedTuple):
    """How the chains are led, for each of N images.

    Args:
        chains: independent chains of an image.
        temperatures: of each chain.
        leaps: leapfrog steps of a transition.
    """

    chains: int
    temperatures: int
    leaps: int

    def betas(self) -> list[float]:
        """Inverse temperatures from 0 to 1, close to each other at both ends."""
        t = torch.linspace(-SLOPE, SLOPE, self.temperatures, dtype=torch.float64).sigmoid()
        return ((t - t[0]) / (t[-1] - t[0])).tolist()


class Annealed(NamedTuple):
    """What annealing gives for N images with C chains each."""

    log_w: Tensor  # (N, C) float64, E[w] = p(x), or 1 / p(x) where the chains led back
    noise: Tensor  # (N, C, L) at the end
    acceptance: float  # share of the transitions

    def log_mean(self) -> Tensor:
        """(N,) log of the mean weight."""
        return torch.logsumexp(self.log_w, 1) - math.log(self.log_w.shape[1])


class Observation:
    """Images x (N, D) as x = G(u) + deviation * noise, with u and the noise standard normal.

    Args:
        decoder: G.
        x: (N, D).
        deviation: of every value.
    """

    def __init__(self, decoder: Decoder, x: Tensor, deviation: float) -> None:
        self.decoder, self.x, self.deviation = decoder, x, deviation

    def log_likelihood(self, u: Tensor) -> Tensor:
        """log p(x | u) of noise (N C, L), the chains of an image next to each other, (N C,)."""
        x = self.x.repeat_interleave(len(u) // len(self.x), 0)
        constant = x.shape[1] * math.log(self.deviation * math.sqrt(2 * math.pi))
        return -(x - self.decoder(u)).square().sum(1) / (2 * self.deviation**2) - constant

    @torch.no_grad()
    def anneal(
        self, u: Tensor, how: Annealing, back: bool = False, what: str = "annealing"
    ) -> Annealed:
        """Lead noise from the prior to the posterior, p_beta = p(u) p(x | u)^beta, or back.

        Transitions are of Hamiltonian Monte Carlo. As in the paper, a chain takes longer steps
        after an acceptance and shorter ones after a rejection, so that about 0.65 are accepted.

        Args:
            u: (N C, L) draws of the prior; of the posterior for the way back.
            how: chains, temperatures and leaps.
            back: from beta = 1 to 0.
            what: this is of the work, for the lines of a long annealing.
        """
        kernel = HMC(0.1, how.leaps)
        lengths = torch.full((len(u), 1), 0.1, device=u.device, dtype=u.dtype)
        kept = []

        def transition(u: Tensor, before: float, after: float) -> tuple[Tensor, Tensor]:
            def target(u: Tensor) -> Tensor:
                return after * self.log_likelihood(u) - total(u.square()) / 2

            kernel.length = lengths
            gain = (after - before) * self.log_likelihood(u).double()
            state = kernel.step(target, kernel.start(target, u))
            kept.append(state.accepted.double().mean())
            up = torch.where(state.accepted, 1.02, 1.02 ** (-TARGET / (1 - TARGET)))
            lengths.mul_(up[:, None]).clamp_(1e-4, 1.0)
            return gain, state.x

        betas = how.betas()[::-1] if back else how.betas()
        found = annealed(transition, u, betas, f"{what}, temperatures")
        shape = (len(self.x), how.chains)
        acceptance = torch.stack(kept).mean().item()
        return Annealed(found.log_w.view(shape), found.x.unflatten(0, shape), acceptance)


def bounds(
    decoder: Decoder, u: Tensor, deviation: float, how: Annealing
) -> tuple[Annealed, Annealed]:
    """Annealing to the posterior and back, for simulated images whose noise u (N, L) is known.

    `log_mean` of the first is a bound of log p(x) from below, and minus that of the second one from
    above, on average. Their gap says how far from log p the estimate can be.
    """
    means = decoder(u)
    model = Observation(decoder, means + deviation * torch.randn_like(means), deviation)
    prior = torch.randn(len(u) * how.chains, u.shape[1], device=u.device, dtype=u.dtype)
    forward = model.anneal(prior, how, what="simulated images, there")
    posterior = u.repeat_interleave(how.chains, 0)
    return forward, model.anneal(posterior, how, back=True, what="simulated images, back")


def tuned(decoder: Decoder, x: Tensor, latent: int, how: Annealing) -> float:
    """The standard deviation that makes images x (N, D) most probable, by EM with annealed noise.

    The M step is deviation^2 = E |x - G(u)|^2 / D over draws of the posterior.
    """
    deviation = FIRST
    for number in range(ROUNDS):
        prior = torch.randn(len(x) * how.chains, latent, device=x.device)
        what = f"tuning the deviation, round {number + 1} of {ROUNDS}"
        found = Observation(decoder, x, deviation).anneal(prior, how, what=what)
        shares = found.log_w.softmax(1).float()
        with torch.no_grad():
            far = x[:, None] - decoder(found.noise.flatten(0, 1)).view(*shares.shape, -1)
        deviation = math.sqrt((shares[..., None] * far.square()).sum().item() / x.numel())
    return deviation


def to_noise(u: Tensor, prior: str) -> Tensor:
    """Noise of a prior from standard normal numbers: themselves, or 2 Phi(u) - 1 in [-1, 1]."""
    return torch.erf(u / math.sqrt(2)) if prior == "uniform" else u


class DecoderLikelihood(HeldOutMetric):
    """The mean of -log p(x) of held-out images under a decoder with Gaussian pixels, in nats.

        p(x) = integral p(z) N(x; G(z), deviation^2 I) dz,   pixels in [0, 1]

    by annealed importance sampling over z with Hamiltonian transitions. The estimate of log p is a
    bound from below on average, so the nats are too large rather than too small. `nats_gap` is the
    gap of bidirectional Monte Carlo on 8 images that the model itself makes: nats of the data may
    be wrong by about as much. Densities of pixels have no lower end: 784 pixels with a deviation of
    0.1 give nats below zero. A model that is given labels has p(x | y), y the image's own.

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        chains: of each image.
        temperatures: of each chain; with too few the nats are too large, and the gap shows it.
        leaps: leapfrog steps of a transition.
        deviation: of a pixel; null: that which makes 8 images of the validation split (of the
            training split, where there is none) most probable.
        batch_size: images at a time.
        seed: for the choice of images, and for the chains.
        at_start: score an untrained model, too.
        split: what is scored while a model is trained: "held_out" or "train".
    """

    key = "quality=decoder_ais"
    requires = MakesImagesOfNoise
    scores: ClassVar = {
        "nats_gaussian": Score("nats per image", error="nats_gaussian_error"),
        "nats_gaussian_error": Score("nats per image", None),
        "nats_gap": Score("nats per image", None),
        "deviation": Score("of a pixel in [0, 1]", None),
        "ais_acceptance": Score("share of proposals", None),
    }

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 50,
        chains: Count = 16,
        temperatures: Annotated[int, Field(ge=2)] = 300,
        leaps: Count = 10,
        deviation: Positive | None = None,
        batch_size: Count = 50,
        seed: Whole = 0,
        at_start: bool = False,
        split: str = HELD_OUT,
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.how, self.deviation = Annealing(chains, temperatures, leaps), deviation

    def check(self, data: Data, model: Any) -> None:
        super().check(data, model)
        if len(data.shape) != 3:
            raise UserError(
                f"quality=decoder_ais is for images, and data={data.name} has none (quality); "
                "choose quality=modes|none"
            )
        if supports(model, Encodes) and model.exact:
            raise UserError(
                f"the likelihood of {type(model).__name__} is exact, and quality=decoder_ais is an "
                "estimate along gradients, which its rounded pixels have not (quality); choose "
                "quality=nats, or leave ais=true out"
            )
        if model.prior not in ("normal", "uniform"):
            raise UserError(
                f"the noise of this model is {model.prior or 'not all that makes its images'}, and "
                "quality=decoder_ais follows gradients of normal or uniform noise (quality); "
                "choose quality=classifier|none"
            )

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        return {
            "likelihood": "annealed importance sampling over the noise, Gaussian pixels in [0, 1]",
            **self.how._asdict(),
            "deviation": self.deviation or "tuned",
            "given_labels": bool(model.labelled),
        } | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        latent = model.noise(1, device).flatten(1).shape[1]
        with eval_mode(model):
            deviation = self.deviation
            if deviation is None:
                with self.stream("deviation", device):
                    batch = self.to_tune(data, device)
                    how = self.how._replace(temperatures=max(2, self.how.temperatures // 3))
                    deviation = tuned(self.decoder(model, batch), pixels(batch), latent, how)
            log_p, acceptance = [], []
            for number, batch in enumerate(self.batches(data, device)):
                with self.stream("chains", device, number):
                    u = torch.randn(len(batch[0]) * self.how.chains, latent, device=device)
                    observed = Observation(self.decoder(model, batch), pixels(batch), deviation)
                    what = f"annealing, batch {number + 1}"
                    found = observed.anneal(u, self.how, what=what)
                log_p.append(found.log_mean())
                acceptance.append(found.acceptance)
            with self.stream("simulated", device):
                batch = tuple(part[:SIMULATED] for part in next(self.batches(data, device)))
                u = torch.randn(len(batch[0]), latent, device=device)
                forward, back = bounds(self.decoder(model, batch), u, deviation, self.how)
        return mean_and_error("nats_gaussian", -torch.cat(log_p)) | {
            "nats_gap": (-back.log_mean() - forward.log_mean()).mean().item(),
            "deviation": deviation,
            "ais_acceptance": sum(acceptance) / len(acceptance),
        }

    def to_tune(self, data: Data, device: torch.device) -> Batch:
        """The images by which the deviation is tuned."""
        other = DecoderLikelihood(images=SIMULATED, batch_size=SIMULATED, seed=self.seed)
        other.split = "validation" if data.validation else "train"
        batches: Iterator[Batch] = other.batches(data, device)
        return next(batches)

    def decoder(self, model: Any, batch: Batch) -> Decoder:
        """The model as a function of standard normal noise, of the labels of a batch (N, ...)."""
        shape = model.noise(1, batch[0].device).shape[1:]

        def decode(u: Tensor) -> Tensor:
            times = len(u) // len(batch[0])
            rows = tuple(part.repeat_interleave(times, 0) for part in batch)
            images = model.images_of(to_noise(u, model.prior).unflatten(1, shape), rows)
            return (images.flatten(1) + 1) / 2

        return decode


def pixels(batch: Batch) -> Tensor:
    """The images of a batch as (B, D) values in [0, 1]."""
    return (batch[0].flatten(1) + 1) / 2
