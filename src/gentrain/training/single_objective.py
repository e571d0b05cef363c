"""Training of a model that minimises one objective: a likelihood, an energy or a regression."""

from __future__ import annotations

from typing import Any

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import random_rows
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.models.base import SingleObjectiveModel
from gentrain.training.divergence import OnDivergence
from gentrain.training.gradients import Compile
from gentrain.training.module import (
    Batch,
    OptimizerFactory,
    ScheduleFactory,
    TrainingModule,
)


class SingleObjective(TrainingModule):
    """A training step is one update of the model, by the mean gradient of `accumulate` batches.

    A model that asks for it looks at training images before the first step.

    Args:
        accumulate: gradient accumulation: average the gradients of this many batches.
        The other arguments are those of `TrainingModule`.

    Raises:
        UserError: where the objective cannot be compiled, or is the same for every batch.
    """

    step_counts_player = "model"
    model: SingleObjectiveModel

    def __init__(
        self,
        model: SingleObjectiveModel,
        optimizers: dict[str, OptimizerFactory],
        schedule: ScheduleFactory | None = None,
        log_every: Count = 50,
        compile: Compile = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(
            model, optimizers, schedule, log_every, compile, on_divergence, divergence_budget
        )
        self.accumulate = accumulate
        if accumulate > 1 and model.ignores_batches:
            raise UserError(
                "the objective of this model is the same for every batch, and so is the mean of "
                "several (scheme.accumulate); write scheme.accumulate=1"
            )
        if compile is True and not model.compilable:
            raise UserError(
                "the objective of this model cannot be compiled as one graph (compile); "
                "use compile=false"
            )
        self.objectives = {"model": model.objective}

    @property
    def compilable(self) -> bool:
        return self.model.compilable

    def configure_optimizers(self) -> Any:
        return self.with_schedules(self.make_optimizers({"model": self.model}))

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.batches_per_step = self.accumulate  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        if self.model.init_images and not self.resumed:
            train = self.trainer.datamodule.data.load("train")  # type: ignore[attr-defined]
            rows = random_rows(len(train.images), self.model.init_images)
            self.model.init_from_data(as_batch(train, rows, self.device))
        super().on_fit_start()

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.restore_rank_local()
        optimizer: Any = self.optimizers()
        scalars = self.update("model", optimizer, self.gradient_step("model", batches), batches)
        self.stepped = scalars is not None
        if self.stepped:
            self.model.after_step()
            self.step_schedules()
        self.end_step(sum(len(batch[0]) for batch in batches))
