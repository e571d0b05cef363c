"""The driver between a sweeper and a launcher: here the launcher is a function, and cells are what
it writes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import initialize_config_dir

from gentrain.cli import compose
from gentrain.config.paths import conf_dir
from gentrain.errors import Stopped, UserError
from gentrain.files import exclusive, is_locked, write_json
from gentrain.sweeps import launcher
from gentrain.sweeps.launcher import CellsFailed, SweepLauncher
from gentrain.sweeps.ledger import CELL_LOCK, RUN_LOCK, Ledger


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were checked before the first cell; here every cell can begin."""
    found: list[list[str]] = []
    monkeypatch.setattr(launcher, "refusal", lambda command, main: found.append(command))
    return found


def composed(*words: str) -> Any:
    compose.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", overrides=list(words), return_hydra_config=True)


class Loader:
    def load_sweep_config(self, master: Any, words: list[str]) -> Any:
        return composed(*words)


class BasicLauncher:
    """Completes every cell, or does what `does` says of it: "lost" leaves it as it was."""

    def __init__(
        self, sweep_dir: Path, does: Callable[[str], str] = lambda name: "completed"
    ) -> None:
        self.dir, self.does, self.launched = sweep_dir, does, []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        names = [
            next(word for word in words if word.startswith("sweep.cell=")).split("'")[1]
            for words in job_overrides
        ]
        self.launched.append(names)
        for name in names:
            how = self.does(name)
            if how == "lost":
                continue
            if how == "breaks":
                Ledger(self.dir).record(
                    name,
                    status="running",
                    attempts=Ledger(self.dir).read_status(name)["attempts"] + 1,
                )
                raise RuntimeError("a worker was killed")
            write_json(
                self.dir / name / "summary.json",
                {"status": how, "steps": 10000, "best": {}, "metrics": {}},
            )
            Ledger(self.dir).record(
                name,
                status=how,
                attempts=1,
                score=7.5 if how == "completed" else None,
                exit=int(how != "completed"),
            )
        return []


def driver(place: Path, launcher: Any, *swept: str, **words: Any) -> SweepLauncher:
    more = [f"{key}={value}" for key, value in words.items()]
    return SweepLauncher(
        launcher, composed("sweep.name=s", f"hydra.sweep.dir={place}/s", *more), Loader(), swept
    )


def test_only_what_is_missing_or_failed_is_launched(tmp_path: Path) -> None:
    first = BasicLauncher(
        tmp_path / "s", lambda name: {"001": "failed", "002": "diverged"}.get(name, "completed")
    )
    words = [["model=gan", f"seed={seed}"] for seed in range(4)]
    drive = driver(tmp_path, first, "seed")
    with drive.exclusive_driver():
        returned = drive.launch(words, 0)
    assert [each.return_value for each in returned] == [
        7.5,
        None,
        None,
        7.5,
    ] and first.launched == [["000", "001", "002", "003"]]
    with pytest.raises(
        CellsFailed, match=r"2 of 4 cells of .* \(sweep.name\), first 001"
    ) as failed:
        drive.conclude()
    assert failed.value.status == 1

    again = BasicLauncher(tmp_path / "s")
    driver(tmp_path, again, "seed").launch([*reversed(words), ["model=gan", "seed=9"]], 0)
    assert again.launched == [["001", "004"]], "what has diverged is a result; numbers stay"
    third = BasicLauncher(tmp_path / "s")
    config_of_all = driver(tmp_path, third, "seed")
    config_of_all.config.sweep.rerun = ["failed", "diverged"]
    config_of_all.launch(words, 0)
    assert third.launched == [["002"]]


# --- a mistake that all cells share --------------------------------------------------------------


def launched(place: Path, reasons: dict[str, str], *models: str, **options: Any) -> list[list[str]]:
    """The cells that are launched where some models are refused, for the reasons given."""
    first = BasicLauncher(place / "s")
    drive = driver(place, first, "model")
    for name, value in options.items():
        setattr(drive, name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "refusal", lambda command, main: reasons.get(command[-1]))
        drive.launch([[f"model={model}"] for model in models], 0)
    return first.launched


