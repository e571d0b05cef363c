"""Descend the named terms of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gentrain.config.types import Count, Whole
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel
from gentrain.models.energy.base import EnergyModel
from gentrain.models.objective import Objective
from gentrain.training.divergence import OnDivergence
from gentrain.training.module import Batch, Descent, OptimizerFactory, compiled


class Alone(Descent):
    """A training step is one update of the model, on `accumulate` batches; see `Descent`."""

    model: GenerativeModel

    def __init__(
        self,
        model: GenerativeModel,
        optimizers: dict[str, OptimizerFactory],
        schedule: Callable[[Optimizer], LRScheduler] | None,
        log_every: int,
        on_divergence: OnDivergence,
        divergence_budget: int,
        accumulate: int,
    ) -> None:
        super().__init__(model, optimizers, schedule, log_every, on_divergence, divergence_budget)
        self.accumulate = accumulate
        self.objective: Callable[[Batch], Objective] = model.objective

    def configure_optimizers(self) -> Any:
        return self.scheduled(self.make_optimizers({"model": self.model}))

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.group = self.accumulate  # type: ignore[attr-defined]

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.restore_rank_local()
        self.stepped = self.descend("model", self.optimizers(), self.objective, batches)  # type: ignore[arg-type]
        if self.stepped:
            self.model.after_step()
            self.step_schedules()
        self.end_step(sum(len(batch[0]) for batch in batches))


SURVEYED = 10_000  # training images that a model may look at before the first update


class Energy(Alone):
    """A training step is one update of the model, on `accumulate` batches. Before the first, the model surveys training images.

    Every process has Markov chains of its own; a checkpoint holds those of all.
    """

    model: EnergyModel

    def __init__(
        self,
        model: EnergyModel,
        optimizers: dict[str, OptimizerFactory],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(
            model, optimizers, schedule, log_every, on_divergence, divergence_budget, accumulate
        )
        if compile:
            raise UserError(
                "an objective with Markov chains in it cannot be compiled whole (compile); use compile=false"
            )

    def on_fit_start(self) -> None:
        if not self.resumed:
            train = self.trainer.datamodule.data.load("train")  # type: ignore[attr-defined]
            rows = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[
                :SURVEYED
            ]
            self.model.init_from_data(as_batch(train, rows, self.device))
        super().on_fit_start()


class Likelihood(Alone):
    """A training step is one update of the model, on `accumulate` batches. `compile` compiles its objective whole; see `Descent`."""

    model: GenerativeModel

    def __init__(
        self,
        model: GenerativeModel,
        optimizers: dict[str, OptimizerFactory],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(
            model, optimizers, schedule, log_every, on_divergence, divergence_budget, accumulate
        )
        if compile:
            self.objective = compiled(model.objective)
