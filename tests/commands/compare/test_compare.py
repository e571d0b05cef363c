"""What is found below a directory, which runs are one group, who is ranked with whom, and what the
files say.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from gentrain.commands.compare.directions import best, is_score
from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import differing, grouped, hyperparameters
from gentrain.commands.compare.ranking import tables
from gentrain.commands.compare.records import read_curves
from gentrain.protocols import comparable
from tests.support import made_runs as made
from tests.support.program import Done, Program

OTHER = made.PROTOCOL | {"samples": 1000}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def refused(done: Done, *words: str, status: int = 2) -> None:
    assert done.status == status and done.stdout == "", done
    assert (
        done.stderr.startswith("gentrain: error: ")
        and done.stderr.count("\n") == 1
        and "; " in done.stderr
    ), done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr


def test_a_run_of_version_0_1(compare: Program, tmp_path: Path) -> None:
    """Its configuration names classes that are elsewhere now; nothing of it is built."""
    shutil.copytree(Path(__file__).parent / "run_of_version_0_1", tmp_path / "old")
    made.run(tmp_path / "new", "wgan")
    old, _ = sorted(find([tmp_path]), key=lambda run: run.name == "new")
    assert old.config["model._target_"] == "gentrain.game.Unconditional"
    assert (old.status, old.step, old.images_per_step) == ("completed", 20, 100)
    assert old.overrides["model"] == "gan" and old.end["versions"]["gentrain"] == "0.1.0"
    assert old.curves["critic/adversarial"] == ([20], [1.3496654033660889])
    done = compare("runs=old,new", "out=both")
    assert (done.status, done.stderr) == (0, "")
    found = {row["run"]: row for row in rows(tmp_path / "both" / "runs.csv")}
    assert found["old"]["status"] == "completed" and found["old"]["steps"] == "20"
    assert (tmp_path / "both" / "compare.html").exists()


# --- the whole ------------------------------------------------------------------------------------


def test_a_sweep(compare: Program, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for seed, final in enumerate((10.0, 12.0, 17.0)):
        made.run(sweep / f"00{seed}", "wgan", seed, fid=(300.0, final - 2, final))
        ledger(sweep / f"00{seed}", f"00{seed}", "completed", {"model": "wgan", "seed": seed}, None)
    made.run(sweep / "003", "gan", 0, fid=(300.0, 40.0, 50.0), collapsed=1.0)
    ledger(sweep / "003", "003", "completed", {"model": "gan", "seed": 0}, None)
    made.run(sweep / "004", "gan", 1, fid=(300.0, 80.0), status="diverged")
    ledger(
        sweep / "004",
        "004",
        "diverged",
        {"model": "gan", "seed": 1},
        "critic/adversarial not finite at step 1000",
    )
    ledger(sweep / "005", "005", "failed", {"model": "gan", "seed": 2}, "CUDA out of memory")
    (sweep / "sweep.json").write_text(
        json.dumps({"name": "s", "keys": ["model", "seed"], "cells": cells(7)})
    )
    done = compare("runs=sweep", "page=false")
    assert (done.status, done.stderr) == (0, "")
    assert [path.name for path in sorted(sweep.glob("*.csv"))] == [
        "compare.csv",
        "runs.csv",
    ] and not (sweep / "compare.html").exists()
    wgan, gan = rows(sweep / "compare.csv")
    assert (wgan["group"], gan["group"]) == ("model=wgan", "model=gan") and (
        wgan["rank"],
        gan["rank"],
    ) == ("1", "2")
    assert float(wgan["final_mean"]) == 13 and float(wgan["final_sd"]) == pytest.approx(
        statistics.stdev([10, 12, 17])
    )
    assert float(wgan["best_mean"]) == 11 and (wgan["completed"], wgan["diverged"]) == ("3", "0")
    # of the other three cells one came to an end, and it is what the mean is of
    assert (
        float(gan["final_mean"]) == 50 and gan["final_sd"] == "" and float(gan["best_mean"]) == 40
    )
    assert (gan["runs"], gan["completed"], gan["diverged"], gan["failed"], gan["collapsed"]) == (
        "4",
        "1",
        "1",
        "1",
        "1",
    )
    for line in ("13 +- 3.6", "1 completed, 1 diverged, 1 failed, 1 missing"):
        assert line in done.stdout
    assert (
        "004 (model=gan seed=1) diverged: critic/adversarial not finite at step 1000; "
        "its log is sweep/004/train.log" in done.stdout
    )
    assert (
        "005 (model=gan seed=2) failed: CUDA out of memory" in done.stdout
        and "006 (model=gan seed=3) missing" in done.stdout
    )
    cell = {row["run"]: row for row in rows(sweep / "runs.csv")}
    assert (
        set(cell) == {f"00{i}" for i in range(7)}
        and cell["001"]["final:quality/fid_classifier"] == "12.0"
        and cell["001"]["seed"] == "1"
    )
    assert cell["005"]["reason"] == "CUDA out of memory" and cell["006"]["status"] == "missing"


def ledger(
    cell: Path, name: str, status: str, overrides: dict[str, Any], reason: str | None
) -> None:
    cell.mkdir(exist_ok=True)
    (cell / "train.log").write_text("...")
    entry = {
        "cell": name,
        "status": status,
        "overrides": overrides,
        "reason": reason,
        "log": "train.log",
        "attempts": 1,
    }
    (cell / "status.json").write_text(json.dumps(entry))


def cells(n: int) -> dict[str, Any]:
    """Three seeds of wgan, the others of gan, as sweep.json names them."""
    return {
        f"{i:03d}": {
            "overrides": {"model": "wgan" if i < 3 else "gan", "seed": i % 3 if i < 6 else 3}
        }
        for i in range(n)
    }


@pytest.mark.parametrize(("score", "best"), [("fid_classifier", "a"), ("recall_classifier", "b")])
def test_the_best_run_and_its_command(
    compare: Program, tmp_path: Path, score: str, best: str
) -> None:
    """The better seed of the group of rank 1, in the direction of the score."""
    for name, model, seed, fid, recall in (
        ("a", "gan", 0, 10.0, 0.1),
        ("a2", "gan", 1, 12.0, 0.09),
        ("b", "wgan", 0, 50.0, 0.9),
    ):
        columns = {"quality/recall_classifier": [0.5, 0.5, 0.5, recall]}
        run = made.run(tmp_path / "r" / name, model, seed, fid=(300.0, fid), columns=columns)
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "last.ckpt").touch()
    done = compare("runs=r", "page=false", f"sort={score}")
    final = {"a": "10", "b": "0.9"}[best]
    assert f"best run: r/{best} ({final})\n  gentrain sample run=r/{best}\n" in done.stdout
    (tmp_path / "r" / best / "checkpoints" / "last.ckpt").unlink()
    done = compare("runs=r", "page=false", f"sort={score}")
    assert "best run: r/" in done.stdout and "gentrain sample" not in done.stdout


def test_runs_that_are_going(compare: Program, tmp_path: Path) -> None:
    """No summary, a last row that is half written; ranked only when it has ended."""
    made.run(tmp_path / "outputs" / "a", "gan", fid=(300.0, 20.0, 10.0), status=None)
    made.run(tmp_path / "outputs" / "b", "wgan", fid=(300.0, 60.0, 50.0))
    made.run(tmp_path / "outputs" / "c", "dcgan", status=None, fid=None, columns={}).joinpath(
        "metrics.csv"
    ).unlink()
    file = tmp_path / "outputs" / "a" / "metrics.csv"
    file.write_bytes(file.read_bytes() + b"1250,999.0,7.")
    assert compare("runs=outputs", "page=false").status == 0
    found = rows(tmp_path / "outputs" / "compare.csv")
    assert [(row["group"], row["rank"]) for row in found] == [
        ("model=wgan", "1"),
        ("model=gan", ""),
        ("model=dcgan", ""),
    ]
    assert (
        found[1]["final_mean"] == "10.0"
        and found[1]["steps"] == "1000"
        and len({row["protocol"] for row in found}) == 1
    )
    assert {row["status"] for row in rows(tmp_path / "outputs" / "runs.csv")} == {
        "completed",
        "unfinished",
    }


def test_one_run_and_several_places(compare: Program, tmp_path: Path) -> None:
    made.run(tmp_path / "one here", "gan")
    made.run(tmp_path / "b" / "deep" / "run", "wgan")
    assert (
        compare("runs=one here", "page=false").status == 0
        and (tmp_path / "one here" / "compare.csv").exists()
    )
    done = compare("runs=one here,b", "page=false")
    assert done.status == 0 and {
        row["run"] for row in rows(tmp_path / "outputs" / "compare" / "runs.csv")
    } == {"one here", "b/deep/run"}
    assert compare("runs=['one here',b]", "page=false", "out=elsewhere").stdout.endswith(
        "runs.csv (a row a run)\n"
    )
    assert len(rows(tmp_path / "elsewhere" / "runs.csv")) == 2
    twice = compare("runs=b,b/deep", "page=false", "out=twice")
    assert twice.status == 0 and len(rows(tmp_path / "twice" / "runs.csv")) == 1


# --- who is ranked with whom ----------------------------------------------------------------------


def test_protocols_are_not_ranked_together(tmp_path: Path) -> None:
    made.run(tmp_path / "a", "gan", fid=(300.0, 30.0))
    made.run(tmp_path / "b", "wgan", fid=(300.0, 20.0), protocol=OTHER)
    made.run(tmp_path / "c", "dcgan", fid=(300.0, 10.0))
    made.run(tmp_path / "d", "acgan", fid=(300.0, 5.0), protocol=made.PROTOCOL | {"ema": True})
    groups = grouped(find([tmp_path]))
    assert order(tables(groups)) == [
        [(1, "model=dcgan"), (2, "model=gan")],
        [(1, "model=wgan")],
        [(1, "model=acgan")],
    ]
    merged = grouped(find([tmp_path]), ["ema"])
    assert order(tables(merged, across=["ema"]))[0] == [
        (1, "model=acgan"),
        (2, "model=dcgan"),
        (3, "model=gan"),
    ]


def order(shown: list[Any]) -> list[list[tuple[int | None, str]]]:
    return [[(rank, group.label) for rank, group in table.rows] for table in shown]


def test_a_protocol_is_equal_but_for_rounding() -> None:
    floor = {"fid_classifier_floor": {"value": 1.86330000001, "split": "test"}}
    assert comparable(made.PROTOCOL) == comparable(made.PROTOCOL | floor) != comparable(OTHER)


def test_one_configuration_measured_in_two_ways_is_two_groups(tmp_path: Path) -> None:
    made.run(tmp_path / "a", seed=0)
    made.run(tmp_path / "b", seed=1, protocol=OTHER)
    assert [len(group.runs) for group in grouped(find([tmp_path]))] == [1, 1]


def test_seeds_make_a_group_and_nothing_else_does(tmp_path: Path) -> None:
    made.run(tmp_path / "a", seed=0)
    # as fast as it likes, the same numbers
    made.run(tmp_path / "b", seed=1, more={"data.cache": "/elsewhere", "scheme.log_every": 10})
    made.run(tmp_path / "c", seed=2, more={"scheme.critic_steps": 2})
    made.run(tmp_path / "d", seed=2, steps=2000)
    groups = grouped(find([tmp_path]))
    assert sorted([sorted(run.seed for run in group.runs) for group in groups]) == [
        [0, 1],
        [2],
        [2],
    ]
    assert differing(groups) == {"steps": [1000, 1000, 2000], "scheme.critic_steps": [1, 2, 1]}


def test_hyperparameters_are_what_was_typed_and_no_key_twice(tmp_path: Path) -> None:
    for i, rate in enumerate((0.1, 0.2, 0.2)):
        more = {"scheme.lr": rate, "data.size": 28 + 4 * (i == 2)}
        path = made.run(tmp_path / str(i), "gan", more=more | {"model.shape": "${data.size}"})
        words = ["scheme.lr=1e-1" if i == 0 else "scheme.lr=2e-1", "seed=0"]
        (path / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    groups = grouped(find([tmp_path]))
    # what the run has computed with, and not how it was typed; the shape follows from the size
    assert hyperparameters(groups) == {"scheme.lr": [0.1, 0.2, 0.2], "data.size": [28, 28, 32]}
    assert set(differing(groups)) == {"scheme.lr", "data.size", "model.shape"}
    assert hyperparameters(groups[1:2]) == {}


def test_a_choice_is_a_hyperparameter(tmp_path: Path) -> None:
    for name in ("gan", "wgan"):
        made.run(tmp_path / name, name)
    assert hyperparameters(grouped(find([tmp_path]))) == {"model": ["gan", "wgan"]}


def test_a_copy_of_a_run_is_no_second_seed(tmp_path: Path) -> None:
    made.run(tmp_path / "a", fid=(300.0, 10.0))
    made.run(tmp_path / "copy", fid=(300.0, 10.0))
    (group,) = grouped(find([tmp_path]))
    assert (
        group.final["quality/fid_classifier"].n == 1
        and group.final["quality/fid_classifier"].sd is None
    )


def test_repeats_of_a_seed_are_said(compare: Program, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made.run(tmp_path / name, seed=seed)
    assert "3 completed of 2 seeds" in compare(f"runs={tmp_path}", "page=false").stdout
    made.run(tmp_path / "other" / "a", seed=0), made.run(tmp_path / "other" / "b", seed=1)
    said = compare(f"runs={tmp_path / 'other'}", "page=false").stdout
    assert "2 completed" in said and "seeds" not in said


def test_runs_of_other_pictures_are_another_group(tmp_path: Path) -> None:
    """Their commands differ by data.root alone; a run that goes on has no digest yet."""
    folders = {"a": "cats", "b": "dogs", "c": "dogs", "moved": "hounds"}
    for name, folder in folders.items():
        run = made.run(tmp_path / name, seed=len(name), more={"data.root": f"/data/{folder}"})
        end = json.loads((run / "summary.json").read_text())
        end["data"] = {"digest": "1" if folder == "cats" else "2"}
        (run / "summary.json").write_text(json.dumps(end))
    groups = grouped(find([tmp_path]))
    assert {(group.label, len(group.runs)) for group in groups} == {
        ("data.root=cats", 1), ("data.root=dogs", 3),
    }  # fmt: skip


def test_an_interpolation_is_named_by_what_it_gave(tmp_path: Path) -> None:
    for name, width, typed in (("a", 8, "$\\{model.w}"), ("b", 9, "${model.w}"), ("c", 7, "7")):
        run = made.run(tmp_path / name, more={"model.width": width})
        words = ["model=gan", f"model.width={typed}"]
        (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words))
    labels = {group.label for group in grouped(find([tmp_path]))}
    assert labels == {f"model.width={width}" for width in (8, 9, 7)}


def test_what_more_is_better_of() -> None:
    more = (
        "quality/is_classifier_mean",
        "quality/recall_classifier",
        "quality/classes_covered",
        "quality/modes_found",
        "quality/high_quality",
    )
    less = (
        "quality/fid",
        "quality/kid_classifier",
        "quality/nats",
        "quality/error_rate",
        "quality/bits_per_dim",
        "quality/kl_to_uniform",
    )
    assert {best(name) for name in more} == {max} and {best(name) for name in less} == {min}
    assert all(map(is_score, more + less)) and not any(
        map(
            is_score, ("quality/n", "quality/fid_floor", "quality/nats_error", "critic/adversarial")
        )
    )


def test_sort(compare: Program, tmp_path: Path) -> None:
    recall = {"a": 0.2, "b": 0.9, "c": 0.5}
    for i, (name, value) in enumerate(recall.items()):
        columns = {"quality/recall_classifier": [value], "critic/adversarial": [float(i)]}
        made.run(
            tmp_path / "r" / name,
            name,
            seed=0,
            steps=1000 * (i + 1),
            fid=(300.0, 10.0 + i),
            columns=columns,
        )

    def names(*words: str) -> list[tuple[str, str]]:
        assert compare("runs=r", "page=false", *words).status == 0
        return [(row["group"][6], row["rank"]) for row in rows(tmp_path / "r" / "compare.csv")]

    assert names() == [("a", "1"), ("b", "2"), ("c", "3")]
    assert names("sort=recall_classifier") == [("b", "1"), ("c", "2"), ("a", "3")]
    assert names("sort=quality/recall_classifier", "order=ascending") == [
        ("a", "3"),
        ("c", "2"),
        ("b", "1"),
    ]
    # a loss is no score
    assert names("sort=critic/adversarial", "order=descending") == [("c", ""), ("b", ""), ("a", "")]
    assert names("sort=steps", "order=descending") == [("c", "3"), ("b", "2"), ("a", "1")]
    assert names("sort=model.name", "order=descending") == [("c", "3"), ("b", "2"), ("a", "1")]


# --- what a run says of itself --------------------------------------------------------------------


def test_images_and_hours(tmp_path: Path) -> None:
    """Two critic steps of 3 batches of 64 images, on two processes; 1,000 images a second."""
    path = made.run(
        tmp_path / "a", more={"scheme.critic_steps": 2, "scheme.accumulate": 3}, steps=1000
    )
    end = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps(end | {"device": "2 x NVIDIA H200"}))
    (run,) = find([path])
    assert run.images_per_step == 64 * 2 * 3 * 2
    steps, hours = run.clock
    assert steps == [0, 250, 500, 750, 1000] and hours[-1] == pytest.approx(
        1000 * 64 * 12 / 1000 / 3600
    )


@pytest.mark.parametrize(("first", "every"), [(25, 500), (3, 7), (7, 7), (0, 4), (5, 0)])
def test_images_of_a_warm_up(tmp_path: Path, first: int, every: int) -> None:
    """As many as the training's own rule gives, in whole rounds of five critic updates."""
    from gentrain.training.adversarial import CriticWarmup

    warmup = {"steps": 12, "first": first, "every": every}
    options = {"scheme.critic_steps": 5, "scheme.pretraining": 8}
    options |= {f"scheme.critic_warmup.{key}": value for key, value in warmup.items()}
    (run,) = find([made.run(tmp_path / "a", more=options, steps=1000)])
    rule, updates = CriticWarmup(**warmup), 10  # 8 of pre-training are two rounds
    assert run.images_until(0) == 0
    for step in range(1, 60):
        updates += -(-rule(step - 1, 5) // 5) * 5
        assert run.images_until(step) == 64 * updates, step


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\n",
        b"200",
        b"200,1",
        b"200,1,2",
        b"200,1,2\r",
        b"x,1,2\r\n",
        b"200,1\r\n",
        b"\xff\xfe\r\n",
        b"200,nan,\r\n",
    ],
)
def test_rows_that_are_no_rows(tmp_path: Path, tail: bytes) -> None:
    file = tmp_path / "metrics.csv"
    file.write_bytes(b"step,a,b\r\n50,1.5,\r\n100,2.5,7\r\n" + tail)
    assert read_curves(file) == {"a": ([50, 100], [1.5, 2.5]), "b": ([100], [7.0])}


