"""What every metric promises, and what every pair of a model class and a quality does: it scores,
or it is refused in one line.

Metrics are found by themselves: a class without a pair in `SCORED` fails. `make test` has one
preset of each model class for the refusals, and one pair of each metric for the scores; make
test-slow scores every pair that is not refused.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import pkgutil
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

import gentrain.quality
from gentrain import protocols
from gentrain.capability import supports
from gentrain.cli.compose import register
from gentrain.commands.evaluate import chosen_metrics
from gentrain.config import paths, schema, validate
from gentrain.config.build import build
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import HasLikelihood, SingleObjectiveModel, eval_mode
from gentrain.quality.base import Metric, measure, metrics_of, prepare_metric
from gentrain.quality.inception import Inception
from tests.support.compose import options
from tests.support.presets import NAMES, first_of_each_class, small
from tests.support.program import Program
from tests.support.program import refused as assert_refused_in_one_line
from tests.support.zoo import Zoo

CPU = torch.device("cpu")
QUALITIES = tuple(name for name in options("quality") if name != "none")
PRESETS = first_of_each_class(NAMES, "cvae", "planar")
# a pair that each metric scores: its class, a preset, and a quality or a callback
SCORED = {
    "Annealed": ("rbm", "ais"),
    "CaptionAgreement": ("gan_cls", "caption_agreement"),
    "ChainMixing": ("rbm", "chains"),
    "DecoderLikelihood": ("gan", "decoder_ais"),
    "ImageQuality": ("cgan", "classifier"),
    "LinearProbe": ("bigan", "probe"),
    "LogLikelihood": ("cvae", "nats"),
    "MatchedAccuracy": ("infogan", "matched_accuracy"),
    "ModeCoverage": ("planar", "modes"),
    "PairedScores": ("pix2pix", "paired"),
    "PlaneLikelihood": ("ebm", "plane"),
    "RoundTrip": ("cyclegan", "translation"),
    "SoundQuality": ("wavegan", "spectral"),
    "StackedCoverage": ("dcgan", "stacked"),
    "TestError": ("semi_supervised_gan", "error_rate"),
    "ToneQuality": ("wavegan", "tones"),
}
OUTSIDE = ("logger", "callbacks", "samples", "checkpoint", "quality", "trainer")
DATA = {
    "caption_agreement": "captioned_digits data.n=200",
    "modes": "gaussian_ring",
    "plane": "two_moons",
    "stacked": "stacked_mnist",
    "spectral": "tones",
    "tones": "tones",
}  # which a quality is for
# small numbers
SIZES = {
    "samples": 6, "images": 4, "importance": 2, "chains": 3, "temperatures": 4, "batch_size": 4,
    "updates": 2, "kid_subsets": 2, "prdc_samples": 5, "reference_samples": 30, "leaps": 2,
    "labels": [10], "draws": 2,
}  # fmt: skip


def metric_classes() -> list[type[Metric]]:
    """Every metric of the package that is no base class."""
    found = set()
    for module in pkgutil.iter_modules(gentrain.quality.__path__, "gentrain.quality."):
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(each, Metric) and not inspect.isabstract(each):
                found.add(each)
    return sorted(found, key=lambda each: each.__name__)


CLASSES = metric_classes()


class TinyInception(nn.Module):
    """In the place of the network that would be downloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.logits = nn.LazyLinear(8), nn.LazyLinear(5)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = images.flatten(1).float() / 255
        return self.features(x), self.logits(x)


class Triples(Data):
    """Three digits in three channels, as Stacked MNIST has them, of noise."""

    def __init__(self) -> None:
        super().__init__(name="stacked", shape=(3, 28, 28), classes=1000, batch_size=8)

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(len(split))
        images = torch.randint(256, (40, 3, 28, 28), generator=draw, dtype=torch.uint8)
        return ArrayDataset(images, torch.randint(1000, (40,), generator=draw))


@pytest.fixture(autouse=True)
def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(self: Inception) -> nn.Module:
        torch.manual_seed(0)
        network = TinyInception()
        network(torch.zeros(1, 3, 8, 8))
        return network

    monkeypatch.setattr(Inception, "_downloaded", made)


# --- compositions -------------------------------------------------------------------------------


def shrunk(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: shrunk(v) if isinstance(v, dict) else SIZES.get(key, v) for key, v in node.items()}


