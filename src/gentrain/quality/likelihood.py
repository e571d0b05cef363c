"""How probable a model finds images that it was not trained on."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.quality.base import Evaluation, Judged

if TYPE_CHECKING:
    from gentrain.data.base import Data


class HeldOutMetric(Evaluation):
    """Scores of `images` of a split (all, for None), the same ones every time; no fakes are drawn."""

    of_fakes = False

    def __init__(
        self, every: int, images: int | None, batch_size: int, seed: int, at_start: bool, split: str
    ) -> None:
        super().__init__(every, 2, batch_size, seed, at_start)
        self.count, self.split = images, split

    def check(self, data: "Data") -> None:
        if self.split not in ("train", "test"):
            raise UserError(
                f"there is no split {self.split!r} (quality.split); write test or train"
            )

    def about(self, data: "Data") -> dict[str, Any]:
        """What the protocol says of the images."""
        total = len(data.load(self.split).images)
        return {
            "data": data.name,
            "split": self.split,
            "digest": data.digest(self.split),
            "images": min(self.count or total, total),
            "dimensions": math.prod(data.shape),
            "seed": self.seed,
        }

    def batches(self, data: "Data", device: torch.device) -> Iterator[tuple[Tensor, ...]]:
        source = data.load(self.split)
        rows = torch.randperm(
            len(source.images), generator=torch.Generator().manual_seed(self.seed)
        )[: self.count]
        return (as_batch(source, chunk, device) for chunk in rows.split(self.batch_size))


def mean_and_error(values: Tensor) -> dict[str, float]:
    """The mean of -log p over images, with its standard error."""
    return {
        "quality/nats": values.mean().item(),
        "quality/nats_error": (values.std() / math.sqrt(len(values))).item(),
    }


class LogLikelihood(HeldOutMetric):
    """`quality/nats`: the mean of -log p(x) over test images, and `quality/bits_per_dim` = nats / (D log 2).

    `quality/nats_of_values` is that of the modelled values where these are others than the pixels (logit space), as papers on
    flows give it.

    Args:
        images: how many of the split; null for all. The same ones every time.
        importance: samples S of the importance-weighted bound, where log p is not exact.
        every, batch_size, seed, at_start: as of `gentrain.quality.image_quality.ImageQuality`.
    """

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 1000,
        importance: Count = 50,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        split: str = "test",
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.importance = importance

    def prepare(self, data: "Data", model: Judged) -> None:
        density: Any = cast(Any, model).model
        if not hasattr(density, "log_likelihood"):
            raise UserError(
                "a game has no likelihood to score (quality=nats); choose quality=classifier, inception or none"
            )
        unit = {"unit": "nats an image; bits_per_dim = nats / (D ln 2)"}
        model.protocols["quality"] = density.protocol(self.importance) | unit | self.about(data)

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        density: Any = cast(Any, model).model
        batches = list(self.batches(data, model.device))
        scores = mean_and_error(
            -torch.cat(
                [density.log_likelihood(batch, self.importance) for batch in batches]
            ).double()
        )
        log_det = torch.cat([density.pixels(batch[0])[1] for batch in batches]).double()
        if log_det.any():  # of the same images, dequantised anew, which leaves the mean as it is
            scores["quality/nats_of_values"] = scores["quality/nats"] + log_det.mean().item()
        return scores | {
            "quality/bits_per_dim": scores["quality/nats"] / math.prod(data.shape) / math.log(2)
        }
