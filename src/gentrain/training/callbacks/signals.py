"""Stopping when the machine asks for it, between two batches and with everything saved."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import lightning as L
import torch

from gentrain.config.types import Count
from gentrain.errors import Interrupted
from gentrain.runs.process import PARENT, Process

log = logging.getLogger("gentrain")
# what a user of a cluster asks to be sent as a warning
WARNINGS = [signal.SIGUSR1, signal.SIGUSR2]
CAUGHT = [signal.SIGTERM, signal.SIGINT, *WARNINGS]
SIGINT_STATUS = 128 + signal.SIGINT


class Signals(L.Callback):
    """SIGTERM, SIGINT, SIGUSR1 or SIGUSR2 raises `Interrupted` at the end of the batch.

    A second SIGINT ends the process at once, or the training alone in a process that is not
    gentrain's own. This callback is the last of the list, so that
    whatever is due after that batch is done before; `Checkpoint` then saves, on the exception.

    Args:
        agree_every: steps after which several processes ask each other whether to stop. A process
            that stopped alone would leave the others waiting for it.
    """

    def __init__(self, agree_every: Count = 10) -> None:
        self.agree_every = agree_every
        self.signum: int | None = None
        self.pid = os.getpid()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the handlers.

        Not earlier, since Lightning installs its own before. However the fit ends, Lightning
        restores the handlers from before it.
        """
        self.pid = os.getpid()
        self.signum = signal.SIGTERM if trainer.received_sigterm else None
        if threading.current_thread() is threading.main_thread():
            for signum in CAUGHT:
                signal.signal(signum, self.note)

    def note(self, signum: int, frame: FrameType | None) -> None:
        """The handler: remember the signal."""
        if os.getpid() != self.pid:  # a DataLoader's worker, which the trainer ends
            return
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            if not Process.own:
                raise KeyboardInterrupt
            stderr = sys.__stderr__.fileno() if sys.__stderr__ else 2
            with suppress(OSError):  # stderr may be full
                os.write(stderr, b"\ngentrain: stopped at once, without saving\n")
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
        """Stop every process if one of them has had a signal."""
        if pl_module.due(self.agree_every):
            own = torch.tensor(self.signum or 0, device=pl_module.device)
            signum = int(trainer.strategy.reduce(own, reduce_op="max"))
            if signum:
                raise Interrupted(signum)


@contextmanager
def interruptible() -> Iterator[None]:
    """Around `trainer.fit`: turn Ctrl-C before the first batch into `Interrupted`.

    Lightning turns it into exit status 1.
    """
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
    """Ignore dead children.

    torch raises an error wherever it hears of a dead worker, also a second time while the first
    error is being reported.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def requeue(signum: signal.Signals, resumes: bool) -> None:
    """Pass a signal on, or put the job back into the queue, when everything is saved and closed.

    A handler from before the training gets the signal, as submitit's does, which requeues its job.
    A SLURM job of the user's own, warned by USR1 or USR2 (`sbatch --requeue --signal=USR1@90`), is
    requeued if its command resumes; otherwise it would begin again for ever.

    Args:
        signum: the signal that stopped the training.
        resumes: whether the command of this run has `resume=`.
    """
    handler, job = signal.getsignal(signum), slurm_job()
    if callable(handler) and handler is not signal.default_int_handler:
        handler(signum, None)
    elif PARENT in os.environ:
        return  # a cell of a sweep: its parent has had the signal too, and requeues the job
    elif job and signum in WARNINGS:
        if not resumes:
            log.warning(
                "SLURM job %s is not requeued, since its command would begin anew; add resume=auto",
                job,
            )
            return
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        failed = f"could not be requeued: {done.stderr.strip()}"
        log.info("SLURM job %s %s", job, failed if done.returncode else "is requeued")


def slurm_job() -> str | None:
    """The number of the SLURM job, or of the task of a job array, in which this process runs."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID")
