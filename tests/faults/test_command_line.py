"""Faults of machines and people, done to a real run: signals, dead workers and processes, full and
read-only disks, damaged files.

The names begin with the number of the fault, or of the bad input, in the list of the project.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.bomb import Bomb
from tests.support.shell import (
    GENTRAIN,
    LIMIT,
    TINY,
    Done,
    Process,
    assert_fine,
    assert_refused,
    assert_same_run,
    gentrain,
    reach,
    signalled,
    started,
    steps,
    summary,
)
from tests.support.zoo import LONG, STEPS, Zoo

Run = Callable[..., Done]
EVERY = 5  # steps between two checkpoints
GAME = LONG
ENDLESS = (*GAME, "steps=1000000000")
LAST = Path("run", "checkpoints", "last.ckpt")


@pytest.fixture
def finished(zoo: Zoo) -> Path:
    """A run that nothing happened to."""
    return zoo("long")


@pytest.fixture
def halfway(zoo: Zoo, tmp_path: Path) -> Path:
    """The same, stopped."""
    return zoo.copy("stopped", tmp_path / "run")


def resumed(cwd: Path, env: dict[str, str], *words: str) -> Done:
    return gentrain(cwd, env, *GAME, "hydra.run.dir=run", "resume=auto", *words)


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGUSR1, 138), pytest.param(signal.SIGUSR2, 140, marks=pytest.mark.slow)],
)
def test_f3_a_warning_saves_and_goes_on(
    finished: Path, env: dict[str, str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    run_dir = tmp_path / "run"
    found, stderr = signalled(tmp_path, env, run_dir, 7, number, *GAME)
    assert (
        found == status
        and f"stopped by {number.name}; saved" in stderr
        and "Traceback" not in stderr
    ), stderr
    assert_fine(resumed(tmp_path, env))
    assert_same_run(run_dir, finished)


@pytest.mark.slow
def test_f3_a_second_signal_changes_nothing(
    finished: Path, env: dict[str, str], tmp_path: Path
) -> None:
    with started(tmp_path, env, *GAME, "hydra.run.dir=run") as process:
        reach(process, tmp_path / "run", 7)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) in (143, 138), process.stderr.read()
    assert_fine(resumed(tmp_path, env))
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.slow
def test_f4_a_second_ctrl_c_leaves_at_once(env: dict[str, str], tmp_path: Path) -> None:
    """In the middle of a step of many seconds."""
    slow = (
        "scheme.critic_steps=2000",
        "data.batch_size=64",
        "checkpoint.every=1",
        "model.critic.width=32",
    )
    assert_fine(
        gentrain(
            tmp_path, env, *ENDLESS, *slow, "scheme.critic_steps=1", "steps=1", "hydra.run.dir=run"
        )
    )
    before = (tmp_path / LAST).read_bytes()
    with started(
        tmp_path, env, *ENDLESS, *slow, f"resume={LAST}", "force=true", "hydra.run.dir=run"
    ) as process:
        reach(process, tmp_path / "run", "from step 1")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        assert "stopped at once, without saving" in process.stderr.read()
    assert (tmp_path / LAST).read_bytes() == before


def test_a_slurm_job_is_put_back_into_the_queue(env: dict[str, str], tmp_path: Path) -> None:
    """By a `scontrol` that writes down what it is asked; only for a command that will go on where
    it was.
    """
    (tmp_path / "bin").mkdir()
    scontrol, asked = tmp_path / "bin" / "scontrol", tmp_path / "asked"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    job = {
        "JOB_ID": "7",
        "NTASKS": "1",
        "JOB_NAME": "job",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
        "JOB_NODELIST": "localhost",
    }
    slurm = (
        env
        | {f"SLURM_{key}": value for key, value in job.items()}
        | {"PATH": f"{scontrol.parent}:{env['PATH']}"}
    )
    status, stderr = signalled(tmp_path, slurm, tmp_path / "anew", 7, signal.SIGUSR1, *GAME)
    assert status == 138 and "add resume=auto" in stderr and not asked.exists(), stderr
    status, stderr = signalled(
        tmp_path, slurm, tmp_path / "run", 7, signal.SIGUSR1, *GAME, "resume=auto"
    )
    assert status == 138 and "SLURM job 7 is requeued" in stderr, stderr
    assert asked.read_text() == "requeue 7\n" and LAST.name in os.listdir(tmp_path / LAST.parent)


@pytest.mark.slow
def test_f19_a_pause_changes_nothing(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    with started(tmp_path, env, *GAME, "hydra.run.dir=run") as process:
        reach(process, tmp_path / "run", 7)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        assert process.wait(LIMIT) == 0
    assert_same_run(tmp_path / "run", finished)


# --- what may change at a resume, and what may not ------------------------------------------------


WORKERS, DASHBOARD, LOG = (
    ["data.resident=false", "data.workers=2"],
    ["logger=wandb", "logger.mode=offline"],
    ["scheme.log_every=7"],
)


@pytest.mark.slow
@pytest.mark.parametrize("words", [WORKERS, [*DASHBOARD, *LOG]])
def test_f20_another_logger_or_other_workers(
    finished: Path, halfway: Path, env: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    assert_fine(resumed(tmp_path, env, *words))
    assert_same_run(tmp_path / "run", finished, rows=words == WORKERS)


@pytest.mark.slow
def test_23_a_forced_resume_takes_the_new_rate(
    halfway: Path, env: dict[str, str], tmp_path: Path
) -> None:
    import torch

    slower = "scheme.optimizers.critic.lr=1e-5"
    assert_refused(
        resumed(tmp_path, env, slower),
        tmp_path,
        "scheme.optimizers.critic.lr 0.0002 -> 1e-05",
        "force=true",
        "(resume)",
    )
    assert_fine(resumed(tmp_path, env, slower, "force=true"))
    critic, generator = torch.load(tmp_path / LAST, weights_only=True)["optimizer_states"]
    assert [o["param_groups"][0]["lr"] for o in (critic, generator)] == [1e-5, 2e-4]


@pytest.mark.slow
def test_23_a_checkpoint_of_another_model(
    halfway: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """Refused for its configuration; for its weights, where it is forced; and where it lies in the
    wrong run's directory.
    """
    gan = ["model=gan", "model.generator.depth=1"]
    assert_refused(resumed(tmp_path, env, *gan), tmp_path, "model dcgan -> gan", "model.critic")
    assert_refused(
        resumed(tmp_path, env, *gan, "force=true"),
        tmp_path,
        "holds model=dcgan network=dcgan, and this is model=gan network=mlp",
        "model.",
    )
    assert_refused(
        resumed(tmp_path, env, "tricks=[ema]", "loss=ls", "force=true"),
        tmp_path,
        "holds model=dcgan network=dcgan loss=js tricks=ema replay historical_averaging, and this "
        "is model=dcgan network=dcgan loss=ls tricks=ema: model.regularizers.historical",
    )
    assert_fine(gentrain(tmp_path, env, *GAME, *gan, "steps=1", "hydra.run.dir=other"))
    shutil.copy(tmp_path / LAST, tmp_path / "other" / "checkpoints" / "last.ckpt")
    done = gentrain(tmp_path, env, *GAME, *gan, "hydra.run.dir=other", "resume=auto")
    assert_refused(done, tmp_path, "is a run of another configuration", "model dcgan -> gan")


def test_24_a_newer_version(halfway: Path, env: dict[str, str], tmp_path: Path) -> None:
    resave(tmp_path / LAST, lambda saved: saved["origin"].update(version="99.1"))
    assert_refused(resumed(tmp_path, env), tmp_path, "was made by gentrain 99.1, and this is 0.")


# --- files ----------------------------------------------------------------------------------------


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "f6-flipped": flip_a_bit,
    # cut files and others: tests/faults/test_files.py
    "22-empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", ["f6-flipped", pytest.param("22-empty", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint(
    finished: Path, halfway: Path, env: dict[str, str], tmp_path: Path, damage: str
) -> None:
    """The one before is used, with a warning that names both, and the end is the same; nothing is
    begun anew where none is left.
    """
    DAMAGES[damage](tmp_path / LAST)
    shutil.copytree(tmp_path / "run", tmp_path / "none")
    done = resumed(tmp_path, env)
    assert (
        done.returncode == 0
        and "last.ckpt" in done.stderr
        and "last-1.ckpt is used instead" in done.stderr
    ), done.stderr
    assert_same_run(tmp_path / "run", finished)
    DAMAGES[damage](tmp_path / "none" / "checkpoints" / "last-1.ckpt")
    before = {path: path.read_bytes() for path in (tmp_path / "none").rglob("*.c*")}
    none = gentrain(tmp_path, env, *GAME, "hydra.run.dir=none", "resume=auto")
    assert_refused(
        none, tmp_path, "last.ckpt", "last-1.ckpt", "no whole checkpoint is left", status=4
    )
    assert {path: path.read_bytes() for path in (tmp_path / "none").rglob("*.c*")} == before


@pytest.mark.parametrize("dressed", [False, True])
def test_25_a_pickle_with_code_in_it(
    halfway: Path, env: dict[str, str], tmp_path: Path, dressed: bool
) -> None:
    """As it is, and with everything that makes a checkpoint of gentrain."""
    canary = tmp_path / "canary"
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        if dressed:
            resave(file, lambda saved: saved.update(bomb=Bomb(canary)))
        else:
            file.write_bytes(pickle.dumps(Bomb(canary)))
    done = resumed(tmp_path, env)
    assert (
        done.returncode in (2, 4)
        and "Traceback" not in done.stderr
        and "weights_only" not in done.stderr
    ), done.stderr
    assert ("was not loaded" if dressed else "no whole checkpoint is left") in done.stderr
    assert not canary.exists()


def resave(path: Path, change: Callable[[dict], object]) -> None:
    """Change what a checkpoint holds; its checksum is right."""
    import torch

    from gentrain.training.checkpoint_io import AtomicIO

    saved = torch.load(path, weights_only=True)
    change(saved)
    AtomicIO(keep=1).save_checkpoint(saved, path)


@pytest.mark.parametrize(
    ("resume", "words"),
    [
        ("nowhere", ["does not exist"]),
        ("empty", ["no checkpoints/last.ckpt"]),
        ("https://example.org/last.ckpt", ["is a URL"]),
        ("stray.ckpt", ["is not in a run directory"]),
    ],
)
def test_21_nothing_to_resume(
    light: dict[str, str], tmp_path: Path, resume: str, words: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "stray.ckpt").touch()
    assert_refused(
        gentrain(tmp_path, light, *GAME, f"resume={resume}"), tmp_path, *words, "(resume)"
    )


# --- disks ----------------------------------------------------------------------------------------


@contextmanager
def mounted(at: Path, options: str) -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", at], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting needs root, and a kernel that lets it")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize("first", ["checkpoint", pytest.param("metrics", marks=pytest.mark.slow)])
def test_f7_a_full_disk(env: dict[str, str], tmp_path: Path, first: str) -> None:
    """Whatever is the first that does not fit: one line, the old checkpoint as it was, and the run
    can go on.
    """
    words = (
        *ENDLESS,
        "checkpoint.keep=1",
        "hydra.run.dir=disk/run",
        f"scheme.log_every={1 if first == 'metrics' else 10**9}",
    )
    with mounted(tmp_path / "disk", "size=16m") as disk, started(tmp_path, env, *words) as process:
        last = disk / LAST
        while not last.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        (disk / "ballast").write_bytes(bytes(1))
        fill(disk / "ballast")
        before = last.read_bytes()
        process.send_signal(signal.SIGCONT)
        assert process.wait(LIMIT) == 4
        error = process.stderr.read().splitlines()[-1]
        assert (
            error.startswith("gentrain: error: cannot ")
            and "No space left on device" in error
            and "resume" in error
        ), error
        assert last.read_bytes() == before
        assert not list(last.parent.glob(".*"))
        (disk / "ballast").unlink()
        step = steps_saved(last)
        done = gentrain(tmp_path, env, *words, f"steps={step + 2}", "resume=auto")
        assert_fine(done)
        assert f"from step {step}" in done.stderr


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for chunk in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(chunk))
            except OSError:
                pass


def steps_saved(path: Path) -> int:
    from gentrain.runs.checkpoints import step_of

    return step_of(path)


def test_f8_a_disk_that_becomes_read_only(env: dict[str, str], tmp_path: Path) -> None:
    with started(tmp_path, env, *ENDLESS, "hydra.run.dir=run") as process:
        reach(process, tmp_path / "run", EVERY + 1)
        with mounted(tmp_path / "run" / "checkpoints", "ro"):
            assert process.wait(LIMIT) == 4
            error = process.stderr.read().splitlines()[-1]
            assert (
                error.startswith("gentrain: error: cannot save ")
                and "Read-only file system" in error
            )
    assert summary(tmp_path / "run")["status"] == "failed"
    assert steps_saved(tmp_path / LAST) % EVERY == 0


# --- processes ------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.slow
def test_f11_a_killed_worker(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    fetched = ("data.resident=false", "data.workers=1", "hydra.run.dir=run")
    with started(tmp_path, env, *ENDLESS, *fetched) as process:
        reach(process, tmp_path / "run", EVERY + 1)
        # a fork of it
        (worker,) = [pid for pid in children(process.pid) if command(pid) == command(process.pid)]
        os.kill(worker, signal.SIGKILL)
        assert process.wait(LIMIT) == 4, process.stderr.read()
        error = process.stderr.read().splitlines()[-1]
        assert (
            error.startswith("gentrain: error: ")
            and "worker" in error
            and "(data.workers)" in error
        ), error
    if steps_saved(tmp_path / LAST) < STEPS:
        assert_fine(resumed(tmp_path, env))
        assert_same_run(tmp_path / "run", finished)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_f21_a_killed_rank(env: dict[str, str], tmp_path: Path, rank: int) -> None:
    """All are gone soon, the survivor says why in one line, and the run goes on from its
    checkpoint.
    """
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run")
    with started(tmp_path, env, *ENDLESS, *ddp) as process:
        reach(process, tmp_path / "run", EVERY + 1)
        (other,) = [pid for pid in children(process.pid) if "gentrain" in command(pid)]
        os.kill([process.pid, other][rank], signal.SIGKILL)
        assert process.wait(LIMIT) == (-signal.SIGKILL if rank == 0 else 4)
        text = process.stderr.read()  # until all who could write to it are gone
        assert "another process of this run is gone" in text and "Traceback" not in text, text
    step = steps_saved(tmp_path / LAST)
    assert step % EVERY == 0
    done = gentrain(tmp_path, env, *GAME, *ddp, f"steps={step + 1}", "resume=auto")
    assert done.returncode == 0 and f"from step {step}" in done.stderr, done.stderr


def many(cwd: Path, env: dict[str, str], count: int) -> None:
    """F14: runs that start in the same instant, in the same place, have a directory each."""
    words = ("model=dcgan", *TINY, "steps=1", "samples.every=0")
    with ExitStack() as stack:
        processes = [stack.enter_context(started(cwd, env, *words)) for _ in range(count)]
        assert [process.wait(LIMIT) for process in processes] == [0] * count
        assert not [process for process in processes if "Traceback" in process.stderr.read()]
    made = list((cwd / "outputs" / "dcgan-mnist_5k").iterdir())
    assert len(made) == count and all(summary(run_dir)["status"] == "completed" for run_dir in made)


@pytest.mark.slow
def test_f14_started_at_once(env: dict[str, str], tmp_path: Path) -> None:
    many(tmp_path, env, 4)


@pytest.mark.slow
def test_f14_twenty_started_at_once(env: dict[str, str], tmp_path: Path) -> None:
    many(tmp_path, env, 20)


@pytest.mark.slow
def test_f17_a_killed_sweep(finished: Path, env: dict[str, str], tmp_path: Path) -> None:
    """What was done is not done again, what was half done goes on, what was missing is made; all
    end as if nothing had been.
    """
    sweep = ("-m", "seed=1,0,2", "sweep.name=s", *GAME)
    cells = [tmp_path / "outputs" / "sweeps" / "s" / f"00{number}" for number in range(3)]
    with started(tmp_path, env, *sweep) as process:
        reach(process, cells[1], 11)
        process.kill()
        process.wait()
    assert summary(cells[0])["status"] == "completed" and not (cells[2] / ".hydra").exists()
    before = {path: path.read_bytes() for path in cells[0].rglob("*") if path.is_file()}
    done = gentrain(tmp_path, env, *sweep)
    assert_fine(done)
    assert (
        "3 cells (1 done, 1 half done, 1 to train)" in done.stderr
        and "from step" in (cells[1] / "cell.log").read_text()
    )
    assert {path: path.read_bytes() for path in before} == before
    assert [summary(cell)["status"] for cell in cells] == ["completed"] * 3
    assert_same_run(cells[1], finished)


MANY_SAVES = """
import resource, sys, torch
from pathlib import Path
from gentrain.training.checkpoint_io import AtomicIO
path, state, peak = Path(sys.argv[1]), {"global_step": 0, "w": torch.zeros(250_000)}, []
for step in range(1000):
    AtomicIO().save_checkpoint(state | {"global_step": step}, path)
    if step in (100, 999):
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peak[1] / peak[0])
"""


@pytest.mark.slow
def test_f22_a_thousand_checkpoints(tmp_path: Path, env: dict[str, str]) -> None:
    """Of 1 MB: no more memory, and no more disk than two of them take."""
    python = Path(GENTRAIN).with_name("python")
    done = subprocess.run(
        [python, "-c", MANY_SAVES, "last.ckpt"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert float(done.stdout) < 1.05, done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-1.ckpt", "last.ckpt"]


# --- SIGKILL, again and again ---------------------------------------------------------------------

SCORED = ("quality=nats", "quality.images=20", "quality.importance=5", "quality.every=10")
# what keeps state of its own, and would show if it were forgotten
TORTURED = {
    "dcgan": (
        "model=dcgan",
        "tricks=[ema,replay,historical_averaging,instance_noise]",
        "schedule=cosine",
        "scheme.critic_steps=2",
    ),
    "vbn": ("model=dcgan", "tricks=[virtual_batch_norm,minibatch_discrimination,packing]"),
    "improved_gan": ("model=improved_gan",),
    "wgan": (
        "model=wgan",
        "schedule=linear",
        "scheme.critic_warmup.steps=12",
        "scheme.critic_warmup.first=3",
        "scheme.critic_warmup.every=7",
    ),
    "pretrained": ("model=ebgan", "scheme.pretraining=20"),
    "wgan_gp": ("model=wgan_gp", "lipschitz.every=3", "tricks=[diff_augment,ema]"),
    "sngan": ("model=sngan", "network=dcgan", "model.critic.norm=none"),
    "cgan": ("model=cgan", "network=dcgan", "data.flip=true"),
    "vae": ("model=vae_planar", "schedule=cosine", "model.warm_up=20", *SCORED),
    "accumulated": ("model=dcgan", "tricks=[ema]", "scheme.accumulate=2", "scheme.critic_steps=2"),
    "progan": ("model=progan", "model.growth.fade=160", "model.growth.stable=80"),
    "workers": ("model=lsgan", "data.resident=false", "data.workers=1"),
    "score": (
        "model=dcgan",
        "quality=classifier",
        "quality.every=10",
        "quality.samples=64",
        "quality.batch_size=32",
    ),
    "skip": (
        "model=dcgan",
        "scheme.on_divergence=skip",
        "trainer.precision=bf16-mixed",
        "scheme.log_every=7",
    ),
}


UNNARROWED = tuple(word for word in TINY if not word.endswith(".width=8"))


def torture(
    folder: Path, env: dict[str, str], kills: int, words: tuple[str, ...], seed: int
) -> int:
    """Kill runs of the same command until `kills` have hit; start each again until it ends.

    Every end is that of a run left alone.

    Returns the number of runs that were compared.
    """
    narrow = words[0] not in ("model=cgan", "model=vae_planar")
    words = (
        *(TINY if narrow else UNNARROWED),
        *words,
        f"checkpoint.every={EVERY}",
        "samples.every=20",
        "steps=40",
        "scheme.log_every=1",
    )
    assert_fine(gentrain(folder, env, *words, "hydra.run.dir=alone"))
    draw, hit, runs = random.Random(seed), 0, 0
    while hit < kills:
        name = f"run{(runs := runs + 1)}"
        while not (folder / name / "summary.json").exists():
            with started(folder, env, *words, f"hydra.run.dir={name}", "resume=auto") as process:
                if hit < kills and struck(process, folder / name, draw):
                    hit += 1
                    assert_little_lost(folder / name)
                else:
                    assert process.wait(LIMIT) == 0, process.stderr.read()
        assert_same_run(folder / name, folder / "alone", pictures=True)
    return runs


def struck(process: Process, run_dir: Path, draw: random.Random) -> bool:
    """SIGKILL at a random moment: one in five at its start, the others some steps later."""
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 4))
    else:
        reach(process, run_dir, max([0, *steps(run_dir)]) + draw.randint(1, 10), or_end=True)
        time.sleep(draw.uniform(0, 0.02))
    process.kill()
    return process.wait() == -signal.SIGKILL


def assert_little_lost(run_dir: Path) -> None:
    """At most the work since the last due checkpoint, and that file is whole."""
    from gentrain.runs.checkpoints import newest_valid

    reached, last = max([0, *steps(run_dir)]), run_dir / "checkpoints" / "last.ckpt"
    saved = steps_saved(newest_valid(last)) if last.exists() else 0
    assert reached - saved <= EVERY, f"{reached} reached, {saved} saved"


@pytest.mark.slow
def test_f1_two_kills(env: dict[str, str], tmp_path: Path) -> None:
    torture(tmp_path, env, 2, TORTURED["dcgan"], 0)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", TORTURED)
def test_f1_many_kills(
    env: dict[str, str], tmp_path: Path, case: str, record_property: Callable[[str, object], None]
) -> None:
    kills = int(os.environ.get("KILLS", "50"))
    runs = torture(tmp_path, env, kills, TORTURED[case], 1)
    record_property("kills", kills)
    print(json.dumps({"case": case, "kills": kills, "runs": runs, "equal": runs}))