def test_the_first_cell_that_can_begin_is_enough(tmp_path: Path, checked: list[list[str]]) -> None:
    words = [[f"model={model}", f"seed={seed}"] for model in ("gan", "vae") for seed in range(2)]
    driver(tmp_path, BasicLauncher(tmp_path / "s"), "model", "seed").launch(words, 0)
    assert checked == [["model=gan", "seed=0"]]
    driver(tmp_path, BasicLauncher(tmp_path / "s"), "model", "seed").launch(words, 0)
    assert len(checked) == 1, "of a sweep that has begun, nothing is checked again"


def test_a_mistake_of_some_cells_is_theirs(tmp_path: Path) -> None:
    reasons = {"model=gan": "no (model); another"}
    assert launched(tmp_path, reasons, "gan", "vae") == [["000", "001"]]


def test_a_mistake_of_all_cells_ends_the_sweep(tmp_path: Path) -> None:
    same = dict.fromkeys(("model=gan", "model=vae"), "no modes (quality); choose another")
    with pytest.raises(UserError) as error:
        launched(tmp_path, same, "gan", "vae")
    assert str(error.value) == "no modes (quality); choose another"
    assert not (tmp_path / "s").exists()
    others = same | {"model=vae": "no labels (data); give some"}  # each says its own
    assert launched(tmp_path, others, "gan", "vae") == [["000", "001"]]


def test_trials_and_other_machines_find_out_by_themselves(tmp_path: Path) -> None:
    """The next trial of a study has other values, and another machine may have other data."""
    reasons = {"model=gan": "no (model); another"}
    assert launched(tmp_path / "a", reasons, "gan", trials=3) == [["000"]]
    remote = launcher.RemoteJobs()
    assert launched(tmp_path / "b", reasons, "gan", jobs=remote) == [["000"]]


def test_a_cell_is_known_by_what_it_is(tmp_path: Path) -> None:
    """Not by how it was written; and by keys that change no number only where they are swept."""
    drive = driver(tmp_path, BasicLauncher(tmp_path / "s"), "seed")
    a = drive.add_cell(["model=gan", "seed=0"])
    assert (
        a
        == drive.add_cell(["seed=0", "model=gan", "network=mlp_dropout"])
        == drive.add_cell(["model=gan", "trainer=cpu", "logger=csv"])
    )
    assert a != drive.add_cell(["model=gan", "seed=0", "data.batch_size=7"])
    swept = driver(tmp_path, BasicLauncher(tmp_path / "s"), "trainer", "steps")
    swept.ledger = drive.ledger
    names = [
        swept.add_cell(["model=gan", f"trainer={trainer}", f"steps={steps}"])
        for trainer in ("cpu", "auto")
        for steps in (10000, 20)
    ]
    assert len(set(names)) == 4 and names[0] == a, (
        "which was last asked for with trainer=cpu and as many steps"
    )


def test_a_drawn_seed_is_kept(tmp_path: Path) -> None:
    drive = driver(tmp_path, BasicLauncher(tmp_path / "s"), "model")
    names = [drive.add_cell(["model=gan", "seed=null"]) for _ in range(2)]
    assert names == ["000", "000"]
    kept = drive.ledger.cells["000"]
    assert f"seed={kept['words']['seed']}" in kept["command"] and "seed=null" not in kept["command"]


def test_a_launcher_that_loses_cells(tmp_path: Path) -> None:
    """A pool that breaks takes cells with it that had not begun: they are launched again.

    One that never begins has failed.
    """
    tries: list[str] = []

    def does(name: str) -> str:
        tries.append(name)
        return "breaks" if tries == ["000"] else "lost" if name == "001" else "completed"

    launcher = BasicLauncher(tmp_path / "s", does)
    drive = driver(tmp_path, launcher, "seed")
    drive.launch([["model=gan", f"seed={seed}"] for seed in range(3)], 0)
    assert launcher.launched == [["000", "001", "002"], ["000", "001", "002"], ["001"]]
    assert [drive.ledger.read_status(name)["status"] for name in ("000", "001", "002")] == [
        "completed",
        "failed",
        "completed",
    ]


