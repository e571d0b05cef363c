"""A data set as Lightning wants it: batches on a device, and a position at which to resume."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from gentrain.data.base import Data
from gentrain.data.batches import Batches, ZippedBatches


class DataModule(L.LightningDataModule):
    """Feeds a training module from a data set; its state is the number of consumed batches.

    The items of its stream are lists of `batches_per_step` batches, as the training module asks.
    A module of another kind gets single batches.

    Args:
        data: the data set.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.data = data
        self.batches_per_step: int | None = None  # set by the training module
        self._start = 0  # the position at the start of this iteration
        self._base: int | None = None  # batches started then; None before an iteration

    def prepare_data(self) -> None:
        """Download and decode into the cache, on one process of each machine."""
        self.data.load("train")

    def setup(self, stage: str | None = None) -> None:
        self.data.load("train")

    def train_dataloader(self) -> Batches | ZippedBatches:
        """An endless stream that begins at `position`."""
        device = torch.device("cpu")
        rank, world = 0, 1
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            rank, world = self.trainer.global_rank, self.trainer.world_size
        return self.data.batches(device, rank, world, self._begin, self.batches_per_step)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """The stream has put the batch there already."""
        return batch

    @property
    def position(self) -> int:
        """The number of batches consumed so far.

        It is the trainer's count, since the trainer fetches one batch ahead of training.
        """
        return self._start + (0 if self._base is None else self._batches_started - self._base)

    @property
    def _batches_started(self) -> int:
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready * (
            self.batches_per_step or 1
        )

    def _begin(self) -> int:
        """Begin an iteration at the current position."""
        self._start, self._base = self.position, self._batches_started
        return self._start

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start, self._base = state_dict["position"], None
