"""Bad command lines, by their rows in the table of bad inputs: one line that names the key and the
remedy, and nothing left behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gentrain.cli.hydra_errors import unknown_option
from gentrain.cli.option_lists import refuse_lists
from gentrain.cli.overrides import normalize_overrides
from gentrain.cli.refusals import refuse_keys_of_sweeps, refuse_new_keys, refuse_typed
from gentrain.config.validate import argument_types, coerced
from gentrain.data.image_folder import ImageFolder
from gentrain.data.images import Images
from gentrain.data.pairs import Pairs
from gentrain.data.tensors import Tensors
from gentrain.errors import UserError
from tests.support.shell import SMALL, Done, assert_refused

Run = Callable[..., Done]

LONG = "x" * 300

COMPOSITION = {
    "1-unknown-key": (["modle=gan"], ["(modle)", "did you mean model"]),
    "2-unknown-option": (["model=gann"], ["(model)", "did you mean gan or"]),
    "2-unknown-trick": (["tricks=[emma]"], ["no option emma (tricks)", "did you mean ema"]),
    "3-trick-not-chosen": (
        ["model=dcgan", "tricks.ema.decay=0.9"],
        ["tricks=[ema] is not chosen (tricks.ema.decay)", "add it"],
    ),
    "3-key-of-a-chosen-trick": (
        ["model=gan", "tricks=[ema]", "tricks.ema.deca=3"],
        ["no option tricks.ema.deca", "did you mean tricks.ema.decay"],
    ),
    "3-unknown-key-in-a-group": (
        ["model.generator.wdth=3"],
        ["(model.generator.wdth)", "did you mean model.generator.width"],
    ),
    "3-unknown-key-of-swept-models": (
        ["-m", "model=gan,dcgan", "model.generator.wdith=16,32"],
        ["(model.generator.wdith); did you mean model.generator.width"],
    ),
    "3-unknown-key-of-the-second-model": (
        ["-m", "model=vae,gan", "seed=0,1", "model.generator.wdith=16"],
        ["did you mean model.generator.width"],
    ),
    "3-unknown-key-of-swept-networks": (
        ["-m", "model=gan", "network=dcgan,mlp", "model.critic.dpeth=3"],
        ["did you mean model.critic.depth"],
    ),
    "experiment-of-another-model": (
        ["model=dcgan", "experiment=plane", "data=rings"],
        ["experiment=plane is for model=ebm, not for model=dcgan (experiment, model)"],
    ),
    "experiment-of-another-model-swept": (
        ["-m", "model=bigan,vae", "experiment=codes"],
        ["experiment=codes is for model=bigan or ali, not for model=vae"],
    ),
    "7-seed-below-0": (["seed=-1"], ["(seed)", "4294967295"]),
    "7-seed-no-integer": (["seed=1e99"], ["(seed)", "1e+99"]),
    "7-no-steps": (["steps=0"], ["(steps)", "1 or more"]),
    "8-two-values": (["steps=1,2"], ["(steps)", "-m"]),
    "9-no-equals-sign": (["model", "gan"], ["'model' is no option", "write key=value"]),
    "9-open-bracket": (["tricks=[ema"], ["'tricks=[ema'", "brackets"]),
    "9-open-quote": (["steps='1"], ["steps='1", "quotes"]),
    "10-missing-value": (["steps=???"], ["(steps)", "give it a value"]),
    "10-bad-interpolation": (["steps=${nope}"], ["(steps)", "nope"]),
    "no-number": (["steps=10x"], ["'10x' is no whole number (steps)", "steps=..."]),
    "an-open-bracket": (["model=gan", "seed=[1,2"], ["override 'seed=[1,2': the [ stays open"]),
    "an-open-quote": (["model=gan", "seed='1"], ["override \"seed='1\": the ' stays open"]),
    "a-closing-bracket": (["model=gan", "seed=1]"], ["'seed=1]': the ] closes nothing"]),
    "a-space-in-a-key": (["model=gan", "x y=3"], ["override 'x y=3': a key has no ' '"]),
    "an-unknown-option": (["--multi-run"], ["no option --multi-run (command line)", "--multirun"]),
    "an-unknown-letter": (["model=gan", "-x"], ["no option -x (command line)"]),
    "cfg-of-what": (["--cfg", "jobs"], ["(command line)", "jobs"]),
    "null-quality": (["model=gan", "quality=null"], ["(quality)", "write quality=none"]),
    "false-quality": (["model=gan", "quality=false"], ["quality=false", "write quality=none"]),
    "null-samples": (["model=gan", "samples=null"], ["(samples)", "write samples.every=0"]),
    "null-trainer": (["model=gan", "trainer=null"], ["(trainer)", "choose auto or"]),
    "added-key": (["model=gan", "+stepz=3"], ["no option stepz (stepz)", "did you mean steps"]),
    "added-key-twice": (["++nothing=3"], ["no option nothing (nothing)"]),
    "added-key-below": (["++foo.bar=1"], ["no option foo.bar (foo.bar)"]),
    "key-of-no-part": (
        ["model=gan", "model.generator.prio=3"],
        ["did you mean model.generator.prior?"],
    ),
    "key-without-its-parent": (
        ["model=realnvp", "model.critic.width=3"],
        ["(model.critic.width); did you mean model.flow.width?"],
    ),
    "key-like-no-other": (
        ["model=realnvp", "model.flow.x=3"],
        ["there are model.flow.blocks, model.flow.scales, model.flow.width"],
    ),
    "a-list-of-one": (["data=[mnist_5k]"], ["(data)", "write data=mnist_5k"]),
    "key-taken-away": (["model=gan", "~steps"], ["steps cannot be taken away (steps)"]),
    "hydra-key": (["hydra.run.dr=x"], ["(hydra.run.dr)", "did you mean hydra.run.dir"]),
    "key-of-other-data": (
        ["model=gan", "data.root=pictures"],
        ["no option data.root here (data.root)", "data=image_folder or data="],
    ),
    "key-of-another-quality": (
        ["quality.features.updates=3", "quality=nats"],
        ["(quality.features.updates)", "quality=classifier"],
    ),
    "21-no-such-run": (["resume=nowhere"], ["(resume)", "nowhere does not exist"]),
    "21-no-checkpoint": (["resume=."], ["(resume)", "checkpoints/last.ckpt"]),
    "21-url": (["resume=https://example.org/last.ckpt"], ["(resume)", "is a URL"]),
    "42-config-path": (["--config-path", "elsewhere"], ["--config-path", "--config-dir"]),
    "42-config-name": (["--config-name", "elsewhere"], ["--config-name", "--config-dir"]),
}


@pytest.mark.parametrize("row", COMPOSITION)
def test_composition(run_light: Run, tmp_path: Path, row: str) -> None:
    words, told = COMPOSITION[row]
    assert_refused(run_light(*words), tmp_path, *told)


@pytest.mark.parametrize("kind", [Images, ImageFolder, Tensors, Pairs])
def test_a_size_of_images(kind: type) -> None:
    hint = argument_types(kind)["size"]
    said = refusal(lambda: coerced("abc", hint, "data.size"))
    assert said.endswith("not 'abc' (data.size); give a side, or [HEIGHT,WIDTH]")


def refusal(call: Callable[[], object]) -> str:
    """What is said, in one line with a key and a remedy."""
    with pytest.raises(UserError) as refused:
        call()
    text = str(refused.value)
    assert "\n" not in text and "(" in text and "; " in text, text
    return text


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("train", "+foo=1", "no option foo (foo)"),
        ("train", "++foo.bar=1", "no option foo.bar (foo.bar)"),
        ("train", "+sweep.nme=x", "did you mean sweep.name"),
        ("train", "+cluster.jbs=1", "did you mean cluster.jobs"),
        ("train", "+hydra.run.folder=x", "did you mean hydra.run.dir"),
        ("train", "~sweep.trials", "cannot be taken away (sweep.trials)"),
        ("sample", "+foo=1", "there are averaged, checkpoint, debug, device"),
    ],
)
def test_keys_that_the_schema_lacks(verb: str, word: str, said: str) -> None:
    assert said in refusal(lambda: refuse_new_keys(verb, [word]))


@pytest.mark.parametrize(
    "word", ["sweep.trials=5", "sweep=tpe", "cluster=slurm", "cluster.gpus=3", "++probe=true"]
)
def test_what_only_a_sweep_reads_is_refused_without_m(word: str) -> None:
    said = refusal(lambda: refuse_keys_of_sweeps(["model=gan", word, "steps=2"]))
    assert "has an effect in a sweep alone" in said and "add -m" in said


@pytest.mark.parametrize(
    "word",
    [
        "+model.encoder.shape=[3]",
        "model.generator.shape=[3]",
        "++model.network.shape=[3]",
        "model.shape=[1,28,28],[3]",
        "model.generator.source_shape=[3]",
        "model.generator.shape.0=3",
        "~model.shape",
        "model.shape=null",
        "model.classes=5",
        "++model.encoder.classes=30",
    ],
)
def test_shapes_of_the_data(word: str) -> None:
    key = word.lstrip("+~").partition("=")[0].removesuffix(".0")
    told = f"{key} comes from the data ({key}); leave it out"
    assert told in refusal(lambda: refuse_typed("train", ["model=gan", word]))


def test_shapes_that_are_no_shapes_of_the_data() -> None:
    fine = ["model.critic.source_shape=null", "model.x.shapes=3", "data.shape=[3]"]
    refuse_typed("train", [*fine, "model.classes=null", "model.classes=0", "data.classes=5"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("checkpoint=last.ckpt", "(checkpoint); give resume=DIR"),
        ("checkpoint=true", "(checkpoint); leave it out, or write checkpoint.every=N"),
        ("samples=True", "(samples); leave it out, or write samples.every=N"),
        ("samples=500", "(samples); write samples.every=500"),
        ("samples=off", "(samples); write samples.every=0"),
        (
            "data=./p40",
            "is a path, and data takes a name (data); give data=image_folder data.root=",
        ),
        ("data=p40", "(data); give data=image_folder data.root=p40"),
        ("data=p40.zip", "(data); give data=image_folder data.root=p40.zip"),
        ("data=a.npz", "(data); give data=tensors data.file=a.npz"),
        ("data=a.csv", "(data); give data=points data.file=a.csv"),
        ("data=./p41", "no data set and no file ./p41 (data)"),
    ],
)
def test_values_that_are_no_choice(
    word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p40").mkdir(), Path("p40.zip").touch(), Path("a.npz").touch(), Path("a.csv").touch()
    assert said in refusal(lambda: refuse_typed("train", [word]))


def test_values_that_are_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named as a data set hides nothing."""
    monkeypatch.chdir(tmp_path)
    Path("mnist").mkdir()
    refuse_typed("train", ["data=mnist", "data=mnist,rings", "samples.every=0", "data=mnits"])


