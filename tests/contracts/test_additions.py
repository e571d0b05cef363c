"""What it costs to add something: one toy of each kind, with exactly the files of CONTRIBUTING.md.

The toys are added to a copy of the tree and used from the command line, all of them in one
training and one sampling. They share nothing with the package but its public base classes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.paths import ROOT
from tests.support.shell import SMALL, assert_fine, assert_refused, gentrain, summary

# kind -> {file: text}; the number of files is what CONTRIBUTING.md promises
TOYS: dict[str, dict[str, str]] = {
    "model": {
        "src/gentrain/models/gan/toy.py": """
            from typing import Any

            from gentrain.adversarial.criterion import AdversarialCriterion
            from gentrain.models.base import Batch
            from gentrain.models.gan.base import SingleCriticModel
            from gentrain.models.objective import Objective
            from gentrain.networks.base import Backbone


            class ToyGAN(SingleCriticModel):
                def __init__(
                    self,
                    generator: Backbone[Any],
                    critic: Backbone[Any],
                    criterion: AdversarialCriterion,
                    weight: float = 0.1,
                ) -> None:
                    super().__init__(generator(), critic(), criterion)
                    self.weight = weight

                def generator_loss(self, batch: Batch) -> Objective:
                    objective = super().generator_loss(batch)
                    fake = self.generate(self.generator, batch)
                    objective.losses["size"] = self.weight * fake.square().mean()
                    return objective
        """,
        "conf/model/toy.yaml": """
            # @package _global_
            # A toy      gentrain model=toy
            defaults:
              - _gan
              - _self_
            model: {_target_: gentrain.models.gan.toy.ToyGAN, weight: 0.1}
        """,
    },
    "network": {
        "src/gentrain/networks/toy.py": """
            import math

            from torch import nn

            from gentrain.networks import base


            class Generator(base.Generator):
                def __init__(self, shape: list[int], latent: int = 3) -> None:
                    size = math.prod(shape)
                    layers = nn.Linear(latent, size), nn.Tanh(), nn.Unflatten(1, tuple(shape))
                    super().__init__(nn.Sequential(*layers), latent)


            class Critic(base.Critic):
                def __init__(self, shape: list[int], width: int = 5) -> None:
                    layers = nn.Flatten(), nn.Linear(math.prod(shape), width), nn.ReLU()
                    super().__init__(nn.Sequential(*layers), width)
        """,
        "conf/network/toy.yaml": """
            # @package model
            # A toy
            generator:
              _target_: gentrain.networks.toy.Generator
              _partial_: true
              shape: ${data.shape}
              latent: 3
            critic:
              _target_: gentrain.networks.toy.Critic
              _partial_: true
              shape: ${data.shape}
              width: 5
        """,
    },
    "loss": {
        "src/gentrain/adversarial/toy_loss.py": """
            import torch
            from torch import Tensor

            from gentrain.adversarial.losses import AdversarialLoss


            class ToyLoss(AdversarialLoss):
                \"\"\"A loss with a state: k counts the critic's updates.\"\"\"

                k: Tensor

                def __init__(self, rate: float = 1.0) -> None:
                    super().__init__(self.of_critic, self.of_generator)
                    self.rate = rate
                    self.register_buffer("k", torch.zeros(()))

                def of_critic(self, real: Tensor, fake: Tensor) -> Tensor:
                    return (real - 1).square().mean() + fake.square().mean()

                def of_generator(self, real: Tensor, fake: Tensor) -> Tensor:
                    return (fake - 1).square().mean()

                def update(self, scalars: dict[str, Tensor]) -> None:
                    assert "real_score" in scalars
                    self.k += self.rate
        """,
        "conf/loss/toy.yaml": """
            # A toy
            _target_: gentrain.adversarial.toy_loss.ToyLoss
            rate: 2.0
        """,
    },
    "lipschitz": {
        "src/gentrain/adversarial/toy_lipschitz.py": """
            from torch import Tensor

            from gentrain.adversarial.lipschitz import Lipschitz
            from gentrain.adversarial.regularizer import CriticFunction


            class ToyPenalty(Lipschitz):
                def __init__(self, weight: float = 0.1) -> None:
                    super().__init__()
                    self.weight = weight

                def critic_term(
                    self, critic: CriticFunction, real: Tensor, fake: Tensor
                ) -> Tensor:
                    return self.weight * critic(real).square().mean()
        """,
        "conf/lipschitz/toy.yaml": """
            # A toy
            _target_: gentrain.adversarial.toy_lipschitz.ToyPenalty
            weight: 0.1
        """,
    },
    "trick": {
        "src/gentrain/adversarial/tricks/toy.py": """
            from torch import Tensor

            from gentrain.adversarial.regularizer import Regularizer


            class ToyTopK(Regularizer):
                order = Regularizer.IMAGES + 7

                def __init__(self, k: int = 2) -> None:
                    super().__init__()
                    self.k = k

                def transform_scores(
                    self, real: Tensor, fake: Tensor, critics_turn: bool
                ) -> tuple[Tensor, Tensor]:
                    return (real, fake) if critics_turn else (real, fake.topk(self.k).values)
        """,
        "conf/tricks/toy.yaml": """
            # A toy
            toy: {_target_: gentrain.adversarial.tricks.toy.ToyTopK, k: 2}
        """,
    },
    "data": {
        "src/gentrain/data/toy.py": """
            from dataclasses import dataclass

            import torch

            from gentrain.data.arrays import ArrayDataset
            from gentrain.data.base import Data


            @dataclass(kw_only=True, eq=False, repr=False)
            class ToyData(Data):
                n: int = 32

                def read(self, split: str) -> ArrayDataset:
                    count = self.n if split == "train" else self.n // 2
                    images = torch.arange(count * 16, dtype=torch.uint8).view(count, 1, 4, 4)
                    return ArrayDataset(images, None)
        """,
        "conf/data/toy.yaml": """
            # A toy
            defaults: [_base, _self_]
            _target_: gentrain.data.toy.ToyData
            name: toy
            shape: [1, 4, 4]
            n: 32
        """,
    },
    "metric": {
        "src/gentrain/quality/toy.py": """
            from typing import Any

            import torch

            from gentrain.data.base import Data
            from gentrain.models.base import GenerativeModel
            from gentrain.quality.base import SampleMetric, Score


            class ToyMetric(SampleMetric):
                key = "quality=toy"
                scores = {"toy_spread": Score("pixels", higher_is_better=True)}

                def __init__(
                    self, every: int = 2, samples: int = 8, batch_size: int = 4, seed: int = 0
                ) -> None:
                    super().__init__(every, samples, batch_size, seed, at_start=False)

                def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
                    return {"name": "toy", "samples": self.samples}

                def compute(
                    self, data: Data, model: GenerativeModel, device: torch.device
                ) -> dict[str, float]:
                    images = self.images(model, data.load("train"), device)
                    return {"toy_spread": images.float().std().item()}
        """,
        "conf/quality/toy.yaml": """
            # A toy
            _target_: gentrain.quality.toy.ToyMetric
            every: 2
            samples: 8
        """,
    },
    "mode": {
        "src/gentrain/commands/sample/toy_mode.py": """
            from typing import Any

            from gentrain.commands.sample.mode import Mode
            from gentrain.commands.sample.session import SampleSession
            from gentrain.commands.sample.writer import Output


            class ToyMean(Mode):
                def __init__(self, n: int = 6) -> None:
                    self.n = n

                def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
                    images = session.images(session.noise(self.n), session.labels(self.n))
                    return {"mean": float(images.mean()), "images": len(images)}
        """,
        "conf/mode/toy.yaml": """
            # @package _global_
            # A toy
            n: 6
            mode: {_target_: gentrain.commands.sample.toy_mode.ToyMean, n: "${n}"}
        """,
    },
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package and its configuration, with all toys added."""
    copy = copied(tmp_path)
    for files in TOYS.values():
        for name, text in files.items():
            assert not (copy / name).exists()
            (copy / name).write_text(dedent(text).lstrip())
    return copy


