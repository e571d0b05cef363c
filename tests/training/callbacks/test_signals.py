"""A signal saves after the batch it came in and leaves with its own status; the handlers of before
are put back.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import pytest
import torch

from gentrain.runs.checkpoints import step_of
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.signals import CAUGHT, Interrupted, Signals
from tests.support.paths import ROOT
from tests.support.shell import LIMIT, Process, plain, python, running, wait_until
from tests.support.toy import train

ENV = plain() | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


@contextmanager
def training(run_dir: Path, *options: str) -> Iterator[Process]:
    """The process, once it trains."""
    with running(ROOT, ENV, "-m", "tests.support.endless_run", str(run_dir), *options) as process:
        wait_until((run_dir / "pid").exists, process)
        yield process


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_and_leaves(tmp_path: Path, signum: int, status: int) -> None:
    with training(tmp_path) as process:
        process.send_signal(signum)
        assert process.wait(LIMIT) == status, process.stderr.read()
        out, err = process.stdout.read(), process.stderr.read()
    assert "interrupted by" in out and "Traceback" not in err
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") >= 3
    resumed = train(
        tmp_path,
        step_of(tmp_path / "checkpoints" / "last.ckpt") + 1,
        [Checkpoint()],
        resume=tmp_path / "checkpoints" / "last.ckpt",
    )
    assert resumed.global_step == step_of(tmp_path / "checkpoints" / "last.ckpt")


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    with training(tmp_path, "3") as process:
        process.send_signal(signal.SIGINT)
        wait_until((tmp_path / "heard").exists, process)  # in its evaluation
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130 and "without saving" in process.stderr.read()


def test_ctrl_c_before_the_first_batch(tmp_path: Path) -> None:
    with training(tmp_path, "0") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130, process.stderr.read()
        out = process.stdout.read()
    assert "interrupted by SIGINT" in out and not (tmp_path / "checkpoints").exists()


def test_the_handlers_of_before_come_back(tmp_path: Path) -> None:
    before = {signum: signal.getsignal(signum) for signum in CAUGHT}

    class Send(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            if trainer.global_step == 2:
                os.kill(os.getpid(), signal.SIGUSR2)

    train(tmp_path, 1, [Signals()])
    assert {signum: signal.getsignal(signum) for signum in CAUGHT} == before
    with pytest.raises(Interrupted, match="SIGUSR2") as caught:
        train(tmp_path, 9, [Send(), Checkpoint(), Signals()])
    assert {signum: signal.getsignal(signum) for signum in CAUGHT} == before
    assert caught.value.status == 128 + signal.SIGUSR2
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2


def test_a_worker_does_not_stop_the_training() -> None:
    signals = Signals()
    signals.pid = os.getpid() + 1
    signals.note(signal.SIGTERM, None)
    assert signals.signum is None


def test_two_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    command = ("-m", "tests.support.two_processes", str(tmp_path))
    stopped = python(ROOT, ENV, *command)
    assert stopped.returncode == 143, stopped.stderr
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4 and len(saved["rng"]) == 2
    assert python(ROOT, ENV, *command, "resume").returncode == 0
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 6
