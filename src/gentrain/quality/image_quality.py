"""How good samples are: FID, IS, KID, precision, recall, density and coverage.

All come from one pass of a feature network. A score means something only together with its
protocol, so every score is written down with it: features and their hash, rounding, reference, N
and seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset, random_rows, to_bytes
from gentrain.data.base import Data
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel, Reconstructs
from gentrain.quality.base import BINOMIAL, COUNT, LEAST, ROUNDING, SampleMetric, Score, split_of
from gentrain.quality.cache import cached
from gentrain.quality.distances import (
    Manifold,
    Moments,
    agreement,
    class_histogram,
    frechet_distance,
    inception_score,
    kernel_distance,
    moments,
    prdc,
)
from gentrain.quality.features import Features

KEPT = 10_000  # reference features on disk, for KID and neighbours; the moments are of all of them
OTHERS = {"points": "modes", "sounds": "spectral"}  # scores of what is no image
SPLITS = 10  # of the Inception score
NEIGHBOURS = 5  # of precision, recall, density and coverage
# why a score has no error of its own; see `Score.error`
BIASED = "none known: its bias, which falls with n, is larger than its spread"
NEIGHBOURLY = "none known: all samples share their neighbours"


class ImageQuality(SampleMetric):
    """Scores of samples against real images.

    Their names end in the suffix of the features: `fid_classifier`, or `fid` for Inception alone.
    `fid_floor` is the distance of as many real images, which are not of the reference. Where there
    are fewer of them, say 4,050, the score is named `fid_floor_of_4050`, since FID falls with N.
    Where the data have no other split, the floor is of at most half of the reference, drawn at
    random, against its other images.

    `is_std` is the standard deviation over the splits of the samples, and `kid_std` that over
    subsets (torch-fidelity's): neither is a standard error of the mean, since subsets share
    samples. Where all real images have the same features, the balls around them have no radius, and
    precision, recall, density and coverage are left out.

    Args:
        features: the network that looks at the images.
        every: generator steps between two scores.
        samples: the number of samples N. FID falls with N: compare equal N only, and quote 10,000
            or more.
        batch_size: images that are drawn, and looked at, at a time.
        seed: seed for noise, labels, subsets and splits; the same for every score.
        at_start: score an untrained model, too.
        reference: the images with which samples are compared: "held_out", those of the split that
            is scored, or "train", as papers have it. A model that repeats what it has learned is
            good by "train".
        reference_samples: how many images of it; None for all.
        kid_subsets: subsets whose KIDs are averaged.
        kid_subset_size: None for 1,000, or half of the smaller set, so that subsets differ.
        prdc_samples: samples, and real images, whose neighbours are looked for.
        cache: the directory of what is computed once per data set.
        optional: where there are few held-out images, warn in place of scoring.
    """

    key = "quality=classifier"
    options: ClassVar = {**SampleMetric.options, "n": "wanted", "split": "split"}
    scores: ClassVar = {
        "fid*_floor*": Score("squared distance of features", None),
        "fid*": Score("squared distance of features", error=BIASED),
        "is*_std": Score("effective classes", None),
        "is*_mean": Score("effective classes", True, error="is*_std"),
        "kid*_std": Score("squared MMD", None),
        "kid*": Score("squared MMD", error="kid*_std"),
        "precision*": Score("share of samples", True, error=NEIGHBOURLY),
        "recall*": Score("share of real images", True, error=NEIGHBOURLY),
        "density*": Score("real balls per sample / k", True, error=NEIGHBOURLY),
        "coverage*": Score("share of real images", True, error=NEIGHBOURLY),
        "confident": Score("share of samples", True, error=BINOMIAL),
        "classes_covered": Score("classes", True, error=COUNT),
        "class_entropy": Score("nats / log K", True, error="about (K - 1) / (2 n log K) too low"),
        "class_kept": Score("share of samples", True, error=BINOMIAL),
        "label_agreement_permuted": Score("share of samples", None),
        "label_agreement": Score("share of samples", True, error=BINOMIAL),
        "n": Score("samples", None),
    }

    def __init__(
        self,
        features: Features,
        every: Whole = 1000,
        samples: Annotated[int, Field(ge=2)] = 5000,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = True,
        reference: Literal["held_out", "train"] = "held_out",
        reference_samples: Count | None = None,
        kid_subsets: Count = 100,
        kid_subset_size: int | None = None,
        prdc_samples: Annotated[int, Field(ge=3)] = 2000,
        cache: str = "~/.cache/gentrain",
        optional: bool = False,
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        most = min(samples, KEPT)
        if kid_subset_size is not None and not 2 <= kid_subset_size <= most:
            raise UserError(
                f"KID cannot draw subsets of {kid_subset_size} from {samples} samples "
                f"(quality.kid_subset_size); give 2 to {most}, or null"
            )
        self.key = self.key_of(features)
        self.features, self.cache = features, Path(cache).expanduser()
        self.of_train, self.reference_samples = reference == "train", reference_samples
        self.wanted, self.optional = samples, optional
        self.kid_subsets, self.kid_subset_size = kid_subsets, kid_subset_size
        self.prdc_samples = prdc_samples

    def key_of(self, features: Features) -> str:
        """What chooses this metric, as typed."""
        return f"quality={features.choice or features.name}"

    def check(self, data: Data, model: GenerativeModel) -> None:
        self.samples = self.wanted
        super().check(data, model)
        if len(data.shape) != 3:
            raise UserError(
                f"this quality is of images, and data={data.name} gives {data.things} (quality); "
                f"choose quality={OTHERS[data.things]} or none"
            )
        self.features.check(data)
        size = len(data.load(self.reference).images[: self.reference_samples])
        if size < max(2, self.kid_subset_size or 0):
            raise UserError(
                f"the {self.reference} split gives {size} real images, too few for scores "
                "(quality.reference, quality.reference_samples, quality.kid_subset_size); "
                "give more data, smaller subsets, or quality=none"
            )
        held_out, least = len(data.load(self.split).images), LEAST if self.optional else 2
        if held_out < least:
            raise UserError(
                f"the {self.split} split of data={data.name} has {held_out} images, too few for "
                f"scores, which need {least} (data, quality); give more data"
                + ("" if self.optional else ", or quality=none")
            )
        self.warn_of_few(data, min(size, held_out))
        if (self.kid_subset_size or 0) > self.samples:  # `eval` may have changed the number
            raise UserError(
                f"KID cannot draw subsets of {self.kid_subset_size} from {self.samples} samples "
                "(n, quality.kid_subset_size); give more samples, or null"
            )

    def warn_of_few(self, data: Data, real: int) -> None:
        """Say which numbers of images are too small for the scores that were asked for.

        The covariance of N features of F values has a rank of at most N - 1. Below F it is
        singular, and the distance is of the noise of the estimate.
        """
        size, split = self.features.size, f"{self.reference} images of data={data.name}"
        if real < LEAST:
            self.warn(
                f"{real} {split} are too few for scores that mean anything, since {LEAST} are the "
                "least; give more data, or quality=none"
            )
        elif real <= size:
            self.warn(
                f"{real} {split} for {size} features: their covariance is singular, and FID is "
                "too high; compare with equal numbers alone"
            )
        if self.samples <= size:
            self.warn(
                f"{self.samples} samples for {size} features: their covariance is singular, and "
                f"FID is too high (n, quality.samples); give more than {size}, 5000 is usual"
            )

    @property
    def reference(self) -> str:
        """The split with which samples are compared."""
        return "train" if self.of_train else self.split

    @property
    def floor_split(self) -> str:
        """The split of the real images of the floor, which are not of the reference."""
        if self.reference != "train":
            return "train"
        return "test" if self.split == "train" else self.split

    @property
    def floor_name(self) -> str:
        """The name of the floor, with its number of images unless that is the samples'."""
        name, n = f"fid{self.features.suffix}_floor", self.floor["samples"]
        return name if n == self.samples else f"{name}_of_{n}"

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        self.features.prepare(data, self.cache)
        self.samples = self.wanted
        if data.source_shape is not None:  # a second sample from the same source is no new one
            self.samples = min(self.wanted, data.load(self.split).rows)
        # other devices than these two lack float64
        self.device = device if device.type == "cuda" else torch.device("cpu")
        real = self._real(data, self.reference, self.reference_samples)
        self.real, self.real_features = Moments(real["mean"], real["cov"]), real["features"]
        self.reference_size = real["samples"]
        self.floor = self._floor_within() if data.one_set else self._floor(data)

    def _floor(self, data: Data) -> dict[str, Any]:
        """The distance of as many real images, of another split than the reference."""
        others = self._real(data, self.floor_split, self.samples)
        return {
            "value": frechet_distance(self.real, Moments(others["mean"], others["cov"])),
            "split": self.floor_split,
            "samples": others["samples"],
        }

    def _floor_within(self) -> dict[str, Any]:
        """The distance of at most half of the reference, drawn at random, from its other images.

        It is for data without another split. Features of two images or more have moments.
        """
        count = min(self.samples, len(self.real_features) // 2)
        apart, rest = self.real_features[:count], self.real_features[count:]
        defined = count >= 2
        return {
            "value": frechet_distance(moments(rest), moments(apart)) if defined else math.nan,
            "split": "drawn from the reference, against its other images",
            "samples": count,
            "reference_samples": len(rest),
        }

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return {
            "features": self.features.name,
            "features_hash": self.features.hash,
            **self.features.protocol(),
            "rounding": ROUNDING,
            "reference": {
                "data": data.name,
                "split": split_of(data, self.reference),
                "digest": data.digest(self.reference),
                "samples": self.reference_size,
            },
            "samples": self.samples,
            **self._sources(data),
            "ema": model.ema_generator is not None,
            "batch_norm": "eval",
            "truncation": None,
            "seed": self.seed,
            "is_splits": min(SPLITS, self.samples),
            "kid": {
                "subsets": self.kid_subsets,
                "subset_size": self._subset_size(),
                "std": "over subsets (torch-fidelity)",
            },
            "prdc": {"k": self._neighbours(), "samples": self._neighbourhood()},
            self.floor_name: self.floor,
        }

    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        source = data.load(self._sample_split(data))
        features, logits = self._of_samples(model, source, device)
        scores = {"n": float(self.samples)} | self._distances(features, logits)
        if self.features.knows_classes:
            seen = class_histogram(logits)._asdict()
            scores |= {name: float(value) for name, value in seen.items()}
            scores |= self._class_of_source(data, source, logits)
            scores |= self._label_agreement(model, source, logits)
            scores |= self._class_of_reconstruction(data, model, device)
        return scores

    def _of_samples(
        self, model: GenerativeModel, source: ArrayDataset, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Features and logits of all samples; of their images no more than a batch is kept."""
        batches = (
            self.features.of(to_bytes(images), self.batch_size, self.device)
            for images in self.draw(model, source, device)
        )
        features, logits = zip(*batches, strict=True)
        return torch.cat(features), torch.cat(logits)

    def _sample_split(self, data: Data) -> str:
        """The split whose labels, or whose sources, samples are made for.

        Sources are held-out ones.
        """
        return self.reference if data.source_shape is None else self.split

    def _sources(self, data: Data) -> dict[str, Any]:
        """What the protocol says of the sources of a translation."""
        if data.source_shape is None:
            return {}
        split, digest = split_of(data, self.split), data.digest(self.split)
        return {"sources": {"split": split, "digest": digest, "degrade": data.degrade}}

    def _distances(self, features: Tensor, logits: Tensor) -> dict[str, float]:
        """Scores of one pass of the feature network."""
        suffix = self.features.suffix
        mean, sd = inception_score(logits, min(SPLITS, self.samples), self.seed)
        own = {f"is{suffix}_mean": mean, f"is{suffix}_std": sd}
        return self._against_real(features) | own

    def _against_real(self, features: Tensor) -> dict[str, float]:
        """Scores against real images, where their features differ.

        Otherwise the features tell nothing apart: a distance of 0 would mean no likeness.
        """
        suffix, near = self.features.suffix, self._neighbourhood()
        if constant(self.real_features):
            names = ["fid", "kid", *Manifold._fields]
            self.leave_out(
                [f"{name}{suffix}" for name in names],
                "since all real images have the same features",
            )
            return {}
        kid = kernel_distance(
            features, self.real_features, self.kid_subsets, self._subset_size(), self.seed
        )
        manifold = prdc(self.real_features[:near], features[:near], self._neighbours())
        shares = {f"{name}{suffix}": value for name, value in manifold._asdict().items()}
        deviation = {} if kid.std is None else {f"kid{suffix}_std": kid.std}
        return {
            f"fid{suffix}": frechet_distance(self.real, moments(features)),
            self.floor_name: self.floor["value"],
            f"kid{suffix}": kid.mean,
            **deviation,
            **shares,
        }

    def _class_of_source(
        self, data: Data, source: ArrayDataset, logits: Tensor
    ) -> dict[str, float]:
        """Does the classifier see the class of an image in its translation?"""
        if source.sources is None or not data.aligned or source.labels is None:
            return {}
        return {"class_kept": share(logits.argmax(1).cpu() == source.labels[self.rows(source)])}

    def _label_agreement(
        self, model: GenerativeModel, source: ArrayDataset, logits: Tensor
    ) -> dict[str, float]:
        """Does the classifier see the class that a sample was made for?"""
        if not model.labelled or source.labels is None:
            return {}
        labels = source.labels[self.rows(source).to(source.labels.device)].to(logits.device)
        return agreement(logits, labels, self.seed)._asdict()

    def _class_of_reconstruction(
        self, data: Data, model: Any, device: torch.device
    ) -> dict[str, float]:
        """Does the classifier see the class of a held-out image in its reconstruction?"""
        if not supports(model, Reconstructs):
            return {}
        held_out = data.load(self.split)
        assert held_out.labels is not None
        parts = None if model.labelled else 1  # images, with labels where the model takes them
        rows = random_rows(len(held_out.images), self.samples, self.seed)
        chunks = rows.split(self.batch_size)
        batches = (as_batch(held_out, chunk, device)[:parts] for chunk in chunks)
        images = torch.cat([to_bytes(model.reconstruct(*batch)).cpu() for batch in batches])
        predicted = self.features.of(images, self.batch_size, self.device)[1].argmax(1).cpu()
        return {"class_kept": share(predicted == held_out.labels.cpu()[rows])}

    def _subset_size(self) -> int:
        half = min(self.samples, len(self.real_features)) // 2
        return self.kid_subset_size or min(1000, max(2, half))

    def _neighbours(self) -> int:
        """k: that of the papers, or as many as there are."""
        return min(NEIGHBOURS, self._neighbourhood() - 1)

    def _neighbourhood(self) -> int:
        return min(self.prdc_samples, self.samples, len(self.real_features))

    def _real(self, data: Data, split: str, samples: int | None) -> dict[str, Any]:
        """Moments of images of a split, and features in random order, from the cache if possible.

        Args:
            data: the data set.
            split: its name.
            samples: at most so many images; None for all.
        """
        digest, name = data.digest(split), self.features.name
        key = [digest, split, samples, name, self.features.hash, self.seed, KEPT]
        path = self.cache / f"real-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.pt"
        kept = cached(path, lambda: self._reference(data, split, samples))
        return kept | {name: kept[name].to(self.device) for name in ("mean", "cov", "features")}

    def _reference(self, data: Data, split: str, samples: int | None) -> dict[str, Any]:
        """What `_real` keeps in the cache."""
        images = data.load(split).images
        order = random_rows(len(images), samples, self.seed)
        # in chunks, since a large data set must not be copied as a whole
        chunks = (images[rows.to(images.device)] for rows in order.split(KEPT))
        found = [self.features.of(chunk, self.batch_size, self.device)[0] for chunk in chunks]
        features = torch.cat(found)
        mean, cov = moments(features)
        return {
            "mean": mean.cpu(),
            "cov": cov.cpu(),
            "features": features[:KEPT].cpu().clone(),
            "samples": len(features),
        }


def share(hits: Tensor) -> float:
    """The share of True."""
    return hits.double().mean().item()


def constant(features: Tensor) -> bool:
    """Whether all features (N, F) are the same, up to what the size of a batch changes.

    >>> constant(torch.tensor([[1.0, 2.0], [1.0, 2.0000001]])), constant(torch.eye(2))
    (True, False)
    """
    first = features[0]
    return bool((features - first).abs().max() <= 1e-5 * first.abs().max())
