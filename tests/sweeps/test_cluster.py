"""Sweeps on a real SLURM of one node (scripts/local_slurm.sh start; export SLURM_CONF=...) and on
Ray: make test-cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.shell import (
    TINY,
    Done,
    assert_fine,
    assert_same_run,
    gentrain,
    started,
    steps,
    summary,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Run = Callable[..., Done]
SLURM = ("cluster=slurm", "cluster.hours=1")
# and wgan_gp refuses batch norm in its critic
SIX = "model=dcgan,lsgan,wgan,hinge_gan,improved_gan,wgan_gp"
SWEEP = (
    "-m",
    SIX,
    "model.critic.norm=batch",
    "scheme.critic_warmup=null",
    "checkpoint.every=5",
    "samples.every=0",
    "sweep.name=six",
    *TINY,
)
STEPS = "steps=120"


def slurm_answers() -> bool:
    if not shutil.which("sinfo"):
        return False
    return subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True
    ).stdout.split()[:1] in (
        ["idle"],
        ["mixed"],
        ["allocated"],
        ["completing"],
    )


on_slurm = pytest.mark.skipif(
    not slurm_answers(),
    reason="no SLURM answers (scripts/local_slurm.sh start, and export SLURM_CONF)",
)


def status(sweep: Path, name: str) -> dict[str, Any]:
    return json.loads((sweep / name / "status.json").read_text())


def statuses(sweep: Path) -> dict[str, str]:
    return {
        name: status(sweep, name)["status"]
        for name in json.loads((sweep / "sweep.json").read_text())["cells"]
    }


def until(happened: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Path:
    """The cell that will be preempted, as a run of its own that nothing stops."""
    here = tmp_path_factory.mktemp("alone")
    words = [word for word in SWEEP if not word.startswith(("-m", "model=", "sweep."))]
    assert_fine(gentrain(here, env, "model=dcgan", *words, STEPS, "hydra.run.dir=run"))
    return here / "run"


def outcome(done: Done, sweep: Path) -> None:
    """Five of six have completed, and the failed one is named, with the reason and its log."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert statuses(sweep) == dict.fromkeys(["000", "001", "002", "003", "004"], "completed") | {
        "005": "failed"
    }
    assert (
        "failed 005: a gradient penalty needs the gradient of one sample's score" in done.stdout
        and f"{sweep.name}/005/cell.log" in done.stdout
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gentrain: error: 1 of 6 cells of ") and "005" in last
    assert all(
        summary(sweep / name)["steps"] == int(STEPS.partition("=")[2])
        for name in ("000", "001", "002", "003", "004")
    )


@on_slurm
def test_f5_f16_six_cells_one_fails_one_is_preempted(
    alone: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """`scontrol requeue` in mid-training: the cell saves, queues again, goes on, and ends equal to
    a run that nothing stopped.
    """
    sweep = tmp_path / "outputs" / "sweeps" / "six"
    with started(tmp_path, env, *SWEEP, STEPS, *SLURM) as driver:
        until(lambda: driver.poll() is not None or max(steps(sweep / "000"), default=0) >= 12)
        assert driver.poll() is None, driver.stderr.read()
        ours = subprocess.run(
            ["squeue", "-h", "-r", "--name=gentrain-six", "-o", "%i"],
            capture_output=True,
            text=True,
            check=True,
        )
        tasks = ours.stdout.split()
        assert len({task.split("_")[0] for task in tasks}) == 1 and all(
            "_" in task for task in tasks
        ), "one job array"
        subprocess.run(["scontrol", "requeue", status(sweep, "000")["job"]], check=True)
        until(lambda: status(sweep, "000")["status"] != "running")
        assert status(sweep, "000")["status"] == "interrupted"
        assert 12 <= summary(sweep / "000")["steps"] < 120
        assert driver.wait(600) == 2, driver.stderr.read()
    assert statuses(sweep)["000"] == "completed" and status(sweep, "000")["attempts"] == 2
    assert "from step" in (sweep / "000" / "cell.log").read_text()
    assert_same_run(sweep / "000", alone)

    before = {path: path.read_bytes() for path in sweep.glob("00[0-4]/**/*") if path.is_file()}
    done = gentrain(tmp_path, env, *SWEEP, STEPS, *SLURM)
    outcome(done, sweep)
    assert "6 cells (5 done, 0 half done, 1 to train)" in done.stderr
    assert {path: path.read_bytes() for path in before} == before, "nothing that is done is touched"
    assert status(sweep, "005")["attempts"] == 2


@on_slurm
def test_f5_a_warning_before_the_end_of_its_time(
    alone: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """USR2, as SLURM sends it `signal_delay_s` before: the cell saves, submitit requeues its job,
    and it ends equal.
    """
    sweep = tmp_path / "outputs" / "sweeps" / "six"
    words = [word for word in SWEEP if not word.startswith("model=")]
    with started(tmp_path, env, *words, "model=dcgan", "seed=0", STEPS, *SLURM) as driver:
        until(lambda: driver.poll() is not None or max(steps(sweep / "000"), default=0) >= 12)
        subprocess.run(["scancel", "--signal=USR2", status(sweep, "000")["job"]], check=True)
        until(lambda: status(sweep, "000")["status"] != "running")
        assert status(sweep, "000")["reason"] == "stopped by SIGUSR2"
        assert driver.wait(600) == 0, driver.stderr.read()
    assert (
        status(sweep, "000")["attempts"] == 2
        and "from step" in (sweep / "000" / "cell.log").read_text()
    )
    assert_same_run(sweep / "000", alone)


@on_slurm
def test_f16_a_cell_killed_on_slurm(env: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL, as of the kernel that has no memory left: the others train on, the table says which
    and why.
    """
    sweep = tmp_path / "outputs" / "sweeps" / "two"
    words = (
        "-m",
        "model=dcgan",
        "seed=0,1",
        "sweep.name=two",
        "steps=150",
        "samples.every=0",
        *TINY,
        *SLURM,
    )
    with started(tmp_path, env, *words) as driver:
        until(lambda: driver.poll() is not None or max(steps(sweep / "000"), default=0) >= 3)
        os.kill(trainer_of(sweep / "000"), signal.SIGKILL)
        assert driver.wait(600) == 1, driver.stderr.read()
    assert statuses(sweep) == {"000": "failed", "001": "completed"}
    assert status(sweep, "000")["reason"] == "killed by SIGKILL (out of memory?)"


@on_slurm
def test_f12_a_cell_without_memory_on_slurm(env: dict[str, str], tmp_path: Path) -> None:
    """A limited address space stands for a device's memory: the cell names its batch and what to
    do, the other trains.
    """
    sweep = tmp_path / "outputs" / "sweeps" / "memory"
    words = (
        "-m",
        "model=dcgan",
        "data.batch_size=4500,4",
        "model.generator.width=512",
        "steps=2",
        "sweep.name=memory",
        "quality=none",
    )
    limit = "cluster.setup=['ulimit -v 6291456']"
    done = gentrain(
        tmp_path, env, *words, "trainer=cpu", "logger=csv", "samples.every=0", *SLURM, limit
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    assert statuses(sweep) == {"000": "failed", "001": "completed"}
    reason = status(sweep, "000")["reason"]
    assert (
        "has no memory left" in reason
        and "batches of 4500 (data.batch_size)" in reason
        and "scheme.accumulate=2" in reason
    )


def trainer_of(cell: Path) -> int:
    """The process that holds the run directory."""
    return int((cell / ".lock").read_text().split()[1])


@on_slurm
def test_f17_a_killed_driver_on_slurm(env: dict[str, str], tmp_path: Path) -> None:
    """Its jobs go on; a second driver is told so; when they have ended it finds all done, and
    trains nothing.
    """
    sweep = tmp_path / "outputs" / "sweeps" / "left"
    words = (
        "-m",
        "model=dcgan",
        "seed=0,1,2",
        "sweep.name=left",
        "steps=100",
        "samples.every=0",
        *TINY,
        *SLURM,
    )
    with started(tmp_path, env, *words) as driver:
        until(lambda: driver.poll() is not None or max(steps(sweep / "000"), default=0) >= 3)
        driver.kill()
        driver.wait()
    refused = gentrain(tmp_path, env, *words)
    assert (
        refused.returncode == 2
        and "SLURM still has" in refused.stderr
        and "scancel --name=gentrain-left" in refused.stderr
    )
    until(lambda: set(statuses(sweep).values()) == {"completed"}, 600)
    until(
        lambda: (
            not subprocess.run(
                ["squeue", "-h", "--name=gentrain-left"], capture_output=True, text=True
            ).stdout
        )
    )
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/checkpoints/*")}
    assert_fine(done := gentrain(tmp_path, env, *words))
    assert "3 cells (3 done, 0 half done, 0 to train)" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in sweep.glob("*/checkpoints/*")} == before
    assert [status(sweep, name)["attempts"] for name in ("000", "001", "002")] == [1, 1, 1]


@on_slurm
def test_ddp_by_slurms_own_processes(env: dict[str, str], tmp_path: Path) -> None:
    """SLURM starts both processes of a cell; Lightning finds them in its environment."""
    words = (
        "-m",
        "model=dcgan",
        "seed=0,1",
        "sweep.name=ddp",
        "steps=4",
        "samples.every=0",
        *TINY,
        *SLURM,
    )
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "cluster.tasks=2")
    done = gentrain(tmp_path, env, *words, *two)
    assert_fine(done)
    sweep = tmp_path / "outputs" / "sweeps" / "ddp"
    assert statuses(sweep) == {"000": "completed", "001": "completed"}
    assert summary(sweep / "000")["device"].startswith("2 x ")


def test_the_same_sweep_through_joblib(env: dict[str, str], tmp_path: Path) -> None:
    outcome(
        gentrain(tmp_path, env, *SWEEP, STEPS, "cluster.jobs=2"),
        tmp_path / "outputs" / "sweeps" / "six",
    )


# the python of an environment with ray, since ray wants an old cloudpickle
RAY = os.environ.get("GENTRAIN_RAY_PYTHON", sys.executable)


def has_ray() -> bool:
    asked = (
        "import importlib.util as u, sys; "
        "sys.exit(not (u.find_spec('ray') and u.find_spec('hydra_plugins.hydra_ray_launcher')))"
    )
    return subprocess.run([RAY, "-c", asked], capture_output=True).returncode == 0


@pytest.mark.skipif(
    not has_ray(),
    reason="no ray here: pip install 'gentrain[ray]' in an environment of its own, "
    "GENTRAIN_RAY_PYTHON=its python",
)
def test_the_same_sweep_through_ray(env: dict[str, str], tmp_path: Path) -> None:
    more = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [RAY, "-m", "gentrain", *SWEEP, STEPS, "cluster=ray"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=env | more,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=800,
    )
    outcome(done, tmp_path / "outputs" / "sweeps" / "six")
