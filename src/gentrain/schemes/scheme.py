"""What every way to descend has in common: it counts a player's updates, keeps the curves, and samples."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC
from collections import defaultdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ..errors import Diverged

log = logging.getLogger("gentrain")
Batch = tuple[Tensor, ...]


class Scheme(L.LightningModule, ABC):
    """A model and the way it descends.

    `global_step` counts updates of the generator (of the one player, where there is one). Scalars stay on the device, and are
    read once every `log_every` steps: their mean goes to every logger under that step.
    """

    def __init__(self, model: nn.Module, log_every: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.log_every = model, log_every
        self.advanced = False  # the last training step made a step; an update that was not fit to be made is none
        self.latest: dict[str, float] = {}  # the newest value of everything logged
        self.protocols: dict[str, Any] = {}  # how each score was measured
        self.origin: dict[str, Any] = {}  # what a checkpoint says of where it comes from: config, choices, version
        self.images, self.seconds, self.steps_timed = 0, 0.0, 0  # since the start of this process
        self._window: dict[str, list[Tensor]] = defaultdict(list)
        self._since: float | None = None
        self._counted = (0, 0.0)

    # --- what callbacks use -------------------------------------------------------------------------------------------

    def due(self, every: int) -> bool:
        """In `on_train_batch_end`: is the step just made a multiple of `every`? Never, for 0."""
        return self.advanced and bool(every) and self.global_step % every == 0

    model: Any

    def sample(self, batch: Batch) -> Tensor:
        """As many images as the batch has, of its labels, from its sources; float in [-1, 1]."""
        return self.model.sample(batch)

    def record(self, scalars: dict[str, float]) -> None:
        """Log at the current step, and keep for the summary."""
        self.latest |= scalars
        for logger in self.loggers:
            logger.log_metrics(scalars, step=self.global_step)

    # --- what schemes use ---------------------------------------------------------------------------------------------

    def watch(self, player: str, scalars: dict[str, Tensor]) -> None:
        for name, value in scalars.items():
            self._window[f"{player}/{name}"].append(value)

    def played(self, images: int) -> None:
        """At the end of every training step: count the real images it took, and log when it is time."""
        self.images += images * self.trainer.world_size
        self.steps_timed += self.advanced
        if self.due(self.log_every) or (self.advanced and self.global_step == self.trainer.max_steps):
            scalars = self.flush()
            self.stop_clock()
            self.record(scalars | self.throughput())
        else:
            self.stop_clock()

    def flush(self) -> dict[str, float]:
        """The mean of each scalar since the last flush, in one transfer from the device."""
        names = list(self._window)
        if not names:
            return {}
        means = torch.stack([self.mean(self._window[name]) for name in names]).tolist()
        self._window.clear()
        scalars = dict(zip(names, means, strict=True))
        if bad := [name for name, value in scalars.items() if not math.isfinite(value)]:
            raise Diverged(
                f"{', '.join(bad)} not finite at step {self.global_step}; lower scheme.optimizers.*.lr, or resume an earlier checkpoint"
            )
        return scalars

    def mean(self, values: list[Tensor]) -> Tensor:
        """Of scalars on the device, some of which a checkpoint may have brought to the CPU."""
        return torch.stack([value.to(self.device) for value in values]).float().mean()

    def throughput(self) -> dict[str, float]:
        images, seconds = self.images - self._counted[0], self.seconds - self._counted[1]
        self._counted = (self.images, self.seconds)
        return {"images_per_second": images / seconds} if seconds else {}

    # --- a checkpoint between two logged steps brings what it had of the curves along ---------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["window"] = {name: [float(value) for value in values] for name, values in self._window.items()}
        checkpoint["latest"], checkpoint["protocols"], checkpoint["origin"] = self.latest, self.protocols, self.origin

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._window.update({name: [torch.tensor(value) for value in values] for name, values in checkpoint["window"].items()})
        self.latest, self.protocols = checkpoint["latest"], checkpoint["protocols"]

    # --- the clock runs while batches are fetched and played, and stands while callbacks draw, score and save ----------

    def stop_clock(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def on_train_start(self) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._since = time.perf_counter()
