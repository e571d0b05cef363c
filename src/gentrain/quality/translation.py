"""What a translation between domains keeps and what it changes, on held-out images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset, to_bytes, to_float
from gentrain.data.base import Data
from gentrain.data.capabilities import HasContent, HasDomainRule
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel, TranslatesBack
from gentrain.quality.base import BINOMIAL, ROUNDING, Metric, Score, refuse_not_finite, split_of
from gentrain.quality.classifier import Classifier
from gentrain.quality.likelihood import mean_and_error


class RoundTrip(Metric):
    """Scores of held-out images that are translated to another domain and back.

    cycle_error: mean over pixels in [-1, 1] of |x - back|; cycle_error_error is its standard error
        over images.
    domain_accuracy: share of translations that are of the wanted domain; of attributes that are as
        wanted, where images have several at once.
    class_there: where the content of images is known (their digit), the share whose class a
        classifier still sees in the translation.
    class_kept: the same after the way back.

    The domain of an image follows from the data's exact rule, where there is one, else from a
    classifier of domains. Classifiers learn once, from the train split. Their own accuracy on the
    test split is in the protocol; read a score beside it.

    Args:
        features: the options of the classifiers.
        every: generator steps between two scores.
        samples: held-out images that are translated, or all if there are fewer.
        batch_size: images at a time.
        seed: seed for the choice of images and domains, and for all noise.
        at_start: score an untrained model, too.
        cache: the directory of the classifiers.
    """

    key = "quality=translation"
    requires = TranslatesBack
    from_samples = True
    options: ClassVar = {**Metric.options, "n": "samples", "split": "split"}
    scores: ClassVar = {
        "cycle_error": Score("pixels in [-1, 1]", error="cycle_error_error"),
        "cycle_error_error": Score("pixels in [-1, 1]", None),
        "domain_accuracy": Score("share of images", True, error=BINOMIAL),
        "class_there": Score("share of images", True, error=BINOMIAL),
        "class_kept": Score("share of images", True, error=BINOMIAL),
        "n": Score("images", None),
    }

    def __init__(
        self,
        features: Classifier,
        every: Whole = 1000,
        samples: Annotated[int, Field(ge=2)] = 1000,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        cache: str = "~/.cache/gentrain",
    ) -> None:
        super().__init__(every, batch_size, seed, at_start)
        self.samples, self.features, self.cache = samples, features, Path(cache).expanduser()
        self.classifiers: dict[str, Classifier] = {}

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if (data.classes or 1) < 2 and data.source_shape is None:
            raise UserError(
                f"data={data.name} has no domains to translate between (quality, data); "
                "choose quality=none, or other data"
            )
        self.warn_of_rough_means(data)

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        tasks = {} if supports(data, HasDomainRule) else {"domain": by_domain(data)}
        if supports(data, HasContent):
            known = cast(HasContent, data)
            tasks["content"] = {split: known.content(split) for split in LEARNED}
        self.classifiers = {}
        for task, samples in tasks.items():
            if samples is not None:
                self.classifiers[task] = classifier = self.features.another()
                classifier.prepare(RelabelledImages(data, task, samples), self.cache)

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        learned = self.classifiers.items()
        return {
            "name": "held-out images to another domain, each of the others as likely, and back",
            "data": data.name,
            "digest": data.digest(self.split),
            "split": split_of(data, self.split),
            "samples": len(self.rows(data)),
            "domains": "rule of the data" if supports(data, HasDomainRule) else "classifier",
            "rounding": ROUNDING,
            **{f"{task}_hash": classifier.hash for task, classifier in learned},
            **{f"{task}_classifier_accuracy": classifier.accuracy for task, classifier in learned},
            "ema": model.ema_generator is not None,
            "seed": self.seed,
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        rows = self.rows(data)
        x, own = starting_images(data.load(self.split), rows)
        ones = torch.ones(len(x), dtype=torch.int64)
        wanted = model.other_domains(own) if model.labelled else ones
        pairs = list(self.translate(model, device, x, own, wanted))
        there, back = (torch.cat(images) for images in zip(*pairs, strict=True))
        error = (back - to_float(x)).abs().flatten(1).mean(1)
        scores = mean_and_error("cycle_error", error.double()) | {"n": float(len(x))}
        there, back = to_bytes(there), to_bytes(back)
        domains = self.domains(data, there)
        if domains is not None:
            scores["domain_accuracy"] = share(domains == wanted)
        if supports(data, HasContent):
            labels = cast(HasContent, data).content(self.split).labels
            assert labels is not None
            classify = self.classifiers["content"].predict
            scores["class_there"] = share(classify(there) == labels[rows])
            scores["class_kept"] = share(classify(back) == labels[rows])
        return scores

    def translate(
        self, model: Any, device: torch.device, x: Tensor, own: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Translate uint8 images from their own domains to the wanted ones and back.

        Returns:
            Pairs of a batch of translations and their ways back, on the CPU.
        """
        parts = (part.split(self.batch_size) for part in (x, own, wanted))
        for images, home, target in zip(*parts, strict=True):
            there = model.translate(to_float(images.to(device)), target.to(device))
            back = model.translate_back(there, home.to(device))
            refuse_not_finite(there, "translations")
            refuse_not_finite(back, "translations back")
            yield there.float().cpu(), back.float().cpu()

    def rows(self, data: Data) -> Tensor:
        """Rows of the held-out images in a fixed random order."""
        count = len(starting_images(data.load(self.split))[0])
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        return order[: self.samples]

    def domains(self, data: Data, images: Tensor) -> Tensor | None:
        """The domain of each image, (N,); None where neither a rule nor a classifier tells."""
        if supports(data, HasDomainRule):
            return cast(HasDomainRule, data).domain_of(images)
        return self.classifiers["domain"].predict(images) if "domain" in self.classifiers else None


