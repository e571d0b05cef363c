"""Records of runs that outlive them, and the page of results that is written from these."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gentrain.cli.compose import compose_command, register
from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import grouped
from gentrain.protocols import short_hash
from gentrain.quality.base import higher_is_better
from gentrain.runs.directory import flat
from tests.support import made_runs as made
from tests.support.paths import ROOT

AIM = {
    "model": "vae", "data": "mnist", "score": "nats", "aim": 90, "paper": "88", "source": "read",
}  # fmt: skip
TEST_PROTOCOL = {"likelihood": "exact", "split": "test of 10000"}
PROTOCOL = {"likelihood": "exact", "split": "validation of 6000"}


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    """Writes the page of some directories, and gives its text."""

    def written(*words: str | Path) -> str:
        out = tmp_path / "docs" / "page.md"
        assert script("results").main([*map(str, words), "--out", str(out)]) == 0
        return out.read_text("utf-8")

    return written


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def records(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "docs/page/records").iterdir())


def vae(
    place: Path,
    nats: list[float],
    test: float = 95.0,
    more: dict[str, Any] | None = None,
    end: dict[str, Any] | None = None,
    **other: Any,
) -> Path:
    """A run of 1,000 steps with nats at even steps, and a score of the test split at the end."""
    every = 1000 // len(nats)
    ends = [math.nan] * (len(nats) - 1) + [test]
    columns = {"quality/nats": nats, "test/nats": ends}
    values = {"fid": None, "columns": columns, "every": every, "protocol": PROTOCOL}
    made.run(place, model="vae", more=more, **(values | other))
    file = place / "summary.json"
    found = json.loads(file.read_text("utf-8"))
    best = {
        "metric": "quality/nats",
        "value": min(nats),
        "step": every * (1 + nats.index(min(nats))),
    }
    found |= {"best": best, "seconds_per_step": 0.5} | (end or {})
    file.write_text(json.dumps(found))
    return place


def row_of(text: str, part: int = 0) -> dict[str, str]:
    """The one row of one of the page's tables, by the names of columns."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = [i for i, line in enumerate(lines) if line.startswith("| command")]
    head, _, row, *rest = lines[heads[part] :]
    assert not rest or not rest[0].startswith("| `gentrain"), "more than one row"
    return dict(zip(*([c.strip() for c in each.strip("|").split(" | ")] for each in (head, row)),
                    strict=True))  # fmt: skip


# --- records --------------------------------------------------------------------------------------


def test_a_row_outlives_its_run_and_the_page_stays_the_same(
    tmp_path: Path, page: Callable[..., str]
) -> None:
    data = str(tmp_path / "my data" / "set")
    for seed in (0, 1):
        more = {"data.root": data, "data.file": data, "model.start": [data]}
        run = vae(tmp_path / "runs" / str(seed), [120.0, 110.0 + seed], seed=seed, more=more,
                  pictures=1)  # fmt: skip
        (run / "eval.json").write_text(
            json.dumps(
                {"run": str(run), "checkpoint": "last", "step": 1000, "averaged": False,
                 "scores": {"quality/nats": 96.0}, "protocols": {"quality": TEST_PROTOCOL}}
            )
        )  # fmt: skip
    before = grouped(find([tmp_path / "runs"]))
    first = page(tmp_path / "runs")
    assert first == page(tmp_path / "runs") and len(records(tmp_path)) == 2
    shutil.rmtree(tmp_path / "runs")
    assert page() == first and "110.5 ± 0.71" in first
    for file in (tmp_path / "docs").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file

    (group,) = grouped(find([tmp_path / "docs/page/records"]))  # as `gentrain compare` does
    assert group.final["quality/nats"] == before[0].final["quality/nats"]
    assert group.main_score == "quality/nats" and group.mean_of("wall_seconds") == 120
    assert sum(file.stat().st_size for file in records(tmp_path)[0].rglob("*.*")) < 10_000


