"""Descend the named terms of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..objective import Objective
from ..solo import Solo
from .descent import Descent, Maker
from .guard import OnDivergence
from .scheme import Batch


class Alone(Descent):
    """A training step is one update of the model, on `accumulate` batches; see `Descent`."""

    model: Solo

    def __init__(
        self,
        model: Solo,
        optimizers: dict[str, Maker],
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
        return self.scheduled(self.equip({"model": self.model}))

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.group = self.accumulate  # type: ignore[attr-defined]

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.restore_own()
        self.advanced = self.descend("model", self.optimizers(), self.objective, batches)  # type: ignore[arg-type]
        if self.advanced:
            self.model.after_step()
            self.step_schedules()
        self.played(sum(len(batch[0]) for batch in batches))
