"""Words of other programs, ways to write a command, and `gentrain list`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gentrain.cli import aliases
from gentrain.cli.compose import composed
from gentrain.cli.overrides import normalize_overrides
from gentrain.commands.list import groups, options
from gentrain.config import paths
from gentrain.errors import UserError
from gentrain.version import __version__
from tests.support.shell import Done, assert_refused, presets

Run = Callable[..., Done]


def keys(verb: str, *words: str) -> list[str]:
    return normalize_overrides(verb, list(words))


# --- words with a key of their own ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["batch_size=32"], ["data.batch_size=32"]),
        (["steps=1e3"], ["steps=1000"]),
        (["model=WGAN-GP"], ["model=wgan_gp"]),
        (["--seed=3", "-m"], ["seed=3", "-m"]),
        (["model=WGAN-GP,SN-GAN", "-m"], ["model=wgan_gp,sngan", "-m"]),
        (["data.root=a&b"], ["data.root='a&b'"]),
        (["data.root=lr=0.1"], ["data.root='lr=0.1'"]),
        (["data.root=x(1)"], ["data.root='x(1)'"]),
        (["data.root=фото"], ["data.root='фото'"]),
        (["data.root=a b"], ["data.root=a b"]),
        (["data.root=it's"], [r"data.root='it\'s'"]),
        (["data.a=x[1]", "data.b=50%"], ["data.a='x[1]'", "data.b=50%"]),
        (["resume=lr=0.1/r"], ["resume='lr=0.1/r'"]),
        (["hydra.run.dir=a&b,c"], ["hydra.run.dir='a&b,c'"]),
        (["tricks=[EMA,replay]"], ["tricks=[ema,replay]"]),
        (["n_critic=2"], ["scheme.critic_steps=2"]),
    ],
)
def test_words_that_are_rewritten(words: list[str], meant: list[str]) -> None:
    assert keys("train", *words) == meant


def test_one_rate_of_two_optimizers() -> None:
    first, second = "scheme.optimizers.critic.lr", "scheme.optimizers.generator.lr"
    assert keys("train", "model=dcgan", "lr=1e-3")[1:] == [
        f"{first}=1e-3",
        f"{second}=${{{first}}}",
    ]
    values = composed("train", ["model=dcgan", *keys("train", "model=dcgan", "lr=1e-3")]).values
    assert values["scheme"]["optimizers"]["critic"]["lr"] == 1e-3
    assert keys("train", "model=vae", "lr=1e-3")[1:] == ["scheme.optimizers.model.lr=1e-3"]


def test_a_rate_that_could_be_either() -> None:
    """SAGAN's two rates differ."""
    with pytest.raises(UserError, match=r"critic.lr=0.0004 and .*generator.lr=0.0001 \(lr\)"):
        keys("train", "model=sagan", "lr=1e-3")


def test_a_sweep_of_a_rate_has_one_cell_a_value() -> None:
    words = keys("train", "-m", "model=dcgan", "lr=1e-3,1e-4", "batch_size=8,16")
    assert sum("," in word for word in words) == 2


