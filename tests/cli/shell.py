"""The `gentrain` of this environment as a user's shell runs it, and what a refusal must look like."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GENTRAIN = str(Path(sys.executable).with_name("gentrain"))
SMALL = ("trainer=cpu", "logger=csv", "quality=none")
TINY = (*SMALL, "samples.n=4", "model.generator.width=8", "model.critic.width=8", "data.batch_size=16", "scheme.log_every=1")
OURS = ("GENTRAIN_", "WANDB_", "HYDRA_", "PYTHON", "LC_", "LANG")  # variables of the person who runs the tests

Done = subprocess.CompletedProcess[str]


def environment(cache: Path, home: Path, **more: str) -> dict[str, str]:
    """A user without a GPU, without a W&B key, on one core."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return kept | {"GENTRAIN_CACHE": str(cache), "HOME": str(home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | more


def gentrain(cwd: Path, env: dict[str, str], *words: str) -> Done:
    return subprocess.run([GENTRAIN, *words], cwd=cwd, env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=200)


def assert_refused(done: Done, cwd: Path, *words: str, status: int = 2, lines_before: int = 0) -> None:
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
        return [int(row["step"]) for row in curves(run_dir) if (row["step"] or "").isdigit()]
    except FileNotFoundError:
        return []


def signalled(cwd: Path, env: dict[str, str], run_dir: Path, at: int, number: signal.Signals, *words: str) -> tuple[int, str]:
    """Start a run, send a signal when it has logged step `at`; its status and stderr."""
    command = [GENTRAIN, *words, f"hydra.run.dir={run_dir}"]
    process = subprocess.Popen(command, cwd=cwd, env=env, text=True, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while max(steps(run_dir), default=0) < at:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    stderr = process.communicate(timeout=100)[1]
    return process.returncode, stderr


def tensors(value: Any, name: str = "") -> dict[str, Any]:
    """Every tensor in nested containers, by its path."""
    import torch

    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {path: tensor for key, item in items for path, tensor in tensors(item, f"{name}.{key}").items()}
