"""What is saved, when, and that a run that stops and goes on is the run that did not stop."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from gentrain.errors import Unavailable, UserError
from gentrain.runs.checkpoints import step_of
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.callbacks.samples import SampleGrids
from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.loggers import Loggers
from gentrain.training.loggers.csv_file import RunCSV
from tests.support.tensors import assert_equal
from tests.support.toy import Drawing, Score, train

TIMES = ("images_per_second",)


def loaded(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    os.environ.pop("WANDB_MODE", None)


def callbacks(every: int = 5) -> list[L.Callback]:
    return [
        RNG(),
        Score({3: 9.0, 6: 7.0, 9: 8.0}),
        SampleGrids(every=4, n=9),
        Checkpoint(every),
        Drawing(),
    ]


def test_global_step_counts_generator_steps(tmp_path: Path) -> None:
    model = train(tmp_path, 4, [Checkpoint(2)], critic_steps=3)
    saved = loaded(tmp_path / "checkpoints" / "last.ckpt")
    assert (
        model.global_step
        == saved["global_step"]
        == step_of(tmp_path / "checkpoints" / "last.ckpt")
        == 4
    )
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] == 4
    assert saved["DataModule"]["position"] == 12  # every batch was used


@pytest.mark.parametrize("log_every", [1, 2])
def test_a_resumed_run_equals_the_uninterrupted(tmp_path: Path, log_every: int) -> None:
    """Twelve steps, and five that are killed followed by seven in a process with another seed."""

    class Killed(Exception): ...

    class Kill(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            # two steps after the last checkpoint: their rows are dropped
            if trainer.global_step == 7:
                raise Killed

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    straight = callbacks()
    train(whole, 12, straight, [RunCSV(whole)], log_every=log_every)
    with pytest.raises(Killed):
        train(parts, 12, [*callbacks(), Kill()], [RunCSV(parts)], log_every=log_every)
    last = parts / "checkpoints" / "last.ckpt"
    assert step_of(last) == 5
    resumed = callbacks()
    train(
        parts,
        12,
        resumed,
        [RunCSV(parts, step_of(last))],
        seed=99,
        resume=last,
        log_every=log_every,
    )

    one, other = loaded(whole / "checkpoints" / "last.ckpt"), loaded(last)
    for key in ("state_dict", "optimizer_states", "rng"):
        assert_equal(one[key], other[key])
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert one["DataModule"] == other["DataModule"]
    assert (
        straight[3].best
        == resumed[3].best
        == {
            "metric": "quality/fid",
            "value": 7.0,
            "step": 6,
            "path": "checkpoints/best.ckpt",
            "protocol": "not known",
        }
    )
    assert straight[4].seen[5 * 3 :] == resumed[4].seen
    assert rows(whole) == rows(parts)
    for name in ("step-000004.png", "step-000008.png", "final.png"):
        assert (whole / "samples" / name).read_bytes() == (parts / "samples" / name).read_bytes()


def test_the_time_of_a_resumed_run_is_that_of_all_its_parts(tmp_path: Path) -> None:
    """Up to the checkpoint: what was done after it is done again, and counts once."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    before = time.time()
    train(tmp_path, 2, [Checkpoint()])
    first = loaded(last)["wall_seconds"]
    assert 0 < first <= time.time() - before
    saved = loaded(last)
    torch.save(saved | {"wall_seconds": 1000.0}, last)
    resumed = train(tmp_path, 4, [Checkpoint()], resume=last)
    assert 1000 < loaded(last)["wall_seconds"] <= resumed.clock.wall_seconds < 1000 + 600
    old = {key: value for key, value in saved.items() if key != "wall_seconds"}
    torch.save(old, last)  # of 0.1
    assert 0 < train(tmp_path, 4, [Checkpoint()], resume=last).clock.wall_seconds < 600


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    train(tmp_path / "whole", 6, [Checkpoint(), RNG()])
    train(tmp_path / "parts", 4, [Checkpoint(), RNG()])
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    train(tmp_path / "parts", 6, [Checkpoint(), RNG()], seed=5, resume=last)
    assert_equal(
        loaded(tmp_path / "whole" / "checkpoints" / "last.ckpt")["state_dict"],
        loaded(last)["state_dict"],
    )


