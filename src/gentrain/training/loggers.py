"""Where the scalars go: always `metrics.csv` in the run directory, and W&B beside it when it is wanted and possible.

W&B is never waited for longer than a time limit, never asks anything, and never stops a training.
"""

from __future__ import annotations

import csv
import functools
import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gentrain.config.types import Positive
from gentrain.errors import UserError
from gentrain.files import atomic_write

log = logging.getLogger("gentrain")

FINISH_TIMEOUT = (
    20.0  # seconds that the end of a run may wait for its upload; the rest stays on disk
)


class Loggers:
    """The config node `logger`.

    `mode` is auto (`$WANDB_MODE` if set, else online if there is a key, else offline), online (or what `$WANDB_MODE` says),
    offline, or off: no W&B at all. `init_timeout` is in seconds.
    """

    def __init__(
        self,
        mode: Literal["auto", "online", "offline", "off"] = "auto",
        project: str = "gentrain",
        group: str | None = None,
        tags: list[str] | None = None,
        entity: str | None = None,
        init_timeout: Positive = 20.0,
    ) -> None:
        self.mode, self.project, self.group = mode, project, group
        self.tags, self.entity, self.init_timeout = list(tags or []), entity, init_timeout
        self.made: list[Logger] = []

    def make(
        self,
        run_dir: str | os.PathLike[str],
        config: dict[str, Any],
        choices: Mapping[str, str],
        resumed_step: int | None = None,
    ) -> list[Logger]:
        """The loggers of one run, to be closed with `finish`.

        `config` is a plain container; `choices` the groups by the names typed; `resumed_step` the step of the checkpoint that the
        run goes on from, None for a new run. Raises UserError for `mode: online` without a key.
        """
        quiet_lightning()
        mode = self.resolve()
        self.made = [RunCSV(run_dir, resumed_step)]
        if mode != "off":
            self.made.append(
                self.dashboard(
                    mode, Path(run_dir), config, choices, resumed=resumed_step is not None
                )
            )
        return self.made

    def resolve(self) -> str:
        """online, offline or off."""
        asked = os.environ.get("WANDB_MODE", "").lower()
        if self.mode in ("auto", "online") and asked:
            return {"dryrun": "offline", "disabled": "off", "shared": "online"}.get(asked, asked)
        if self.mode == "auto":
            return "online" if key_problem() is None else "offline"
        if self.mode == "online" and (problem := key_problem()):
            raise UserError(
                f"{problem} (logger=wandb); run `wandb login`, set WANDB_API_KEY, or use logger=auto or WANDB_MODE=offline"
            )
        return self.mode

    def dashboard(
        self,
        mode: str,
        run_dir: Path,
        config: dict[str, Any],
        choices: Mapping[str, str],
        resumed: bool,
    ) -> Dashboard:
        model, data = choices.get("model", "model"), choices.get("data", "data")
        sweep, cell, swept = of_a_sweep(run_dir, config)
        return Dashboard(
            save_dir=run_dir,
            id=run_id(run_dir, resumed),
            mode=mode,
            init_timeout=self.init_timeout,
            project=self.project,
            entity=self.entity,
            name=f"{cell} {model}-{data}-s{config.get('seed', 0)}".strip(),
            group=self.group or sweep,
            tags=[model, data, *self.tags],
            job_type="train",
            config=config | {"choices": dict(choices)} | swept,
        )

    def finish(self, summary: Mapping[str, Any] | None = None, exit_status: int = 0) -> None:
        """In a `finally`: upload what is left, end W&B's background process, say where the run is.

        `summary` is for what is not the newest value of a curve, such as `best/quality/fid`. Never raises, and waits 20 s at most.
        """
        for logger in self.made:
            if isinstance(logger, Dashboard):
                logger.close(summary or {}, exit_status)


# --- metrics.csv ----------------------------------------------------------------------------------------------------------


class RunCSV(CSVLogger):
    """`metrics.csv` in the run directory itself: a row for everything logged, on disk at once; `step` is the first column.

    A resumed run keeps the rows up to the step it goes on from; a new run begins with an empty file.
    """

    def __init__(self, run_dir: str | os.PathLike[str], resumed_step: int | None = None) -> None:
        super().__init__(os.fspath(run_dir), name="", version="", flush_logs_every_n_steps=1)
        self.resumed_step = resumed_step

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = Rows(self.save_dir, self.resumed_step)
        return self._experiment

    def log_hyperparams(self, params: Any = None) -> None:
        """They are in .hydra/config.yaml."""


