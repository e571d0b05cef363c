"""`gentrain check plugin=MODULE`: each example of examples/plugins passes; broken code of each kind
fails with the line that names its fault.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gentrain.cli.compose import composed, register
from gentrain.commands.check import check
from gentrain.config import paths, plugins
from gentrain.config.schema import Compiler
from gentrain.errors import ChecksFailed
from tests.support.paths import ROOT
from tests.support.shell import assert_refused, gentrain

EXAMPLES = ROOT / "examples" / "plugins"
MODULES = sorted(file.stem for file in EXAMPLES.glob("*.py"))
QUICK = ("coordinates", "walk_mode", "sliced_wasserstein")

Checked = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Checked]:
    """`checked(module, directory)`: the exit status, and the line of each check that has failed.

    In this process, in the directory, whose folder `conf` or `own` has the YAML files.
    """
    modules = set(sys.modules)
    monkeypatch.setattr(plugins, "active", {})
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(module: str, place: Path, compiler: str = "none") -> tuple[int, dict[str, str]]:
        monkeypatch.chdir(place)
        paths.overlays[:] = [each for each in (place / "conf", place / "own") if each.is_dir()]
        register()
        plugins.activate([module])
        status = 0
        try:
            check({"plugin": module, "compile": Compiler[compiler]}, composed)
        except ChecksFailed as failed:
            status = failed.status
        lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
        return status, {line[1]: line[2] for line in lines if line[0] == "FAIL"}

    yield run
    paths.overlays.clear()
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in (*MODULES, "broken"):
            del sys.modules[name]
    importlib.invalidate_caches()


def test_there_is_an_example_of_each_kind() -> None:
    groups = {file.parent.name for file in (EXAMPLES / "conf").glob("*/*.yaml")}
    assert groups == {
        "network", "loss", "lipschitz", "tricks", "model", "data", "mode", "quality", "optimizer",
    }  # fmt: skip
    assert len(MODULES) == len(groups)


@pytest.mark.parametrize(
    "module",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in MODULES],
)
def test_an_example_passes(module: str, checked: Checked) -> None:
    status, failed = checked(module, EXAMPLES)
    assert not failed and status == 0, failed


# --- code that breaks its contract ----------------------------------------------------------------

NETWORK = """
    import math, torch
    from torch import nn
    from gentrain.networks import base
    class Generator(base.Generator):
        def __init__(self, shape, latent=3):
            super().__init__(nn.Sequential({body}), latent)
            {more}
    class Critic(base.Critic):
        def __init__(self, shape):
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.Tanh()), 4)
"""
NETWORK_YAML = """
    # @package model
    #   gentrain model=gan network=broken
    generator: {_target_: broken.Generator, _partial_: true, shape: "${data.shape}"}
    critic: {_target_: broken.Critic, _partial_: true, shape: "${data.shape}"}
"""
BODY = "nn.Linear(3, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))"
LOSS = """
    from gentrain.adversarial.losses import AdversarialLoss
    class Loss(AdversarialLoss):
        def __init__(self, rate=1.0):
            super().__init__(lambda real, fake: (rate * (real - fake).square()).mean(), {generator})
"""
LOSS_YAML = """
    # of one rate
    #   gentrain model=gan network=mlp loss=broken model.generator.width=8 model.critic.width=8
    _target_: broken.Loss
    rate: 1.0
"""
TRICK = """
    import random, torch
    from gentrain.adversarial.regularizer import Regularizer
    class Trick(Regularizer):
        count = 0
        def __init__(self, power=1):
            super().__init__()
            self.count = 0
        def critic_term(self, critic, real, fake):
            {term}
        def after_critic_step(self, model):
            {after}
"""
TRICK_YAML = """
    #   gentrain model=gan network=mlp tricks=[broken] model.generator.width=8 model.critic.width=8
    broken: {_target_: broken.Trick, power: 1}  # power of nothing
"""
DATA = """
    from dataclasses import dataclass
    import torch
    from gentrain.data.arrays import ArrayDataset
    from gentrain.data.base import Data
    @dataclass(kw_only=True, eq=False, repr=False)
    class Set(Data):
        def read(self, split):
            images = {images}
            return ArrayDataset(images, None)
"""
DATA_YAML = """
    defaults: [_base, _self_]
    _target_: broken.Set
    name: broken
    shape: [1, 8, 8]
"""
METRIC = """
    import torch
    from gentrain.quality.base import Metric, Score
    class Metric(Metric):
        key, scores = "quality=broken", {{"known": Score("one")}}
        def __init__(self, every=0, batch_size=4, seed=0, at_start=False):
            super().__init__(every, batch_size, seed, at_start)
            self.calls = 0
        def protocol(self, data, model):
            return {{}}
        def compute(self, data, model, device):
            {compute}
"""
METRIC_YAML = """
    #   gentrain model=gan network=mlp quality=broken model.generator.width=8 model.critic.width=8
    _target_: broken.Metric
    every: 0  # as of every metric
"""
MODE = """
    import torch
    from gentrain.commands.sample.mode import Mode
    class Broken(Mode):
        def __init__(self, n=1):
            self.n = n
        def draw(self, session, out):
            {draw}
            return {{}}
"""
MODE_YAML = """
    # @package _global_
    # n: how many
    n: 1
    mode: {_target_: broken.Broken, n: "${n}"}
