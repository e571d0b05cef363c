"""How often a model that classifies is wrong on images that it was not trained on."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import Classifies, GenerativeModel, eval_mode
from gentrain.quality.base import Metric, Score, split_of


class TestError(Metric):
    """The share of a held-out split whose class is not that of the largest logit.

    Dropout and noise are off.

    Args:
        every: generator steps between two scores.
        batch_size: images at a time.
        at_start: score an untrained model, too.
    """

    __test__ = False  # pytest takes the name for a test's
    key = "callbacks.error_rate"
    requires = Classifies
    options: ClassVar = {"batch_size": "batch_size", "split": "split"}
    scores: ClassVar = {"error_rate": Score("share of images")}

    def __init__(self, every: Whole = 1000, batch_size: Count = 500, at_start: bool = True) -> None:
        super().__init__(every, batch_size, seed=0, at_start=at_start)

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if data.classes is None:
            raise UserError(
                f"data={data.name} has no labels to compare with (callbacks.error_rate); "
                "leave the metric out"
            )

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return {
            "data": data.name,
            "split": split_of(data, self.split),
            "digest": data.digest(self.split),
            "labelled": data.labelled,
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        images, labels, _ = data.load(self.split)
        assert labels is not None
        wrong = 0
        with eval_mode(model):
            pairs = zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
            for x, y in pairs:
                predicted = model.classify(to_float(x.to(device))).argmax(1).cpu()
                wrong += int((predicted != y.cpu()).sum())
        return {"error_rate": wrong / len(labels)}
