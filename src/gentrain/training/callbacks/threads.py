"""A second look at the cores, for a run that began while others were computing."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L
import torch

from gentrain import cores

log = logging.getLogger("gentrain")


class MoreThreads(L.Callback):
    """Gives a run more threads once cores have become free, before its first checkpoint.

    The number of threads changes the last bits of sums, and a checkpoint keeps it. As long as there
    is none, no resumed run can have begun with another number.

    Args:
        most: threads that the run may have.
        looks: how many looks, one a second, must find a core free in a row.
        patience: seconds after which the number stays what it is.
    """

    def __init__(self, most: int, looks: int = 5, patience: float = 120.0) -> None:
        self.most, self.looks, self.patience = most, looks, patience
        self.found: list[int] = []  # threads that each look in a row would allow
        self.began = self.last = time.monotonic()
        self.decided = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = self.last = time.monotonic()

    def on_save_checkpoint(self, *_: Any) -> None:
        self.decided = True

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.monotonic()
        if self.decided or now - self.last < 1:
            return
        self.last, self.decided = now, now - self.began > self.patience
        before = torch.get_num_threads()
        number = min(self.most, cores.free_beside(before))
        self.found = [*self.found, number] if number > before else []
        if len(self.found) == self.looks:
            self.decided = True
            torch.set_num_threads(min(self.found))
            log.info("cores have become free: %d threads from here on", min(self.found))
