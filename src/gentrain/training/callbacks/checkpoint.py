"""When a run saves itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from gentrain.config.types import Count, Whole
from gentrain.protocols import NOT_KNOWN, by_score, of_score, readable
from gentrain.runs.directory import MONITOR
from gentrain.training.callbacks.signals import Interrupted
from gentrain.training.callbacks.summary import SummaryCallback
from gentrain.training.checkpoint_io import AtomicIO

log = logging.getLogger("gentrain")


class Checkpoint(SummaryCallback):
    """Saves `checkpoints/last.ckpt` regularly, and `best.ckpt` when a score improves.

    `last.ckpt` is also saved at the end, and when a signal stops the run. In the list it stands
    after the callback that computes scores, since it looks at the scores of the same step.

    Args:
        every: steps between two saves of `last.ckpt`; 0 for the end alone.
        monitor: names of scores; the first that is logged counts.
        mode: whether less ("min") or more ("max") of it is better.
        keep: how many of the last checkpoints stay, as last-1.ckpt and so on.
    """

    def __init__(
        self,
        every: Whole = 1000,
        monitor: Sequence[str] = MONITOR,
        mode: Literal["min", "max"] = "min",
        keep: Count = 2,
    ) -> None:
        self.every, self.keep = every, keep
        self.monitor, self.sign = tuple(monitor), 1 if mode == "min" else -1
        # {metric, value, protocol, step, path}; empty until there is a score
        self.best: dict[str, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy.checkpoint_io, AtomicIO):
            trainer.strategy.checkpoint_io.keep = self.keep

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_best(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not pl_module.stepped:
            return
        self.keep_best(trainer, pl_module)
        # the file of the last step is saved at the very end, when scores and pictures are done
        if pl_module.due(self.every) and trainer.global_step < trainer.max_steps:
            self.save_last(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_best(trainer, pl_module)
        self.save_last(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):
            self.save_last(trainer)
            path, step = directory(trainer) / "last.ckpt", trainer.global_step
            log.info("%s; saved %s at step %d", exception, path, step)

    def save_last(self, trainer: L.Trainer) -> None:
        """Save `last.ckpt`; all processes take part."""
        trainer.save_checkpoint(directory(trainer) / "last.ckpt")

    def keep_best(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save `best.ckpt` if the score of this step is the best.

        Every process takes part in saving, and only rank 0 has the scores: it tells the others.
        """
        if trainer.world_size > 1 and pl_module.scored_at != trainer.global_step:
            return
        protocols = by_score(pl_module.protocols, pl_module.measured_by)
        found = trainer.strategy.broadcast(self.improvement(pl_module.latest, protocols))
        if found is not None:
            path = directory(trainer) / "best.ckpt"
            relative = path.relative_to(trainer.default_root_dir)
            self.best = found | {"step": trainer.global_step, "path": str(relative)}
            trainer.save_checkpoint(path)

    def improvement(
        self, latest: dict[str, float], protocols: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The metric, its value and the line of its protocol, if it is the best so far.

        Args:
            latest: the newest value of everything logged.
            protocols: how each score was measured.
        """
        metric = next((name for name in self.monitor if name in latest), None)
        if metric is None or not math.isfinite(latest[metric]):
            return None
        line = readable(of_score(protocols, metric, NOT_KNOWN))
        # not after a resume with another metric, or with one that measures in another way
        comparable = (self.best.get("metric"), self.best.get("protocol", line)) == (metric, line)
        better = not comparable or self.sign * latest[metric] < self.sign * self.best["value"]
        return {"metric": metric, "value": latest[metric], "protocol": line} if better else None

    def summary(self) -> dict[str, Any]:
        return {"best": self.best}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        versions = (logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger))
        checkpoint["wandb_id"] = next(versions, None)


def directory(trainer: L.Trainer) -> Path:
    """Where a run's checkpoints are."""
    return Path(trainer.default_root_dir) / "checkpoints"