def test_best_and_final_of_a_curve(tmp_path: Path) -> None:
    made.run(
        tmp_path / "a",
        fid=(300.0, 10.0, 30.0),
        columns={"quality/recall_classifier": [0.1, 0.8, math.nan, 0.3]},
    )
    (group,) = grouped(find([tmp_path]))
    assert (
        group.final["quality/fid_classifier"].mean,
        group.best["quality/fid_classifier"].mean,
    ) == (30, 10)
    assert (
        group.final["quality/recall_classifier"].mean,
        group.best["quality/recall_classifier"].mean,
    ) == (0.3, 0.8)


# --- mistakes -------------------------------------------------------------------------------------


def test_mistakes(compare: Program, tmp_path: Path) -> None:
    made.run(tmp_path / "r", columns={"critic/adversarial": [1.0]})
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "file").touch()
    refused(compare(), "no value for runs", "runs=")
    refused(compare("runs="), "(runs)")
    refused(compare("runs=nowhere"), "nowhere does not exist (runs)")
    refused(compare("runs=file"), "file is a file (runs)")
    refused(compare("runs=r,empty"), "no run in empty or below (runs)")
    refused(
        compare("runs=r", "sort=fdi"),
        "no run has fdi (sort)",
        "quality/fid_classifier",
        "critic/adversarial",
        "wall_seconds",
    )
    near = compare("runs=r", "sort=fid")
    refused(near, "no run has fid (sort); did you mean quality/fid_classifier?")
    assert "wall_seconds" not in near.stderr
    refused(compare("runs=r", "srot=name"), "(srot)", "did you mean sort")
    refused(compare("runs=r", "order=up"), "(order)")
    refused(compare("runs=r", "out=file/here"), "(out)", status=4)
    refused(compare("runs=r", "picture_pixels=0"), "(picture_pixels)")
    refused(compare("runs=r", "picture_megabytes=-1"), "(picture_megabytes)")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        ".hydra",
        "metrics.csv",
        "summary.json",
    ]


