"""The verb called as the console script calls it, in a directory of its own; nothing here needs torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from made import Compare, Done

from gentrain.cli import main


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """In place of the one for all tests, which imports torch."""


@pytest.fixture
def compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Compare:
    """`compare('runs=a,b')` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gentrain"])

    def run(*words: str) -> Done:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        status = main.run(["compare", *words])
        return Done(status, *capsys.readouterr())

    return run
