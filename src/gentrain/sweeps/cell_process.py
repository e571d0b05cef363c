"""Train one cell of a sweep in a process of its own.

A launcher (joblib's, submitit's, Ray's) runs `run_cell` where and when it likes. That is the parent
process of the cell: it runs the cell's command, an ordinary

    gentrain model=wgan seed=1 ... hydra.run.dir=outputs/sweeps/<name>/003 resume=auto

in a child process, passes signals on to it, and writes how it ended. So nothing that a cell does
(an exception, an exit, a segmentation fault, being killed for its memory) reaches the launcher, and
a cell of several processes starts them as it would on a command line.

The child is forked from the parent where that has imported torch once for all its cells
(`cluster.warm`), or is a new interpreter.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gentrain.config.overrides import last_value, quoted, without
from gentrain.errors import Stopped, UserError
from gentrain.files import exclusive, messages_to
from gentrain.runs import directory
from gentrain.runs.process import CHECK, PARENT
from gentrain.sweeps.ledger import CELL_LOCK, LOG, Ledger, Status
from gentrain.sweeps.progress import CellProgress, tally, title

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger("gentrain")

# signals that are passed on to the cell's process
FORWARDED = [
    signal.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
    if name in signal.Signals.__members__
]

LAUNCHER = "GENTRAIN_SWEEP_LAUNCHER"  # an environment variable: the number of the sweep's process

# a file in the sweep's directory: the sweep was told to stop, and no cell may go on
STOP = ".stop"

POLL = 0.05  # seconds between two looks at the cell's process

# runs the words after `gentrain` in this process, and returns the exit status
Main = Callable[[list[str]], int]


# --- the parent process -----------------------------------------------------------------------


def run_cell(cfg: DictConfig, main: Main) -> float | None:
    """One job of a multirun, wherever the launcher has put it.

    Args:
        cfg: the job's configuration.
        main: what the cell's process runs where it is forked.

    Returns:
        The score of the cell, for a sweeper to minimise; None where there is none.

    Raises:
        UserError: where the job is no cell of a ledger.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra_cfg = HydraConfig.get()
    if cfg.sweep.cell is None:
        raise UserError(
            "a multirun needs the ledger of its cells (hydra/sweeper); "
            "choose sweep=grid, random, tpe or ablate"
        )
    logging.getLogger("gentrain").setLevel(logging.INFO)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    sources = hydra_cfg.runtime.config_sources
    overlays = [source.path for source in sources if source.provider == "command-line"]
    command = [
        *without(hydra_cfg.overrides.task, "resume", "probe"),
        f"hydra.run.dir={quoted(run_dir)}",
        "resume=auto",
        *(f"--config-dir={path}" for path in overlays),
    ]
    # only joblib leaves it to us to give each of its jobs a GPU
    local = "joblib" in hydra_cfg.runtime.choices["hydra/launcher"]
    slots = cfg.cluster.jobs if local else 0
    fork = main if cfg.cluster.warm else None
    return train_cell(run_dir, command, fork, slots, cfg.cluster.gpus or 0)