def test_a_launcher_that_cannot_begin(tmp_path: Path) -> None:
    class Broken:
        def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
            raise RuntimeError("no such partition")

    with pytest.raises(UserError, match=r"no such partition \(cluster\); "):
        driver(tmp_path, Broken(), "seed").launch([["model=gan"]], 0)


def leave_a_cell(cell: Path, lock: str, ready: Any, release: Any, ends: str | None) -> None:
    """Hold a cell as its process does; then end it, or die in the middle of it."""
    with exclusive(cell / lock):
        ready.set()
        release.wait(60)
        if ends is not None:
            status = json.loads((cell / "status.json").read_text())
            write_json(cell / "status.json", status | {"status": ends, "score": 3.0})
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("lock", [CELL_LOCK, pytest.param(RUN_LOCK, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("ends", "score"), [(None, 7.5), ("completed", 3.0), ("interrupted", 7.5)])
def test_a_cell_of_another_process_is_waited_for_and_taken_over(
    tmp_path: Path, lock: str, ends: str | None, score: float
) -> None:
    """F17: a sweep is started again while the cells of its killed process are still saving."""
    sweep = tmp_path / "s"
    first = driver(tmp_path, BasicLauncher(sweep), "seed")
    assert first.add_cell(["model=gan", "seed=0"]) == "000"
    first.ledger.write(["seed"])
    first.ledger.record("000", status="running", attempts=1)
    fork = multiprocessing.get_context("fork")
    ready, release = fork.Event(), fork.Event()
    other = fork.Process(target=leave_a_cell, args=(sweep / "000", lock, ready, release, ends))
    other.start()
    assert ready.wait(60)

    class Releases(BasicLauncher):
        """The other process leaves when all other cells have been trained."""

        def launch(self, *jobs: Any, **more: Any) -> list[Any]:
            assert is_locked(sweep / "000" / lock) == (not self.launched)
            done = super().launch(*jobs, **more)
            if len(self.launched) == 1:
                timer.start()
            return done

    timer = threading.Timer(0.2, release.set)
    launcher = Releases(sweep)
    drive = driver(tmp_path, launcher, "seed")
    with drive.exclusive_driver():
        returned = drive.launch([["model=gan", f"seed={seed}"] for seed in range(2)], 0)
    other.join()
    assert launcher.launched == ([["001"]] if ends == "completed" else [["001"], ["000"]])
    assert [each.return_value for each in returned] == [score, 7.5]
    drive.conclude()


def test_a_driver_that_is_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says which command goes on: one that names the sweep."""
    import os
    import signal

    def does(name: str) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (tmp_path / "s" / ".stop").exists(), "for its workers"
        return "interrupted"

    drive = driver(tmp_path, BasicLauncher(tmp_path / "s", does), "seed")
    with pytest.raises(Stopped) as left, drive.exclusive_driver():
        drive.launch([["model=gan", "seed=0"]], 0)
    assert left.value.code == 143 and not (tmp_path / "s" / ".stop").exists()
    words = shlex.split(caplog.messages[-1].removeprefix("stopped; go on with: "))
    assert words[:2] == ["gentrain", "-m"] and "sweep.name=s" in words


@pytest.mark.parametrize("words", [["seed=-1"], ["steps=0"], ["resume=outputs/x"]])
def test_a_mistake_is_told_before_anything_is_submitted(tmp_path: Path, words: list[str]) -> None:
    launcher = BasicLauncher(tmp_path / "s")
    with pytest.raises(UserError, match=r"\((seed|steps|resume)\)"):
        driver(tmp_path, launcher, "seed").launch([["model=gan"], ["model=gan", *words]], 0)
    assert not launcher.launched and not (tmp_path / "s" / "000").exists()