class Rows(_ExperimentWriter):
    """Lightning's writer, which deletes an earlier file; this one goes on with it, and the file can be read at every moment."""

    def __init__(self, log_dir: str, resumed_step: int | None) -> None:
        super().__init__(log_dir)
        if os.path.exists(self.metrics_file_path):
            kept, columns = earlier(
                self.metrics_file_path, -1 if resumed_step is None else resumed_step
            )
            self.metrics_keys = columns if kept else []
            self.replace(kept, self.metrics_keys)

    def _check_log_dir_exists(self) -> None:
        """An earlier file is welcome."""

    def _record_new_keys(self) -> set[str]:
        new = super()._record_new_keys()
        self.metrics_keys.sort(key=lambda name: (name != "step", name))
        return new

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with open(self.metrics_file_path, newline="") as file:
            rows = list(csv.DictReader(file))
        self.replace(rows, fieldnames)

    def replace(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        """The whole file in one go; none for no rows."""
        if not rows:
            os.unlink(self.metrics_file_path)
            return
        with (
            atomic_write(Path(self.metrics_file_path)) as part,
            part.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(rows)


def earlier(path: str, last_step: int) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a file up to a step, and its columns. A row that a crash cut short is later than any checkpoint, and left out."""
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values() and row.get("step", "").isdigit()]
    return [row for row in rows if int(row["step"]) <= last_step], list(reader.fieldnames or [])


# --- W&B ------------------------------------------------------------------------------------------------------------------


def fail_open(method: Callable[..., None]) -> Callable[..., None]:
    """The first error of W&B is told in one line; from then on its logger does nothing."""

    @functools.wraps(method)
    def guarded(self: Dashboard, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.give_up(error)

    return guarded


class Dashboard(WandbLogger):
    """Lightning's W&B logger that stays out of the way: quiet, and the training goes on whatever happens to it.

    The axis is the step that `log_metrics` gets, our generator step. A server that does not answer within `init_timeout` seconds
    leaves the run offline.
    """

    _experiment: Any

    def __init__(
        self, save_dir: Path, id: str, mode: str, init_timeout: float, **init: Any
    ) -> None:
        super().__init__(save_dir=save_dir, id=id, **init)
        self._wandb_init.pop("anonymous", None)  # Lightning's, and W&B warns of it
        self.mode, self.init_timeout, self.lost = mode, init_timeout, False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None and not self.lost:
            self.start()
        return DummyExperiment() if self.lost else self._experiment

    def start(self) -> None:
        """Online if that is wanted and possible, else offline, else not at all."""
        modes = ["online", "offline"] if self.mode == "online" else ["offline"]
        for self.mode in modes:
            try:
                self._experiment = self.begin(self.mode)
                break
            except Exception as error:
                if self.mode == "offline":
                    self.give_up(error)
                    return
                log.warning("W&B: %s; this run is kept offline", first_line(error))
                stop_service()
        keep_id(Path(self._wandb_init["dir"]), self._experiment.id)
        if self.mode == "online":
            log.info("W&B: %s", self._experiment.url)
            (id_file(Path(self._wandb_init["dir"])).parent / "url.txt").write_text(
                f"{self._experiment.url}\n"
            )

    def begin(self, mode: Any) -> Any:
        """`wandb.init`, and the step as the axis of every curve."""
        os.environ.setdefault(
            "WANDB_ERROR_REPORTING", "false"
        )  # a server that refuses the reports costs 7 s of retries
        import wandb

        settings = wandb.Settings(
            init_timeout=self.init_timeout,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=True,
            x_service_wait=self.init_timeout,
            console="off",
            silent=True,
            disable_job_creation=True,
        )
        run = wandb.init(**self._wandb_init, mode=mode, settings=settings, reinit="finish_previous")
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    def give_up(self, error: Exception) -> None:
        self.lost = True
        log.warning("W&B: %s; the training goes on without it", first_line(error))

    @fail_open
    def alert(self, title: str, text: str) -> None:
        """A message to the people who follow the run, by e-mail or chat as they have set it."""
        self.experiment.alert(title=title, text=text)

    log_metrics = fail_open(WandbLogger.log_metrics)
    log_image = fail_open(WandbLogger.log_image)
    log_hyperparams = fail_open(WandbLogger.log_hyperparams)

    @rank_zero_only
    def close(self, summary: Mapping[str, Any], exit_status: int) -> None:
        if self._experiment is None:
            return
        folder = Path(self._experiment.dir).parent
        finished = self.finished(summary, exit_status)
        stop_service()
        self.lost, self._experiment = True, None
        if self.mode == "offline" or not finished:
            log.info("W&B: upload the run with `wandb sync %s`", folder)

    def finished(self, summary: Mapping[str, Any], exit_status: int) -> bool:
        """Write the summary and end the run; did all of it arrive?"""
        try:
            if not self.lost:
                self._experiment.summary.update(dict(summary))
            self._experiment.finish(exit_code=exit_status)
        except Exception as error:
            log.warning("W&B: %s", first_line(error))
            return False
        return not self.lost


def key_problem() -> str | None:
    """What is wrong with the key for W&B's server, None for nothing. Looks where `wandb` looks, without asking a person or a server."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    host = wandb_setup.singleton().settings.base_url
    try:
        found = wbauth.authenticate_session(
            host=host, source="gentrain", prompt=False, update_session=False
        )
    except wandb.Error as error:
        return first_line(error)
    return None if found else "W&B has no API key"


def stop_service() -> None:
    """End W&B's background process."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:
        log.debug("wandb.teardown: %s", error)


def run_id(run_dir: Path, resumed: bool) -> str:
    """The one a resumed run had, so that it goes on in the same W&B run; else a new one."""
    file = id_file(run_dir)
    return file.read_text().strip() if resumed and file.exists() else secrets.token_hex(4)


def of_a_sweep(run_dir: Path, config: Mapping[str, Any]) -> tuple[str | None, str, dict[str, Any]]:
    """(the sweep's name, the cell's, the swept keys) of a cell; (None, "", {}) of any other run.

    The keys are scalars at the top of the configuration, "sweep/scheme/critic_steps": W&B's parallel coordinates take no others.
    """
    cell = (config.get("sweep") or {}).get("cell")
    if cell is None or not (run_dir / "status.json").exists():
        return None, "", {}
    overrides = json.loads((run_dir / "status.json").read_text())["overrides"]
    return (
        config["sweep"]["name"],
        cell,
        {"sweep/" + key.replace(".", "/"): value for key, value in overrides.items()},
    )


def keep_id(run_dir: Path, id: str) -> None:
    id_file(run_dir).parent.mkdir(parents=True, exist_ok=True)
    id_file(run_dir).write_text(id + "\n")


def id_file(run_dir: Path) -> Path:
    return run_dir / "wandb" / "run-id.txt"


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def quiet_lightning() -> None:
    """Lightning's advice on its own services, on SLURM and on devices is for those who write the code."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
