"""What all benchmarks share, and the command that runs them."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT


def benchmark(name: str) -> Any:
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / f"benchmarks/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"bench_{name}"] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


frame, every = benchmark("frame"), benchmark("all")
VALUES = {"a": [1.0, 2.0, 4.0], "b": [2.0, 3.0, 4.0], "gone": []}


def test_ratios_are_taken_in_each_round() -> None:
    """The median of 2, 1.5 and 1 is not the ratio of the medians, which is 1.5 of 3 and 2."""
    table = frame.Table("t", VALUES, ("a",), digits=1)
    assert table.record()["ratios"] == {"a": {"a": [1, 1, 1], "b": [2, 1.5, 1], "gone": []}}
    lines = list(table.lines())
    assert "| b | 3000.0 [2000.0-4000.0] | 1.500 [1.000-2.000] |" in lines
    assert "| gone | failed |  |" in lines


def test_rounds_turn_round() -> None:
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = frame.in_turn(contenders, 2)
    assert "".join(calls) == "abccbaabc"
    assert {len(each) for each in times.values()} == {2}


def test_a_report_has_ratios_in_json_and_all_in_markdown(tmp_path: Path) -> None:
    args = Namespace(device="cpu", threads=1, rounds=3, out=tmp_path / "x-cpu", work=["w", "v"])
    frame.publish("Title", iter(["a line", frame.Table("t", VALUES, ("a",))]), args)
    found = json.loads((tmp_path / "x-cpu.json").read_text())
    assert found["environment"]["versions"]["torch"]
    assert "load" in found["environment"]
    assert found["tables"] == [frame.Table("t", VALUES, ("a",)).record()]
    assert "3000.000 [2000.000-4000.000]" in (tmp_path / "x-cpu.md").read_text()
    page = every.page(tmp_path)
    assert page.count("<svg") == 1
    assert "Title: w, v" in page and "ratio to: a" in page


def test_pages_of_results_have_names_of_their_own() -> None:
    """They stand under each other in the navigation of the site."""
    files = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    titles = [file.read_text("utf-8").partition("\n")[0] for file in files]
    assert len(titles) > 10 and len(set(titles)) == len(titles)
    for file, title in zip(files, titles, strict=True):
        found = json.loads(file.with_suffix(".json").read_text("utf-8"))
        assert title == f"# {found['title']}"


def test_a_part_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        "bad": "import sys; sys.exit('what went wrong')",
        "slow": "import time; time.sleep(60)",
        "good": "import sys; open(sys.argv[-1] + '.txt', 'w').close()",
    }
    for name, code in parts.items():
        (tmp_path / f"{name}.py").write_text(code)
    limits = {"bad": 20, "slow": 1, "good": 20}
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "SLACK", 1)
    monkeypatch.setattr(
        every, "PARTS", {name: every.Part(f"{name}.py", s) for name, s in limits.items()}
    )
    words = ["all.py", "--folder", str(tmp_path), "--minutes", "5"]
    monkeypatch.setattr(sys, "argv", words)
    assert every.main() == 1
    printed = capsys.readouterr().out
    assert "FAILED: what went wrong" in printed and "FAILED: stopped after 1 s" in printed
    assert (tmp_path / "good-cpu.txt").exists()
    assert every.run("good", tmp_path, 0.0).startswith("no time was left")


def test_every_script_is_run_by_all() -> None:
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"frame.py", "all.py"}
    assert {part.command.split()[0] for part in every.PARTS.values()} == scripts
    assert sum(part.seconds for part in every.PARTS.values()) <= 15 * 60
