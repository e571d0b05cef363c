"""How often a model that names classes is wrong on images that it never saw."""

from typing import TYPE_CHECKING, Any, cast

import lightning as L

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_float
from gentrain.errors import UserError
from gentrain.models.base import eval_mode
from gentrain.quality.base import Evaluation, Judged

if TYPE_CHECKING:
    from gentrain.data.base import Data


class TestError(Evaluation):
    """`quality/test_error`: the share of the test split whose class is not that of the largest logit. Dropout and noise are off.

    Args:
        every: generator steps between two looks; there is one at step 0 (if `at_start`) and one at the end besides.
        batch_size: images looked at at a time.
    """

    __test__ = False  # the name is no test's
    of_fakes = False

    def __init__(self, every: Whole = 1000, batch_size: Count = 500, at_start: bool = True) -> None:
        super().__init__(every, samples=2, batch_size=batch_size, seed=0, at_start=at_start)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not hasattr(pl_module.model, "classify"):
            raise UserError(
                "this model names no classes (callbacks.test_error); leave the callback out"
            )
        super().setup(trainer, pl_module, stage)

    def check(self, data: "Data") -> None:
        if data.classes is None:
            raise UserError(
                f"data={data.name} has no labels to be wrong about (callbacks.test_error); leave the callback out"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        model.protocols["test_error"] = {
            "data": data.name,
            "split": "test",
            "digest": data.digest("test"),
            "labelled": data.labelled,
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        images, labels, _ = data.load("test")
        assert labels is not None
        named, wrong = cast(Any, model).model, 0
        with eval_mode(named.classifier):
            for x, y in zip(
                images.split(self.batch_size), labels.split(self.batch_size), strict=True
            ):
                found = named.classify(to_float(x.to(model.device))).argmax(1).cpu()
                wrong += int((found != y.cpu()).sum())
        return {"quality/test_error": wrong / len(labels)}
