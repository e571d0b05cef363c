"""scripts/results.py: the page of runs, from run directories that were made by hand."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from gentrain.protocols import short_hash
from tests.support import made_runs as made
from tests.support.paths import ROOT


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("results")


def cells(page: str) -> list[list[str]]:
    """The rows of the page's table."""
    lines = [line for line in page.splitlines() if line.startswith("| `")]
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

    gan, vae = cells(text := page.read_text("utf-8"))
    number = short_hash(made.PROTOCOL)
    assert gan[0] == "`gentrain -m model=gan data.root=DATA seed=0,1,2,3`"
    # mean and deviation of 50, 54, 58, and of 60, 61, 62; the seed that diverged is not in them
    assert gan[1:4] == ["mnist", "1,000", "3, 1 diverged"]
    assert gan[4].startswith(f"quality/fid_classifier 54 ± 4 (`{number}`)<br>test/fid_cl")
    assert " 61 ± 1 (" in gan[4]
    assert gan[5:7] == ["2.0", "CPU, 2 cores, 1 threads"]
    assert vae[0] == "`gentrain model=vae data.root=DATA seed=0`"
    assert vae[3:5] == ["1", "not scored"] and vae[7] == ""
    (shown,) = re.findall(r"\((runs/.*?\.png)\)", gan[7])
    assert [str(file.relative_to(page.parent)) for file in page.parent.glob("*/*")] == [shown]
    assert str(tmp_path) not in text


def test_no_runs_are_one_line(
    results: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "runs.md"
    assert results.main([str(tmp_path / "none"), "--out", str(page)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "does not exist" in said[0] and not page.exists()
