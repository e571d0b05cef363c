"""What may be wrong with a model: a few measurements of it, and findings where one is off.

Every finding has evidence in numbers, and one override to try. Thresholds are chosen so that
healthy runs of every preset have no finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.batches import as_batch
from gentrain.layers.coupling import batch_coupled_layers
from gentrain.models.base import GenerativeModel, HasCritic, HasLikelihood

DIRECTIONS = 8  # principal directions along which copies are looked for
NEIGHBOURS = 9  # of copies, whose mean has little of their noise; the image itself is one
ENOUGH = 64  # samples below which the nearest neighbour says little
YOUNG = 500  # steps before which a generator's fakes may still be alike


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    name: str
    evidence: str
    remedy: str  # an override

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; try {self.remedy}"


@dataclass(frozen=True)
class Measurements:
    """What is measured of an adversarial model at one step, on batches of equal size B."""

    fakes: Tensor  # (B, ...)
    reals: Tensor  # (B, ...) of the training split
    on_train: Tensor  # (B,) critic scores of training images
    on_test: Tensor | None  # (B,) critic scores of held-out images, if there are any
    on_fake: Tensor  # (B,) critic scores of fakes
    labels: Tensor | None  # (N,) of the training split, where the model uses labels
    scalars: dict[str, float]  # the newest value of everything logged
    bounded: bool  # the loss has a minimum for an unconstrained critic
    step: float = math.inf  # generator steps made

    def findings(self) -> list[Finding | None]:
        """The result of every check, the gravest first."""
        # a loss without a minimum refuses minibatch discrimination
        trick = "minibatch_discrimination" if self.bounded else "packing"
        infinite = nearly_infinite(self.scalars, "critic")
        return [
            infinite,
            one_label(self),
            collapsed(self.fakes, self.reals, f"'tricks=[{trick}]'"),
            copies(self.fakes, self.reals, f"'tricks=[{trick}]'", self.step < YOUNG),
            dropping(self.scalars),
            overfitting(self),
            saturated(self) if infinite is None else None,  # the same, with another rate
            vanished(self),
        ]


@dataclass(frozen=True)
class DensityMeasurements:
    """What is measured of a model with a likelihood at one step."""

    fakes: Tensor  # (B, ...)
    reals: Tensor  # (B, ...) of the training split
    on_train: Tensor  # (N,) -log p of training images
    on_test: Tensor | None  # (N,) -log p of held-out images, if there are any
    scalars: dict[str, float]  # the newest value of everything logged
    untrained: Tensor | None = None  # (N,) -log p of the training images before the training

    def findings(self) -> list[Finding | None]:
        """The result of every check, the gravest first."""
        infinite = nearly_infinite(self.scalars, "model")
        rate = "1e-5" if infinite else "1e-4"  # as near infinity says
        slower = f"scheme.optimizers.model.lr={rate}"
        return [
            infinite,
            exploded(self) if infinite is None else None,  # the same, with another rate
            collapsed(self.fakes, self.reals, slower),
            copies(self.fakes, self.reals, slower),
            posterior_collapse(self.scalars),
            memorising(self),
        ]


def examine(measurements: Measurements | DensityMeasurements) -> list[Finding]:
    """Everything that is wrong, the gravest first."""
    return [finding for finding in measurements.findings() if finding is not None]


# --- checks ---------------------------------------------------------------------------------------


def nearly_infinite(scalars: dict[str, float], player: str) -> Finding | None:
    """Losses that are about to leave the range of float32."""
    losses = {
        name: value
        for name, value in scalars.items()
        if name.startswith(("critic/", "generator/", "model/"))
    }
    bad = [f"{name} {value:.3g}" for name, value in losses.items() if not abs(value) < 1e6]
    if not bad:
        return None
    return Finding("near infinity", ", ".join(bad[:3]), f"scheme.optimizers.{player}.lr=1e-5")


def exploded(measured: DensityMeasurements) -> Finding | None:
    """Training images that are less probable than they were before the training."""
    if measured.untrained is None or len(measured.on_train) < 2:
        return None
    rise = measured.on_train - measured.untrained
    mean, error = float(rise.mean()), float(rise.std() / len(rise) ** 0.5)
    if mean < 8 * error or mean < 1e-3 * float(measured.untrained.mean().abs()):
        return None
    evidence = (
        f"training images take {float(measured.on_train.mean()):.4g} nats, "
        f"and took {float(measured.untrained.mean()):.4g} before the training"
    )
    return Finding("exploded loss", evidence, "scheme.optimizers.model.lr=1e-4")


def one_label(measured: Measurements) -> Finding | None:
    """A model of labels whose training images all have the same one."""
    labels = measured.labels
    if labels is None or labels.unique().numel() > 1:
        return None
    evidence = f"all {len(labels)} training images have the label {int(labels[0])}"
    return Finding("one label", evidence, "model=dcgan")


def collapsed(fakes: Tensor, reals: Tensor, remedy: str) -> Finding | None:
    """Fakes that are much nearer to each other than real images are."""
    if len(fakes) < 2:  # one image has no distance to another
        return None
    fake, real = spread(fakes), spread(reals)
    ratio = fake / max(real, 1e-12)
    if ratio > 0.05:  # blurred images of a young generator are at a tenth and more
        return None
    evidence = (
        f"fakes are {ratio:.1%} as far from each other as real images ({fake:.3g} to {real:.3g})"
    )
    return Finding("mode collapse", evidence, remedy)


def copies(fakes: Tensor, reals: Tensor, remedy: str, young: bool = False) -> Finding | None:
    """Fakes that are noisy copies of a few images.

    Noise keeps copies apart, so that `collapsed` does not see them. It is spread over all
    directions, and the differences of real images are mostly along a few of them. So distances to
    the nearest neighbour are taken along the leading principal directions of the real images.

    The fakes of a young generator are near to each other too: they are noise around grey. The mean
    of a fake and its neighbours shows what they are copies of, and it must have contrast. Of a
    young one it must also be like a real image: nearer to one than to the mean of all.

    Args:
        fakes: (B, ...).
        reals: (N, ...) of the training split.
        remedy: an override to try.
        young: the training is in its first steps, and fakes that are alike may be on their way.
    """
    if min(len(fakes), len(reals)) < ENOUGH or reals[0].numel() < 16 * DIRECTIONS:
        return None
    mean = reals.flatten(1).float().mean(0)
    x, y = (part.flatten(1).float() - mean for part in (fakes, reals))
    axes = torch.linalg.svd(y, full_matrices=False).Vh[:DIRECTIONS].T
    n = min(len(x), len(y))  # neighbours are the nearer the more there are
    fake, real = to_nearest(x[:n] @ axes), to_nearest(y[:n] @ axes)
    ratio = fake / max(real, 1e-12)
    if ratio > 0.2 or spread(fakes) < 0.05 * spread(reals):  # `collapsed` has these
        return None
    clean = without_noise(fakes[:n], x[:n] @ axes)
    if contrast(clean) < 0.5 * contrast(reals) or (young and not like_one(clean, reals)):
        return None
    evidence = (
        f"along the {DIRECTIONS} main directions of real images, a fake is {ratio:.1%} as far "
        f"from the nearest other as a real image is ({fake:.3g} to {real:.3g})"
    )
    return Finding("noisy copies", evidence, remedy)


def dropping(scalars: dict[str, float]) -> Finding | None:
    """Diverse fakes of few classes."""
    covered = scalars.get("quality/classes_covered")
    entropy = scalars.get("quality/class_entropy")
    if covered is None or entropy is None:
        return None
    if entropy > 0.5 or scalars.get("quality/confident", 0) < 0.2:
        return None
    evidence = (
        f"confident fakes are of {covered:.0f} classes, "
        f"their entropy is {entropy:.2f} of the largest"
    )
    return Finding("mode dropping", evidence, "'tricks=[packing]'")


def overfitting(measured: Measurements) -> Finding | None:
    """r = (D(train) - D(test)) / (D(train) - D(fake)) near 1 (Karras et al., 2020).

    Such a critic has memorised its training images. So has one that ranks nearly all of them above
    held-out images, however far below them fakes are: those of a bad generator say little of r.
    """
    if measured.on_test is None:
        return None
    train, test, fake = (
        scores.mean() for scores in (measured.on_train, measured.on_test, measured.on_fake)
    )
    gap = train - fake
    r = float((train - test) / gap) if gap > 1e-6 else 0.0
    right = auc(measured.on_train, measured.on_test)
    if right < (0.85 if r >= 0.4 else 0.98):
        return None
    evidence = (
        f"it ranks {right:.1%} of training images above held-out ones, which score {r:.0%} of the "
        "way from training images to fakes"
    )
    return Finding("critic overfitting", evidence, "'tricks=[diff_augment]'")


def saturated(measured: Measurements) -> Finding | None:
    """A critic that tells every pair apart, with logits at which the loss is flat.

    A Wasserstein loss is flat nowhere.
    """
    if not measured.bounded:
        return None
    right = auc(measured.on_train, measured.on_fake)
    margin = float(measured.on_train.median() - measured.on_fake.median())
    if right < 0.999 or margin < 20:
        return None
    evidence = f"it ranks {right:.1%} of pairs right, by {margin:.3g} in the median"
    return Finding("critic saturated", evidence, "scheme.optimizers.critic.lr=5e-5")


def vanished(measured: Measurements) -> Finding | None:
    """No gradient for the generator while the critic still tells fakes from real images."""
    norm = measured.scalars.get("generator/gradient_norm")
    if norm is None or norm > 1e-5 or auc(measured.on_train, measured.on_fake) < 0.9:
        return None
    remedy = "loss=js" if measured.bounded else "lipschitz=gp"
    return Finding("generator gradient vanished", f"its norm is {norm:.2g}", remedy)


def posterior_collapse(scalars: dict[str, float]) -> Finding | None:
    """Codes that hold no information about their image; the decoder does without them."""
    rate = scalars.get("model/kl_nats")
    if rate is None or rate > 0.5:
        return None
    evidence = f"codes hold {rate:.2g} nats of their image"
    return Finding("posterior collapse", evidence, "model.warm_up=5000")


def memorising(measured: DensityMeasurements) -> Finding | None:
    """Held-out images that are much less probable than those of the training.

    The gap of the medians is a tenth of the nats or more, and the share of pairs whose held-out
    image takes more is 6 standard errors above a half (Mann-Whitney). Means would not do: one
    held-out image may take more nats than all others together.
    """
    if measured.on_test is None:
        return None
    train, test = measured.on_train, measured.on_test
    gap, size = float(test.median() - train.median()), float(train.median().abs())
    error = math.sqrt((len(train) + len(test) + 1) / (12 * len(train) * len(test)))
    share = auc(test, train)
    if gap < 0.1 * size or share < 0.5 + 6 * error:
        return None
    evidence = (
        f"held-out images take {float(test.median()):.4g} nats in the median, those of the "
        f"training {float(train.median()):.4g}, and {share:.1%} of pairs are in this order"
    )
    return Finding("overfitting", evidence, "fewer steps=; checkpoint=best is the best of this run")


def like_one(fakes: Tensor, reals: Tensor) -> bool:
    """Whether most fakes (B, ...) are nearer to a real image (N, ...) than to the mean of all."""
    x, y = fakes.flatten(1).float(), reals.flatten(1).float()
    to_mean = (x - y.mean(0)).norm(dim=1)
    return bool((torch.cdist(x, y).min(1).values < to_mean).double().mean() > 0.5)


def without_noise(images: Tensor, places: Tensor) -> Tensor:
    """The mean of each image (B, ...) and of its nearest ones, by their places (B, D)."""
    near = torch.cdist(places, places).topk(NEIGHBOURS, largest=False).indices  # with itself
    return images.float()[near].mean(1)


def contrast(x: Tensor) -> float:
    """The median standard deviation of the values of an image (B, ...)."""
    return float(x.flatten(1).float().std(1).median())


def to_nearest(x: Tensor) -> float:
    """The median distance of a sample to the nearest other of a batch (B, D)."""
    distances = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return float(distances.min(1).values.median())


def spread(x: Tensor) -> float:
    """The median distance between two samples of a batch (B, ...)."""
    return float(torch.pdist(x.flatten(1).float()).median())


def auc(high: Tensor, low: Tensor) -> float:
    """The share of pairs (one of `high`, one of `low`) in which the first is larger.

    The pairs are not made, so both may be long.

    >>> auc(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
    0.75
    """
    return float(torch.searchsorted(low.sort().values, high).double().mean()) / len(low)


# --- measurements ---------------------------------------------------------------------------------

FEW = 16  # samples of a density, some of which take a pass for each pixel


def can_be_examined(model: GenerativeModel) -> bool:
    """Whether a model has a critic or a likelihood to measure."""
    return supports(model, HasCritic) or supports(model, HasLikelihood)


@torch.no_grad()
def measure(
    model: Any,
    data: Data,
    device: torch.device,
    scalars: dict[str, float],
    n: int = 256,
    split: str = "test",
    step: float = math.inf,
    untrained: Any = None,
) -> Measurements | DensityMeasurements:
    """Measure a model as it is. Neither its weights nor random numbers of the caller are touched.

    Args:
        model: has a critic or a likelihood.
        data: on which it was trained.
        device: where it is.
        scalars: the newest value of everything logged.
        n: images of each kind.
        split: the split of the held-out images.
        step: generator steps made; infinity where that is not known.
        untrained: the same model as it was before the training, if it can be had; only models with
            a likelihood are compared with it.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        torch.manual_seed(0)
        train, test = data.load("train"), data.held_out(split)
        rows = min(len(part.images) for part in (train, test) if part is not None)
        n, size = batch_sizes(model, min(n, rows), min(data.batch_size, rows))
        seen = random_batch(train, n, device)
        held_out = None if test is None else random_batch(test, n, device)
        if supports(model, HasLikelihood):
            return measure_density(model, seen, held_out, scalars, untrained)
        labels = train.labels if model.labelled else None
        return measure_critic(model, seen, held_out, labels, scalars, size, step)


def batch_sizes(model: GenerativeModel, n: int, of_training: int) -> tuple[int, int]:
    """How many images are scored, and how many at a time.

    Where layers mix the samples of a batch, scores are those of whole batches as in training.

    Args:
        model: any model.
        n: images that are wanted.
        of_training: the batch size of the training.
    """
    if not batch_coupled_layers(model, training=False):
        return n, n
    return max(n - n % of_training, of_training), of_training


def measure_density(
    model: Any,
    seen: tuple[Tensor, ...],
    held_out: tuple[Tensor, ...] | None,
    scalars: dict[str, float],
    untrained: Any,
) -> DensityMeasurements:
    """Measure a model with a likelihood on training images and on held-out images."""
    few = tuple(part[:FEW] for part in seen)
    return DensityMeasurements(
        fakes=model.sample(few).cpu(),
        reals=few[0].cpu(),
        on_train=-model.log_likelihood(seen, 1).cpu(),
        on_test=None if held_out is None else -model.log_likelihood(held_out, 1).cpu(),
        scalars=scalars,
        untrained=None if untrained is None else -untrained.log_likelihood(seen, 1).cpu(),
    )


def measure_critic(
    model: Any,
    seen: tuple[Tensor, ...],
    held_out: tuple[Tensor, ...] | None,
    labels: Tensor | None,
    scalars: dict[str, float],
    size: int,
    step: float,
) -> Measurements:
    """Measure a model with a critic on training images, on held-out images and on fakes.

    Args:
        model: has a critic.
        seen: training images, with labels or sources.
        held_out: the same of the test split, if there is one.
        labels: of the training split, where the model uses labels.
        scalars: the newest value of everything logged.
        size: images that the critic sees at a time.
        step: generator steps made.
    """

    def scores(batch: tuple[Tensor, ...], fake: bool = False) -> Tensor:
        parts = zip(*(part.split(size) for part in batch), strict=True)
        return torch.cat([model.critic_scores(part, fake=fake) for part in parts]).cpu()

    fakes = model.sample(seen)
    return Measurements(
        fakes=fakes.cpu(),
        reals=seen[0].cpu(),
        on_train=scores(seen),
        on_test=None if held_out is None else scores(held_out),
        on_fake=scores((fakes, *seen[1:]), fake=True),
        labels=labels,
        scalars=scalars,
        bounded=model.loss.bounded,
        step=step,
    )


def random_batch(samples: ArrayDataset, n: int, device: torch.device) -> tuple[Tensor, ...]:
    """A batch of `n` random rows."""
    return as_batch(samples, torch.randperm(len(samples.images))[:n], device)
