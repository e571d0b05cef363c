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
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.paths import ROOT

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


def run(tree: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A cold process that imports the copy, and not the package under test."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "GENTRAIN_CACHE": str(cwd / "cache")}
    command = [sys.executable, "-m", "gentrain", *words]
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done


def test_one_of_each_kind(tree: Path, tmp_path: Path) -> None:
    run(
        tree, tmp_path, "model=toy", "network=toy", "loss=toy", "lipschitz=toy", "tricks=[toy]",
        "data=toy", "quality=toy", "steps=4", "trainer=cpu", "logger=csv", "samples.n=4",
        "data.batch_size=8", "scheme.log_every=1", "checkpoint.monitor=[quality/toy_spread]",
        "checkpoint.mode=max", "hydra.run.dir=run",
    )  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (
        summary["choices"] | {"model": "toy", "data": "toy", "tricks": "toy"}
        == (summary["choices"])
    )
    metrics = summary["metrics"]
    assert metrics["generator/size"] > 0 and metrics["critic/toy_penalty"] >= 0
    assert metrics["quality/toy_spread"] > 0
    assert summary["best"]["metric"] == "quality/toy_spread"
    assert summary["directions"] == {"quality/toy_spread": True}
    assert summary["protocols"]["quality"] == {"name": "toy", "samples": 8}

    import torch

    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["model.loss.k"] == 8  # 4 critic steps at a rate of 2

    run(tree, tmp_path, "sample", "run=run", "mode=toy", "n=3", "out=drawn")
    record = json.loads((tmp_path / "drawn" / "sample.json").read_text())
    assert record["mode"] == "toy" and record["results"]["images"] == 3


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
        run(copy, tmp_path, *words)
