"""A classifier of 100 labels and a GAN whose critic has a class more, with two generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks import FeatureMatching, MinibatchDiscrimination
from gentrain.commands.demo.base import (
    Demo,
    Finding,
    Row,
    Shown,
    colour,
    figure,
    generator,
    seeded,
)
from gentrain.commands.demo.training import descend, digits, play
from gentrain.config.types import Count, NonNegative, Positive
from gentrain.data.arrays import to_bytes
from gentrain.data.mnist_5k import MNIST5k
from gentrain.models.base import Batch, eval_mode
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone
from gentrain.networks.classifier import LogitCritic
from gentrain.quality.classifier import Classifier
from gentrain.quality.distances import Moments, frechet_distance, moments

SIDE, CLASSES = 14, 10
SHAPE = [1, SIDE, SIDE]
LOOKS = 6  # in a run; scores are means over the later half of them
SAMPLES = 1000  # that are drawn for the distance of a look
DRAWN = 24  # of them in the figure
CPU = torch.device("cpu")
ALONE = "labels alone"
TRICKS: Mapping[str, Callable[[], dict[str, Regularizer]]] = {
    "feature matching": lambda: {"matching": FeatureMatching()},
    "minibatch discrimination": lambda: {"minibatch": MinibatchDiscrimination(20, 3)},
}


class Watched(NamedTuple):
    """What was seen of a run."""

    errors: list[float]  # share of held-out digits that are named wrongly, at each look
    distances: list[float]  # of samples from the data, at each look; empty without samples
    samples: Tensor  # (DRAWN, *SHAPE) at the end


class FewLabels(Demo):
    """Digits of 14 pixels, ten labels of each class; perceptrons with noise in every layer.

    Args:
        steps: updates of each run.
        labels: labelled digits, as many of each class.
        width: units of the critic's first layer; the generator's have half as many.
        batch_size: images of each kind in an update.
        rate: learning rate of both players.
        noise: deviation of the noise in the critic's layers.
        updates: of the classifier whose features the distance is of.
        seeds: runs of each kind, each with other labels.
        seed: of the first.
    """

    title = "A hundred labels, and a class more"
    claim = (
        "A critic that names K classes and, as one more, what is generated learns from unlabelled "
        "images: with 100 labels it is a better classifier than one of the labels alone. A "
        "generator that matches features makes the better classifier, one with minibatch "
        "discrimination the better samples: good samples make a worse classifier."
    )
    formula = (
        r"L_D = -\mathbb{E} \log p(y \,|\, x, y \le K) - \tfrac12 \big[ \mathbb{E} \log D(x) + "
        r"\mathbb{E} \log (1 - D(G(z))) \big], \qquad D(x) = \frac{Z(x)}{Z(x) + 1}, \quad "
        r"Z(x) = \sum_{k=1}^K e^{l_k(x)}"
    )
    papers = ("Salimans et al., Improved Techniques for Training GANs, 2016, section 5",)
    code: ClassVar = (
        SemiSupervisedGAN,
        LogitCritic,
        FeatureMatching,
        MinibatchDiscrimination,
        frechet_distance,
    )
    notes = (
        "The paper trains for hundreds of epochs at 28 pixels, and its errors are ten times as "
        "small; here are a few of 4,500 digits. The error is that of 500 held-out digits, the "
        "distance Frechet's of a classifier's features. Both are means over the later half of a "
        "run. Each seed has other labels, the same for all three kinds, so differences are taken "
        "seed by seed. Points are runs. "
        "Samples are poor after so few updates, and the nearer ones are so by their variety: what "
        "the paper saw at the end of long trainings need not show here."
    )
    exercise = (
        "Give ten or a thousand labels, demo.labels. From how many on is the generator of no use?"
    )
    tiny: ClassVar = {"steps": 2, "width": 8, "updates": 1, "seeds": 2}

    def __init__(
        self,
        steps: Count = 300,
        labels: Count = 100,
        width: Count = 300,
        batch_size: Count = 50,
        rate: Positive = 3e-3,
        noise: NonNegative = 0.3,
        updates: Count = 300,
        seeds: Count = 5,
        seed: int = 0,
    ) -> None:
        self.steps, self.labels, self.width, self.batch_size = steps, labels, width, batch_size
        self.rate, self.updates, self.seeds, self.seed = rate, updates, seeds, seed
        self.every = max(1, steps // LOOKS)
        self.critic: Backbone[Any] = Backbone(
            mlp.NoisyCritic,
            shape=SHAPE,
            width=width,
            weight_norm=True,
            input_noise=noise,
            noise=noise,
        )

    def show(self, place: Path) -> Shown:
        features = Classifier(updates=self.updates)
        data = MNIST5k(name="mnist_5k", shape=(1, SIDE, SIDE), size=SIDE, classes=CLASSES)
        features.prepare(data, place)
        real = self.moments(features, digits(SIDE)[0][: 2 * SAMPLES])
        runs: dict[str, list[Watched]] = {
            ALONE: [self.of_labels(self.seed + k) for k in range(self.seeds)]
        }
        for name, trick in TRICKS.items():
            runs[name] = [
                self.of_all(trick(), features, real, self.seed + k) for k in range(self.seeds)
            ]
        errors = {name: late_means([w.errors for w in some]) for name, some in runs.items()}
        away = {name: late_means([w.distances for w in runs[name]]) for name in TRICKS}
        made, axes = figure(self.title, rows=2, columns=2, size=3.2)
        draw_points(axes[0, 0], errors, "share of digits", "digits named wrongly")
        draw_points(axes[0, 1], away, "Frechet distance", "distance of samples")
        for axis, name in zip(axes[1], TRICKS, strict=True):
            draw_samples(axis, runs[name][0].samples, name)
        rows = [row(name, errors[name], away.get(name)) for name in errors]
        return Shown(made, rows, findings(errors, away))

    def of_labels(self, seed: int) -> Watched:
        """Train the critic's network on the labelled digits alone."""
        x, y = self.few(seed)
        errors = list[float]()
        with seeded(seed):
            network = LogitCritic(self.critic, CLASSES)
            network.critic.init_from_batch(x)
            optimizer = torch.optim.Adam(network.parameters(), lr=self.rate, betas=(0.5, 0.99))
            for step in range(1, self.steps + 1):
                rows = torch.randint(len(x), (self.batch_size,))
                descend(optimizer, {"labels": cross_entropy(network.logits(x[rows]), y[rows])})
                if step % self.every == 0:
                    with eval_mode(network):
                        errors.append(self.error(network.logits))
        return Watched(errors, [], torch.empty(0))

    def of_all(
        self, tricks: dict[str, Regularizer], features: Classifier, real: Moments, seed: int
    ) -> Watched:
        """Train the GAN on the same labelled digits, and on all."""
        errors, distances = list[float](), list[float]()
        with seeded(seed):
            model = SemiSupervisedGAN(
                Backbone(mlp.SoftplusGenerator, shape=SHAPE, latent=50, width=self.width // 2),
                self.critic,
                AdversarialCriterion(js(), Unconstrained(), tricks),
                classes=CLASSES,
                decay=0.99,
            )

            @torch.no_grad()
            def look(step: int) -> None:
                if step % self.every == 0:
                    with eval_mode(model):
                        errors.append(self.error(model.classify))
                        made = self.moments(features, model.generator(model.noise(SAMPLES, "cpu")))
                    distances.append(frechet_distance(made, real))

            play(model, self.batches(seed), self.steps, self.rate, look)
            with eval_mode(model):
                samples = model.generator(model.noise(DRAWN, "cpu"))
        return Watched(errors, distances, samples)

    def few(self, seed: int) -> tuple[Tensor, Tensor]:
        """Labelled digits, as many of each class, and their labels."""
        x, y = digits(SIDE)
        order = torch.randperm(len(x), generator=generator(seed))
        each = max(1, self.labels // CLASSES)
        rows = torch.cat([order[y[order] == digit][:each] for digit in range(CLASSES)])
        return x[rows], y[rows]

    def batches(self, seed: int) -> Iterator[Batch]:
        """Endless batches of digits, of labelled ones, and of their labels."""
        x, (few, labels) = digits(SIDE)[0], self.few(seed)
        while True:
            rows = torch.randint(len(few), (self.batch_size,))
            yield x[torch.randint(len(x), (self.batch_size,))], few[rows], labels[rows]

    @torch.no_grad()
    def error(self, classify: Callable[[Tensor], Tensor]) -> float:
        """The share of held-out digits that are named wrongly, in batches as in training."""
        x, y = digits(SIDE, "test")
        named = torch.cat([classify(some).argmax(1) for some in x.split(self.batch_size)])
        return (named != y).float().mean().item()

    def moments(self, features: Classifier, images: Tensor) -> Moments:
        """Of features of images (N, *SHAPE)."""
        return moments(features.of(to_bytes(images), 500, CPU)[0])


def late_means(curves: list[list[float]]) -> Tensor:
    """Means over the later half of each run's looks, (runs,)."""
    looks = torch.tensor(curves, dtype=torch.float64)
    return looks[:, looks.shape[1] // 2 :].mean(1)


def standard_error(values: Tensor) -> float:
    """Of the mean of values (N,)."""
    return (values.std() / len(values) ** 0.5).item()


def row(name: str, errors: Tensor, away: Tensor | None) -> Row:
    """Means over the runs, and their standard errors."""
    return {
        "critic": name,
        "wrong": errors.mean().item(),
        "wrong, error": standard_error(errors),
        "distance": None if away is None else away.mean().item(),
        "distance, error": None if away is None else standard_error(away),
    }


def draw_points(axes: Any, values: dict[str, Tensor], ylabel: str, title: str) -> None:
    """A point for each run, and a line at their mean."""
    for number, (name, runs) in enumerate(values.items(), len(TRICKS) + 1 - len(values)):
        spread = number + torch.linspace(-0.15, 0.15, len(runs))
        axes.scatter(spread, runs, color=colour(number), marker="os^"[number], label=name)
        axes.hlines(runs.mean().item(), number - 0.3, number + 0.3, color=colour(number))
    places = range(len(TRICKS) + 1 - len(values), len(TRICKS) + 1)
    axes.set_xticks(places, [name.replace(" ", "\n", 1) for name in values])
    axes.set(xlabel="critic", ylabel=ylabel, title=title)
    axes.set_ylim(0, 1.15 * max(runs.max().item() for runs in values.values()))


def draw_samples(axes: Any, samples: Tensor, name: str) -> None:
    """Samples (DRAWN, *SHAPE) in a grid."""
    table = torch.cat([torch.cat([*line[:, 0]], 1) for line in samples.split(6)])
    axes.imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[], title=name, xlabel="samples of the first seed")


def findings(errors: dict[str, Tensor], away: dict[str, Tensor]) -> list[Finding]:
    """Who names digits best, and who makes them best, by two standard errors."""
    alone, (matching, minibatch) = errors[ALONE], (errors[name] for name in TRICKS)
    apart, near = (away[name] for name in TRICKS)
    return [
        less(
            matching,
            alone,
            "with feature matching a share of {} of the digits is named wrongly, "
            "of the labels alone {}",
            ".1%",
        ),
        less(
            near,
            apart,
            "samples of minibatch discrimination are {} from the data, those of "
            "feature matching {}",
            ".1f",
        ),
        less(
            matching,
            minibatch,
            "with feature matching a share of {} of the digits is named "
            "wrongly, with minibatch discrimination {}",
            ".1%",
        ),
    ]


def less(one: Tensor, other: Tensor, sentence: str, form: str) -> Finding:
    """Whether runs are below others of the same seeds, by two standard errors."""
    gain = other - one
    said = sentence.format(*(format(each.mean().item(), form) for each in (one, other)))
    mean, error = gain.mean().item(), standard_error(gain)
    return Finding(
        f"{said}; the difference is {mean:{form}} +- {2 * error:{form}} over {len(one)} seeds",
        mean > 2 * error,
    )
