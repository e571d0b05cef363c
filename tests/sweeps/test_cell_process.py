"""Whatever the process of a cell does, its parent process lives and writes what happened.

The commands here are functions, in forked processes.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gentrain.errors import Stopped
from gentrain.files import exclusive, write_json
from gentrain.sweeps.cell_process import LAUNCHER, report, score, train_cell
from gentrain.sweeps.ledger import Ledger, alive
from gentrain.sweeps.progress import CellProgress
from tests.support.shell import wait_until

fork = multiprocessing.get_context("fork")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "s")
    for number in range(2):
        ledger.add_cell(
            f"identity {number}", {"model": "gan", "seed": number}, ["model=gan", f"seed={number}"]
        )
    ledger.write(["seed"])
    return tmp_path / "s"


def done(best: Any = 1.5, status: str = "completed", code: int = 0) -> Callable[[list[str]], int]:
    """A command that leaves a summary."""

    def command(words: list[str]) -> int:
        run_dir = Path(
            next(word for word in words if word.startswith("hydra.run.dir=")).partition("=")[2]
        )
        write_json(
            run_dir / "summary.json",
            {"status": status, "steps": 3, "best": {"metric": "quality/nats", "value": best}},
        )
        if status != "completed":
            print(
                "a line before\ngentrain: error: the loss is not finite (lr); lower it",
                file=sys.stderr,
            )
        return code

    return command


def raises(words: list[str]) -> int:
    raise RuntimeError("no such layer")


def leaves(words: list[str]) -> int:
    sys.exit(3)


def leaves_at_once(words: list[str]) -> int:
    os._exit(0)


def killed(words: list[str]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def crashes(words: list[str]) -> int:
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def is_asked_too_early(words: list[str]) -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


ENDS: dict[str, tuple[Callable[[list[str]], int], str, str | None]] = {
    "completes": (done(), "completed", None),
    "scores nothing": (done(None), "completed", None),
    "scores NaN": (done(float("nan")), "completed", None),
    "raises": (raises, "failed", "RuntimeError: no such layer"),
    "exits": (leaves, "failed", "left with status 3"),
    "exits without a word": (leaves_at_once, "failed", "left with status 0 before its end"),
    "is killed": (killed, "failed", "killed by SIGKILL (out of memory?)"),
    "crashes": (crashes, "failed", "killed by SIGSEGV (a crash below Python)"),
    "diverges": (
        done(status="diverged", code=1),
        "diverged",
        "the loss is not finite (lr); lower it",
    ),
    "is stopped before it listens": (is_asked_too_early, "interrupted", "stopped by SIGTERM"),
    "is stopped": (done(status="interrupted", code=143), "interrupted", "stopped by SIGTERM"),
}


@pytest.mark.parametrize("end", ENDS)
def test_how_a_cell_ends(sweep: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    command, status, reason = ENDS[end]
    value = train_cell(sweep / "001", ["seed=1", f"hydra.run.dir={sweep / '001'}"], command)
    told = json.loads((sweep / "001" / "status.json").read_text())
    assert (told["cell"], told["status"], told["reason"], told["attempts"]) == (
        "001",
        status,
        reason,
        1,
    )
    assert told["overrides"] == {"seed": 1} and told["log"] == "cell.log"
    assert value == told["score"] == (1.5 if end == "completes" else None), "NaN is no score"
    assert not alive(sweep / "001") and (
        status == "completed" or (reason or "") in report(told, sweep / "001")
    )
    assert Ledger(sweep).read_status("000")["status"] == "missing"


def test_a_completed_cell_is_not_begun_again(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher may run a job twice."""
    words = ["seed=1", f"hydra.run.dir={sweep / '001'}"]
    (sweep / "001" / ".hydra").mkdir()
    (sweep / "001" / ".hydra" / "config.yaml").write_text("model: gan\nsteps: 3\n")
    assert train_cell(sweep / "001", words, done()) == 1.5
    assert train_cell(sweep / "001", words, killed) == 1.5
    assert Ledger(sweep).read_status("001")["attempts"] == 1
    train_cell(sweep / "001", [*words, "steps=4"], done())
    assert Ledger(sweep).read_status("001")["attempts"] == 2, "more steps are wanted"


