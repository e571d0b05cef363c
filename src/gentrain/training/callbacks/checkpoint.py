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
from gentrain.quality.base import Evaluation
from gentrain.runs.directory import MONITOR
from gentrain.training.callbacks.signals import Interrupted
from gentrain.training.checkpoint_io import AtomicIO

log = logging.getLogger("gentrain")


class Checkpoint(L.Callback):
    """`checkpoints/last.ckpt` every `every` steps, at the end and when a signal stops the run; `best.ckpt` when a score improves.

    The score is the first of `monitor` that is logged; `best` is its `{metric, value, step, path}`, empty until there is one.
    After the callbacks that score, in the list: it looks at what they have logged at this step. The last `keep` stay, as
    last-1.ckpt and so on.
    """

    def __init__(
        self,
        every: Whole = 1000,
        monitor: Sequence[str] = MONITOR,
        mode: Literal["min", "max"] = "min",
        keep: Count = 2,
    ) -> None:
        self.keep = keep
        self.every, self.monitor, self.sign = every, tuple(monitor), 1 if mode == "min" else -1
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
        # a file that is at the end says that all is done, the last scores and pictures too
        if pl_module.due(self.every) and trainer.global_step < trainer.max_steps:
            self.save_last(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_best(trainer, pl_module)
        self.save_last(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):
            self.save_last(trainer)
            log.info(
                "%s; saved %s at step %d",
                exception,
                directory(trainer) / "last.ckpt",
                trainer.global_step,
            )

    def save_last(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(directory(trainer) / "last.ckpt")

    def keep_best(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Rank zero has the scores and every process takes part in saving: where there are several, rank zero tells the others."""
        if trainer.world_size > 1 and not judged(trainer):
            return
        found = trainer.strategy.broadcast(self.improvement(pl_module.latest))
        if found is not None:
            path = directory(trainer) / "best.ckpt"
            self.best = found | {
                "step": trainer.global_step,
                "path": str(path.relative_to(trainer.default_root_dir)),
            }
            trainer.save_checkpoint(path)

    def improvement(self, latest: dict[str, float]) -> dict[str, Any] | None:
        metric = next((name for name in self.monitor if name in latest), None)
        if metric is None or not math.isfinite(latest[metric]):
            return None
        comparable = self.best.get("metric") == metric  # not after a resume with another judge
        better = not comparable or self.sign * latest[metric] < self.sign * self.best["value"]
        return {"metric": metric, "value": latest[metric]} if better else None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["wandb_id"] = next(
            (logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)), None
        )


def directory(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"


def judged(trainer: L.Trainer) -> bool:
    """Were there scores at this very step? All processes know."""
    return any(
        callback.last == trainer.global_step
        for callback in trainer.callbacks
        if isinstance(callback, Evaluation)
    )  # type: ignore[attr-defined]
