"""A signal saves after the batch it came in and leaves with its own status; the handlers of before are put back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from toy import train

from gentrain.runs.checkpoints import step_of
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.signals import CAUGHT, Interrupted, Signals

SCRIPT = Path(__file__).with_name("script.py")


def start(run_dir: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """The process, once it trains."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(run_dir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, and so everything below it, is started with SIGINT ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (run_dir / "pid").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    time.sleep(0.1)
    return process, process.pid


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_and_leaves(tmp_path: Path, signum: int, status: int) -> None:
    process, pid = start(tmp_path)
    os.kill(pid, signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
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
    process, pid = start(tmp_path, "3")
    os.kill(pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # in its evaluation
    os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "without saving" in err


def test_ctrl_c_before_the_first_batch(tmp_path: Path) -> None:
    process, pid = start(tmp_path, "0")
    os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
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
    command = [sys.executable, str(SCRIPT.with_name("two_processes.py")), str(tmp_path)]
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert stopped.returncode == 143, stopped.stderr
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4 and len(saved["rng"]) == 2
    subprocess.run([*command, "resume"], capture_output=True, text=True, timeout=100, check=True)
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 6