def train_cell(
    run_dir: Path, command: list[str], main: Main | None, slots: int = 0, gpus: int = 0
) -> float | None:
    """Run the command of a cell to its end, and write its status.

    Args:
        run_dir: the directory of the cell, in that of the sweep.
        command: the words after `gentrain`.
        main: what a forked process runs; None starts a new interpreter.
        slots: how many cells this machine trains at a time; 0 where the launcher shares out GPUs.
        gpus: how many GPUs they share; each cell gets one, in turn.

    Returns:
        The score of the cell; None where there is none.

    Raises:
        Stopped: where this process was told to stop: the whole sweep, or a job that SLURM takes
            back.
        UserError: while another process manages the cell.
    """
    name, ledger = run_dir.name, Ledger(run_dir.parent)
    if int(os.environ.get("SLURM_PROCID", "0")) != 0:
        run_command(command, run_dir, main)  # the first process of a cell writes for the others
        return None
    if launcher_is_gone():
        return None
    stop_with_sweep(ledger)
    refusal = f"{{owner}} manages cell {name} in {run_dir} (sweep.name); wait for it"
    with exclusive(run_dir / CELL_LOCK, refusal):
        before = ledger.read_status(name)
        if is_completed(before, command, run_dir):
            return before.get("score")
        if main is not None:
            freeze_memory()
        started = time.time()
        record_start(ledger, name, before["attempts"] + 1, started)
        progress = CellProgress(ledger, name, slots)
        progress.start()
        with one_gpu(run_dir.parent, slots if gpus else 0, gpus):
            code, stopped_by = run_command(command, run_dir, main, progress.look)
        seconds = round(before.get("seconds", 0.0) + time.time() - started, 2)
        outcome = read_outcome(run_dir, code, started)
        end = ledger.record(name, **outcome, exit=code, seconds=seconds)
    log.info("%s; %s", report(end, run_dir), tally(ledger))
    if stopped_by is not None:
        exit_on_signal(stopped_by)
    return end["score"]


def launcher_is_gone() -> bool:
    """Whether this job was still on its way to a worker when the sweep's process died."""
    return os.environ.get(LAUNCHER) not in (None, str(os.getpid()), str(os.getppid()))


def stop_with_sweep(ledger: Ledger) -> None:
    """Leave where the sweep was told to stop, but not before the running cells have saved.

    joblib ends its other workers as soon as one of them leaves.

    Raises:
        Stopped: where that is so.
    """
    if not os.environ.get(LAUNCHER) or not (ledger.dir / STOP).exists():
        return
    while any(status["status"] == "running" for status in ledger.statuses()):
        time.sleep(POLL)
    raise Stopped(128 + signal.SIGTERM)


def is_completed(status: Status, command: list[str], run_dir: Path) -> bool:
    """Whether a cell has made all the steps that its command asks for."""
    if status["status"] != "completed":
        return False
    steps = int(directory.saved_config(run_dir)["steps"])
    return directory.finished(run_dir, steps) and not wants_more_steps(command, run_dir)


def wants_more_steps(command: list[str], run_dir: Path) -> bool:
    """Whether a command asks for more steps than a run has made."""
    asked = last_value(command, "steps")
    return asked is not None and int(asked) > directory.summary(run_dir).get("steps", 0)


def freeze_memory() -> None:
    """Leave what this process shares with its forks out of garbage collection, here and there."""
    if not gc.get_freeze_count():
        gc.freeze()
        # Triton's bindings complain about objects that are never collected
        atexit.register(gc.unfreeze)


def record_start(ledger: Ledger, name: str, attempts: int, started: float) -> None:
    """Write that a cell is running, and where."""
    place = {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "started": started,
    }
    ledger.record(name, status="running", reason=None, attempts=attempts, **place)


@contextmanager
def one_gpu(sweep_dir: Path, slots: int, gpus: int) -> Iterator[None]:
    """Show the cell's process one GPU: that of the first slot which no other cell holds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(number) for number in range(gpus)]
    with ExitStack() as stack:
        for slot in range(slots):
            with suppress(UserError):
                stack.enter_context(exclusive(sweep_dir / f".slot-{slot}", "{owner} has it"))
                os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % min(gpus, len(devices))]
                break
        try:
            yield
        finally:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            if visible is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = visible


def exit_on_signal(number: signal.Signals) -> None:
    """End the parent process after a signal, when its cell has saved.

    The handler from before is called, since submitit's requeues its job. A worker of a sweep that
    goes on does not end.

    Raises:
        Stopped: with the status of a process that a signal ended.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher == str(os.getppid()) and launcher != str(os.getpid()):
        return
    handler = signal.getsignal(number)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(number, None)
    raise Stopped(128 + number)


# --- the cell's process -----------------------------------------------------------------------


# its exit status once it has ended (minus a signal's number), and how to send it a signal
Child = tuple[Callable[[], int | None], Callable[[int], None]]