@cache
def composition(*words: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        return schema.resolved(compose("train", overrides=list(words)))


@cache
def quality_node(name: str, cache_dir: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        node = shrunk(schema.resolved(compose(f"quality/{name}"))["quality"])
    return node | ({"cache": cache_dir} if "cache" in node else {})


@cache
def subject(preset: str, data: str) -> tuple[Any, Data, dict[str, Any]]:
    """A small model of a preset, its data, and its configuration."""
    of_images = () if data or preset in ("planar", "iaf") else ("data.size=8",)
    words = (*of_images, *(f"data={data}".split() if data else ()))
    words += ("network=energy_mlp",) if preset == "ebm" and data == "two_moons" else ()
    config = composition(f"model={preset}", *words)
    inner = {key: value for key, value in config.items() if key not in OUTSIDE}
    found = validate.check(small(inner))
    torch.manual_seed(0)
    source = Triples() if data == "stacked_mnist" else build(found["data"], "data")
    return build(found["model"], "model"), source, config


def pairs(config: dict[str, Any], cache_dir: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each quality, and each metric among a preset's own callbacks, with its configuration."""
    for name, node in config["callbacks"].items():
        if isinstance(metrics_of({"quality": NONE, "callbacks": {name: node}}).get(name), Metric):
            yield name, shrunk(node)
    for name in QUALITIES:
        yield name, quality_node(name, cache_dir)


def metric_of(name: str, node: dict[str, Any]) -> Metric:
    """The metric as a training builds it."""
    if name in QUALITIES:
        return metrics_of({"quality": node, "callbacks": {}})["quality"]
    return metrics_of({"quality": NONE, "callbacks": {name: node}})[name]


def ready(model: Any, data: Data) -> None:
    """As after the first batch of a training."""
    torch.manual_seed(0)
    batch = next(iter(data.batches()))
    if isinstance(model, SingleObjectiveModel) and model.init_images:
        model.init_from_data(batch)
    model.init_from_batch(batch)
    with eval_mode(model):
        pass  # a flow has set its statistics of the data


NONE = {"_target_": "gentrain.quality.base.no_metric"}


# --- what is declared -----------------------------------------------------------------------------


def test_every_metric_is_scored() -> None:
    assert [each.__name__ for each in CLASSES] == sorted(SCORED)


@pytest.mark.parametrize("metric", CLASSES, ids=lambda each: each.__name__)
def test_its_scores_are_declared_with_unit_direction_and_error(metric: type[Metric]) -> None:
    assert metric.scores and metric.key
    for name, score in metric.scores.items():
        assert score.unit and score.higher_is_better in (True, False, None), name
        if score.higher_is_better is None:  # an error, a number of samples, a floor: no score
            continue
        assert score.error, f"{name} has neither an error nor a reason why there is none"
        if score.error in metric.scores:
            assert metric.scores[score.error].higher_is_better is None
        else:
            assert " " in score.error, f"{score.error} is no score of {metric.__name__}"


# --- what is computed -----------------------------------------------------------------------------


def assert_contract(metric: Metric, model: Any, data: Data) -> dict[str, float]:
    """Declared names, finite numbers, a protocol in JSON, and the same numbers again."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    before |= {name: value.clone() for name, value in model.named_buffers()}
    protocol = prepare_metric(metric, data, model, CPU)
    assert protocols.about(protocol), "its line would say nothing"
    state = torch.get_rng_state()
    scores = measure(metric, data, model, CPU)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert scores and all(name.startswith("quality/") for name in scores)
    for name, value in scores.items():
        known = [score for score in metric.scores if fnmatchcase(name[8:], score)]
        assert known, f"{metric.key} gives {name}, and does not declare it"
        assert isinstance(value, float) and math.isfinite(value), (name, value)
        error = metric.scores[known[0]].error
        if error in metric.scores and f"quality/{error}" not in scores:
            stem = name[8:].removesuffix("_mean")
            assert [one for one in scores if fnmatchcase(one[8:], error)], (stem, error)
    assert json.loads(json.dumps(protocol, allow_nan=False)) == protocol
    after = [*model.named_parameters(), *model.named_buffers()]
    assert all(torch.equal(value, before[name]) for name, value in after)
    assert measure(metric, data, model, CPU) == scores
    assert prepare_metric(metric, data, model, CPU) == protocol
    return scores


def refused(error: UserError, key: str) -> None:
    text = str(error)
    assert "\n" not in text and "; " in text and "(" in text, text
    assert len(text) < 400 and key, text


LONG = ("SoundQuality", "ToneQuality")  # each trains a classifier of sounds


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in SCORED],
)
def test_it_scores_what_it_is_for(name: str, env: dict[str, str]) -> None:
    preset, quality = SCORED[name]
    model, data, config = subject(preset, DATA.get(quality, ""))
    ready(model, data)
    node = dict(pairs(config, env["GENTRAIN_CACHE"]))[quality]
    metric = metric_of(quality, node)
    assert type(metric).__name__ == name
    metric.check(data, model)
    assert_contract(metric, model, data)


QUICK = ("rbm", "cvae")
EVERY = [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PRESETS]


@pytest.mark.parametrize("preset", EVERY)
def test_every_quality_scores_a_model_or_is_refused(preset: str, env: dict[str, str]) -> None:
    """In a training, and in `gentrain eval`, which chooses a metric by itself as well."""
    model, data, config = subject(preset, "")
    ready(model, data)
    for name, node in pairs(config, env["GENTRAIN_CACHE"]):
        outcomes: list[Any] = []
        for way in ("train", "eval"):
            if way == "train" or name not in QUALITIES:
                metric = metric_of(name, node)
            else:
                metric = chosen_metrics(model, config, node)["quality"]
            try:
                metric.check(data, model)
            except UserError as error:
                refused(error, name)
                outcomes.append(str(error))
            else:
                outcomes.append(assert_contract(metric, model, data))
        assert outcomes[0] == outcomes[1]
    own = (
        chosen_metrics(model, config | {"quality": NONE, "callbacks": {}}, None)
        if (supports(model, HasLikelihood))
        else {}
    )
    for metric in own.values():
        metric.override({"n": 4, "importance": 2}, data, model)
        metric.check(data, model)
        assert_contract(metric, model, data)


def test_the_program_refuses_a_quality_before_anything_is_written(
    zoo: Zoo, tmp_path: Path, program: Program
) -> None:
    words = "model=rbm", "quality=nats", "steps=1", "trainer=cpu", "logger=csv"
    assert_refused_in_one_line(program(*words, "data.size=8", "hydra.run.dir=r"), "quality=nats")
    out = tmp_path / "eval.json"
    done = program("eval", f"run={zoo('rbm')}", "quality=nats", f"out={out}")
    assert_refused_in_one_line(done, "quality=nats")
    done = program("eval", f"run={zoo('rbm')}", "n=1", f"out={out}")
    assert_refused_in_one_line(done, "at least 2", "(n")
    assert list(tmp_path.iterdir()) == []


FEW = {
    # a metric, a number of held-out images and of samples: the words of its only warning
    "few images": ("dcgan", "classifier", 27, 1000, r"27 validation images .* too few"),
    "fewer than features": ("dcgan", "classifier", 120, 1000, r"120 .* for 128 features"),
    "few samples": ("dcgan", "classifier", 200, 128, r"128 samples for 128 features"),
    "a mean": ("vae", "nats", 27, 1000, r"27 images, so its means are rough"),
    "enough": ("dcgan", "classifier", 200, 1000, None),
    "a mean of enough": ("vae", "nats", 100, 1000, None),
}


@pytest.mark.parametrize("case", FEW)
def test_too_few_images_are_said_at_the_start_in_one_line(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    preset, quality, count, samples, words = FEW[case]
    config = small(composition(f"model={preset}", f"quality={quality}", "data=mnist_5k"))
    metric = metrics_of(config | {"callbacks": {}})["quality"]
    metric.__dict__["samples"] = metric.__dict__["wanted"] = samples
    data = build(validate.checked(config["data"], "data"), "data", Data)
    images = torch.randint(256, (count, *data.shape), dtype=torch.uint8)
    labels = torch.arange(count) % data.classes
    data._samples = dict.fromkeys(("train", "validation", "test"), ArrayDataset(images, labels))
    model = build(validate.checked(config["model"], "model"), "model")
    metric.split = "validation"
    for _ in range(2):  # as for the end of the training
        metric.check(data, model)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (words is not None), said
    assert words is None or re.search(words, said[0])
