"""A progressive GAN whose second level fades in, and one whose second level is there at once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import GradientPenalty
from gentrain.adversarial.losses import wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, play
from gentrain.config.types import Count
from gentrain.models.gan.progan import Growth, ProgressiveGAN
from gentrain.networks import progan
from gentrain.networks.base import Backbone
from gentrain.quality.distances import Moments, frechet_distance, moments

SHAPE = [1, 14, 14]  # two levels: 7 and 14 pixels
LOOKS = 24  # distances that are measured in a run


class Watched(NamedTuple):
    """What was seen of a run."""

    changes: Tensor  # (steps,) of 64 images from update to update
    looks: list[tuple[int, float]]  # updates, and the distance from the data


class Growing(Demo):
    """Digits of 7 pixels for some steps, then 14 pixels for twice as many.

    Args:
        steps: updates at the first level; the fade takes as many.
        width: channels of both players.
        batch_size: images of an update.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "Fade in, or jump"
    claim = (
        "A level of new layers that are untrained spoils what the trained ones have learned if it "
        "counts at once. If it fades in, the images change smoothly and no quality is lost."
    )
    formula = (
        r"G(z) = (1 - \alpha) \, \mathrm{up}(\mathrm{rgb}_{7}(h)) + "
        r"\alpha \, \mathrm{rgb}_{14}(\mathrm{block}(h)), \qquad \alpha: 0 \to 1"
    )
    papers = ("Karras, Aila, Laine & Lehtinen, Progressive Growing of GANs, 2018",)
    code: ClassVar = (Growth, ProgressiveGAN, progan.Generator)
    notes = (
        "The dotted line is where the second level begins. Changes are the root of the mean square "
        "of 64 images' pixels from one update to the next. The distance is Frechet's, of the "
        "pixels themselves, from 500 images of 14 x 14: at 7 pixels it cannot be small. Lines "
        "are means over the seeds, bands span them. Runs so short tell of the change of levels, "
        "not of what long trainings end with."
    )
    exercise = "Make the fade ten times as short, model.growth.fade. When does it become a jump?"
    tiny: ClassVar = {"steps": 2, "width": 2, "batch_size": 4, "seeds": 1}

    def __init__(
        self,
        steps: Count = 120,
        width: Count = 16,
        batch_size: Count = 16,
        seeds: Count = 2,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size = steps, width, batch_size
        self.seeds, self.seed = seeds, seed

    def show(self, place: Path) -> Shown:
        images = digits(14)[0]
        real = moments(images[:2000].flatten(1))
        kinds = {"fade": self.steps * self.batch_size, "jump": 1}
        runs = {
            name: [self.run(fade, images, real, self.seed + k) for k in range(self.seeds)]
            for name, fade in kinds.items()
        }
        made, axes = figure(self.title, columns=2)
        rows: list[Row] = []
        for name, paths in runs.items():
            changes = torch.stack([path.changes for path in paths])
            updates = torch.arange(1, changes.shape[1] + 1)
            axes[0, 0].plot(updates, changes.mean(0), label=name, linewidth=1)
            steps = [step for step, _ in paths[0].looks]
            away = torch.tensor([[value for _, value in path.looks] for path in paths])
            axes[0, 1].plot(steps, away.mean(0), label=name, marker=".")
            axes[0, 1].fill_between(steps, away.amin(0).numpy(), away.amax(0).numpy(), alpha=0.3)
            rows.append({"level": name} | self.summary(changes, torch.tensor(steps), away))
        axes[0, 0].set(ylabel="change of the images in an update", yscale="log")
        axes[0, 1].set(ylabel="Frechet distance of pixels")
        for each in axes.flat:
            each.set_xlabel("updates of the generator")
            each.axvline(self.steps, color="grey", linestyle=":", label="second level")
            each.legend()
        return Shown(made, rows, findings(rows))

    def run(self, fade: int, images: Tensor, real: Moments, seed: int) -> Watched:
        """Train once, and look at the images after every update."""
        with seeded(seed):
            model = ProgressiveGAN(
                Backbone(progan.Generator, shape=SHAPE, latent=32, width=self.width),
                Backbone(progan.Critic, shape=SHAPE, width=self.width),
                AdversarialCriterion(wasserstein(0.001), GradientPenalty(coupled="within_groups")),
                Growth(fade, self.steps * self.batch_size),
            )
            z, many = torch.randn(64, 32), torch.randn(500, 32)
            before = model.generator(z).detach()
            changes, looks = [], list[tuple[int, float]]()
            every = max(1, 3 * self.steps // LOOKS)

            @torch.no_grad()
            def look(step: int) -> None:
                nonlocal before
                now = model.generator(z)
                changes.append((now - before).square().mean().sqrt())
                before = now
                if step % every == 0:
                    made = moments(model.generator(many).flatten(1))
                    looks.append((step, frechet_distance(made, real)))

            play(model, batches(self.batch_size, images), 3 * self.steps, 1e-3, look)
        return Watched(torch.stack(changes), looks)

    def summary(self, changes: Tensor, steps: Tensor, away: Tensor) -> dict[str, float]:
        """The largest change, and distances before and after the second level begins.

        Args:
            changes: (seeds, updates).
            steps: (looks,) updates.
            away: (seeds, looks) distances.
        """
        start = slice(self.steps - 1, self.steps + self.steps // 4 + 1)
        old, new = away[:, steps <= self.steps], away[:, steps > self.steps]
        return {
            "largest change": changes[:, start].amax(1).mean().item(),
            "distance before": old[:, -1].mean().item(),
            "largest after": new.amax(1).mean().item(),
            "at the end": new[:, -1].mean().item(),
        }


def findings(rows: list[Row]) -> list[Finding]:
    """What the second level does to the images at first, and at the end."""
    fade, jump = rows
    return [
        Finding(
            f"where the second level begins, an update changes the images by up to "
            f"{jump['largest change']:.3f} with a jump, and by {fade['largest change']:.3f} with "
            "a fade",
            jump["largest change"] > 2 * fade["largest change"],
        ),
        Finding(
            f"a jump takes the distance from {jump['distance before']:.1f} up to "
            f"{jump['largest after']:.1f}; with a fade it is never above "
            f"{fade['largest after']:.1f}",
            jump["largest after"] > 1.1 * jump["distance before"]
            and fade["largest after"] < 1.1 * fade["distance before"],
        ),
        Finding(
            f"at the end fading is better, {fade['at the end']:.1f} against "
            f"{jump['at the end']:.1f}",
            fade["at the end"] < jump["at the end"],
        ),
    ]
