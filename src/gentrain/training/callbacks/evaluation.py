"""When metrics are computed during training, and where their scores go."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L

from gentrain.data.base import Data
from gentrain.errors import Diverged, UserError
from gentrain.files import write_json
from gentrain.models.base import GenerativeModel
from gentrain.protocols import TEST, comparable, lines
from gentrain.quality.base import Metric, measure, prepare_metric

log = logging.getLogger("gentrain")

PROTOCOLS = "protocols.json"


class Evaluation(L.Callback):
    """Computes every metric at step 0 (if it asks for that), every so many steps, and at the end.

    These scores are of the split by which models are chosen: names like "quality/nats". At the end
    of the training all are computed once more, of the test split: "test/nats".

    Rank 0 does all the work; the other processes wait. Neither the random numbers of the training
    nor the weights are touched: a run with scores equals, bit for bit, a run without.

    Args:
        metrics: by the key of the configuration that chooses them, such as "quality".
        resumed: whether the run goes on from a checkpoint; it keeps the split that it has.
    """

    def __init__(self, metrics: dict[str, Metric], resumed: bool = False) -> None:
        self.metrics, self.resumed = metrics, resumed
        self.last: dict[str, int] = {}  # the step of each metric's latest scores
        self.scored: dict[str, list[str]] = {}  # the names of each metric's latest scores

    def check(self, data: Data, model: GenerativeModel) -> None:
        """Refuse what a metric does not fit; see `Metric.check`.

        The test split is checked as well: its mistakes must not wait for the end of the training.
        """
        for name, metric in list(self.metrics.items()):
            try:
                for split in ("test", metric.split_in_training(data)):
                    metric.split = split
                    metric.check(data, model)
            except UserError as error:
                if not metric.optional:
                    raise
                without = "quality=none" if name == "quality" else f"callbacks.{name}=null"
                remedy = "" if without in str(error) else f"; or choose {without}"
                log.warning("no scores: %s%s", error, remedy)
                del self.metrics[name]

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        self.check(data, pl_module.model)
        if self.metrics and data.held_out_split == "test" and trainer.is_global_zero:
            log.warning(
                "data.validation=0: all scores, the best checkpoint and the best run of a sweep "
                "are of the test split; %s",
                "a run keeps its split: leave it, or train a new run with data.validation=0.1"
                if self.resumed
                else "give a share of the training split, such as 0.1",
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        for kept in (pl_module.latest, pl_module.protocols, pl_module.measured_by):
            for name in [name for name in kept if name.startswith(TEST)]:
                del kept[name]  # of a run that had ended, and now goes on
        for name, scores in self.scored.items():  # older checkpoints say it here alone
            pl_module.measured_by |= dict.fromkeys(scores, name)
        self.forget(self.scored.keys() - self.metrics.keys(), pl_module)
        if not self.metrics:
            return
        changed: list[str] = []
        if trainer.is_global_zero:
            data = trainer.datamodule.data  # type: ignore[attr-defined]
            for name, metric in self.metrics.items():
                before = pl_module.protocols.get(name)
                protocol = self.prepare(metric, metric.split_in_training(data), trainer, pl_module)
                if before is not None and comparable(before) != comparable(protocol):
                    changed.append(name)
                pl_module.protocols[name] = protocol
            self.write_protocols(trainer, pl_module)
        self.forget(trainer.strategy.broadcast(changed), pl_module)

    def forget(self, names: Iterable[str], pl_module: Any) -> None:
        """Forget the scores of some metrics of a resumed run.

        Nothing computes them any more, or they are measured in another way: the old values would
        stand beside the new ones as if they were of now.
        """
        for name in names:
            for score in self.scored.pop(name, ()):
                self.forget_score(score, name, pl_module)
            if name not in self.metrics:
                pl_module.protocols.pop(name, None)
            self.last.pop(name, None)

    def forget_score(self, score: str, name: str, pl_module: Any) -> None:
        """Forget the value of a score, unless another metric has computed it since."""
        if pl_module.measured_by.get(score) == name:
            del pl_module.measured_by[score]
            pl_module.latest.pop(score, None)

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
        if self.metrics:
            self.test(trainer, pl_module)

    def evaluate(self, names: list[str], trainer: L.Trainer, pl_module: Any) -> None:
        """Compute and record the scores of some metrics; all processes call this together."""
        if not names:
            return
        step = trainer.global_step
        self.last |= dict.fromkeys(names, step)
        pl_module.scored_at = step
        if trainer.is_global_zero:
            for name in names:
                scores = self.scores(self.metrics[name], "quality/", trainer, pl_module)
                for undefined in set(self.scored.get(name, ())) - scores.keys():
                    self.forget_score(undefined, name, pl_module)  # it is of an earlier step
                self.scored[name] = list(scores)
                pl_module.measured_by |= dict.fromkeys(scores, name)
                if scores:
                    pl_module.record(scores)
        trainer.strategy.barrier("evaluation: scored")

    def test(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compute and record the scores of the test split; all processes call this together."""
        if trainer.is_global_zero:
            found: dict[str, float] = {}
            for name, metric in self.metrics.items():
                key = f"{TEST}{name}"
                pl_module.protocols[key] = self.prepare(metric, "test", trainer, pl_module)
                scores = self.scores(metric, TEST, trainer, pl_module)
                pl_module.measured_by |= dict.fromkeys(scores, key)
                found |= scores
            pl_module.record(found)
            self.write_protocols(trainer, pl_module)
        trainer.strategy.barrier("evaluation: tested")

    def write_protocols(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write beside metrics.csv how its scores are measured: a line for each metric."""
        if pl_module.protocols and trainer.loggers:
            file = Path(trainer.default_root_dir) / PROTOCOLS
            write_json(file, lines(pl_module.protocols))

    def prepare(
        self, metric: Metric, split: str, trainer: L.Trainer, pl_module: Any
    ) -> dict[str, Any]:
        """Prepare a metric for a split; returns its protocol."""
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        return prepare_metric(metric, data, pl_module.model, pl_module.device, split)

    def scores(
        self, metric: Metric, prefix: str, trainer: L.Trainer, pl_module: Any
    ) -> dict[str, float]:
        """The scores of a metric, whose names begin with a prefix."""
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        try:
            return measure(metric, data, pl_module.model, pl_module.device, prefix)
        except Diverged as error:
            raise Diverged(f"{error}, at step {trainer.global_step}") from error

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "scored": self.scored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.scored = state_dict["last"], state_dict.get("scored", {})
