"""Conditional critics with and without the wrong-label pair, and two ways to give them labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import batches, play
from gentrain.config.types import Count
from gentrain.data.gaussians import GaussianRing
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone
from gentrain.networks.conditional import ConcatCritic, Conditioning, ProjectionCritic

CLASSES = 8
LOOKS = 30  # in a run
POINTS = 800  # that are generated for a look
READ = 0.95  # agreement at which labels count as read


class Watched(NamedTuple):
    """What was seen of a run."""

    agreement: Tensor  # (looks,) share of generated points that are nearest to their label's mode
    ranked: Tensor  # (looks,) share of real points whose label scores higher than a wrong one
    early: Tensor  # (POINTS, 2) generated after a third of the updates


class WrongLabels(Demo):
    """Eight labelled modes on a ring; perceptrons.

    Args:
        steps: updates of each run.
        width: units of a hidden layer of both players.
        batch_size: points of each side in an update.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "The wrong-label pair"
    claim = (
        "A conditional critic can tell real from generated points without reading labels, and then "
        "the generator learns nothing of them. Real points with wrong labels, shown as further "
        "fakes, can be told by the label alone, so the critic must read it. A label that is "
        "projected on the features is read sooner than one that is joined to the point."
    )
    formula = (
        r"-\log D(x, y) - \tfrac{1}{2} \big[ \log (1 - D(G(z, y), y)) + \log (1 - D(x, y')) \big], "
        r"\quad y' \neq y; \qquad D(x, y) = \sigma(h(x) + \langle \phi(x), V_y \rangle)"
    )
    papers = (
        "Reed et al., Generative Adversarial Text to Image Synthesis, 2016",
        "Miyato & Koyama, cGANs with Projection Discriminator, 2018",
    )
    code: ClassVar = (ConditionalGAN, ConditionalGAN.wrong_labels, ConcatCritic, ProjectionCritic)
    notes = (
        "A point agrees with its label if the label's mode is the nearest. The critic's share is "
        "that of real points whose label scores above a wrong one. Lines are means over the seeds, "
        "bands span them. Below are points of the first seed after a third of the updates, in the "
        f"colour of their label; crosses are the modes. Labels count as read from {READ:.0%} "
        "agreement on, at the end where that is never so. The ring says little of images, where "
        "the critic has more else to look at."
    )
    exercise = (
        "Swap the labels of a fifth of the real points. Which of the four suffers most, and why?"
    )
    tiny: ClassVar = {"steps": 4, "width": 8, "batch_size": 8, "seeds": 1}

    def __init__(
        self,
        steps: Count = 400,
        width: Count = 64,
        batch_size: Count = 64,
        seeds: Count = 8,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size = steps, width, batch_size
        self.seeds, self.seed = seeds, seed
        self.every = max(1, steps // LOOKS)

    def show(self, place: Path) -> Shown:
        made, axes = figure(self.title, rows=2, columns=2)
        rows: list[Row] = []
        kinds: list[tuple[Conditioning, bool]] = [
            (conditioning, aware)
            for conditioning in ("concat", "projection")
            for aware in (False, True)
        ]
        for number, (conditioning, aware) in enumerate(kinds):
            runs = [self.run(conditioning, aware, self.seed + k) for k in range(self.seeds)]
            name = f"{conditioning}, {'with' if aware else 'without'} pair"
            agreement = torch.stack([run.agreement for run in runs])
            ranked = torch.stack([run.ranked for run in runs])
            style = {
                "color": colour(number // 2),
                "linestyle": "-" if aware else "--",
                "marker": "os^v"[number],
                "label": name,
            }
            for each, curves in ((axes[0, 0], agreement), (axes[0, 1], ranked)):
                self.draw(each, curves, style)
            if conditioning == "concat":
                draw_points(axes[1, int(aware)], runs[0].early, f"{name}: {self.early} updates")
            rows.append({"critic": name} | self.summary(agreement, ranked))
        axes[0, 0].set(ylabel="agreement with the label", title="generated points")
        axes[0, 1].set(ylabel="right label scores higher", title="the critic on real points")
        for each in axes[0]:
            each.set(xlabel="updates of the generator", ylim=(0, 1.05))
            each.legend(fontsize="small", loc="lower right")
        return Shown(made, rows, findings(rows))

    @property
    def early(self) -> int:
        """The updates after which points are kept."""
        return self.every * max(1, self.steps // self.every // 3)

    def run(self, conditioning: Conditioning, aware: bool, seed: int) -> Watched:
        """Train once, and look at points and scores on the way."""
        x, y, modes = ring()
        labels = torch.arange(POINTS) % CLASSES
        agreement, ranked, early = [], [], torch.empty(0)
        with seeded(seed):
            model = ConditionalGAN(
                Backbone(mlp.Generator, shape=[2], latent=8, width=self.width),
                Backbone(mlp.Critic, shape=[2], width=self.width),
                AdversarialCriterion(js(), Unconstrained()),
                classes=CLASSES,
                embedding=8,
                conditioning=conditioning,
                matching_aware=aware,
            )
            z, wrong = model.noise(POINTS, "cpu"), model.wrong_labels(y[:POINTS])

            @torch.no_grad()
            def look(step: int) -> None:
                nonlocal early
                if step % self.every:
                    return
                points = model.generator(z, labels)
                nearest = torch.cdist(points, modes).argmin(1)
                agreement.append((nearest == labels).float().mean())
                above = model.critic(x[:POINTS], y[:POINTS]) > model.critic(x[:POINTS], wrong)
                ranked.append(above.float().mean())
                early = points if step == self.early else early

            play(model, batches(self.batch_size, x, y), self.steps, 1e-3, look)
        return Watched(torch.stack(agreement), torch.stack(ranked), early)

    def draw(self, axes: Any, curves: Tensor, style: dict[str, Any]) -> None:
        """The mean of curves (seeds, looks), and a band from the least to the most."""
        updates = self.every * torch.arange(1, curves.shape[1] + 1)
        axes.plot(updates, curves.mean(0), markevery=3, markersize=5, **style)
        low, high = curves.amin(0).numpy(), curves.amax(0).numpy()
        axes.fill_between(updates, low, high, alpha=0.2, color=style["color"])

    def summary(self, agreement: Tensor, ranked: Tensor) -> dict[str, float]:
        """When labels are read, of (seeds, looks); the end for a run that never does."""
        unread = (agreement < READ).long().cumprod(1).sum(1)
        when = self.every * (1 + unread).clamp(max=agreement.shape[1]).float()
        at = self.early // self.every - 1
        return {
            "updates until read": when.mean().item(),
            "error": when.std(correction=0).item() / max(1, len(when) - 1) ** 0.5,
            "first": when.min().item(),
            "last": when.max().item(),
            "agreement early": agreement[:, at].mean().item(),
            "at the end": agreement[:, -1].mean().item(),
            "ranked early": ranked[:, at].mean().item(),
        }


@cache
def ring() -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, 2), their labels (N,) and the modes (CLASSES, 2)."""
    data = GaussianRing(name="gaussian_ring", shape=(2,), n=20_000, validation=0.0)
    points, labels, _ = data.load("train")
    assert labels is not None
    return points, labels, data.modes()


def draw_points(axes: Any, points: Tensor, title: str) -> None:
    """Generated points (POINTS, 2) in the colours of their labels, and the modes."""
    for label in range(CLASSES):
        axes.scatter(*points[label::CLASSES].T, s=4, color=colour(label))
        mode = ring()[2][label]
        axes.plot(*mode, marker="X", markersize=9, color=colour(label), markeredgecolor="black")
    axes.set(xlabel="x", ylabel="y", title=title, xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    axes.set_aspect("equal")


def findings(rows: list[Row]) -> list[Finding]:
    """Whether the pair and the projection make labels be read sooner."""
    concat, concat_pair, projection, projection_pair = rows
    return [
        sooner(concat_pair, concat, "with the pair, joined labels are read"),
        sooner(projection_pair, projection, "with the pair, projected labels are read"),
        sooner(projection, concat, "without the pair, projected labels are read"),
        sooner(projection_pair, concat_pair, "with the pair, projected labels are read"),
        Finding(
            f"without the pair the generator learns nothing of joined labels: at the end "
            f"{concat['at the end']:.0%} of the points agree, where chance gives {1 / CLASSES:.1%}",
            concat["at the end"] < 2 / CLASSES,
        ),
    ]


def sooner(one: Row, other: Row, what: str) -> Finding:
    """Whether labels are read sooner than by another critic, by two standard errors."""
    gain = other["updates until read"] - one["updates until read"]
    error = (one["error"] ** 2 + other["error"] ** 2) ** 0.5
    return Finding(
        f"{what} after {one['updates until read']:.0f} updates (seeds {one['first']:.0f} to "
        f"{one['last']:.0f}), against {other['updates until read']:.0f} ({other['critic']}; "
        f"standard error of the difference {error:.0f})",
        gain > 2 * error > 0,
    )