@pytest.mark.parametrize("where", ["a job of a cluster", "a worker of the driver"])
def test_a_signal_goes_to_the_cell_and_then_to_who_listened_before(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    heard: list[int] = []

    def waits(words: list[str]) -> int:
        signal.signal(signal.SIGUSR2, lambda *_: os._exit(140))
        (sweep / "waits").touch()
        time.sleep(30)
        return 0

    def send() -> None:
        while not (sweep / "waits").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR2)

    if where == "a worker of the driver":
        monkeypatch.setenv(LAUNCHER, str(os.getppid()))
    before = signal.signal(signal.SIGUSR2, lambda number, _: heard.append(number))
    thread = threading.Thread(target=send)
    try:
        thread.start()
        if where == "a job of a cluster":
            with pytest.raises(Stopped) as left:
                train_cell(sweep / "000", ["seed=0"], waits)
            assert left.value.code == 140 and heard == [signal.SIGUSR2]
        else:
            assert train_cell(sweep / "000", ["seed=0"], waits) is None
            assert heard == []
    finally:
        thread.join()
        signal.signal(signal.SIGUSR2, before)
    assert Ledger(sweep).read_status("000")["status"] == "interrupted"


@pytest.mark.parametrize(
    ("visible", "devices"), [(None, ["0", "1", "0"]), ("3,5", ["3", "5", "3"])]
)
def test_cells_side_by_side_share_out_the_gpus(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, devices: list[str]
) -> None:
    """Three slots and two GPUs: the cell gets that of the first slot which is free."""

    def says(words: list[str]) -> int:
        print("device", os.environ.get("CUDA_VISIBLE_DEVICES"))
        return done()(words)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    leave = fork.Event()
    for taken, device in enumerate(devices):
        others = []
        for slot in range(taken):
            ready = fork.Event()
            others.append(fork.Process(target=hold, args=(sweep / f".slot-{slot}", ready, leave)))
            others[-1].start()
            assert ready.wait(30)
        train_cell(
            sweep / "001",
            ["seed=1", f"hydra.run.dir={sweep / '001'}", "steps=9"],
            says,
            slots=3,
            gpus=2,
        )
        leave.set()
        for other in others:
            other.join()
        leave.clear()
        assert (sweep / "001" / "cell.log").read_text().split() == ["device", device]
        (sweep / "001" / "cell.log").unlink()
        Ledger(sweep).record("001", status="missing")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def hold(file: Path, ready: Any, leave: Any) -> None:
    with exclusive(file, "{owner}"):
        ready.set()
        leave.wait(30)


@pytest.mark.parametrize(
    ("value", "known"),
    [(1, 1.0), (0.5, 0.5), (None, None), (float("nan"), None), (float("-inf"), None)],
)
def test_scores(value: float | None, known: float | None) -> None:
    assert score({"best": {"value": value}}) == known and score({}) is None


def test_a_cell_says_how_far_it_is(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own last line, once."""
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0")
    caplog.set_level(logging.INFO, "gentrain")
    log = sweep / "001" / "cell.log"
    log.write_text("of the start before\n")
    progress = CellProgress(Ledger(sweep), "001")
    progress.start()
    progress.look()
    log.write_text("of the start before\n  step 5/9  quality/fid 12.3\nhalf a li")
    Ledger(sweep).record("000", status="failed")
    for _ in range(3):
        progress.due = 0.0
        progress.look()
    assert caplog.messages == [
        "cell 001 (seed=1) starts; 0 of 2 cells done",
        "cell 001 (seed=1): step 5/9  quality/fid 12.3; 0 of 2 cells done, 1 failed",
    ]


def test_what_a_sweep_says_of_a_cell(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While its process is at work; this one goes when it has been heard."""
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0")
    caplog.set_level(logging.INFO, "gentrain")
    heard = sweep / "heard"

    def command(words: list[str]) -> int:
        print("step 1/3")
        wait_until(heard.exists)
        return done()(words)

    def hear(record: logging.LogRecord) -> None:
        if "step 1/3" in record.getMessage():
            heard.touch()

    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", hear)
    monkeypatch.setattr(logging.getLogger("gentrain"), "handlers", [handler])
    train_cell(sweep / "000", [f"hydra.run.dir={sweep / '000'}"], command)
    first, second, third = caplog.messages
    assert first == "cell 000 (seed=0) starts; 0 of 2 cells done"
    assert second == "cell 000 (seed=0): step 1/3; 0 of 2 cells done"
    assert third.startswith("cell 000 (seed=0): completed in ") and third.endswith(
        "score 1.5; 1 of 2 cells done"
    )