def starting_images(samples: ArrayDataset, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What a translation may start from, as uint8 on the CPU, and its domains.

    It starts from the sources, which are all of domain 0, or from images with their labels.

    Args:
        samples: a split of a data set.
        rows: (n,); those beyond the last source begin anew. None for all.
    """
    if samples.sources is not None:
        images, labels = samples.sources, torch.zeros(len(samples.sources), dtype=torch.int64)
    else:
        assert samples.labels is not None
        images, labels = samples.images, samples.labels
    if rows is None:
        return images.cpu(), labels.cpu()
    rows = rows % len(images)
    return images[rows].cpu(), labels[rows].cpu()


LEARNED = ("train", "test")  # what a classifier learns from, and where its own accuracy is of


def by_domain(data: Data) -> dict[str, ArrayDataset] | None:
    """Images with their domains as labels.

    None where the images of two domains differ in shape, so that no classifier sees both.
    """
    if data.source_shape is None:
        return {split: data.load(split) for split in LEARNED}
    if tuple(data.source_shape) != tuple(data.shape):
        return None
    return {split: joined(data.load(split)) for split in LEARNED}


def joined(samples: ArrayDataset) -> ArrayDataset:
    """The sources, with label 0, and then the images, with label 1."""
    assert samples.sources is not None
    counts = torch.tensor([len(samples.sources), len(samples.images)])
    labels = torch.arange(2).repeat_interleave(counts)
    return ArrayDataset(torch.cat([samples.sources, samples.images]), labels)


class RelabelledImages:
    """A data set with other labels.

    Args:
        data: the data set.
        task: what the labels are, for names and digests.
        samples: the images and their labels, by split.
    """

    def __init__(self, data: Data, task: str, samples: dict[str, ArrayDataset]) -> None:
        self.data, self.task, self.samples = data, task, samples
        self.name = f"{data.name} by {task}"
        labels = samples["train"].labels
        assert labels is not None
        own = task == "domain" and data.source_shape is None  # the data's own labels
        self.label_kind = data.label_kind if own else Exclusive()
        self.classes: int | None = data.classes if own else int(labels.max()) + 1

    def digest(self, split: str) -> str:
        return hashlib.sha256(f"{self.data.digest(split)} {self.task}".encode()).hexdigest()

    def load(self, split: str) -> ArrayDataset:
        return self.samples[split]


def share(hits: Tensor) -> float:
    """The share of True."""
    return hits.double().mean().item()