def test_every_key_of_the_table_exists() -> None:
    """A pattern may match in some models only."""
    models = [composed("train", [f"model={name}"]).values for name in ("dcgan", "vae", "wgan_gp")]
    models += [composed("train", ["data=image_folder"]).values]
    for verb, words in aliases.table().items():
        configs = models if verb == "train" else [composed(verb, []).values]
        for pattern in words.get("keys", {}).values():
            group = pattern in paths.groups()
            assert group or any(aliases.matching(each, pattern) for each in configs), pattern
        for key in [*words.get("keys", {}), *words.get("answers", {})]:
            assert not any(key in each for each in configs), f"{verb} has a key {key} of its own"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["epochs=10"], "steps=N"),
        (["gpus=2"], "trainer.devices=N"),
        (["wandb=true"], "logger=wandb"),
        (["device=cuda"], "trainer=gpu"),
        (["ema=true"], "'tricks=[ema]'"),
        (["name=first"], "hydra.run.dir=DIR"),
        (["out=here"], "hydra.run.dir=DIR"),
        (["latent=3", "model=unet"], "(latent)"),
        (["n_epochs=3"], "steps=N"),
        (["arch=dcgan"], "model=NAME"),
        (["lr_g=1e-3"], "scheme.optimizers.generator.lr=RATE"),
        (["beta1=0.5"], "betas=[B1,B2]"),
    ],
)
def test_words_that_are_answered(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        keys("train", *words)
    assert said in str(refused.value) and f"({words[0].partition('=')[0]})" in str(refused.value)


# --- ways to write a command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "words", "meant"),
    [
        ("sample", ["outputs/x", "n=4"], ["run='outputs/x'", "n=4"]),
        ("sample", ["n=4", "outputs/x"], ["run='outputs/x'", "n=4"]),
        ("eval", ["--cfg", "job", "run=x"], ["--cfg", "job", "run=x"]),
        ("compare", ["outputs"], ["runs=['outputs']"]),
        ("compare", ["a", "b"], ["runs=['a','b']"]),
        ("sample", ["run=x", "num_images=9"], ["run=x", "n=9"]),
        ("sample", ["run=x", "labels=cat"], ["run=x", "labels=['cat']"]),
        ("sample", ["run=x", "classes=10,cat"], ["run=x", "labels=['10','cat']"]),
        ("sample", ["-m", "run=x", "labels=1,cat"], ["-m", "run=x", "labels=['1'],['cat']"]),
        ("sample", ["run=x", "labels=new york"], ["run=x", "labels=['new york']"]),
        ("sample", ["run=x", "labels=it's"], ["run=x", r"labels=['it\'s']"]),
        ("sample", ["run=x", "labels=[cat,1]"], ["run=x", "labels=[cat,1]"]),
    ],
)
def test_paths_without_a_key(verb: str, words: list[str], meant: list[str]) -> None:
    assert keys(verb, *words) == meant


def test_two_runs_of_a_verb_that_takes_one(run_light: Run, tmp_path: Path) -> None:
    assert_refused(run_light("sample", "a", "b"), tmp_path, "takes one", "(run)")


def test_options_among_overrides(run_light: Run) -> None:
    done = run_light("model=dcgan", "--cfg", "job", "seed=7")
    assert done.returncode == 0 and "seed: 7" in done.stdout, done


def test_help_by_other_words(run_light: Run) -> None:
    assert run_light("--version").stdout == f"gentrain {__version__}\n"
    assert "gentrain sample run=" in run_light().stdout
    assert run_light("help").stdout == run_light("--help").stdout
    assert run_light("help", "sample").stdout == run_light("sample", "--help").stdout
    assert len(run_light("--help").stdout.splitlines()) <= 45


# --- gentrain list --------------------------------------------------------------------------------


def test_list(run_light: Run) -> None:
    assert all(group in run_light("list").stdout for group in groups())
    assert all(name in run_light("models").stdout for name in presets())
    assert run_light("list", "model").stdout == run_light("list", "models").stdout
    about = run_light("list", "model=wgan_gp").stdout
    assert "Gulrajani" in about and "lipschitz=gp" in about and "scheme.critic_steps=5" in about


@pytest.mark.parametrize("group", groups())
def test_every_option_says_what_it_is(group: str, run_light: Run) -> None:
    lines = run_light("list", group).stdout.splitlines()
    assert [line.split()[0] for line in lines] == options(group)
    assert all(len(line.split()) > 1 for line in lines), lines


def test_what_cannot_be_listed(run_light: Run, tmp_path: Path) -> None:
    assert_refused(run_light("list", "lsses"), tmp_path, "did you mean loss")
    assert_refused(run_light("list", "model=wgn"), tmp_path, "did you mean wgan")
    assert_refused(run_light("list", "model", "loss"), tmp_path, "one thing")
