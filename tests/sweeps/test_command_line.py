"""Sweeps on this machine, as a user's shell runs them; test_cluster.py has the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.fake_server import Server
from tests.support.offline_file import read
from tests.support.shell import (
    TINY,
    Done,
    assert_fine,
    assert_same_run,
    gentrain,
    reach,
    started,
    steps,
    summary,
)

Run = Callable[..., Done]
SWEEP = ("-m", "model=dcgan", "samples.every=0", "checkpoint.every=5", "sweep.name=s", *TINY)
SCORED = (
    "-m",
    "model=vae",
    "quality=nats",
    "quality.images=20",
    "quality.importance=5",
    "quality.every=4",
    "steps=8",
    "samples.n=4",
    "trainer=cpu",
    "model.encoder.width=8",
    "model.decoder.width=8",
)


def status(sweep: Path, name: str) -> dict[str, Any]:
    return json.loads((sweep / name / "status.json").read_text())


def statuses(sweep: Path) -> dict[str, str]:
    return {
        name: status(sweep, name)["status"]
        for name in json.loads((sweep / "sweep.json").read_text())["cells"]
    }


def stamps(sweep: Path, *names: str) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for name in names
        for path in (sweep / name).rglob("*")
        if path.is_file()
    }


def holder(cell: Path) -> int:
    """The process that trains a cell."""
    return int((cell / ".lock").read_text().split()[1])


def parent(cell: Path) -> int:
    return int((cell / ".cell.lock").read_text().split()[1])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "sweeps" / "s"


@pytest.mark.slow
def test_cells_that_diverge_and_a_grid_that_grows(run: Run, sweep: Path) -> None:
    """A cell that diverges stops no other; started again nothing is trained, and a larger grid
    trains what is new.
    """
    rates = "scheme.optimizers.critic.lr=2e-4,1e30"
    done = run(*SWEEP, "steps=6", rates)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert statuses(sweep) == {"000": "completed", "001": "diverged"}
    assert (
        "diverged 001: " in done.stdout
        and "s/001/cell.log" in done.stdout
        and "not finite" in status(sweep, "001")["reason"]
    )
    before = stamps(sweep, "000", "001")
    done = run(*SWEEP, "steps=6", "scheme.optimizers.critic.lr=1e30,2e-4", "seed=1,0")
    assert done.returncode == 1 and "4 cells (2 done, 0 half done, 2 to train)" in done.stderr
    assert statuses(sweep) == {
        "000": "completed",
        "001": "diverged",
        "002": "diverged",
        "003": "completed",
    }
    changed = {
        path for path, stamp in stamps(sweep, "000", "001").items() if before.get(path) != stamp
    }
    assert {path.name for path in changed} <= {"status.json"}, "which has a key more"
    assert status(sweep, "003")["overrides"] == {"scheme.optimizers.critic.lr": 2e-4, "seed": 1}
    assert status(sweep, "001")["attempts"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=0,-1"], ["seed -1 is out of range (seed)"]),
        (["steps=0,5"], ["a run of 0 steps (steps)"]),
        (["loss=hinge,hinje"], ["hinje", "(loss)", "hinge"]),
        (["seeds=0"], ["(seeds)"]),
        (["cluster.jbs=2"], ["(cluster.jbs)", "jobs"]),
        (["sweep=ablate"], ["(tricks)"]),
    ],
)
def test_5_6_7_a_mistake_is_told_before_anything_starts(
    run_light: Run, tmp_path: Path, words: list[str], told: list[str]
) -> None:
    done = run_light("-m", "model=dcgan", *words)
    assert done.returncode == 2 and done.stderr.startswith("gentrain: error: "), done.stderr
    assert all(word in done.stderr for word in told) and not list(tmp_path.rglob("status.json"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=gan,dcgan", "quality=modes"], "quality=modes needs a mixture with known modes"),
        (["model=gan", "+model.generator.wdith=16,32"], "did you mean width or depth?"),
    ],
)
def test_a_mistake_of_all_cells_is_told_once(
    run: Run, tmp_path: Path, words: list[str], told: str
) -> None:
    done = run("-m", *words, "data=mnist_5k", "seed=0,1", "trainer=cpu", "logger=csv")
    line = done.stderr.rstrip("\n").splitlines()[-1]
    assert done.returncode == 2 and line.startswith("gentrain: error: ") and told in line, done
    assert done.stderr.count("error") == 1 and done.stdout == ""
    assert not (tmp_path / "outputs").exists()


def test_40_a_shadow_is_told(run_light: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "gan.yaml").write_text("# @package _global_\nsteps: 1\n")
    done = run_light("--config-dir", "mine", "model=gan", "--cfg", "job")
    assert done.returncode == 0 and "warning: model/gan.yaml of mine is not used" in done.stderr


@pytest.mark.slow
def test_32_words_with_slashes_and_an_overlay(run: Run, sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\nsteps: 2\n")
    for folder in ("a/b", "c/d e"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(32):
            Image.new("L", (28, 28), 8 * number).save(tmp_path / folder / f"{number}.png")
    done = run(
        *SWEEP,
        "data=image_folder",
        "experiment=short",
        "data.root=a/b,'c/d e'",
        "--config-dir",
        "mine",
    )
    assert_fine(done)
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["000", "001"]
    assert (
        status(sweep, "001")["overrides"] == {"data.root": "c/d e"}
        and summary(sweep / "001")["steps"] == 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("who", [holder, parent])
def test_f16_a_killed_process_of_joblib(
    env: dict[str, str], sweep: Path, tmp_path: Path, who: Callable[[Path], int]
) -> None:
    """The training process killed: the cell has failed.

    Its parent killed, and with it the pool: all goes on, and ends as it would have.
    """
    words = (*SWEEP, "seed=0,1,2", "steps=200", "cluster.jobs=2")
    with started(tmp_path, env, *words) as driver:
        reach(driver, sweep / "000", 12)
        os.kill(who(sweep / "000"), signal.SIGKILL)
        code = driver.wait(300)
        said = driver.stderr.read()
    if who is holder:
        assert code == 1 and statuses(sweep) == {
            "000": "failed",
            "001": "completed",
            "002": "completed",
        }, said
        assert status(sweep, "000")["reason"] == "killed by SIGKILL (out of memory?)"
        before = stamps(sweep, "001", "002")
        assert_fine(gentrain(tmp_path, env, *words))
        assert stamps(sweep, "001", "002") == before, "only what had failed is run"
        assert "from step" in (sweep / "000" / "cell.log").read_text()
    else:
        assert code == 0, said
    assert set(statuses(sweep).values()) == {"completed"}
    alone = [word for word in SWEEP if not word.startswith(("-m", "sweep."))]
    assert_fine(gentrain(tmp_path, env, *alone, "steps=200", "hydra.run.dir=alone"))
    assert_same_run(sweep / "000", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_f17_a_driver_of_workers_killed(
    env: dict[str, str], sweep: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Its cells notice, save and leave; started again they go on, and leave what is done."""
    words = (*SWEEP, "seed=0,1,2,3", "steps=300", "cluster.jobs=2")
    with started(tmp_path, env, *words) as driver:
        reach(driver, sweep / "001", 150)
        driver.send_signal(number)
        assert driver.wait(100) in {-signal.SIGKILL, 143, 130}
    time.sleep(5 if number == signal.SIGKILL else 0)
    half = [name for name in ("000", "001") if summary(sweep / name).get("status") == "interrupted"]
    assert half and set(statuses(sweep).values()) <= {
        "interrupted",
        "missing",
        "completed",
        "running",
    }
    made = {name: max(steps(sweep / name)) for name in half}
    assert_fine(gentrain(tmp_path, env, *words))
    assert set(statuses(sweep).values()) == {"completed"}
    for name in half:
        assert f"from step {made[name]} " in (sweep / name / "cell.log").read_text(), (
            "not a step was lost"
        )


