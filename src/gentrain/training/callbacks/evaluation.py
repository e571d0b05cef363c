"""When metrics are computed during training, and where their scores go."""

from __future__ import annotations

from typing import Any

import lightning as L

from gentrain.errors import Diverged
from gentrain.quality.base import Metric, measure, prepare_metric


class Evaluation(L.Callback):
    """Computes every metric at step 0 (if it asks for that), every so many steps, and at the end.

    Rank 0 does all the work; the other processes wait. Neither the random numbers of the training
    nor the weights are touched: a run with scores equals, bit for bit, a run without.

    Args:
        metrics: by the key of the configuration that chooses them, such as "quality".
    """

    def __init__(self, metrics: dict[str, Metric]) -> None:
        self.metrics = metrics
        self.last: dict[str, int] = {}  # the step of each metric's latest scores
        self.scored: dict[str, list[str]] = {}  # the names of each metric's latest scores

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        for metric in self.metrics.values():
            metric.check(trainer.datamodule.data, pl_module.model)  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            data = trainer.datamodule.data  # type: ignore[attr-defined]
            for name, metric in self.metrics.items():
                protocol = prepare_metric(metric, data, pl_module.model, pl_module.device)
                pl_module.protocols[name] = protocol
        if self.metrics:
            trainer.strategy.barrier("evaluation: prepared")

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            due = [name for name, metric in self.metrics.items() if metric.at_start]
            self.evaluate(due, trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = [name for name, metric in self.metrics.items() if pl_module.due(metric.every)]
        self.evaluate(due, trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        due = [name for name in self.metrics if self.last.get(name) != trainer.global_step]
        self.evaluate(due, trainer, pl_module)

    def evaluate(self, names: list[str], trainer: L.Trainer, pl_module: Any) -> None:
        """Compute and record the scores of some metrics; all processes call this together."""
        if not names:
            return
        step = trainer.global_step
        self.last |= dict.fromkeys(names, step)
        pl_module.scored_at = step
        if trainer.is_global_zero:
            data = trainer.datamodule.data  # type: ignore[attr-defined]
            for name in names:
                try:
                    scores = measure(self.metrics[name], data, pl_module.model, pl_module.device)
                except Diverged as error:
                    raise Diverged(f"{error}, at step {step}") from error
                for undefined in set(self.scored.get(name, ())) - scores.keys():
                    pl_module.latest.pop(undefined, None)  # the value is of an earlier step
                self.scored[name] = list(scores)
                pl_module.record(scores)
        trainer.strategy.barrier("evaluation: scored")

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "scored": self.scored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.scored = state_dict["last"], state_dict.get("scored", {})
