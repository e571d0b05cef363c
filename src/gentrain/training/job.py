"""One run: build data, model, training module, callbacks and trainer; fit; write the summary."""

from __future__ import annotations

import functools
import logging
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar

from gentrain import cores, protocols
from gentrain.config.build import build
from gentrain.config.plugins import active
from gentrain.config.validate import check
from gentrain.data.base import Data
from gentrain.errors import AlreadyFinished, Diverged, Interrupted, Unavailable, UserError
from gentrain.files import remove_unfinished, report_disk_errors, write_json
from gentrain.layers.precision import default_dtype
from gentrain.models.base import GenerativeModel
from gentrain.patience import say_if_slow
from gentrain.quality.base import Metric, higher_is_better
from gentrain.runs import directory
from gentrain.runs.checkpoints import (
    newest_valid,
    refuse_foreign,
    refuse_other_data,
    step_of,
    threads_of,
)
from gentrain.runs.reopen import saved_weights
from gentrain.tables import quantity
from gentrain.training.callbacks.evaluation import Evaluation
from gentrain.training.callbacks.signals import ignore_sigchld, interruptible, requeue
from gentrain.training.callbacks.summary import SummaryCallback
from gentrain.training.callbacks.threads import MoreThreads
from gentrain.training.datamodule import DataModule
from gentrain.training.devices import (
    Unprofiled,
    check_devices,
    check_precision,
    device_name,
    mallopt,
    plugins,
    quiet,
    settle_precision,
    working_dtype,
)
from gentrain.training.environment import environment_error
from gentrain.training.module import TrainingModule
from gentrain.version import __version__

log = logging.getLogger("gentrain")


