"""The contract of a metric: named, declared and repeatable scores."""

from __future__ import annotations

import json
import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from gentrain.certificates.subject import start
from gentrain.commands.check.documentation import check_documentation
from gentrain.commands.check.equality import difference
from gentrain.commands.check.options import Compose, Option
from gentrain.commands.check.outcome import Fault, Report
from gentrain.commands.check.subject import Subject, prepared
from gentrain.data.base import Data
from gentrain.models.base import GenerativeModel
from gentrain.protocols import TEST
from gentrain.quality.base import Metric, higher_is_better, measure, prepare_metric

CPU = torch.device("cpu")


def check_metric(
    option: Option, report: Report, compose: Compose, place: Path, compiler: str
) -> None:
    """Check a metric; see `check_training` for the arguments."""
    found: list[Subject] = []

    def builds() -> str:
        found.append(prepared(option, compose, place, accept=check_fit))
        return f"in a training of {' '.join(found[0].words)}"

    if not report.run("builds", builds):
        return
    (subject,) = found

    def scored() -> str:
        start(subject.model, subject.batch)
        return scores(metric_of(subject), subject.data, subject.model)

    if report.run("scores", scored):
        report.run("trains", lambda: in_a_training(subject))
    report.run("options", lambda: check_documentation(option))


def metric_of(subject: Subject) -> Metric:
    """The metric of a training."""
    return subject.job.evaluation.metrics["quality"]


def check_fit(subject: Subject) -> None:
    """Raise UserError for a model or data that the metric does not fit."""
    metric_of(subject).check(subject.data, subject.model)


def scores(metric: Metric, data: Data, model: GenerativeModel) -> str:
    """Scores are finite, declared, the same again, and change neither model nor random numbers.

    Raises:
        Fault: naming the score, or what is changed.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    protocol = prepare_metric(metric, data, model, CPU)
    one, two = (measure(metric, data, model, CPU) for _ in range(2))
    if not one:
        raise Fault("there are no scores: compute gave none that is finite")
    for name, value in one.items():
        if not (type(value) is float and math.isfinite(value)):
            raise Fault(f"{name} is a {type(value).__name__}; return float(score)")
        known = name.removeprefix("quality/")
        if not any(fnmatchcase(known, each) for each in metric.scores):
            raise Fault(f"{name} is not declared; add it to scores of {type(metric).__name__}")
    if (where := difference(one, two)) is not None:
        raise Fault(f"{where} is another the second time; draw from the metric's seed alone")
    if (where := difference(before, dict(model.state_dict()))) is not None:
        raise Fault(f"computing it changes {where} of the model; use eval_mode(model)")
    if not torch.equal(state, torch.get_rng_state()):
        raise Fault("computing it takes random numbers of the run")
    try:
        json.dumps(protocol)
    except TypeError as error:
        raise Fault(f"the protocol is no JSON: {error}") from error
    return ", ".join(f"{name} {value:.4g}{direction(name)}" for name, value in one.items())


def direction(name: str) -> str:
    """Which direction of a score is the better one."""
    better: Any = higher_is_better(name)
    return {True: " (more is better)", False: " (less is better)"}.get(better, "")


def in_a_training(subject: Subject) -> str:
    """A training of a few steps ends with the scores."""
    latest = subject.trained.scheme.latest
    named = [name for name in latest if name.startswith(("quality/", TEST))]
    if not named:
        raise Fault("a training logs none of its scores")
    return f"a training logs {', '.join(named)}"
