"""W&B by Lightning's logger, made so that it can neither stop nor delay a training for long."""

from __future__ import annotations

import functools
import logging
import math
import secrets
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gentrain.imports import import_wandb
from gentrain.quality.base import Metric
from gentrain.training.loggers.base import Dashboard

log = logging.getLogger("gentrain")

FINISH_TIMEOUT = 20.0  # seconds that the end of a run waits for its upload; the rest stays on disk


def fail_open(method: Callable[..., None]) -> Callable[..., None]:
    """Report the first error of W&B in one line; from then on its logger does nothing."""

    @functools.wraps(method)
    def guarded(self: WandbDashboard, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.give_up(error)

    return guarded


class WandbDashboard(WandbLogger, Dashboard):
    """A quiet W&B logger; the training goes on whatever happens to it.

    The axis is the step that `log_metrics` gets, `global_step`. A server that does not answer in
    time leaves the run offline.

    Args:
        save_dir: the run directory.
        id: id of the run at W&B.
        mode: online or offline.
        init_timeout: seconds to wait for the server.
        logged: the last step that an earlier process of this run has sent; a resumed run does not
            send it again.
        artifact: upload the last checkpoint at the end.
        init: see Lightning's `WandbLogger`, and `wandb.init`.
    """

    _experiment: Any

    def __init__(
        self,
        save_dir: Path,
        id: str,
        mode: str,
        init_timeout: float,
        logged: int = -1,
        artifact: bool = False,
        **init: Any,
    ) -> None:
        super().__init__(save_dir=save_dir, id=id, **init)
        self.run_dir, self.logged, self.artifact = save_dir, logged, artifact
        self._wandb_init.pop("anonymous", None)  # W&B warns of it
        self.mode, self.init_timeout, self.lost = mode, init_timeout, False
        self.unsent: Path | None = None  # what is not at the server

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
        wandb = import_wandb()
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
        for name, score in Metric.declared.items():
            if score.higher_is_better is not None and "*" not in name[:-1]:  # W&B's globs
                best = "max" if score.higher_is_better else "min"
                axis = "trainer/global_step"
                run.define_metric(f"quality/{name}", step_metric=axis, summary=f"{best},last")
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
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log pictures, and what is a finite number; JSON has no other numbers."""
        if step is not None and step <= self.logged:
            return
        kept = {
            name: value
            for name, value in metrics.items()
            if not isinstance(value, float) or math.isfinite(value)
        }
        super().log_metrics(kept, step)

    @fail_open
    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        """Show a picture with a caption."""
        if step > self.logged:
            super().log_image(name, [str(path)], step=step, caption=[caption])

    @fail_open
    def play_sound(self, name: str, path: Path, step: int, caption: str) -> None:
        """Offer a sound to be heard, with a caption."""
        if step > self.logged:
            import wandb

            # alone and not in a list, for which W&B needs another package
            self.log_metrics({f"{name}_audio": wandb.Audio(str(path), caption=caption)}, step)

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
            self.unsent = folder

    def advice(self) -> str | None:
        if self.unsent is None:
            return None
        return f"W&B: upload the run with `wandb sync {shlex.quote(str(self.unsent))}`"

    def finished(self, summary: Mapping[str, Any], exit_status: int) -> bool:
        """Write the summary and end the run. Whether all of it arrived."""
        try:
            if not self.lost:
                self._experiment.summary.update(dict(summary))
                self.upload()
            self._experiment.finish(exit_code=exit_status)
        except Exception as error:
            log.warning("W&B: %s", first_line(error))
            return False
        return not self.lost

    def upload(self) -> None:
        """Upload the last checkpoint as an artifact, where that is asked for."""
        import wandb

        last = self.run_dir / "checkpoints" / "last.ckpt"
        if self.artifact and last.exists():
            artifact = wandb.Artifact(f"model-{self._experiment.id}", type="model")
            artifact.add_file(str(last))
            self._experiment.log_artifact(artifact, aliases=["last"])


def key_problem() -> str | None:
    """What is wrong with the key for W&B's server; None for nothing.

    It looks where `wandb` looks, without asking a person or a server.
    """
    wandb = import_wandb()
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
