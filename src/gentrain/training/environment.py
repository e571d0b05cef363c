"""What goes wrong outside this program while a run trains, each in one line."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import lightning as L
import torch

from gentrain.data.batches import worker_death

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def environment_error(
    error: Exception, trainer: L.Trainer, run_dir: Path, batch_size: int
) -> str | None:
    """What happened outside this program; None for an error of its own.

    Args:
        error: what a fit raised.
        trainer: which fitted.
        run_dir: directory of the run.
        batch_size: data.batch_size.
    """
    match error:
        case RuntimeError() if "DataLoader worker" in str(error):
            return worker_death(error)
        case OSError(errno=number) if number in DISK:
            return (
                f"cannot write in {run_dir}: {error.strerror} (hydra.run.dir); "
                f"make room, and go on with resume={run_dir}"
            )
        case torch.OutOfMemoryError():
            return too_large(error, trainer.strategy.root_device, batch_size)
        case _ if "can't allocate memory" in str(error):
            return too_large(error, trainer.strategy.root_device, batch_size)
        case torch.distributed.DistError() if trainer.world_size > 1:
            return lost_process(run_dir)
        case _ if trainer.world_size > 1 and "gloo" in str(error):
            return lost_process(run_dir)
    return None


def lost_process(run_dir: Path) -> str:
    """Another process of the run is gone."""
    return (
        "another process of this run is gone (trainer.devices); "
        f"see its last message, and go on with resume={run_dir}"
    )


def too_large(error: Exception, device: torch.device, batch_size: int) -> str:
    """The device or the machine has no memory left."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**30
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        where = (
            f"{torch.cuda.get_device_name(device)} has no memory left: "
            f"{peak:.3g} of {total:.3g} GiB were in use at the peak"
        )
    else:
        asked = re.search(r"you tried to allocate (\d+) bytes", str(error))
        more = f" for {int(asked[1]) / 2**30:.3g} GiB more" if asked else ""
        where = f"this machine has no memory left{more}"
    return (
        f"{where}, with batches of {batch_size} (data.batch_size); "
        "halve it and give scheme.accumulate=2, which has the same gradients"
    )
