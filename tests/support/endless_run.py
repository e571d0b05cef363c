"""A run that lasts until a signal: `python -m tests.support.endless_run RUN_DIR`; its exit status
is the one the contract promises.
"""

import os
import sys
import time
from pathlib import Path

import lightning as L
import torch

from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.callbacks.signals import Interrupted, Signals, interruptible
from gentrain.training.loggers.csv_file import RunCSV
from tests.support.toy import train


class Ready(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == 3:
            (Path(trainer.default_root_dir) / "pid").write_text(str(os.getpid()))


class Slow(L.Callback):
    """An evaluation of a minute, for the second Ctrl-C; or one before the first batch, for an early
    one.
    """

    def on_train_start(self, trainer: L.Trainer, *_: object) -> None:
        self.wait(trainer, 0)

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        self.wait(trainer, 3)

    def wait(self, trainer: L.Trainer, step: int) -> None:
        if sys.argv[2:] == [str(step)] and trainer.global_step == step:
            (Path(trainer.default_root_dir) / "pid").write_text(str(os.getpid()))
            (signals,) = [each for each in trainer.callbacks if isinstance(each, Signals)]
            for _ in range(600):
                time.sleep(0.1)
                if signals.signum is not None:
                    (Path(trainer.default_root_dir) / "heard").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    directory = Path(sys.argv[1])
    try:
        with interruptible():
            train(
                directory,
                10**9,
                [RNG(), Slow(), Checkpoint(0), Ready(), Signals()],
                [RunCSV(directory)],
            )
    except Interrupted as interrupted:
        print(f"interrupted by {interrupted.signal.name}", flush=True)
        sys.exit(interrupted.status)