class Job:
    """One run, built and not yet started. Whatever cannot work has been refused when this exists.

    Args:
        config: a plain container with every key of conf/train.yaml.
        choices: the groups of that configuration, by the names typed.
        run_dir: where the run writes.
        checkpoint: from which it goes on; None for a new run.

    Raises:
        UserError: for a configuration that cannot work.
        AlreadyFinished: for a checkpoint of more steps than the configuration asks for.
    """

    def __init__(
        self,
        config: dict[str, Any],
        choices: dict[str, str],
        run_dir: Path,
        checkpoint: Path | None = None,
    ) -> None:
        self.config, self.run_dir = check(config), run_dir
        settle_precision(self.config["trainer"])
        self.checkpoint = checkpoint and newest_valid(checkpoint)
        self.choices = choices | {"tricks": " ".join(config["tricks"])}
        quiet()
        L.seed_everything(config["seed"], workers=True, verbose=False)
        with say_if_slow(f"building model={choices.get('model')}"):
            self.data: Data = build(self.config["data"], "data", Data)
            self.scheme = self.make_training_module()
        if self.checkpoint:
            refuse_foreign(self.checkpoint, self.scheme)
            if (step := step_of(self.checkpoint)) > config["steps"]:
                # nothing is left to train, and no score to replace
                raise AlreadyFinished(run_dir, step)
            self.data.load("train")
            refuse_other_data(self.checkpoint, self.data.identity(), config["force"])
        else:
            load_initial_weights(self.scheme.model)
        self.callbacks = self.make_callbacks()
        self.loggers = build(self.config["logger"], "logger")
        self.trainer = self.make_trainer()
        self.threads = self.choose_threads()
        # before a checkpoint is read: float32 would round its weights
        self.dtype = working_dtype(self.config["trainer"]["precision"])
        self.scheme.to(self.dtype)

    # --- building ---------------------------------------------------------------------------------

    def make_training_module(self) -> TrainingModule:
        """Build the model, and what trains it."""
        model: GenerativeModel = build(self.config["model"], "model", GenerativeModel)
        refuse_labels(self.data, model)
        refuse_sources(self.data, model)
        model.check_data(self.data)
        scheme: TrainingModule = build(self.config["scheme"], "scheme", model=model)
        scheme.origin = {
            "config": self.config,
            "choices": self.choices,
            "version": __version__,
            "plugins": dict(active),
        }
        return scheme

    def make_callbacks(self) -> list[L.Callback]:
        """Build the callbacks in the order in which they act; one of them computes all metrics."""
        nodes = {name: self.config[name] for name in ("quality", "samples", "checkpoint")}
        built = {name: build(node, name) for name, node in nodes.items()}
        for name, node in self.config["callbacks"].items():
            if node is not None:  # callbacks.paired=null switches it off
                built[name] = build(node, f"callbacks.{name}")
        metrics = {name: one for name, one in built.items() if isinstance(one, Metric)}
        others = [one for name, one in built.items() if name not in metrics and one is not None]
        self.evaluation = Evaluation(metrics, resumed=self.checkpoint is not None)
        return [self.evaluation, *others]

    def make_trainer(self) -> L.Trainer:
        """Build the trainer, after its devices have been checked."""
        node = self.config["trainer"]
        check_devices(node)
        check_precision(node)
        return build(
            node,
            "trainer",
            max_steps=self.config["steps"],
            max_epochs=-1,
            default_root_dir=str(self.run_dir),
            logger=False,
            callbacks=self.callbacks,
            plugins=plugins(),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in self.callbacks),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **({} if "profiler" in node else {"profiler": Unprofiled()}),
        )

    def choose_threads(self) -> str:
        """Set the number of threads; returns why it is that, for the first line.

        A resumed run keeps its number, and with it its bits. Several processes share the cores as
        Lightning sees fit.
        """
        chosen = cores.choose()
        if chosen.number is None or self.trainer.world_size > 1:
            return chosen.reason if chosen.number is None else ""
        kept = threads_of(self.checkpoint) if self.checkpoint else None
        number = min(chosen.number, torchs_own_threads())
        torch.set_num_threads(kept or number)
        if not self.checkpoint and number < (most := self.most_threads()):
            self.trainer.callbacks.insert(0, MoreThreads(most))  # type: ignore[attr-defined]
        if kept and kept != number:
            return "as before, so that the numbers stay the same"
        return chosen.reason

    def most_threads(self) -> int:
        """The threads that a run may still get; 0 where their number stays as it is chosen.

        A compiled function is built for a number of threads, and a GPU does not need them.
        """
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        if not on_cpu or self.config["compile"] is not False:
            return 0
        return min(int(cores.cores(Path("/"))), torchs_own_threads())

    # --- running ----------------------------------------------------------------------------------

    def fit(self) -> float | None:
        """Train, and leave a summary whatever happens.

        Returns:
            The best score, for a sweeper to minimise; None without scores.
        """
        self.prepare_directory()
        self.check_data()  # before a dashboard opens
        self.scheme.origin["data"] = self.data.identity()
        mallopt()
        if self.trainer.strategy.root_device.type == "cpu":
            # with Lightning's "1", every optimizer step looks for NVIDIA's library
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        step = step_of(self.checkpoint) if self.checkpoint else None
        with self.summarised() as end:
            with say_if_slow("opening the dashboards (logger)"):
                made = self.loggers.make(self.run_dir, self.config, self.choices, step)
                self.trainer.loggers = made
            if self.trainer.is_global_zero:
                log.info("%s", self.introduction(step))
            with interruptible(), default_dtype(self.dtype):
                self.trainer.fit(
                    self.scheme,
                    datamodule=DataModule(self.data),
                    ckpt_path=self.checkpoint,
                    weights_only=True,
                )
        if self.trainer.is_global_zero:
            log.info("%s", self.conclusion(end))
        return end["best"].get("value")

    def check_data(self) -> None:
        """Refuse a mistake in the data, or in the choice of a metric; the data are read."""
        self.data.load("train")
        self.evaluation.check(self.data, self.scheme.model)

    def prepare_directory(self) -> None:
        """Make the run directory this process's own, and remove what dead processes have left."""
        directory.create(self.run_dir)
        directory.lock(self.run_dir)
        if self.trainer.is_global_zero:
            for place in ("", "checkpoints", "samples"):
                remove_unfinished(self.run_dir / place)

    @contextmanager
    def summarised(self) -> Iterator[dict[str, Any]]:
        """Around the fit: however it ends, write the summary and close everything.

        Yields:
            The summary, which is empty until the end.
        """
        end: dict[str, Any] = {}
        status, stopped_by, kept = "failed", None, True
        try:
            yield end
            status = "completed"
        except Diverged:
            status = "diverged"
            raise
        except (OSError, RuntimeError) as error:
            batch_size = self.config["data"]["batch_size"]
            reason = environment_error(error, self.trainer, self.run_dir, batch_size)
            if reason is not None:
                kept = self.began
                raise Unavailable(reason) from error
            raise
        except UserError:
            kept = self.began  # the caller removes a refused run
            raise
        except Interrupted as error:
            status, stopped_by = "interrupted", error.signal
            raise
        finally:
            with ignore_sigchld():
                end |= self.summary(status)
                if self.trainer.is_global_zero:
                    self.write_summary(end)
                with say_if_slow("closing the dashboards (logger)"):
                    self.loggers.finish(scores(end), int(status != "completed"), kept)
                directory.unlock(self.run_dir)
                if stopped_by and self.trainer.is_global_zero:
                    requeue(stopped_by, self.config["resume"] is not None)

    @property
    def began(self) -> bool:
        """Whether there is anything to keep."""
        return self.checkpoint is not None or self.scheme.global_step > 0

    # --- what is said of a run --------------------------------------------------------------------

    def introduction(self, step: int | None) -> str:
        """The line at the start."""
        groups = ("model", "data", "loss", "lipschitz")
        names = " ".join(
            f"{group}={name}" for group, name in self.choices.items() if group in groups
        )
        where = f"from step {step} " if step is not None else ""
        device = device_name(self.trainer)
        if self.threads and self.trainer.strategy.root_device.type == "cpu":
            device += f" ({self.threads})"
        count = self.trainer.world_size
        others = f", with {count - 1} more processes that start now" if count > 1 else ""
        return (
            f"{names}: {where}to step {self.config['steps']} on {device}{others}, in {self.run_dir}"
        )

    def conclusion(self, end: dict[str, Any]) -> str:
        """The line at the end."""
        best, score = end["best"], ""
        if best:
            score = f", best {best['metric']} {best['value']:.4g} at step {best['step']}"
            score += f" (protocol {best.get('protocol', protocols.NOT_KNOWN)})"
        rate = f"{end['images_per_second'] or 0:,.0f} images/s"
        done = (
            f"done: {quantity(end['steps'], 'step')} in {end['wall_seconds']:.0f} s, {rate}{score}"
        )
        pictures = self.run_dir / "samples"
        look = [f"pictures in {pictures}"] if pictures.is_dir() else []
        curves = f"curves by `gentrain compare {shlex.quote(str(self.run_dir))}`"
        return f"{done}; {', '.join([*look, curves])}"

    def summary(self, status: str) -> dict[str, Any]:
        """What summary.json holds; callbacks fill in `best` and `verdicts`."""
        scheme, clock = self.scheme, self.scheme.clock
        end: dict[str, Any] = {
            "status": status,
            "choices": self.choices,
            "seed": self.config["seed"],
            "steps": scheme.global_step if self.trainer.state.fn else 0,
            "metrics": scheme.latest,
            "directions": directions(scheme.latest),
            "best": {},
            "protocols": scheme.protocols,
            "measured_by": scheme.measured_by,
            "protocol_lines": protocols.lines(scheme.protocols),
            "verdicts": [],
            "images_per_second": clock.images / clock.seconds if clock.seconds else None,
            "seconds_per_step": clock.seconds / clock.steps if clock.steps else None,
            "wall_seconds": clock.wall_seconds,
            "device": device_name(self.trainer),
            "versions": directory.versions(),
            "plugins": dict(active),
            "data": self.scheme.origin.get("data", {}),
        }
        for callback in self.callbacks:
            if isinstance(callback, SummaryCallback):
                end |= callback.summary()
        return end

    def write_summary(self, end: dict[str, Any]) -> None:
        """Write summary.json. A failed run has reported a full disk already, and must not again."""
        try:
            with report_disk_errors(self.run_dir, "hydra.run.dir", "make room"):
                write_json(self.run_dir / "summary.json", end)
        except Unavailable:
            if end["status"] == "completed":
                raise


