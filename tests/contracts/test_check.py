"""`gentrain check plugin=MODULE`: each example of examples/plugins passes; broken code of each kind
fails with the line that names its fault.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from gentrain.certificates.subject import start
from gentrain.cli.compose import composed, register
from gentrain.commands.check import check
from gentrain.commands.check.options import Option
from gentrain.commands.check.outcome import Report
from gentrain.commands.check.subject import Subject, configured
from gentrain.commands.check.training import gradients, processes, shapes
from gentrain.config import paths, plugins
from gentrain.config.schema import Compiler
from gentrain.errors import ChecksFailed, Interrupted, Unavailable
from tests.contracts.test_samples import made
from tests.support.paths import ROOT
from tests.support.presets import DENSITIES, ENERGIES, REGRESSIONS, first_of_each_class
from tests.support.shell import assert_refused, gentrain

EXAMPLES = ROOT / "examples" / "plugins"
MODULES = sorted(file.stem for file in EXAMPLES.glob("*.py"))
QUICK = ("walk_mode", "sliced_wasserstein")

Checked = Any  # see the fixture


def subject_of(words: tuple[str, ...], place: Path) -> Subject:
    """A training of four steps."""
    option = Option("model", "none", place / "none.yaml", ())
    return configured(option, list(words), composed, place)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Checked]:
    """`checked(module, directory)`: the exit status, and the line of each check that has failed.

    `checked.enter(directory, *modules)` makes plugins known, as --config-dir and plugins=[...] do.
    In this process, in the directory, whose folder `conf` or `own` has the YAML files.
    """
    modules = set(sys.modules)
    monkeypatch.setattr(plugins, "active", {})
    monkeypatch.setattr(sys, "path", [*sys.path])

    def enter(place: Path, *names: str) -> None:
        monkeypatch.chdir(place)
        paths.overlays[:] = [each for each in (place / "conf", place / "own") if each.is_dir()]
        register()
        plugins.activate(names)

    def run(module: str, place: Path, compiler: str = "none") -> tuple[int, dict[str, str]]:
        enter(place, module)
        status = 0
        try:
            check({"plugin": module, "compile": Compiler[compiler]}, composed)
        except ChecksFailed as failed:
            status = failed.status
        lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
        return status, {line[1]: line[2] for line in lines if line[0] == "FAIL"}

    run.enter = enter  # type: ignore[attr-defined]
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


TOGETHER = (
    "model=gan", "network=coordinates", "loss=relativistic_hinge", "lipschitz=parseval",
    "tricks=[consistency]", "optimizer=lion", "quality=sliced_wasserstein", "quality.samples=8",
    "quality.every=2", "quality.batch_size=8",
)  # fmt: skip
ALONE = ("model=moment_matching", "data=spirals", "model.network.width=8")


@pytest.mark.parametrize("words", [TOGETHER, ALONE])
def test_the_examples_train(words: tuple[str, ...], checked: Checked, tmp_path: Path) -> None:
    """A few steps with each example; the others are in the one run or in the other."""
    checked.enter(EXAMPLES, *MODULES)
    subject = subject_of(words, tmp_path)
    latest = subject.trained.scheme.latest
    if words == ALONE:
        assert latest["model/mmd"] > 0 and subject.data.shape == (2,)
        return
    assert latest["critic/consistency"] >= 0 and latest["quality/sliced_wasserstein"] > 0
    assert [type(each).__name__ for each in subject.job.trainer.optimizers] == ["Lion", "Lion"]
    matrices = [p.flatten(1) for p in subject.model.critic.parameters() if p.ndim > 1]
    assert all(torch.linalg.matrix_norm(m, 2) < 1.01 for m in matrices)


# --- the mathematics of the examples --------------------------------------------------------------


def example(name: str) -> Any:
    return importlib.import_module(name)


def test_formulas(checked: Checked) -> None:
    """Each example against a loop or a closed form."""
    checked.enter(EXAMPLES, *MODULES)
    real, fake = torch.randn(2, 5, dtype=torch.float64)
    loss = example("relativistic_hinge").RelativisticHinge()
    a = [float(x) - float(fake.mean()) for x in real]
    b = [float(x) - float(real.mean()) for x in fake]
    critic = sum(max(0, 1 - x) for x in a) / 5 + sum(max(0, 1 + x) for x in b) / 5
    generator = sum(max(0, 1 + x) for x in a) / 5 + sum(max(0, 1 - x) for x in b) / 5
    assert float(loss.critic(real, fake)) == pytest.approx(critic)
    assert float(loss.generator(real, fake)) == pytest.approx(generator)

    # a copy is moved by whole pixels: the middle of each is a window of the image
    x = torch.arange(2 * 9 * 9.0).view(2, 1, 9, 9)
    moved = example("consistency").Consistency(shift=2).moved(x)
    for one, copy in zip(x, moved, strict=True):
        windows = [one[:, i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
        assert any(torch.equal(copy[:, 2:7, 2:7], window) for window in windows)

    # Parseval's step has the fixed point W W^T = I, and goes towards it
    layer, parseval = nn.Linear(6, 3), example("parseval").Parseval(rate=0.5)
    model = SimpleNamespace(critic=layer)
    parseval.on_train_start(model)
    for _ in range(60):
        parseval.after_critic_step(model)
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(3), atol=1e-5, rtol=0)

    matching = example("moment_matching").MomentMatching(nn.Identity, widths=(0.5,))
    y, z = torch.randn(4, 3), torch.randn(5, 3)

    def k(one: torch.Tensor, two: torch.Tensor) -> float:
        pairs = [(i, j) for i in one for j in two]
        return sum(math.exp(-float((i - j).square().mean()) / 2) for i, j in pairs) / len(pairs)

    expected = k(y, y) + k(z, z) - 2 * k(y, z)
    assert float(matching.mmd2(y, z)) == pytest.approx(expected, rel=1e-4)


def test_lion_and_sliced_wasserstein(checked: Checked) -> None:
    checked.enter(EXAMPLES, *MODULES)
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    lion = example("lion").Lion([weight], lr=0.1, betas=(0.5, 0.75), weight_decay=0.5)
    w, m = [1.0, -2.0], [0.0, 0.0]
    for gradient in ([3.0, -1.0], [-8.0, -1.0], [0.5, 0.5]):
        weight.grad = torch.tensor(gradient)
        lion.step()
        for i, g in enumerate(gradient):
            u = math.copysign(1, 0.5 * m[i] + 0.5 * g)
            w[i] -= 0.1 * (u + 0.5 * w[i])
            m[i] = 0.75 * m[i] + 0.25 * g
    torch.testing.assert_close(weight.detach(), torch.tensor(w))
    # of a set moved by a vector v, the distance is the mean of |u v|: |v| times that of a cosine
    metric = example("sliced_wasserstein").SlicedWasserstein(directions=20_000)
    x, v = torch.randn(50, 2), torch.tensor([0.6, 0.8])
    assert float(metric.distance(x + v, x)) == pytest.approx(2 / math.pi, rel=0.02)


# --- gentrain's own models ------------------------------------------------------------------------

ONE_PLAYER = first_of_each_class((*DENSITIES, *ENERGIES, *REGRESSIONS))


@pytest.mark.parametrize(
    "preset",
    [
        each if each in ("vae", "rbm") else pytest.param(each, marks=pytest.mark.slow)
        for each in ONE_PLAYER
        if each != "iaf_distilled"
    ],
)
def test_models_of_one_player(preset: str) -> None:
    """Those of two players are in test_backbones.py."""
    run = made(preset)
    model: Any = run.model
    data = run.data
    batch = next(iter(data.batches()))
    batch = tuple(each[:8] for each in batch)
    start(model, batch)
    assert shapes(model, batch) and gradients(model, batch) and processes(model, batch)


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
MODEL = """
    from gentrain.models.gan.gan import GAN
    class Counting(GAN):
        updates = 0
        def generator_loss(self, batch):
            objective = super().generator_loss(batch)
            fake = self.generate(self.generator, batch)
            objective.losses["size"] = self.updates * fake.square().mean()
            return objective
        def after_generator_step(self):
            super().after_generator_step()
            self.updates = self.updates + 1
