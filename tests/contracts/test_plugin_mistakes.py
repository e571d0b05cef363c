"""Mistakes in code and YAML files of the user, each in one line: what, which key, what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gentrain.cli.compose import composed, register
from gentrain.cli.overlay import refuse_misplaced
from gentrain.cli.overrides import normalize_overrides
from gentrain.config import paths, plugins
from gentrain.config.build import build
from gentrain.config.validate import check, checked
from gentrain.errors import UserError
from tests.support.program import Program, refused
from tests.support.shell import SMALL, assert_refused, gentrain


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, where modules are found; `own` is named by --config-dir."""
    modules = set(sys.modules)
    monkeypatch.setattr(plugins, "active", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    paths.overlays[:] = [tmp_path / "own"]
    yield tmp_path
    paths.overlays.clear()
    for name in {"mine", "pkg", "pkg.sub"} & (set(sys.modules) - modules):
        del sys.modules[name]


def written(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(dedent(text).lstrip())


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    text = str(refused.value)
    assert "\n" not in text and "(" in text and ";" in text, text
    return text


# --- modules --------------------------------------------------------------------------------------

MODULES = {
    "syntax": ("mine", {"mine.py": "x = 1\ndef f(:\n"}, "invalid syntax, in {}/mine.py:2"),
    "syntax of a part": (
        "pkg", {"pkg/__init__.py": "import pkg.sub", "pkg/sub.py": "x = 1\n(\n"}, "{}/pkg/sub.py:2",
    ),
    "raises": ("mine", {"mine.py": "x = 1\ny = x / 0"}, "ZeroDivisionError: division by zero, in"),
    # the line is the user's, not that of the library which raises
    "raises below": ("mine", {"mine.py": "import json\n\njson.loads('{')"}, "{}/mine.py:3"),
    "leaves": ("mine", {"mine.py": "raise SystemExit(0)"}, 'if __name__ == "__main__":'),
    "standard": ("statistics", {"statistics.py": ""}, "a module of Python (plugins); rename"),
    "standard package": ("json", {"json/__init__.py": ""}, "such as my_json.py"),
    "installed": ("torch", {"torch.py": ""}, "{}/torch.py has the name of the installed"),
    "gentrain": ("gentrain", {}, "a module of gentrain itself"),
    "missing": ("mine", {}, "no module mine in {}"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_cannot_be_a_plugin(name: str, place: Path) -> None:
    module, files, said = MODULES[name]
    written(place, files)
    assert said.format(place) in message(lambda: plugins.activate([module]))


def test_a_file_beside_a_plugin_hides_no_module_of_python(place: Path) -> None:
    """A file colorsys.py of the user, say: Python's own goes on to be imported."""
    sys.modules.pop("colorsys", None)
    written(place, {"mine.py": "import colorsys", "colorsys.py": "raise RuntimeError"})
    plugins.activate(["mine"])
    assert sys.modules["colorsys"].__file__ != str(place / "colorsys.py")


@pytest.mark.parametrize(
    ("verb", "typed", "meant"),
    [
        ("train", "plugins=one,two", "plugins=['one','two']"),
        ("sample", "plugin=one", "plugins=['one']"),
        ("eval", "plugins=[one,two]", "plugins=[one,two]"),
        ("check", "plugins=one", "plugin=one"),
        ("check", "plugin=one", "plugin=one"),
    ],
)
def test_one_plugin_or_several(verb: str, typed: str, meant: str) -> None:
    assert normalize_overrides(verb, [typed]) == [meant]


def test_several_plugins_without_brackets(tmp_path: Path, light: dict[str, str]) -> None:
    done = gentrain(tmp_path, light, "plugins=one,two", "model=dcgan", *SMALL)
    assert_refused(done, tmp_path, "no module one", "(plugins)")


# --- YAML files -----------------------------------------------------------------------------------

NETWORK = "generator: {_target_: mine.Net}\n"
FILES = {
    "network without its header": (
        "own/network/net.yaml", NETWORK, "network=net", "the line '# @package model' as its first",
    ),
    "header below a comment": (
        "own/network/net.yaml", f"# a net\n# @package model\n{NETWORK}", "network=net",
        "'# @package model'",
    ),
    "another header": (
        "own/model/net.yaml", f"# @package model\n{NETWORK}", "model=net", "'# @package _global_'",
    ),
    "optimizer": ("own/optimizer/net.yaml", "x: 1\n", "optimizer=net", "scheme.optimizers"),
    "mode": ("own/mode/net.yaml", "x: 1\n", "mode=net", "'# @package _global_'"),
    "name of the folder": (
        "own/networks/net.yaml", NETWORK, "network=net",
        "own/networks/net.yaml (network); move it to {}/own/network/net.yaml",
    ),
    "name of the folder, and of the group": (
        "own/networks/net.yaml", NETWORK, "networks=net",
        "own/networks is no group of gentrain (networks); did you mean network",
    ),
    "without a folder": ("own/net.yaml", NETWORK, "network=net", "move it to {}/own/network/net"),
    "yml": ("own/loss/net.yml", NETWORK, "loss=net", "move it to {}/own/loss/net.yaml"),
    "open bracket": (
        "own/loss/net.yaml", "_target_: mine.Net\nrate: [1\n", "loss=net",
        "{}/own/loss/net.yaml:3 is no YAML: expected ',' or ']', but got",
    ),
    "tab": ("own/loss/net.yaml", "_target_: mine.Net\n\trate: 1\n", "loss=net", "net.yaml:2 is no"),
    "one of a list": ("own/trick/net.yaml", NETWORK, "tricks=[ema,net]", "own/tricks/net.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_misplaced_file(name: str, place: Path) -> None:
    file, text, word, said = FILES[name]
    written(place, {file: text})
    assert said.format(place) in message(lambda: refuse_misplaced([word, "steps=1"]))


def test_a_file_that_is_no_text(place: Path) -> None:
    written(place, {"own/loss/net.yaml": ""})
    (place / "own/loss/net.yaml").write_bytes(b"\xff\xfe")
    assert "is no UTF-8 text (loss); save" in message(lambda: refuse_misplaced(["loss=net"]))


def test_files_that_are_right(place: Path) -> None:
    header = "# @package model\n"
    written(place, {"own/network/net.yaml": header + NETWORK, "own/loss/net.yaml": "x: 1\n"})
    refuse_misplaced(["network=net", "loss=net", "+experiment=quick", "model.x=net", "tricks=[]"])


def test_the_command_line_says_so(tmp_path: Path, light: dict[str, str]) -> None:
    written(tmp_path, {"own/network/net.yaml": NETWORK})
    words = ("model=dcgan", "network=net", "--config-dir", "own", *SMALL)
    done = gentrain(tmp_path, light, *words)
    assert_refused(done, tmp_path, "net.yaml", "(network)", "'# @package model'")


# --- classes --------------------------------------------------------------------------------------

CLASSES = """
    from abc import ABC, abstractmethod
    from torch import nn
    from gentrain.adversarial.losses import AdversarialLoss
    from gentrain.networks import base

    class Net(nn.Module):
        def __init__(self, shape=None, **others):
            super().__init__()

    class Other:
        def __init__(self, **others): ...

    class Half(AdversarialLoss, ABC):
        def __init__(self, **others):
            super().__init__(self.of_both, self.of_both)
        @abstractmethod
        def of_both(self, real, fake): ...

    class Late(base.Generator):
        def __init__(self, shape, prior="normal"):
            self.layer = nn.Linear(2, 2)

    class Wrong(base.Generator):
        def __init__(self, shape, prior="normal"):
            super().__init__(nn.Linear(1, shape), 1)

    class Unfinished(AdversarialLoss):
        def __init__(self, **others):
            self.rate = 1.0
"""
GAN = "model=dcgan"


def of(key: str, name: str, *more: str, partial: bool = False) -> list[str]:
    """The words that put a class at a key."""
    words = [f"{key}._target_=mine.{name}", *([f"++{key}._partial_=true"] if partial else [])]
    return [*words, *more]


KINDS = {
    "network": (
        of("model.generator", "Net"), "mine.Net is no Generator or Translator (model.generator); "
        "inherit from gentrain.networks.base.Generator or gentrain.networks.base.Translator",
    ),
    "critic": (
        of("model.critic", "Net"),
        "mine.Net is no Critic (model.critic); inherit from gentrain.networks.base.Critic",
    ),
    "encoder of a VAE": (
        ["model=vae", *of("model.encoder", "Net")], "inherit from gentrain.networks.vae.Encoder",
    ),
    "model": (of("model", "Other"), "inherit from gentrain.models.base.GenerativeModel"),
    "loss": (of("loss", "Other"), "(loss); inherit from gentrain.adversarial.losses.Adversa"),
    "lipschitz": (of("lipschitz", "Other"), "(lipschitz); inherit from gentrain.adversarial.reg"),
    "trick": (
        ["tricks=[ema]", *of("tricks.ema", "Other")],
        "mine.Other is no Regularizer (tricks.ema); inherit from gentrain.adversarial.regularizer",
    ),
    "level of a trick": (
        ["++tricks._target_=mine.Other"], "stands where names are expected (tricks); put it one",
    ),
    "data": (of("data", "Other"), "mine.Other is no Data (data); inherit from gentrain.data.base"),
    "metric": (of("quality", "Other"), "(quality); inherit from gentrain.quality.base.Metric"),
    "optimizer": (
        of("scheme.optimizers.critic", "Other"),
        "mine.Other is no Optimizer (scheme.optimizers.critic); inherit from torch.optim",
    ),
    "without _partial_": (
        of("model.generator", "Late", "model.generator._partial_=false"),
        "mine.Late is built later, by what takes it (model.generator); write _partial_: true",
    ),
    "a method is missing": (of("loss", "Half"), "of_both"),
    "a module": (["loss._target_=mine"], "mine is a module (loss._target_); name a class of it"),
    "a constructor that leaves out its base's": (
        of("loss", "Unfinished"),
        "the constructor of mine.Unfinished does not call super().__init__(...), in ",
    ),
    "constructor before Module.__init__": (
        of("model.generator", "Late"), "of mine.Late does not call super().__init__(",
    ),
    "constructor with a mistake": (of("model.generator", "Wrong"), "TypeError: "),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_class_of_another_kind(name: str, place: Path) -> None:
    from omegaconf import OmegaConf

    from gentrain.config.schema import resolved

    words, said = KINDS[name]
    written(place, {"mine.py": CLASSES})
    register()
    plugins.activate(["mine"])
    words = words if words[0] == "model=vae" else [GAN, *words]

    def built() -> None:
        config = resolved(OmegaConf.create(composed("train", words).values))
        config["model"]["generator"] = of_the_class(config["model"].get("generator"))
        checked = check(config)
        build(checked["model"], "model")

    found = message(built)
    assert said in found
    if "mend it there" in found:
        assert f"{place}/mine.py:25 (model); mend it there" in found


def of_the_class(node: dict[str, Any] | None) -> Any:
    """A generator's node, without options that classes of these tests have not."""
    if node is None or not node["_target_"].startswith("mine."):
        return node
    return {key: value for key, value in node.items() if key in ("shape", "prior") or key[0] == "_"}


@pytest.mark.parametrize("where", ["loss", "tricks.ema"])
def test_a_node_that_names_no_class(where: str, place: Path) -> None:
    from omegaconf import OmegaConf

    from gentrain.config.schema import resolved

    config = resolved(OmegaConf.create(composed("train", [GAN, "tricks=[ema]"]).values))
    node = config["model"]["criterion"]
    for key in where.split("."):
        node = node[key]
    del node["_target_"]
    assert message(lambda: check(config)).startswith(
        f"nothing says what is built here ({where}); add the line _target_: "
    )


# --- trainings ------------------------------------------------------------------------------------

FAULTY = """
    import torch
    from torch import nn
    from gentrain.adversarial.losses import AdversarialLoss
    from gentrain.adversarial.regularizer import Regularizer
    from gentrain.networks import base

    class Loss(AdversarialLoss):
        def __init__(self):
            super().__init__(self.of_critic, lambda real, fake: -fake.mean())
    class Detached(Loss):
        def of_critic(self, real, fake): return (fake - real).mean().detach()
    class Many(Loss):
        def of_critic(self, real, fake): return fake - real
    class Number(Loss):
        def of_critic(self, real, fake): return 1.0
    class Raises(Loss):
        def of_critic(self, real, fake): return real.nothing()
    class Trick(Regularizer):
        def critic_term(self, critic, real, fake): return critic(real).square()
    class Net(base.Generator):
        def __init__(self, shape, latent=4):
            super().__init__(nn.Linear(latent, shape[0] + 1), latent)
"""
TRAININGS = {
    "detached": ("loss", "Detached", "of the critic has no gradient"),
    "a loss an image": ("loss", "Many", "the loss of the critic has the shape (8,), not () (loss)"),
    "a number": ("loss", "Number", "the loss of the critic is a float, not a tensor (loss)"),
    "raises": ("loss", "Raises", "AttributeError: 'Tensor' object has no attribute 'nothing', in "),
    "trick": ("tricks.bad", "Trick", "the loss bad of the critic has the shape (16,)"),
    "network": ("model.generator", "Net", "a sample has the shape (16, 3), not (16, 2) "),
}
QUICK = (
    "model=gan", "network=mlp", "data=gaussian_ring", "data.batch_size=16", "model.critic.width=4",
    "quality=none", "trainer=cpu", "logger=csv", "samples.every=0", "callbacks.doctor=null",
    "steps=1", "hydra.run.dir=run", "--config-dir", "own",
)  # fmt: skip


@pytest.fixture
def faulty(place: Path) -> Path:
    """A directory with a module of mistakes, and a YAML file for each."""
    written(place, {"mine.py": FAULTY})
    for key, name, _ in TRAININGS.values():
        group = {"model.generator": "network"}.get(key, key.partition(".")[0])
        node = f"_target_: mine.{name}\n"
        if group == "tricks":
            node = f"bad: {{_target_: mine.{name}}}\n"
        if group == "network":
            node = (
                "# @package model\n"
                f'generator: {{_target_: mine.{name}, _partial_: true, shape: "${{data.shape}}"}}\n'
                "critic: {_target_: gentrain.networks.mlp.Critic, _partial_: true, "
                'shape: "${data.shape}", width: 4, depth: 1}\n'
            )
        written(place, {f"own/{group}/{name.lower()}.yaml": node})
    return place


def chosen(key: str, name: str) -> list[str]:
    """The words of a training with an option of `faulty`."""
    match key:
        case "tricks.bad":
            return [*QUICK, f"tricks=[{name.lower()}]"]
        case "model.generator":
            kept = [word for word in QUICK if not word.startswith("network=")]
            return [*kept, f"network={name.lower()}"]
    return [*QUICK, f"{key}={name.lower()}"]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_mistake_in_a_training(name: str, faulty: Path, program: Program) -> None:
    """One line with class, key and what tries it; the traceback is in train.log alone."""
    key, kind, said = TRAININGS[name]
    done = program(*chosen(key, kind), "plugins=[mine]")
    line = done.stderr.rstrip("\n").splitlines()[-1]
    assert done.status == 2 and "Traceback" not in done.stderr, done
    assert line.startswith(f"gentrain: error: mine.{kind}: ") and said in line, line
    assert f"({key}); " in line and "`gentrain check plugin=mine --config-dir own`" in line, line
    assert "Traceback" in (faulty / "run" / "train.log").read_text()


def test_a_mistake_of_gentrain_itself(
    faulty: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It remains a traceback, also beside a plugin."""
    from gentrain.training.adversarial import AdversarialModule

    def broken(*_: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(AdversarialModule, "training_step", broken)
    words = [word for word in chosen("loss", "Detached") if not word.startswith("loss=")]
    with pytest.raises(RuntimeError, match="ours"):
        program(*words, "plugins=[mine]")


# --- YAML files that lack something ---------------------------------------------------------------


def test_keys_that_a_data_set_lacks(place: Path) -> None:
    """The refusal names the key, and the file to which it belongs."""
    from omegaconf import OmegaConf

    from gentrain.config.schema import resolved

    written(place, {"own/data/net.yaml": "_target_: mine.Rows\nname: net\n"})
    register()
    cfg = OmegaConf.create(composed("train", ["model=gan", "network=mlp", "data=net"]).values)
    said = message(lambda: resolved(cfg))
    assert "(data.shape); add the line shape: ... to " in said
    assert said.endswith(f"{place}/own/data/net.yaml")


def test_values_that_a_metric_lacks(place: Path) -> None:
    """Of two files that name the class, the one that lacks the value is named."""
    metric = "class Score:\n    def __init__(self, every: int, samples: int): ...\n"
    whole, half = "_target_: mine.Score\nevery: 1\n", "_target_: mine.Score\n"
    written(place, {"mine.py": metric, "own/quality/a.yaml": whole + "samples: 1\n"})
    written(place, {"own/quality/b.yaml": half})
    plugins.activate(["mine"])
    said = message(lambda: checked({"_target_": "mine.Score"}, "quality"))
    assert "mine.Score needs values for every, samples (quality.every); add the line" in said
    assert said.endswith("own/quality/b.yaml")


@pytest.mark.parametrize("key", ["data", "quality", "callbacks.mine"])
def test_a_part_without_a_class(key: str) -> None:
    node: dict[str, Any] = {"mine": {"x": 1}} if "." in key else {"x": 1}
    config = {"steps": 1, "seed": 0, key.partition(".")[0]: node}
    assert f"nothing says what is built here ({key}); " in message(lambda: check(config))


def test_a_broken_file_behind_another(place: Path, program: Program) -> None:
    """One that the defaults of a right file include."""
    written(place, {"own/loss/a.yaml": "defaults: [b, _self_]\n", "own/loss/b.yaml": "x: [1\n"})
    refused(program(*QUICK, "loss=a"), "own/loss/b.yaml:2 is no YAML: ", "mend it there")


def test_check_says_that_a_file_is_broken(place: Path, program: Program) -> None:
    written(place, {"mine.py": "", "own/loss/b.yaml": "x: [1\n"})
    done = program("check", "plugin=[mine]", "--config-dir", "own")
    assert done.status == 1 and "own/loss/b.yaml:2 is no YAML: " in done.stdout, done
    assert "0 passed, 1 failed, 0 skipped" in done.stdout