"""
# kind: the module, its YAML file, the check that fails and what it says
BROKEN = {
    "unused parameter": (
        NETWORK.format(body=BODY, more="self.extra = nn.Linear(2, 2)"), "network", NETWORK_YAML,
        "gradients", "no gradient reaches extra.weight, extra.bias of the generator",
    ),
    "wrong shape": (
        NETWORK.format(body=BODY.replace("784", "756").replace("(1, 28", "(1, 27"), more=""),
        "network", NETWORK_YAML, "shapes",
        "a sample has the shape (8, 1, 27, 28), not (8, 1, 28, 28)",
    ),
    "layers that do not fit": (
        NETWORK.format(body=BODY.replace("(3", "(4"), more=""), "network", NETWORK_YAML,
        "shapes", "a network fails on a first batch: ",
    ),
    "loss without gradient": (
        LOSS.format(generator="lambda real, fake: fake.detach().mean()"), "loss", LOSS_YAML,
        "gradients", "the loss adversarial of the generator has no gradient",
    ),
    "loss of a batch": (
        LOSS.format(generator="lambda real, fake: fake"), "loss", LOSS_YAML,
        "shapes", "the loss adversarial of the generator has the shape (8,), not ()",
    ),
    "state outside the checkpoint": (
        TRICK.format(
            term="return self.count * critic(real).square().mean()", after="self.count += 1"
        ),
        "tricks", TRICK_YAML, "checkpoint", "regularizers.broken.count is not in the checkpoint",
    ),
    "a term of chance": (
        TRICK.format(
            term="return critic(real).square().mean() if torch.rand(()) < 0.5 else None",
            after="pass",
        ),
        "tricks", TRICK_YAML, "processes", "the term broken of the critic is used by one process",
    ),
    "option that is not explained": (
        LOSS.format(generator="lambda real, fake: fake.mean()"), "loss",
        LOSS_YAML.replace("# of one rate", "# a loss"),
        "options", "rate of broken.Loss is explained nowhere",
    ),
    "images as floats": (
        DATA.format(images="torch.rand(40, 1, 8, 8)"), "data", DATA_YAML,
        "samples", "train: torch.float32, not torch.uint8",
    ),
    "data of chance": (
        DATA.format(images="torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)"), "data",
        DATA_YAML, "digest", "another seed reads other samples",
    ),
    "score that is not declared": (
        METRIC.format(compute="return {'other': 1.0}"), "quality", METRIC_YAML,
        "scores", "quality/other is not declared; add it to scores of Metric",
    ),
    "score of chance": (
        METRIC.format(compute="self.calls += 1; return {'known': float(self.calls)}"),
        "quality", METRIC_YAML, "scores", "quality/known is another the second time",
    ),
    "mode of chance": (
        MODE.format(draw="import os; out.open(); (out.path / 'x').write_bytes(os.urandom(9))"),
        "mode", MODE_YAML, "seed", "x is another the second time",
    ),
    "mode without pictures": (
        MODE.format(draw="pass"), "mode", MODE_YAML, "draws", "leaves neither pictures nor images",
    ),
}  # fmt: skip
# of each check one; the others are slow
QUICK_FAULTS = (
    "unused parameter", "wrong shape", "loss without gradient", "state outside the checkpoint",
    "images as floats", "option that is not explained",
)  # fmt: skip


def written(place: Path, module: str, group: str, text: str) -> Path:
    (place / "own" / group).mkdir(parents=True)
    (place / "broken.py").write_text(dedent(module).lstrip())
    (place / "own" / group / "broken.yaml").write_text(dedent(text).lstrip())
    return place


@pytest.mark.parametrize(
    "fault",
    [
        each if each in QUICK_FAULTS else pytest.param(each, marks=pytest.mark.slow)
        for each in BROKEN
    ],
)
def test_a_fault_is_named(fault: str, checked: Checked, tmp_path: Path) -> None:
    module, group, text, check_name, said = BROKEN[fault]
    status, failed = checked("broken", written(tmp_path, module, group, text))
    assert status == 1 and said in failed.get(check_name, ""), failed


@pytest.mark.slow
def test_python_that_looks_at_values_is_no_graph(checked: Checked, tmp_path: Path) -> None:
    term = "return critic(real).mean() * (2 if float(real.mean()) > 0 else 1)"
    module = TRICK.format(term=term, after="pass")
    _, failed = checked("broken", written(tmp_path, module, "tricks", TRICK_YAML), "graph")
    assert list(failed) == ["compile"] and "is no single graph" in failed["compile"], failed


@pytest.mark.parametrize(
    ("place", "said"),
    [("own", "names a class of alone"), (None, "add --config-dir DIR")],
)
def test_nothing_to_check_is_a_mistake(
    place: str | None, said: str, tmp_path: Path, light: dict[str, str]
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "alone.py").write_text("x = 1\n")
    overlay = ("--config-dir", place) if place else ()
    done = gentrain(tmp_path, light, "check", "plugin=alone", *overlay)
    assert_refused(done, tmp_path, said, "(--config-dir)")


def test_the_command(tmp_path: Path, env: dict[str, str]) -> None:
    """The exit status, and a line for each check on stdout."""
    module, group, text, *_ = BROKEN["images as floats"]
    place = written(tmp_path, module, group, text)
    done = gentrain(place, env, "check", "plugin=broken", "--config-dir", "own", "compile=none")
    assert (done.returncode, done.stderr) == (1, "")
    heading, *lines, last = done.stdout.splitlines()
    assert heading == "data=broken  (broken.Set)" and last == "2 passed, 1 failed, 0 skipped"
    assert [line.split()[:2] for line in lines] == [
        ["pass", "builds"], ["FAIL", "samples"], ["pass", "options"],
    ]  # fmt: skip
    assert not (place / "outputs").exists()
