"""Devices, Lightning plugins and process-wide settings of a training."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.profilers import PassThroughProfiler

from gentrain.errors import UserError
from gentrain.layers.precision import fast_precision
from gentrain.training.checkpoint_io import AtomicIO


def check_devices(node: dict[str, Any]) -> None:
    """Refuse devices that are not there, and several where one process is meant."""
    found = torch.cuda.device_count()
    if node["accelerator"] in ("gpu", "cuda") and not found:
        raise UserError(
            "this machine has no GPU that torch can use (trainer.accelerator); "
            "choose trainer=cpu, or trainer=auto"
        )
    if not isinstance(node["devices"], int):  # "auto", or a list of GPUs; Lightning checks these
        return
    if node["devices"] > 1 and "ddp" not in str(node.get("strategy")):
        raise UserError(
            f"{node['devices']} devices need a process each (trainer.devices); "
            "choose trainer=ddp, or trainer.devices=1"
        )
    on_gpu = found and node["accelerator"] != "cpu"
    most = found if on_gpu else max(2, os.cpu_count() or 1)  # two processes run on any CPU, in turn
    if not 1 <= node["devices"] <= most:
        kind = "GPUs" if on_gpu else "CPU cores"
        raise UserError(
            f"{node['devices']} devices on a machine with {most} {kind} (trainer.devices); "
            f"give 1 to {most}"
        )


def settle_precision(node: dict[str, Any]) -> None:
    """Replace `trainer.precision=auto` where no command has done it, in a Job that code builds."""
    if node["precision"] == "auto":
        node["precision"] = fast_precision(node["accelerator"])


def check_precision(node: dict[str, Any]) -> None:
    """Refuse float16 where there is no GPU."""
    on_cpu = node["accelerator"] == "cpu" or not torch.cuda.is_available()
    if str(node["precision"]).startswith("16") and on_cpu:
        raise UserError(
            f"precision {node['precision']} needs a GPU (trainer.precision); "
            "on a CPU use 32-true or bf16-mixed"
        )


def working_dtype(precision: str) -> torch.dtype:
    """The type of the weights, of noise and of batches: mixed precision keeps float32."""
    return torch.float64 if precision == "64-true" else torch.float32


def plugins() -> list[Any]:
    """Atomic checkpoints, and SLURM without Lightning's requeue.

    That one saves inside the signal handler, in the middle of a step.
    """
    slurm = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return [AtomicIO(), *slurm]


class Unprofiled(PassThroughProfiler):
    """A profiler that does nothing, with one context for all.

    Lightning opens a profiler's context around every hook of every callback.
    """

    nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        return self.nothing


def quiet() -> None:
    """Silence Lightning's tips and banners, which say nothing that the log does not."""
    import warnings

    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    # a machine with CUDA's headers and no GPU is told so where anything is compiled
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    texts = (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*LeafSpec.*",
        ".*isinstance.treespec.*",
        ".*`srun` command is available.*",  # a job of one process does not need it
        "(?s).*Grad strides do not match.*",  # a weight with one channel has two equal layouts
    )
    for text in texts:
        warnings.filterwarnings("ignore", text)


def mallopt() -> None:
    """Let glibc keep freed memory.

    Otherwise every forward without gradients faults its pages in again, which takes 1.3 to 2.8
    times as long.
    """
    mmap_threshold, trim_threshold, top_pad = (-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 256 << 20)
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in (mmap_threshold, trim_threshold, top_pad):
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "thread"), counted(2, "core")
    ('1 thread', '2 cores')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def device_name(trainer: L.Trainer) -> str:
    """The devices of a training, for people."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cores = counted(os.cpu_count() or 1, "core")
        name = f"CPU, {cores}, {counted(torch.get_num_threads(), 'thread')}"
    return f"{trainer.world_size} x {name}" if trainer.world_size > 1 else name
