"""Pages of docs/results, from run directories that were made by hand."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path
from types import ModuleType

import pytest

from gentrain.protocols import short_hash
from tests.support import made_runs as made
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.fixture
def results() -> ModuleType:
    return importlib.import_module("results")


def cells(page: str) -> list[list[str]]:
    """The rows of the page's table."""
    lines = [line for line in page.splitlines() if line.startswith("| `gentrain")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_row_for_each_configuration(results: ModuleType, tmp_path: Path) -> None:
    runs, page = tmp_path / "runs", tmp_path / "pages" / "runs.md"
    for seed, last in enumerate((50.0, 54.0, 58.0)):
        twin = {"test/fid_classifier": [90.0, 80.0, 70.0, 60.0 + seed]}
        made.run(runs / f"a{seed}", seed=seed, fid=(300.0, last), columns=twin, pictures=1)
    made.run(runs / "a3", seed=3, fid=(300.0, 900.0), status="diverged")
    other = {"data.root": str(tmp_path / "data"), "sweep.name": "first"}
    made.run(runs / "b", model="vae", fid=None, protocol=None, more=other)
    assert results.main([str(runs), "--out", str(page)]) == 0

    (gan,) = cells(text := page.read_text("utf-8"))  # no row without a score
    assert gan[0] == "`gentrain -m model=gan data.root=DATA seed=0,1,2,3`"
    assert gan[1:5] == ["mnist", "1,000", "3, 1 diverged", "fid_classifier"]
    # mean and deviation of 50, 54, 58, and of 60, 61, 62; the seed that diverged is not in them
    assert gan[5:8] == ["54 ± 4", "54 ± 4 (step 1,000)", "61 ± 1 (last weights)"]
    assert gan[8:10] == ["2.0", "CPU, 2 cores, 1 threads"]
    assert gan[11] == f"`{short_hash(made.PROTOCOL)}`"  # of both splits, in made runs
    (shown,) = re.findall(r"\((runs/.*?\.png)\)", gan[10])
    assert (page.parent / shown).stat().st_size < 4000
    assert str(tmp_path) not in text


def test_no_runs_are_one_line(
    results: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, code = tmp_path / "runs.md", importlib.import_module("run_tables").exit_code
    assert code(lambda: results.main([str(tmp_path / "none"), "--out", str(page)])) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "does not exist" in said[0] and not page.exists()


def test_the_ablation_pairs_seeds_and_counts_failures(tmp_path: Path) -> None:
    """Of three pairs 1, 2 and 3 apart, Student's half width is 4.303 / sqrt(3)."""
    ablation = importlib.import_module("ablation_table")
    for seed in range(4):
        for number, names in enumerate(("[a,b]", "[b]", "[a]", "[]")):
            score = 50.0 + 10 * seed + (number == 1) * (1 + seed)
            made.run(
                tmp_path / f"{number}{seed}",
                seed=seed,
                more={"tricks": names},
                status="failed" if (number, seed) == (1, 3) else "completed",
            )
            file = tmp_path / f"{number}{seed}" / "summary.json"
            end = json.loads(file.read_text("utf-8"))
            file.write_text(json.dumps(end | {"metrics": {ablation.SCORE: score}}))
    rows = {row[0]: row[1:] for row in ablation.rows(ablation.groups(ablation.records(tmp_path)))}
    assert list(rows) == ["all five", "without `a`", "without `b`", "none of them"]
    assert rows["without `a`"][:2] == ["3", "1 failed"] and rows["without `b`"][:2] == ["4", "0"]
    assert rows["without `a`"][3] == f"+2.0 ± {4.3027 / math.sqrt(3):.1f}"
    assert rows["without `b`"][3] == "+0.0 ± 0.0" and rows["all five"][3] == ""
    said = ablation.finding(ablation.groups(ablation.records(tmp_path)))
    assert said.endswith("it is inside without `a`, without `b` and with none of them.")


def test_log_densities_of_all_kinds_have_one_unit() -> None:
    """A model that finds all levels equally probable has the density 1 on [0, 1]^784."""
    likelihood = importlib.import_module("likelihood_table")

    def log_p(scores: dict[str, float]) -> tuple[float, float]:
        record = {"scores": scores, "protocols": {"quality": {"dimensions": 784}}}
        return likelihood.Scored(None, {"test": record}).log_p("test")

    even = {"quality/nats": 784 * math.log(256), "quality/nats_error": 2.0}
    assert log_p(even) == (pytest.approx(0.0, abs=1e-9), 2.0)
    decoder = {"quality/nats_gaussian": -500.0, "quality/nats_gaussian_error": 3.0}
    assert log_p(decoder) == (500.0, 3.0)


def test_an_old_score_has_its_step_and_no_hash_of_nothing(
    results: ModuleType, tmp_path: Path
) -> None:
    """A run that was scored at step 500 and went on without scores has no protocol any more."""
    made.run(tmp_path / "a", fid=None, columns={"quality/fid_classifier": [9, 7.0]}, protocol=None)
    page = tmp_path / "runs.md"
    assert results.main([str(tmp_path), "--out", str(page)]) == 0
    (row,) = cells(page.read_text("utf-8"))
    assert row[5:8] == ["7 (step 500)", "7 (step 500)", ""] and row[11] == "not known"


def test_tables_without_scores_or_runs_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = importlib.import_module("run_tables").exit_code
    made.run(tmp_path / "unscored" / "a", fid=None, protocol=None, more={"tricks": "[a]"})
    (tmp_path / "empty").mkdir()
    for name in ("ablation_table", "coverage_table"):
        for folder, said in (("unscored", "give runs that were scored"), ("empty", "no run in")):
            words = [name, str(tmp_path / folder), "--out", str(tmp_path / "page.md")]
            monkeypatch.setattr("sys.argv", words)
            assert code(importlib.import_module(name).main) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line and not (tmp_path / "page.md").exists()


def test_coverage_names_what_the_sweep_does_not(tmp_path: Path) -> None:
    coverage = importlib.import_module("coverage_table")
    betas = "scheme.optimizers.critic.betas=[0.0,0.99]"
    words = [betas, "scheme.optimizers.critic.lr=2e-3", "steps=50", "samples.every=0"]
    assert coverage.beside_the_sweep(words) == ["steps=50", "samples.every=0"]
    for seed, resumed in enumerate((False, True)):
        more = {"data": "gaussian_ring"} | ({"resume": "auto"} if resumed else {})
        made.run(tmp_path / str(seed), seed=seed, more={"tricks": "[ema]"})
        typed = [f"{key}={value}" for key, value in ({"model": "gan"} | more).items()]
        (tmp_path / str(seed) / ".hydra/overrides.yaml").write_text(json.dumps(typed))
    assert coverage.label(coverage.records(tmp_path), "gan", ["gaussian_ring"]) == "`gan`"