def copied(tmp_path: Path) -> Path:
    """A copy of the package and its configuration."""
    copy = tmp_path / "tree"
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


ONE_AFTER_ANOTHER = """
import json, sys
from gentrain.cli import main
from hydra.core.global_hydra import GlobalHydra
for words in json.loads(sys.argv.pop()):
    GlobalHydra.instance().clear()
    if status := main.run(words):
        sys.exit(status)
"""


def run(tree: Path, cwd: Path, *commands: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Commands in one cold process, which imports the copy, and not the package under test."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "GENTRAIN_CACHE": str(cwd / "cache")}
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(commands)]
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done


def test_one_of_each_kind(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path, ALL_TOYS, ("sample", "run=run", "mode=toy", "n=3", "out=drawn"))
    done = summary(tmp_path / "run")
    assert done["choices"] | {"model": "toy", "data": "toy", "tricks": "toy"} == done["choices"]
    metrics = done["metrics"]
    assert metrics["generator/size"] > 0 and metrics["critic/toy_penalty"] >= 0
    assert metrics["quality/toy_spread"] > 0
    assert done["best"]["metric"] == "quality/toy_spread"
    assert done["directions"] == {"quality/toy_spread": True, "test/toy_spread": True}
    assert done["protocols"]["quality"] == {"name": "toy", "samples": 8}

    import torch

    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["model.loss.k"] == 8  # 4 critic steps at a rate of 2

    record = json.loads((tmp_path / "drawn" / "sample.json").read_text())
    assert record["mode"] == "toy" and record["results"]["images"] == 3


