"""Every experiment composes as it stands, and a step of each can be made.

Experiments are found by themselves. Their data are not here: random pictures take their place.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from gentrain.cli.compose import register
from gentrain.commands.list import listed
from gentrain.config import experiments, paths, schema, validate
from gentrain.errors import UserError
from gentrain.training.job import Job
from tests.support.compose import options
from tests.support.paths import ROOT

sys.path.append(str(ROOT / "scripts"))

from scaling import quick_initialisation, stand_in

EXPERIMENTS = options("experiment")
STEPPED = [name for name in EXPERIMENTS if "_" in name] + ["captions"]  # those of a whole command
# what a step does without on a CPU
FEW = (
    "trainer=cpu", "logger=csv", "quality=none", "samples.every=0", "samples.n=1", "steps=1",
    "checkpoint.every=0", "data.batch_size=2", "data.workers=0", "scheme.accumulate=1",
    "scheme.generator_batch=1", "scheme.critic_steps=1",
)  # fmt: skip


def configuration(*words: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        return schema.resolved(compose("train", overrides=list(words)))


def command(name: str) -> list[str]:
    """The words of the command in the head of an experiment's file."""
    text = (paths.conf_dir() / "experiment" / f"{name}.yaml").read_text()
    found = re.search(r"gentrain (.*experiment=.*)", text)
    assert found, "the head of the file has no command"
    return [word for word in found[1].split() if "DIR" not in word]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_composes(name: str) -> None:
    """Its keys exist, and its values are of their types."""
    words = command(name)
    assert f"experiment={name}" in words
    assert validate.check(configuration(*words))["steps"] >= 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_says_which_models_it_is_for(name: str) -> None:
    """A model of another class is refused by name, and not by some key that it lacks."""
    chosen, fitting = experiments.model_of(name), experiments.models_for(name)
    assert fitting[:1] in ([chosen], [])
    for model in [*fitting, None]:
        words = [f"model={model}"] if model else []
        experiments.refuse_other_model([*words, f"experiment={name}"])
    for model in ("dcgan", "vae"):
        if fitting and model not in fitting:
            with pytest.raises(UserError, match=f"experiment={name} is for model={chosen}"):
                experiments.refuse_other_model([f"model={model}", f"experiment=[{name}]"])
    assert (f"(model={chosen})" in listed_line(name)) is (chosen is not None)


def listed_line(name: str) -> str:
    """What `gentrain list experiments` says of an experiment."""
    lines = listed("experiments", lambda *_: pytest.fail("nothing is composed"))
    return next(line for line in lines if line.split()[0] == name)


def test_what_sets_nothing_of_a_model_is_for_any() -> None:
    free = [name for name in EXPERIMENTS if not experiments.models_for(name)]
    assert free == ["pix2pix_facades", "quick", "stargan_celeba"]


def test_a_preset_of_the_user_with_the_same_class_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    for model in ("ebm", "vae"):
        text = f"# @package _global_\ndefaults:\n  - {model}\n  - _self_\nsteps: 5\n"
        (tmp_path / "model" / f"my_{model}.yaml").write_text(text)
    monkeypatch.setattr(paths, "overlays", [tmp_path])
    monkeypatch.setattr(experiments, "overlays", [tmp_path])
    experiments.refuse_other_model(["model=my_ebm", "experiment=plane"])
    with pytest.raises(UserError, match="is for model=ebm or my_ebm, not for model=my_vae"):
        experiments.refuse_other_model(["model=my_vae", "experiment=plane"])


def test_plane_chooses_its_model() -> None:
    words = ("experiment=plane", "data=rings", "sweep.name=x")
    assert configuration(*words) == configuration("model=ebm", *words)


def test_categories_are_the_command_that_was_measured() -> None:
    """The one of docs/results/earlier.md, but for its length, its split and its scores."""
    text = (ROOT / "docs/results/earlier.md").read_text().replace("\\\n", " ")
    (found,) = re.findall(r"gentrain (model=infogan .*model.consistency=2 .*)", text)
    ends = ("steps=4500", "seed=0", "data.validation=0.1", "quality=none", "sweep.name=x")
    measured = configuration(*found.replace("'", "").split(), *ends)
    assert configuration("model=infogan", "experiment=categories", "data=mnist", *ends) == measured


@pytest.mark.slow
@pytest.mark.timeout(900)  # of pictures of 128 and 256 pixels, on a busy core
@pytest.mark.parametrize("name", STEPPED)
def test_a_step(name: str, tmp_path: Path) -> None:
    words = (f"experiment={name}",)
    found = configuration(*words)
    small = [word for word in FEW if known(found, word.split("=")[0])]
    if found["data"]["batch_size"] == 1:
        small.append("data.batch_size=1")
    config = configuration(*words, *stand_in(found, tmp_path), *small)
    with quick_initialisation():  # an orthogonal one takes minutes, and has tests of its own
        job = Job(config, {"model": name, "data": name}, tmp_path / "run")
    job.fit()
    assert job.scheme.global_step >= 1


def known(found: dict[str, Any], key: str) -> bool:
    """Whether a configuration has a key, or a group of that name."""
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def test_an_experiment_that_includes_another_is_for_its_model() -> None:
    assert experiments.models_for("tempering") == experiments.models_for("plane") == ["ebm"]
    experiments.refuse_other_model(["model=ebm", "experiment=tempering"])
    with pytest.raises(
        UserError, match=r"experiment=tempering is for model=ebm, not for model=gan"
    ):
        experiments.refuse_other_model(["model=gan", "experiment=tempering"])
