"""Every option of `gentrain sample` changes what is drawn, in every mode, or is refused."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import shutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from PIL import Image

from gentrain.cli import compose
from gentrain.commands.sample import SHARED, sample
from gentrain.config import schema
from gentrain.config.build import build
from gentrain.config.validate import checked, locate
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.runs import reopen
from tests.support.compose import build_model, composed
from tests.support.paths import CONF
from tests.support.zoo import Zoo

# These say where to read, write or compute.
PLACES = {"run", "checkpoint", "out", "plugins", "debug", "device", "mode"}
# two values of each option that modes share; those of `source` are two pictures
VALUES: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1),
    "labels": ([1], [2]),
    "domain": ("0", "1"),
    "text": (["a red one on white"], ["a blue two, on black"]),
    "averaged": (True, False),
    "mean": (True, False),
    "temperature": (1.0, 0.3),
    "n": (2, 3),
    "source": ("one", "two"),
    "save": (schema.Keep.npz, schema.Keep.none),
}
# two values of options of a mode whose type does not give them
OF_MODES: dict[str, tuple[Any, ...]] = {
    "taus": ([1.0], [0.5]),
    "pick": ([0, 1, 2], [3, 1, 2]),
    "latents": ([0], [1]),
    "source": VALUES["source"],
    "n": VALUES["n"],
    "share": (0.1, 0.4),
    "reach": (1.0, 2.0),
    "rate": (0.1, 0.3),
    "groups": ([1, 2], [2, 1]),
    "codes": (100, 200),
    "starts": (0, 4),
    "standing": (4, 8),
    "shown": (1, 2),
}
# small numbers, so that the test is quick; an option under test comes after these
QUICK = {
    "n": 2, "standing": 4, "taus": [1.0], "steps": 3, "draws": 1, "fid": False, "shown": 2,
    "groups": [1, 2], "starts": 2, "codes": 200,
}  # fmt: skip
# what a run refuses of them; their own cases show it
REFUSED = {
    ("grid", "plane"): ("shown",), ("denoise", "stored"): ("draws",),
    ("project", "maf"): ("starts", "steps", "rate"),
}  # fmt: skip
# the runs on which a mode is tried: of the zoo, or untrained ones that are built here
PLANE = (
    "model=realnvp_points", "data=two_moons", "model.flow.couplings=2", "model.flow.width=8",
)  # fmt: skip
STORED = ("model=hopfield", "data.size=8", "model.memories=3")
CODED = (
    "model=infogan", "network=mlp", "data.size=8", "model.generator.width=8",
    "model.critic.width=8", "model.continuous=3",
)  # fmt: skip
ENCODED = ("model=vae", "data.size=8", *(f"model.{net}.width=8" for net in ("encoder", "decoder")))
CAPTIONED = (
    "model=gan_cls", "network=mlp", "data.n=100", "model.generator.width=8",
    "model.critic.width=8", "model.text=8", "model.text_width=4",
)  # fmt: skip
BUILT = {
    "captioned": CAPTIONED,
    "plane": PLANE,
    "stored": STORED,
    "coded": CODED,
    "encoded": ENCODED,
}
RUNS = {
    "arithmetic": ("gan", "cgan"),
    "captions": ("captioned",),
    "chains": ("rbm", "stored"),
    "class_grid": ("cgan",),
    "complete": ("inpainting", "pixelcnn", "rbm"),
    "cycle": ("cyclegan", "stargan"),
    "denoise": ("rbm", "stored"),
    "density": ("plane",),
    "domains": ("stargan",),
    "edit": ("encoded", "coded"),
    "filters": ("rbm",),
    "grid": (
        "gan",
        "captioned",
        "cgan",
        "vae",
        "maf",
        "pixelcnn",
        "rbm",
        "edges",
        "stargan",
        "plane",
    ),
    "interpolate": ("gan", "cgan", "vae"),
    "invert": ("vae",),
    "nearest": ("gan", "vae", "cgan"),
    "project": ("encoded", "gan", "cgan", "maf"),
    "reconstruct": ("vae", "m2"),
    "sphere": ("gan", "cgan", "vae"),
    "translate": ("edges", "colours", "larger", "holes", "residual", "cyclegan", "stargan"),
    "traverse": ("gan", "cgan", "vae", "coded"),
    "truncation": ("gan",),
}
MODES = sorted(path.stem for path in (CONF / "mode").glob("*.yaml"))
# in the plane everything is drawn on a fine grid; test_editing.py has small cases of edit
LONG = ("density", "edit", "domains", "cycle", "project", "captions")
CASES = [
    pytest.param(mode, run, marks=[pytest.mark.slow] if i or mode in LONG else [])
    for mode in MODES
    for i, run in enumerate(RUNS[mode])
]


def test_all_options_are_known() -> None:
    assert {field.name for field in fields(schema.Sample)} == VALUES.keys() | PLACES
    assert set(SHARED) <= VALUES.keys() and RUNS.keys() == set(MODES)


@cache
def defaults(mode: str) -> dict[str, Any]:
    """The configuration of `gentrain sample mode=...`; its interpolations are not resolved."""
    found = compose.composed("sample", ["run=x", f"mode={mode}"]).values
    found["checkpoint"], found["device"] = schema.Saved.last, schema.Device.cpu
    return found


def signature(mode: str) -> dict[str, Any]:
    """The types of the options of a mode's constructor."""
    kind = locate(defaults(mode)["mode"]["_target_"], "mode")
    hints = typing.get_type_hints(kind.__init__)
    return {name: hints[name] for name in inspect.signature(kind).parameters}


