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
from gentrain.commands.sample.session import SampleSession, choose_draws
from gentrain.config.schema import SHARE
from gentrain.config.types import Count, Whole
from gentrain.config.validate import coerced
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.files import report_disk_errors, write_json
from gentrain.models.base import GenerativeModel, HasLikelihood, HasLogPartition, HasTrace
from gentrain.patience import say_if_slow
from gentrain.protocols import by_score
from gentrain.protocols import lines as lines_of
from gentrain.quality.base import Metric, error_of, measure, metrics_of, prepare_metric
from gentrain.quality.chains import ChainMixing
from gentrain.quality.decoder_ais import DecoderLikelihood
from gentrain.quality.likelihood import LogLikelihood
from gentrain.quality.plane import PlaneLikelihood
from gentrain.quality.test_error import TestError
from gentrain.runs import directory
from gentrain.runs.reopen import OpenedRun, reopen
from gentrain.runs.resolvers import NO_SCORES
from gentrain.tables import quantity

BATCH = 100  # images at a time, of a model with a likelihood
IMPORTANCE = 100  # samples of its bound
COLUMN = 27  # characters of the names of scores, at least
OPTIONS = {"n": Count, "importance": Count, "batch_size": Count, "seed": Whole, "split": str}
GIVEN_LABEL = "nats_given_label"
CHAINS = ("acceptance", "ess", "r_hat")  # scores of chains
# scores with lines of their own
IN_WORDS = (
    "nats",
    "nats_error",
    GIVEN_LABEL,
    f"{GIVEN_LABEL}_error",
    "bits_per_dim",
    "error_rate",
    *CHAINS,
    "nats_gaussian",
    "nats_gaussian_error",
    "nats_gap",
    "deviation",
    "ais_acceptance",
)


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
    with say_if_slow(f"opening {run_dir}"):
        run = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
        run.data = split_for_scores(run.data, run.config)
    session = SampleSession(run, config["averaged"], given.get("seed", 0))
    scores: dict[str, float] = {}
    protocols: dict[str, Any] = {}
    measured_by: dict[str, str] = {}
    metrics = chosen_metrics(run.model, run.config, config["quality"], config["ais"])
    set_options(metrics, given, config, run)
    for name, metric in metrics.items():
        protocols[name] = prepare_metric(metric, run.data, run.model, run.device, metric.split)
        found = measure(metric, run.data, run.model, run.device)
        measured_by |= dict.fromkeys(found, name)
        scores |= found
    record = {
        "run": str(run_dir.resolve()),
        "checkpoint": config["checkpoint"].name,
        "step": run.step,
        "averaged": session.averaged,
        "scores": scores,
        "protocols": protocols,
        "measured_by": measured_by,
        "protocol_lines": lines_of(protocols),
        "device": str(run.device),
        "versions": directory.versions(),
    }
    write_record(file, record)
    weights = "averaged weights" if session.averaged else "the last weights"
    print(f"{run_dir} at step {run.step}, {weights}; all of it in {file}")
    print_table(scores, protocols, measured_by)
    return file


def set_options(
    metrics: dict[str, Metric], given: dict[str, Any], config: dict[str, Any], run: OpenedRun
) -> None:
    """Check the metrics, set the options that the user gave, and check them as they are then."""
    for metric in metrics.values():
        metric.split = given.get("split", "test")
        metric.check(run.data, run.model)
    override(metrics, given, run.data, run.model)
    override_draws(metrics, config, run)
    for metric in metrics.values():
        metric.check(run.data, run.model)


