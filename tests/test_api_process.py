"""What a training from Python leaves behind in its process, and how it is stopped."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import gentrain
from gentrain.runs.process import Process
from tests.support.shell import SMALL
from tests.support.zoo import Zoo

WORDS = (
    "model=dcgan", "model.generator.width=4", "model.critic.width=4", "data.batch_size=8",
    "samples.n=4", *SMALL,
)  # fmt: skip
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENTRAIN_CACHE", env["GENTRAIN_CACHE"])
    # as a shell has it; one that starts jobs in the background lets them ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def state() -> dict[str, Any]:
    """What a process is known by, beside what it imports."""
    loggers = {
        name: (logger.level, logger.handlers[:], logger.propagate, logger.disabled)
        for name in ("", "gentrain", "lightning.pytorch", "lightning.fabric", "mine")
        for logger in [logging.getLogger(name)]
    }
    return {
        "argv": sys.argv[:],
        "hook": sys.excepthook,
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "loggers": loggers,
        "warnings": warnings.filters[:],
        "hydra": GlobalHydra.instance().hydra,
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
    } | numbers()


def numbers() -> dict[str, Any]:
    """Random numbers of all three libraries."""
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
    }


def test_a_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Also where the caller uses Hydra itself, and where the training fails."""
    mine = logging.getLogger("mine")
    mine.setLevel(logging.ERROR)
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    words = (*WORDS, "steps=1", "+trainer.deterministic=true", "trainer.precision=64-true")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        before = state()
        first = gentrain.train(*words)
        assert state() == before
        second = gentrain.train(*words)
        with pytest.raises(gentrain.UserError, match="did you mean"):
            gentrain.train(*words, "lipschitz=gpp")
        assert state() == before
    assert first.path != second.path
    assert torch.equal(first.sample(2), second.sample(2))


def test_a_run_draws_none_of_the_callers_numbers(zoo: Zoo, tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = numbers()
    run = gentrain.load(zoo("vae"))
    x = run.sample(2)
    run.encode(x), run.reconstruct(x), run.log_prob(x, samples=2)
    gentrain.from_pretrained(run.save_pretrained(tmp_path / "saved"))
    assert numbers() == before


def interrupted(number: int, times: int = 1) -> Callable[[], None]:
    """A thread that sends this process a signal as soon as a training listens."""
    ready = signal.getsignal(number)

    def send() -> None:
        deadline = time.monotonic() + 60
        while signal.getsignal(number) == ready and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    return thread.join


def test_ctrl_c_saves_and_raises_keyboard_interrupt() -> None:
    before = state()
    join = interrupted(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="resume=auto"):
        gentrain.train(*WORDS, "steps=100000", "hydra.run.dir=run")
    join()
    assert state() == before and Process.own
    run = gentrain.load("run")
    assert run.summary["status"] == "interrupted" and 0 < run.step < 100000
    more = gentrain.train(*WORDS, f"steps={run.step + 1}", "hydra.run.dir=run", "resume=auto")
    assert more.step == run.step + 1
    again = gentrain.train(*WORDS, f"steps={more.step}", "hydra.run.dir=run", "resume=auto")
    assert again.path == more.path and again.step == more.step


def test_a_second_ctrl_c_ends_the_training_and_not_the_process() -> None:
    from gentrain.training.callbacks.signals import Signals

    handler = Signals()
    handler.note(signal.SIGINT, None)
    Process.own = False
    try:
        with pytest.raises(KeyboardInterrupt):
            handler.note(signal.SIGINT, None)
    finally:
        Process.own = True


def test_sigint_works_after_ctrl_c_before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning ignores SIGINT for good when it hears of one in its own code."""
    from gentrain.training.callbacks.progress import Lines

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lines, "on_train_start", pressed)
    with pytest.raises(KeyboardInterrupt):
        gentrain.train(*WORDS, "steps=1")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_signal_raises_interrupted() -> None:
    join = interrupted(signal.SIGTERM)
    with pytest.raises(gentrain.Interrupted, match="SIGTERM"):
        gentrain.train(*WORDS, "steps=100000", "hydra.run.dir=run")
    join()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--help"], "answers no questions"),
        (["--cfg", "job"], "answers no questions"),
        (["--nonsense"], r"unrecognized arguments: --nonsense \(words\)"),
        (["--cfg"], r"\(words\)"),
        (["trainer=ddp"], "one model"),
        ([3], "no word of a command"),
    ],
)
def test_words_that_do_not_train(words: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(gentrain.UserError, match=message) as error:
        gentrain.train(*words)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_a_thread_may_train() -> None:
    """Only the main thread may set handlers of signals."""
    runs: list[gentrain.Run] = []
    thread = threading.Thread(target=lambda: runs.append(gentrain.train(*WORDS, "steps=1")))
    thread.start()
    thread.join()
    assert runs and runs[0].step == 1