def run_command(
    command: list[str],
    run_dir: Path,
    main: Main | None,
    look: Callable[[], None] = lambda: None,
) -> tuple[int, signal.Signals | None]:
    """Run a command to its end; what it prints goes to cell.log.

    Args:
        command: the words after `gentrain`.
        run_dir: the directory of the cell.
        main: what a forked process runs; None starts a new interpreter.
        look: called many times while the command runs.

    Returns:
        The exit status, or minus the number of the signal that ended it; and the signal, if any,
        that told this parent process to stop.
    """
    with (run_dir / LOG).open("ab") as output, forwarded_signals() as signals:
        if main is not None and can_fork():
            poll, send = fork(command, output.fileno(), main)
        else:
            poll, send = spawn(command, output.fileno())
        signals.connect(send)
        must_stop = stop_condition(run_dir.parent)
        while (code := poll()) is None:
            if signals.received is None and must_stop():
                signals.forward(signal.SIGTERM, None)
            look()
            time.sleep(POLL)
    return code, signals.received


def refusal(command: list[str], main: Main | None) -> str | None:
    """Why a cell cannot begin, where that is a mistake of the user; None where it can.

    Its command is run in another directory up to the first step.

    Args:
        command: the words after `gentrain`.
        main: what a forked process runs; None starts a new interpreter.

    Raises:
        Stopped: where this process was told to stop.
    """
    os.environ[CHECK] = "1"
    try:
        with tempfile.TemporaryDirectory() as place:
            run_dir = Path(place) / "check"
            run_dir.mkdir()
            words = [*without(command, "resume", "probe"), f"hydra.run.dir={quoted(run_dir)}"]
            code, stopped_by = run_command(words, run_dir, main)
            reason = last_error(run_dir / LOG)
    finally:
        del os.environ[CHECK]
    if stopped_by is not None:
        raise Stopped(128 + stopped_by)
    return reason if code == UserError.status else None


