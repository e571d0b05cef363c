"""The keeper of a cell. A launcher (joblib's, submitit's, Ray's) runs it where and when it likes; it runs the cell's command, an ordinary

    gentrain model=wgan seed=1 ... hydra.run.dir=outputs/sweeps/<name>/003 resume=auto

in a process of its own, hands signals on to it, and writes how it ended. So nothing that a cell does (an exception, an exit, a segmentation
fault, the kernel's killing it for memory) reaches the launcher, and a cell of several processes starts them as on a command line.

The process is forked from the keeper, where that has imported torch once for all its cells (`cluster.warm`), or is a new interpreter.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gentrain.cli.overrides import quoted
from gentrain.errors import Stopped, UserError
from gentrain.runs import directory
from gentrain.sweeps.ledger import KEEPER, LOG, Ledger, Status, held

if TYPE_CHECKING:
    from omegaconf import DictConfig


log = logging.getLogger("gentrain")


RELAYED = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


DRIVER, PARENT = "GENTRAIN_DRIVER", "GENTRAIN_KEEPER"  # process numbers, for those below


STOP = ".stop"  # in the sweep: the driver was told to leave, and no cell is to go on


LOOK = 0.05  # seconds between two looks at the cell's process


def train_cell(
    sweep_dir: Path, name: str, words: list[str], warm: bool, slots: int = 0, gpus: int = 0
) -> float | None:
    """Run the cell's command to its end, write its status. Returns its score, for a sweeper to minimise; None where there is none.

    Of `slots` cells that this machine trains at a time, each gets one of its first `gpus` GPUs, in turn; 0 leaves that to the launcher.

    Raises Stopped where this process itself was told to stop: the whole sweep, or a job that SLURM takes back.
    """
    ledger, run_dir = Ledger(sweep_dir), sweep_dir / name
    if rank() != 0:  # one of several processes of a cell; the first one writes
        run(words, run_dir, warm)
        return None
    driver = os.environ.get(DRIVER)
    if driver not in (None, str(os.getpid()), str(os.getppid())):
        return None  # a job that was still in the pipe to a worker when its driver died
    if driver and (sweep_dir / STOP).exists():
        while any(status["status"] == "running" for status in ledger.statuses()):
            time.sleep(LOOK)
        raise Stopped(
            128 + signal.SIGTERM
        )  # joblib now ends its other workers, whose cells have saved
    with held(
        run_dir / KEEPER,
        f"{{owner}} is at work on cell {name} in {run_dir} (sweep.name); wait for it",
    ):
        before = ledger.read_status(name)
        if (
            before["status"] == "completed"
            and directory.finished(run_dir, steps_of(run_dir))
            and not wants_more(words, run_dir)
        ):
            return before.get("score")
        if warm:
            if not gc.get_freeze_count():
                gc.freeze()  # what a fork shares is not looked through again, neither here (loky does it each second) nor there
                atexit.register(
                    gc.unfreeze
                )  # Triton's bindings count what is never collected, and complain
        started = time.time()
        facts = {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "started": started,
        }
        ledger.record(name, status="running", reason=None, attempts=before["attempts"] + 1, **facts)
        with own_gpu(sweep_dir, slots if gpus else 0, gpus):
            code, stopped_by = run(words, run_dir, warm)
        took = before.get("seconds", 0.0) + time.time() - started
        end = ledger.record(
            name, **verdict(run_dir, code, started), exit=code, seconds=round(took, 2)
        )
    log.info("%s", line(end, run_dir))
    if stopped_by is not None:
        exit_on_signal(stopped_by)
    return end["score"]


@contextmanager
def own_gpu(sweep_dir: Path, slots: int, gpus: int) -> Iterator[None]:
    """For the cell's process CUDA has one device: that of the first slot which no other cell holds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(number) for number in range(gpus)]
    with ExitStack() as stack:
        for slot in range(slots):
            with suppress(UserError):
                stack.enter_context(held(sweep_dir / f".slot-{slot}", "{owner} has this slot"))
                os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % min(gpus, len(devices))]
                break
        try:
            yield
        finally:
            if visible is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = visible


def rank() -> int:
    """Of the processes that SLURM starts for one cell."""
    return int(os.environ.get("SLURM_PROCID", "0"))


