"""Descend one model's named terms: a density's, or those of a network that learns from pairs."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..schema import Count, Whole
from ..solo import Solo
from .alone import Alone
from .descent import Maker, compiled
from .guard import OnDivergence


class Likelihood(Alone):
    """A training step is one update of the model, on `accumulate` batches. `compile` compiles its objective whole; see `Descent`."""

    model: Solo

    def __init__(
        self,
        model: Solo,
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
            self.objective = compiled(model.objective)
