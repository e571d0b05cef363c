"""What a metric is: numbers that say how good a model is, and how they were measured.

`prepare` may store what all scores need, such as statistics of the data. `compute` has no side
effects: it takes a model and a data set, and returns named numbers. When a metric is computed, and
where its scores go, is decided in `gentrain.training.callbacks.evaluation`.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.capability import Capability, require, supports
from gentrain.config.build import build
from gentrain.config.validate import checked, required, signature
from gentrain.data.arrays import ArrayDataset, random_rows, to_bytes
from gentrain.data.base import Data
from gentrain.data.batches import as_batch, generator
from gentrain.errors import Diverged, UserError
from gentrain.models.base import GenerativeModel, fork_rng, warn_of_few_chains
from gentrain.patience import say_if_slow
from gentrain.protocols import TEST
from gentrain.streams import image_streams

log = logging.getLogger("gentrain")

HELD_OUT = "held_out"  # the option of a metric that leaves its split to who computes it
ROUNDING = "uint8, round((x + 1) * 127.5), clamped"  # of samples, before anything looks at them
LEAST = 100  # held-out images for scores that nobody asked for, and below which a mean is rough
# values of `Score.error`
BINOMIAL = "sqrt(p (1 - p) / n), the standard error of a share p"
COUNT = "none: a count, which grows with n"


class Score(NamedTuple):
    """What one score of a metric means."""

    unit: str
    higher_is_better: bool | None = False  # None: it describes another score, and ranks nothing
    error: str = ""  # the score that is its error; or a formula for it, or why there is none


class Metric(ABC):
    """Named scores of a model on a data set, and the protocol of their measurement.

    A caller sets `split`, calls `check`, then `prepare` once, and then `compute` as often as it
    likes. The functions `prepare_metric` and `measure` do so, and leave the caller's random numbers
    alone. While a model is trained, the split is that by which models are chosen ("validation"); at
    the end of the training it is "test", once.

    Args:
        every: generator steps between two scores during training; 0 for the end alone.
        batch_size: images at a time.
        seed: seed for all random draws.
        at_start: score an untrained model, too.

    `scores` declares every score by its name, in which `*` stands for any characters. The first
    name that fits counts. A score that is not defined is left out, with one line in the log.
    """

    key: str = "quality"  # what chooses this metric, as typed: "quality=nats"
    requires: ClassVar[type[Capability] | None] = None  # what the model must be able to do
    from_samples: ClassVar[bool] = False  # the scores are of images that the model draws
    scores: ClassVar[dict[str, Score]] = {}
    declared: ClassVar[dict[str, Score]] = {}  # the scores of all metrics
    kinds: ClassVar[list[type[Metric]]] = []  # all metrics
    split: str = "test"  # the held-out split that is scored, or "train"
    optional: bool = False  # where it does not fit, a warning takes the place of the scores
    # the options of `gentrain eval` that it reads, and the attributes that they set
    options: ClassVar[dict[str, str]] = {"batch_size": "batch_size", "seed": "seed"}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Metric.kinds.append(cls)
        for name, score in cls.scores.items():
            Metric.declared.setdefault(name, score)

    def __init__(self, every: int, batch_size: int, seed: int, at_start: bool) -> None:
        if batch_size < 1:
            raise UserError(
                f"batches of {batch_size} images are too small (quality.batch_size); give 1 or more"
            )
        self.every, self.batch_size, self.seed, self.at_start = every, batch_size, seed, at_start
        self.left_out: set[str] = set()  # scores that are not defined, which the log has named
        self.warned: set[str] = set()  # what else the log has said of the scores

    def check(self, data: Data, model: GenerativeModel) -> None:
        """Refuse, before anything is computed, a model or a data set that this does not fit.

        Raises:
            UserError: with the reason and what to choose instead.
        """
        if self.requires is None:
            return
        if not supports(model, self.requires) and (others := self.alternatives(data, model)):
            raise UserError(
                f"{type(model).__name__} does not fit {self.key}, which needs a model that "
                f"{self.requires.what} ({self.key}); choose {' or '.join(others)}"
            )
        require(model, self.requires, self.key)

    def alternatives(self, data: Data, model: GenerativeModel) -> list[str]:
        """The keys of other metrics that fit, and measure a score of the same name in their way."""
        keys = set()
        for kind in Metric.kinds:
            same, ready = kind.scores.keys() & self.scores.keys(), not required(signature(kind), "")
            able = kind.requires is not None and supports(model, kind.requires)
            if same and ready and able and kind.key != self.key:
                with suppress(UserError):
                    kind().check(data, model)  # type: ignore[call-arg]
                    keys.add(kind.key)
        return sorted(keys)

    def prepare(  # noqa: B027 (few metrics need it)
        self, data: Data, model: GenerativeModel, device: torch.device
    ) -> None:
        """Compute once what all later scores need, such as statistics of the data."""

    @abstractmethod
    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        """Say, after `prepare`, everything that must be equal before two scores are compared."""

    @abstractmethod
    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        """Score the model as it is, by the names in `scores`."""

    def split_in_training(self, data: Data) -> str:
        """The split that is scored while a model is trained."""
        return data.held_out_split

    def leave_out(self, names: Iterable[str], reason: str) -> None:
        """Say, once for each metric, that scores are left out, and why."""
        if new := [name for name in names if name not in self.left_out]:
            self.left_out.update(new)
            log.warning("%s: no %s, %s", self.key, ", ".join(new), reason)

    def warn(self, text: str) -> None:
        """Write a warning, once for each metric."""
        if text not in self.warned:
            self.warned.add(text)
            log.warning("%s: %s", self.key, text)

    def warn_of_rough_means(self, data: Data) -> None:
        """Say, once, that a split is too small for means of it to tell models apart."""
        if (found := len(data.load(self.split).images)) < LEAST:
            self.warn(
                f"the {self.split} split of data={data.name} has {found} images, so its means are "
                "rough; give more data, or look at their errors"
            )

    def stream(
        self, what: str, device: torch.device, number: int = 0
    ) -> AbstractContextManager[None]:
        """Random numbers of one purpose inside, which do not depend on what else was drawn.

        Args:
            what: the purpose, such as "pixels".
            device: whose random numbers they are.
            number: of the batch.
        """
        return fork_rng(generator(self.seed, what, number).initial_seed(), device)

    def options_for(self, model: GenerativeModel) -> dict[str, str]:
        """The options of `gentrain eval` that change the scores of this model.

        Returns:
            The name of each option, and the attribute of this metric that it sets.
        """
        return self.options

    def override(self, given: dict[str, Any], data: Data, model: GenerativeModel) -> set[str]:
        """Set options of `gentrain eval` in place of those of the training.

        Args:
            given: the options that the user gave, by name.
            data: the data that it is scored on.
            model: the model that will be scored.

        Returns:
            The names of the options that this metric reads.
        """
        read = {name: attr for name, attr in self.options_for(model).items() if name in given}
        for name, attribute in read.items():
            setattr(self, attribute, given[name])
        return set(read)


class SampleMetric(Metric):
    """Scores of images that the model draws.

    Args:
        samples: how many images are drawn.
        The other arguments are those of `Metric`.
    """

    from_samples = True
    options: ClassVar = {**Metric.options, "n": "samples"}

    def __init__(
        self, every: int, samples: int, batch_size: int, seed: int, at_start: bool
    ) -> None:
        super().__init__(every, batch_size, seed, at_start)
        self.samples = samples
        refuse_too_few(samples)

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        refuse_too_few(self.samples)  # which `eval` may have changed

    def draw(
        self, model: GenerativeModel, source: ArrayDataset, device: torch.device
    ) -> Iterator[Tensor]:
        """Draw samples in batches.

        They are conditioned on the labels or sources of the rows chosen by `rows()`.

        Raises:
            Diverged: when a sample has a value that is not a finite number.
        """
        warn_of_few_chains(model, self.samples)
        done = 0
        for chunk in self.rows(source).split(self.batch_size):
            with image_streams(self.seed, range(done, done + len(chunk))):
                images = model.sample(as_batch(source, chunk, device))
            done += len(chunk)
            refuse_not_finite(images, "samples")
            yield images

    def rows(self, source: ArrayDataset) -> Tensor:
        """(samples,) rows of a data set in a fixed random order, again if there are too few."""
        order = random_rows(source.rows, seed=self.seed)
        return order.repeat(-(-self.samples // len(order)))[: self.samples]

    def images(self, model: GenerativeModel, source: ArrayDataset, device: torch.device) -> Tensor:
        """All samples as uint8 (N, C, H, W) on the CPU."""
        return torch.cat([to_bytes(images).cpu() for images in self.draw(model, source, device)])


class HeldOutMetric(Metric):
    """Scores on images of a split, the same ones every time.

    Args:
        images: how many images of the split; None for all.
        split: what is scored while a model is trained: "held_out", or "train" for the images that
            it is trained on.
        The other arguments are those of `Metric`.
    """

    options: ClassVar = {**Metric.options, "n": "count", "split": "split"}

    def __init__(
        self, every: int, images: int | None, batch_size: int, seed: int, at_start: bool, split: str
    ) -> None:
        super().__init__(every, batch_size, seed, at_start)
        if split not in (HELD_OUT, "train"):
            raise UserError(f"split is {split!r} (quality.split); write {HELD_OUT} or train")
        self.count, self.of_train = images, split == "train"

    def split_in_training(self, data: Data) -> str:
        return "train" if self.of_train else super().split_in_training(data)

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        found = len(data.load(self.split).images)
        if found < 2:
            raise UserError(
                f"a mean over images needs at least 2, and the {self.split} split of "
                f"data={data.name} has {found} (quality, data); give more images, or quality=none"
            )
        if (count := min(found, self.count or found)) < 2:
            raise UserError(
                f"a mean over images needs at least 2, and got {count} of the {found} {self.split} "
                f"images of data={data.name} (n, quality.images); give more"
            )
        if count == found:  # and nobody asked for fewer
            self.warn_of_rough_means(data)

    def override(self, given: dict[str, Any], data: Data, model: GenerativeModel) -> set[str]:
        """See `Metric.override`.

        Raises:
            UserError: for more images than the split has.
        """
        read = super().override(given, data, model)
        rows = data.load(self.split).rows
        if "n" in read and given["n"] > rows:
            raise UserError(f"the {self.split} split has {rows} images (n); give {rows} or fewer")
        return read

    def batches(self, data: Data, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
        """The images, with labels and sources if there are any."""
        source = data.load(self.split)
        order = random_rows(len(source.images), self.count, self.seed)
        return (as_batch(source, rows, device) for rows in order.split(self.batch_size))


def refuse_too_few(samples: int) -> None:
    """Raise UserError for so few samples that no score is defined."""
    if samples < 2:
        raise UserError(
            f"a score needs at least 2 samples and got {samples} (n, quality.samples); "
            "5000 is usual while training"
        )


def refuse_not_finite(images: Tensor, what: str) -> None:
    """Raise Diverged for images that cannot be scored."""
    if not images.isfinite().all():
        raise Diverged(
            f"{what} have values that are not finite numbers; the scores cannot be computed"
        )


def higher_is_better(name: str) -> bool | None:
    """Whether more of a score is better; None for what is no score to rank by.

    Args:
        name: the name that is logged, with or without "quality/" or "test/" in front.

    >>> from gentrain.quality import higher_is_better  # which knows all metrics of this package
    >>> higher_is_better("quality/fid_classifier"), higher_is_better("psnr")
    (False, True)
    >>> higher_is_better("quality/nats_error") is None
    True
    """
    name = name.removeprefix("quality/").removeprefix(TEST)
    fitting = (score for known, score in Metric.declared.items() if fnmatchcase(name, known))
    return next((score.higher_is_better for score in fitting), None)


def error_of(name: str, scores: Iterable[str]) -> str | None:
    """The score among `scores` that is the error of another, such as "kid_std" of "kid".

    >>> from gentrain.quality import ImageQuality  # which declares these scores
    >>> error_of("kid_classifier", ["kid_classifier", "kid_classifier_std"])
    'kid_classifier_std'
    """
    known = next((known for known in Metric.declared if fnmatchcase(name, known)), None)
    pattern = Metric.declared[known].error if known else ""
    if known and known.count("*") == pattern.count("*") == 1:  # the error of the same thing
        start, end = known.split("*")
        pattern = pattern.replace("*", name[len(start) : len(name) - len(end)])
    return next((one for one in scores if pattern and fnmatchcase(one, pattern)), None)


# --- how a metric is used -------------------------------------------------------------------------


def split_of(data: Data, split: str) -> str:
    """How a protocol names a split: "validation of 6000"."""
    return f"{'all' if data.one_set else split} of {len(data.load(split).images)}"


def prepare_metric(
    metric: Metric,
    data: Data,
    model: GenerativeModel,
    device: torch.device,
    split: str = "test",
) -> dict[str, Any]:
    """Prepare a metric and return its protocol; the caller's random numbers are not touched.

    Args:
        metric: what is prepared.
        data: the data set.
        model: the model to score.
        device: where it is.
        split: the split to score: "validation", "test" or "train".
    """
    metric.split = split
    with (
        say_if_slow(f"preparing {metric.key} for the {split} split"),
        fork_rng(metric.seed, device),
    ):
        metric.prepare(data, model, device)
    drawn = model.sample_protocol() if metric.from_samples else {}
    return metric.protocol(data, model) | drawn


def measure(
    metric: Metric,
    data: Data,
    model: GenerativeModel,
    device: torch.device,
    prefix: str = "quality/",
) -> dict[str, float]:
    """Compute scores by the names under which they are logged, such as "quality/nats".

    The random numbers are those of the metric's seed; the caller's are not touched. Scores that
    are not finite numbers are left out: neither JSON nor a chart has a place for them.
    """
    with say_if_slow(f"scoring, {metric.key}"), fork_rng(metric.seed, device):
        scores = metric.compute(data, model, device)
    for name in [name for name, value in scores.items() if not math.isfinite(value)]:
        metric.leave_out([name], f"since it is {scores.pop(name)} at this step")
    return {f"{prefix}{name}": value for name, value in scores.items()}


def metrics_of(config: dict[str, Any]) -> dict[str, Metric]:
    """Build the metrics that a run's configuration names, by their keys.

    They are `quality`, unless that is none, and those among `callbacks`.
    """
    nodes = {"quality": config["quality"]}
    nodes |= {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    built = {path: build(checked(node, path), path) for path, node in nodes.items()}
    return {
        path.removeprefix("callbacks."): metric
        for path, metric in built.items()
        if isinstance(metric, Metric)
    }


def no_metric() -> None:
    """The choice quality=none."""