def test_best_is_the_first_monitored_score_at_its_best(tmp_path: Path) -> None:
    scores = [
        Score({1: 5.0, 2: 3.0, 3: float("nan"), 4: 3.0, 5: 4.0}, "b"),
        Score({2: 50.0, 4: 60.0}, "a"),
    ]
    keeper = Checkpoint(0, monitor=["a", "b"])
    train(tmp_path, 6, [*scores, keeper], critic_steps=1)
    assert keeper.best == {
        "metric": "a",
        "value": 50.0,
        "step": 2,
        "path": "checkpoints/best.ckpt",
        "protocol": "not known",
    }
    assert step_of(tmp_path / "checkpoints" / "best.ckpt") == 2
    highest = Checkpoint(0, monitor=["b"], mode="max")
    train(tmp_path / "max", 6, [Score({1: 5.0, 2: 3.0}, "b"), highest], critic_steps=1)
    assert highest.best["step"] == 1
    assert (
        loaded(tmp_path / "max" / "checkpoints" / "last.ckpt")["callbacks"]["Checkpoint"]["best"]
        == highest.best
    )


def test_a_configuration_is_in_the_checkpoint(tmp_path: Path) -> None:
    class Configured(L.Callback):
        def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
            pl_module.origin = {"config": {"seed": 0, "data": {"name": "noise"}}}

    train(tmp_path, 1, [Configured(), Checkpoint()])
    assert loaded(tmp_path / "checkpoints" / "last.ckpt")["origin"]["config"] == {
        "seed": 0,
        "data": {"name": "noise"},
    }


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicIO().save_checkpoint({"step": 1}, path)
    before = path.read_bytes()

    def full(checkpoint: object, file: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Unavailable, match="No space left"):
        AtomicIO().save_checkpoint({"step": 2}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"global_step": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="not loaded"):
        AtomicIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_the_csv_file_has_a_union_of_columns_and_no_doubles(tmp_path: Path) -> None:
    first = RunCSV(tmp_path)
    for step in range(1, 6):
        first.log_metrics({"a": step}, step=step)
        if step == 3:
            first.log_metrics({"b": 0.5}, step=step)
        assert len(rows(tmp_path)) == step + (step >= 3)  # on disk at once
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("6,1")  # a crash in the middle of a row
    second = RunCSV(tmp_path, resumed_step=3)
    second.log_metrics({"a": 40, "c": 1}, step=4)
    assert list(rows(tmp_path)[0]) == ["step", "a", "b", "c"]
    assert [(r["step"], r["a"]) for r in rows(tmp_path)] == [
        ("1", "1"),
        ("2", "2"),
        ("3", "3"),
        ("3", ""),
        ("4", "40"),
    ]
    RunCSV(tmp_path).log_metrics({"z": 1}, step=0)  # a new run in the same place
    assert rows(tmp_path) == [{"step": "0", "z": "1"}]


@pytest.mark.slow
def test_csv_alone_never_imports_wandb(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gentrain.training.loggers import Loggers\n"
        "loggers = Loggers('off'); made = loggers.make(sys.argv[1], {}, {})\n"
        "made[0].log_metrics({'a': 1.0}, step=1); loggers.finish()\n"
        "assert len(made) == 1 and 'wandb' not in sys.modules\n"
        "assert Path(sys.argv[1], 'metrics.csv').exists()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_the_option_off(tmp_path: Path) -> None:
    assert [type(logger) for logger in Loggers("off").make(tmp_path, {}, {})] == [RunCSV]
