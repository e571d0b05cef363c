"""The Inception Score and the Frechet distance of images that fail in known ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.config.types import Count
from gentrain.data.arrays import to_bytes, to_float
from gentrain.data.mnist_5k import MNIST5k
from gentrain.quality.classifier import Classifier
from gentrain.quality.distances import frechet_distance, inception_score, moments

CPU = torch.device("cpu")


class TwoScores(Demo):
    """Both scores, with features of this project's own classifier, of digits made worse.

    Args:
        updates: of the classifier.
        images: of each set.
        seed: of what is drawn.
    """

    title = "What two scores see"
    claim = (
        "The Inception Score is high for one image per class, repeated, and does not see blur; the "
        "Frechet distance sees both, and dropped classes. Neither sees that images are those of "
        "the training set."
    )
    formula = (
        r"\mathrm{IS} = \exp \mathbb{E}_x \mathrm{KL}(p(y | x) \,\|\, p(y)), \qquad "
        r"\mathrm{FD} = |\mu_a - \mu_b|^2 + \mathrm{tr}\big(\Sigma_a + \Sigma_b - "
        r"2 (\Sigma_a \Sigma_b)^{1/2}\big)"
    )
    papers = (
        "Salimans et al., Improved Techniques for Training GANs, 2016",
        "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017",
        "Barratt & Sharma, A Note on the Inception Score, 2018",
    )
    code: ClassVar = (inception_score, frechet_distance, Classifier)
    notes = (
        "The features are those of a classifier of these digits, not Inception's, so the scores "
        "have another scale than published ones; 10 is the most that the Inception Score can be. "
        "The reference of the distance are other real digits; `memorised` is the reference itself. "
        "Bars are the deviation over ten splits."
    )
    exercise = "Give two images per class. From how many on does the Frechet distance approve?"
    tiny: ClassVar = {"updates": 2, "images": 150}

    def __init__(self, updates: Count = 600, images: Count = 2000, seed: int = 0) -> None:
        self.updates, self.images, self.seed = updates, images, seed

    def show(self, place: Path) -> Shown:
        data = MNIST5k(name="mnist_5k", shape=(1, 28, 28), size=28, classes=10, validation=0.0)
        features = Classifier(updates=self.updates)
        features.prepare(data, place)
        train = data.load("train")
        with seeded(self.seed):
            order = torch.randperm(len(train.images))
            assert train.labels is not None
            images, labels = to_float(train.images[order]), train.labels[order]
            reference = images[-self.images :]
            sets = self.sets(images[: self.images], labels[: self.images], images, labels)
            sets["memorised"] = reference
        goal = moments(features.of(to_bytes(reference), 500, CPU)[0])
        rows: list[Row] = []
        for name, each in sets.items():
            seen, logits = features.of(to_bytes(each), 500, CPU)
            mean, deviation = inception_score(logits)
            distance = frechet_distance(moments(seen), goal)
            rows.append({"images": name, "IS": mean, "IS, deviation": deviation, "FD": distance})
        made, axes = figure(self.title, columns=3, size=3.6)
        draw_sets(axes[0, 0], sets)
        draw_bars(axes[0, 1], rows, "IS", "Inception Score: more is better")
        draw_bars(axes[0, 2], rows, "FD", "Frechet distance: less is better")
        return Shown(made, rows, findings(rows))

    def sets(
        self, real: Tensor, real_labels: Tensor, images: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Sets of as many images: real ones, and ones that fail."""
        half = images[labels < 5][: self.images]
        times = -(-self.images // len(half))
        first = torch.stack([real[real_labels == digit][0] for digit in range(10)])
        return {
            "real": real,
            "blurred": avg_pool2d(real + 1, 3, 1, 1) - 1,
            "more blurred": avg_pool2d(real + 1, 5, 1, 2) - 1,
            "noise": (real + 0.5 * torch.randn_like(real)).clamp(-1, 1),
            "five classes": half.repeat(times, 1, 1, 1)[: self.images],
            "one image a class": first.repeat(-(-self.images // 10), 1, 1, 1)[: self.images],
        }


def draw_sets(axes: Any, sets: dict[str, Tensor]) -> None:
    """Eight images of each set."""
    table = torch.cat([torch.cat([*each[:8, 0]], 1) for each in sets.values()])
    axes.imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
    ticks = [28 * (k + 0.5) for k in range(len(sets))]
    axes.set(xticks=[], yticks=ticks, yticklabels=[*sets], xlabel="images", title="sets")


def draw_bars(axes: Any, rows: list[Row], score: str, title: str) -> None:
    """A bar for each set."""
    values = [row[score] for row in rows]
    errors = [row["IS, deviation"] for row in rows] if score == "IS" else None
    bars = axes.barh([row["images"] for row in rows], values, xerr=errors)
    axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3)
    axes.invert_yaxis()
    axes.set(xlabel=score, ylabel="set", title=title)
    axes.margins(x=0.18)


def findings(rows: list[Row]) -> list[Finding]:
    """Which failures each score sees."""
    of = {row["images"]: row for row in rows}
    score = {name: row["IS"] for name, row in of.items()}
    away = {name: row["FD"] for name, row in of.items()}
    return [
        Finding(
            f"one image a class has an Inception Score of {score['one image a class']:.2f}, real "
            f"digits {score['real']:.2f}; its Frechet distance is {away['one image a class']:.1f}, "
            f"theirs {away['real']:.2f}",
            score["one image a class"] > score["real"]
            and away["one image a class"] > 10 * away["real"],
        ),
        Finding(
            f"blur takes the Inception Score to {score['blurred'] / score['real']:.0%} of that of "
            f"real digits and, where it is stronger, to {score['more blurred'] / score['real']:.0%}"
            f"; the Frechet distance goes to {away['blurred']:.1f} and {away['more blurred']:.1f}",
            score["blurred"] > 0.95 * score["real"] and away["blurred"] > 5 * away["real"],
        ),
        Finding(
            f"noise takes the Inception Score to {score['noise'] / score['real']:.0%}, and the "
            f"distance to {away['noise']:.1f}",
            away["noise"] > 10 * away["real"],
        ),
        Finding(
            f"both see dropped classes: {score['five classes']:.2f} and {away['five classes']:.1f}",
            score["five classes"] < 0.7 * score["real"]
            and away["five classes"] > 10 * away["real"],
        ),
        Finding(
            f"memorised digits have a distance of {away['memorised']:.1e}, below that of real ones",
            away["memorised"] < away["real"],
        ),
    ]
