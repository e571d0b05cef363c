"""The divergence of VAEs whose codes fall silent, and what a warm-up does about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.config.types import Count
from gentrain.models.vae.likelihoods import Bernoulli
from gentrain.models.vae.vae import VAE, gaussian_kl
from gentrain.networks.vae import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    MLPDecoder,
    MLPEncoder,
)

SHAPE = [1, 14, 14]
LOOKS = 25
DECODERS = ("convolutions", "deep perceptron")
SCHEDULES = ("beta = 1", "warm-up", "large beta at first")
LARGE = 20.0
ACTIVE = 0.01  # nats of a unit that says something


class Watched(NamedTuple):
    """What was seen of a run."""

    looks: list[tuple[int, float]]  # updates, and KL on held-out digits
    units: Tensor  # (latent,) nats of each unit at the end
    bound: float  # -ELBO at the end, with beta = 1


class PosteriorCollapse(Demo):
    """VAEs of digits with two decoders and three schedules of beta, which all end at 1.

    Args:
        steps: updates of each.
        start: updates of the warm-up, and of the large beta.
        width: channels of the convolutions; perceptrons have 16 times as many units.
        depth: hidden layers of the perceptron that decodes.
        latent: size of a code.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "Posteriors that collapse, and a warm-up"
    claim = (
        "A VAE whose divergence weighs much at first, or whose decoder does not use its code, "
        "learns to say nothing: q(z | x) becomes p(z), and the divergence falls to zero. A weight "
        "that grows slowly from 0 (a warm-up) lets the code become useful first, and it stays so."
    )
    formula = (
        r"-\mathbb{E}_q \log p(x | z) + \beta_t \, \mathrm{KL}(q(z | x) \,\|\, p(z)), \qquad "
        r"\beta_t = \min(1, t / T)"
    )
    papers = (
        "Bowman et al., Generating Sentences from a Continuous Space, 2016",
        "Sonderby et al., Ladder Variational Autoencoders, 2016",
    )
    code: ClassVar = (VAE, gaussian_kl, ConvDecoder, MLPDecoder, Bernoulli)
    notes = (
        "Digits of 14 x 14 pixels; the divergence is the mean over 500 held-out ones. After the "
        "dotted line beta is 1 in every schedule; the large one is 20. A unit is active if it has "
        "more than 0.01 nats. Lines are means over the seeds, bands span them. The perceptron has "
        "tanh, and neither skips nor norms: what a code says hardly gets through it at first, and "
        "its first lesson is to do without. Decoders here draw each pixel alone; one that sees "
        "the pixels before it, as in the first paper, was not tried."
    )
    exercise = "Give the perceptron's decoder three layers. Is there a warm-up that helps it?"
    tiny: ClassVar = {"steps": 2, "start": 1, "width": 1, "depth": 2, "latent": 2, "seeds": 1}

    def __init__(
        self,
        steps: Count = 600,
        start: Count = 200,
        width: Count = 8,
        depth: Count = 4,
        latent: Count = 16,
        seeds: Count = 2,
        seed: int = 0,
    ) -> None:
        self.steps, self.start, self.width, self.depth = steps, start, width, depth
        self.latent, self.seeds, self.seed = latent, seeds, seed

    def show(self, place: Path) -> Shown:
        images, test = digits(SHAPE[1])[0], digits(SHAPE[1], "test")[0][:500]
        made, axes = figure(self.title, columns=2, size=3.8)
        rows: list[Row] = []
        for axis, decoder in zip(axes[0], DECODERS, strict=True):
            for number, schedule in enumerate(SCHEDULES):
                runs = [
                    self.run(decoder, schedule, images, test, self.seed + k)
                    for k in range(self.seeds)
                ]
                draw_runs(axis, runs, schedule, colour(number))
                rows.append({"decoder": decoder, "schedule": schedule} | summary(runs, self.start))
            axis.axvline(self.start, color="grey", linestyle=":")
            axis.set(xlabel="updates", ylabel="KL(q || p(z)), nats", title=decoder)
            axis.set_yscale("symlog", linthresh=0.1)
            axis.set_ylim(0, 40)
            axis.set_yticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
        axes[0, 1].legend()
        return Shown(made, rows, findings(rows))

    def model(self, decoder: str, schedule: str) -> VAE:
        """An untrained VAE of black and white pixels."""
        encoder: Callable[..., Encoder]
        network: Callable[..., Decoder]
        if decoder == DECODERS[0]:
            encoder = partial(ConvEncoder, SHAPE, width=self.width, hidden=8 * self.width)
            network = partial(ConvDecoder, SHAPE, self.latent, self.width, 8 * self.width)
        else:
            units = 16 * self.width
            encoder = partial(MLPEncoder, SHAPE, width=units, depth=2)
            network = partial(MLPDecoder, SHAPE, self.latent, units, self.depth)
        beta = LARGE if schedule == SCHEDULES[2] else 1.0
        warm_up = self.start if schedule == SCHEDULES[1] else 0
        return VAE(encoder, network, Bernoulli(threshold=True), beta, warm_up)

    def run(self, decoder: str, schedule: str, images: Tensor, test: Tensor, seed: int) -> Watched:
        """Train once, and look at the divergence now and then."""
        looks: list[tuple[int, float]] = []
        every = max(1, self.steps // LOOKS)

        @torch.no_grad()
        def look(step: int) -> None:
            if step == self.start:
                model.beta = 1.0
            if step % every == 0:
                looks.append((step, units_of(model, test).sum().item()))

        with seeded(seed):
            model = self.model(decoder, schedule)
            fit(model, batches(100, images), self.steps, 2e-3, look)
            with torch.no_grad():
                v = model.pixels(test)[0]
                distortion, rate = model.bound(v, None, model.posterior(v))
        return Watched(looks, units_of(model, test).detach(), (distortion + rate).mean().item())


def units_of(model: VAE, test: Tensor) -> Tensor:
    """Nats of each unit of the code, (latent,), the mean over images."""
    q = model.posterior(model.pixels(test)[0])
    columns = zip(q.mean.T, q.log_variance.T, strict=True)
    return torch.stack([gaussian_kl(m[:, None], v[:, None]).mean() for m, v in columns])


def summary(runs: list[Watched], start: int) -> dict[str, float]:
    """Means over the runs."""
    at_start = [next(kl for step, kl in run.looks if step >= start) for run in runs]
    at_end = [run.looks[-1][1] for run in runs]
    active = [int((run.units > ACTIVE).sum()) for run in runs]
    return {
        "KL where beta becomes 1": sum(at_start) / len(runs),
        "KL at the end": sum(at_end) / len(runs),
        "fewest": min(at_end),
        "most": max(at_end),
        "active units": sum(active) / len(runs),
        "-ELBO": sum(run.bound for run in runs) / len(runs),
    }


def draw_runs(axes: Any, runs: list[Watched], name: str, ink: str) -> None:
    """The mean over the runs, and a band that spans them."""
    steps = [step for step, _ in runs[0].looks]
    values = torch.tensor([[kl for _, kl in run.looks] for run in runs])
    axes.plot(steps, values.mean(0), color=ink, label=name)
    low, high = values.amin(0).numpy(), values.amax(0).numpy()
    axes.fill_between(steps, low, high, color=ink, alpha=0.2)


def findings(rows: list[Row]) -> list[Finding]:
    """What a large beta, a deep decoder and a warm-up do."""
    conv, warm, large, deep, deep_warm, deep_large = rows
    then, end = "KL where beta becomes 1", "KL at the end"
    return [
        Finding(
            f"a large beta at first takes the divergence to {large[then]:.2g} and "
            f"{deep_large[then]:.2g} nats; with convolutions it is {large[end]:.1f} at the end, "
            f"{conv[end]:.1f} where beta is always 1, and the bound is {large['-ELBO']:.1f} "
            f"against {conv['-ELBO']:.1f}",
            max(large[then], deep_large[then]) < 0.1 and large["most"] < 0.9 * conv["fewest"],
        ),
        Finding(
            f"the deep perceptron's code falls silent with beta = 1, too: {deep[end]:.3f} nats, "
            f"{deep['active units']:g} active units",
            deep["most"] < 0.1,
        ),
        Finding(
            f"a warm-up keeps the deep perceptron's code: {deep_warm[then]:.2f} nats where it "
            f"ends, {deep_warm[end]:.3f} at the end",
            deep_warm["fewest"] > 0.5,
        ),
        Finding(
            f"with convolutions a warm-up gives a better bound than beta = 1 from the start, "
            f"{warm['-ELBO']:.2f} against {conv['-ELBO']:.2f}",
            warm["-ELBO"] < conv["-ELBO"] - 0.3,
        ),
    ]
