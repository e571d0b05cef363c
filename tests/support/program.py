"""The program called as the console script calls it, in the process of the tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

from gentrain.cli import main


class Done(NamedTuple):
    """What a call of the program left."""

    status: int
    stdout: str
    stderr: str


Program = Callable[..., Done]


def in_process(
    place: Path, env: dict[str, str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Program:
    """`program('sample', 'run=...')` in a directory. What `patch` changes is put back by it."""
    patch.chdir(place)
    patch.setenv("GENTRAIN_CACHE", env["GENTRAIN_CACHE"])
    patch.delenv("COMP_LINE", raising=False)
    patch.setattr(sys, "argv", ["gentrain"])
    for key in ("handlers", "level", "disabled"):
        kept = getattr(logging.getLogger(), key)
        patch.setattr(logging.getLogger(), key, kept[:] if key == "handlers" else kept)

    def program(*words: str) -> Done:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        status = main.run(list(words))
        return Done(status, *capsys.readouterr())

    return program


def fine(done: Done) -> None:
    assert done.status == 0 and done.stderr == "", done


def refused(done: Done, *words: str, status: int = 2) -> None:
    """One line with all the words, and a remedy."""
    assert done.status == status and done.stdout == "", done
    assert done.stderr.startswith("gentrain: error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "; " in done.stderr, done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr
