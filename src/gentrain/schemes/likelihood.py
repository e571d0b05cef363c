"""Descend one density's named terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..density import Density
from ..schema import Count, Whole
from .descent import Descent, Maker, compiled
from .guard import OnDivergence
from .scheme import Batch


class Likelihood(Descent):
    """A training step is one update of the model, on `accumulate` batches. `compile` compiles its objective whole; see `Descent`."""

    model: Density

    def __init__(
        self,
        model: Density,
        optimizers: dict[str, Maker],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(model, optimizers, schedule, log_every, on_divergence, divergence_budget)
        self.accumulate = accumulate
        self.objective = compiled(model.objective) if compile else model.objective

    def configure_optimizers(self) -> Any:
        return self.scheduled(self.equip({"model": self.model}))

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.group = self.accumulate  # type: ignore[attr-defined]

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.advanced = self.descend("model", self.optimizers(), self.objective, batches)  # type: ignore[arg-type]
        if self.advanced:
            self.model.after_step()
            self.step_schedules()
        self.played(sum(len(batch[0]) for batch in batches))
