"""A metric: the sliced Wasserstein distance of samples and images.

Rabin, Peyre, Delon & Bernot, "Wasserstein barycenter and its application to texture mixing", 2011.
In one dimension the distance is that of the sorted values. Here it is the mean over random
directions u of length 1:

    SWD = mean over u of mean |sort(u x) - sort(u y)|

It needs no classifier, so it works for data of any kind. It sees no meaning, only pixels.

    gentrain model=gan quality=sliced_wasserstein plugins=sliced_wasserstein --config-dir conf
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_float
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.models.base import GenerativeModel
from gentrain.quality.base import SampleMetric, Score, split_of


class SlicedWasserstein(SampleMetric):
    """Mean distance of sorted projections, samples against held-out images, pixels in [-1, 1].

    Args:
        directions: how many are drawn.
        The other arguments are those of `SampleMetric`.
    """

    key = "quality=sliced_wasserstein"
    scores: ClassVar = {"sliced_wasserstein": Score("pixel value", higher_is_better=False)}

    def __init__(
        self,
        every: Whole = 1000,
        samples: Count = 1000,
        directions: Count = 200,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        self.directions = directions

    # all that must be equal before two scores are compared
    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return {
            "data": data.name,
            "split": split_of(data, self.split),
            "samples": self.samples,
            "directions": self.directions,
            "seed": self.seed,
        }

    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        held_out = data.load(self.split)
        fakes = torch.cat([images.cpu() for images in self.draw(model, held_out, device)])
        reals = held_out.images[self.rows(held_out)].cpu()
        reals = to_float(reals) if reals.dtype == torch.uint8 else reals
        return {"sliced_wasserstein": float(self.distance(fakes.flatten(1), reals.flatten(1)))}

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of two sets (N, D) of as many points."""
        draws = generator(self.seed, "directions", 0)  # its own random numbers
        u = torch.randn(x.shape[1], self.directions, generator=draws)
        u = u / u.norm(dim=0)
        return ((x.float() @ u).sort(0).values - (y.float() @ u).sort(0).values).abs().mean()
