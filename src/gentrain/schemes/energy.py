"""Descend an energy on data against the model's own samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..energy import EnergyModel
from ..errors import UserError
from ..quality.evaluation import as_batch
from ..schema import Count, Whole
from .alone import Alone
from .descent import Maker
from .guard import OnDivergence

SURVEYED = 10_000  # training images that a model may look at before the first update


class Energy(Alone):
    """A training step is one update of the model, on `accumulate` batches. Before the first, the model surveys training images.

    Every process has Markov chains of its own; a checkpoint holds those of all.
    """

    model: EnergyModel

    def __init__(
        self,
        model: EnergyModel,
        optimizers: dict[str, Maker],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(model, optimizers, schedule, log_every, on_divergence, divergence_budget, accumulate)
        if compile:
            raise UserError("an objective with Markov chains in it cannot be compiled whole (compile); use compile=false")

    def on_fit_start(self) -> None:
        if not self.resumed:
            train = self.trainer.datamodule.load("train")  # type: ignore[attr-defined]
            rows = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[:SURVEYED]
            self.model.survey(as_batch(train, rows, self.device))
        super().on_fit_start()
