"""Where scalars go: to `metrics.csv` in the run directory, and to W&B when that is possible.

W&B is never waited for longer than a time limit, never asks anything, and never stops a training.
"""

from __future__ import annotations

import csv
import functools
import json
import logging
import math
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

FINISH_TIMEOUT = 20.0  # seconds that the end of a run waits for its upload; the rest stays on disk


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
        """The mode of W&B: online, offline or off."""
        asked = os.environ.get("WANDB_MODE", "").lower()
        if self.mode in ("auto", "online") and asked:
            return {"dryrun": "offline", "disabled": "off", "shared": "online"}.get(asked, asked)
        if self.mode == "auto":
            return "online" if key_problem() is None else "offline"
        if self.mode == "online" and (problem := key_problem()):
            raise UserError(
                f"{problem} (logger=wandb); run `wandb login`, set WANDB_API_KEY, "
                "or use logger=auto or WANDB_MODE=offline"
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
        """The logger of W&B."""
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
        """Upload what is left, end W&B's background process, and say where the run is.

        It never raises, and waits 20 seconds at most.

        Args:
            summary: what is not the newest value of a curve, such as `best/quality/fid`.
            exit_status: exit status of the run.
        """
        for logger in self.made:
            if isinstance(logger, Dashboard):
                logger.close(summary or {}, exit_status)


# --- metrics.csv ----------------------------------------------------------------------------------


class RunCSV(CSVLogger):
    """Writes `metrics.csv` in the run directory: a row for everything logged, on disk at once.

    A resumed run keeps the rows up to the step from which it goes on; a new run begins with an
    empty file. The first column is `step`.
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
    """A writer that goes on with an earlier file; at every moment the file can be read.

    Lightning's own writer deletes an earlier file.
    """

    def __init__(self, log_dir: str, resumed_step: int | None) -> None:
        super().__init__(log_dir)
        if os.path.exists(self.metrics_file_path):
            kept, columns = earlier(
                self.metrics_file_path, -1 if resumed_step is None else resumed_step
            )
            self.metrics_keys = columns if kept else []
            self.replace(kept, self.metrics_keys)

    def _check_log_dir_exists(self) -> None:
        """Accept an earlier file."""

    def _record_new_keys(self) -> set[str]:
        new = super()._record_new_keys()
        self.metrics_keys.sort(key=lambda name: (name != "step", name))
        return new

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with open(self.metrics_file_path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.replace(rows, fieldnames)

    def replace(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        """Replace the whole file at once; remove it if there are no rows."""
        if not rows:
            os.unlink(self.metrics_file_path)
            return
        with (
            atomic_write(Path(self.metrics_file_path)) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(rows)


def earlier(path: str, last_step: int) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a file up to a step, and its columns.

    A row that a crash cut short is later than any checkpoint, and is left out.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values() and row.get("step", "").isdigit()]
    return [row for row in rows if int(row["step"]) <= last_step], list(reader.fieldnames or [])


# --- W&B ------------------------------------------------------------------------------------------


def fail_open(method: Callable[..., None]) -> Callable[..., None]:
    """Report the first error of W&B in one line; from then on its logger does nothing."""

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
    """A quiet W&B logger; the training goes on whatever happens to it.

    The axis is the step that `log_metrics` gets, `global_step`. A server that does not answer in
    time leaves the run offline.

    Args:
        save_dir: the run directory.
        id: id of the run at W&B.
        mode: online or offline.
        init_timeout: seconds to wait for the server.
        init: see Lightning's `WandbLogger`, and `wandb.init`.
    """

    _experiment: Any

    def __init__(
        self, save_dir: Path, id: str, mode: str, init_timeout: float, **init: Any
    ) -> None:
        super().__init__(save_dir=save_dir, id=id, **init)
        self._wandb_init.pop("anonymous", None)  # W&B warns of it
        self.mode, self.init_timeout, self.lost = mode, init_timeout, False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None and not self.lost:
            self.start()
        return DummyExperiment() if self.lost else self._experiment

    def start(self) -> None:
        """Start a run online if that is wanted and possible, else offline, else not at all."""
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
            folder = id_file(Path(self._wandb_init["dir"])).parent
            (folder / "url.txt").write_text(f"{self._experiment.url}\n", "utf-8")

    def begin(self, mode: Any) -> Any:
        """Call `wandb.init`, and make the step the axis of every curve."""
        # a server that refuses error reports costs 7 s of retries
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
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
        """Do nothing from now on."""
        self.lost = True
        log.warning("W&B: %s; the training goes on without it", first_line(error))

    @fail_open
    def alert(self, title: str, text: str) -> None:
        """Send a message to those who follow the run, by e-mail or chat as they have chosen."""
        self.experiment.alert(title=title, text=text)

    @fail_open
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log what is a finite number; JSON has no other numbers."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        super().log_metrics(finite, step)

    log_image = fail_open(WandbLogger.log_image)
    log_hyperparams = fail_open(WandbLogger.log_hyperparams)

    @rank_zero_only
    def close(self, summary: Mapping[str, Any], exit_status: int) -> None:
        """End the run; see `Loggers.finish`."""
        if self._experiment is None:
            return
        folder = Path(self._experiment.dir).parent
        finished = self.finished(summary, exit_status)
        stop_service()
        self.lost, self._experiment = True, None
        if self.mode == "offline" or not finished:
            log.info("W&B: upload the run with `wandb sync %s`", folder)

    def finished(self, summary: Mapping[str, Any], exit_status: int) -> bool:
        """Write the summary and end the run. Whether all of it arrived."""
        try:
            if not self.lost:
                self._experiment.summary.update(dict(summary))
            self._experiment.finish(exit_code=exit_status)
        except Exception as error:
            log.warning("W&B: %s", first_line(error))
            return False
        return not self.lost


def key_problem() -> str | None:
    """What is wrong with the key for W&B's server; None for nothing.

    It looks where `wandb` looks, without asking a person or a server.
    """
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
    """The id that a resumed run had, so that it goes on in the same W&B run; else a new one."""
    file = id_file(run_dir)
    return file.read_text("utf-8").strip() if resumed and file.exists() else secrets.token_hex(4)


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


def keep_id(run_dir: Path, id: str) -> None:
    """Write down the id of a W&B run."""
    id_file(run_dir).parent.mkdir(parents=True, exist_ok=True)
    id_file(run_dir).write_text(id + "\n", "utf-8")


def id_file(run_dir: Path) -> Path:
    """The file with the id of the W&B run."""
    return run_dir / "wandb" / "run-id.txt"


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def quiet_lightning() -> None:
    """Silence Lightning's advice on its services, SLURM and devices, which is for developers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