def outside(place: Path) -> list[str]:
    """The same toys as a user's own files: modules in a directory, and YAML files in `own`.

    Returns:
        The names of the modules.
    """
    texts = {name: text for files in TOYS.values() for name, text in files.items()}
    modules = {
        name.removeprefix("src/").removesuffix(".py").replace("/", "."): f"own_{i}"
        for i, name in enumerate(texts)
        if name.endswith(".py")
    }
    for name, text in texts.items():
        for inside, own in modules.items():
            text = text.replace(f"_target_: {inside}.", f"_target_: {own}.")
        dotted = name.removeprefix("src/").removesuffix(".py").replace("/", ".")
        file = place / (f"{modules[dotted]}.py" if dotted in modules else f"own/{name[5:]}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip(), encoding="utf-8")
    return list(modules.values())


ALL_TOYS = (
    "model=toy", "network=toy", "loss=toy", "lipschitz=toy", "tricks=[toy]", "data=toy",
    "quality=toy", "steps=4", "trainer=cpu", "logger=csv", "samples.n=4", "data.batch_size=8",
    "scheme.log_every=1", "checkpoint.monitor=[quality/toy_spread]", "checkpoint.mode=max",
    "hydra.run.dir=run",
)  # fmt: skip


@pytest.mark.slow
def test_one_of_each_kind_outside(
    tmp_path: Path, env: dict[str, str], light: dict[str, str]
) -> None:
    """Plugins: the same classes in modules of the user, and the same YAML with --config-dir."""
    names = ",".join(outside(tmp_path))
    own = (f"plugins=[{names}]", "--config-dir", "own")
    assert_fine(gentrain(tmp_path, env, *ALL_TOYS, *own))
    done = summary(tmp_path / "run")
    assert done["plugins"].keys() == set(names.split(",")) and done["steps"] == 4
    assert done["metrics"]["generator/size"] > 0 and done["metrics"]["quality/toy_spread"] > 0

    # a run directory alone makes no code run
    for verb in ("sample", "eval", "export", "doctor"):
        refused = gentrain(tmp_path, env, verb, "run=run")
        assert refused.returncode == 2 and "(plugins)" in refused.stderr, refused.stderr
    words = ("sample", "run=run", "mode=toy", "n=3", "out=drawn")
    assert_fine(gentrain(tmp_path, env, *words, *own))
    named = {"GENTRAIN_PLUGINS": names}
    assert_fine(gentrain(tmp_path, env | named, *words, "--config-dir", "own", "out=again"))
    record = json.loads((tmp_path / "again" / "sample.json").read_text())
    assert record["results"]["images"] == 3

    # they take part in lists, completion and near misses
    assert "A toy" in gentrain(tmp_path, light, "list", "losses", "--config-dir", "own").stdout
    missed = gentrain(tmp_path, light, "loss=toyy", "--config-dir", "own")
    assert "did you mean toy" in missed.stderr

    (tmp_path / "own_0.py").write_text((tmp_path / "own_0.py").read_text() + "# changed\n")
    warned = gentrain(tmp_path, env, *words, *own, "out=third", cold=True)
    assert "own_0 has changed" in warned.stderr


BROKEN = {
    "no_such_module": (None, "no module no_such_module"),
    "not a name": (None, "is no name of a module"),
    "bad_import": ("import torhc\n", "imports torhc"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_cannot_be_imported(name: str, tmp_path: Path, light: dict[str, str]) -> None:
    """On the command line; more of them are in test_plugin_mistakes.py."""
    text, said = BROKEN[name]
    if text:
        (tmp_path / f"{name}.py").write_text(text)
    done = gentrain(tmp_path, light, f"plugins=['{name}']", "model=dcgan", *SMALL)
    assert_refused(done, tmp_path, said, "(plugins)")


WITHOUT = """
    from gentrain.models.base import GenerativeModel
    from gentrain.adversarial.regularizer import Regularizer


    class Half(GenerativeModel):
        def __init__(self, **_): super().__init__()


    class Other:
        def __init__(self, **_): ...
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model._target_=mine.Half",), ["abstract", "sample"]),
        (("loss._target_=mine.Other",), ["Other is no AdversarialLoss", "loss)"]),
        (("model._target_=os.system",), ["may not be constructed"]),
        (("loss._target_=mine.Othr",), ["does not exist", "did you mean Other"]),
        (("model._target_=mine.os.system",), ["mine.os.system"]),
    ],
)
def test_what_a_plugin_lacks_is_said(
    words: tuple[str, ...], said: list[str], tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "mine.py").write_text("import os\n" + dedent(WITHOUT))
    done = gentrain(tmp_path, env, "plugins=[mine]", "model=dcgan", *SMALL, *words)
    assert_refused(done, tmp_path, *said)


def blocks(page: str) -> dict[str, str]:
    """The files of a page: fenced blocks whose first line names the file."""
    found = re.findall(r"^```\w+\n# (\S+/\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return dict(found)


def commands(page: str) -> list[list[str]]:
    """The trainings and samplings of a page: indented lines that start with `gentrain`."""
    lines = re.findall(r"^    gentrain (.*)$", page, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_contributing_is_true(tmp_path: Path) -> None:
    """Every file of CONTRIBUTING.md is added as it stands there, and every command is run."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    files, asked = blocks(page), commands(page)
    assert len(files) >= 16 and len(asked) >= 8
    copy = copied(tmp_path)
    for name, text in files.items():
        assert not (copy / name).exists(), name
        (copy / name).write_text(text)
    for words in asked:
        run(copy, tmp_path, words)
