"""The `gentrain` of this environment as a user's shell runs it, and what a refusal looks like."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from tests.support import fork_server
from tests.support.paths import CONF, LIGHT

GENTRAIN = str(Path(sys.executable).with_name("gentrain"))
SMALL = ("trainer=cpu", "logger=csv", "quality=none")
TINY = (
    *SMALL, "samples.n=4", "model.generator.width=8", "model.critic.width=8", "data.batch_size=16",
    "scheme.log_every=1",
)  # fmt: skip
LIMIT = float(os.environ.get("GENTRAIN_TEST_LIMIT", "250"))  # seconds a command
PATIENCE = "3600"  # a slow machine adds no lines to what commands say
# variables of the person who runs the tests
OURS = ("GENTRAIN_", "WANDB_", "HYDRA_", "PYTHON", "LC_", "LANG", "OMP_", "MKL_")

Done = subprocess.CompletedProcess[str]


class Process(Protocol):
    """A process that runs: a `subprocess.Popen`, or one that a fork server has started."""

    pid: int
    returncode: int | None
    stdout: Any
    stderr: Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int) -> None: ...
    def kill(self) -> None: ...


# --- environments ---------------------------------------------------------------------------------


def plain() -> dict[str, str]:
    """The variables of the person who runs the tests, without those that change what they say."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return kept | {"OMP_NUM_THREADS": "1"}


def environment(cache: Path, home: Path, **more: str) -> dict[str, str]:
    """A user without a GPU, without a W&B key, on one core."""
    own = {"GENTRAIN_CACHE": str(cache), "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    own["GENTRAIN_PATIENCE"] = PATIENCE
    return plain() | own | more


def without_torch(env: dict[str, str]) -> dict[str, str]:
    """An environment in which the import of torch ends the process with status 99."""
    return env | {"PYTHONPATH": str(LIGHT)}


# --- starting processes ---------------------------------------------------------------------------


def default_sigint() -> None:
    """A shell's background job, and so everything below it, is started with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def launch(
    command: list[str], cwd: Path, env: dict[str, str], stdout: IO[Any], stderr: IO[Any], cold: bool
) -> Process:
    """Start `python command...`, by a fork server where one has such an environment."""
    name = None if cold else fork_server.suitable(env)
    with open(os.devnull) as nothing:
        files = (nothing.fileno(), stdout.fileno(), stderr.fileno())
        if name is not None:
            return fork_server.server(name).start(command, str(cwd), env, *files)
        return subprocess.Popen(
            command if command[0] == GENTRAIN else [sys.executable, *command],
            cwd=cwd,
            env=env,
            stdin=nothing,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=default_sigint,
        )


def python(cwd: Path, env: dict[str, str], *command: str, cold: bool = False) -> Done:
    """Run `python command...` to its end."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = launch(list(command), cwd, env, stdout, stderr, cold)
        try:
            status = process.wait(LIMIT)
        except BaseException:
            process.kill()
            process.wait()
            raise
        texts = [Told(file).read() for file in (stdout, stderr)]
    return Done(list(command), status, *texts)


def gentrain(cwd: Path, env: dict[str, str], *words: str, cold: bool = False) -> Done:
    """Run `gentrain words...` to its end. `cold`: as a new process that imports everything."""
    return python(cwd, env, GENTRAIN, *words, cold=cold)


@contextmanager
def running(cwd: Path, env: dict[str, str], *command: str, cold: bool = False) -> Iterator[Process]:
    """`python command...` in the background, with nothing left of it when the block is left."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = launch(list(command), cwd, env, stdout, stderr, cold)
        process.stdout, process.stderr = Told(stdout), Told(stderr)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def started(cwd: Path, env: dict[str, str], *words: str, cold: bool = False) -> Any:
    """A run in the background."""
    return running(cwd, env, GENTRAIN, *words, cold=cold)


class Told:
    """All that a process has written so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self) -> str:
        size = os.fstat(self.file.fileno()).st_size
        return os.pread(self.file.fileno(), size, 0).decode().replace("\r\n", "\n")

    def close(self) -> None: ...


