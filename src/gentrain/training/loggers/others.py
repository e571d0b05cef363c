"""TensorBoard and MLflow, by Lightning's loggers."""

from __future__ import annotations

import os
import shlex
import wave
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from gentrain.errors import UserError
from gentrain.training.loggers.base import Dashboard


def refuse_missing(name: str, packages: tuple[str, ...]) -> None:
    """Refuse a dashboard whose package is not installed.

    Raises:
        UserError: naming the extra of gentrain that has it.
    """
    if not any(find_spec(package) for package in packages):
        raise UserError(
            f"{packages[0]} is not installed (logger={name}); pip install 'gentrain[{name}]'"
        )


class TensorBoard(TensorBoardLogger, Dashboard):
    """Curves, pictures and hyperparameters in RUN/tensorboard; see `tensorboard --logdir outputs`.

    Args:
        run_dir: the run directory.
        hyperparameters: the configuration, with dotted keys.
        resumed_step: the step from which a resumed run goes on: later events of a killed run are
            not shown twice. None for a new run.
    """

    def __init__(
        self, run_dir: Path, hyperparameters: dict[str, Any], resumed_step: int | None
    ) -> None:
        refuse_missing("tensorboard", ("tensorboard", "tensorboardX"))
        purge = None if resumed_step is None else resumed_step + 1
        super().__init__(
            run_dir,
            name="tensorboard",
            version="",
            purge_step=purge,
            default_hp_metric=False,  # a score of -1 for a run without scores
        )
        self.values = hyperparameters

    @rank_zero_only
    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        picture = np.asarray(Image.open(path).convert("RGB"))
        self.experiment.add_image(name, picture, step, dataformats="HWC")

    @rank_zero_only
    def play_sound(self, name: str, path: Path, step: int, caption: str) -> None:
        with wave.open(str(path)) as file:
            rate, content = file.getframerate(), file.readframes(file.getnframes())
            sound = np.frombuffer(content, "<i2").reshape(-1, file.getnchannels())
        self.experiment.add_audio(name, sound[:, :1].T / 32768, step, rate)

    @rank_zero_only
    def close(self, summary: Mapping[str, Any], exit_status: int) -> None:
        known = {
            key: value
            for key, value in self.values.items()
            if isinstance(value, bool | int | float | str)
        }
        words, numbers = split(summary)
        self.log_hyperparams(known | words, numbers or None)
        self.experiment.flush()
        self.experiment.close()

    def advice(self) -> str | None:
        return f"TensorBoard: `tensorboard --logdir {shlex.quote(self.log_dir)}`"


class MLflow(MLFlowLogger, Dashboard):
    """A run of MLflow, at MLFLOW_TRACKING_URI or in the folder mlruns.

    Args:
        run_dir: the run directory; part of the run's tags.
        name: the name of the run.
        project: the experiment of MLflow.
        hyperparameters: the configuration, with dotted keys.
    """

    def __init__(
        self, run_dir: Path, name: str, project: str, hyperparameters: dict[str, Any]
    ) -> None:
        refuse_missing("mlflow", ("mlflow",))
        # a folder is all that a first look needs; MLflow wants a database for more
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        super().__init__(
            experiment_name=project,
            run_name=name,
            tags={"run": str(run_dir)},
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "file:mlruns"),
        )
        self.values = hyperparameters

    @rank_zero_only
    def start(self) -> None:
        """Record the hyperparameters."""
        self.log_hyperparams(self.values)

    @rank_zero_only
    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        self.experiment.log_artifact(self.run_id, str(path), name)

    play_sound = show

    @rank_zero_only
    def close(self, summary: Mapping[str, Any], exit_status: int) -> None:
        words, numbers = split(summary)
        for key, value in numbers.items():
            self.experiment.log_metric(self.run_id, key, value)
        for key, word in words.items():
            self.experiment.set_tag(self.run_id, key, word)
        self.finalize("failed" if exit_status else "success")


def split(summary: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, float]]:
    """The words and the numbers of a summary.

    >>> split({"best/quality/fid": 3, "protocol/quality": "04b81338: ..."})
    ({'protocol/quality': '04b81338: ...'}, {'best/quality/fid': 3.0})
    """
    words = {key: value for key, value in summary.items() if type(value) is str}
    return words, {key: float(value) for key, value in summary.items() if key not in words}