@pytest.mark.slow
def test_a_study_without_any_score_ends_in_its_table(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = ("model=dcgan", "sweep=tpe", "sweep.trials=1", "sweep.name=t", "steps=1", *TINY)
    done = run("-m", *words, "scheme.optimizers.critic.lr=tag(log,interval(1e-5,1e-2))")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("gentrain: error: no trial has a score")
    assert (tmp_path / "outputs" / "sweeps" / "t" / "table.csv").exists()


@pytest.mark.slow
def test_39_a_study_goes_on_past_failures_and_a_killed_driver(
    env: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    study = tmp_path / "outputs" / "sweeps" / "study"
    # a rate of 1e30 diverges: no score, no NaN for Optuna
    words = (
        *SCORED,
        "sweep=tpe",
        "sweep.name=study",
        "logger=csv",
        "scheme.optimizers.model.lr=1e30,1e-3,1e-2",
        "seed=range(0,50)",
    )
    done = gentrain(tmp_path, env, *words, "sweep.trials=5")
    assert "Traceback" not in done.stderr and "Best value" in done.stderr, done.stderr
    ended = statuses(study)
    assert "completed" in ended.values() and set(ended.values()) <= {"completed", "diverged"}
    with started(tmp_path, env, *words, "sweep.trials=12", "steps=300") as driver:
        reach(driver, study / f"{len(ended):03d}", 2, or_end=True)
        driver.kill()
        driver.wait()
    time.sleep(4)
    half = [name for name, state in statuses(study).items() if state in ("interrupted", "running")]
    done = gentrain(tmp_path, env, *words, "sweep.trials=8")
    assert "Traceback" not in done.stderr and "trials are done" in done.stderr, done.stderr
    assert half and all(statuses(study)[name] == "completed" for name in half), (
        "what was half done is asked for again"
    )


@pytest.mark.slow
def test_ddp_in_a_multirun(run: Run, sweep: Path) -> None:
    """Two processes a cell: one run a cell, and no sweep within a sweep."""
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert_fine(run(*SWEEP, "seed=0,1", "steps=4", *two))
    assert [summary(sweep / name)["device"][:4] for name in ("000", "001")] == ["2 x "] * 2
    assert statuses(sweep) == {"000": "completed", "001": "completed"}
    assert (sweep / "000" / "cell.log").read_text().count("done: 4 steps") == 1


@pytest.mark.slow
def test_every_scheme_in_cells_of_two_processes(run: Run, sweep: Path) -> None:
    """Adversarial (two ways), Likelihood (one of them by regression) and Energy, each a cell that
    two processes train.
    """
    models = ["dcgan", "progan", "vae", "srresnet", "rbm", "hopfield"]
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    words = (
        "-m",
        f"model={','.join(models)}",
        "sweep.name=s",
        "steps=3",
        "quality=none",
        "samples.every=0",
        "data.batch_size=4",
        *two,
    )
    assert_fine(run(*words, "logger=csv"))
    assert set(statuses(sweep).values()) == {"completed"} and len(statuses(sweep)) == len(models)
    for name, model in zip(statuses(sweep), models, strict=True):
        assert status(sweep, name)["overrides"]["model"] == model and summary(sweep / name)[
            "device"
        ].startswith("2 x ")


@pytest.mark.slow
def test_the_dashboard(env: dict[str, str], tmp_path: Path) -> None:
    """One group, the swept keys as flat scalars, final and best scores; offline runs go up by the
    command that is printed.
    """
    done = gentrain(tmp_path, env, *SCORED, "model.warm_up=0,5", "seeds=2", "sweep.name=w")
    assert_fine(done)
    cells = [tmp_path / "outputs" / "sweeps" / "w" / name for name in ("000", "001", "002", "003")]
    found = [read(cell) for cell in cells]
    assert {each.run.run_group for each in found} == {"w"}
    assert [each.run.display_name.split()[0] for each in found] == ["000", "001", "002", "003"]
    assert [(each.config["sweep/model/warm_up"], each.config["sweep/seed"]) for each in found] == [
        (0, 0),
        (0, 1),
        (5, 0),
        (5, 1),
    ]
    for each, cell in zip(found, cells, strict=True):
        assert each.summary["best/quality/nats"] == summary(cell)["best"]["value"]
        assert each.summary["final/quality/nats"] == summary(cell)["metrics"]["quality/nats"]
    (command,) = [line.split("`")[1] for line in done.stdout.splitlines() if "wandb sync" in line]
    with Server() as server:
        online = env | {
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_MODE": "online",
        }
        command = command.replace("wandb", f"{sys.executable} -m wandb", 1)
        subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=online,
            check=True,
            capture_output=True,
            timeout=200,
        )
        assert len({run["name"] for run in server.runs if run.get("name")}) == 4
        assert_fine(gentrain(tmp_path, online, *SCORED, "seed=7,8", "sweep.name=on"))
    linked = tmp_path / "outputs" / "sweeps" / "on"
    assert (linked / "000" / "wandb" / "url.txt").read_text().strip() in (
        linked / "table.csv"
    ).read_text()


@pytest.mark.slow
def test_the_budget(run: Run, sweep: Path) -> None:
    done = run(*SWEEP, "seed=0,1", "steps=4", "probe=true")
    assert_fine(done)
    line = done.stderr.splitlines()[0]
    assert line.startswith(
        "sweep s: 2 cells (0 done, 0 half done, 2 to train), 8 steps; "
        "seconds a step, measured here over 20 steps: a cell 0."
    )
    assert "hours in all" in line and len(list(sweep.glob("0*"))) == 2


@pytest.mark.slow
def test_two_drivers(env: dict[str, str], sweep: Path, tmp_path: Path) -> None:
    words = (*SWEEP, "seed=0,1", "steps=2000")
    with started(tmp_path, env, *words) as driver:
        reach(driver, sweep / "000", 2)
        second = gentrain(tmp_path, env, *words)
        assert (
            second.returncode == 2
            and "drives the sweep in outputs/sweeps/s (sweep.name)" in second.stderr
        ), second.stderr
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(100) == 143


@pytest.mark.slow
def test_f12_no_memory_left(run: Run, tmp_path: Path) -> None:
    """The address space stands for the memory of a device here: the batch is named, with what to
    do.
    """
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    words = [
        "model=dcgan",
        "data.batch_size=4500",
        "model.generator.width=512",
        "steps=2",
        "trainer=cpu",
        "logger=csv",
        "quality=none",
    ]
    command = [str(Path(sys.executable).with_name("gentrain")), *words]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit, timeout=200
    )
    assert_refused_for_memory(done)


def assert_refused_for_memory(done: Done) -> None:
    assert done.returncode == 4 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert (
        "has no memory left" in last
        and "batches of 4500 (data.batch_size)" in last
        and "scheme.accumulate=2" in last
    )
