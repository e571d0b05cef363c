"""How good the fakes are: FID, IS, KID, precision, recall, density and coverage, from one pass of a feature network.

A score means something only beside its protocol, so every one is written down: features and their hash, rounding, reference, N, seed.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import lightning as L
import torch
from pydantic import Field
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_bytes
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.quality.base import Evaluation, Judged, labelled, uses_ema
from gentrain.quality.cache import cached
from gentrain.quality.distances import (
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

if TYPE_CHECKING:
    from gentrain.data.arrays import ArrayDataset
    from gentrain.data.base import Data

KEPT = 10_000  # reference features that stay on disk for KID and for the neighbours, beside the moments of all of them
SPLITS = 10  # of the Inception score
NEIGHBOURS = 5  # of precision, recall, density and coverage


class NoQuality(L.Callback):
    """No scores."""


class ImageQuality(Evaluation):
    """Scores of the generator against a reference split, in the names `quality/fid_classifier`, or `quality/fid` for Inception alone.

    Args:
        features: the network that looks at the images.
        every: generator steps between two scores; there is one at step 0 (if `at_start`) and one at the end besides.
        samples: the number of fakes N. FID falls with N: compare equal N only, and quote 10,000 or more.
        batch_size: fakes made, and images looked at, at a time.
        seed: of noise, labels, subsets and splits; the same at every evaluation.
        reference: the split that fakes are compared with; `reference_samples` of it, all if None.
        kid_subsets, kid_subset_size: None takes 1,000, or what there is.
        prdc_samples: fakes, and reals, whose neighbours are looked for.
        cache: directory of what is computed once per data set.
    """

    def __init__(
        self,
        features: Features,
        every: Whole = 1000,
        samples: Annotated[int, Field(ge=2)] = 5000,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = True,
        reference: Literal["train", "test"] = "train",
        reference_samples: Count | None = None,
        kid_subsets: Count = 100,
        kid_subset_size: int | None = None,
        prdc_samples: Annotated[int, Field(ge=3)] = 2000,
        cache: str = "~/.cache/gentrain",
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        most = min(samples, KEPT)
        if kid_subset_size is not None and not 2 <= kid_subset_size <= most:
            raise UserError(
                f"KID cannot draw subsets of {kid_subset_size} from {samples} fakes (quality.kid_subset_size); give 2 to {most}, or null"
            )
        self.features = features
        self.reference, self.reference_samples = reference, reference_samples
        self.kid_subsets, self.kid_subset_size, self.prdc_samples = (
            kid_subsets,
            kid_subset_size,
            prdc_samples,
        )
        self.cache = Path(cache).expanduser()

    def check(self, data: "Data") -> None:
        if len(data.shape) != 3:
            raise UserError(
                f"this quality judges images, and data={data.name} gives points (quality); choose quality=modes or none"
            )
        self.features.check(data)
        size = len(data.load(self.reference).images[: self.reference_samples])
        if size < max(2, self.kid_subset_size or 0):
            raise UserError(
                f"the {self.reference} split gives {size} real images, too few for scores (quality.reference, quality.reference_samples, "
                "quality.kid_subset_size); give more data, smaller subsets, or quality=none"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        self.features.prepare(data, self.cache)
        if data.source_shape is not None:
            self.samples = min(
                self.samples, data.load("test").rows
            )  # a source twice is no second fake
        self.device = (
            model.device if model.device.type == "cuda" else torch.device("cpu")
        )  # other devices lack float64
        real = self._real(data, self.reference, self.reference_samples)
        self.real, self.real_features = Moments(real["mean"], real["cov"]), real["features"]
        other = "test" if self.reference != "test" else "train"
        held_out = self._real(data, other, self.samples)
        self.floor = {
            "value": frechet_distance(self.real, Moments(held_out["mean"], held_out["cov"])),
            "split": other,
            "samples": held_out["samples"],
        }
        model.protocols["quality"] = self.protocol(data, model, real["samples"])

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        source = data.load(self.given(data))
        features, logits = self.features.of(
            self.images(model, source), self.batch_size, self.device
        )
        named = self._distances(features, logits)
        if self.features.certain:
            named |= self._classes_kept(data, model, source, logits)
        scores = {"n": float(self.samples)} | {
            name.replace("*", self.features.suffix): value for name, value in named.items()
        }
        return {f"quality/{name}": value for name, value in scores.items()}

    def given(self, data: "Data") -> str:
        """The split whose labels are asked for; that of the sources of a translation is one that it was not trained on."""
        return self.reference if data.source_shape is None else "test"

    def of_sources(self, data: "Data") -> dict[str, Any]:
        """What the protocol says of what is translated."""
        if data.source_shape is None:
            return {}
        return {
            "sources": {
                "split": self.given(data),
                "digest": data.digest("test"),
                "degrade": getattr(data, "degrade", None),
            }
        }

    def protocol(self, data: "Data", model: Judged, reference_size: int) -> dict[str, Any]:
        """Everything that must be equal before two scores may be ranked."""
        return {
            "features": self.features.name,
            "features_hash": self.features.hash,
            **self.features.protocol(),
            "rounding": "uint8, round((x + 1) * 127.5), clamped",
            "reference": {
                "data": data.name,
                "split": self.reference,
                "digest": data.digest(self.reference),
                "samples": reference_size,
            },
            "samples": self.samples,
            **self.of_sources(data),
            "ema": uses_ema(model),
            "batch_norm": "eval",
            "truncation": None,
            "seed": self.seed,
            "is_splits": min(SPLITS, self.samples),
            "kid": {"subsets": self.kid_subsets, "subset_size": self._subset_size()},
            "prdc": {"k": NEIGHBOURS, "samples": self._neighbourhood()},
            f"fid{self.features.suffix}_floor": self.floor,
        }

    def _distances(self, features: Tensor, logits: Tensor) -> dict[str, float]:
        """All scores of one pass; `*` stands for the suffix."""
        mean, sd = inception_score(logits, min(SPLITS, self.samples), self.seed)
        near = self._neighbourhood()
        manifold = prdc(self.real_features[:near], features[:near], min(NEIGHBOURS, near - 1))
        scores = {
            "fid*": frechet_distance(self.real, moments(features)),
            "fid*_floor": self.floor["value"],
            "is*_mean": mean,
            "is*_std": sd,
            "kid*": kernel_distance(
                features, self.real_features, self.kid_subsets, self._subset_size(), self.seed
            ),
        }
        scores |= {f"{name}*": value for name, value in manifold._asdict().items()}
        return scores | (dict(class_histogram(logits)._asdict()) if self.features.certain else {})

    def _classes_kept(
        self, data: "Data", model: Judged, source: "ArrayDataset", logits: Tensor
    ) -> dict[str, float]:
        """Does the classifier see the class that was asked for, and that of an image in what was made of it (`class_kept`)?"""
        test = data.load("test")
        kept: dict[str, float] = {}
        if source.sources is not None and data.aligned and source.labels is not None:
            kept["class_kept"] = (
                (logits.argmax(1).cpu() == source.labels[self.asked(source)]).double().mean().item()
            )
        if labelled(model) and source.labels is not None:
            asked = source.labels[self.asked(source).to(source.labels.device)].to(logits.device)
            kept |= agreement(logits, asked, self.seed)._asdict()
        if reconstruct := getattr(getattr(model, "model", None), "reconstruct", None):
            rows = torch.arange(min(self.samples, len(test.images))).split(self.batch_size)
            given = None if labelled(model) else 1  # labels, where the model takes them
            again = torch.cat(
                [
                    to_bytes(reconstruct(*as_batch(test, chunk, model.device)[:given])).cpu()
                    for chunk in rows
                ]
            )
            found = self.features.of(again, self.batch_size, self.device)[1].argmax(1).cpu()
            kept["class_kept"] = (found == test.labels[: len(found)].cpu()).double().mean().item()  # type: ignore[index]
        return kept

    def _subset_size(self) -> int:
        return self.kid_subset_size or min(1000, self.samples, len(self.real_features))

    def _neighbourhood(self) -> int:
        return min(self.prdc_samples, self.samples, len(self.real_features))

    def _real(self, data: "Data", split: str, samples: int | None) -> dict[str, Any]:
        """Moments, and features in random order, of (at most `samples`) images of a split; from the cache after the first time."""
        key = [
            data.digest(split),
            split,
            samples,
            self.features.name,
            self.features.hash,
            self.seed,
            KEPT,
        ]
        path = self.cache / f"real-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.pt"
        return {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in cached(path, lambda: self._look(data, split, samples)).items()
        }

    def _look(self, data: "Data", split: str, samples: int | None) -> dict[str, Any]:
        images = data.load(split).images
        drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))[
            :samples
        ]
        chunks = (
            images[rows.to(images.device)] for rows in drawn.split(KEPT)
        )  # never a second copy of a large data set
        features = torch.cat(
            [self.features.of(chunk, self.batch_size, self.device)[0] for chunk in chunks]
        )
        mean, cov = moments(features)
        return {
            "mean": mean.cpu(),
            "cov": cov.cpu(),
            "features": features[:KEPT].cpu().clone(),
            "samples": len(features),
        }
