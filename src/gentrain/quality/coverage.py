"""Which modes of a known distribution does the generator reach?

Srivastava et al., "VEEGAN: Reducing mode collapse in GANs using implicit variational learning"
(2017); Lin et al., "PacGAN: The power of two samples in generative adversarial networks" (2018).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.capabilities import HasModes
from gentrain.data.labels import Exclusive, LabelKind
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel
from gentrain.quality.base import BINOMIAL, COUNT, ROUNDING, SampleMetric, Score
from gentrain.quality.classifier import Classifier
from gentrain.quality.features import LabelledImages

REACH = 3  # standard deviations from its mode within which a sample is of high quality


class Coverage(NamedTuple):
    """Modes with at least one sample of high quality, and the share of such samples."""

    modes_found: int
    high_quality: float


def coverage(points: Tensor, centres: Tensor, sd: float) -> Coverage:
    """Compare points (N, 2) with the centres (K, 2) of modes with standard deviation `sd`.

    A point is of high quality when its nearest centre is at most 3 sd away.

    >>> coverage(torch.tensor([[0.0, 0.0], [0.1, 0.0], [2.0, 2.0]]), torch.eye(2) - 1, 0.1)
    Coverage(modes_found=0, high_quality=0.0)
    """
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    good = distance <= REACH * sd
    return Coverage(len(nearest[good].unique()), good.double().mean().item())


class ModeCoverage(SampleMetric):
    """How many modes of a mixture of Gaussians samples reach; VEEGAN draws 2,500 points.

    Args:
        every: generator steps between two scores.
        samples: points drawn.
        batch_size: points at a time.
        seed: seed for all noise.
        at_start: score an untrained model, too.
    """

    key = "quality=modes"
    scores: ClassVar = {
        "modes_found": Score("modes", True, error=COUNT),
        "high_quality": Score("share of points", True, error=BINOMIAL),
        "n": Score("points", None),
    }

    def __init__(
        self,
        every: Whole = 1000,
        samples: Count = 2500,
        batch_size: Count = 2500,
        seed: Whole = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if not supports(data, HasModes):
            raise UserError(
                "quality=modes needs a mixture with known modes, and "
                f"data={data.name} has none (quality); choose data=gaussian_ring or "
                "gaussian_grid, or quality=classifier|inception|none"
            )

    def protocol(self, data: Any, model: GenerativeModel) -> dict[str, Any]:
        return {
            "protocol": f"VEEGAN: of high quality within {REACH} sd of the nearest mode; "
            "found with 1 such sample",
            "data": data.name,
            "modes": len(data.modes()),
            "sd": float(data.sd),
            "samples": self.samples,
            "ema": model.ema_generator is not None,
            "seed": self.seed,
        }

    def compute(self, data: Any, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        batches = self.draw(model, data.load("train"), device)
        found = coverage(
            torch.cat([points.cpu() for points in batches]), data.modes(), float(data.sd)
        )
        return {
            "modes_found": float(found.modes_found),
            "high_quality": found.high_quality,
            "n": float(self.samples),
        }


class StackedCoverage(SampleMetric):
    """How many of the 1,000 modes of Stacked MNIST, three digits in three channels, samples reach.

    A classifier of single digits, trained on the channels of the data set itself, names the three
    digits of each sample. `kl_to_uniform` is in nats. VEEGAN and PacGAN draw 26,000 samples; some
    thousands cannot hold all modes.

    Args:
        features: the classifier of digits.
        every: generator steps between two scores.
        samples: images drawn.
        batch_size: images at a time.
        seed: seed for all noise.
        at_start: score an untrained model, too.
        cache: the directory of the classifier.
    """

    key = "quality=stacked"
    scores: ClassVar = {
        "modes_found": Score("modes", True, error=COUNT),
        "kl_to_uniform": Score("nats", error="none: about (modes - 1) / (2 n) too high"),
        "n": Score("images", None),
    }

    def __init__(
        self,
        features: Classifier,
        every: Whole = 1000,
        samples: Count = 26000,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = False,
        cache: str = "~/.cache/gentrain",
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        self.features, self.cache = features, Path(cache).expanduser()

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if data.classes != 1000 or data.shape[0] != 3:
            raise UserError(
                "quality=stacked counts the 1,000 digit triples of data=stacked_mnist, and got "
                f"data={data.name} (quality); choose quality=classifier|none"
            )

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        self.features.prepare(SingleDigits(data), self.cache)

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return {
            "protocol": "VEEGAN: a fake's mode is what a digit classifier reads in its three "
            "channels; found with 1 fake",
            "features": self.features.name,
            "features_hash": self.features.hash,
            **self.features.protocol(),
            "rounding": ROUNDING,
            "modes": 1000,
            "samples": self.samples,
            "ema": model.ema_generator is not None,
            "seed": self.seed,
        }

    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        images = self.images(model, data.load("train"), device)
        channels = images.flatten(0, 1).unsqueeze(1)
        _, logits = self.features.of(channels, self.batch_size, device)
        digits = logits.argmax(1).view(-1, 3).cpu()
        counts = (digits @ torch.tensor([100, 10, 1])).bincount(minlength=1000)
        return {
            "modes_found": float((counts > 0).sum()),
            "kl_to_uniform": kl_to_uniform(counts),
            "n": float(self.samples),
        }


def kl_to_uniform(counts: Tensor) -> float:
    """KL(p || u) = log K - H(p), in nats, of a histogram (K,).

    >>> round(kl_to_uniform(torch.tensor([4, 0])), 4)  # log 2
    0.6931
    """
    p = counts.double() / counts.sum()
    return math.log(len(counts)) - torch.special.entr(p).sum().item()


class SingleDigits:
    """Stacked MNIST as three times as many images of one digit each.

    Label abc stands for the digits a, b and c in the three channels.
    """

    classes: int | None = 10
    label_kind: LabelKind = Exclusive()

    def __init__(self, data: LabelledImages) -> None:
        self.data, self.name = data, f"{data.name} by channel"

    def digest(self, split: str) -> str:
        return f"{self.data.digest(split)} by channel"

    def load(self, split: str) -> ArrayDataset:
        images, labels, _ = self.data.load(split)
        assert labels is not None
        digits = torch.stack([labels // 100, labels // 10 % 10, labels % 10], 1)
        return ArrayDataset(images.flatten(0, 1).unsqueeze(1), digits.flatten())
