"""A training that fails by a class of a plugin: which class, and its mistake, in one line."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.certificates.subject import objectives, start
from gentrain.commands.check.outcome import Fault, quiet
from gentrain.commands.check.training import backward, expect, refuse_detached, shapes
from gentrain.config import paths, plugins
from gentrain.config.build import build
from gentrain.config.validate import dotted
from gentrain.errors import Diverged, Interrupted, UserError
from gentrain.models.base import GenerativeModel
from gentrain.models.gan.base import AdversarialModel
from gentrain.training.job import Job

NOUNS = {"generator": "sample", "critic": "score"}  # what a network gives

log = logging.getLogger("gentrain")

NO_MISTAKES = (UserError, Interrupted, Diverged, OSError, MemoryError, torch.OutOfMemoryError)


def blamed(error: Exception, job: Job) -> UserError | None:
    """The mistake of a plugin's class in a training; None for one of gentrain's own code.

    The traceback goes to train.log.

    Args:
        error: what the fit raised.
        job: the training.
    """
    if not plugins.active or isinstance(error, NO_MISTAKES):
        return None
    classes = dict(targets(job.config))
    found = raised_in(error) or broken_contract(job, classes)
    if found is None:
        return None
    name, mistake = found
    log_to_file(error)
    key = ", ".join(key for key, target in classes.items() if target in name.split(" or "))
    folder = f" --config-dir {os.path.relpath(paths.overlays[0])}" if paths.overlays else ""
    return UserError(
        f"{name}: {mistake} ({key or 'plugins'}); mend it there, and try it with `gentrain check "
        f"plugin={plugin_of(name)}{folder}`; the traceback is in {job.run_dir / 'train.log'}"
    )


def targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each key whose class is of a plugin, with the class; keys are those that users type."""
    match node:
        case dict():
            if plugins.provides(str(node.get("_target_", ""))):
                yield path.removeprefix("model.criterion."), node["_target_"]
            for key, value in node.items():
                yield from targets(value, f"{path}.{key}" if path else str(key))
        case list():
            for i, value in enumerate(node):
                yield from targets(value, f"{path}.{i}")


def plugin_of(name: str) -> str:
    """The plugin that has a class."""
    return next(each for each in plugins.active if f"{name}.".startswith(f"{each}."))


def raised_in(error: Exception) -> tuple[str, str] | None:
    """The innermost class of a plugin in a traceback, and what was raised there."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if plugins.provides(module):
            owner = code.co_qualname.split(".<locals>")[0].rpartition(".")[0]
            name = f"{module}.{owner}" if owner else f"{module}.{code.co_name}"
            return name, f"{text}, in {code.co_filename}:{line}"
        kind = type(frame.f_locals.get("self"))
        if plugins.provides(kind.__module__) and not issubclass(kind, GenerativeModel):
            return dotted(kind), text
    return None


def broken_contract(job: Job, classes: dict[str, str]) -> tuple[str, str] | None:
    """What the checks of a model find, for an error that was raised in gentrain's code.

    Args:
        job: the training.
        classes: of plugins, by their keys.
    """
    parts = {key: name for key, name in classes.items() if key not in ("data", "quality")}
    if not parts:
        return None
    try:
        with quiet():
            check_first_batch(job)
    except Fault as fault:
        mistake = str(fault)
        said = [key for key in parts if NOUNS.get(last := key.rpartition(".")[2], last) in mistake]
        return " or ".join(parts[key] for key in said or parts), mistake
    except Exception as again:
        return raised_in(again)
    return None


def check_first_batch(job: Job) -> None:
    """Check a model, built anew, on a first batch.

    Raises:
        Fault: where a loss, a score or a sample is not as it must be.
    """
    torch.manual_seed(0)
    model: GenerativeModel = build(job.config["model"], "model")
    batch: Any = next(iter(job.data.batches()))
    match model:
        case AdversarialModel():
            check_loss(model.loss)
    start(model, batch)
    shapes(model, batch)
    for player in objectives(model):
        refuse_detached(backward(model, player, batch)[0], player)


def check_loss(loss: AdversarialLoss) -> None:
    """Check that both functions of a loss give a number that scores can be trained with."""
    for player, function in (("critic", loss.critic), ("generator", loss.generator)):
        real, fake = (torch.randn(8, requires_grad=True) for _ in range(2))
        value = function(real, fake)
        expect(f"the loss of the {player}", value, ())


def log_to_file(error: Exception) -> None:
    """Write a traceback into train.log alone."""
    text = "".join(traceback.format_exception(error)).rstrip()
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, text, (), None)
    for handler in logging.getLogger().handlers:
        match handler:
            case logging.FileHandler():
                handler.handle(record)
