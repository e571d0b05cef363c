"""What is checked, built: an option in a training of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from gentrain.certificates.subject import start
from gentrain.commands.check.options import Compose, Option
from gentrain.commands.check.outcome import STOPS, Report
from gentrain.config import schema
from gentrain.config.build import build
from gentrain.data.base import Data
from gentrain.models.base import GenerativeModel
from gentrain.runs.directory import CONFIG
from gentrain.training.job import Job

BATCH = 8
STEPS = 4
# of every training that is made here
SHORT = (
    "trainer=cpu", "logger=csv", "samples.every=0", "samples.n=4", "checkpoint.every=2",
    "scheme.log_every=1", f"data.batch_size={BATCH}", f"steps={STEPS}", "seed=0", "data.workers=0",
)  # fmt: skip
LEFT_OUT = ("progress", "doctor")  # callbacks that only say something


@dataclass
class Subject:
    """An option, and the training in which it is tried.

    Args:
        option: what is checked.
        words: the training's command.
        config: the resolved configuration.
        choices: the groups of that configuration.
        place: a directory that is removed afterwards.
    """

    option: Option
    words: list[str]
    config: dict[str, Any]
    choices: dict[str, str]
    place: Path

    @cached_property
    def job(self) -> Job:
        """The training, built and not yet started."""
        return Job(self.config, self.choices, self.place / "whole")

    @property
    def model(self) -> GenerativeModel:
        """The model; where the training has been started, a trained one."""
        return self.job.scheme.model

    @property
    def data(self) -> Data:
        """The data set."""
        return self.job.data

    def fresh(self) -> GenerativeModel:
        """The same model, built anew and shown a first batch."""
        torch.manual_seed(0)
        model: GenerativeModel = build(self.job.config["model"], "model")
        model.to(memory_format=model.memory_format)
        start(model, self.batch)
        return model

    @cached_property
    def batch(self) -> tuple[torch.Tensor, ...]:
        """The first training batch."""
        return next(iter(self.data.batches()))  # type: ignore[return-value]

    @cached_property
    def trained(self) -> Job:
        """The training after its end, in a run directory as `gentrain sample` opens it."""
        self.job.fit()
        file = self.job.run_dir / CONFIG
        file.parent.mkdir(exist_ok=True)
        OmegaConf.save(OmegaConf.create(self.config), file)
        return self.job

    def resumed(self) -> Job:
        """A training that goes on from the checkpoint in the middle of `trained`, after its end."""
        middle = self.trained.run_dir / "checkpoints" / "last-1.ckpt"
        again = self.place / "resumed" / "checkpoints" / "last.ckpt"
        again.parent.mkdir(parents=True)
        shutil.copy(middle, again)
        job = Job(self.config, self.choices, self.place / "resumed", again)
        job.fit()
        return job


def first_built(report: Report, option: Option, compose: Compose, place: Path) -> Subject | None:
    """Check that an option is built in a training; None where it is not.

    Args:
        report: where the result goes.
        option: what is checked.
        compose: gives the configuration of a command.
        place: an empty directory.
    """
    found: list[Subject] = []

    def builds() -> str:
        found.append(prepared(option, compose, place))
        return f"in a training of {' '.join(found[0].words)}"

    return found[0] if report.run("builds", builds) else None


def prepared(
    option: Option,
    compose: Compose,
    place: Path,
    *more: str,
    attempts: list[list[str]] | None = None,
    accept: Callable[[Subject], Any] = lambda subject: subject.job,
) -> Subject:
    """An option in the first training that takes it.

    Args:
        option: what is checked.
        compose: gives the configuration of a command.
        place: an empty directory.
        more: further words of the command.
        attempts: the commands that are tried; None for those of the option.
        accept: builds the training, or does more; raises where it does not fit.

    Raises:
        UserError: of the first attempt, where none fits.
    """
    refusals: list[Exception] = []
    for number, words in enumerate(option.attempts() if attempts is None else attempts):
        try:
            subject = configured(option, words, compose, place / str(number), *more)
            accept(subject)
            return subject
        except STOPS:
            raise
        except Exception as error:
            refusals.append(error)
    raise refusals[0]


def configured(
    option: Option, words: list[str], compose: Compose, place: Path, *more: str
) -> Subject:
    """An option in the training of a command."""
    scored = () if any(word.startswith("quality=") for word in words) else ("quality=none",)
    found = compose("train", [*words, *SHORT, *scored, *more])
    config = schema.resolved(OmegaConf.create(found.values))
    for name in LEFT_OUT:
        config["callbacks"].pop(name, None)
    choices = {group: str(name) for group, name in found.choices.items() if name is not None}
    return Subject(option, words, config, choices, place)
