"""gentrain eval run=PATH: the scores of a finished run with their protocol, as one small table and as eval.json in the run.

Of a density the nats of held-out images, of a model that names classes its error on them, of a game the scores of the run's own quality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gentrain.commands.sample import device
from gentrain.commands.sample.session import SampleSession
from gentrain.config.types import Count, Whole
from gentrain.config.validate import coerced
from gentrain.errors import UserError
from gentrain.models.base import fork_rng
from gentrain.models.density import DensityModel
from gentrain.quality.base import Evaluation
from gentrain.quality.likelihood import HeldOutMetric, LogLikelihood
from gentrain.quality.paired import PairedScores
from gentrain.quality.test_error import TestError
from gentrain.runs import directory, files
from gentrain.runs.files import report_disk_errors
from gentrain.runs.reopen import reopen
from gentrain.training.job import Job

BATCH = 100  # images at a time, of a density
SHOWN = (
    "nats",
    "nats_error",
    "bits_per_dim",
    "test_error",
)  # of these the table says more than a name and a number


def evaluate(config: dict[str, Any]) -> Path:
    """Score as `config` (conf/eval.yaml) says; the file with the record. Raises UserError where there is no run, and nothing to score."""
    given = {"images": Count | None, "importance": Count, "batch_size": Count | None, "seed": Whole}
    config = config | {key: coerced(config[key], hint, key) for key, hint in given.items()}
    run_dir = Path(config["run"])
    file = Path(config["out"]) if config["out"] else run_dir / "eval.json"
    job, saved = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    studio = SampleSession(job, config["averaged"], config["seed"])
    scores: dict[str, float] = {}
    for judge in judges(job, config):
        judge.check(job.data)
        with fork_rng(judge.seed, studio.device):
            judge.prepare(job.data, job.scheme)
        with fork_rng(judge.seed, studio.device):  # as a run does, whose numbers these are
            scores |= judge.score(job.data, job.scheme)
    record = {
        "run": str(run_dir.resolve()),
        "checkpoint": config["checkpoint"].name,
        "step": saved["global_step"],
        "averaged": studio.averaged,
        "scores": scores,
        "protocols": job.scheme.protocols,
        "device": str(studio.device),
        "versions": directory.versions(),
    }
    with report_disk_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(file, record)
    weights = "averaged weights" if studio.averaged else "the last weights"
    print(f"{run_dir} at step {saved['global_step']}, {weights}; all of it in {file}")
    print("\n".join(f"  {line}" for line in table(scores, job.scheme.protocols)))
    return file


def judges(job: Job, config: dict[str, Any]) -> list[Evaluation]:
    """What scores this model."""
    found: list[Evaluation] = []
    model, own = job.scheme.model, job.callbacks[0]
    if isinstance(model, DensityModel):
        found = [
            LogLikelihood(
                0,
                config["images"],
                config["importance"],
                config["batch_size"] or BATCH,
                config["seed"],
                False,
                config["split"].name,
            )
        ]
    elif isinstance(own, HeldOutMetric):
        own.count, own.batch_size = (
            config["images"] or own.count,
            config["batch_size"] or own.batch_size,
        )
        own.split, found = config["split"].name, [own]
    elif isinstance(own, Evaluation):
        own.samples, own.batch_size = (
            config["images"] or own.samples,
            config["batch_size"] or own.batch_size,
        )
        found = [own]
    for paired in (
        callback for callback in job.callbacks[1:] if isinstance(callback, PairedScores)
    ):
        paired.count, paired.batch_size = (
            config["images"] or paired.count,
            config["batch_size"] or paired.batch_size,
        )
        paired.split = config["split"].name
        found.append(paired)
    if hasattr(model, "classifier"):
        found.append(TestError(0, at_start=False))
    if not found:
        raise UserError(
            "this run was trained with quality=none, and a game has no likelihood (run); give a run with quality=classifier"
        )
    return found


def table(scores: dict[str, float], protocols: dict[str, Any]) -> list[str]:
    """A line a score, the protocol beside the first."""
    found, about = (
        {name.removeprefix("quality/"): value for name, value in scores.items()},
        protocols.get("quality", {}),
    )
    lines = []
    if "nats" in found:
        of = f"{about['images']} {about['split']} images of {about['data']}, {about['pixels']}"
        lines.append(
            f"-log p(x)   {found['nats']:.2f} +- {found['nats_error']:.2f} nats; {about['likelihood']}; {of}"
        )
        if "bits_per_dim" in found:
            lines.append(
                f"bits/dim    {found['bits_per_dim']:.4f} over {about['dimensions']} dimensions"
            )
    elif about:
        lines.append(
            f"{about.get('samples', '')} fakes, {about.get('features', about.get('name', 'protocol'))}".strip()
        )
    if "test_error" in found:
        about = protocols["test_error"]
        labels = f"after {about['labelled']} labels" if about["labelled"] else "after all labels"
        lines.append(
            f"test error  {found['test_error']:.2%} of the test split of {about['data']}, {labels}"
        )
    return lines + [f"{name:<28}{value:.5g}" for name, value in found.items() if name not in SHOWN]