"""
MODEL_YAML = """
    # @package _global_
    defaults: [_gan, override /network: mlp, _self_]
    model: {_target_: broken.Counting, generator: {width: 8}, critic: {width: 8}}
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
    "model with state outside the checkpoint": (
        MODEL, "model", MODEL_YAML, "checkpoint", "updates is not in the checkpoint",
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
    "unused parameter", "wrong shape", "loss without gradient",
    "model with state outside the checkpoint", "images as floats", "option that is not explained",
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
    if fault == "option that is not explained":
        assert list(failed) == ["options"]  # all else of a training passes


@pytest.mark.slow
def test_python_that_looks_at_values_is_no_graph(checked: Checked, tmp_path: Path) -> None:
    term = "return critic(real).mean() * (2 if float(real.mean()) > 0 else 1)"
    module = TRICK.format(term=term, after="pass")
    _, failed = checked("broken", written(tmp_path, module, "tricks", TRICK_YAML), "graph")
    assert list(failed) == ["compile"] and "is no single graph" in failed["compile"], failed


@pytest.mark.parametrize("error", [Interrupted(2), Unavailable("no network (data); wait")])
def test_what_is_no_fault_ends_the_command(error: Exception, capsys: Any) -> None:
    def check() -> str:
        raise error

    with pytest.raises(type(error)):
        Report().run("builds", check)
    assert capsys.readouterr().out == ""


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