@pytest.mark.parametrize("name", ["fid", "FID", "kid"])
def test_scores_by_other_names(name: str) -> None:
    said = unknown_option("quality", name, [])
    assert "(quality); give quality=inception, or quality=classifier" in said


def test_keys_that_may_be_added() -> None:
    words = ["+model.x=1", "++sweep.name=a", "+callbacks.mine.x=1", "~callbacks.doctor", "+steps=3"]
    refuse_new_keys("train", [*words, "+experiment=quick", "+hydra.run.dir=x", "sweep.nme=1"])


@pytest.mark.parametrize(
    ("group", "options", "said"),
    [
        ("quality", ["none", "rotation"], "write quality=none, or a run of each with -m quality="),
        ("data", ["mnist_5k"], "write data=mnist_5k"),
        ("mode", ["grid"], "write mode=grid"),
        ("callbacks", [], "callbacks.NAME=null"),
        ("experiment", [], "leave it out"),
        ("logger", [], "give one, logger=..."),
    ],
)
def test_lists_where_one_is_chosen(group: str, options: list[str], said: str) -> None:
    assert said in refusal(lambda: refuse_lists(group, options))


@pytest.mark.parametrize(
    ("group", "options"),
    [("tricks", []), ("tricks", ["ema", "replay"]), ("callbacks", ["default", "mine"])],
)
def test_lists_where_several_are_chosen(group: str, options: list[str]) -> None:
    refuse_lists(group, options)