def steps_of(run_dir: Path) -> int:
    return int(directory.saved_config(run_dir)["steps"])


def wants_more(words: list[str], run_dir: Path) -> bool:
    """Does the command ask for more steps than were made?"""
    asked = [word.partition("=")[2] for word in words if word.startswith("steps=")]
    return bool(asked) and int(asked[-1]) > directory.summary(run_dir).get("steps", 0)


# --- the cell's process -----------------------------------------------------------------------------------------------


def run(words: list[str], run_dir: Path, warm: bool) -> tuple[int, signal.Signals | None]:
    """(exit status as a shell has it or minus a signal's number, the signal that stopped the keeper)."""
    start = forked if warm and hasattr(os, "fork") and untouched() else spawned
    with (run_dir / LOG).open("ab") as output, relayed() as relay:
        code, send = start(words, output.fileno())
        relay.to(send)
        leaving = told_to_leave(run_dir.parent)
        while (ended := code()) is None:
            if relay.received is None and leaving():
                relay.note(signal.SIGTERM, None)
            time.sleep(LOOK)
    return ended, relay.received


Started = tuple[
    Callable[[], int | None], Callable[[int], None]
]  # its status once it has one; how to send it a signal


def spawned(words: list[str], output: int) -> Started:
    """A new interpreter, in a session of its own: a terminal's Ctrl-C comes to it once, by its keeper."""
    environment = os.environ | {PARENT: str(os.getpid())}
    command = [sys.executable, "-m", "gentrain", *words]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
    )  # fmt: skip
    return child.poll, child.send_signal


def untouched() -> bool:
    """A device that this process has opened would not survive a fork."""
    import torch

    return not torch.cuda.is_initialized()


def forked(words: list[str], output: int) -> Started:
    """A copy of this process, which has imported torch and done nothing with it: a thread or a device would not survive that."""

    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        run_in_child(words, output, parent)

    def code() -> int | None:
        ended, status = os.waitpid(child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def send(number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    return code, send


def run_in_child(words: list[str], output: int, parent: int) -> None:
    """In the forked process: the command `gentrain ...` from its first line on."""
    from importlib.util import find_spec

    from hydra.core.global_hydra import GlobalHydra

    status = 1
    try:
        os.setsid()
        for number in (*RELAYED, signal.SIGCHLD):
            signal.signal(
                number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler
            )
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(ours, theirs)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 (until the end)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ[PARENT] = str(parent)
        sys.modules["__main__"].__spec__ = find_spec(
            "gentrain.__main__"
        )  # the other processes of a DDP run start as this one seems to have
        sys.argv = ["gentrain", *words]
        GlobalHydra.instance().clear()
        from gentrain.cli.main import run as command

        status = command(words)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status & 0xFF)


def watch_parent() -> None:
    """In the cell's process: where its keeper is gone, save and leave, as if a signal had come."""
    parent = os.environ.get(PARENT)
    if parent is None or str(os.getppid()) != parent:  # no cell, or another process of one
        return

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="watch-keeper").start()


def told_to_leave(sweep_dir: Path) -> Callable[[], bool]:
    """Has the driver gone that started this process, or does it want to? A job of a cluster outlives it; its own worker does not."""
    driver = os.environ.get(DRIVER)
    if driver is None or str(os.getppid()) != driver:
        return lambda: False
    return lambda: str(os.getppid()) != driver or (sweep_dir / STOP).exists()