def test_a_record_is_replaced_by_the_same_run_and_not_by_a_lesser_one(
    tmp_path: Path, page: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"

    def written(nats: list[float], **other: Any) -> str:
        shutil.rmtree(place, ignore_errors=True)
        vae(place, nats, **other)
        return page(place)

    written([120.0, 100.0], status="interrupted")
    assert " 99 (" in written([120.0, 99.0])
    assert " 98 (" in written([120.0, 98.0]) and len(records(tmp_path)) == 1
    capsys.readouterr()
    assert " 98 (" in written([120.0, 97.0], status="interrupted")
    assert "not kept: " in capsys.readouterr().out
    written([120.0, 96.0], more={"model.beta": 2})
    assert len(records(tmp_path)) == 2
    written([120.0, 95.0], end={"device": "NVIDIA H200"})
    assert len(records(tmp_path)) == 3


def test_runs_without_trained_scores_and_those_that_go_on_are_left_out(
    tmp_path: Path, page: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    made.run(tmp_path / "runs/a", fid=(300.0,), status="interrupted")  # at step 0
    made.run(tmp_path / "runs/b", seed=1, status=None)
    made.run(tmp_path / "runs/c", seed=2)
    text = page(tmp_path / "runs")
    assert row_of(text)["seeds"] == "1" and len(records(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "not kept: a has no score after step 0",
        "not kept: b has not ended (unfinished)",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.csv", "step,quality/nats\n500,12"),
        ("metrics.csv", "step,quality/nats\n500,x\n"),
        ("metrics.csv", "step,quality/nats\n500\n"),
        ("metrics.csv", ""),
        ("metrics.csv", None),
        ("summary.json", '{"status": "comp'),
        ("summary.json", "{}"),
        (".hydra/config.yaml", "{"),
        (".hydra/config.yaml", None),
    ],
)
def test_a_damaged_record_is_one_line(
    name: str,
    text: str | None,
    tmp_path: Path,
    page: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    page(vae(tmp_path / "run", [120.0, 110.0]))
    (place,) = records(tmp_path)
    if text is None:
        (place / name).unlink()
    else:
        (place / name).write_text(text)
    capsys.readouterr()
    assert script("run_tables").exit_code(page) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(place) in line and "remove it" in line
    assert "110" in page(tmp_path / "run")  # its run mends it


def test_long_curves_are_thinned_and_keep_their_best(tmp_path: Path) -> None:
    values = [100.0 + i for i in range(500)]
    values[333] = 1.0
    shortened = script("result_records").shortened
    steps, kept = shortened("quality/nats", range(500), values)
    assert len(steps) <= 61 and {0, 333, 499} <= set(steps) and min(kept) == 1.0
    assert shortened("quality/nats", range(60), values[:60])[0] == list(range(60))
    assert shortened("quality/nats_error", range(60), values[:60]) == ([59], [159.0])


# --- the page -------------------------------------------------------------------------------------


def test_the_best_is_chosen_on_validation_and_tested_beside(
    tmp_path: Path, page: Callable[..., str]
) -> None:
    for seed in (0, 1):
        run = vae(tmp_path / "runs" / str(seed), [120.0, 80.0 + seed, 85.0, 90.0], 95.0, seed=seed)
        later = {
            "checkpoint": "best", "step": 500, "averaged": False,
            "scores": {"quality/nats": 84.0 + 2 * seed, "quality/nats_error": 0.5},
            "protocols": {"quality": TEST_PROTOCOL},
            "measured_by": {"quality/nats": "quality"},
        }  # fmt: skip
        (run / "eval.json").write_text(json.dumps(later))
    found = row_of(text := page(tmp_path / "runs"), 1)
    assert found["validation"] == "90 ± 0"
    assert found["best on validation"] == "80.5 ± 0.71 (step 500)"
    last, best = found["test"].split("<br>")
    assert last == "95 ± 0 (last weights)"
    assert best == "85 ± 1.4 (best weights, step 500, eval; standard error 0.5)"
    number = short_hash(TEST_PROTOCOL)
    assert f"`{number}`" in found["protocol"]
    assert f"| `{number}` | exact, test of 10000 |" in text

    file = tmp_path / "aims.yaml"
    file.write_text(json.dumps([AIM]))  # 90: reached by the best weights, and not by the last
    found = row_of(page("--aims", file))
    assert found["reached"] == "reached" and found["test"] == best
    assert found["the paper's number"] == "88 (read)" and found["one more hour, same device"] == ""


def test_a_miss_has_its_slope_and_what_an_hour_would_bring(
    tmp_path: Path, page: Callable[..., str]
) -> None:
    """The last quarter of the curve falls by 0.01 a step; an hour has 7,200 steps of 0.5 s."""
    file = tmp_path / "aims.yaml"
    file.write_text(json.dumps([AIM]))
    line = [300.0, 200.0] * 7 + [130.0 - 0.01 * step for step in range(750, 1001, 50)]
    vae(tmp_path / "a", line)
    found = row_of(page(tmp_path / "a", "--aims", file))
    assert found["reached"] == "missed" and found["test"] == "95 (last weights)"
    assert found["slope for 1,000 steps"] == "-10"
    assert found["one more hour, same device"] == "7,200 steps, 7.2 of this run: at most -72, to 48"
    assert found["a GPU-hour"] == ""

    gpu = {"device": "NVIDIA H200", "seconds_per_step": 0.1}
    vae(tmp_path / "b", line, test=80.0, end=gpu, steps=1000, more={"steps": 500})
    text = page(tmp_path / "b", "--aims", file)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert "| 36,000 steps, 36 of this run: at most -360, to -240 | CPU" in rows[0]
    assert "| reached |" in rows[1] and rows[1].endswith("| NVIDIA H200 |")


@pytest.mark.parametrize(
    ("nats", "schedule", "said"),
    [
        ([99.0, 98.0, 97.0], {"_target_": "x.CosineAnnealingLR"}, "nothing, `schedule=Cosine"),
        ([99.0, 98.0, 97.0], {"_target_": "x.LinearLR", "end_factor": 0.5}, "at most -"),
        ([99.0, 97.0, 98.0], None, "nothing, the curve no longer improves"),
        ([99.0], None, "not known, one score"),
    ],
)
def test_when_more_steps_bring_nothing(
    nats: list[float],
    schedule: dict[str, Any] | None,
    said: str,
    tmp_path: Path,
    page: Callable[..., str],
) -> None:
    file = tmp_path / "aims.yaml"
    file.write_text(json.dumps([AIM]))
    vae(tmp_path / "a", nats, more={"scheme.schedule": schedule})
    found = row_of(page(tmp_path / "a", "--aims", file))
    assert said in found["one more hour, same device"]


def test_scores_of_the_test_split_are_not_taken_for_validation(
    tmp_path: Path, page: Callable[..., str]
) -> None:
    """As those of data.validation=0 are."""
    vae(tmp_path / "a", [99.0, 98.0], protocol=TEST_PROTOCOL)
    found = row_of(page(tmp_path / "a"), 1)
    assert found["validation"] == "98 (of the test split: no validation)"


def test_an_aim_that_is_typed_wrong_is_one_line(tmp_path: Path, page: Callable[..., str]) -> None:
    file = tmp_path / "aims.yaml"
    for node in ({"modle": "vae"}, {"source": "heard"}):
        file.write_text(json.dumps([AIM | node]))
        assert script("run_tables").exit_code(lambda: page("--aims", file)) == 2


# --- of this repository ---------------------------------------------------------------------------


def test_the_page_of_docs_is_that_of_its_records() -> None:
    """Nobody has typed in it; `make results RUNS=` writes it again."""
    results, kept = script("results"), script("result_records")
    runs, aims = kept.kept(kept.RECORDS), script("result_aims").read_aims()
    parts = results.page_parts(runs, aims, results.PAGE)
    assert results.PAGE.read_text("utf-8") == "\n\n".join(parts) + "\n"
    files = [file for file in kept.RECORDS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < results.MAX_BYTES
    texts = [file.read_text("utf-8") for file in files if file.suffix != ".png"]
    assert not any(kept.INNER_PATH.search(text) for text in texts)


def test_aims_are_of_presets_and_scores() -> None:
    """Their keys exist, and the preset has their values or a command can give them."""
    register()
    for aim in script("result_aims").read_aims():
        words = [f"model={aim.model}", f"data={aim.data}"]
        command = compose_command("train", Namespace(overrides=words, config_dir=None))
        choices, config = dict(command.choices()), flat(command.plain())
        assert set(aim.having) <= {*config, *choices}, aim
        assert higher_is_better(aim.score) is False, aim
        if aim.model == "maf":  # the authors' network is the preset's
            assert all((config | choices)[key] == aim.having[key] for key in aim.having)
