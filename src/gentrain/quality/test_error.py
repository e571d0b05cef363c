"""How often a model that classifies is wrong on images that it was not trained on.

Also what all scores against labels of images have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.layers.coupling import batch_coupled_layers
from gentrain.models.base import Classifies, GenerativeModel, eval_mode
from gentrain.quality.base import BINOMIAL, Metric, Score, split_of

AT_A_TIME = 500  # images, where their number changes no score


class LabelMetric(Metric):
    """A score of what a model says of the images of a held-out split, against their labels.

    Dropout and noise are off. Where layers mix the samples of a batch (minibatch discrimination),
    what is said of an image depends on the others: then batches are of the training's size, in a
    random order that `seed` chooses, since files are often sorted by class. The last batch is
    filled up with images of the first one.

    Args:
        every: generator steps between two scores.
        batch_size: images at a time; null for 500, or for the training's number where it matters.
        at_start: score an untrained model, too.
    """

    def __init__(
        self, every: Whole = 1000, batch_size: Count | None = None, at_start: bool = True
    ) -> None:
        super().__init__(every, batch_size or AT_A_TIME, seed=0, at_start=at_start)
        self.given = batch_size

    def options_for(self, model: GenerativeModel) -> dict[str, str]:
        size = {"seed": "seed"} if mixing_layers(model) else {"batch_size": "batch_size"}
        return {"split": "split"} | size

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if data.classes is None:
            raise UserError(
                f"data={data.name} has no labels to compare with ({self.key}); leave the metric out"
            )
        self.warn_of_rough_means(data)
        if not (layers := mixing_layers(model)):
            return
        if self.given not in (None, data.batch_size):
            raise UserError(
                f"layer {layers[0]} mixes the samples of a batch, so the score is that of batches "
                f"of {data.batch_size} as in training, not of {self.given} "
                f"({self.key}.batch_size); leave it out"
            )
        if (found := len(data.load(self.split).images)) < data.batch_size:
            raise UserError(
                f"layer {layers[0]} mixes the samples of a batch, and the {self.split} split of "
                f"{found} images fills no batch of {data.batch_size} as in training "
                f"({self.key}, data.batch_size); give data.batch_size={found} or less"
            )

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        about = {
            "data": data.name,
            "split": split_of(data, self.split),
            "digest": data.digest(self.split),
            "images": len(data.load(self.split).images),
        }
        if mixing_layers(model):
            about |= {"batch_size": data.batch_size, "order": "random", "seed": self.seed}
        return about

    def said(
        self, data: Data, model: Any, says: Callable[[Tensor], Tensor], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """What is said of all images of the split, and their labels, on the CPU.

        Args:
            data: has the images.
            model: goes to eval mode.
            says: images (B, C, H, W) to anything (B, ...).
            device: where the model is.
        """
        images, labels, _ = data.load(self.split)
        assert labels is not None
        order, size = self.order(len(labels), data, model)
        found = []
        with eval_mode(model):
            for rows in order.split(size):
                found.append(says(to_float(images[rows.to(images.device)].to(device))).cpu())
        rows = order[: len(labels)]
        return torch.cat(found)[: len(labels)], labels[rows.to(labels.device)].cpu()

    def order(self, count: int, data: Data, model: GenerativeModel) -> tuple[Tensor, int]:
        """The rows of all images, with some more that fill the last batch, and the batch size."""
        if not mixing_layers(model):
            return torch.arange(count), self.batch_size
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        return torch.cat([order, order[: -count % data.batch_size]]), data.batch_size


class TestError(LabelMetric):
    """The share of a held-out split whose class is not that of the largest logit.

    Where images have several attributes at once, it is the share of all attributes.
    """

    __test__ = False  # pytest takes the name for a test's
    key = "callbacks.error_rate"
    requires = Classifies
    scores: ClassVar = {"error_rate": Score("share of images", error=BINOMIAL)}

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return super().protocol(data, model) | {"labelled": data.labelled}

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        def says(x: Tensor) -> Tensor:
            return data.label_kind.predict(model.classify(x))

        predicted, labels = self.said(data, model, says, device)
        return {"error_rate": (predicted != labels).double().mean().item()}


def mixing_layers(model: GenerativeModel) -> list[str]:
    """Names of the layers that mix the samples of a batch in eval mode."""
    return batch_coupled_layers(model, training=False)