def write_record(file: Path, record: dict[str, Any]) -> None:
    """Write the record of an evaluation, in a folder that may have to be made."""
    with report_disk_errors(file.parent, "out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, record)


def print_table(
    scores: dict[str, float], protocols: dict[str, Any], measured_by: dict[str, str]
) -> None:
    """Print the scores, and how they were measured: a line for each metric.

    Args:
        scores: by their names.
        protocols: by the keys of their metrics.
        measured_by: the key of the metric of each score.
    """
    print("\n".join(f"  {line}" for line in table(scores, protocols, measured_by)))
    for name, line in lines_of(protocols).items():
        print(f"  protocol of {name}: {line}")


def split_for_scores(data: Data, trained: dict[str, Any]) -> Data:
    """The data of a run as its scores divide them.

    A run that was trained without scores has used the whole training split. Features are learned
    from nine tenths of it, as in runs with scores, so that their scores can be compared.

    Args:
        data: the run's.
        trained: the configuration of the run.
    """
    without = trained.get("quality", {}).get("_target_") == NO_SCORES
    if not without or data.validation or len(data.load("train").images) < round(1 / SHARE):
        return data
    return data.with_validation(SHARE)


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
    model: GenerativeModel,
    of_run: dict[str, Any],
    quality: dict[str, Any] | None,
    ais: bool = False,
) -> dict[str, Metric]:
    """What scores a model: the metric that was asked for, its likelihood, or its run's metrics.

    Args:
        model: model of the run.
        of_run: the configuration that it was trained with.
        quality: the node of conf/quality that was asked for.
        ais: score the likelihood of a decoder in its place.

    Raises:
        UserError: when there is nothing, or two things are asked for.
    """
    if ais and quality is not None:
        raise UserError(
            "ais=true stands for quality=decoder_ais, and another quality is given (ais, quality); "
            "leave one of them out"
        )
    if ais and supports(model, HasLogPartition):
        raise UserError(
            "this model is an energy, and ais=true is of decoders of noise (ais); "
            "give quality=ais in its place"
        )
    if ais:
        found: dict[str, Metric] = {"quality": DecoderLikelihood(0, at_start=False)}
    elif quality is not None:
        found = metrics_of({"quality": quality, "callbacks": {}})
    else:
        found = metrics_of(of_run)
        if supports(model, HasLikelihood):
            found["quality"] = LogLikelihood(0, None, IMPORTANCE, BATCH, at_start=False)
        if model.semi_supervised:
            found["error_rate"] = TestError(0, at_start=False)
        found |= of_energy(model, {metric.key for metric in found.values()})
    if not found:
        raise UserError(
            "there is nothing to score: the model of this run has no likelihood, and its quality "
            "is none (quality); add quality=classifier"
        )
    return found


def of_energy(model: GenerativeModel, keys: set[str]) -> dict[str, Metric]:
    """What scores an energy model beside the metrics of its run, whose keys are given."""
    chains: list[Metric] = [ChainMixing(0)] if supports(model, HasTrace) else []
    in_plane = PlaneLikelihood.fits(model) and not supports(model, HasLogPartition)
    plane: list[Metric] = [PlaneLikelihood(0)] if in_plane else []
    return {
        metric.key.removeprefix("quality="): metric
        for metric in plane + chains
        if metric.key not in keys
    }


def override(
    metrics: dict[str, Metric], given: dict[str, Any], data: Data, model: GenerativeModel
) -> None:
    """Set the options that the user gave.

    Args:
        metrics: the metrics, by their keys.
        given: the options, by name.
        data: what the scores are of, or what samples are compared with.
        model: what will be scored.

    Raises:
        UserError: for an option that no metric reads, or for more images than there are.
    """
    read: set[str] = set()
    for metric in metrics.values():
        read |= metric.override(given, data, model)
    if unread := sorted(given.keys() - read):
        known = {key for metric in metrics.values() for key in metric.options_for(model)}
        raise UserError(
            f"{unread[0]} changes none of these scores ({unread[0]}); leave it out, or give "
            f"{' or '.join(sorted(known))}"
        )


def override_draws(metrics: dict[str, Metric], config: dict[str, Any], run: OpenedRun) -> None:
    """Set what samples show, where the user gave it.

    Args:
        metrics: the metrics, by their keys.
        config: the keys of conf/eval.yaml.
        run: the run that will be scored.

    Raises:
        UserError: where no score is of samples, or where the model has no such option.
    """
    choose_draws(run.model, config["mean"], config["temperature"])
    given = [key for key in ("mean", "temperature") if config[key] is not None]
    if given and not any(metric.from_samples for metric in metrics.values()):
        raise UserError(
            f"none of these scores is of samples, so that {given[0]} changes nothing "
            f"({given[0]}); leave it out, or add quality=classifier"
        )


