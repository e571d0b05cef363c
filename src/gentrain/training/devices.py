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
from gentrain.training.checkpoint_io import AtomicIO


def check_devices(node: dict[str, Any]) -> None:
    """Refuse devices that are not there, and several where one process is meant."""
    found = torch.cuda.device_count()
    if node["accelerator"] in ("gpu", "cuda") and not found:
        raise UserError(
            "this machine has no GPU that torch can use (trainer.accelerator); choose trainer=cpu, or trainer=auto"
        )
    if not isinstance(node["devices"], int):  # "auto", or a list of GPUs: Lightning's to judge
        return
    if node["devices"] > 1 and "ddp" not in str(node.get("strategy")):
        raise UserError(
            f"{node['devices']} devices need a process each (trainer.devices); choose trainer=ddp, or trainer.devices=1"
        )
    there = (
        found if found and node["accelerator"] != "cpu" else max(2, os.cpu_count() or 1)
    )  # two processes run anywhere, in turn
    kind = "GPUs" if found and node["accelerator"] != "cpu" else "CPU cores"
    if not 1 <= node["devices"] <= there:
        raise UserError(
            f"{node['devices']} devices on a machine with {there} {kind} (trainer.devices); give 1 to {there}"
        )


def check_precision(node: dict[str, Any]) -> None:
    """Refuse 16-bit floats where there is no GPU."""
    on_cpu = node["accelerator"] == "cpu" or not torch.cuda.is_available()
    if str(node["precision"]).startswith("16") and on_cpu:
        raise UserError(
            f"precision {node['precision']} needs a GPU (trainer.precision); "
            "on a CPU use 32-true or bf16-mixed"
        )


def plugins() -> list[Any]:
    """Our checkpoints; and SLURM without Lightning's requeue, which saves inside the signal handler, in the middle of a step."""
    slurm = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return [AtomicIO(), *slurm]


class Unprofiled(PassThroughProfiler):
    """Lightning opens a profiler's context around every hook of every callback; this one is made once."""

    nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        return self.nothing


def quiet() -> None:
    """Leave stderr to this program: Lightning's tips and banners say nothing that the log does not."""
    import warnings

    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    texts = (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*LeafSpec.*",
        ".*isinstance.treespec.*",
        ".*`srun` command is available.*",  # a job of one process needs none, also where SLURM is installed
        "(?s).*Grad strides do not match.*",  # of weights with one channel, whose two layouts are the same
    )
    for text in texts:
        warnings.filterwarnings("ignore", text)


def mallopt() -> None:
    """Keep freed memory (glibc): else every forward that needs no gradient faults its pages in anew, at 1.3 to 2.8 times the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in (
            (-3, 1 << 30),
            (-1, (1 << 31) - 1),
            (-2, 256 << 20),
        ):  # MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass


def device_name(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    return f"{trainer.world_size} x {name}" if trainer.world_size > 1 else name