class Relay:
    """Hands signals on to the cell's process."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.send: Callable[[int], None] | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self.send is not None:
            self.send(number)

    def to(self, send: Callable[[int], None]) -> None:
        self.send = send
        if self.received is not None:  # it came while the process was started
            send(self.received)


@contextmanager
def relayed() -> Iterator[Relay]:
    relay = Relay()
    if threading.current_thread() is not threading.main_thread():
        yield relay
        return
    before = {number: signal.signal(number, relay.note) for number in RELAYED}
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_on_signal(number: signal.Signals) -> None:
    """The keeper was told to stop, and its cell has saved. Whoever listened before hears of it, as submitit does to requeue its job."""
    driver = os.environ.get(DRIVER)
    if driver == str(os.getppid()) and driver != str(os.getpid()):
        return  # one worker among others, whose driver goes on (or has gone)
    handler = signal.getsignal(number)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(number, None)
    raise Stopped(128 + number)


# --- how it ended -----------------------------------------------------------------------------------------------------


HINTS = {signal.SIGKILL: " (out of memory?)", signal.SIGSEGV: " (a crash below Python)"}


def verdict(run_dir: Path, code: int, started: float) -> dict[str, Any]:
    """status, reason and score of a process that has ended."""
    file = run_dir / "summary.json"
    end = (
        directory.summary(run_dir) if file.exists() and file.stat().st_mtime >= started - 1 else {}
    )
    if code == 0 and directory.summary(run_dir).get("status") == "completed":
        return {"status": "completed", "reason": None, "score": score(directory.summary(run_dir))}
    if code == 0:
        return {"status": "failed", "reason": "left with status 0 before its end", "score": None}
    status, number = end.get("status", "failed"), code - 128 if code > 0 else -code
    if (
        status == "interrupted" or number in RELAYED
    ):  # by the signal itself, where it came before the process listened
        return {
            "status": "interrupted",
            "reason": f"stopped by {signal.Signals(number).name}",
            "score": None,
        }
    if code < 0:
        killer = signal.Signals(number)
        return {
            "status": "failed",
            "reason": f"killed by {killer.name}{HINTS.get(killer, '')}",
            "score": None,
        }
    reason = last_words(run_dir / LOG) or f"left with status {code}"
    return {
        "status": "diverged" if status == "diverged" else "failed",
        "reason": reason,
        "score": None,
    }


def score(end: dict[str, Any]) -> float | None:
    """The best score of a run, where it is a number: NaN is none."""
    value = end.get("best", {}).get("value")
    return float(value) if value is not None and abs(float(value)) < float("inf") else None


def last_words(file: Path) -> str | None:
    """Our own error, or else the last line of all, of the end of a log."""
    with suppress(OSError), file.open("rb") as log_file:
        log_file.seek(max(0, file.stat().st_size - 20_000))
        lines = [
            text for text in log_file.read().decode(errors="replace").splitlines() if text.strip()
        ]
        ours = [
            text.removeprefix("gentrain: error: ")
            for text in lines
            if text.startswith("gentrain: error: ")
        ]
        return (ours or lines)[-1][:400] if lines else None
    return None


def line(end: Status, run_dir: Path) -> str:
    """cell 003 (model=wgan, seed=1): completed in 24 s, 12.3"""
    what = ", ".join(f"{key}={value}" for key, value in end["overrides"].items())
    how = f"completed in {end['seconds']:.0f} s" + (
        f", score {end['score']:.4g}" if end["score"] is not None else ""
    )
    if end["status"] != "completed":
        how = f"{end['status']}: {end['reason']}; see {run_dir / end['log']}"
    return f"cell {end['cell']} ({what}): {how}"


def cell(cfg: DictConfig) -> float | None:
    """One job of a multirun, wherever the launcher has put it: keeps the process that trains."""
    from hydra.core.hydra_config import HydraConfig

    hydra_cfg = HydraConfig.get()
    if cfg.sweep.cell is None:
        raise UserError(
            "a multirun needs the ledger of its cells (hydra/sweeper); choose sweep=grid, random, tpe or ablate"
        )
    logging.getLogger("gentrain").setLevel(logging.INFO)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    overlays = [
        source.path
        for source in hydra_cfg.runtime.config_sources
        if source.provider == "command-line"
    ]
    words = [
        word for word in hydra_cfg.overrides.task if not word.startswith(("resume=", "probe="))
    ]
    own = [
        *words,
        f"hydra.run.dir={quoted(run_dir)}",
        "resume=auto",
        *(f"--config-dir={path}" for path in overlays),
    ]
    local = (
        "joblib" in hydra_cfg.runtime.choices["hydra/launcher"]
    )  # who else would give each of its jobs a device?
    return train_cell(
        run_dir.parent,
        run_dir.name,
        own,
        cfg.cluster.warm,
        cfg.cluster.jobs if local else 0,
        cfg.cluster.gpus or 0,
    )
