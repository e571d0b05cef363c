"""The divergence of VAEs whose codes fall silent, and what a warm-up does about it."""

from __future__ import annotations

from collections.abc import Mapping
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
from gentrain.networks.vae import MLPDecoder, MLPEncoder

SIDE = 14
LOOKS = 25
DEPTHS: Mapping[str, int] = {"2 hidden layers": 2, "3 hidden layers": 3}  # of the decoder
LARGE = 20.0  # beta of the schedule that begins too high
ACTIVE = 0.01  # nats of a unit that says something


class Watched(NamedTuple):
    """What was seen of a run."""

    looks: list[tuple[int, float]]  # updates, and KL on held-out digits
    units: Tensor  # (latent,) nats of each unit at the end
    bound: float  # -ELBO at the end, with beta = 1


class PosteriorCollapse(Demo):
    """VAEs of digits with decoders of two depths and three schedules of beta, which all end at 1.

    Args:
        steps: updates of each.
        start: updates of the warm-up, and of the large beta.
        width: hidden units.
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
    code: ClassVar = (VAE, gaussian_kl, MLPDecoder, Bernoulli)
    notes = (
        "Digits of 14 x 14 pixels; the divergence is the mean over 500 held-out ones. The dotted "
        "line is where beta is 1 in every schedule. A unit is active if it has more than 0.01 "
        "nats. Lines are means over the seeds, bands span them. Decoders are perceptrons with tanh "
        "without skips or norms: the deeper one is slow to pass on what a code says."
    )
    exercise = "Give the decoder a fourth layer. Is there a warm-up that is long enough for it?"
    tiny: ClassVar = {"steps": 2, "start": 1, "width": 4, "latent": 2, "seeds": 1}

    def __init__(
        self,
        steps: Count = 1000,
        start: Count = 300,
        width: Count = 128,
        latent: Count = 16,
        seeds: Count = 2,
        seed: int = 0,
    ) -> None:
        self.steps, self.start, self.width, self.latent = steps, start, width, latent
        self.seeds, self.seed = seeds, seed

    def show(self, place: Path) -> Shown:
        images, test = digits(SIDE)[0], digits(SIDE, "test")[0][:500]
        made, axes = figure(self.title, columns=2, size=3.8)
        rows: list[Row] = []
        for axis, (decoder, depth) in zip(axes[0], DEPTHS.items(), strict=True):
            for number, name in enumerate(("beta = 1", "warm-up", f"beta = {LARGE:g} at first")):
                runs = [
                    self.run(self.model(depth, name), name, images, test, self.seed + k)
                    for k in range(self.seeds)
                ]
                draw_runs(axis, runs, name, colour(number))
                rows.append({"decoder": decoder, "schedule": name} | summary(runs, self.start))
            axis.axvline(self.start, color="grey", linestyle=":", label="from here on beta = 1")
            axis.set(xlabel="updates", ylabel="KL(q || p(z)), nats", title=f"decoder of {decoder}")
            axis.set_yscale("symlog", linthresh=0.1)
            axis.set_ylim(0, 40)
        axes[0, 1].legend(fontsize="small")
        return Shown(made, rows, findings(rows))
