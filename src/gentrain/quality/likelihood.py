"""How probable a model finds images that it was not trained on."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.base import Data
from gentrain.models.base import HasLikelihood
from gentrain.quality.base import HeldOutMetric, Score


class LogLikelihood(HeldOutMetric):
    """The mean of -log p(x) over test images, in nats, and in bits per dimension.

    `nats` is the mean of -log p(x), `bits_per_dim` = nats / (D log 2). `nats_of_values` is -log p
    of the modelled values where these are not the pixels (logit space), as papers on flows give it.

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        importance: samples S of the importance-weighted bound, where log p is not exact.
        batch_size: images at a time.
        seed: seed for the choice of images, and for all noise.
        at_start: score an untrained model, too.
        split: "test" or "train".
    """

    key = "quality=nats"
    requires = HasLikelihood
    scores: ClassVar = {
        "nats": Score("nats per image"),
        "nats_error": Score("nats per image", None),
        "nats_of_values": Score("nats per image"),
        "bits_per_dim": Score("bits per dimension"),
    }

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

    def options_for(self, model: Any) -> dict[str, str]:
        bound = model.is_bound
        return self.options | ({"importance": "importance"} if bound else {})

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        unit = {"unit": "nats an image; bits_per_dim = nats / (D ln 2)"}
        return model.protocol(self.importance) | unit | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        batches = list(self.batches(data, device))
        log_p = [model.log_likelihood(batch, self.importance) for batch in batches]
        scores = mean_and_error(-torch.cat(log_p).double())
        log_det = torch.cat([model.pixels(batch[0])[1] for batch in batches]).double()
        if log_det.any():  # of the same images, with new dequantisation noise: the mean is the same
            scores["nats_of_values"] = scores["nats"] + log_det.mean().item()
        return scores | {"bits_per_dim": scores["nats"] / math.prod(data.shape) / math.log(2)}


def held_out_protocol(metric: HeldOutMetric, data: Data) -> dict[str, Any]:
    """What a protocol says of the images that are scored."""
    total = len(data.load(metric.split).images)
    return {
        "data": data.name,
        "split": metric.split,
        "digest": data.digest(metric.split),
        "images": min(metric.count or total, total),
        "dimensions": math.prod(data.shape),
        "seed": metric.seed,
    }


def mean_and_error(values: Tensor) -> dict[str, float]:
    """The mean over images (N,) of -log p, and the standard error of that mean."""
    error = values.std() / math.sqrt(len(values))
    return {"nats": values.mean().item(), "nats_error": error.item()}
