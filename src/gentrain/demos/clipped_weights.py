"""Weights and gradients of deep Wasserstein critics under three ways of keeping them Lipschitz."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import GradientPenalty, Lipschitz, SpectralNorm, WeightClip
from gentrain.adversarial.losses import wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import descend
from gentrain.config.types import Count
from gentrain.data.plane import TwoMoons
from gentrain.models.gan.gan import GAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone

NOISE = 0.3  # deviation of the noise that makes the fakes


class ClippedWeights(Demo):
    """Deep critics of two moons against the same points with noise; no generator learns.

    Args:
        steps: updates of each critic.
        width: units of a layer.
        depth: hidden layers.
        batch_size: points of an update.
        seed: of weights and batches.
    """

    title = "Clipped weights, and what they do to deep critics"
    claim = (
        "Clipping drives a critic's weights to both ends of the interval, and in a deep critic "
        "gradients vanish or explode from layer to layer, by the size of the interval. A gradient "
        "penalty spreads the weights and keeps the gradients; spectral norm lies between."
    )
    formula = (
        r"\text{clip: } w \leftarrow \max(-c, \min(c, w)), \qquad "
        r"\text{penalty: } \lambda \, \mathbb{E} \big( |\nabla f| - 1 \big)^2, \qquad "
        r"\text{spectral norm: } W / \sigma(W)"
    )
    papers = (
        "Arjovsky, Chintala & Bottou, Wasserstein GAN, 2017",
        "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, figure 1",
        "Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018",
    )
    code: ClassVar = (WeightClip, GradientPenalty, SpectralNorm, mlp.Critic)
    notes = (
        "Gradients are those of the critic's loss with respect to what each hidden layer gives, "
        "the norm over a batch, divided by that of the last one. Weights are those of all "
        "matrices, for spectral norm after the division."
    )
    exercise = "Between which values of c does a critic of 12 layers learn at all? And one of 3?"
    tiny: ClassVar = {"steps": 2, "width": 4, "depth": 3, "batch_size": 8}

    def __init__(
        self,
        steps: Count = 250,
        width: Count = 64,
        depth: Count = 12,
        batch_size: Count = 128,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.depth = steps, width, depth
        self.batch_size, self.seed = batch_size, seed

    def show(self, place: Path) -> Shown:
        moons = TwoMoons(name="two_moons", shape=(2,), n=20_000, validation=0.0)
        points = moons.load("train").images
        methods: dict[str, tuple[Lipschitz, float | None]] = {
            "clip, c = 0.01": (WeightClip(0.01), 0.01),
            "clip, c = 0.1": (WeightClip(0.1), 0.1),
            "clip, c = 0.5": (WeightClip(0.5), 0.5),
            "gradient penalty": (GradientPenalty(), None),
            "spectral norm": (SpectralNorm(), None),
        }
        made, axes = figure(self.title, columns=2, size=4)
        rows: list[Row] = []
        for number, (name, (method, bound)) in enumerate(methods.items()):
            with seeded(self.seed):
                critic, distance = self.trained(method, points)
                norms = gradient_norms(critic, *self.batch(points))
            weights = torch.cat([w.detach().flatten() for w in matrices(critic)])
            extreme = bound or weights.abs().max().item()
            style = {"color": colour(number), "label": name, "linestyle": ["-", "--"][number > 2]}
            axes[0, 0].plot(range(1, self.depth + 1), norms / norms[-1], marker=".", **style)
            spread = torch.histc(weights / extreme, 41, -1, 1) / len(weights)
            axes[0, 1].step(torch.linspace(-1, 1, 41).numpy(), spread.numpy(), where="mid", **style)
            rows.append(
                {
                    "method": name,
                    "weights at the ends": (weights.abs() > 0.99 * extreme).float().mean().item(),
                    "first layer / last": (norms[0] / norms[-1]).item(),
                    "estimated distance": distance,
                }
            )
        axes[0, 0].set(xlabel="hidden layer", ylabel="gradient / that of the last", yscale="log")
        axes[0, 0].set_title("gradients by layer")
        axes[0, 1].set(xlabel="weight / c, or / the largest", ylabel="share of the weights")
        axes[0, 1].set(title="weights", yscale="log")
        axes[0, 0].legend(fontsize="small")
        return Shown(made, rows, findings(rows))

    def batch(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points, and other points with noise."""
        real, other = (points[torch.randint(len(points), (self.batch_size,))] for _ in range(2))
        return real, other + NOISE * torch.randn_like(other)

    def trained(self, method: Lipschitz, points: Tensor) -> tuple[Any, float]:
        """A critic, and the distance that it estimates in the end."""
        model = GAN(
            Backbone(mlp.Generator, shape=[2], latent=2, width=2),
            Backbone(mlp.Critic, shape=[2], width=self.width, depth=self.depth),
            AdversarialCriterion(wasserstein(), method),
        )
        method.on_train_start(model)
        optimizer = torch.optim.RMSprop(model.critic.parameters(), lr=2e-4)
        estimates = []
        for _ in range(self.steps):
            objective = model.critic_terms(model.critic, *self.batch(points))
            descend(optimizer, objective.losses)
            model.after_critic_step(objective.losses)
            estimates.append(objective.metrics["wasserstein_estimate"].detach())
        return model.critic.eval(), torch.stack(estimates[-50:]).mean().item()


def gradient_norms(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The norm of the loss's gradient at each hidden layer, (depth,)."""
    x, kept = torch.cat([real, fake]), []
    for number, layer in enumerate(critic.body):
        x = layer(x)
        if number % 2:  # a flattening first, and a dropout behind each hidden layer
            x.retain_grad()
            kept.append(x)
    wasserstein().critic(*critic.score(x).chunk(2)).backward()
    return torch.stack([h.grad.double().norm() for h in kept if h.grad is not None])


def matrices(critic: Any) -> list[Tensor]:
    """The weights of all linear layers, as they act."""
    return [layer[0].weight for layer in [*critic.body][1::2]] + [critic.head.weight]


def findings(rows: list[Row]) -> list[Finding]:
    """Where weights are, and what becomes of gradients."""
    *clipped, penalty, spectral = rows
    ratio = {row["method"]: row["first layer / last"] for row in rows}
    between = min(clipped[0]["first layer / last"], 1) < spectral["first layer / last"] < 1
    return [
        Finding(
            "of the clipped weights "
            + ", ".join(f"{row['weights at the ends']:.0%}" for row in clipped)
            + " are at the ends (c = 0.01, 0.1, 0.5), with a penalty "
            f"{penalty['weights at the ends']:.1%}, with spectral norm "
            f"{spectral['weights at the ends']:.1%}",
            min(row["weights at the ends"] for row in clipped[:2]) > 0.3
            and penalty["weights at the ends"] < 0.01,
        ),
        Finding(
            f"from the last layer to the first the gradient changes by a factor of "
            f"{ratio['clip, c = 0.01']:.0e} with c = 0.01 and {ratio['clip, c = 0.5']:.0e} with "
            "c = 0.5",
            ratio["clip, c = 0.01"] < 1e-4 and ratio["clip, c = 0.5"] > 1e4,
        ),
        Finding(
            f"with a penalty it changes by {ratio['gradient penalty']:.1e}, and with spectral norm "
            f"by {ratio['spectral norm']:.1e}",
            0.01 < ratio["gradient penalty"] < 100 and between,
        ),
    ]
