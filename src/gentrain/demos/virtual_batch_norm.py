"""What a sample owes to the other samples of its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.adversarial import tricks
from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.adversarial.regularizer import Regularizer
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, play
from gentrain.config.types import Count
from gentrain.data.arrays import to_float
from gentrain.data.coloured_digits import ColouredDigits
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan
from gentrain.networks.base import Backbone

SHAPE = [3, 28, 28]
SHOWN = 6  # batches, and samples of each, in a picture


class VirtualBatchNorm(Demo):
    """Two DCGANs learn coloured digits, with batch norm in the generator and with its virtual form.

    Args:
        steps: updates of each.
        width: channels of both players.
        batch_size: samples of a batch.
        batches: batches of samples that are measured.
        seed: of weights and batches.
    """

    title = "A batch that leaks"
    claim = (
        "With batch norm a sample depends on the other samples of its batch, so that samples of "
        "one batch share what they should not, such as a hue. With virtual batch norm a sample "
        "depends on a fixed reference batch and itself."
    )
    formula = (
        r"\text{batch: } \frac{x_i - \mu(x_1, \dots, x_B)}{\sigma(x_1, \dots, x_B)}, \qquad "
        r"\text{virtual: } \frac{x_i - \mu(r_1, \dots, r_n, x_i)}{\sigma(r_1, \dots, r_n, x_i)}"
    )
    papers = ("Salimans et al., Improved Techniques for Training GANs, 2016, section 3.5",)
    code: ClassVar = (tricks.VirtualBatchNormalization, dcgan.Generator)
    notes = (
        "Networks are as in training, where critics see samples. Each row of a picture is a batch; "
        "the first of each row has the same noise in all rows. The leak is how much that sample "
        "changes from batch to batch, for 1 as much as samples of other noise differ. The ratio of "
        "hues is the variance of batch means of red, green and blue, times the batch size, by that "
        "of samples: 1 for samples that do not know each other, above 1 where they share a hue, "
        "and below 1 where they avoid each other's. It has an interval from resampled batches."
    )
    exercise = "Which ratio of hues does a batch of 4 give, and which one of 64?"
    tiny: ClassVar = {"steps": 1, "width": 2, "batch_size": 8, "batches": 4}

    def __init__(
        self,
        steps: Count = 500,
        width: Count = 16,
        batch_size: Count = 16,
        batches: Count = 100,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size = steps, width, batch_size
        self.batches, self.seed = batches, seed

    def show(self, place: Path) -> Shown:
        data = ColouredDigits(
            name="coloured_digits",
            shape=(3, 28, 28),
            size=28,
            classes=4,
            digits="mnist_5k",
            validation=0,
        )
        images = to_float(data.load("train").images)
        made, axes = figure(self.title, columns=2, size=3.8)
        rows: list[Row] = []
        kinds: dict[str, dict[str, Regularizer]] = {
            "batch norm": {},
            "virtual batch norm": {"virtual_batch_norm": tricks.VirtualBatchNormalization()},
        }
        for panel, (name, trick) in zip(axes.flat, kinds.items(), strict=True):
            with seeded(self.seed):
                model = self.model(trick)
                play(model, batches(self.batch_size, images), self.steps, 1e-3)
                leaked, drawn = self.same_noise(model)
                rows.append({"norm": name, "leak": leaked} | self.hues(model))
            draw_batches(panel, name, drawn)
        return Shown(made, rows, findings(rows))

    def model(self, trick: dict[str, Regularizer]) -> GAN:
        """An untrained DCGAN, with a trick or without."""
        return GAN(
            Backbone(dcgan.Generator, shape=SHAPE, latent=32, width=self.width),
            Backbone(dcgan.Critic, shape=SHAPE, width=self.width, norm="none"),
            AdversarialCriterion(js(), Unconstrained(), trick),
        )

    @torch.no_grad()
    def same_noise(self, model: GAN) -> tuple[float, Tensor]:
        """How much the first sample changes with its batch, and batches (K, B, 3, 28, 28)."""
        z = model.noise(self.batches * self.batch_size, "cpu")
        z = z.unflatten(0, (self.batches, self.batch_size))
        z[:, 0] = z[0, 0]
        drawn = torch.stack([model.generator(each) for each in z])
        first, others = drawn[:, 0], drawn[:, 1]
        changed = first.var(0).mean()
        return (changed / others.var(0).mean()).sqrt().item(), drawn

    @torch.no_grad()
    def hues(self, model: GAN) -> dict[str, float]:
        """The ratio of hues, and an interval of 95 % from 500 resamples of the batches."""
        noise = (model.noise(self.batch_size, "cpu") for _ in range(self.batches))
        mean = torch.stack([model.generator(z).mean((2, 3)) for z in noise])  # (K, B, 3)
        again = torch.randint(self.batches, (500, self.batches))
        low, high = torch.tensor([ratio(mean[rows]) for rows in again]).quantile(
            torch.tensor([0.025, 0.975])
        )
        return {"ratio of hues": ratio(mean), "low": low.item(), "high": high.item()}


def ratio(mean: Tensor) -> float:
    """The variance of batch means times the batch size, by that inside batches; (K, B, 3)."""
    inside = mean.var(1).mean(0).sum()
    return (mean.shape[1] * mean.mean(1).var(0).sum() / inside).item()


def draw_batches(axes: Any, name: str, drawn: Tensor) -> None:
    """A batch in each row, the same noise down the first column."""
    table = torch.cat([torch.cat([*row[:SHOWN]], 2) for row in drawn[:SHOWN]], 1)
    axes.imshow(((table.permute(1, 2, 0) + 1) / 2).numpy(), interpolation="nearest")
    axes.axvline(28 - 0.5, color="white", linewidth=2)
    axes.set(xticks=[14], xticklabels=["same noise"], yticks=[], title=name, ylabel="batches")
    axes.set(xlabel="samples of a batch")


def findings(rows: list[Row]) -> list[Finding]:
    """Whether samples depend on their batch, and share its hue."""
    batch, virtual = rows
    return [
        Finding(
            f"with batch norm the batch changes a sample by {batch['leak']:.1%} of what other "
            f"noise does, with virtual batch norm by {virtual['leak']:.1%}",
            batch["leak"] > 0.05 and virtual["leak"] < 1e-3,
        ),
        Finding(
            f"with batch norm samples of one batch share a hue, a ratio above 1: it is "
            f"{batch['ratio of hues']:.2f} ({batch['low']:.2f} to {batch['high']:.2f})",
            batch["low"] > 1,
        ),
        Finding(
            f"with virtual batch norm the ratio is 1, up to chance: "
            f"{virtual['ratio of hues']:.2f} ({virtual['low']:.2f} to {virtual['high']:.2f})",
            virtual["low"] < 1 < virtual["high"],
        ),
    ]