def values_of(name: str, hint: Any) -> tuple[Any, ...]:
    """Two or more values of an option, by its type."""
    if name in OF_MODES:
        return OF_MODES[name]
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    kinds = {hint, *typing.get_args(hint)}
    if bool in kinds:
        return True, False
    assert int in kinds, f"no values for {name}: {hint}"
    return 2, 3


def asked(mode: str) -> Iterator[tuple[str, dict[str, Any], tuple[Any, ...]]]:
    """Each option of a mode, what is typed with it, and its values."""
    for name, values in VALUES.items():
        yield name, {}, values
    for name, hint in signature(mode).items():
        key = f"mode.{name}"
        if name not in ("n", "source", "text"):  # those are options of the command
            yield key, {}, values_of(name, hint)
            if "source" in signature(mode):
                yield key, {"source": "one"}, values_of(name, hint)
    if "source" in signature(mode):
        yield "seed", {"source": "one"}, VALUES["seed"]
        yield "n", {"source": "one"}, VALUES["n"]
    if "latents" in signature(mode):
        yield "n", {"mode.latents": [0]}, VALUES["n"]


def configuration(mode: str, run: str, typed: dict[str, Any]) -> dict[str, Any]:
    """The keys of a command, as `gentrain sample` composes them."""
    config, known = dict(defaults(mode)), signature(mode)
    quick = known.keys() & QUICK.keys() - {"n", *REFUSED.get((mode, run), ())}
    given = {f"mode.{key}": QUICK[key] for key in quick}
    if "n" in known and not {"source", "mode.latents"} & typed.keys():
        given["n"] = QUICK["n"]
    if "text" in known:
        given["text"] = VALUES["text"][0]  # which it needs
    if (mode, run) == ("translate", "stargan"):
        given["domain"] = "0"  # which it needs
    options = dict(config["mode"])
    for key, value in (given | typed).items():
        if key.startswith("mode."):
            options[key.removeprefix("mode.")] = value
        else:
            config[key] = value
    read = {
        key: config[key] for key in ("n", "source", "text") if options.get(key) == f"${{{key}}}"
    }
    return config | {"mode": options | read, "run": run}


def few(load: Callable[[str], ArrayDataset]) -> Callable[[str], ArrayDataset]:
    """The first samples of each split, so that a search in them is quick."""

    @cache
    def loaded(split: str) -> ArrayDataset:
        return ArrayDataset(*(None if part is None else part[:200] for part in load(split)))

    return loaded


@pytest.fixture(scope="session")
def opened(zoo: Zoo) -> Any:
    """Opens each run once; a caller gets a copy, since a session changes the model."""
    really = reopen.reopen

    @cache
    def opened_once(name: str) -> Any:
        if name not in BUILT:
            run = really(zoo(name))
            run.data.load = few(run.data.load)
            return run
        data = build(checked(composed(*BUILT[name])["data"], "data"), "data", Data)
        model = build_model(*BUILT[name])
        model.init_from_data((torch.rand(20, *data.shape) * 2 - 1,))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        about = {"config": {}, "run_dir": Path(name), "device": torch.device("cpu"), "step": 0}
        about["class_names"] = []
        return SimpleNamespace(model=model, data=data, **about)

    def opener(name: Path, *_: Any) -> Any:
        run = copy.copy(opened_once(str(name)))
        run.model = copy.deepcopy(run.model)
        return run

    return opener


@pytest.fixture
def drawn(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`drawn(mode, run, typed)`: what a command leaves, or the message of its refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reopen, "reopen", opened)
    for name in VALUES["source"]:
        Path(name).mkdir()
        for i in range(2):
            pixels = torch.randint(0, 255, (40, 40, 4), dtype=torch.uint8)
            pixels[..., 3] = 255
            pixels[9 * i : 9 * i + 9, 9:19, 3] = 0  # a hole, for inpainting
            Image.fromarray(pixels.numpy()).save(Path(name) / f"{i}.png")

    def command(mode: str, run: str, typed: dict[str, Any]) -> str | dict[str, Any]:
        out = tmp_path / "out"
        config = configuration(mode, run, typed) | {"out": str(out)}
        try:
            sample(config, mode)
        except UserError as error:
            assert not out.exists()
            return str(error)
        finally:
            capsys.readouterr()
        found = {str(file.relative_to(out)): content(file) for file in out.rglob("*.*")}
        shutil.rmtree(out)
        return found

    return command


def content(file: Path) -> Any:
    """What a file shows; of a record the results, without the options that they repeat."""
    if file.suffix != ".json":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    results = json.loads(file.read_text())["results"]
    return {key: value for key, value in results.items() if key not in ("protocol", "given")}


@pytest.mark.parametrize(("mode", "run"), CASES)
def test_an_option_changes_what_is_drawn_or_is_refused(
    mode: str, run: str, drawn: Callable[..., Any]
) -> None:
    without_effect = []
    for option, others, values in asked(mode):
        outcomes = [drawn(mode, run, others | {option: value}) for value in values]
        refusals = [each for each in outcomes if isinstance(each, str)]
        if any(f"({option}" not in each or "; " not in each for each in refusals):
            without_effect.append((option, others, refusals))
        if not refusals and all(each == outcomes[0] for each in outcomes):
            without_effect.append((option, others, values))
    assert not without_effect
