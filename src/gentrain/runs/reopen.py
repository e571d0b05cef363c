"""Open a finished run: its model with the weights of a checkpoint, and its data.

Neither a trainer nor callbacks nor loggers are built, and Lightning is not imported.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gentrain.config import plugins
from gentrain.config.build import build
from gentrain.config.validate import checked
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.runs import directory
from gentrain.runs.checkpoints import load, mismatched_keys, newest_valid, refuse_version

log = logging.getLogger("gentrain")

PREFIX = "model."  # of the model's weights in the state_dict of a training module


@dataclass
class OpenedRun:
    """A finished run as one of its checkpoints holds it."""

    run_dir: Path
    config: dict[str, Any]  # as saved, with `data` and `model` checked
    choices: dict[str, str]  # the groups of that configuration, by the names typed
    model: Any  # a GenerativeModel with the checkpoint's weights, on `device`, in training mode
    data: Data
    device: torch.device
    step: int  # generator steps made when the checkpoint was saved
    version: str  # of the gentrain that saved it
    latest: dict[str, float]  # the newest value of everything logged
    protocols: dict[str, Any]  # how each metric measures, by its key
    class_names: list[str] = field(default_factory=list)  # by number; empty where not recorded
    # of each score, the key of its metric in `protocols`; empty where not recorded
    measured_by: dict[str, str] = field(default_factory=dict)

    def untrained(self) -> Any:
        """The model as it was before the training: built once more from the run's seed."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.config["seed"])
            return build(self.config["model"], "model").to(self.device)


def reopen(run_dir: Path, checkpoint: str = "last", device: str = "cpu") -> OpenedRun:
    """Open a run with the weights of its checkpoint `last` or `best`; nothing is altered.

    Args:
        run_dir: a run directory.
        checkpoint: "last" or "best".
        device: where the model shall be.

    Raises:
        UserError: where there is no run or no such checkpoint.
        Unavailable: where no checkpoint of it is whole.
    """
    file = directory.checkpoint_file(run_dir, checkpoint)
    saved = load(
        newest_valid(file, "(run, checkpoint); no whole checkpoint is left there, give another run")
    )
    refuse_version(file, saved, "run")
    config = directory.saved_config(run_dir)
    plugins.refuse_missing(config.get("plugins", []), str(run_dir))
    for name in plugins.changed(saved["origin"].get("plugins", {})):
        log.warning("the source of %s has changed since %s was trained (plugins)", name, run_dir)
    config |= {key: checked(config[key], key) for key in ("data", "model")}
    torch.manual_seed(config["seed"])
    data = build(config["data"], "data", Data)
    model = build(config["model"], "model")
    model.to(memory_format=model.memory_format)
    load_weights(model, saved["state_dict"], run_dir, file)
    return OpenedRun(
        run_dir=run_dir,
        config=config,
        choices=saved["origin"].get("choices", {}),
        model=model.to(device),
        data=data,
        device=torch.device(device),
        step=saved["global_step"],
        version=saved["origin"]["version"],
        latest=saved["latest"],
        protocols=saved["protocols"],
        class_names=saved["origin"].get("data", {}).get("classes", []),
        measured_by=saved.get("measured_by", {}),
    )


def saved_weights(run_dir: Path, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of a run, and the state_dict of its last checkpoint.

    Args:
        run_dir: a run directory.
        key: the option that names it, for messages.

    Raises:
        UserError: where there is no run.
        Unavailable: where no checkpoint of it is whole.
    """
    file = run_dir / "checkpoints" / "last.ckpt"
    if not file.exists():
        raise UserError(f"no finished run in {run_dir} ({key}); give a run that has been trained")
    whole = newest_valid(file, f"({key}); no whole checkpoint is left there, give another run")
    saved = load(whole)
    refuse_version(whole, saved, key)
    return directory.saved_config(run_dir), saved["state_dict"]


def load_weights(model: Any, state_dict: dict[str, Any], run_dir: Path, file: Path) -> None:
    """Give a model the weights of a training module's state_dict."""
    weights = {
        name.removeprefix(PREFIX): value
        for name, value in state_dict.items()
        if name.startswith(PREFIX)
    }
    what = f"{file} is not of the model in {run_dir}"
    fill(model, weights, what, "run", "give a run as it was trained")


def fill(model: Any, weights: dict[str, Any], what: str, key: str, remedy: str) -> None:
    """Load weights into a model.

    Args:
        model: the model.
        weights: its state_dict.
        what: the beginning of the refusal.
        key: what named the weights.
        remedy: what to do.

    Raises:
        UserError: for weights of another model.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        keys = ", ".join(mismatched_keys(weights, model.state_dict())[:3])
        raise UserError(f"{what}: {keys} differ ({key}); {remedy}") from error
