"""Modes that a GAN finds on a ring of Gaussians, plain and with four remedies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks import FeatureMatching, MinibatchDiscrimination, Packing, Unrolled
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import batches, play
from gentrain.config.types import Count, Positive
from gentrain.data.gaussians import GaussianRing
from gentrain.models.gan.gan import GAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone
from gentrain.quality.coverage import Coverage, coverage

POINTS = 1000  # that are drawn for each look
LOOKS = 20
REMEDIES: Mapping[str, Callable[[], dict[str, Regularizer]]] = {
    "plain": dict,
    "minibatch discrimination": lambda: {"minibatch": MinibatchDiscrimination(8, 3)},
    "packing of 3": lambda: {"packing": Packing(3)},
    "feature matching": lambda: {"matching": FeatureMatching()},
    "unrolling of 5": lambda: {"unrolled": Unrolled(5, 0.03)},
}


class Watched(NamedTuple):
    """What was seen of a run."""

    looks: list[tuple[int, Coverage]]  # updates, and which modes are found
    points: Tensor  # (POINTS, 2) at the end


class ModeCollapse(Demo):
    """Small perceptrons learn a ring of eight Gaussians, with one trick at a time.

    Args:
        steps: updates of the generator.
        width: units of a hidden layer.
        batch_size: points of an update, a multiple of 3.
        rate: learning rate of both players.
        deviation: of a mode, where the ring has the radius 2.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "Modes that collapse, and four remedies"
    claim = (
        "A GAN may put all of its samples on a few modes of the data, and move from one to the "
        "next. A critic that sees several samples at once (minibatch discrimination, packing), a "
        "generator that matches means of features, or one that foresees the critic's answer "
        "(unrolling) finds more modes."
    )
    formula = (
        r"o(x_i)_b = \sum_{j \ne i} e^{-\|M_{ib} - M_{jb}\|_1}, \quad D(x_1, \dots, x_m), \quad "
        r"\|\mathbb{E} f(x) - \mathbb{E} f(G(z))\|^2, \quad "
        r"\min_\theta L_G\big(\theta, \psi_K(\theta)\big)"
    )
    papers = (
        "Salimans et al., Improved Techniques for Training GANs, 2016",
        "Metz et al., Unrolled Generative Adversarial Networks, 2017",
        "Lin et al., PacGAN: The Power of Two Samples, 2018",
    )
    code: ClassVar = (
        MinibatchDiscrimination,
        Packing,
        FeatureMatching,
        Unrolled,
        GaussianRing,
        coverage,
    )
    notes = (
        "A mode is found if one of 1000 samples is within 3 deviations of it; the share of good "
        "samples is that of all samples that are so near to any mode. A generator that smears its "
        "samples over the ring finds modes as well, so a remedy has to raise both numbers: the "
        "fewest modes of a run above the plain mean, and the good samples to 1.5 times as many. "
        "Lines are means over the seeds, bands span them; points are those of the first seed. "
        "Learning rates and weights were not chosen for each remedy."
    )
    exercise = "Unroll one step, or ten: tricks.unrolled.inner_steps. Which modes are still lost?"
    tiny: ClassVar = {"steps": 2, "width": 4, "batch_size": 6, "seeds": 1}

    def __init__(
        self,
        steps: Count = 700,
        width: Count = 64,
        batch_size: Count = 60,
        rate: Positive = 1e-3,
        deviation: Positive = 0.1,
        seeds: Count = 3,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.seeds, self.seed = seeds, seed
        self.ring = GaussianRing(
            name="gaussian_ring", shape=(2,), std=deviation, n=20_000, validation=0.0
        )

    def show(self, place: Path) -> Shown:
        made, axes = figure(self.title, 2, 4, size=2.9)
        curves, clouds = axes[0, :2], [*axes[0, 2:], *axes[1]]
        data = self.ring.load("train").images
        draw_cloud(clouds[0], data[:POINTS], "data", "grey")
        rows: list[Row] = []
        for number, (name, remedy) in enumerate(REMEDIES.items()):
            runs = [self.run(remedy(), data, self.seed + k) for k in range(self.seeds)]
            steps = [step for step, _ in runs[0].looks]
            for axis, score in zip(curves, ("modes_found", "high_quality"), strict=True):
                values = torch.tensor([[getattr(s, score) for _, s in run.looks] for run in runs])
                low, high = values.amin(0).numpy(), values.amax(0).numpy()
                axis.plot(steps, values.double().mean(0), color=colour(number), label=name)
                axis.fill_between(steps, low, high, color=colour(number), alpha=0.15)
            draw_cloud(clouds[number + 1], runs[0].points, name, colour(number))
            rows.append({"trick": name} | summary([run.looks for run in runs]))
        curves[0].set(ylabel="modes found", title="modes, of 8", ylim=(0, 8.3))
        curves[1].set(ylabel="share", title="good samples", ylim=(0, 1))
        for axis in curves:
            axis.set_xlabel("updates of the generator")
        made.legend(*curves[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
        return Shown(made, rows, findings(rows, self.seeds))

    def run(self, tricks: dict[str, Regularizer], data: Tensor, seed: int) -> Watched:
        """Train once, and look at the modes now and then."""
        looks: list[tuple[int, Coverage]] = []
        modes, deviation = self.ring.modes(), self.ring.sd
        with seeded(seed):
            model = GAN(
                Backbone(mlp.Generator, shape=[2], latent=2, width=self.width),
                Backbone(mlp.Critic, shape=[2], width=self.width),
                AdversarialCriterion(js(), Unconstrained(), tricks),
            )
            z = model.noise(POINTS, "cpu")
            every = max(1, self.steps // LOOKS)

            @torch.no_grad()
            def look(step: int) -> None:
                if step % every == 0:
                    looks.append((step, coverage(model.generator(z), modes, deviation)))

            play(model, batches(data, self.batch_size), self.steps, self.rate, look)
            return Watched(looks, model.generator(z).detach())


def summary(runs: list[list[tuple[int, Coverage]]]) -> dict[str, float]:
    """Means over the last quarter of each run, and over all runs; and the worst run's modes."""
    late = [[found for _, found in looks[-max(1, len(looks) // 4) :]] for looks in runs]
    modes = torch.tensor([[found.modes_found for found in each] for each in late]).double().mean(1)
    good = torch.tensor([[found.high_quality for found in each] for each in late]).mean(1)
    return {
        "modes": modes.mean().item(),
        "fewest": modes.min().item(),
        "most": modes.max().item(),
        "good samples": good.mean().item(),
    }


def draw_cloud(axes: Any, points: Tensor, name: str, ink: str) -> None:
    """Points in the plane."""
    axes.scatter(*points.T, s=2, alpha=0.5, color=ink)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), xlabel="x", ylabel="y", title=name, aspect="equal")


def findings(rows: list[Row], seeds: int) -> list[Finding]:
    """How many modes the plain game finds, and each remedy."""
    plain, *others = rows
    return [
        Finding(
            f"in the last quarter the plain GAN finds {plain['modes']:.1f} of 8 modes, from "
            f"{plain['fewest']:.1f} to {plain['most']:.1f} over {seeds} seeds, and "
            f"{plain['good samples']:.0%} of its samples are good",
            plain["fewest"] < 6,
        ),
        *[
            Finding(
                f"with {row['trick']} it finds {row['modes']:.1f}, at least {row['fewest']:.1f}, "
                f"and {row['good samples']:.0%} of its samples are good",
                row["fewest"] > plain["modes"]
                and row["good samples"] > 1.5 * plain["good samples"],
            )
            for row in others
        ],
    ]
