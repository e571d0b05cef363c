"""What all tests share: one thread each, and one cache, one home and one zoo for all workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores
os.environ["GENTRAIN_PATIENCE"] = "3600"  # a slow machine adds no lines to what tests read
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
pytest.register_assert_rewrite("tests.support")
collect_ignore = ["support"]  # else --doctest-modules would import all of it

from tests.support.program import Program, in_process  # noqa: E402
from tests.support.shell import Done, environment, gentrain, without_torch  # noqa: E402
from tests.support.zoo import Zoo  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def env(shared: Path) -> dict[str, str]:
    """One cache for all commands, so that the feature classifier is trained once."""
    (shared / "home").mkdir(exist_ok=True)
    return environment(shared / "cache", shared / "home")


@pytest.fixture(scope="session")
def light(env: dict[str, str]) -> dict[str, str]:
    """An environment in which the import of torch ends the process with status 99."""
    return without_torch(env)


@pytest.fixture(scope="session")
def zoo(shared: Path, env: dict[str, str]) -> Zoo:
    """Tiny finished runs, each trained once for all workers."""
    return Zoo(shared / "zoo", env)


@pytest.fixture
def program(
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Program:
    """`program('sample', 'run=...')` in an empty directory, in the process of the test."""
    return in_process(tmp_path, env, monkeypatch, capsys)


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str]) -> Callable[..., Done]:
    """`run('model=gan', ...)` in an empty directory."""
    return lambda *words, **more: gentrain(tmp_path, env | more, *words)


@pytest.fixture
def run_light(tmp_path: Path, light: dict[str, str]) -> Callable[..., Done]:
    """The same, where torch must not be imported."""
    return lambda *words, **more: gentrain(tmp_path, light | more, *words)
