"""compose -> build -> fit -> summary: the one file that instantiates."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar

from gentrain import __version__
from gentrain.config.build import build
from gentrain.config.validate import check
from gentrain.data.batches import worker_death
from gentrain.errors import Diverged, Interrupted, Unavailable, UserError
from gentrain.files import remove_unfinished, report_disk_errors, write_json
from gentrain.runs import directory
from gentrain.runs.checkpoints import newest_valid, refuse_foreign, step_of
from gentrain.training.callbacks.signals import ignore_sigchld, interruptible, requeue
from gentrain.training.devices import (
    Unprofiled,
    check_devices,
    device_name,
    mallopt,
    plugins,
    quiet,
)

log = logging.getLogger("gentrain")


class Job:
    """One run, built and not yet started: whatever cannot work has been refused when this exists."""

    def __init__(
        self,
        config: dict[str, Any],
        choices: dict[str, str],
        run_dir: Path,
        checkpoint: Path | None = None,
    ) -> None:
        self.config, self.run_dir, self.checkpoint = (
            check(config),
            run_dir,
            checkpoint and newest_valid(checkpoint),
        )
        self.choices = choices | {"tricks": " ".join(config["tricks"])}
        quiet()
        L.seed_everything(config["seed"], workers=True, verbose=False)
        self.data = build(self.config["data"], "data")
        self.scheme = build(
            self.config["scheme"], "scheme", model=build(self.config["model"], "model")
        )
        refuse_labels(self.data, self.scheme.model)
        refuse_sources(self.data, self.scheme.model)
        self.scheme.origin = {
            "config": self.config,
            "choices": self.choices,
            "version": __version__,
        }
        if self.checkpoint:
            refuse_foreign(self.checkpoint, self.scheme)
        self.callbacks = [
            build(self.config[key], key) for key in ("quality", "samples", "checkpoint")
        ]
        self.callbacks += [
            build(node, f"callbacks.{name}") for name, node in self.config["callbacks"].items()
        ]
        self.loggers = build(self.config["logger"], "logger")
        self.trainer = self.make_trainer()

    def make_trainer(self) -> L.Trainer:
        node = self.config["trainer"]
        check_devices(node)
        if str(node["precision"]).startswith("16") and (
            node["accelerator"] == "cpu" or not torch.cuda.is_available()
        ):
            raise UserError(
                f"precision {node['precision']} needs a GPU (trainer.precision); on a CPU use 32-true or bf16-mixed"
            )
        return build(
            node, "trainer", max_steps=self.config["steps"], max_epochs=-1, default_root_dir=str(self.run_dir), logger=False,
            callbacks=self.callbacks, plugins=plugins(), enable_checkpointing=False, enable_model_summary=False,
            use_distributed_sampler=False, enable_progress_bar=any(isinstance(c, ProgressBar) for c in self.callbacks),
            num_sanity_val_steps=0, log_every_n_steps=1, **({} if "profiler" in node else {"profiler": Unprofiled()}),
        )  # fmt: skip

    def fit(self) -> float | None:
        """Train, and leave a summary whatever happens. Returns the best score, for a sweeper to minimise."""
        directory.create(self.run_dir)
        directory.lock(self.run_dir)
        for place in ("", "checkpoints", "samples") if self.trainer.is_global_zero else ():
            remove_unfinished(self.run_dir / place)
        self.data.load("train")  # what is wrong with it is told before a dashboard opens
        mallopt()
        if self.trainer.strategy.root_device.type == "cpu":
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = (
                "0"  # Lightning's "1" makes every optimizer step look for NVIDIA's library
            )
        started, status, step = (
            time.time(),
            "failed",
            step_of(self.checkpoint) if self.checkpoint else None,
        )
        stopped_by = None
        try:
            self.trainer.loggers = self.loggers.make(self.run_dir, self.config, self.choices, step)
            if self.trainer.is_global_zero:
                log.info("%s", self.introduction(step))
            with interruptible():
                self.trainer.fit(
                    self.scheme, datamodule=self.data, ckpt_path=self.checkpoint, weights_only=True
                )
            status = "completed"
        except Diverged:
            status = "diverged"
            raise
        except (OSError, RuntimeError) as error:
            if (reason := self.environment_error(error)) is not None:
                raise Unavailable(reason) from error
            raise
        except Interrupted as error:
            status, stopped_by = "interrupted", error.signal
            raise
        finally:
            with ignore_sigchld():
                end = self.summary(status, started)
                if self.trainer.is_global_zero:
                    self.write_summary(end)
                self.loggers.finish(scores(end), int(status != "completed"))
                directory.unlock(self.run_dir)
                if stopped_by and self.trainer.is_global_zero:
                    requeue(stopped_by, self.config["resume"] is not None)
        if self.trainer.is_global_zero:
            log.info("%s", self.conclusion(end))
        return self.best().get("value")

    def environment_error(self, error: Exception) -> str | None:
        """A full disk, or a process of this run that died, in one line; None for what is our own fault."""
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            return worker_death(error)
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
            errno.EACCES,
        ):
            return f"cannot write in {self.run_dir}: {error.strerror} (hydra.run.dir); make room, and go on with resume={self.run_dir}"
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            return self.too_large(error)
        if self.trainer.world_size > 1 and (
            isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        ):
            return f"another process of this run is gone (trainer.devices); see what it said, and go on with resume={self.run_dir}"
        return None

    def too_large(self, error: Exception) -> str:
        """The device or the machine has no memory left."""
        device, batch = self.trainer.strategy.root_device, self.config["data"]["batch_size"]
        if device.type == "cuda":
            peak, there = (
                torch.cuda.max_memory_allocated(device) / 2**30,
                torch.cuda.get_device_properties(device).total_memory / 2**30,
            )
            where = f"{torch.cuda.get_device_name(device)} has no memory left: {peak:.3g} of {there:.3g} GiB were in use at the peak"
        else:
            asked = re.search(r"you tried to allocate (\d+) bytes", str(error))
            where = "this machine has no memory left" + (
                f" for {int(asked[1]) / 2**30:.3g} GiB more" if asked else ""
            )
        return f"{where}, with batches of {batch} (data.batch_size); halve it and give scheme.accumulate=2, which has the same gradients"

    def write_summary(self, end: dict[str, Any]) -> None:
        """Write the summary. Where the disk is full, that has been told by what was saved before, and must not be told over."""
        try:
            with report_disk_errors(self.run_dir, "hydra.run.dir", "make room"):
                write_json(self.run_dir / "summary.json", end)
        except Unavailable:
            if end["status"] == "completed":
                raise

    @property
    def began(self) -> bool:
        """Is there anything to keep?"""
        return self.checkpoint is not None or self.scheme.global_step > 0

    def introduction(self, step: int | None) -> str:
        names = " ".join(
            f"{group}={name}"
            for group, name in self.choices.items()
            if group in ("model", "data", "loss", "lipschitz")
        )
        where = f"from step {step} " if step is not None else ""
        return f"{names}: {where}to step {self.config['steps']} on {device_name(self.trainer)}, in {self.run_dir}"

    def conclusion(self, end: dict[str, Any]) -> str:
        score = (
            f", best {end['best']['metric']} {end['best']['value']:.4g} at step {end['best']['step']}"
            if end["best"]
            else ""
        )
        done = f"done: {end['steps']} steps in {end['wall_seconds']:.0f} s, {end['images_per_second'] or 0:,.0f} images/s{score}"
        return f"{done}; pictures in {self.run_dir / 'samples'}"

    def best(self) -> dict[str, Any]:
        return next((c.best for c in self.callbacks if hasattr(c, "best")), {})

    def summary(self, status: str, started: float) -> dict[str, Any]:
        scheme = self.scheme
        return {
            "status": status,
            "choices": self.choices,
            "seed": self.config["seed"],
            "steps": scheme.global_step if self.trainer.state.fn else 0,
            "metrics": scheme.latest,
            "best": self.best(),
            "protocols": scheme.protocols,
            "verdicts": next((c.known for c in self.callbacks if hasattr(c, "known")), []),
            "images_per_second": scheme.images / scheme.seconds if scheme.seconds else None,
            "seconds_per_step": scheme.seconds / scheme.steps_timed if scheme.steps_timed else None,
            "wall_seconds": time.time() - started,
            "device": device_name(self.trainer),
            "versions": directory.versions(),
        }


def scores(end: dict[str, Any]) -> dict[str, float]:
    """{'best/quality/fid': ..., 'final/quality/fid': ...} of a summary."""
    name = end["best"].get("metric")
    found = {f"best/{name}": end["best"].get("value"), f"final/{name}": end["metrics"].get(name)}
    return {key: value for key, value in found.items() if value is not None}


def refuse_labels(data: Any, model: Any) -> None:
    """Few labels are for a model that learns from few, and such a model for them."""
    few = getattr(model, "semi_supervised", False)
    if few and data.labelled is None:
        raise UserError(
            f"this model learns from few labels and data={data.name} gives all (data.labelled); e.g. data.labelled=100"
        )
    if not few and data.labelled is not None:
        raise UserError(
            f"this model does not learn from {data.labelled} labels (data.labelled); choose model=semi_supervised_vae or _gan, or give null"
        )


def refuse_sources(data: Any, model: Any) -> None:
    """Images to start from are for a model that translates, and such a model for them."""
    there, wanted = data.source_shape is not None, getattr(model, "translates", False)
    if wanted and not there:
        raise UserError(
            f"this model translates images, and data={data.name} gives no sources (data.degrade); e.g. data.degrade=edges"
        )
    if getattr(model, "paired", False) and there and not data.aligned:
        raise UserError(
            f"this model learns from pairs, and data={data.name} gives two domains (model, data); "
            "choose model=cyclegan, or pairs, such as data.degrade=edges makes"
        )
    if there and not wanted:
        raise UserError(
            f"this model does not translate, and data={data.name} gives sources (model, data.degrade); choose model=pix2pix, or other data"
        )