@functools.cache
def torchs_own_threads() -> int:
    """The number of threads before the first run of this process: one for each physical core."""
    return torch.get_num_threads()


def scores(end: dict[str, Any]) -> dict[str, float | str]:
    """{'best/quality/fid': ..., 'final/quality/fid': ...} of a summary, and how they are measured.

    The protocols are lines such as 'protocol/quality': '04b81338: ...'.
    """
    name = end["best"].get("metric")
    found = {f"best/{name}": end["best"].get("value"), f"final/{name}": end["metrics"].get(name)}
    lines = {f"protocol/{key}": line for key, line in end["protocol_lines"].items()}
    return {key: value for key, value in found.items() if value is not None} | lines


def directions(metrics: Iterable[str]) -> dict[str, bool]:
    """Whether more is better, of each logged score, for `gentrain compare`."""
    found = {
        name: higher_is_better(name)
        for name in metrics
        if name.startswith(("quality/", protocols.TEST))
    }
    return {name: better for name, better in found.items() if better is not None}


def load_initial_weights(model: GenerativeModel) -> None:
    """Give a new run's model the weights of the run from which it wants to start."""
    if (wanted := model.initial_weights) is not None:
        model.load_initial_weights(*saved_weights(wanted.run, wanted.key))


def refuse_labels(data: Data, model: GenerativeModel) -> None:
    """Refuse labels that a model does not learn from: those of another kind, few, or all."""
    learns = model.labelled or model.semi_supervised
    if learns and data.classes is not None and type(data.label_kind) not in model.label_kinds:
        kinds = " or ".join(kind.__name__ for kind in model.label_kinds)
        fitting = f"{model.label_kinds[0].fitting}, or {data.label_kind.fitting}"
        raise UserError(
            f"labels of data={data.name} are {type(data.label_kind).__name__}, and this model "
            f"learns from {kinds} (data.label_kind); choose {fitting}"
        )
    if model.semi_supervised and data.labelled is None:
        raise UserError(
            f"this model learns from few labels and data={data.name} gives all (data.labelled); "
            "e.g. data.labelled=100"
        )
    if not model.semi_supervised and data.labelled is not None:
        raise UserError(
            f"this model does not learn from {data.labelled} labels (data.labelled); "
            "choose model=semi_supervised_vae or _gan, or give null"
        )


def refuse_sources(data: Data, model: GenerativeModel) -> None:
    """Refuse sources for a model that does not translate, and the other way round."""
    has_sources = data.source_shape is not None
    if model.translates and not has_sources:
        raise UserError(
            f"this model translates images, and data={data.name} gives no sources (data.degrade); "
            "e.g. data.degrade=edges"
        )
    if model.paired and has_sources and not data.aligned:
        raise UserError(
            f"this model learns from pairs, and data={data.name} gives two domains (model, data); "
            "choose model=cyclegan, or pairs, such as data.degrade=edges makes"
        )
    if has_sources and not model.translates:
        raise UserError(
            f"this model does not translate, and data={data.name} gives sources "
            "(model, data.degrade); choose model=pix2pix, or other data"
        )
