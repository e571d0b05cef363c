"""What is stopped goes on where it was, bit for bit; what must not go on is refused."""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gentrain.files import write_json
from tests.support.shell import (
    TINY,
    Done,
    assert_fine,
    assert_refused,
    assert_same_run,
    curves,
    gentrain,
    only_run,
    signalled,
    summary,
)
from tests.support.zoo import LONG, STEPS, Zoo

Run = Callable[..., Done]
WHOLE = LONG


@pytest.fixture
def finished(zoo: Zoo) -> Path:
    """A run that nothing stopped."""
    return zoo("long")


def test_nothing_to_go_on_from(run: Run, tmp_path: Path) -> None:
    """`resume=auto` begins a run where there is none."""
    done = run(*WHOLE, "steps=1", "hydra.run.dir=run", "resume=auto")
    assert_fine(done)
    assert "from step" not in done.stderr and summary(tmp_path / "run")["steps"] == 1
    said = "no unfinished run of these options in run (resume=auto): a new one begins"
    assert done.stderr.count(said) == 1


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    finished: Path, env: dict[str, str], tmp_path: Path, cold: bool
) -> None:
    """A cold process has hashes of its own."""
    run_dir = tmp_path / "run"
    status, _ = signalled(tmp_path, env, run_dir, 7, signal.SIGKILL, *WHOLE)
    assert status == -signal.SIGKILL and not (run_dir / "summary.json").exists()
    done = gentrain(tmp_path, env, *WHOLE, "hydra.run.dir=run", "resume=auto", cold=cold)
    assert_fine(done)
    assert "from step " in done.stderr
    assert summary(run_dir)["status"] == "completed" and [
        int(row["step"]) for row in curves(run_dir)
    ] == list(range(1, STEPS + 1))
    assert_same_run(run_dir, finished)


def test_sigterm_and_auto_find_the_run(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    """Without a directory, `resume=auto` goes on with the newest unfinished run of the same
    configuration, and only of that.
    """
    run_dir = tmp_path / "outputs" / "dcgan-mnist_5k" / "stopped"
    status, stderr = signalled(tmp_path, env, run_dir, 7, signal.SIGTERM, *WHOLE)
    assert status == 143, stderr
    assert (
        summary(run_dir)["status"] == "interrupted"
        and "stopped by SIGTERM; saved" in stderr
        and "Traceback" not in stderr
    )
    assert_fine(gentrain(tmp_path, env, *WHOLE, "resume=auto"))
    assert only_run(tmp_path) == run_dir
    assert_same_run(run_dir, finished)


def test_ctrl_c(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    """It says which command goes on."""
    run_dir = tmp_path / "my run"
    status, stderr = signalled(tmp_path, env, run_dir, 7, signal.SIGINT, *WHOLE)
    assert status == 130 and "Traceback" not in stderr, stderr
    assert (
        summary(run_dir)["status"] == "interrupted"
        and (run_dir / "checkpoints" / "last.ckpt").exists()
    )
    program, *words = shlex.split(stderr.rpartition("gentrain: go on with: ")[2])
    assert program == "gentrain" and f"resume={run_dir}" in words
    assert_fine(gentrain(tmp_path, env, *words))
    assert_same_run(run_dir, finished)


def test_a_signal_is_for_the_whole_multirun(env: dict[str, str], tmp_path: Path) -> None:
    cell = tmp_path / "sweep" / "000"
    status, stderr = signalled(
        tmp_path, env, cell, 7, signal.SIGTERM, "-m", "seed=0,1", "hydra.sweep.dir=sweep", *WHOLE
    )
    assert status == 143 and "Traceback" not in stderr, stderr
    assert (
        summary(cell)["status"] == "interrupted"
        and not (tmp_path / "sweep" / "001" / ".hydra").exists()
    )


def test_a_finished_run_is_left_alone(finished: Path, light: dict[str, str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    done = gentrain(finished.parent, light, *WHOLE, f"hydra.run.dir={finished}", "resume=auto")
    assert (done.returncode, done.stderr) == (0, "") and "already finished" in done.stdout
    assert f"(at step {STEPS}; give more steps to go on)" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_fewer_steps_than_were_made(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    """A stopped run that has made more steps than it is now asked for is left as it is."""
    stopped = tmp_path / "stopped"
    shutil.copytree(finished, stopped)
    write_json(stopped / "summary.json", summary(stopped) | {"status": "interrupted"})
    before = (stopped / "summary.json").read_bytes()
    words = [*WHOLE, f"steps={STEPS - 20}", f"hydra.run.dir={stopped}", "resume=auto"]
    done = gentrain(tmp_path, env, *words)
    assert done.returncode == 0 and "already finished" in done.stdout, done.stderr
    assert f"(at step {STEPS}; give more steps to go on)" in done.stdout
    assert (stopped / "summary.json").read_bytes() == before


@pytest.mark.parametrize("typed", ["resume={}", 'resume="{}"'])
def test_a_run_that_was_moved(
    finished: Path, env: dict[str, str], tmp_path: Path, typed: str
) -> None:
    """Into a directory whose name has an equals sign."""
    shutil.copytree(finished, tmp_path / "lr=0.1" / "r")
    done = gentrain(tmp_path, env, *WHOLE, f"steps={STEPS + 1}", typed.format("lr=0.1/r"))
    assert_fine(done)
    assert f"from step {STEPS}" in done.stderr
    assert summary(tmp_path / "lr=0.1" / "r")["steps"] == STEPS + 1


def test_more_steps_from_a_checkpoint(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    checkpoint = finished / "checkpoints" / "last.ckpt"
    done = gentrain(
        tmp_path, env, *WHOLE, f"steps={STEPS + 2}", f"resume={checkpoint}", "hydra.run.dir=longer"
    )
    assert_fine(done)
    assert f"from step {STEPS}" in done.stderr
    assert [row["step"] for row in curves(tmp_path / "longer")] == [str(STEPS + 1), str(STEPS + 2)]
    assert summary(finished)["steps"] == STEPS


DIFFERENT = {
    "23-seed": (["seed=1"], ["seed 0 -> 1"]),
    "23-size": (["model.generator.width=16"], ["model.generator.width 8 -> 16"]),
    "23-loss": (["loss=ls"], ["loss._target_"]),
}


@pytest.mark.parametrize("row", DIFFERENT)
@pytest.mark.parametrize(
    "how", ["resume={}", "resume={}/checkpoints/last.ckpt", "resume=auto hydra.run.dir={}"]
)
def test_another_configuration_is_refused(
    finished: Path, light: dict[str, str], tmp_path: Path, row: str, how: str
) -> None:
    words, told = DIFFERENT[row]
    done = gentrain(tmp_path, light, *WHOLE, *words, *how.format(finished).split())
    own = "give the same options: gentrain model=dcgan "
    assert_refused(done, tmp_path, "is a run of another configuration", "(resume)", own, *told)
    assert done.stderr.rstrip().endswith(f"resume={finished}")


def test_divergence(run: Run, tmp_path: Path) -> None:
    done = run("steps=50", "scheme.optimizers.critic.lr=1e30", *TINY)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert (
        last.startswith("gentrain: error: ")
        and "not finite in the critic's update after step 0" in last
        and "lr" in last
    )
    assert summary(only_run(tmp_path))["status"] == "diverged"
