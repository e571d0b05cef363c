"""Runs of version 0.1: `compare` shows them, and whatever needs their model refuses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from gentrain import __version__
from gentrain.cli.compose import composed
from gentrain.errors import UserError
from gentrain.runs import directory
from gentrain.runs.resolvers import NO_SCORES
from tests.support.shell import Done, assert_refused

Run = Callable[..., Done]

CONFIG = """
steps: 9
seed: 0
force: false
model: {_target_: gentrain.game.Unconditional}
scheme: {_target_: gentrain.schemes.adversarial.Adversarial}
data: {_target_: gentrain.data.mnist_5k.MNIST5k, name: mnist_5k}
checkpoint: {_target_: gentrain.callbacks.checkpoint.Checkpoint}
"""
HYDRA = "hydra: {runtime: {choices: {model: gan, data: mnist_5k}}}\n"
END = {
    "status": "completed", "choices": {"model": "gan", "data": "mnist_5k"}, "seed": 0, "steps": 9,
    "metrics": {"quality/fid": 3.0}, "protocols": {}, "wall_seconds": 1.0,
    "best": {"metric": "quality/fid", "value": 2.0, "step": 5},
    "versions": {"gentrain": "0.1.0"},
}  # fmt: skip


def checkpoint(version: str | None) -> dict[str, Any]:
    origin = {} if version is None else {"origin": {"version": version, "config": {}}}
    return {"global_step": 9, "state_dict": {}, **origin}


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    from gentrain.runs.checkpoints import save

    run_dir = tmp_path / "old"
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "config.yaml").write_text(CONFIG)
    (run_dir / ".hydra" / "hydra.yaml").write_text(HYDRA)
    (run_dir / "summary.json").write_text(json.dumps(END))
    (run_dir / "metrics.csv").write_text("step,quality/fid\n5,2.0\n9,3.0\n")
    save(checkpoint("0.1.0"), run_dir / "checkpoints" / "last.ckpt")
    return run_dir


def test_which_version_made_a_run(old_run: Path) -> None:
    """From its summary; a run that was killed has none, and its configuration tells."""
    assert directory.saved_version(old_run) == "0.1.0"
    (old_run / "summary.json").unlink()
    assert directory.saved_version(old_run) == "0.1.0"
    config = CONFIG.replace("gentrain.callbacks", "gentrain.training.callbacks")
    (old_run / ".hydra" / "config.yaml").write_text(config)
    assert directory.saved_version(old_run) == __version__


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("words", [["resume=old"], ["resume=auto", "hydra.run.dir=old"]])
def test_it_is_not_resumed(
    run_light: Run, old_run: Path, tmp_path: Path, words: list[str], killed: bool
) -> None:
    if killed:
        (old_run / "summary.json").unlink()
    done = run_light("model=gan", "steps=20", *words)
    assert_refused(done, tmp_path, "gentrain 0.1.0", f"this is {__version__}", "(resume)")


@pytest.mark.parametrize("verb", ["sample", "eval", "export", "doctor"])
def test_no_command_opens_its_model(run: Run, old_run: Path, tmp_path: Path, verb: str) -> None:
    done = run(verb, "run=old")
    assert_refused(done, tmp_path, "last.ckpt was made by gentrain 0.1.0", "(run)")


def test_compare_shows_it(run_light: Run, old_run: Path) -> None:
    done = run_light("compare", "runs=old", "out=report", "page=false")
    assert done.returncode == 0, done.stderr
    assert "model=gan" in done.stdout


@pytest.mark.parametrize("version", ["0.1.0", "0.1.9", "99.0", None])
def test_a_checkpoint_of_another_version(version: str | None) -> None:
    from gentrain.runs.checkpoints import refuse_version

    with pytest.raises(UserError, match=rf"last.ckpt .*{version or 'no checkpoint'}.*\(resume\)"):
        refuse_version(Path("last.ckpt"), checkpoint(version))
    refuse_version(Path("last.ckpt"), checkpoint(__version__))


# --- keys that came later -------------------------------------------------------------------------


def run_without_validation(place: Path, **data: Any) -> Path:
    """A run of this version that was made before there was data.validation."""
    (place / ".hydra").mkdir(parents=True)
    config = {
        "steps": 9,
        "seed": 0,
        "force": False,
        "model": {"_target_": "gentrain.models.gan.gan.GAN"},
        "data": {"name": "mnist_5k", **data},
        "quality": {"split": "test", "images": 3},
        "trainer": {"precision": "32-true"},
        "callbacks": {"paired": {"split": "test"}},
    }
    (place / ".hydra" / "config.yaml").write_text(json.dumps(config))
    (place / ".hydra" / "hydra.yaml").write_text(HYDRA)
    (place / "checkpoints").mkdir()
    (place / "checkpoints" / "last.ckpt").write_text("")
    return place


def test_a_run_made_without_a_validation_split_goes_on_without(tmp_path: Path) -> None:
    """A command with the default finds it, and keeps its setting; one that asks does not."""
    run_dir = run_without_validation(tmp_path / "run")
    saved = directory.saved_config(run_dir)
    assert saved["data"]["validation"] == 0 and saved["quality"]["split"] == "held_out"
    assert saved["callbacks"]["paired"] == {"split": "held_out"}

    def asked(share: float) -> dict[str, Any]:
        return saved | {"data": {"name": "mnist_5k", "validation": share}, "steps": 20}

    assert directory.settings_kept(run_dir, asked(0.1)) == {"data.validation": 0.0}
    assert directory.newest_unfinished(tmp_path, asked(0.1)) == run_dir
    choices = {"model": "gan", "data": "mnist_5k"}
    directory.refuse_other_config(run_dir, asked(0.1), choices)
    typed = {"data.validation"}  # the default, and yet asked for
    assert directory.settings_kept(run_dir, asked(0.1), typed) == {}
    assert directory.newest_unfinished(tmp_path, asked(0.1), typed) is None
    for refused in (
        directory.refuse_other_config,
        lambda *all: directory.resolve_resume(str(run_dir / directory.LAST), *all[1:]),
    ):
        with pytest.raises(UserError, match=r"data.validation 0.0 -> 0.1 \(resume\)"):
            refused(run_dir, asked(0.1), choices, typed)
    assert directory.settings_kept(run_dir, asked(0.2)) == {}
    assert directory.newest_unfinished(tmp_path, asked(0.2)) is None
    with pytest.raises(UserError, match=r"data.validation 0.0 -> 0.2 \(resume\)"):
        directory.refuse_other_config(run_dir, asked(0.2), choices)


def test_a_run_with_a_validation_split_keeps_what_was_asked_for(tmp_path: Path) -> None:
    run_dir = run_without_validation(tmp_path / "run", validation=0.3)
    saved = directory.saved_config(run_dir)
    assert saved["data"]["validation"] == 0.3
    assert directory.settings_kept(run_dir, saved | {"data": {"validation": 0.1}}) == {}


def test_the_command_that_resumes_has_the_settings_that_the_run_keeps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In its configuration, and in its overrides, with which Lightning starts other processes."""
    from omegaconf import OmegaConf

    from gentrain.cli.compose import keep_settings

    cfg = OmegaConf.create(
        {"data": {"validation": 0.1}, "hydra": {"overrides": {"task": ["model=gan"]}}}
    )
    keep_settings(cfg, {"data.validation": 0.0})
    assert cfg.data.validation == 0
    assert cfg.hydra.overrides.task == ["model=gan", "data.validation=0.0"]
    assert "made with data.validation=0.0, and goes on with it" in caplog.text


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ([], 0.1),
        (["quality=none"], 0.0),
        (["quality=none", "data.validation=0.2"], 0.2),
        (["model=semi_supervised_gan", "quality=none"], 0.1),  # its error rate chooses
        (["model=vae", "quality=nats"], 0.1),
    ],
)
def test_rows_are_held_out_where_scores_choose(words: list[str], share: float) -> None:
    assert OmegaConf.create(composed("train", words).values).data.validation == share


