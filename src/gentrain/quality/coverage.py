"""Which modes of a known distribution does the generator reach?

Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning" (2017); Lin et al., "PacGAN" (2018).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset
from gentrain.errors import UserError
from gentrain.quality.base import Evaluation, Judged, uses_ema
from gentrain.quality.classifier import Classifier

if TYPE_CHECKING:
    from gentrain.data.base import Data

REACH = 3  # standard deviations from its mode within which a sample is of high quality


class Found(NamedTuple):
    """Modes with at least one sample of high quality, and the share of samples that are."""

    modes_found: int
    high_quality: float


def found(points: Tensor, centres: Tensor, sd: float) -> Found:
    """Points (N, 2) against centres (K, 2): of high quality within 3 sd of the nearest centre."""
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    good = distance <= REACH * sd
    return Found(len(nearest[good].unique()), good.double().mean().item())


class ModeCoverage(Evaluation):
    """`quality/modes_found` and `quality/high_quality` on the ring of 8 and the grid of 25 Gaussians; VEEGAN draws 2,500 points.

    Args: as of `gentrain.quality.image_quality.ImageQuality`.
    """

    def __init__(
        self,
        every: Whole = 1000,
        samples: Count = 2500,
        batch_size: Count = 2500,
        seed: Whole = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)

    def check(self, data: "Data") -> None:
        if not hasattr(data, "modes"):
            raise UserError(
                f"quality=modes needs a mixture of known modes, and data={data.name} has none (quality); "
                "choose data=gaussian_ring or gaussian_grid, or quality=classifier|inception|none"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        mixture: Any = data
        model.protocols["quality"] = {
            "protocol": f"VEEGAN: of high quality within {REACH} sd of the nearest mode; found with 1 such sample",
            "data": data.name,
            "modes": len(mixture.modes()),
            "sd": float(mixture.sd),
            "samples": self.samples,
            "ema": uses_ema(model),
            "seed": self.seed,
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        mixture: Any = data
        points = torch.cat([points.cpu() for points in self.fakes(model, data.load("train"))])
        result = found(points, mixture.modes(), float(mixture.sd))
        return {f"quality/{name}": float(value) for name, value in result._asdict().items()} | {
            "quality/n": float(self.samples)
        }


class StackedCoverage(Evaluation):
    """Stacked MNIST, three digits in three channels: `quality/modes_found` of 1,000, and `quality/kl_to_uniform` in nats.

    A classifier of single digits, trained on the channels of the data set itself, names the three digits of each fake.
    VEEGAN and PacGAN draw 26,000 fakes; fewer than some thousands cannot hold all modes.
    """

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

    def check(self, data: "Data") -> None:
        if data.classes != 1000 or data.shape[0] != 3:
            raise UserError(
                f"quality=stacked counts the 1,000 digit triples of data=stacked_mnist, and got data={data.name} (quality); "
                "choose quality=classifier|none"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        self.features.prepare(
            cast("Data", Channels(data)), self.cache
        )  # all of Data that a classifier reads
        model.protocols["quality"] = {
            "protocol": "VEEGAN: a fake's mode is what a digit classifier reads in its three channels; found with 1 fake",
            "features": self.features.name,
            "features_hash": self.features.hash,
            **self.features.protocol(),
            "rounding": "uint8, round((x + 1) * 127.5), clamped",
            "modes": 1000,
            "samples": self.samples,
            "ema": uses_ema(model),
            "seed": self.seed,
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        images = self.images(model, data.load("train"))
        _, logits = self.features.of(
            images.flatten(0, 1).unsqueeze(1), self.batch_size, model.device
        )
        digits = logits.argmax(1).view(-1, 3).cpu()
        counts = (digits @ torch.tensor([100, 10, 1])).bincount(minlength=1000)
        return {
            "quality/modes_found": float((counts > 0).sum()),
            "quality/kl_to_uniform": kl_to_uniform(counts),
            "quality/n": float(self.samples),
        }


def kl_to_uniform(counts: Tensor) -> float:
    """KL(p || u) = log K - H(p), in nats, of a histogram (K,)."""
    p = counts.double() / counts.sum()
    return math.log(len(counts)) - torch.special.entr(p).sum().item()


class Channels:
    """Stacked MNIST (label abc: digits a, b, c in the channels) seen as three times as many single digits."""

    classes = 10

    def __init__(self, data: "Data") -> None:
        self.data, self.name = data, f"{data.name} by channel"

    def digest(self, split: str) -> str:
        return f"{self.data.digest(split)} by channel"

    def load(self, split: str) -> ArrayDataset:
        images, labels, _ = self.data.load(split)
        assert labels is not None
        return ArrayDataset(
            images.flatten(0, 1).unsqueeze(1),
            torch.stack([labels // 100, labels // 10 % 10, labels % 10], 1).flatten(),
        )
