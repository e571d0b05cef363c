"""The program, called as the console script calls it, in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Done, Program

from gentrain.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """A cache of our own; the log as it was."""
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sys, "argv", ["gentrain"])
        patch.delenv("COMP_LINE", raising=False)
        yield patch
    root.handlers[:], root.level = before


@pytest.fixture
def gentrain(
    place: pytest.MonkeyPatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Program:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Done:
        capsys.readouterr()
        status = main.run(list(words))
        return Done(status, *capsys.readouterr())

    return run