# --- what a process has said and left -------------------------------------------------------------


def assert_refused(
    done: Done, cwd: Path, *words: str, status: int = 2, lines_before: int = 0
) -> None:
    """One line with all the words, the status, and nothing left behind.

    Long work may have said what it does, before.
    """
    assert done.returncode == status, done.stderr
    line = done.stderr.rstrip("\n").split("\n", lines_before)[-1]
    assert line.startswith("gentrain: error: ") and "\n" not in line, done.stderr
    assert not [word for word in words if word not in line], line
    assert line.count("(") and ("; " in line), f"no key or no remedy: {line}"
    assert not (cwd / "outputs").exists()
    assert done.stdout == ""


def assert_fine(done: Done) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr


def only_run(cwd: Path) -> Path:
    """The one run directory that there is."""
    (config,) = cwd.glob("outputs/*/*/.hydra/config.yaml")
    return config.parents[1]


def summary(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def curves(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps(run_dir: Path) -> list[int]:
    """The logged steps, of a file that a process may be writing."""
    try:
        return [int(row["step"]) for row in curves(run_dir) if (row.get("step") or "").isdigit()]
    except FileNotFoundError:
        return []


def wait_until(condition: Any, process: Process | None = None, limit: float = LIMIT) -> None:
    """Wait for a condition, as long as the process lives that is to bring it about."""
    deadline = time.monotonic() + limit
    while not condition():
        if process is not None and process.poll() is not None:
            assert condition(), process.stderr.read()
            return
        assert time.monotonic() < deadline, process.stderr.read() if process else "too late"
        time.sleep(0.005)


def reach(process: Process, run_dir: Path, at: int | str, or_end: bool = False) -> None:
    """Wait until a run has logged a step, or has said something."""
    deadline = time.monotonic() + LIMIT

    def reached() -> bool:
        if isinstance(at, str):
            return at in process.stderr.read()
        return max(steps(run_dir), default=0) >= at

    while not reached():
        if process.poll() is not None and or_end:
            return
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.005)


def signalled(
    cwd: Path,
    env: dict[str, str],
    run_dir: Path,
    at: int,
    number: signal.Signals,
    *words: str,
    cold: bool = False,
) -> tuple[int, str]:
    """Start a run, send a signal when it has logged step `at`; its status and stderr."""
    with started(cwd, env, *words, f"hydra.run.dir={run_dir}", cold=cold) as process:
        reach(process, run_dir, at)
        process.send_signal(number)
        return process.wait(LIMIT), process.stderr.read()


def assert_same_run(one: Path, other: Path, rows: bool = True, pictures: bool = False) -> None:
    """Equal weights, optimizers, averages, random numbers, curves and pictures."""
    import torch

    from tests.support.tensors import assert_equal

    assert_equal(
        *(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other))
    )
    if rows:
        assert logged(one) == logged(other)
    if pictures:
        drawn = [
            {path.name: path.read_bytes() for path in (run / "samples").iterdir()}
            for run in (one, other)
        ]
        assert drawn[0] == drawn[1] and drawn[0]


def logged(run: Path) -> list[dict[str, str]]:
    """The curves without the speed, which no two runs share."""
    return [
        {key: value for key, value in row.items() if key != "images_per_second"}
        for row in curves(run)
    ]


# --- the presets, and completion ------------------------------------------------------------------


def presets() -> set[str]:
    return {file.stem for file in (CONF / "model").glob("*.yaml") if not file.stem.startswith("_")}


def completed(cwd: Path, env: dict[str, str], typed: str) -> set[str]:
    """What TAB would offer after `typed`."""
    asked = {"COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    done = gentrain(cwd, env | asked, "-sc", "query=bash")
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())
