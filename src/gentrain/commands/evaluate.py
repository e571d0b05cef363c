"""gentrain eval run=PATH: the scores of a finished run with their protocol.

They are printed as a small table and written to eval.json in the run. A model with a likelihood is
scored by the nats of held-out images, a model that learns from few labels by its error too, and
every other model by the metrics of its own run.
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
from gentrain.runs.reopen import reopen

BATCH = 100  # images at a time, of a model with a likelihood
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
    types = {"images": Count | None, "importance": Count, "batch_size": Count | None, "seed": Whole}
    config = config | {key: coerced(config[key], hint, key) for key, hint in types.items()}
    run_dir = Path(config["run"])
    file = Path(config["out"]) if config["out"] else run_dir / "eval.json"
    run = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    session = SampleSession(run, config["averaged"], config["seed"])
    scores: dict[str, float] = {}
    protocols: dict[str, Any] = {}
    for name, metric in chosen_metrics(run.model, run.config, config).items():
        metric.split = config["split"].name
        metric.check(run.data, run.model)
        protocols[name] = prepare_metric(
            metric, run.data, run.model, run.device, config["split"].name
        )
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


def chosen_metrics(
    model: GenerativeModel, of_run: dict[str, Any], config: dict[str, Any]
) -> dict[str, Metric]:
    """What scores a model: its likelihood, or else the metrics of its own run.

    Args:
        model: model of the run.
        of_run: the configuration that it was trained with.
        config: the keys of conf/eval.yaml.

    Raises:
        UserError: when there is nothing.
    """
    images, batch_size = config["images"], config["batch_size"]
    found = metrics_of(of_run)
    if supports(model, HasLikelihood):
        importance, seed = config["importance"], config["seed"]
        found["quality"] = LogLikelihood(0, images, importance, BATCH, seed, False)
    for metric in found.values():
        metric.override_sizes(images, batch_size)
    if model.semi_supervised:
        found["test_error"] = TestError(0, at_start=False)
    if not found:
        raise UserError(
            "this run was trained with quality=none, and its model has no likelihood (run); "
            "give a run with quality=classifier"
        )
    return found


def table(scores: dict[str, float], protocols: dict[str, Any]) -> list[str]:
    """A line for each score, and the protocol beside the first."""
    found = {name.removeprefix("quality/"): value for name, value in scores.items()}
    about = protocols.get("quality", {})
    lines = []
    if "nats" in found:
        lines += likelihood_lines(found, about)
    elif about:
        how = about.get("features", about.get("name", "protocol"))
        split = about.get("reference", about).get("split")
        counted = [f"{about['samples']} fakes"] if "samples" in about else []
        against = [f"against {split}"] if split else []
        lines.append(", ".join([*counted, how, *against]))
    if "test_error" in found:
        about = protocols["test_error"]
        labels = f"after {about['labelled']} labels" if about["labelled"] else "after all labels"
        error = f"test error  {found['test_error']:.2%} of {about['data']}, {about['split']}"
        lines.append(f"{error}, {labels}")
    others = {name: value for name, value in found.items() if name not in IN_WORDS}
    return lines + [f"{name:<28}{value:.5g}" for name, value in others.items()]


def likelihood_lines(scores: dict[str, float], about: dict[str, Any]) -> list[str]:
    """The nats with their error and protocol, and the bits per dimension."""
    images = f"{about['images']} images of {about['data']}, {about['split']}, {about['pixels']}"
    nats = f"{scores['nats']:.2f} +- {scores['nats_error']:.2f} nats"
    lines = [f"-log p(x)   {nats}; {about['likelihood']}; {images}"]
    if "bits_per_dim" in scores:
        bits = f"{scores['bits_per_dim']:.4f} over {about['dimensions']} dimensions"
        lines.append(f"bits/dim    {bits}")
    return lines
