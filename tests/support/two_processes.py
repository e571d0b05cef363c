"""Two processes on the CPU; a SIGTERM to one of them stops both: `python -m
tests.support.two_processes RUN_DIR`.

The second process is a fork, and imports nothing anew. Lightning takes both for processes that a
launcher has started.
"""

import os
import signal
import socket
import sys
from pathlib import Path

import lightning as L
import torch

from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.callbacks.samples import SampleGrids
from gentrain.training.callbacks.signals import Interrupted, Signals, interruptible
from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.datamodule import DataModule
from tests.support.toy import Noise, scheme


class Send(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == 3 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def fork_second() -> int:
    """Fork the process of rank 1; 0 there, and its pid in that of rank 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    pid = os.fork()
    os.environ |= {"LOCAL_RANK": "0" if pid else "1", "NODE_RANK": "0"}
    return pid


def leave(status: int, second: int) -> None:
    """Rank 0 ends with the status of both."""
    if second:
        other = os.waitstatus_to_exitcode(os.waitpid(second, 0)[1])
        sys.exit(status if other == status else f"{status}, and the other process {other}")
    os._exit(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    second = fork_second()
    L.seed_everything(0, verbose=False)
    directory = Path(sys.argv[1])
    resume = directory / "checkpoints" / "last.ckpt" if len(sys.argv) > 2 else None
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_find_unused_parameters_true",
        max_steps=6,
        max_epochs=-1,
        default_root_dir=directory,
        logger=False,
        callbacks=[
            RNG(),
            SampleGrids(every=2, n=4),
            Checkpoint(0),
            *([] if resume else [Send()]),
            Signals(agree_every=2),
        ],
        plugins=[AtomicIO()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    try:
        with interruptible():
            trainer.fit(
                scheme(),
                datamodule=DataModule(
                    Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
                ),
                ckpt_path=resume,
            )
    except Interrupted as interrupted:
        leave(interrupted.status, second)
    leave(0, second)
