"""The random numbers of a run, kept in its checkpoints.

A resumed run draws the numbers that it would have drawn without the interruption.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import lightning as L
import numpy as np
import torch

from gentrain.training.distributed import gathered

log = logging.getLogger("gentrain")


class RNG(L.Callback):
    """Saves the generators of every process: python, numpy, torch on the CPU and on its GPU.

    They are saved as plain types and tensors.
    """

    def __init__(self) -> None:
        self.pending: dict[str, Any] | None = None  # until the first batch after a resume

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["rng"] = gathered(states(pl_module.device), trainer.world_size)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get("rng", [])
        if len(saved) == trainer.world_size:
            self.pending = saved[trainer.global_rank]
        else:
            log.warning(
                "the checkpoint is of %d process(es) and this run has %d: "
                "it goes on with other random numbers",
                len(saved),
                trainer.world_size,
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the generators only now: whatever comes before the first batch may draw."""
        if self.pending is not None:
            restore(self.pending, pl_module.device)
            self.pending = None


def states(device: torch.device) -> dict[str, Any]:
    """The states of all generators of this process."""
    numpy = np.random.get_state(legacy=False)
    numpy["state"]["key"] = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    kept = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    return kept | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore(kept: dict[str, Any], device: torch.device) -> None:
    """Set all generators of this process to saved states."""
    random.setstate(kept["python"])
    state = kept["numpy"]["state"]
    key = state["key"].cpu().numpy().astype(np.uint32)
    np.random.set_state(kept["numpy"] | {"state": state | {"key": key}})
    torch.set_rng_state(kept["torch"].cpu())
    if device.type == "cuda" and "cuda" in kept:
        torch.cuda.set_rng_state(kept["cuda"].cpu(), device)
