"""Holes of digits, completed by a VAE that reads the rest and draws a code."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.config.types import Count
from gentrain.models.vae.inpainting import InpaintingVAE, rectangles
from gentrain.models.vae.likelihoods import Bernoulli
from gentrain.networks.base import Backbone
from gentrain.networks.vae import ConvDecoder, ConvEncoder

SIDE = 14
DRAWS = 10  # completions of each digit
SHOWN = 10  # digits in the picture


def masks() -> dict[str, Tensor]:
    """What is known, (1, 1, H, W) each."""
    names = ("hole in the middle", "upper half", "lower half")
    known = {name: torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool) for name in names}
    edge, half = 4, SIDE // 2
    known[names[0]][..., edge:-edge, edge:-edge] = False
    known[names[1]][..., :half, :] = False
    known[names[2]][..., half:, :] = False
    return known


class LatentCompletion(Demo):
    """A VAE learns digits of 14 x 14 pixels through random masks, and completes held-out ones.

    Each completion is compared, on the hidden pixels alone, with that of the training digit whose
    known pixels are nearest, and with the mean of all training digits.

    Args:
        steps: updates.
        width: channels of the first convolution.
        latent: size of a code.
        digits: held-out digits that are completed.
        seed: of weights, batches, masks and codes.
    """

    title = "Holes completed through the code"
    claim = (
        "A VAE whose encoder sees only the known pixels completes the rest: a code is drawn for "
        "what is seen, and its decoder paints all of the image. Where several digits fit, several "
        "codes give several digits, and no model of the hole is needed."
    )
    formula = (
        r"\log p(x) \ge \mathbb{E}_q \log p(x | z) - \mathrm{KL}\big(q(z | m x, m) \,\|\, "
        r"p(z)\big), \qquad x_\text{hidden} \sim p(x_\text{hidden} | z), \; z \sim q(z | m x, m)"
    )
    papers = (
        "Rezende, Mohamed & Wierstra, Stochastic Backpropagation and Approximate Inference, 2014",
        "Ivanov, Figurnov & Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019",
    )
    code: ClassVar = (InpaintingVAE, rectangles, ConvEncoder, ConvDecoder)
    notes = (
        "Errors are shares of the hidden pixels, black or white, that differ from the digit's "
        "own; intervals are two standard errors over held-out digits. A mean over codes may "
        "choose the safe answer, a single draw may not. Spread is the share of hidden pixels in "
        "which two completions of one digit differ. A guess counts as better where the intervals "
        "do not meet for any hole. Hidden pixels are grey."
    )
    exercise = "Hide all but two rows. What do draws gain and lose at model.temperature=0.5?"
    tiny: ClassVar = {"steps": 2, "width": 1, "latent": 2, "digits": 12}

    def __init__(
        self,
        steps: Count = 2000,
        width: Count = 16,
        latent: Count = 16,
        digits: Count = 300,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.latent = steps, width, latent
        self.digits, self.seed = digits, seed

    def show(self, place: Path) -> Shown:
        images = binary(digits(SIDE)[0])
        test = binary(digits(SIDE, "test")[0][: self.digits])
        made, axes = figure(self.title, columns=2, size=4.6)
        rows: list[Row] = []
        pictures = [test[:SHOWN]]
        with seeded(self.seed):
            model = self.model()
            fit(model, batches(100, images), self.steps, 2e-3)
            for name, known in masks().items():
                draws = torch.stack([model.complete((test,), known) for _ in range(DRAWS)])
                pictures += [torch.where(known, test, 0.0)[:SHOWN], *draws[:2, :SHOWN]]
                rows.append({"hidden": name} | measured(draws, images, test, known))
        labels = ["data", *["known", "one draw", "another"] * len(rows)]
        draw_pictures(axes[0, 0], pictures, labels)
        draw_errors(axes[0, 1], rows)
        return Shown(made, rows, findings(rows))

    def model(self) -> InpaintingVAE:
        """An untrained VAE of black and white pixels; its samples are means."""
        shape = [1, SIDE, SIDE]
        return InpaintingVAE(
            Backbone(ConvEncoder, shape=shape, width=self.width, hidden=8 * self.width),
            partial(ConvDecoder, shape, self.latent, self.width, 8 * self.width),
            Bernoulli(threshold=True),
            shape,
            mean=True,
        )


def binary(x: Tensor) -> Tensor:
    """Pixels -1 or 1."""
    return torch.where(x > 0, 1.0, -1.0)


def measured(draws: Tensor, images: Tensor, test: Tensor, known: Tensor) -> dict[str, float]:
    """Errors on hidden pixels of the model, of the nearest digit and of the mean digit.

    Args:
        draws: (D, N, 1, H, W) mean completions of as many codes each.
        images: (M, 1, H, W) training digits.
        test: (N, 1, H, W) the digits that were hidden in part.
        known: (1, 1, H, W).
    """
    seen, hidden = known.flatten(), ~known.flatten()
    nearest = torch.cdist(test.flatten(1)[:, seen], images.flatten(1)[:, seen]).argmin(1)
    guesses = {
        "one draw": draws[0],
        "mean of draws": draws.mean(0),
        "nearest digit": images[nearest],
        "mean digit": images.mean(0).expand_as(test),
    }
    found = {}
    for name, guess in guesses.items():
        wrong = (binary(guess) != test).flatten(1)[:, hidden].float().mean(1)
        found[name] = wrong.mean().item()
        found[f"error of {name}"] = (wrong.std() / len(wrong) ** 0.5).item()
    apart = (binary(draws[1:]) != binary(draws[:-1])).flatten(2)[..., hidden]
    return found | {"spread": apart.float().mean().item()}


def draw_pictures(axes: Any, pictures: list[Tensor], labels: list[str]) -> None:
    """A row of digits for each."""
    framed = [pad(x, (1, 1, 1, 1), value=0.5) for x in pictures]
    table = torch.cat([torch.cat([*x[:, 0]], 1) for x in framed])
    axes.imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
    ticks = [(SIDE + 2) * (k + 0.5) for k in range(len(pictures))]
    axes.set(xticks=[], yticks=ticks, yticklabels=labels, xlabel="held-out digits")
    axes.set_title("completions, means of p(x | z)")


def draw_errors(axes: Any, rows: list[Row]) -> None:
    """Bars of the errors, with two standard errors."""
    names = ("one draw", "mean of draws", "nearest digit", "mean digit")
    places = torch.arange(len(rows), dtype=torch.float64)
    for number, name in enumerate(names):
        axes.bar(
            (places + 0.2 * (number - 1.5)).numpy(),
            [row[name] for row in rows],
            0.18,
            yerr=[2 * row[f"error of {name}"] for row in rows],
            label=name,
            capsize=2,
        )
    axes.set_xticks(places.numpy(), [row["hidden"] for row in rows])
    axes.set(xlabel="hidden", ylabel="share of wrong hidden pixels", title="errors")
    axes.legend(fontsize="small")


def findings(rows: list[Row]) -> list[Finding]:
    """Whether draws are nearer than guesses, and whether they differ."""

    def pairs(one: str, other: str) -> str:
        return ", ".join(f"{row[one]:.3f} against {row[other]:.3f}" for row in rows)

    def below(one: str, other: str) -> bool:
        errors = ("error of " + one, "error of " + other)
        return all(row[one] + 2 * sum(row[e] for e in errors) < row[other] for row in rows)

    return [
        Finding(
            "one draw has fewer wrong pixels than the mean of all digits has: "
            + pairs("one draw", "mean digit"),
            below("one draw", "mean digit"),
        ),
        Finding(
            "the mean of ten draws has fewer wrong pixels than the training digit whose known "
            "pixels are nearest: " + pairs("mean of draws", "nearest digit"),
            below("mean of draws", "nearest digit"),
        ),
        Finding(
            "two draws of one digit differ in "
            + ", ".join(f"{row['spread']:.1%}" for row in rows)
            + " of the hidden pixels: a code decides among several answers",
            min(row["spread"] for row in rows) > 0.02,
        ),
    ]
