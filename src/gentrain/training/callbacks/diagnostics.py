"""A look at a run's health every so often, and a clear line when something is wrong."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from gentrain.config.types import Count, Whole
from gentrain.quality.diagnostics import Finding, examine, measure
from gentrain.runs.directory import COLLAPSE

log = logging.getLogger("gentrain")


class Doctor(L.Callback):
    """Every `every` steps, on `samples` images of each kind: a warning for every new verdict, and an alert where W&B is on.

    A verdict is told once, and again only after it was gone. Neither weights nor random numbers of the training are touched.
    """

    def __init__(self, every: Whole = 500, samples: Count = 256) -> None:
        self.every, self.samples = every, samples
        self.known: list[str] = []  # names of the verdicts at the last look

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (
            not pl_module.due(self.every)
            or not trainer.is_global_zero
            or not hasattr(pl_module.model, "critic_scores")
        ):
            return
        verdicts = examine(measure(pl_module, trainer.datamodule.data, self.samples))  # type: ignore[attr-defined]
        collapsed = any(verdict.name in COLLAPSE for verdict in verdicts)
        pl_module.record(
            {"doctor/verdicts": float(len(verdicts)), "doctor/collapsed": float(collapsed)}
        )
        for verdict in verdicts:
            if verdict.name not in self.known:
                self.tell(trainer, verdict)
        self.known = [verdict.name for verdict in verdicts]

    def tell(self, trainer: L.Trainer, verdict: Finding) -> None:
        log.warning("doctor, step %d: %s", trainer.global_step, verdict)
        for logger in trainer.loggers:
            if hasattr(logger, "alert"):
                logger.alert(f"{verdict.name} at step {trainer.global_step}", str(verdict))

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.known = state_dict["known"]
