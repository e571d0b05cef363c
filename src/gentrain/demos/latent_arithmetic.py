"""Codes of a GAN added up, and the images between two codes on a line and on a sphere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, generator, seeded
from gentrain.commands.demo.training import batches, digits, play
from gentrain.commands.sample.latent import linear, slerp
from gentrain.commands.sample.truncation import truncated
from gentrain.config.types import Count
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan
from gentrain.networks.base import Backbone
from gentrain.quality.distances import frechet_distance, moments, prdc

SIDE = 14
TAUS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
STEPS = 9  # points of a path
POOL = 2000  # codes from which examples are taken
SUMS = 200  # times that codes are added


class LatentArithmetic(Demo):
    """A small GAN learns digits of 14 x 14 pixels; then only its codes change.

    Args:
        steps: updates of the generator.
        width: channels.
        latent: size of a code.
        images: real and made ones of each score.
        seed: of weights, batches and codes.
    """

    title = "Codes: added up, joined by paths, cut off"
    claim = (
        "Directions of the latent space have meanings, which add up: heavy slanted digits - heavy "
        "upright ones + light upright ones are light and slanted. A straight line between two "
        "codes leaves the shell where the prior has its mass, a great circle stays there and "
        "gives better images. Noise cut off at tau trades variety for fidelity."
    )
    formula = (
        r"|z|^2 \sim \chi^2_d, \quad |\tfrac12 (z_0 + z_1)| \approx \sqrt{d / 2}, \qquad "
        r"\mathrm{slerp}(t) = \frac{\sin((1 - t) \omega) \, z_0 + \sin(t \omega) \, z_1}"
        r"{\sin \omega}, \qquad z \sim N(0, I) \text{ given } |z_i| \le \tau"
    )
    papers = (
        "Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, 2016",
        "White, Sampling Generative Networks, 2016",
        "Brock, Donahue & Simonyan, Large Scale GAN Training (BigGAN), 2019",
        "Kynkaanniemi et al., Improved Precision and Recall Metric, 2019",
    )
    code: ClassVar = (slerp, linear, truncated, prdc, frechet_distance, dcgan.Generator)
    notes = (
        "Each term of a sum is the mean of three codes, as in the first paper; a sum of three "
        "such means has the norm of a single code. Ink is the mean of the pixels, slant the "
        "covariance of row and column divided by the variance of the row; examples are from the "
        "outer quarters of 2000 images. Distances are Frechet's, precision and recall those of "
        "pixels, against real digits. A code that is too short acts as noise that is cut off: its "
        "images are near to typical ones and less various. Batch norm keeps the statistics of "
        "whole noise, so the smallest taus give images that it never saw in training: both shares "
        "fall there."
    )
    exercise = "Add one code instead of the mean of three. How often does the sum fail?"
    tiny: ClassVar = {"steps": 2, "width": 4, "latent": 4, "images": 40}

    def __init__(
        self,
        steps: Count = 1200,
        width: Count = 24,
        latent: Count = 100,
        images: Count = 1000,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.latent = steps, width, latent
        self.images, self.seed = images, seed

    def show(self, place: Path) -> Shown:
        real = digits(SIDE)[0]
        with seeded(self.seed), torch.no_grad():
            with torch.enable_grad():
                model = self.model()
                play(model, batches(64, real), self.steps, 1e-3)
            generator = model.generator.eval()
            sums = self.sums(generator)
            paths = self.paths(generator, real)
            cuts = self.cuts(generator, real[: self.images])
            made, axes = figure(self.title, 2, 2)
            draw_sums(axes[0, 0], sums)
            self.draw_norms(axes[0, 1], paths)
            draw_paths(axes[1, 0], generator, *self.ends(3))
            draw_cuts(axes[1, 1], cuts)
        rows = [*table(sums, paths), *cuts]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return Shown(
            made,
            [{name: row.get(name) for name in columns} for row in rows],
            self.findings(sums, paths, cuts),
        )

    def model(self) -> GAN:
        """An untrained GAN."""
        shape = [1, SIDE, SIDE]
        return GAN(
            Backbone(dcgan.Generator, shape=shape, latent=self.latent, width=self.width),
            Backbone(dcgan.Critic, shape=shape, width=self.width, norm="none"),
            AdversarialCriterion(js(), Unconstrained()),
        )

    def sums(self, generator: Any) -> dict[str, Any]:
        """Means of three codes of heavy or light, slanted or upright digits, and their sums."""
        z = torch.randn(POOL, self.latent)
        ink, slant = measured(generator(z))
        heavy, light = ink > ink.quantile(0.5), ink <= ink.quantile(0.5)
        leaning, upright = slant > slant.quantile(0.75), slant < slant.quantile(0.25)
        kinds = {
            "heavy, slanted": heavy & leaning,
            "heavy, upright": heavy & upright,
            "light, upright": light & upright,
            "light, slanted": light & leaning,
        }
        means = {name: mean_of_three(z[which]) for name, which in kinds.items()}
        first, second, third, _ = means.values()
        means["sum"] = first - second + third
        return {
            "images": {name: generator(code[:1]) for name, code in means.items()},
            "looks": {name: measured(generator(code)) for name, code in means.items()},
            "deviations": (ink.std().item(), slant.std().item()),
            "whole": (ink, slant),
        }

    def ends(self, n: int) -> tuple[Tensor, Tensor]:
        """n pairs of codes, (n, latent) each."""
        z0, z1 = torch.randn(2, n, self.latent)
        return z0, z1

    def paths(self, generator: Any, real: Tensor) -> dict[str, dict[str, Tensor]]:
        """Norms along both paths, distances of their images from the data, and scores halfway."""
        goal = moments(real[:POOL].flatten(1))
        t = torch.linspace(0, 1, STEPS)
        z0, z1 = self.ends(self.images)
        found = {}
        for name, path in (("straight", linear), ("great circle", slerp)):
            z = torch.stack([path(a, b, t) for a, b in zip(z0, z1, strict=True)], 1)
            made = [generator(each).flatten(1) for each in z]
            away = [frechet_distance(moments(each), goal) for each in made]
            shares = prdc(real[: self.images].flatten(1), made[STEPS // 2])
            found[name] = {
                "norm": z.norm(dim=2),
                "distance": torch.tensor(away),
                "shares": torch.tensor([shares.precision, shares.recall]),
            }
        return found

    def cuts(self, generator: Any, real: Tensor) -> list[Row]:
        """Precision and recall of images whose noise is cut off at each tau, and of whole noise."""
        z, rows = torch.randn(self.images, self.latent), list[Row]()
        for tau in (*TAUS, math.inf):
            made = generator(truncated(z, tau)).flatten(1)
            score = prdc(real.flatten(1), made)
            rows.append(
                {
                    "what": "whole noise" if tau == math.inf else f"tau = {tau:g}",
                    "precision": score.precision,
                    "recall": score.recall,
                    "spread": made.var(0).sum().sqrt().item(),
                }
            )
        return rows

    def draw_norms(self, axes: Any, paths: dict[str, dict[str, Tensor]]) -> None:
        """Norms along both paths, and the shell that holds 99% of the prior."""
        t = torch.linspace(0, 1, STEPS)
        low, high = self.shell()
        axes.axhspan(low, high, color="grey", alpha=0.3, label="99% of the prior")
        for name, path in paths.items():
            norm = path["norm"]
            axes.plot(t, norm.mean(1), marker=".", label=name)
            axes.fill_between(t, norm.quantile(0.05, 1), norm.quantile(0.95, 1), alpha=0.3)
        axes.set(xlabel="t, from one code to the other", ylabel="|z|", ylim=(0, None))
        axes.set_title(f"norm along paths, {self.latent} numbers")
        axes.legend(fontsize="small")

    def shell(self) -> tuple[float, float]:
        """Norms between which 99% of the prior lie."""
        numbers = torch.randn(20_000, self.latent, generator=generator(self.seed))
        low, high = numbers.norm(dim=1).quantile(torch.tensor([0.005, 0.995]))
        return low.item(), high.item()

    def findings(
        self, sums: dict[str, Any], paths: dict[str, dict[str, Tensor]], cuts: list[Row]
    ) -> list[Finding]:
        """Whether meanings add up, what straight lines cost, and what cutting does."""
        straight, circle = paths["straight"], paths["great circle"]
        middle, (low, high) = STEPS // 2, self.shell()
        inside = {
            name: ((path["norm"][middle] - (low + high) / 2).abs() < (high - low) / 2)
            .double()
            .mean()
            .item()
            for name, path in paths.items()
        }
        tau = {row["what"]: row for row in cuts}
        some, whole = tau["tau = 1.5"], tau["whole noise"]
        return [
            *sum_findings(sums),
            Finding(
                f"in the middle a straight line has a norm of {straight['norm'][middle].mean():.2f}"
                f" (the formula says {math.sqrt(self.latent / 2):.2f}), and "
                f"{inside['straight']:.0%} of lines are in the shell of the prior; of great "
                f"circles {inside['great circle']:.0%}",
                inside["straight"] < 0.5 < inside["great circle"],
            ),
            self.middle_finding(straight, circle),
            Finding(
                f"noise cut off at 1.5 raises precision from {whole['precision']:.2f} to "
                f"{some['precision']:.2f} and lowers recall from {whole['recall']:.2f} to "
                f"{some['recall']:.2f}",
                some["precision"] > 1.1 * whole["precision"]
                and some["recall"] < 0.9 * whole["recall"],
            ),
        ]

    def middle_finding(self, straight: dict[str, Tensor], circle: dict[str, Tensor]) -> Finding:
        """Whether a great circle gives better images halfway, by all that was measured."""
        away = [path["distance"][STEPS // 2].item() for path in (circle, straight)]
        (sharp, various), (sharp_line, various_line) = (
            path["shares"].tolist() for path in (circle, straight)
        )
        return Finding(
            f"halfway the images of great circles are better than those of straight lines: their "
            f"distance from the data is {away[0]:.1f} against {away[1]:.1f}, precision "
            f"{sharp:.2f} against {sharp_line:.2f}, recall {various:.2f} against "
            f"{various_line:.2f}",
            away[0] < away[1] and sharp > sharp_line and various > various_line,
        )


def measured(x: Tensor) -> tuple[Tensor, Tensor]:
    """Ink and slant (N,) of images (N, 1, H, W); slanted to the right is positive."""
    weight = (x[:, 0] + 1) / 2
    mass = weight.sum((1, 2)) + 1e-6
    rows = -torch.arange(x.shape[2], dtype=x.dtype)[:, None]  # upwards
    columns = torch.arange(x.shape[3], dtype=x.dtype)[None]
    row, column = ((weight * each).sum((1, 2)) / mass for each in (rows, columns))
    up, right = rows - row[:, None, None], columns - column[:, None, None]
    both = (weight * up * right).sum((1, 2))
    return mass / weight[0].numel(), both / ((weight * up.square()).sum((1, 2)) + 1e-6)


def mean_of_three(z: Tensor) -> Tensor:
    """Means (SUMS, latent) of three of these codes each."""
    return z[torch.randint(len(z), (SUMS, 3))].mean(1)


def sum_findings(sums: dict[str, Any]) -> list[Finding]:
    """Whether the sum is light and slanted, with two standard errors."""
    looks, (ink, slant) = sums["looks"], sums["whole"]
    light = looks["sum"][0] < ink.median()
    leaning = looks["sum"][1] > slant.median()
    both = (light & leaning).float()
    chance = ((ink < ink.median()) & (slant > slant.median())).float().mean().item()
    share, error = both.mean().item(), 2 * (both.std() / len(both) ** 0.5).item()
    return [
        Finding(
            f"{share:.0%} +- {error:.0%} of the sums are both lighter and more slanted than the "
            f"median image; of single images {chance:.0%} are",
            share - error > chance + 0.2,
        )
    ]


def table(sums: dict[str, Any], paths: dict[str, dict[str, Tensor]]) -> list[Row]:
    """Ink and slant of each term, norm and distance in the middle of each path."""
    rows: list[Row] = [
        {"what": name, "ink": ink.mean().item(), "slant": slant.mean().item()}
        for name, (ink, slant) in sums["looks"].items()
    ]
    middle = STEPS // 2
    for name, path in paths.items():
        norm, away = path["norm"][middle].mean().item(), path["distance"][middle].item()
        precision, recall = path["shares"].tolist()
        rows.append(
            {
                "what": f"middle, {name}",
                "norm of z": norm,
                "distance": away,
                "precision": precision,
                "recall": recall,
            }
        )
    return rows


def draw_sums(axes: Any, sums: dict[str, Any]) -> None:
    """Where the terms and the sums lie, of ink and slant."""
    ink, slant = sums["whole"]
    axes.scatter(ink[:500], slant[:500], s=3, color="grey", alpha=0.4, label="single codes")
    for name, (x, y) in sums["looks"].items():
        marker = {"marker": "*", "s": 160} if name == "sum" else {"marker": "o", "s": 50}
        label = "slanted - upright + light" if name == "sum" else name
        axes.errorbar(x.mean(), y.mean(), y.std(), x.std(), color="black", linewidth=0.5)
        axes.scatter(x.mean(), y.mean(), label=label, zorder=3, **marker)
    axes.set(xlabel="ink", ylabel="slant", title="means of three codes, and their sum")
    low, high = slant.quantile(0.002).item(), slant.quantile(0.998).item()
    axes.set_ylim(low - 0.75 * (high - low), high)  # the legend is below
    axes.legend(fontsize="small", ncols=2, loc="lower center")


def draw_paths(axes: Any, generator: Any, z0: Tensor, z1: Tensor) -> None:
    """Images along both paths, for some pairs of codes."""
    t, lines, names = torch.linspace(0, 1, STEPS), [], []
    for a, b in zip(z0, z1, strict=True):
        for name, path in (("straight", linear), ("circle", slerp)):
            lines.append(torch.cat([*generator(path(a, b, t))[:, 0]], 1))
            names.append(name)
    axes.imshow(torch.cat(lines).numpy(), cmap="gray", vmin=-1, vmax=1)
    ticks = [SIDE * (k + 0.5) for k in range(len(names))]
    axes.set(xticks=[], yticks=ticks, yticklabels=names, xlabel="from one code to the other")
    axes.set_title("three pairs, both ways")


def draw_cuts(axes: Any, cuts: list[Row]) -> None:
    """Precision and recall against tau; the last point is the whole noise."""
    places = range(len(cuts))
    for name, marker in (("precision", "o"), ("recall", "s")):
        axes.plot(places, [row[name] for row in cuts], marker=marker, label=name)
    axes.set_xticks([*places], [*(f"{tau:g}" for tau in TAUS), "whole"])
    axes.set(xlabel="tau", ylabel="share", title="noise cut off at tau", ylim=(0, None))
    axes.legend(fontsize="small")
