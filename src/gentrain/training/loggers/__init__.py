"""Where scalars and pictures go: metrics.csv in the run directory, and dashboards.

`Loggers` makes them. W&B is never waited for longer than a time limit, never asks anything, and
never stops a training.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger

from gentrain.config.overrides import key_of
from gentrain.config.types import Positive
from gentrain.errors import UserError
from gentrain.runs.directory import flat, typed_words
from gentrain.training.loggers.base import Dashboard
from gentrain.training.loggers.csv_file import RunCSV, last_step
from gentrain.training.loggers.others import MLflow, TensorBoard
from gentrain.training.loggers.wandb import WandbDashboard, key_problem, run_id

log = logging.getLogger("gentrain")

# overrides that say how a run is trained, and are no part of its name
UNNAMED = ("model", "data", "trainer", "logger", "steps", "hydra", "sweep", "cluster", "resume")
MAX_NAME = 80  # characters


class Loggers:
    """The loggers of a run.

    Args:
        mode: mode of W&B. "auto" is what `$WANDB_MODE` says if it is set, else online if there is
            a key, else offline; "online" is what `$WANDB_MODE` says if it is set, else online;
            "off" is no W&B at all.
        project: project of W&B.
        group: runs that belong together; None takes the name of the sweep.
        tags: besides the names of model and data.
        entity: user or team; None takes the key's own.
        init_timeout: seconds to wait for the server.
        artifact: upload the last checkpoint to W&B as an artifact at the end.
        tensorboard: TensorBoard as well.
        mlflow: MLflow as well.
    """

    def __init__(
        self,
        mode: Literal["auto", "online", "offline", "off"] = "auto",
        project: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        entity: str | None = None,
        init_timeout: Positive = 20.0,
        artifact: bool = False,
        tensorboard: bool = False,
        mlflow: bool = False,
    ) -> None:
        self.mode, self.group, self.artifact = mode, group, artifact
        self.project = project or os.environ.get("WANDB_PROJECT") or "gentrain"
        self.tensorboard, self.mlflow = tensorboard, mlflow
        self.tags, self.entity, self.init_timeout = list(tags or []), entity, init_timeout
        self.made: list[Logger] = []

    def make(
        self,
        run_dir: str | os.PathLike[str],
        config: dict[str, Any],
        choices: Mapping[str, str],
        resumed_step: int | None = None,
    ) -> list[Logger]:
        """Make the loggers of one run, to be closed with `finish`.

        Args:
            run_dir: directory of the run.
            config: a plain container.
            choices: the groups of the configuration, by the names typed.
            resumed_step: the step of the checkpoint from which the run goes on; None for a new run.

        Raises:
            UserError: for `mode: online` without a key.
        """
        quiet_lightning()
        mode, place = self.resolve(), Path(run_dir)
        if self.artifact and mode == "off":
            raise UserError(
                "an artifact goes to W&B, which is off (logger.artifact); add logger=wandb"
            )
        before = last_step(place) if resumed_step is not None else -1
        self.made = [RunCSV(run_dir, resumed_step)]
        if mode != "off":
            self.made.append(self.wandb(mode, place, config, choices, resumed_step, before))
        values = flat(config)
        if self.tensorboard:
            self.made.append(TensorBoard(place, values, resumed_step))
        if self.mlflow:
            name = run_name(place, config, choices)
            mlflow = MLflow(place, name, self.project, values)
            mlflow.start()
            self.made.append(mlflow)
        return self.made

    def resolve(self) -> str:
        """The mode of W&B: online, offline or off."""
        asked = os.environ.get("WANDB_MODE", "").lower()
        if self.mode in ("auto", "online") and asked:
            return {"dryrun": "offline", "disabled": "off", "shared": "online"}.get(asked, asked)
        if self.mode == "auto":
            if (problem := key_problem()) is None:
                return "online"
            log.info("W&B: %s; this run is kept offline (logger=wandb wants a key)", problem)
            return "offline"
        if self.mode == "online" and (problem := key_problem()):
            raise UserError(
                f"{problem} (logger=wandb); run `wandb login`, set WANDB_API_KEY, "
                "or use logger=auto or WANDB_MODE=offline"
            )
        return self.mode

    def wandb(
        self,
        mode: str,
        run_dir: Path,
        config: dict[str, Any],
        choices: Mapping[str, str],
        resumed_step: int | None,
        before: int,
    ) -> WandbDashboard:
        """The logger of W&B.

        Args:
            before: the last step that an earlier process of this run has logged.
        """
        model, data = choices.get("model", "model"), choices.get("data", "data")
        sweep, _, swept = of_a_sweep(run_dir, config)
        return WandbDashboard(
            save_dir=run_dir,
            id=run_id(run_dir, resumed_step is not None),
            mode=mode,
            init_timeout=self.init_timeout,
            logged=before,
            artifact=self.artifact,
            project=self.project,
            entity=self.entity,
            name=os.environ.get("WANDB_NAME") or run_name(run_dir, config, choices),
            group=self.group or sweep,
            tags=[model, data, *self.tags],
            job_type="train",
            # flat: parallel coordinates take no nested values
            config=flat(config) | {f"choices.{key}": name for key, name in choices.items()} | swept,
        )

    def finish(
        self, summary: Mapping[str, Any] | None = None, exit_status: int = 0, kept: bool = True
    ) -> None:
        """Close every dashboard: upload what is left, and say where the run is.

        That of W&B never raises, and waits 20 seconds at most.

        Args:
            summary: what is not the newest value of a curve, such as `best/quality/fid`.
            exit_status: exit status of the run.
            kept: whether the run directory stays; of one that does not, nothing is said.
        """
        for logger in dashboards(self.made):
            logger.close(summary or {}, exit_status)
            if kept and (advice := logger.advice()):
                log.info("%s", advice)


def dashboards(loggers: Iterable[Logger]) -> Iterator[Dashboard]:
    """The loggers that show pictures."""
    return (logger for logger in loggers if isinstance(logger, Dashboard))


def run_name(run_dir: Path, config: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """A name that tells a run from others: its model, its data, and what was overridden.

    In a sweep that is what its cells differ in.
    """
    sweep, cell, swept = of_a_sweep(run_dir, config)
    if sweep is not None:
        words = [f"{key.rpartition('/')[2]}={value}" for key, value in swept.items()]
    else:
        short = [(key_of(word), word.partition("=")[2]) for word in typed_words(run_dir)]
        words = [
            f"{key.rpartition('.')[2]}={value}"
            for key, value in short
            if key.partition(".")[0] not in UNNAMED
        ]
    parts = [cell, f"{choices.get('model', 'model')}-{choices.get('data', 'data')}", *words]
    if not any(word.startswith("seed=") for word in words):
        parts.append(f"seed={config.get('seed', 0)}")
    return " ".join(part for part in parts if part)[:MAX_NAME]


def of_a_sweep(run_dir: Path, config: Mapping[str, Any]) -> tuple[str | None, str, dict[str, Any]]:
    """The name of the sweep, the name of the cell, and the swept keys of a cell of a sweep.

    It is (None, "", {}) for any other run. The keys become scalars at the top of the configuration,
    such as "sweep/scheme/critic_steps", since W&B's parallel coordinates take no others.
    """
    cell = (config.get("sweep") or {}).get("cell")
    if cell is None or not (run_dir / "status.json").exists():
        return None, "", {}
    overrides = json.loads((run_dir / "status.json").read_text("utf-8"))["overrides"]
    swept = {"sweep/" + key.replace(".", "/"): value for key, value in overrides.items()}
    return config["sweep"]["name"], cell, swept


def quiet_lightning() -> None:
    """Silence Lightning's advice on its services, SLURM and devices, which is for developers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
