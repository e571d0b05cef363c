"""gentrain eval run=PATH: the scores of a finished run with their protocol.

They are printed as a small table and written to eval.json in the run. `quality` chooses a metric.
Without it, a model with a likelihood is scored by the nats of held-out images, a model that learns
from few labels by its error too, and every other model by the metrics of its own run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gentrain.capability import supports
from gentrain.commands.sample import device
from gentrain.commands.sample.session import SampleSession
from gentrain.config.types import Count, Whole
from gentrain.config.validate import coerced
from gentrain.errors import UserError
from gentrain.files import report_disk_errors, write_json
from gentrain.models.base import GenerativeModel, HasLikelihood
from gentrain.quality.base import Metric, measure, metrics_of, prepare_metric
from gentrain.quality.likelihood import LogLikelihood
from gentrain.quality.test_error import TestError
from gentrain.runs import directory
from gentrain.runs.reopen import OpenedRun, reopen

BATCH = 100  # images at a time, of a model with a likelihood
IMPORTANCE = 100  # samples of its bound
OPTIONS = {"n": Count, "importance": Count, "batch_size": Count, "seed": Whole, "split": str}
IN_WORDS = ("nats", "nats_error", "bits_per_dim", "test_error")  # scores with lines of their own


def evaluate(config: dict[str, Any]) -> Path:
    """Score a run.

    Args:
        config: the keys of conf/eval.yaml.

    Returns:
        The file with the record.

    Raises:
        UserError: where there is no run, or nothing to score.
    """
    given = given_options(config)
    run_dir = Path(config["run"])
    file = Path(config["out"]) if config["out"] else run_dir / "eval.json"
    run = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    session = SampleSession(run, config["averaged"], given.get("seed", 0))
    scores: dict[str, float] = {}
    protocols: dict[str, Any] = {}
    metrics = chosen_metrics(run.model, run.config, config["quality"])
    for metric in metrics.values():
        metric.check(run.data, run.model)
    override(metrics, given, run)
    for name, metric in metrics.items():
        protocols[name] = prepare_metric(metric, run.data, run.model, run.device)
        scores |= measure(metric, run.data, run.model, run.device)
    record = {
        "run": str(run_dir.resolve()),
        "checkpoint": config["checkpoint"].name,
        "step": run.step,
        "averaged": session.averaged,
        "scores": scores,
        "protocols": protocols,
        "device": str(run.device),
        "versions": directory.versions(),
    }
    with report_disk_errors(file.parent, "out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
    weights = "averaged weights" if session.averaged else "the last weights"
    print(f"{run_dir} at step {run.step}, {weights}; all of it in {file}")
    print("\n".join(f"  {line}" for line in table(scores, protocols)))
    return file


def given_options(config: dict[str, Any]) -> dict[str, Any]:
    """The options of metrics that the user gave, checked.

    Args:
        config: the keys of conf/eval.yaml.

    Raises:
        UserError: for a value of another type, or out of range.
    """
    typed = {key: config[key] for key in OPTIONS if config[key] is not None}
    if "split" in typed:
        typed["split"] = typed["split"].name
    return {key: coerced(value, OPTIONS[key], key) for key, value in typed.items()}


def chosen_metrics(
    model: GenerativeModel, of_run: dict[str, Any], quality: dict[str, Any] | None
) -> dict[str, Metric]:
    """What scores a model: the metric that was asked for, its likelihood, or its run's metrics.

    Args:
        model: model of the run.
        of_run: the configuration that it was trained with.
        quality: the node of conf/quality that was asked for.

    Raises:
        UserError: when there is nothing.
    """
    if quality is not None:
        found = metrics_of({"quality": quality, "callbacks": {}})
    else:
        found = metrics_of(of_run)
        if supports(model, HasLikelihood):
            found["quality"] = LogLikelihood(0, None, IMPORTANCE, BATCH, at_start=False)
        if model.semi_supervised:
            found["test_error"] = TestError(0, at_start=False)
    if not found:
        raise UserError(
            "there is nothing to score: the model of this run has no likelihood, and its quality "
            "is none (quality); add quality=classifier"
        )
    return found


def override(metrics: dict[str, Metric], given: dict[str, Any], run: OpenedRun) -> None:
    """Set the options that the user gave.

    Args:
        metrics: the metrics, by their keys.
        given: the options, by name.
        run: the run that will be scored.

    Raises:
        UserError: for an option that no metric reads, or for more images than there are.
    """
    read: set[str] = set()
    for metric in metrics.values():
        read |= metric.override(given, run.data, run.model)
    if unread := sorted(given.keys() - read):
        known = {key for metric in metrics.values() for key in metric.options_for(run.model)}
        raise UserError(
            f"{unread[0]} changes none of these scores ({unread[0]}); leave it out, or give "
            f"{' or '.join(sorted(known))}"
        )


def table(scores: dict[str, float], protocols: dict[str, Any]) -> list[str]:
    """A line for each score, and the protocol beside the first."""
    found = {name.removeprefix("quality/"): value for name, value in scores.items()}
    about = protocols.get("quality", {})
    lines = []
    if "nats" in found:
        lines += likelihood_lines(found, about)
    elif about:
        how = about.get("features", about.get("name", "protocol"))
        lines.append(f"{about.get('samples', '')} fakes, {how}".strip())
    if "test_error" in found:
        about = protocols["test_error"]
        labels = f"after {about['labelled']} labels" if about["labelled"] else "after all labels"
        error = f"test error  {found['test_error']:.2%} of the test split of {about['data']}"
        lines.append(f"{error}, {labels}")
    others = {name: value for name, value in found.items() if name not in IN_WORDS}
    return lines + [f"{name:<28}{value:.5g}" for name, value in others.items()]


def likelihood_lines(scores: dict[str, float], about: dict[str, Any]) -> list[str]:
    """The nats with their error and protocol, and the bits per dimension."""
    images = f"{about['images']} {about['split']} images of {about['data']}, {about['pixels']}"
    nats = f"{scores['nats']:.2f} +- {scores['nats_error']:.2f} nats"
    lines = [f"-log p(x)   {nats}; {about['likelihood']}; {images}"]
    if "bits_per_dim" in scores:
        bits = f"{scores['bits_per_dim']:.4f} over {about['dimensions']} dimensions"
        lines.append(f"bits/dim    {bits}")
    return lines
