"""Modes that a GAN finds on a ring and a grid of Gaussians, plain and with four remedies."""

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
from gentrain.data.gaussians import GaussianGrid, GaussianRing, Gaussians
from gentrain.models.gan.gan import GAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone
from gentrain.quality.coverage import Coverage, coverage

POINTS = 1000  # that are drawn for each look
DRAWN = 400  # of them in the figure
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
    """Small perceptrons learn 8 Gaussians on a ring, and 25 on a grid, with one trick at a time.

    Args:
        steps: updates of the generator.
        width: units of a hidden layer.
        batch_size: points of an update, a multiple of 3.
        rate: learning rate of both players.
        deviation: of a mode, where the ring has the radius 2 and the grid the spacing 2.
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
        GaussianGrid,
        coverage,
    )
    notes = (
        "A mode is found if one of 1000 samples is within 3 deviations of it; the share of good "
        "samples is that of all samples that are so near to any mode. A generator that smears its "
        "samples finds modes as well, so a remedy has to raise both numbers: the "
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
        seeds: Count = 2,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.seeds, self.seed = seeds, seed
        sizes: dict[str, Any] = {"shape": (2,), "std": deviation, "n": 20_000, "validation": 0.0}
        self.sets: Mapping[str, Gaussians] = {
            "ring": GaussianRing(name="gaussian_ring", **sizes),
            "grid": GaussianGrid(name="gaussian_grid", **sizes),
        }

    def show(self, place: Path) -> Shown:
        made, axes = figure(self.title, 4, 4, size=2.3)
        rows, found = list[Row](), list[Finding]()
        for number, (name, mixture) in enumerate(self.sets.items()):
            some = self.rows_of(name, mixture, axes[2 * number : 2 * number + 2])
            rows += some
            found += findings(name, some, self.seeds, len(mixture.modes()))
        made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
        return Shown(made, rows, found)

    def rows_of(self, data: str, mixture: Gaussians, axes: Any) -> list[Row]:
        """Train with each trick; axes (2, 4) are for the curves, the data and the points."""
        curves, clouds = axes[0, :2], [*axes[0, 2:], *axes[1]]
        draw_cloud(clouds[0], mixture.load("train").images[:POINTS], data, "grey")
        rows: list[Row] = []
        for number, (name, remedy) in enumerate(REMEDIES.items()):
            runs = [self.run(remedy(), mixture, self.seed + k) for k in range(self.seeds)]
            steps = [step for step, _ in runs[0].looks]
            looks = [[(s.modes_found, s.high_quality) for _, s in run.looks] for run in runs]
            for axis, values in zip(curves, torch.tensor(looks).unbind(2), strict=True):
                low, high = values.amin(0).numpy(), values.amax(0).numpy()
                axis.plot(steps, values.double().mean(0), color=colour(number), label=name)
                axis.fill_between(steps, low, high, color=colour(number), alpha=0.15)
            draw_cloud(clouds[number + 1], runs[0].points, name, colour(number))
            rows.append({"data": data, "trick": name} | summary([run.looks for run in runs]))
        most = len(mixture.modes())
        curves[0].set(ylabel="modes found", title=f"modes, of {most}", ylim=(0, 1.04 * most))
        curves[1].set(ylabel="share", title="good samples", ylim=(0, 1))
        for axis in curves:
            axis.set_xlabel("updates of the generator")
        return rows

    def run(self, tricks: dict[str, Regularizer], mixture: Gaussians, seed: int) -> Watched:
        """Train once, and look at the modes now and then."""
        looks: list[tuple[int, Coverage]] = []
        data, modes, deviation = mixture.load("train").images, mixture.modes(), mixture.sd
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

            play(model, batches(self.batch_size, data), self.steps, self.rate, look)
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
    axes.scatter(*points[:DRAWN].T, s=2, color=ink)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), xlabel="x", ylabel="y", title=name, aspect="equal")


def findings(data: str, rows: list[Row], seeds: int, most: int) -> list[Finding]:
    """How many of the modes the plain game finds, and each remedy."""
    plain, *others = rows
    return [
        Finding(
            f"{data}: in the last quarter the plain GAN finds {plain['modes']:.1f} of {most} "
            f"modes, from {plain['fewest']:.1f} to {plain['most']:.1f} over {seeds} seeds, and "
            f"{plain['good samples']:.0%} of its samples are good",
            plain["fewest"] < 0.75 * most,
        ),
        *[
            Finding(
                f"{data}: with {row['trick']} it finds {row['modes']:.1f}, at least "
                f"{row['fewest']:.1f}, and {row['good samples']:.0%} of its samples are good",
                row["fewest"] > plain["modes"]
                and row["good samples"] > 1.5 * plain["good samples"],
            )
            for row in others
        ],
    ]
