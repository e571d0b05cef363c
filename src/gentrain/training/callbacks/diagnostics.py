"""A look at a run's health every so often, and a clear line when something is wrong."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from gentrain.capability import supports
from gentrain.config.types import Count, Whole
from gentrain.models.base import HasCritic
from gentrain.quality.diagnostics import Finding, examine, measure
from gentrain.runs.directory import COLLAPSE
from gentrain.training.callbacks.summary import SummaryCallback
from gentrain.training.loggers import dashboards

log = logging.getLogger("gentrain")


class Doctor(SummaryCallback):
    """Examines a model with a critic, and warns of every new finding; W&B sends an alert.

    A finding is reported once, and again only after it was gone. Neither weights nor random
    numbers of the training are touched.

    Args:
        every: steps between two looks; 0 for none.
        samples: images of each kind that are looked at.
    """

    def __init__(self, every: Whole = 500, samples: Count = 256) -> None:
        self.every, self.samples = every, samples
        self.known: list[str] = []  # names of the findings at the last look

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        model = pl_module.model
        if not (
            pl_module.due(self.every) and trainer.is_global_zero and supports(model, HasCritic)
        ):
            return
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        measured = measure(
            model,
            data,
            pl_module.device,
            pl_module.latest,
            self.samples,
            data.held_out_split,
            trainer.global_step,
        )
        findings = examine(measured)
        is_collapsed = any(finding.name in COLLAPSE for finding in findings)
        pl_module.record(
            {"doctor/verdicts": float(len(findings)), "doctor/collapsed": float(is_collapsed)}
        )
        for finding in findings:
            if finding.name not in self.known:
                self.report(trainer, finding)
        self.known = [finding.name for finding in findings]

    def report(self, trainer: L.Trainer, finding: Finding) -> None:
        """Warn in the log, and send an alert where W&B is on."""
        log.warning("doctor, step %d: %s", trainer.global_step, finding)
        for dashboard in dashboards(trainer.loggers):
            dashboard.alert(f"{finding.name} at step {trainer.global_step}", str(finding))

    def summary(self) -> dict[str, Any]:
        return {"verdicts": self.known}

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.known = state_dict["known"]