@pytest.mark.parametrize("text", ["{", "", "[]", "\x00\xff"])
@pytest.mark.parametrize("name", ["summary.json", "status.json"])
def test_a_record_that_cannot_be_read(
    compare: Program, tmp_path: Path, name: str, text: str
) -> None:
    run = made.run(tmp_path / "r" / "a")
    (run / name).write_bytes(text.encode("latin-1"))
    refused(compare("runs=r"), f"r/a/{name}", "(runs)")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["a"]


def test_nothing_is_half_written(
    compare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up leaves the former files."""
    run = made.run(tmp_path / "r")
    (run / "compare.csv").write_text("former")

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    refused(compare("runs=r"), "No space left on device", "(out)", status=4)
    monkeypatch.undo()
    assert (run / "compare.csv").read_text() == "former" and not [
        path for path in run.iterdir() if "tmp" in path.name
    ]


def test_labels_say_what_differs(tmp_path: Path) -> None:
    """A cell that has not begun knows the swept keys alone, and its siblings keep short names."""
    sweep = tmp_path / "sweep"
    for name, model in (("000", "gan"), ("001", "wgan")):
        made.run(sweep / name, model, more={"scheme.critic_steps": 2})
        ledger(sweep / name, name, "completed", {"model": model, "seed": 0}, None)
    ledger(sweep / "002", "002", "missing", {"model": "sngan", "seed": 0}, None)
    ledger(sweep / "003", "003", "missing", {"model": "gan", "seed": 1}, None)
    groups = {group.label: [run.name for run in group.runs] for group in grouped(find([sweep]))}
    assert groups == {"model=gan": ["000", "003"], "model=wgan": ["001"], "model=sngan": ["002"]}
