"""What a command imports, in which order, and how."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gentrain.cli import compose
from gentrain.imports import wandb_is_wanted, without_collection
from tests.support.program import Program, refused
from tests.support.shell import Done


@pytest.mark.parametrize("keep", [False, True])
def test_no_garbage_is_collected_during_an_import(keep: bool) -> None:
    frozen = gc.get_freeze_count()
    try:
        with without_collection(keep):
            assert not gc.isenabled()
        assert gc.isenabled()
        assert (gc.get_freeze_count() > frozen) == keep
    finally:
        gc.unfreeze()


def test_who_has_switched_the_collector_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with without_collection(keep=True):
            assert not gc.isenabled()
        assert not gc.isenabled() and not gc.get_freeze_count()
    finally:
        gc.enable()


def test_an_error_switches_the_collector_on_again() -> None:
    with pytest.raises(ImportError), without_collection(keep=False):
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("mode", "asked", "wanted"),
    [
        ("auto", "", True), ("online", "", True), ("offline", "", True), ("off", "", False),
        ("auto", "disabled", False), ("auto", "OFFLINE", True),
    ],
)  # fmt: skip
def test_when_wandb_is_wanted(
    mode: str, asked: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", asked)
    assert wandb_is_wanted({"mode": mode}) == wanted
    assert not wandb_is_wanted({"_target_": "a.logger.of.the.user"})


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("lipschitz.weight=-1", "(lipschitz.weight)"),
        ("data.batch_size=x", "(data.batch_size)"),
        ("quality.n=0", "(quality.n)"),
        ("model._target_=torch.nn.Linear", "(model)"),
    ],
)
def test_refused_without_lightning(
    word: str, key: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What concerns data, model or scores."""
    monkeypatch.setitem(sys.modules, "gentrain.training.job", None)  # an import of it fails
    refused(program("model=wgan_gp", "logger=csv", word), key)


def test_refused_without_torch(run_light: Callable[..., Done], tmp_path: Path) -> None:
    done = run_light("model=wgan_gp", "trainer.precision=bf16-true")
    assert done.returncode == 2 and "(trainer.precision)" in done.stderr, done
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("logger", "imported"), [("auto", ["wandb"]), ("csv", [])])
def test_wandb_comes_before_lightning(
    logger: str, imported: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its classes search all modules that there are, of which Lightning brings 2,000."""
    found: list[str] = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(compose, "import_wandb", lambda: found.append("wandb"))
    monkeypatch.setattr(compose, "Process", type("Another", (), {"own": False}))
    monkeypatch.delitem(sys.modules, "lightning")
    monkeypatch.setitem(sys.modules, "gentrain.training.job", None)
    with pytest.raises(ImportError, match=r"gentrain\.training\.job"):
        program("model=wgan_gp", f"logger={logger}")
    assert found == imported
