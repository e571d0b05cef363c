"""Stop when the machine asks for it, between two batches and with everything saved."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch

from gentrain.config.types import Count
from gentrain.errors import Interrupted

log = logging.getLogger("gentrain")
CAUGHT = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
WARNINGS = [
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]  # what a cluster's user asks to be sent
SIGINT_STATUS = 128 + signal.SIGINT


class Signals(L.Callback):
    """SIGTERM, SIGINT, SIGUSR1 or SIGUSR2 raises `Interrupted` at the end of the batch; a second SIGINT leaves at once.

    Last in the list, so that whatever was due after that batch is done before: `Checkpoint` then saves, on the exception.
    Several processes agree every `agree_every` steps: a stop of one alone would leave the others waiting for it.
    """

    def __init__(self, agree_every: Count = 10) -> None:
        self.agree_every = agree_every
        self.signum: int | None = None
        self.pid = os.getpid()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Not earlier: Lightning installs its own handlers before. However the fit ends, Lightning puts back those from before it."""
        self.pid, self.signum = os.getpid(), signal.SIGTERM if trainer.received_sigterm else None
        if threading.current_thread() is threading.main_thread():
            for signum in CAUGHT:
                signal.signal(signum, self.note)

    def note(self, signum: int, frame: FrameType | None) -> None:
        if (
            os.getpid() != self.pid
        ):  # a DataLoader's worker inherits the handler; the trainer ends it
            return
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            os.write(
                sys.__stderr__.fileno() if sys.__stderr__ else 2,
                b"\ngentrain: stopped at once, without saving\n",
            )
            os._exit(SIGINT_STATUS)
        self.signum = signum

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= trainer.max_steps:
            return  # it ends by itself
        if trainer.world_size > 1:
            self.agree(trainer, pl_module)
        elif self.signum is not None:
            raise Interrupted(self.signum)

    def agree(self, trainer: L.Trainer, pl_module: Any) -> None:
        if pl_module.due(self.agree_every):
            anyones = torch.tensor(self.signum or 0, device=pl_module.device)
            signum = int(trainer.strategy.reduce(anyones, reduce_op="max"))
            if signum:
                raise Interrupted(signum)


@contextmanager
def interruptible() -> Iterator[None]:
    """Around `trainer.fit`: Ctrl-C before the first batch, which Lightning turns into exit status 1, is `Interrupted` too."""
    try:
        yield
    except SystemExit as left:
        if isinstance(left.__context__, KeyboardInterrupt):
            raise Interrupted(signal.SIGINT) from None
        raise
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None


@contextmanager
def ignore_sigchld() -> Iterator[None]:
    """No word of dead children: torch raises an error wherever it hears of a worker's, a second time while the first is being told."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def requeue(signum: signal.Signals, resumes: bool) -> None:
    """When everything is saved and closed: whoever listened before the training hears the signal, as submitit does to requeue its job.

    A SLURM job of one's own, warned by USR1 or USR2 (`sbatch --requeue --signal=USR1@90`), is put back into the queue if its command
    `resumes`; else it would begin again for ever.
    """
    handler, job = signal.getsignal(signum), slurm_job()
    if callable(handler) and handler is not signal.default_int_handler:
        handler(signum, None)
    elif "GENTRAIN_CELL_PARENT" in os.environ:
        return  # a cell of a sweep: its parent has had the signal too, and requeues the job
    elif job and signum in WARNINGS:
        if not resumes:
            log.warning(
                "SLURM job %s is not requeued: its command would begin anew; add resume=auto", job
            )
            return
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        log.info(
            "SLURM job %s %s",
            job,
            "is requeued"
            if done.returncode == 0
            else f"could not be requeued: {done.stderr.strip()}",
        )


def slurm_job() -> str | None:
    """Of a job array, the task."""
    of = os.environ
    return (
        f"{of['SLURM_ARRAY_JOB_ID']}_{of['SLURM_ARRAY_TASK_ID']}"
        if "SLURM_ARRAY_JOB_ID" in of
        else of.get("SLURM_JOB_ID")
    )
