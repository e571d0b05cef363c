"""The program called as the console script calls it, in this process and in a new directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.program import Program, in_process


@pytest.fixture
def gentrain(
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Program:
    return in_process(tmp_path, env, monkeypatch, capsys)
