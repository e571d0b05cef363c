"""The `gentrain` of this environment as a user's shell runs it, and what a refusal must look like."""

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
from functools import partial
from pathlib import Path
from typing import Any

GENTRAIN = str(Path(sys.executable).with_name("gentrain"))
SMALL = ("trainer=cpu", "logger=csv", "quality=none")
TINY = (
    *SMALL,
    "samples.n=4",
    "model.generator.width=8",
    "model.critic.width=8",
    "data.batch_size=16",
    "scheme.log_every=1",
)
LIMIT = float(os.environ.get("GENTRAIN_TEST_LIMIT", "200"))  # seconds a command
OURS = (
    "GENTRAIN_",
    "WANDB_",
    "HYDRA_",
    "PYTHON",
    "LC_",
    "LANG",
)  # variables of the person who runs the tests

Done = subprocess.CompletedProcess[str]


def environment(cache: Path, home: Path, **more: str) -> dict[str, str]:
    """A user without a GPU, without a W&B key, on one core."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return (
        kept
        | {
            "GENTRAIN_CACHE": str(cache),
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        | more
    )


def gentrain(cwd: Path, env: dict[str, str], *words: str) -> Done:
    return subprocess.run(
        [GENTRAIN, *words],
        cwd=cwd,
        env=env,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
    )


def assert_refused(
    done: Done, cwd: Path, *words: str, status: int = 2, lines_before: int = 0
) -> None:
    """One line that holds all the words, the status, and nothing left behind. Long work may have told what it does, before."""
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


Runs = subprocess.Popen[str]


@contextmanager
def started(cwd: Path, env: dict[str, str], *words: str) -> Iterator[Runs]:
    """A run in the background, with nothing of it left when the block is left."""
    # a shell's background job, and so everything below it, is started with SIGINT ignored
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with tempfile.TemporaryFile("w+") as stderr:  # no pipe, which would fill up
        process = subprocess.Popen(
            [GENTRAIN, *words],
            cwd=cwd,
            env=env,
            text=True,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            preexec_fn=default,
        )
        process.stderr = Told(stderr)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


class Told:
    """All that a process has written so far."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def read(self) -> str:
        self.file.seek(0)
        return self.file.read()

    def close(self) -> None: ...


def reach(process: Runs, run_dir: Path, at: int | str, or_end: bool = False) -> None:
    """Wait until a run has logged a step, or has said something."""
    deadline = time.monotonic() + 100
    while (
        at not in process.stderr.read()
        if isinstance(at, str)
        else max(steps(run_dir), default=0) < at
    ):
        if process.poll() is not None and or_end:
            return
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.005)


def signalled(
    cwd: Path, env: dict[str, str], run_dir: Path, at: int, number: signal.Signals, *words: str
) -> tuple[int, str]:
    """Start a run, send a signal when it has logged step `at`; its status and stderr."""
    with started(cwd, env, *words, f"hydra.run.dir={run_dir}") as process:
        reach(process, run_dir, at)
        process.send_signal(number)
        return process.wait(100), process.stderr.read()


def assert_same_run(one: Path, other: Path, rows: bool = True, pictures: bool = False) -> None:
    """Equal weights, optimizers, averages, random numbers, curves and pictures."""
    import torch

    mine, theirs = (
        tensors(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True))
        for run in (one, other)
    )
    assert mine and mine.keys() == theirs.keys()
    assert not [name for name, tensor in mine.items() if not torch.equal(tensor, theirs[name])]
    if rows:
        logged = [
            [
                {key: value for key, value in row.items() if key != "images_per_second"}
                for row in curves(run)
            ]
            for run in (one, other)
        ]
        assert logged[0] == logged[1]
    if pictures:
        drawn = [
            {path.name: path.read_bytes() for path in (run / "samples").iterdir()}
            for run in (one, other)
        ]
        assert drawn[0] == drawn[1] and drawn[0]


def tensors(value: Any, name: str = "") -> dict[str, Any]:
    """Every tensor in nested containers, by its path."""
    import torch

    if isinstance(value, torch.Tensor):
        return {name: value}
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    return {
        path: tensor
        for key, item in items
        for path, tensor in tensors(item, f"{name}.{key}").items()
    }
