"""One cache for all commands, so that the feature classifier is trained once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Done, environment, gentrain

FORBID = """
import os, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning", "wandb"}:
            sys.stderr.write(f"{name} was imported\\n")
            sys.stderr.flush()
            os._exit(99)

sys.meta_path.insert(0, Forbidden())
"""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """In place of the one for all tests, which imports torch: here only the commands do."""


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (shared / "home").mkdir(exist_ok=True)
    return environment(shared / "cache", shared / "home")


@pytest.fixture(scope="session")
def light(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the import of torch ends the process with status 99."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(FORBID)
    return env | {"PYTHONPATH": str(folder)}


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str]) -> Callable[..., Done]:
    """`run('model=gan', ...)` in an empty directory."""
    return lambda *words, **more: gentrain(tmp_path, env | more, *words)


@pytest.fixture
def run_light(tmp_path: Path, light: dict[str, str]) -> Callable[..., Done]:
    """The same, where torch must not be imported."""
    return lambda *words, **more: gentrain(tmp_path, light | more, *words)