@pytest.mark.parametrize("group", ["tricks", "callbacks", "logger", "schedule"])
def test_none_where_there_is_no_such_option(group: str) -> None:
    assert "; there are" not in unknown_option(group, "none", [])


@pytest.mark.parametrize(
    "words", [["--config-dir own"], ["-m seed=1,2"], ["model=gan steps=3"], ["+steps=3 seed=1"]]
)
def test_words_that_quotes_have_joined(words: list[str]) -> None:
    said = refusal(lambda: normalize_overrides("train", words))
    assert said.endswith(f"leave out the quotes around it: {words[0]}")


@pytest.mark.parametrize("word", ["data.root=a b=c", "logger.group=a b", "logger.group='a b=c'"])
def test_values_with_spaces(word: str) -> None:
    normalize_overrides("train", [word])


@pytest.mark.parametrize("word", ["plugin=a,b", "plugin=[a,b]", "plugin=[]"])
def test_check_takes_one_plugin(word: str) -> None:
    assert "this command takes one (plugin)" in refusal(
        lambda: normalize_overrides("check", [word])
    )
    assert normalize_overrides("check", ["plugin=['a']", "plugin=a.b"]) == [
        "plugin=a",
        "plugin=a.b",
    ]


CONSTRUCTION = {
    "3-added-key": (["+model.dmi=3"], ["(model.dmi)"]),
    "11-network-of-another-family": (
        ["model=gan", "network=vae_mlp"],
        ["this network has a part 'decoder'", "(network)"],
    ),
    "4-empty": (
        ["model.generator.width="],
        ["(model.generator.width)", "expected a valid integer, not ''"],
    ),
    "4-no-number": (
        ["model.generator.width=abc"],
        ["(model.generator.width)", "expected a valid integer, not 'abc'"],
    ),
    "5-learning-rate": (
        ["scheme.optimizers.critic.lr=0"],
        ["(scheme.optimizers.critic.lr)", "greater than 0"],
    ),
    "5-beta": (["scheme.optimizers.critic.betas=[0.5,2]"], ["(scheme.optimizers.critic)", "beta"]),
    "6-batch-of-0": (["data.batch_size=0"], ["(data.batch_size)", ">= 1"]),
    "11-batch-norm-and-penalty": (
        ["model=wgan_gp", "model.critic.norm=batch"],
        ["model.critic.norm"],
    ),
    "34-half-on-a-cpu": (
        ["trainer=cpu", "trainer.precision=16-mixed"],
        ["(trainer.precision)", "bf16-mixed"],
    ),
    "33-eight-devices": (["trainer.devices=8"], ["(trainer.devices)", "trainer=ddp"]),
    "33-eight-processes": (
        ["trainer=ddp", "trainer.devices=1000"],
        ["(trainer.devices)", "1000 devices on a machine with"],
    ),
    "33-no-gpu": (["trainer=gpu"], ["(trainer.accelerator)", "trainer=cpu"]),
    "35-workers-below-0": (["data.workers=-1"], ["(data.workers)", ">= 0"]),
    "36-no-key": (
        ["logger=wandb", "trainer=cpu", "quality=none"],
        ["(logger=wandb)", "wandb login"],
    ),
    "41-os-system": (
        ["model._target_=os.system", "+model.command=touch canary"],
        ["(model._target_)", "os.system may not"],
    ),
    "41-by-a-detour": (
        ["loss._target_=gentrain.runs.directory.os.system", "+loss.command=touch canary"],
        ["(loss._target_)", "may not"],
    ),
    "41-torch-load": (
        ["model.critic._target_=torch.load", "+model.critic.f=evil.pt"],
        ["(model.critic._target_)", "torch.load may not"],
    ),
}


