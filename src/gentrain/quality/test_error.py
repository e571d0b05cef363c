"""How often a model that classifies is wrong on images that it was not trained on."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import Classifies, GenerativeModel, eval_mode
from gentrain.quality.base import Metric, Score


class TestError(Metric):
    """The share of the test split whose class is not that of the largest logit.

    Where images have several attributes at once, it is the share of all attributes.

    Dropout and noise are off.

    Args:
        every: generator steps between two scores.
        batch_size: images at a time.
        at_start: score an untrained model, too.
    """

    __test__ = False  # pytest takes the name for a test's
    key = "callbacks.test_error"
    requires = Classifies
    scores: ClassVar = {"test_error": Score("share of images")}

    def __init__(self, every: Whole = 1000, batch_size: Count = 500, at_start: bool = True) -> None:
        super().__init__(every, batch_size, seed=0, at_start=at_start)

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if data.classes is None:
            raise UserError(
                f"data={data.name} has no labels to compare with (callbacks.test_error); "
                "leave the metric out"
            )

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return {
            "data": data.name,
            "split": "test",
            "digest": data.digest("test"),
            "labelled": data.labelled,
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        images, labels, _ = data.load("test")
        assert labels is not None
        wrong = 0
        with eval_mode(model):
            pairs = zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
            for x, y in pairs:
                predicted = data.label_kind.predict(model.classify(to_float(x.to(device)))).cpu()
                wrong += int((predicted != y.cpu()).sum())
        return {"test_error": wrong / labels.numel()}
