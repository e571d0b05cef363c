"""How Lightning saves and loads gentrain's checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from gentrain.patience import say_if_slow
from gentrain.runs.checkpoints import load, save


class AtomicIO(TorchCheckpointIO):
    """Saves a checkpoint whole or not at all, and keeps the last ones.

    Lightning's own writes in `$TMPDIR` and moves the file. On another file system that leaves half
    a checkpoint when the process is killed.

    Args:
        keep: how many of the last checkpoints stay.
    """

    def __init__(self, keep: int = 2) -> None:
        super().__init__()
        self.keep = keep

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Raise `Unavailable` when the disk is full or read-only; the old file then stays."""
        with say_if_slow(f"saving {path}"):
            save(checkpoint, Path(path), self.keep)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load tensors and plain values only, so that a file cannot run code."""
        return load(Path(path), map_location)