# each imports torch, and another row goes the same way through the program
TWINS = {"4-empty", "5-beta", "33-eight-processes", "41-torch-load"}


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] if row in TWINS else []) for row in CONSTRUCTION],
)
def test_construction(run: Run, tmp_path: Path, row: str) -> None:
    words, told = CONSTRUCTION[row]
    assert_refused(run(*words), tmp_path, *told)
    assert not (tmp_path / "canary").exists()


def test_29_a_run_below_a_file(run_light: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_refused(
        run_light("hydra.run.dir=file/run"), tmp_path, "(hydra.run.dir)", "file is a file", status=4
    )


def test_31_a_name_too_long(run_light: Run, tmp_path: Path) -> None:
    assert_refused(
        run_light(f"hydra.run.dir={LONG}"), tmp_path, "(hydra.run.dir)", "too long", status=4
    )


@pytest.mark.parametrize("verb", ["sample", "eval", "export", "doctor"])
def test_a_run_that_is_not_there(run_light: Run, tmp_path: Path, verb: str) -> None:
    """It is refused without torch."""
    assert_refused(run_light(verb, "run=nowhere"), tmp_path, "no run in nowhere (run)")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_30_a_full_disk(run: Run, tmp_path: Path, full_disk: Path) -> None:
    (full_disk / "ballast").write_bytes(b"0" * 900_000)
    done = run(f"hydra.run.dir={full_disk}/run", "steps=2", "samples.every=0", *SMALL)
    assert done.returncode == 4, done.stderr
    last = done.stderr.splitlines()[-1]
    assert (
        last.startswith("gentrain: error: ")
        and "No space left" in last
        and "Traceback" not in done.stderr
    ), done.stderr


@pytest.mark.slow
def test_30_a_sweep_on_a_full_disk(run: Run, full_disk: Path) -> None:
    (full_disk / "ballast").write_bytes(b"0" * (1 << 20))
    done = run("-m", "seed=0,1", f"hydra.sweep.dir={full_disk}/sweep", "steps=2", *SMALL)
    assert done.returncode == 4 and "No space left" in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_6_a_batch_larger_than_the_data(run: Run, tmp_path: Path) -> None:
    done = run("data.batch_size=4501", *SMALL)
    assert_refused(done, tmp_path, "(data.batch_size)", "at most 4500", lines_before=1)


@pytest.mark.slow
def test_45_builds_that_do_not_belong_together(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "path" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    done = run("steps=2", PYTHONPATH=str(package.parent))
    assert_refused(done, tmp_path, "torchvision", "different builds", "make setup")
