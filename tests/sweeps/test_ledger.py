"""The ledger's files, the table, the words of a multirun, what a sweep will cost."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import multiprocessing
from argparse import Namespace
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import initialize_config_dir
from hydra.errors import HydraException

from gentrain.cli import compose
from gentrain.cli.multirun import expand_seeds, sweep_overrides
from gentrain.config.paths import conf_dir
from gentrain.errors import UserError
from gentrain.files import exclusive, write_json
from gentrain.sweeps.ablation import effects, leave_one_out
from gentrain.sweeps.launcher import plain_value, shared_status
from gentrain.sweeps.ledger import CELL_LOCK, Ledger
from gentrain.sweeps.table import by_seed, print_sweep, rows
from hydra_plugins.gentrain_sweepers import swept_keys, with_defaults


def filled(place: Path, seeds: int = 3) -> Ledger:
    """model=gan and dcgan over seeds; the last cell of each is missing."""
    ledger = Ledger(place / "s", "s")
    for model in ("gan", "dcgan"):
        for seed in range(seeds):
            ledger.add_cell(
                f"{model} {seed}",
                {"model": model, "seed": seed, "steps": 9},
                [f"model={model}", f"seed={seed}"],
            )
    ledger.write(["model", "seed"])
    for number, name in enumerate(ledger.cells):
        if number % seeds < seeds - 1:
            best = {"metric": "quality/fid", "value": 10.0 + number, "step": 4}
            write_json(
                ledger.dir / name / "summary.json",
                {
                    "steps": 9,
                    "best": best,
                    "metrics": {"quality/fid": 20.0 + number},
                    "verdicts": [],
                },
            )
            ledger.record(name, status="completed", attempts=1, score=10.0 + number, seconds=1.0)
    return ledger


def test_the_contract(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    told = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert (told["name"], told["keys"]) == ("s", ["model", "seed"]) and list(told["cells"]) == [
        f"00{n}" for n in range(6)
    ]
    assert told["cells"]["004"]["overrides"] == {"model": "dcgan", "seed": 1}
    missing = json.loads((tmp_path / "s" / "005" / "status.json").read_text())
    assert missing == {
        "cell": "005",
        "status": "missing",
        "overrides": {"model": "dcgan", "seed": 2},
        "reason": None,
        "log": "cell.log",
        "attempts": 0,
    }
    assert Ledger(tmp_path / "s").statuses() == ledger.statuses()


def test_a_grid_that_grew(tmp_path: Path) -> None:
    """Known cells keep their number; a key that now differs between cells is shown for all."""
    filled(tmp_path)
    ledger = Ledger(tmp_path / "s")
    assert ledger.add_cell("dcgan 1", {"model": "dcgan", "seed": 1, "steps": 9}, []) == "004"
    assert ledger.add_cell("wgan 1", {"model": "wgan", "seed": 1, "steps": 50}, []) == "006"
    ledger.write(["model"])
    assert ledger.keys == ["model", "seed", "steps"]
    assert ledger.read_status("000") | {"seconds": 0} == ledger.read_status("000") | {
        "seconds": 0,
        "status": "completed",
        "attempts": 1,
    }
    assert ledger.read_status("000")["overrides"] == {"model": "gan", "seed": 0, "steps": 9}


def keep_locked(file: Path, ready: Any, leave: Any) -> None:
    with open(file, "a+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        ready.set()
        leave.wait(30)


def test_running_is_believed_while_somebody_holds_the_cell(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.record("002", status="running")
    assert (
        ledger.status("002")["status"] == "interrupted" and "gone" in ledger.status("002")["reason"]
    )
    spawn = multiprocessing.get_context("fork")
    ready, leave = spawn.Event(), spawn.Event()
    other = spawn.Process(target=keep_locked, args=(ledger.dir / "002" / CELL_LOCK, ready, leave))
    other.start()
    try:
        assert ready.wait(30) and ledger.status("002")["status"] == "running"
        with (
            pytest.raises(UserError, match=r"another process drives"),
            exclusive(ledger.dir / "002" / CELL_LOCK, "{owner} drives"),
        ):
            pass
    finally:
        leave.set()
        other.join()
    assert ledger.status("002")["status"] == "interrupted"


def test_the_table(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.record("005", status="failed", reason="killed by SIGKILL")
    stream = io.StringIO()
    print_sweep(ledger, stream)
    said = stream.getvalue()
    assert (
        "quality/fid" in said
        and f"failed 005: killed by SIGKILL\n  {ledger.dir}/005/cell.log" in said
    )
    assert f"side by side: `gentrain compare {ledger.dir}`\n" in said
    first, second = by_seed(rows(ledger), ledger.keys)
    assert (first["model"], first["seeds"], first["done"], first["best"], first["final"]) == (
        "gan",
        3,
        2,
        "10.5 ± 0.71",
        "20.5 ± 0.71",
    )
    assert (second["done"], second["failed"], second["diverged"], second["collapsed"]) == (
        2,
        1,
        0,
        0,
    )
    with (ledger.dir / "table.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    assert (
        [row["cell"] for row in kept] == list(ledger.cells)
        and kept[0]["best"] == "10.0"
        and kept[5]["reason"] == "killed by SIGKILL"
    )


def test_the_best_run_of_a_sweep(tmp_path: Path) -> None:
    """Of the final scores, in the direction that the metric has declared; with its command."""
    ledger = filled(tmp_path)
    said = io.StringIO()
    print_sweep(ledger, said)
    assert f"best run: {ledger.dir}/000 (quality/fid 20)\n" in said.getvalue()
    assert "gentrain sample" not in said.getvalue()  # there are no weights
    for name in ("000", "001", "003", "004"):
        file = ledger.dir / name / "summary.json"
        end = json.loads(file.read_text()) | {"directions": {"quality/fid": True}}
        write_json(file, end)
        (ledger.dir / name / "checkpoints").mkdir()
        (ledger.dir / name / "checkpoints" / "last.ckpt").touch()
    said = io.StringIO()
    print_sweep(ledger, said)
    best = ledger.dir / "004"
    assert f"best run: {best} (quality/fid 24)\n  gentrain sample run={best}\n" in said.getvalue()


def test_the_table_in_an_ascii_locale(tmp_path: Path) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    print_sweep(filled(tmp_path / "é"), stream)
    stream.seek(0)
    assert "10.5 +- 0.71" in stream.read()


def test_a_damaged_ledger(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "s" / "sweep.json").write_text('{"name"')
    with pytest.raises(UserError, match=r"sweep.json is damaged.*\(sweep.name\)"):
        Ledger(tmp_path / "s")


def test_exit_status() -> None:
    assert shared_status([{"exit": 2}, {"exit": 2}]) == 2
    assert [shared_status([{"exit": code}, {"exit": 2}]) for code in (1, None, 4)] == [1, 1, 1]
    assert shared_status([{"exit": -9}]) == 1 and shared_status([{}]) == 1


# --- leave-one-out --------------------------------------------------------------------------------


def composed(*words: str) -> Any:
    compose.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", overrides=list(words), return_hydra_config=True)


def test_leave_one_out() -> None:
    ablate = composed("sweep=ablate")
    words = ["model=dcgan", "tricks=[ema,packing,replay]", "seed=0,1"]
    assert leave_one_out(words, ablate) == [
        "model=dcgan",
        "seed=0,1",
        "tricks=[ema,packing,replay],[packing,replay],[ema,replay],[ema,packing]",
    ]
    assert leave_one_out(words, composed("sweep=grid")) == words
    with pytest.raises(UserError, match=r"\(tricks\)"):
        leave_one_out(["model=dcgan"], ablate)


def test_values_of_a_sweep_that_are_not_typed() -> None:
    params = {"model": "gan,wgan", "seed": "0,1,2", "steps": 100}
    words = ["seed=4", "data=gaussian_ring"]
    assert with_defaults(words, params) == ["model=gan,wgan", "steps=100", *words]
    assert swept_keys(with_defaults(words, params)) == ["model"]
    assert with_defaults(words, {}) == words


def test_effects_are_of_pairs() -> None:
    """d = (5 - 1, 4 - 2) = (4, 2): 3 ± 1, though the seeds differ by more than that."""
    best = {("0", "a b"): 1.0, ("1", "a b"): 2.0, ("0", "b"): 5.0, ("1", "b"): 4.0, ("0", "a"): 1.0}
    table = [
        {
            "seed": seed,
            "tricks": tricks,
            "status": "completed",
            "final": best[seed, tricks],
            "best": value,
        }
        for (seed, tricks), value in best.items()
    ]
    without_a, without_b = effects(table, ["seed", "tricks"])
    assert (without_a["without"], without_a["pairs"], without_a["best"]) == ("a", 2, "+3 ± 1")
    assert (without_b["without"], without_b["pairs"], without_b["best"]) == ("b", 1, "+0")


# --- the command ----------------------------------------------------------------------------------


def test_seeds() -> None:
    def expanded(*overrides: str, multirun: bool = False) -> tuple[list[str], bool]:
        args = Namespace(overrides=list(overrides), multirun=multirun)
        expand_seeds(args)
        return args.overrides, args.multirun

    assert expanded("model=gan", "seeds=3") == (["model=gan", "seed=0,1,2"], True)
    assert expanded("model=gan,wgan", "seed=5", "seeds=2", multirun=True) == (
        ["model=gan,wgan", "seed=5,6"],
        True,
    )
    assert expanded("model=gan", "seeds=null") == (["model=gan", "seeds=null"], False)
    for bad in (("seeds=0",), ("seeds=many",), ("seeds=2", "seed=0,1"), ("seeds=2", "sweep=tpe")):
        with pytest.raises(UserError, match=r"\(seeds?\)"):
            expanded(*bad)


def test_one_name_for_all_processes() -> None:
    first, second = sweep_overrides([]), sweep_overrides([])
    assert first[0].startswith("sweep.name=20") and first[0] != second[0]
    assert sweep_overrides(["sweep.name=x"]) == [
        "hydra.output_subdir=null",
        "hydra/job_logging=stderr",
    ]


def test_values() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    texts = ["a=1", "a=1e-4", "a=wgan", "a='x y'", "a=[ema,packing]", "a=true", "a=null", "a=a/b"]
    values = [plain_value(each.value()) for each in OverridesParser.create().parse_overrides(texts)]
    assert values == [1, 1e-4, "wgan", "x y", "ema packing", True, None, "a/b"]


CHOICES = {
    "cluster=local": ("joblib", "Grid"),
    "cluster=slurm": ("submitit_slurm", "Grid"),
    "sweep=ablate": ("joblib", "Grid"),
    "sweep=random": ("joblib", "Trials"),
    "sweep=tpe": ("joblib", "Trials"),
}


@pytest.mark.parametrize("word", CHOICES)
def test_every_choice_composes(word: str) -> None:
    launcher, sweeper = CHOICES[word]
    pytest.importorskip(
        "hydra_plugins.hydra_optuna_sweeper"
        if sweeper == "Trials"
        else "hydra_plugins.hydra_submitit_launcher"
    )
    cfg = composed(word, "sweep.name=s", "sweep.cell='003'", "cluster.jobs=3")
    assert cfg.hydra.runtime.choices[
        "hydra/launcher"
    ] == launcher and cfg.hydra.sweeper._target_.endswith(f".{sweeper}")
    assert (cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir) == ("outputs/sweeps/s", "003")
    assert cfg.hydra.sweeper.get("n_jobs", 3) == 3
    if launcher == "submitit_slurm":
        assert (
            cfg.hydra.launcher.timeout_min,
            cfg.hydra.launcher.array_parallelism,
            cfg.hydra.launcher.name,
        ) == (240, 3, "gentrain-s")


def test_what_is_not_installed() -> None:
    from gentrain.cli.hydra_errors import one_line

    error = HydraException("In 'cluster/ray': Could not find 'hydra/launcher/ray'")
    assert (
        one_line(error, ["cluster=ray"], conf_dir())
        == "ray is not installed (cluster, sweep); pip install 'gentrain[ray]'"
    )
