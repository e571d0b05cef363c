"""Rate against distortion of variational autoencoders with several weights of the divergence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.config.types import Count
from gentrain.models.vae.likelihoods import Bernoulli
from gentrain.models.vae.vae import VAE
from gentrain.networks.vae import MLPDecoder, MLPEncoder

BETAS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
SIDE = 14


class RateDistortion(Demo):
    """A small VAE of digits is trained once for each beta, and measured on held-out digits.

    Args:
        steps: updates of each.
        width: hidden units.
        latent: size of a code.
        seed: of weights, batches and codes.
    """

    title = "Rate against distortion"
    claim = (
        "The weight beta of the divergence buys one for the other: a larger beta leaves fewer nats "
        "about the image in the code (the rate) and a worse reconstruction (the distortion). Their "
        "sum, the bound on -log p(x), is least at beta = 1."
    )
    formula = (
        r"D + \beta R, \quad D = -\mathbb{E}_q \log p(x | z), \quad "
        r"R = \mathrm{KL}(q(z | x) \,\|\, p(z)), \qquad -\log p(x) \le D + R"
    )
    papers = (
        "Higgins et al., beta-VAE, 2017",
        "Alemi et al., Fixing a Broken ELBO, 2018",
    )
    code: ClassVar = (VAE, Bernoulli)
    notes = (
        "Digits of 14 x 14 pixels. A point is the mean over 500 held-out digits, with a bar of two "
        "standard errors of the distortion. On the dotted line D + R is that of beta = 1."
    )
    exercise = "At which beta does the code become useless? Try more values between 5 and 20."
    tiny: ClassVar = {"steps": 2, "width": 8, "latent": 2}

    def __init__(
        self, steps: Count = 800, width: Count = 128, latent: Count = 8, seed: int = 0
    ) -> None:
        self.steps, self.width, self.latent, self.seed = steps, width, latent, seed

    def show(self, place: Path) -> Shown:
        images, test = digits(SIDE)[0], digits(SIDE, "test")[0]
        rows: list[Row] = []
        pictures: dict[float, Tensor] = {}
        for beta in BETAS:
            with seeded(self.seed):
                model = self.model(beta)
                fit(model, batches(100, images), self.steps, 2e-3)
                rows.append({"beta": beta} | measured(model.eval(), test))
                pictures[beta] = model.reconstruct(test[:6])
        made, axes = figure(self.title, columns=2)
        draw_curve(axes[0, 0], rows)
        shown = {"data": test[:6]} | {f"{beta:g}": pictures[beta] for beta in BETAS[1::2]}
        table = torch.cat([torch.cat([*row[:, 0]], 1) for row in shown.values()])
        axes[0, 1].imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
        ticks = [SIDE * (k + 0.5) for k in range(len(shown))]
        axes[0, 1].set(xticks=[], yticks=ticks, yticklabels=[*shown], ylabel="beta")
        axes[0, 1].set(xlabel="held-out digits", title="mean reconstructions")
        return Shown(made, rows, findings(rows))

    def model(self, beta: float) -> VAE:
        """An untrained VAE of black and white pixels."""
        shape = [1, SIDE, SIDE]
        return VAE(
            partial(MLPEncoder, shape, width=self.width, depth=1),
            partial(MLPDecoder, shape, self.latent, self.width, 1),
            Bernoulli(threshold=True),
            beta,
        )


@torch.no_grad()
def measured(model: VAE, x: Tensor) -> dict[str, float]:
    """Rate, distortion and their sum on images, the mean of ten codes each."""
    v = model.pixels(x)[0]
    q = model.posterior(v, None)
    pairs = [model.bound(v, None, q) for _ in range(10)]
    distortion = torch.stack([pair[0] for pair in pairs]).mean(0)
    rate = pairs[0][1]
    return {
        "rate": rate.mean().item(),
        "distortion": distortion.mean().item(),
        "standard error": (distortion.std() / len(x) ** 0.5).item(),
        "sum": (rate + distortion).mean().item(),
    }


def draw_curve(axes: Any, rows: list[Row]) -> None:
    """Distortion against rate, with each beta beside its point."""
    rate, distortion = ([row[name] for row in rows] for name in ("rate", "distortion"))
    error = [2 * row["standard error"] for row in rows]
    axes.errorbar(rate, distortion, error, marker="o", capsize=2)
    for number, row in enumerate(rows):
        place, beside = (row["rate"], row["distortion"]), (8, -10 if number % 2 else 6)
        axes.annotate(f"{row['beta']:g}", place, beside, textcoords="offset points")
    one = next(row["sum"] for row in rows if row["beta"] == 1)
    axes.axline((0, one), slope=-1, color="grey", linestyle=":", label="D + R of beta = 1")
    axes.set(xlabel="rate R, nats", ylabel="distortion D, nats", title="beta beside each point")
    axes.set(xlim=(-1, 1.2 * max(rate)), ylim=(0, 1.2 * max(distortion)))
    axes.legend()


def findings(rows: list[Row]) -> list[Finding]:
    """Whether rate and distortion move against each other, and where their sum is least."""
    rate, distortion, total = (
        torch.tensor([row[name] for row in rows]) for name in ("rate", "distortion", "sum")
    )
    best = rows[int(total.argmin())]
    return [
        Finding(
            f"the rate falls with every step of beta, from {rate[0]:.1f} to {rate[-1]:.2f} nats",
            bool((rate.diff() < 0).all()),
        ),
        Finding(
            f"the distortion rises with every step, from {distortion[0]:.1f} to "
            f"{distortion[-1]:.1f} nats",
            bool((distortion.diff() > 0).all()),
        ),
        Finding(
            f"the sum is least, {best['sum']:.1f} nats, at beta = {best['beta']:g}",
            best["beta"] == 1,
        ),
    ]
