"""What the generator's losses still teach it while the critic becomes better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.adversarial.losses import AdversarialLoss, hinge, js, ls, wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count
from gentrain.networks.mlp import Critic

LOSSES: Mapping[str, AdversarialLoss] = {
    "JS, saturating": js(saturating=True),
    "JS, non-saturating": js(),
    "least squares": ls(),
    "hinge": hinge(),
    "Wasserstein": wasserstein(),
}


class Saturation(Demo):
    """A critic of two normals learns, and the gradients of five generator's losses are measured.

    The generator moves all its samples: G(z) = z + theta. The gradient is that of theta.

    Args:
        steps: updates of the critic.
        looks: how often the gradients are measured.
        batch_size: samples of an update.
        distance: between the two means, in standard deviations.
        seed: of weights and batches.
    """

    title = "The better the critic, the less the saturating loss teaches"
    claim = (
        "The better the critic, the smaller the gradient of the min-max loss log(1 - D(G(z))) for "
        "the generator. The non-saturating loss -log D(G(z)) keeps its gradient."
    )
    formula = (
        r"\frac{\partial}{\partial s} \log(1 - \sigma(s)) = -\sigma(s) \to 0, \qquad "
        r"\frac{\partial}{\partial s} \big(-\log \sigma(s)\big) = -(1 - \sigma(s)) \to -1 "
        r"\qquad (s \to -\infty)"
    )
    papers = (
        "Goodfellow et al., Generative Adversarial Nets, 2014, section 3",
        "Arjovsky & Bottou, Towards Principled Methods for Training GANs, 2017, section 2",
    )
    code: ClassVar = (js, ls, hinge, wasserstein)
    notes = (
        "The critic is one and the same, trained with the JS loss; only the generator's loss "
        "differs. The scores of least squares, hinge and Wasserstein critics have other scales, "
        "so compare each curve with its own start."
    )
    exercise = "Train the critic with label smoothing, real_target=0.9. Which curves change?"
    tiny: ClassVar = {"steps": 8, "looks": 2, "batch_size": 16}

    def __init__(
        self,
        steps: Count = 2000,
        looks: Count = 12,
        batch_size: Count = 256,
        distance: float = 8.0,
        seed: int = 0,
    ) -> None:
        self.steps, self.looks, self.batch_size = steps, looks, batch_size
        self.distance, self.seed = distance, seed

    def show(self, place: Path) -> Shown:
        times = set(torch.logspace(0, 1, self.looks, base=self.steps).round().int().tolist())
        rows: list[Row] = []
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            critic = Critic([1], width=64, depth=2)
            optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
            loss = js()
            for step in range(1, self.steps + 1):
                real, fake = self.batch()
                value = loss.critic(critic(real), critic(fake))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                if step in times:
                    rows.append({"step": step, "critic loss": value.item()} | slopes(critic, fake))
        return self.shown(rows)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Real and generated samples, (B, 1) each."""
        real, noise = torch.randn(2, self.batch_size, 1)
        return real, noise + self.distance

    def shown(self, rows: list[Row]) -> Shown:
        """The figure of the table, and how far the gradients have fallen."""
        made, axes = figure(self.title)
        for name in LOSSES:
            axes[0, 0].plot(
                [row["step"] for row in rows], [row[name] for row in rows], label=name, marker="."
            )
        axes[0, 0].set(
            xlabel="updates of the critic", ylabel="|d loss / d theta|", xscale="log", yscale="log"
        )
        axes[0, 0].legend(fontsize="small")
        most = {name: max(row[name] for row in rows) for name in LOSSES}
        left = {name: rows[-1][name] / most[name] for name in LOSSES}
        saturating, other = left["JS, saturating"], left["JS, non-saturating"]
        findings = [
            Finding(
                f"at the end the saturating loss keeps {saturating:.1%} of its largest gradient",
                saturating < 0.2,
            ),
            Finding(
                f"the non-saturating loss keeps {other:.1%} of its largest gradient",
                other > 0.3,
            ),
        ]
        return Shown(made, rows, findings)


def slopes(critic: Critic, fake: Tensor) -> dict[str, float]:
    """|d loss / d theta| of each loss, where theta is added to all samples."""
    found: dict[str, float] = {}
    for name, loss in LOSSES.items():
        theta = torch.zeros((), requires_grad=True)
        scores = critic(fake + theta)
        (slope,) = torch.autograd.grad(loss.generator(scores.detach(), scores), theta)
        found[name] = slope.abs().item()
    return found