def test_a_resume_without_scores_keeps_the_rows_that_were_held_out(tmp_path: Path) -> None:
    run_dir = run_without_validation(tmp_path / "run", validation=0.1)
    saved = directory.saved_config(run_dir)
    quality = {"_target_": NO_SCORES}
    asked = saved | {"data": {"name": "mnist_5k", "validation": 0.0}, "quality": quality}
    assert directory.settings_kept(run_dir, asked) == {"data.validation": 0.1}
    assert directory.settings_kept(run_dir, asked, {"data.validation"}) == {}


def test_a_resume_keeps_the_precision(tmp_path: Path) -> None:
    run_dir = run_without_validation(tmp_path / "run", validation=0.1)
    saved = directory.saved_config(run_dir)
    asked = saved | {"trainer": {"precision": "bf16-mixed"}}
    assert directory.settings_kept(run_dir, asked) == {"trainer.precision": "32-true"}
    assert directory.settings_kept(run_dir, asked, {"trainer.precision"}) == {}
    auto = saved | {"trainer": {"precision": "auto"}}
    kept = directory.settings_kept(run_dir, auto, {"trainer.precision"})
    assert kept == {"trainer.precision": "32-true"}
    for command in (asked, auto, saved):  # it is no other run
        assert directory.newest_unfinished(tmp_path, command | {"steps": 20}) == run_dir
        directory.refuse_other_config(run_dir, command, {"model": "gan", "data": "mnist_5k"})
