"""What ails a game or a density: a few measurements of it, and what each says when it is out of bounds.

Every verdict has its evidence, in numbers, and one override to try. Thresholds are chosen so that healthy runs of every preset are silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gentrain.errors import UserError
from gentrain.models.density import DensityModel

Scores = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Finding:
    """One finding."""

    name: str
    evidence: str
    remedy: str  # an override

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; try {self.remedy}"


@dataclass(frozen=True)
class Measurements:
    """What is measured of a game at one moment. Batches are of equal size B; `None` where something cannot be had."""

    fakes: Tensor  # (B, ...)
    reals: Tensor  # (B, ...), of the training split
    on_train: Tensor  # (B,) critic scores of training images
    on_test: Tensor | None  # (B,) critic scores of held-out images
    on_fake: Tensor  # (B,) critic scores of fakes
    labels: Tensor | None  # (N,) of the training split, where the model uses labels
    scalars: dict[str, float]  # the newest of everything logged
    bounded: bool  # the loss has a minimum for a free critic


@dataclass(frozen=True)
class DensityMeasurements:
    """What is measured of a density at one moment; see `Density`."""

    fakes: Tensor  # (B, ...)
    reals: Tensor  # (B, ...), of the training split
    on_train: Tensor  # (N,) -log p of training images
    on_test: Tensor | None  # (N,) -log p of held-out images
    scalars: dict[str, float]  # the newest of everything logged


def examine(signs: Measurements | DensityMeasurements) -> list[Finding]:
    """Every verdict that holds, the gravest first."""
    if isinstance(signs, DensityMeasurements):
        found = [nearly_infinite(signs), collapsed(signs), silent_latents(signs), memorising(signs)]
    else:
        found = [
            check(signs)
            for check in (
                nearly_infinite,
                one_label,
                collapsed,
                dropping,
                saturated,
                vanished,
                overfitting,
            )
        ]
    return [verdict for verdict in found if verdict is not None]


def nearly_infinite(signs: Measurements | DensityMeasurements) -> Finding | None:
    """Numbers on their way out of float32."""
    watched = {
        name: value
        for name, value in signs.scalars.items()
        if name.startswith(("critic/", "generator/", "model/"))
    }
    bad = [f"{name} {value:.3g}" for name, value in watched.items() if not abs(value) < 1e6]
    player = "model" if isinstance(signs, DensityMeasurements) else "critic"
    return (
        Finding("near infinity", ", ".join(bad[:3]), f"scheme.optimizers.{player}.lr=1e-5")
        if bad
        else None
    )


def one_label(signs: Measurements) -> Finding | None:
    if signs.labels is None or signs.labels.unique().numel() > 1:
        return None
    return Finding(
        "one label",
        f"all {len(signs.labels)} training images have the label {int(signs.labels[0])}",
        "model=dcgan",
    )


def collapsed(signs: Measurements | DensityMeasurements) -> Finding | None:
    """Fakes that lie much nearer to each other than real images do."""
    fake, real = spread(signs.fakes), spread(signs.reals)
    ratio = fake / max(real, 1e-12)
    if ratio > 0.05:  # blurred images of a young generator are at a tenth and more
        return None
    evidence = (
        f"fakes are {ratio:.1%} as far from each other as real images ({fake:.3g} to {real:.3g})"
    )
    return Finding(
        "mode collapse",
        evidence,
        "scheme.optimizers.model.lr=1e-4"
        if isinstance(signs, DensityMeasurements)
        else "'tricks=[minibatch_discrimination]'",
    )


def dropping(signs: Measurements) -> Finding | None:
    """Diverse fakes, of few classes."""
    covered, entropy = (
        signs.scalars.get("quality/classes_covered"),
        signs.scalars.get("quality/class_entropy"),
    )
    if (
        covered is None
        or entropy is None
        or entropy > 0.5
        or signs.scalars.get("quality/confident", 0) < 0.2
    ):
        return None
    evidence = f"confident fakes are of {covered:.0f} classes, their entropy is {entropy:.2f} of the largest"
    return Finding("mode dropping", evidence, "'tricks=[packing]'")


def saturated(signs: Measurements) -> Finding | None:
    """A critic that tells every pair apart with logits at which the loss is flat; a Wasserstein critic has no such place."""
    if not signs.bounded:
        return None
    apart = auc(signs.on_train, signs.on_fake)
    margin = float(signs.on_train.median() - signs.on_fake.median())
    if apart < 0.999 or margin < 20:
        return None
    evidence = f"it ranks {apart:.1%} of pairs right, by {margin:.3g} in the median"
    return Finding("critic saturated", evidence, "scheme.optimizers.critic.lr=5e-5")


def vanished(signs: Measurements) -> Finding | None:
    """No gradient for the generator while the critic still tells fakes from real images."""
    norm = signs.scalars.get("generator/gradient_norm")
    if norm is None or norm > 1e-5 or auc(signs.on_train, signs.on_fake) < 0.9:
        return None
    return Finding(
        "generator gradient vanished",
        f"its norm is {norm:.2g}",
        "loss=js" if signs.bounded else "lipschitz=gp",
    )


def overfitting(signs: Measurements) -> Finding | None:
    """r = (D(train) - D(test)) / (D(train) - D(fake)), near 1 when the critic knows its training images by heart (Karras, 2020)."""
    if signs.on_test is None:
        return None
    gap = signs.on_train.mean() - signs.on_fake.mean()
    r = float((signs.on_train.mean() - signs.on_test.mean()) / gap) if gap > 1e-6 else 0.0
    if r < 0.4 or auc(signs.on_train, signs.on_test) < 0.85:
        return None
    evidence = f"held-out images score {r:.0%} of the way from training images to fakes"
    return Finding("critic overfitting", evidence, "'tricks=[diff_augment]'")


def silent_latents(signs: DensityMeasurements) -> Finding | None:
    """Codes that say nothing of their image (posterior collapse): the decoder does without them."""
    rate = signs.scalars.get("model/kl_nats")
    if rate is None or rate > 0.5:
        return None
    return Finding(
        "posterior collapse", f"codes hold {rate:.2g} nats of their image", "model.warm_up=5000"
    )


def memorising(signs: DensityMeasurements) -> Finding | None:
    """Held-out images that are much less probable than those of the training: by a tenth of the nats, and by 8 standard errors."""
    if signs.on_test is None:
        return None
    gap, size = (
        float(signs.on_test.mean() - signs.on_train.mean()),
        float(signs.on_train.mean().abs()),
    )
    error = float(
        (
            signs.on_train.var() / len(signs.on_train) + signs.on_test.var() / len(signs.on_test)
        ).sqrt()
    )
    if gap < 0.1 * size or gap < 8 * error:
        return None
    evidence = f"held-out images take {float(signs.on_test.mean()):.4g} nats, those of the training {float(signs.on_train.mean()):.4g}"
    return Finding("overfitting", evidence, "fewer steps=; checkpoint=best is the best of this run")


def spread(x: Tensor) -> float:
    """The median distance between two of a batch."""
    return float(torch.pdist(x.flatten(1).float()).median())


def auc(high: Tensor, low: Tensor) -> float:
    """The share of pairs in which the first is larger, without making the pairs."""
    return float(torch.searchsorted(low.sort().values, high).double().mean()) / len(low)


def held_out_split(data: Any) -> Any:
    """The test split, or None where a data set has none that can be read."""
    try:
        test = data.load("test")
    except UserError:
        return None
    return test if len(test.images) else None


DRAWN = 16  # samples of a density, of which some take a pass for each pixel


@torch.no_grad()
def measure(scheme: Any, data: Any, n: int = 256) -> Measurements | DensityMeasurements:
    """The signs of a model as it stands, on `n` images of each kind; touches neither its weights nor its random numbers."""
    from gentrain.data.batches import as_batch

    game, device = scheme.model, scheme.device
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        torch.manual_seed(0)
        train, test = data.load("train"), held_out_split(data)
        n = min([n, len(train.images), *([] if test is None else [len(test.images)])])

        def batch(samples: Any) -> tuple[Tensor, ...]:
            return as_batch(samples, torch.randperm(len(samples.images))[:n], device)

        seen, held_out = batch(train), None if test is None else batch(test)
        if isinstance(game, DensityModel):
            few = tuple(part[:DRAWN] for part in seen)
            return DensityMeasurements(
                fakes=scheme.sample(few).cpu(),
                reals=few[0].cpu(),
                on_train=-game.log_likelihood(seen, 1).cpu(),
                on_test=None if held_out is None else -game.log_likelihood(held_out, 1).cpu(),
                scalars=scheme.latest,
            )
        fakes = scheme.sample(seen)
        on_train, on_fake = (
            game.critic_scores(seen),
            game.critic_scores((fakes, *seen[1:]), made=True),
        )
        return Measurements(
            fakes=fakes.cpu(),
            reals=seen[0].cpu(),
            on_train=on_train.cpu(),
            on_test=None if held_out is None else game.critic_scores(held_out).cpu(),
            on_fake=on_fake.cpu(),
            labels=train.labels if game.labelled else None,
            scalars=scheme.latest,
            bounded=game.loss.bounded,
        )