def spawn(command: list[str], output: int) -> Child:
    """Start a new interpreter, in a session of its own.

    A terminal's Ctrl-C then reaches it once, through its parent.

    Args:
        command: the words after `gentrain`.
        output: the number of the file for what it prints.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "gentrain", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | {PARENT: str(os.getpid())},
        start_new_session=True,
    )
    return child.poll, child.send_signal


def can_fork() -> bool:
    """Whether this process can be copied: a GPU that it has opened would not survive that."""
    import torch

    return "fork" in vars(os) and not torch.cuda.is_initialized()


def fork(command: list[str], output: int, main: Main) -> Child:
    """Start a copy of this process, which has imported torch and done nothing with it.

    Args:
        command: the words after `gentrain`.
        output: the number of the file for what it prints.
        main: what it runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        run_in_child(command, output, main, parent)

    def poll() -> int | None:
        ended, status = os.waitpid(child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def send(number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    return poll, send


def run_in_child(command: list[str], output: int, main: Main, parent: int) -> None:
    """Run a command in the forked process, as if it had just started; never returns."""
    status = 1
    try:
        os.setsid()
        reset_signals()
        redirect_output(output)
        imitate_start(command, parent)
        status = main(command)
    except SystemExit as left:
        match left.code:
            case int():
                status = left.code
            case code:
                status = int(code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status & 0xFF)


def reset_signals() -> None:
    """Handle signals as a new interpreter does."""
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def redirect_output(output: int) -> None:
    """Read from nothing, and print into a file."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(ours, theirs)
    # both stay open until the end
    sys.stdout = messages_to(1, "utf-8", "surrogateescape")
    sys.stderr = messages_to(2, "utf-8", "surrogateescape")


def imitate_start(command: list[str], parent: int) -> None:
    """Make this process look like `python -m gentrain ...` to Hydra and Lightning.

    Lightning starts the other processes of a DDP run in the way in which this one was started.
    """
    from importlib.util import find_spec

    from hydra.core.global_hydra import GlobalHydra

    os.environ[PARENT] = str(parent)
    sys.modules["__main__"].__spec__ = find_spec("gentrain.__main__")
    sys.argv = ["gentrain", *command]
    GlobalHydra.instance().clear()


def watch_parent() -> None:
    """In the cell's process: save and leave when the parent is gone, as after a SIGTERM."""
    parent = os.environ.get(PARENT)
    if parent is None or str(os.getppid()) != parent:
        return  # no cell, or one of its further processes

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def stop_condition(sweep_dir: Path) -> Callable[[], bool]:
    """What tells a parent process to stop its cell.

    A worker of the sweep's process stops when that is gone, or was told to stop. The job of a
    cluster outlives that process.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher is None or str(os.getppid()) != launcher:
        return lambda: False
    return lambda: str(os.getppid()) != launcher or (sweep_dir / STOP).exists()


class SignalForwarder:
    """Passes signals on to the cell's process, also those that came while it was being started."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.send: Callable[[int], None] | None = None

    def forward(self, number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        self.received = signal.Signals(number)
        if self.send is not None:
            self.send(number)

    def connect(self, send: Callable[[int], None]) -> None:
        """From now on, send signals to a process."""
        self.send = send
        if self.received is not None:
            send(self.received)


@contextmanager
def forwarded_signals() -> Iterator[SignalForwarder]:
    """Catch signals during a block. Only the main thread of a process can."""
    forwarder = SignalForwarder()
    if threading.current_thread() is not threading.main_thread():
        yield forwarder
        return
    before = {number: signal.signal(number, forwarder.forward) for number in FORWARDED}
    try:
        yield forwarder
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- how it ended -----------------------------------------------------------------------------


HINTS = {signal.SIGKILL: " (out of memory?)", signal.SIGSEGV: " (a crash below Python)"}


def read_outcome(run_dir: Path, code: int, started: float) -> dict[str, Any]:
    """Status, reason and score of a cell's process that has ended.

    Args:
        run_dir: the directory of the cell.
        code: its exit status, or minus a signal's number.
        started: when it began, in seconds since 1970.
    """
    end, file = directory.summary(run_dir), run_dir / "summary.json"
    if code == 0:
        if end.get("status") == "completed":
            return {"status": "completed", "reason": None, "score": score(end)}
        return {"status": "failed", "reason": "left with status 0 before its end", "score": None}
    is_new = file.exists() and file.stat().st_mtime >= started - 1
    status = end.get("status", "failed") if is_new else "failed"
    number = code - 128 if code > 0 else -code
    if status == "interrupted" or number in FORWARDED:  # also before it handled signals
        status, reason = "interrupted", f"stopped by {signal.Signals(number).name}"
    elif code < 0:
        killer = signal.Signals(number)
        status, reason = "failed", f"killed by {killer.name}{HINTS.get(killer, '')}"
    else:
        status = "diverged" if status == "diverged" else "failed"
        reason = last_error(run_dir / LOG) or f"left with status {code}"
    return {"status": status, "reason": reason, "score": None}


def score(summary: dict[str, Any]) -> float | None:
    """The best score of a run, where it is a finite number."""
    value = summary.get("best", {}).get("value")
    return float(value) if value is not None and abs(float(value)) < float("inf") else None


def last_error(file: Path) -> str | None:
    """Our own last error in a log, or else its last line; None for an empty log."""
    with suppress(OSError), file.open("rb") as log_file:
        log_file.seek(max(0, file.stat().st_size - 20_000))
        text = log_file.read().decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        prefix = "gentrain: error: "
        ours = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        return (ours or lines)[-1][:400] if lines else None
    return None


def report(end: Status, run_dir: Path) -> str:
    """cell 003 (model=wgan, seed=1): completed in 24 s, score 12.3"""
    if end["status"] != "completed":
        how = f"{end['status']}: {end['reason']}; see {run_dir / end['log']}"
    elif end["score"] is None:
        how = f"completed in {end['seconds']:.0f} s"
    else:
        how = f"completed in {end['seconds']:.0f} s, score {end['score']:.4g}"
    return f"{title(end)}: {how}"