def table(
    scores: dict[str, float], protocols: dict[str, Any], measured_by: dict[str, str]
) -> list[str]:
    """A line for each score, and what samples are compared with; see `print_table`."""
    found = {name.removeprefix("quality/"): value for name, value in scores.items()}
    of = {
        name.removeprefix("quality/"): protocol
        for name, protocol in by_score(protocols, measured_by).items()
    }
    about = protocols.get("quality", {})
    lines = []
    if "nats" in found:
        lines += likelihood_lines(found, of["nats"])
    if "samples" in about:
        how = about.get("features", about.get("name", "protocol"))
        split = about.get("reference", about).get("split")
        shown = [about["samples_are"]] if "samples_are" in about else []
        against = [f"against {split}"] if split else []
        lines.append(", ".join([f"{about['samples']} fakes", *shown, how, *against]))
    if "error_rate" in found:
        about = of["error_rate"]
        labels = f"after {about['labelled']} labels" if about["labelled"] else "after all labels"
        error = f"error rate  {found['error_rate']:.2%} of {about['data']}, {about['split']}"
        lines.append(f"{error}, {labels}")
    if mixing := next((name for name in CHAINS if name in found), None):
        lines += chain_lines(found, of[mixing])
    if "nats_gaussian" in found:
        lines += decoder_lines(found, of["nats_gaussian"])
    others = {name: value for name, value in found.items() if name not in IN_WORDS}
    return lines + with_errors(others)


def with_errors(scores: dict[str, float]) -> list[str]:
    """A line for each score, with its error or its standard deviation where it has one."""
    errors = {name: error_of(name, scores) for name in scores}
    own = [name for name in scores if name not in errors.values()]  # others are in these lines
    width, lines = max([COLUMN, *map(len, own)]), []
    for name in own:
        line, error = f"{name:<{width}} {scores[name]:.5g}", errors[name]
        if error is not None:
            sign = "+-" if error.endswith("_error") else "sd"
            line += f" {sign} {scores[error]:.2g}"
        lines.append(line)
    return lines


def chain_lines(scores: dict[str, float], about: dict[str, Any]) -> list[str]:
    """How the chains mix, in one line."""
    parts = [
        f"{name} {scores[key]:{form}}"
        for key, name, form in (
            ("acceptance", "acceptance", ".2f"),
            ("ess", "effective draws", ",.0f"),
            ("r_hat", "R-hat", ".3f"),
        )
        if key in scores
    ]
    return [f"chains      {', '.join(parts)}; {about['mixing']} from {about['start']}"]


def decoder_lines(scores: dict[str, float], about: dict[str, Any]) -> list[str]:
    """The nats of a decoder, what they may be wrong by, and how the chains moved."""
    nats = f"{scores['nats_gaussian']:.2f} +- {scores['nats_gaussian_error']:.2f} nats"
    images = f"{quantity(about['images'], 'image')} of {about['data']}, {about['split']}"
    given = ", given the label" if about["given_labels"] else ""
    pixels = f"Gaussian pixels of deviation {scores['deviation']:.3g}"
    return [
        f"-log p(x)   {nats}{given}; {pixels}, annealed importance sampling; {images}",
        f"gap         {scores['nats_gap']:.2f} nats between annealing there and back, on images of "
        "the model itself: the nats may be about that much too large",
        f"chains      {scores['ais_acceptance']:.2f} of the proposals accepted",
    ]


def likelihood_lines(scores: dict[str, float], about: dict[str, Any]) -> list[str]:
    """The nats with their error and protocol, and the bits per dimension.

    A conditional model has two kinds of nats, each with its name.
    """
    images = f"{quantity(about['images'], 'image')} of {about['data']}, {about['split']}"
    images += f", {about['pixels']}"
    nats = f"{scores['nats']:.2f} +- {scores['nats_error']:.2f} nats"
    lines = [f"-log p(x)   {nats}; {about['likelihood']}; {images}"]
    if GIVEN_LABEL in scores:
        lines[0] += f"; {about['labels']}"
        nats = f"{scores[GIVEN_LABEL]:.2f} +- {scores[f'{GIVEN_LABEL}_error']:.2f} nats"
        lines.append(f"-log p(x|y) {nats}, given the label")
    if "bits_per_dim" in scores:
        bits = f"{scores['bits_per_dim']:.4f} over {about['dimensions']} dimensions"
        lines.append(f"bits/dim    {bits}")
    return lines
