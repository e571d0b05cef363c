"""Each preset says in its first lines where it differs from its paper; a page is made of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from gentrain.errors import UserError
from tests.support.paths import ROOT


def script() -> Any:
    spec = importlib.util.spec_from_file_location("departures", ROOT / "scripts/departures.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["departures"] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


departures = script()


def test_every_preset_says_where_it_differs() -> None:
    found, wrong = departures.read_all(departures.presets())
    assert not wrong
    assert all(preset.title for preset in found)


@pytest.mark.slow
def test_the_page_is_that_of_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    """Our values are those of the composed presets, so that a changed preset changes the page."""
    assert departures.main(["--check"]) == 0, capsys.readouterr().err


def test_the_page_has_the_rows_of_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but our values, which the slow test composes: here they are those of the page."""
    text = departures.PAGE.read_text("utf-8")
    known = {}
    for section in text.split("\n## ")[1:]:
        name, *lines = section.splitlines()
        for row in (line.split(" | ") for line in lines if line.startswith("| `")):
            known[name, row[0][3:-1]] = row[2]
    monkeypatch.setattr(departures, "our_value", lambda name, key: known[name, key])
    found, _ = departures.read_all(departures.presets())
    assert departures.page(found) == text


def preset(folder: Path, *rows: str, opening: str = "# Departures:") -> Path:
    file = folder / "maf.yaml"
    head = ("# @package _global_", "# A flow (X, 2017)", "#   gentrain model=maf", opening)
    file.write_text("\n".join((*head, *rows, "model: {}", "")))
    return file


def test_rows_are_read_and_looked_up(tmp_path: Path) -> None:
    file = preset(
        tmp_path,
        "#   data.batch_size | 64 (paper, read) | a reason that",
        "#     goes on",
        "#   inputs | a|b (code, remembered) | c | another",
    )
    found = departures.read(file)
    assert found.title == "A flow (X, 2017)"
    first, second = departures.section(found).splitlines()[-2:]
    assert first == "| `data.batch_size` | 64 (paper, read) | 100 | a reason that goes on |"
    assert second == r"| inputs | a\|b (code, remembered) | c | another |"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["#   data.batch_size | 64 (paper) | why"], "has no source"),
        (["#   data.batch_size | 64 (paper, read)"], "has 2 fields"),
        (["#   data.batch_size | 64 (read) |  | why"], "none empty"),
        (["#  data.batch_size | 64 (read) | why"], "2 spaces"),
        (["#     goes on"], "5 spaces"),
        (["#   data.batchsize | 64 (read) | why"], "no key data.batchsize"),
        (["#   data.batch_size | 100.0 (read) | why"], "as in the paper"),
        ([], "neither rows nor `none`"),
    ],
)
def test_a_row_that_says_nothing_is_refused(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        departures.section(departures.read(preset(tmp_path, *rows)))


def test_a_preset_is_either_with_rows_or_without(tmp_path: Path) -> None:
    none = "# Departures: none"
    assert departures.read(preset(tmp_path, opening=none)).rows == []
    with pytest.raises(UserError, match="neither"):
        departures.read(preset(tmp_path, "#   a | b (read) | c | d", opening=none))
    with pytest.raises(UserError, match="0 blocks"):
        departures.read(preset(tmp_path, opening="#"))
