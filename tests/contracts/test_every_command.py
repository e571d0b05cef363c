"""Every command that the documentation shows is run, shortened by words that are added to it.

The default suite composes them (test_documented_commands.py), and reads the words of those that
look at runs. Commands with code of the reader are run by test_how_to.py, those of CONTRIBUTING.md
by test_additions.py.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gentrain.config import paths
from gentrain.config.schema import SCHEMAS
from gentrain.data.spectra import write_wav
from tests.data import test_options as sources
from tests.data.conftest import cifar_root, idx_root
from tests.support.commands import Command, everything, first_cell
from tests.support.paths import CONF
from tests.support.program import in_process
from tests.support.zoo import FEW, NARROW, Zoo
from tests.support.zoo import RUNS as RUNS_OF_ZOO

FINISHED = [command for command in everything() if command.verb != "train"]
TRAININGS = [c for c in everything() if c.verb == "train" and first_cell(c.words) is not None]
SWEEPS = [command for command in TRAININGS if command.words[0] == "-m"]

# --- what the words are, without Hydra ------------------------------------------------------------


def keys_of(command: Command) -> set[str]:
    """The keys at the top of a command's configuration."""
    schema = SCHEMAS[f"{command.verb}_schema"]
    found = {field.name for field in fields(schema)} | {"hydra", "image"}
    if command.verb == "verify":  # which takes the words of a training
        found |= {field.name for field in fields(SCHEMAS["schema"])}
        found |= {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    return found


def mode_of(command: Command) -> str:
    pictures = any(word.startswith("source=") for word in command.words)
    named = [word[5:] for word in command.words if word.startswith("mode=")]
    return named[0] if named else "translate" if pictures else "grid"


def test_words_of_commands_that_look_at_runs_are_keys() -> None:
    for command in FINISHED:
        assert_keys(command)


def assert_keys(command: Command) -> None:
    if command.verb in ("list", "demo"):
        kind, _, name = command.words[1].partition("=") if command.words[1:] else ("", "", "")
        name = name or (kind if command.verb == "demo" and kind != "list" else "")
        group = "demo" if command.verb == "demo" else kind
        assert name in ("", "NAME", *paths.option_files(group)), command
        return
    mode = mode_keys(mode_of(command))
    for word in command.words[1:]:
        key, equals, _ = word.partition("=")
        if not equals or key.startswith(("-", "[", "OPTION")):
            continue
        top, _, rest = key.partition(".")
        assert top in keys_of(command), command
        assert top != "mode" or not rest or rest in mode, command


@cache
def mode_keys(name: str) -> dict[str, Any]:
    """The keys of a sample mode; `invert` is another name of `reconstruct`."""
    node = yaml.safe_load((CONF / "mode" / f"{name}.yaml").read_text("utf-8"))
    return node.get("mode") or mode_keys(node["defaults"][0])


# --- what they do ---------------------------------------------------------------------------------

RUNS = {  # the runs that modes are for
    "class_grid": "cgan", "reconstruct": "vae", "invert": "vae", "complete": "pixelcnn",
    "translate": "edges", "cycle": "cyclegan", "domains": "stargan", "chains": "rbm",
    "denoise": "rbm", "filters": "rbm", "traverse": "wide", "density": "plane", "edit": "gan",
    "captions": "captioned",
}  # fmt: skip
WIDE = ("model=vae", *(word.replace("latent=4", "latent=8") for word in RUNS_OF_ZOO["vae"][1:]))
PLANE = ("model=realnvp_points", "data=two_moons", "data.n=200", "quality=none", *FEW)
CAPTIONED = (
    "model=gan_cls", "network=mlp", "data.n=100", "quality=none", "model.text=8",
    "model.text_width=4", *NARROW, *FEW,
)  # fmt: skip
# words that make a command short, after those that it has
QUICK = (
    "steps=1", "trainer=cpu", "samples.n=4", "samples.every=0", "data.batch_size=8",
    "data.validation=0.2",
)  # fmt: skip
LESS = {
    "quality.samples": "20", "quality.images": "20", "quality.importance": "2", "n": "20",
    "quality.temperatures": "20", "quality.features.updates": "2", "importance": "3",
    "samples": "20", "mode.codes": "100", "mode.steps": "3", "mode.times": "2",
    "model.buffer": "50", "scheme.pretraining": "1", "sweep.trials": "2", "data.size": "32",
    "demo.steps": "3", "data.digits": "mnist_5k", "callbacks.caption_agreement.every": "0",
    "callbacks.error_rate.every": "1", "model.teacher_steps": "1",
}  # fmt: skip
FOLDERS = {
    "image_folder": "classes_one", "celeba": "faces", "celeba_attributes": "faces",
    "facades": "one", "shards": "shards_one", "mnist_static": "static_one", "mnist": "idx",
    "captions": "captioned", "fashion_mnist": "idx", "stacked_mnist": "idx", "cifar10": "cifar",
}  # fmt: skip
# they need weights, another machine or a package that is not among those of the tests
OUTSIDE = {
    "quality=inception": None, "content=vgg": None, "cluster=slurm": None, "cluster=ray": "ray",
    "data=huggingface": "datasets", "logger=mlflow": "mlflow", "logger=[auto,mlflow]": "mlflow",
    "trainer=gpu": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands read: pictures, tables, sounds, copies of data sets."""
    sources.sources.__wrapped__(tmp_path_factory)
    place = max(tmp_path_factory.getbasetemp().glob("sources*"), key=lambda p: p.stat().st_mtime)
    idx_root.__wrapped__(place), cifar_root.__wrapped__(place)
    shutil.copy(place / "one.txt", place / "faces" / "list_attr_celeba.txt")
    digits = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    (place / "digits").mkdir()
    (place / "captioned").mkdir()
    for i, digit in enumerate(digits):
        Image.fromarray(digit).save(place / "digits" / f"{i}.png")
        shutil.copy(place / "digits" / f"{i}.png", place / "captioned" / f"{i}.png")
        (place / "captioned" / f"{i}.txt").write_text(f"the digit number {i}")
    np.savez(place / "samples.npz", images=digits[..., None])
    for i in range(12):
        write_wav(torch.rand(1, 4096) * 2 - 1, 16_000, place / "sounds" / f"{i}.wav")
    np.savetxt(place / "table.csv", np.random.default_rng(0).normal(size=(60, 2)), delimiter=",")
    return place


def needs(command: Command) -> str | None:
    """What a command needs that is not here; None where nothing is missing."""
    for word, package in OUTSIDE.items():
        if word in command.words and (package is None or find_spec(package) is None):
            return word
    return None


def short(command: Command, files: Path) -> list[str]:
    """A training as it is run: fewer steps, smaller batches, files that are there."""
    given = dict(word.partition("=")[::2] for word in command.words if "=" in word)
    data = given.get("data", "")
    words = [
        reduced(word) for word in command.words if not word.startswith(("data.root", "resume"))
    ]
    words = [word for word in words if not word.startswith(("data.a=", "data.b=", "data.file="))]
    # what few pictures allow: a share of them is none, and those of the tests are of two classes
    words = ["data.validation=0.2" if w.startswith("data.validation=0.0") else w for w in words]
    if data == "image_folder":
        words = ["data.classes=2" if w.startswith("data.classes=") else w for w in words]
    if data == "audio_folder":
        words.append(f"data.root={files / 'sounds'}")
    elif data in FOLDERS and given.get("data.digits") != "mnist_5k":
        words += [f"data.root={files / FOLDERS[data]}"]
        words += ["data.verify=false"] * (FOLDERS[data] in ("idx", "cifar", "static_one"))
    elif data in ("pairs", "unpaired"):
        words += [f"data.a={files / 'one'}", f"data.b={files / 'negative'}"]
    elif data in ("points", "tensors"):
        words.append(f"data.file={files / ('table.csv' if data == 'points' else 'samples.npz')}")
    kept = {word.partition("=")[0] for word in words}
    scored = any(key.startswith(("quality", "checkpoint.monitor", "callbacks")) for key in given)
    words += [] if scored or "sweep" in given else ["quality=none"]
    own_split = {"data.validation"} if data == "mnist_static" else set()
    return words + [word for word in QUICK if not clashes(word, kept | own_split)]


def clashes(word: str, kept: set[str]) -> bool:
    """Whether a word that shortens is there already, under its own or another name."""
    key = word.partition("=")[0]
    return (key in kept and key != "steps") or (key == "data.batch_size" and "batch_size" in kept)


def reduced(word: str) -> str:
    """A word with a smaller number, or digits that are there."""
    key, _, value = word.partition("=")
    if key == "data.batch_size":  # of at most as many images as there are
        return f"{key}={min(int(value), 8)}" if value.isdigit() else word
    return f"{key}={LESS[key]}" if key in LESS and re.fullmatch(r"\d+|mnist", value) else word


@pytest.fixture
def program(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Any:
    return in_process(tmp_path, env, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: command.text[:70])
def test_a_training(command: Command, program: Any, files: Path, zoo: Zoo) -> None:
    if reason := needs(command):
        pytest.skip(f"needs {reason}")
    words = short(command, files)
    if "model.teacher=RUN" in words:
        words = [word.replace("=RUN", f"={zoo('maf')}") for word in words]
    elif "model.start=RUN" in words:
        first = next(each for each in TRAININGS if "model=srresnet" in each.words)
        made = zoo.made("start", tuple(short(first, files)))
        words = [word.replace("=RUN", f"={made}") for word in words]
    done = program(*words)
    assert done.status == 0, (command.text, words, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", FINISHED, ids=lambda command: command.text[:70])
def test_a_command_of_a_finished_run(
    command: Command, program: Any, files: Path, zoo: Zoo, tmp_path: Path
) -> None:
    if (reason := needs(command)) or command.verb == "check" or "[OPTION=VALUE" in command.words:
        pytest.skip(f"needs {reason or 'code of the reader (test_how_to.py)'}")
    if command.verb == "explore":
        pytest.skip("serves until it is stopped (tests/commands/explore)")
    name = RUNS.get(mode_of(command), "gan")
    if command.verb == "eval":
        bounded = any(word.startswith("importance=") for word in command.words)
        name = "rbm" if "quality=ais" in command.words else "vae" if bounded else "gan"
    if any(word.startswith("labels=") for word in command.words):
        name = "cgan"
    run = tmp_path / "RUN"
    if command.verb not in ("list", "demo"):
        own = {"plane": PLANE, "wide": WIDE, "captioned": CAPTIONED}
        made = zoo.made(name, own[name]) if name in own else zoo(name)
        shutil.copytree(made, run)
    done = program(*(placed(word, run, files) for word in command.words), *tiny(command))
    assert done.status == 0, (command.text, done.stderr)


PLACES = {
    "PICTURES": "digits", "FILE|DIR": "digits", "FILE": "digits/0.png", "theirs": "digits",
    "samples.npz": "samples.npz", "A.npz": "samples.npz",
}  # fmt: skip


def placed(word: str, run: Path, files: Path) -> str:
    """A word with what is there in place of a name."""
    key, equals, value = word.rpartition("=")
    if key == "against" or (key == "images" and value == "DIR"):
        return f"{key}={files / 'digits'}"
    if value in PLACES and key != "out":
        return f"{key}{equals}{files / PLACES[value]}"
    if key in ("run", "runs") or re.match(r"(outputs|rows|RUN)\b(?!-)", word):
        return f"{key}{equals}" + ",".join([str(run)] * (value.count(",") + 1))
    return reduced(word).replace("=NAME", "=wgan_gp").replace("=S", "=3").replace("cat,dog", "1,2")


def tiny(command: Command) -> list[str]:
    """Numbers that make a demonstration quick."""
    name = next((word for word in command.words[1:] if "=" not in word), "list")
    if command.verb != "demo" or name == "list":
        return []
    from gentrain.config.validate import locate

    node = yaml.safe_load((CONF / "demo" / f"{name}.yaml").read_text("utf-8"))
    numbers = locate(node["_target_"], "demo").tiny
    return [f"demo.{key}={value}" for key, value in numbers.items()]
